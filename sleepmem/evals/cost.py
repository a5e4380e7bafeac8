"""What recall costs: seconds until 95 % of 100 new facts are answered closed-book, and what is left
of earlier ones then. `make bench-cost`.

An earlier night comes first, learned by the same trainer. Then the new facts, with more and more
steps, each run from the same evening and with its own whole schedule, until one reaches the aim;
with two learning rates, of which the faster counts. SFT and SDFT train one LoRA on; seeding adds an
expert and rehearses. Rows and questions are those of `evals.trainers`.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from sleepmem.config import LEVELS, SeedingConfig
from sleepmem.evals.trainers import (
    EXPERT,
    Lesson,
    Train,
    by_sdft,
    by_seeding,
    by_sft,
    examine,
    teach,
)
from sleepmem.model.local import LocalModel
from sleepmem.night.rows import Row, RowKind
from sleepmem.stores.folder import EMBEDDED

AIM = 0.95
# Steps that are tried, in turn.
LADDER = (40, 55, 75, 100, 135, 180, 240, 320, 430, 580, 780)
# Learning rates: the best that SFT was found to have on a first seed, and a night's.
RATES = (8e-3, 3e-3)
COLUMNS = (
    "recall",
    "rate",
    "steps",
    "seconds",
    "abstention",
    "reading / base",
    "earlier before",
    "earlier after",
)
DIGITS = {"rate": 3, "steps": 0}
EARLIER = "earlier"
PLAIN = SeedingConfig(lambda_=0.25)
OFF = replace(PLAIN, lambda_=0.0)
BARE = replace(OFF, never_said=0.0, rehearsal=0.25, reading=0.0)


@dataclass(frozen=True)
class Arm:
    """A way to learn.

    grows    adds an expert; else trains the earlier one on
    certain  the answers are the teacher: nobody reads the memories
    """

    train: Train
    config: SeedingConfig = PLAIN
    grows: bool = False
    certain: bool = False


ARMS = {
    "SFT": Arm(by_sft),
    "SDFT": Arm(by_sdft),
    "seeding, a quarter on-policy": Arm(by_seeding, grows=True),
    "seeding, off-policy": Arm(by_seeding, OFF, grows=True),
    "facts and rehearsal, off-policy": Arm(by_seeding, BARE, grows=True),
    "facts and rehearsal, as if sure": Arm(by_seeding, BARE, grows=True, certain=True),
}


@dataclass(frozen=True)
class Evening:
    """One arm before the new facts: its earlier night is learned, and lies in `folder`."""

    arm: Arm
    earlier: Lesson
    folder: Path
    seed: int

    def learn(self) -> None:
        """Learn the earlier night, and save its expert."""
        steps = LADDER[3]
        if self.arm.grows:
            by_facts = round(LEVELS[0].steps_per_episode * len(self.earlier.facts))
            steps = max(PLAIN.steps, by_facts)
        local = LocalModel(EMBEDDED)
        local.add_expert(EXPERT, LEVELS[0].rank, seed=self.seed)
        config = replace(self.arm.config, steps=steps, seed=self.seed)
        self.arm.train(local, list(self.earlier.rows), config=config)
        local.save_expert(EXPERT, self.folder)

    def run(self, new: Lesson, *, rate: float, steps: int) -> dict[str, Any]:
        """Learn the new facts from this evening; what that took and left."""
        arm, before = self.arm, (EARLIER,) if self.arm.grows else ()
        local = LocalModel(EMBEDDED)
        local.load_expert(EARLIER if arm.grows else EXPERT, self.folder)
        held = self._recall(local, before or (EXPERT,))
        if arm.grows:
            local.add_expert(EXPERT, LEVELS[0].rank, seed=self.seed + 1)

        config = replace(arm.config, steps=steps, lr=rate, seed=self.seed)
        started = time.perf_counter()
        arm.train(local, self._rows(new), config=config, before=before)
        seconds = time.perf_counter() - started
        experts = (*before, EXPERT)
        return {
            **examine(local, new.facts, rng=random.Random(99), experts=experts),
            "rate": rate,
            "steps": steps,
            "seconds": seconds,
            "earlier before": held,
            "earlier after": self._recall(local, experts),
        }

    def _recall(self, local: LocalModel, experts: Sequence[str]) -> float:
        """Of the earlier facts."""
        rng = random.Random(98)
        return examine(local, self.earlier.facts, rng=rng, experts=experts)["recall"]

    def _rows(self, new: Lesson) -> list[Row]:
        """What is new, and the earlier facts to rehearse."""
        rows = list(new.rows)
        for row in self.earlier.rows:
            if row.kind is RowKind.FACT:
                rows.append(Row(RowKind.REHEARSAL, row.student, row.student, row.answer))
        return [replace(row, certain=self.arm.certain) for row in rows]


def race(arm: Arm, earlier: Lesson, *, new: Lesson, seed: int, limit: float) -> dict[str, Any]:
    """The run that reaches the aim in the fewest seconds; if none does, the best.

    Nothing longer is tried after a run of `limit` seconds.
    """
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sleepmem-cost-") as scratch:
        evening = Evening(arm, earlier, Path(scratch) / EARLIER, seed)
        evening.learn()
        for rate in RATES:
            for steps in LADDER:
                run = evening.run(new, rate=rate, steps=steps)
                runs.append(run)
                if run["recall"] >= AIM or run["seconds"] > limit:
                    limit = min(limit, run["seconds"])
                    break
    best = min(runs, key=_place)
    return {figure: round(value, 3) for figure, value in best.items()}


def _place(run: Mapping[str, Any]) -> tuple[bool, float]:
    """Orders runs: those that reach the aim by seconds, before the others by recall."""
    misses = run["recall"] < AIM
    return misses, -run["recall"] if misses else run["seconds"]


def table(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown: medians over the seeds, seconds also as a ratio to SFT's of the same seed."""
    lines = [
        "| trainer | " + " | ".join(COLUMNS) + " | seconds, ratio to SFT |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for name, of_arm in runs.items():
        values = []
        for column in COLUMNS:
            median = statistics.median(run[column] for run in of_arm)
            values.append(f"{median:.{DIGITS.get(column, 2)}f}")
        ratios = []
        for run, sft in zip(of_arm, runs["SFT"], strict=False):
            ratios.append(run["seconds"] / sft["seconds"])
        each = " ".join(f"{ratio:.1f}" for ratio in ratios)
        lines.append(
            f"| {name} | {' | '.join(values)} | {statistics.median(ratios):.1f} ({each}) |"
        )
    return "\n".join(lines)


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    facts: Annotated[int, typer.Option(help="New facts.", min=1)] = 100,
    *,
    earlier: Annotated[int, typer.Option(help="Facts of the night before.")] = 50,
    limit: Annotated[
        float, typer.Option(help="Seconds of one run after which no longer one is tried.")
    ] = 60,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-cost"),
) -> None:
    """Race all trainers to 95 %, and print what each took and kept."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for seed in range(first, first + seeds):
        rng = random.Random(seed)
        before, new = teach(rng, earlier), teach(rng, facts)
        for name, arm in ARMS.items():
            runs[name].append(race(arm, before, new=new, seed=seed, limit=limit))
            print(seed, name, json.dumps(runs[name][-1]), flush=True)
            (out / f"seeds-{first}.json").write_text(json.dumps(runs, indent=1))
    print(table(runs))


if __name__ == "__main__":
    typer.run(main)
