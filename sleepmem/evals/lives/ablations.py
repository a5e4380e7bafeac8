"""What of a night helps on a real model: `make bench-ablations MODEL=...`.

The first days of a life in natural language, each arm with something else left out or put in; what
its weights alone have right in the last evening. Every night is promoted, whatever its exam says:
what is compared is what the experts hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from sleepmem.config import ExamConfig, MemoryConfig, SleepConfig, read_config
from sleepmem.evals.lives.data import NAMES, load
from sleepmem.evals.lives.diary import Diary, begun_with, check_same
from sleepmem.evals.lives.figures import CONFIDENCE, Row, share
from sleepmem.evals.lives.run import Plan, run
from sleepmem.evals.week import seeded
from sleepmem.night.promotion import wilson
from sleepmem.report.draw import draw_arms

Change = Callable[[SleepConfig], SleepConfig]


def _probe(**settings: Any) -> Change:
    return lambda sleep: replace(sleep, probe=replace(sleep.probe, **settings))


def _seeding(**settings: Any) -> Change:
    return lambda sleep: replace(sleep, seeding=replace(sleep.seeding, **settings))


def _dream(**settings: Any) -> Change:
    return lambda sleep: replace(sleep, dream=replace(sleep.dream, rounds=1, **settings))


def _without_expansion(sleep: SleepConfig) -> SleepConfig:
    return replace(sleep, expand=False, levels=sleep.levels[:1])


def _without_rehearsal(sleep: SleepConfig) -> SleepConfig:
    return replace(sleep, rehearse=0, reread=0, seeding=replace(sleep.seeding, rehearsal=0.0))


# On-policy rows and dreams are off by default, so they are put in.
ARMS: dict[str, Change] = {
    "as it is": lambda sleep: sleep,
    "without completions": _seeding(completed=0),
    "without rewordings": _probe(rewordings=0),
    "without the other way round": _probe(turned=0),
    "without requests": _probe(requests=0),
    "without expansion": _without_expansion,
    "without rehearsal": _without_rehearsal,
    "on-policy": _seeding(lambda_=0.25),
    "on-policy, without imitation": _seeding(lambda_=0.25, alpha=1.0),
    "on-policy, without semantic reward": _seeding(lambda_=0.25, gamma=0.0),
    "dreaming": _dream(),
    "dreaming, without gradient selection": _dream(by_gradient=False),
    "dreaming, without the random expert": _dream(random_expert=False),
}
_NO_BOUNDS = ExamConfig(
    recall=0, old_nights=1, abstention=1, superseded=1, reading=1, general_kl=1000
)
# What is drawn: of what was told, then by kind; silence about what never was.
MEASURES = ("told", "plain", "chained", "inverse", "implicit", "never")


def main(  # noqa: PLR0913 - the options of a command
    model: Annotated[str, typer.Option(help="Hub id, folder or GGUF file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; goes on with what is there.")] = (
        Path("runs/bench-ablations-lives")
    ),
    *,
    life: Annotated[str, typer.Option(help=f"{', '.join(NAMES)}, or a file.")] = "nurse",
    only: Annotated[list[str] | None, typer.Option(help="An arm; may be repeated.")] = None,
    nights: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Live the first days with every arm; print and draw what the weights alone have right."""
    torch.set_num_threads(threads)
    arms = only or list(ARMS)
    strange = sorted(set(arms) - set(ARMS))
    if strange:
        raise typer.BadParameter(
            f"no arm is called {', '.join(strange)}; there are {', '.join(ARMS)}."
        )
    settings = seeded(read_config(config) if config else MemoryConfig(), seed)
    whole = load(life)
    some = replace(whole, days=whole.days[:nights])
    found: dict[str, list[dict[str, Any]]] = {}
    console = Console()
    for arm in arms:
        changed = replace(settings, sleep=replace(ARMS[arm](settings.sleep), exam=_NO_BOUNDS))
        diary = Diary(out / arm.replace(", ", "-").replace(" ", "-"))
        check_same(diary, begun_with(model, changed, lives=(some,)))
        console.print(arm)
        run(
            Plan(model, changed, (some,), ("sleepmem",), seed, every_wording=True),
            diary,
            say=lambda life, arm: lambda event: None,
        )
        records = [one for one in diary.records() if one["life"] == some.name]
        found[arm] = [figures(records)]
        (out / "ablations.json").write_text(json.dumps(found, indent=1))
    draw_arms(found, MEASURES, to=out / "ablations.png")
    console.print(table(found))
    console.print(str(out / "ablations.png"), markup=False)


def figures(days: Sequence[Row]) -> dict[str, Any]:
    """What the weights alone had right in the last evening, and what the nights were."""
    last = max(days, key=lambda row: row["day"])
    told = [row for row in last["answers"] if row["kind"] != "never"]
    measured: dict[str, Any] = {"nights": [row["night"]["verdict"] for row in days]}
    measured["seconds"] = sum(row["night"]["seconds"] for row in days)
    for name in MEASURES:
        rows = told if name == "told" else [r for r in last["answers"] if r["kind"] == name]
        score = share(rows, "closed_right")
        low, high = wilson(score, CONFIDENCE)
        measured[name] = score.rate
        measured[f"{name}_of"] = [score.right, score.total, round(low, 3), round(high, 3)]
    return measured


def table(found: dict[str, list[dict[str, Any]]]) -> Table:
    """An arm a row."""
    shown = Table(title="Right from the weights alone, with 90 % intervals")
    for name in ("arm", *MEASURES, "nights", "seconds"):
        shown.add_column(name)
    for arm, [one] in found.items():
        cells = []
        for name in MEASURES:
            right, total, low, high = one[f"{name}_of"]
            cells.append(f"{right} of {total} ({low:.2f} to {high:.2f})" if total else "")
        shown.add_row(arm, *cells, ", ".join(one["nights"]), f"{one['seconds']:.0f}")
    return shown


if __name__ == "__main__":
    typer.run(main)
