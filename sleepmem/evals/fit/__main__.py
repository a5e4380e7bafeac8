"""`python -m sleepmem.evals.fit NAME=FILE...`: what `sleepmem fit --json` said of models, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sleepmem.report.draw import draw_fits


def main(
    fits: Annotated[list[str], typer.Argument(help="NAME=FILE, as `sleepmem fit --json` wrote.")],
    *,
    out: Annotated[Path, typer.Option(help="The PNG.")] = Path("runs/fit.png"),
) -> None:
    """Draw models side by side."""
    found = {}
    for one in fits:
        name, _, file = one.rpartition("=")
        try:
            found[name or Path(file).stem] = json.loads(Path(file).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(
                f"{file} holds nothing of `sleepmem fit` ({error})."
            ) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_fits(found, out)
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
