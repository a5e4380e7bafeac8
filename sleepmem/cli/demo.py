"""The command that lives a week: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sleepmem.cli.app import NIGHT, PLOTS, Json, out, print_json, progress, ready, sentences

_COLUMNS = (
    "day",
    "facts",
    "no memory",
    "retrieval only",
    "sleepmem",
    "retrieves",
    "honest",
    "night",
)


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("runs/demo"),
    days: Annotated[int, typer.Option(help="Days to live.", min=1)] = 7,
    *,
    facts: Annotated[int, typer.Option(help="New facts a day.", min=8)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the week.")] = 0,
    as_json: Json = False,
) -> None:
    """Seven days in the life of an agent, on the embedded model: talk, questions, sleep."""
    with sentences():
        ready((*NIGHT, *PLOTS))
        from sleepmem.evals.week import Week, live
        from sleepmem.report.draw import write

        with progress() as show:
            data = live(Week(days=days, facts=facts), seed, say=show)
        paths = write(data, to)
    if as_json:
        print_json(data)
        return
    out.print(_table(data))
    for key, value in data["summary"].items():
        out.print(f"{key}: {value:g}")
    for path in paths:
        out.say(path)


def _table(data: dict[str, Any]) -> Table:
    """A day a row: what each way to remember got right, and the night after it."""
    table = Table(title="Answers right / memory tokens per turn, before each night")
    for column in _COLUMNS:
        table.add_column(column)
    for day, night in zip(data["days"], data["nights"], strict=True):
        ours = day["sleepmem"]
        table.add_row(
            str(day["day"]),
            str(day["facts_total"]),
            _right(day["none"]),
            _right(day["retrieval"]),
            _right(ours),
            f"{ours['retrieval_rate']:.2f}",
            f"{ours['abstention']:.2f}",
            night["verdict"],
        )
    return table


def _right(arm: dict[str, float]) -> str:
    return f"{arm['accuracy']:.2f} / {arm['memory_tokens_per_turn']:.0f}"
