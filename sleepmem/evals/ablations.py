"""Each part of the paper's method left out, one at a time: `make bench-ablations`.

The facts, nights and questions are those of `evals.dreams`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sleepmem.config import LEVELS, DreamConfig, SeedingConfig, SleepConfig
from sleepmem.evals.dreams import Course, compare
from sleepmem.report.draw import draw_arms

# On-policy rows and dreams are off by default.
FULL = SleepConfig(seeding=SeedingConfig(lambda_=0.25), dream=DreamConfig(rounds=2))
SEEDING, DREAM = FULL.seeding, FULL.dream
ARMS = {
    "full": FULL,
    "without imitation": replace(FULL, seeding=replace(SEEDING, alpha=1.0)),
    "without semantic reward": replace(FULL, seeding=replace(SEEDING, gamma=0.0)),
    "without expansion": replace(FULL, expand=False, levels=LEVELS[:1]),
    "without rehearsal": replace(
        FULL, rehearse=0, reread=0, seeding=replace(SEEDING, rehearsal=0.0)
    ),
    "without dreaming": replace(FULL, dream=replace(DREAM, rounds=0)),
    "dreaming without gradient selection": replace(FULL, dream=replace(DREAM, by_gradient=False)),
    "dreaming without the random expert": replace(FULL, dream=replace(DREAM, random_expert=False)),
    "off-policy only": replace(FULL, seeding=replace(SEEDING, lambda_=0.0)),
    "on-policy only": replace(FULL, seeding=replace(SEEDING, lambda_=1.0)),
}
DRAWN = ("plain", "chain", "inverse", "abstention")


def main(  # noqa: PLR0913 - the options of a command
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    nights: Annotated[int, typer.Option(min=1)] = 3,
    *,
    facts: Annotated[int, typer.Option(help="New facts a night.", min=1)] = 24,
    model: Annotated[
        str, typer.Option(help="Folder of a model that can dream, or embedded.")
    ] = "embedded",
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    only: Annotated[str, typer.Option(help="Arms with commas; all by default.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the numbers and the plot.")] = Path(
        "runs/bench-ablations"
    ),
) -> None:
    """Learn with every ablation, print the figures, draw them with their range over the seeds."""
    names = only.split(",") if only else list(ARMS)
    strange = set(filter(None, names)) - set(ARMS)
    if strange:
        raise typer.BadParameter(
            f"no arm is called {', '.join(sorted(strange))}; there are {', '.join(ARMS)}."
        )
    arms = {name: config for name, config in ARMS.items() if name in names}
    course = Course(nights, facts, model)
    runs = compare(arms, range(first, first + seeds), course=course, out=out)
    draw_arms(runs, DRAWN, to=out / "ablations.png")


if __name__ == "__main__":
    typer.run(main)
