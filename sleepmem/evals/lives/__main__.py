"""`make bench-lives`: people as they write to an agent, day after day, and what is left of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sleepmem.config import MemoryConfig, read_config
from sleepmem.evals.lives import report
from sleepmem.evals.lives.arms import ARMS
from sleepmem.evals.lives.check import faults
from sleepmem.evals.lives.data import NAMES, Life, load
from sleepmem.evals.lives.diary import Diary, begun_with, check_same
from sleepmem.evals.lives.run import Plan, chosen, run
from sleepmem.evals.week import Say, seeded
from sleepmem.stores.folder import EMBEDDED


def main(  # noqa: PLR0913 - the options of a command
    model: Annotated[str, typer.Option(help="Hub id, folder or GGUF file.")] = "embedded",
    out: Annotated[Path, typer.Option(help="Folder of the run; goes on with what is there.")] = (
        Path("runs/bench-lives")
    ),
    *,
    life: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(NAMES)}, or a file; may be repeated. By default all."),
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(ARMS)}; may be repeated. By default all.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Only the first so many.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of wordings and nights.", min=0)] = 0,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    every_wording: Annotated[bool, typer.Option(help="Ask in all wordings, not in one.")] = False,
    reading: Annotated[int, typer.Option(help="Questions read after each night.", min=1)] = 60,
    threads: Annotated[int, typer.Option(help="Of torch.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Live them with every arm, ask in every evening; print and draw what came of it."""
    torch.set_num_threads(threads)
    lives, arms = _lives(life or NAMES, days), arm or list(ARMS)
    strange = sorted(set(arms) - set(ARMS))
    if strange:
        raise typer.BadParameter(
            f"no arm is called {', '.join(strange)}; there are {', '.join(ARMS)}."
        )
    name = str(EMBEDDED) if model == "embedded" else model
    settings = seeded(read_config(config) if config else MemoryConfig(), seed)
    plan = Plan(name, settings, lives, chosen(lives, arms), seed, every_wording, reading)
    diary = Diary(out)
    check_same(diary, {**begun_with(model, settings, lives=lives), "every_wording": every_wording})
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        try:
            run(plan, diary, say=lambda life, arm: _shows(bars, life, arm, diary))
        except LookupError as error:
            raise typer.BadParameter(str(error)) from error
    paths, records = report.write(diary), report.records(diary)
    for table in (report.by_night, report.by_life, report.by_kind, report.by_aim):
        console.print(table(records))
    for path in paths:
        console.print(str(path), markup=False)


def _lives(names: Sequence[str], days: int | None) -> tuple[Life, ...]:
    """Read, checked, and cut after so many days."""
    lives = []
    for name in names:
        try:
            life = load(name)
        except OSError as error:
            raise typer.BadParameter(
                f"no life is called {name}, and no such file can be read ({error.strerror}); "
                f"there are {', '.join(NAMES)}."
            ) from error
        found = faults(life)
        if found:
            raise typer.BadParameter(f"{name} is not consistent: {'; '.join(found)}")
        lives.append(replace(life, days=life.days[:days]))
    return tuple(lives)


def _shows(bars: Progress, life: Life, arm: str, diary: Diary) -> Say:
    """A bar for an arm in a life, a day a step; after each its picture."""
    name = f"{life.name} {arm}"
    bar = bars.add_task(name, total=len(life.days))

    def show(event: dict[str, Any]) -> None:
        if event["step"] in ("talk", "done") and diary.lived(life.name, arm):
            report.draw(diary, life.name)
        words = [name, str(event["step"])]
        if "of" in event:
            words.append(f"{event['done']}/{event['of']}")
        bars.update(bar, description=" ".join(words), completed=event["day"] - 1)

    return show


if __name__ == "__main__":
    typer.run(main)
