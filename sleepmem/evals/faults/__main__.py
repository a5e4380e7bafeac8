"""`make bench-faults`: kill, load, ask across owners, grow; count what was lost and what leaked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sleepmem.evals.faults import children, growth, kills, leaks, load
from sleepmem.evals.faults.tally import Tally, examples, table

PARTS = ("kills", "load", "leaks", "growth")


def main(
    only: Annotated[str, typer.Option(help="Parts, with commas.")] = ",".join(PARTS),
    *,
    quick: Annotated[bool, typer.Option(help="A little of each part.")] = False,
    number: Annotated[int, typer.Option("--kills", min=17, help="Kills in all.")] = 200,
    minutes: Annotated[float, typer.Option(help="Of load.")] = 10,
    questions: Annotated[int, typer.Option(min=1, help="Of the part about leaks.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-faults"),
) -> None:
    """Print what each part counted; ends with 1 when something was lost, leaked or unsound."""
    parts = only.split(",")
    if not set(parts) <= set(PARTS):
        raise typer.BadParameter(f"{only!r} names a part that is none of {', '.join(PARTS)}")
    if quick:
        number, minutes, questions = 17, 1, 500
    out.mkdir(parents=True, exist_ok=True)
    children.preload([*kills.IMPORTED, *kills.IMPORTED_AT_NIGHT, *load.IMPORTED, *growth.IMPORTED])
    is_clean = True
    with tempfile.TemporaryDirectory(prefix="sleepmem-faults-") as scratch:
        folder = Path(scratch)
        if "kills" in parts:
            is_clean &= _tell(kills.run(number, folder / "kills"), out / "kills.json")
        if "load" in parts:
            crowd = load.Load(folder / "load" / "m", seconds=60 * minutes)
            is_clean &= _tell(load.run(crowd), out / "load.json")
        if "leaks" in parts:
            tallies = leaks.run(folder / "leaks", questions=questions)
            is_clean &= _tell(tallies, out / "leaks.json")
        if "growth" in parts:
            grown = growth.run(folder / "growth", (10, 50) if quick else (10, 100, 1_000))
            (out / "growth.json").write_text(json.dumps([asdict(one) for one in grown], indent=1))
            print(growth.table(grown), flush=True)
            is_clean &= all(one.is_within for one in grown)
    raise typer.Exit(0 if is_clean else 1)


def _tell(tallies: Sequence[Tally], file: Path) -> bool:
    """Print and keep the counts; whether all is well."""
    file.write_text(json.dumps([asdict(tally) for tally in tallies], indent=1))
    print(table(tallies), *examples(tallies), sep="\n", flush=True)
    return all(tally.is_clean for tally in tallies)


if __name__ == "__main__":
    typer.run(main)
