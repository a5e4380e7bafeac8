"""What recall costs: seconds until 95 % of 100 new facts are answered closed-book, and what is left of earlier ones then. `make bench-cost`.

An earlier night comes first, learned by the same trainer. Then the new facts, with more and more steps, each run from the same evening and with its own whole
schedule, until one reaches the aim; with two learning rates, of which the faster counts. SFT and SDFT train one LoRA on; seeding adds an expert and rehearses.
Rows and questions are those of `evals.trainers`.
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
from sleepmem.embedded.world import Fact
from sleepmem.evals.trainers import EXPERT, Train, by_sdft, by_seeding, by_sft, examine, teach
from sleepmem.model.local import LocalModel
from sleepmem.night.rows import Row, RowKind
from sleepmem.stores.folder import EMBEDDED

AIM = 0.95
LADDER = (40, 55, 75, 100, 135, 180, 240, 320, 430, 580, 780)  # steps
RATES = (
    8e-3,
    3e-3,
)  # learning rates: the best that SFT was found to have on a first seed, and a night's
DIGITS = {"rate": 3, "steps": 0}
EARLIER = "earlier"
PLAIN = SeedingConfig(lambda_=0.25)
OFF = replace(PLAIN, lambda_=0.0)
BARE = replace(OFF, never_said=0.0, rehearsal=0.25, reading=0.0)


@dataclass(frozen=True)
class Arm:
    train: Train
    config: SeedingConfig = PLAIN
    grows: bool = False  # adds an expert; else trains the earlier one on
    certain: bool = False  # the answers are the teacher: nobody reads the memories


ARMS = {
    "SFT": Arm(by_sft),
    "SDFT": Arm(by_sdft),
    "seeding, a quarter on-policy": Arm(by_seeding, grows=True),
    "seeding, off-policy": Arm(by_seeding, OFF, grows=True),
    "facts and rehearsal, off-policy": Arm(by_seeding, BARE, grows=True),
    "facts and rehearsal, as if sure": Arm(by_seeding, BARE, grows=True, certain=True),
}


def evening(arm: Arm, folder: Path, rows: Sequence[Row], seed: int, steps: int) -> None:
    """Learn the earlier night, and save its expert."""
    local = LocalModel(EMBEDDED)
    local.add_expert(EXPERT, LEVELS[0].rank, seed=seed)
    arm.train(local, list(rows), replace(arm.config, steps=steps, seed=seed), ())
    local.save_expert(EXPERT, folder)


def race(
    arm: Arm,
    earlier: tuple[list[Fact], list[Row]],
    new: tuple[list[Fact], list[Row]],
    seed: int,
    limit: float,
) -> dict[str, Any]:
    """The run that reaches the aim in the fewest seconds; if none does, the best. Nothing longer is tried after a run of `limit` seconds."""
    rehearsed = [
        Row(RowKind.REHEARSAL, r.student, r.student, r.answer)
        for r in earlier[1]
        if r.kind is RowKind.FACT
    ]
    rows = [replace(r, certain=arm.certain) for r in [*new[1], *rehearsed]]
    before = (EARLIER,) if arm.grows else ()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sleepmem-cost-") as scratch:
        folder = Path(scratch) / EARLIER
        evening(
            arm,
            folder,
            earlier[1],
            seed,
            LADDER[3]
            if not arm.grows
            else max(PLAIN.steps, round(LEVELS[0].steps_per_episode * len(earlier[0]))),
        )
        for rate in RATES:
            for steps in LADDER:
                local = LocalModel(EMBEDDED)
                local.load_expert(EARLIER if arm.grows else EXPERT, folder)
                held = examine(local, earlier[0], random.Random(98), before or (EXPERT,))["recall"]
                if arm.grows:
                    local.add_expert(EXPERT, LEVELS[0].rank, seed=seed + 1)
                began = time.perf_counter()
                arm.train(local, rows, replace(arm.config, steps=steps, lr=rate, seed=seed), before)
                seconds = time.perf_counter() - began
                made = examine(local, new[0], random.Random(99), (*before, EXPERT))
                kept = examine(local, earlier[0], random.Random(98), (*before, EXPERT))["recall"]
                runs.append(
                    {
                        **made,
                        "rate": rate,
                        "steps": steps,
                        "seconds": seconds,
                        "earlier before": held,
                        "earlier after": kept,
                    }
                )
                if made["recall"] >= AIM or seconds > limit:
                    limit = min(limit, seconds)
                    break
    best = min(
        runs,
        key=lambda r: (r["recall"] < AIM, r["seconds"] if r["recall"] >= AIM else -r["recall"]),
    )
    return {k: round(v, 3) for k, v in best.items()}


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown: medians over the seeds, seconds also as a ratio to SFT's of the same seed."""
    columns = (
        "recall",
        "rate",
        "steps",
        "seconds",
        "abstention",
        "reading / base",
        "earlier before",
        "earlier after",
    )
    lines = [
        "| trainer | " + " | ".join(columns) + " | seconds, ratio to SFT |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, runs in found.items():
        ratios = [r["seconds"] / s["seconds"] for r, s in zip(runs, found["SFT"], strict=False)]
        values = [f"{statistics.median(r[c] for r in runs):.{DIGITS.get(c, 2)}f}" for c in columns]
        lines.append(
            f"| {name} | {' | '.join(values)} | {statistics.median(ratios):.1f} ({' '.join(f'{x:.1f}' for x in ratios)}) |"
        )
    return "\n".join(lines)


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    facts: Annotated[int, typer.Option(help="New facts.", min=1)] = 100,
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
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for seed in range(first, first + seeds):
        rng = random.Random(seed)
        before, new = teach(rng, earlier), teach(rng, facts)
        for name, arm in ARMS.items():
            found[name].append(race(arm, before, new, seed, limit))
            print(seed, name, json.dumps(found[name][-1]), flush=True)
            (out / f"seeds-{first}.json").write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
