"""What the gate lets through, over seeds, and how its bound behaves: `make bench-gate`.

A few days of the week (`evals/week.py`) with several seeds. First table, one row a seed: the risk,
the share of turns about earlier facts that skip retrieval, and the near misses that the weights
were asked and answered. Second table, one row an epsilon: a gate fitted to the examples of each
seed, the rate of costly answers and its bound by which the threshold was set, and the rate on the
examples of the other seeds, which the gate has never seen.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import typer

from sleepmem.config import GateConfig
from sleepmem.day.gate import Gate, Words
from sleepmem.evals import week
from sleepmem.memory import SleepMemory
from sleepmem.night.calibration import Bound, Example, fit

EPSILONS = (0.01, 0.02, 0.05, 0.10)


class Row(NamedTuple):
    """Of one epsilon, the means over the seeds; `opened` counts those whose gate opened."""

    opened: int
    bound: float
    rate: float
    elsewhere: float
    passing: float
    near_misses: float


def examples_of(memory: SleepMemory) -> list[Example]:
    """All that the live nights of a memory calibrated with."""
    kept = GateConfig().kept
    found = []
    for written in memory.ledger.gates.examples(week.OWNER, without="", limit=kept):
        example = Example.parse(written)
        if example is not None:
            found.append(example)
    return found


def behaviour(by_seed: Sequence[Sequence[Example]], epsilon: float, *, confidence: float) -> Row:
    """How gates behave that keep this epsilon, each fitted to one seed."""
    rates, bounds, elsewhere, passing, misses = [], [], [], [], []
    for number, own in enumerate(by_seed):
        bound = Bound(epsilon, confidence, near_misses=GateConfig().epsilon_near_misses)
        gate = fit(own, bound, words=Words(), abstention="")
        if gate.threshold is None:
            continue
        others = [seed for place, seed in enumerate(by_seed) if place != number]
        unseen = list(itertools.chain.from_iterable(others))
        rates.append(gate.figures["rate"])
        bounds.append(gate.figures["bound"])
        elsewhere.append(_losses(gate, unseen) / max(len(unseen), 1))
        passing.append(gate.figures["passing"])
        misses.append(gate.figures["near_misses_passing"])
    columns = (bounds, rates, elsewhere, passing, misses)
    return Row(len(rates), *(statistics.mean(column or [0.0]) for column in columns))


def _losses(gate: Gate, examples: Sequence[Example]) -> int:
    """How many cost and pass."""
    return sum(one.costs and gate.passes(one.evidence, one.certainty) for one in examples)


def print_seeds(summaries: Sequence[Mapping[str, float]]) -> None:
    """The first table."""
    print(" seed    risk  skipped  near misses  to weights  answered  accuracy ratio")
    for seed, figures in enumerate(summaries):
        print(
            f"{seed:5d} {figures['risk']:7.4f} {figures['skipped']:8.4f} "
            f"{figures['near_misses']:12.0f} {figures['near_misses_to_weights']:11.4f} "
            f"{figures['near_misses_answered']:9.4f} {figures['accuracy_ratio']:15.4f}"
        )


def print_bounds(by_seed: Sequence[Sequence[Example]], *, confidence: float) -> None:
    """The second table."""
    print("epsilon  open   bound    rate  other seeds  passing  near misses passing")
    for epsilon in EPSILONS:
        row = behaviour(by_seed, epsilon, confidence=confidence)
        print(
            f"{epsilon:7.2f} {row.opened:5d} {row.bound:7.4f} {row.rate:7.4f} "
            f"{row.elsewhere:12.4f} {row.passing:8.4f} {row.near_misses:20.4f}"
        )


def main(
    seeds: Annotated[int, typer.Option(help="How many, from 0.", min=1)] = 3,
    days: Annotated[int, typer.Option(help="That are lived with each.", min=2)] = 4,
) -> None:
    """Live a few days with several seeds and print both tables."""
    summaries: list[Mapping[str, float]] = []
    by_seed: list[list[Example]] = []
    for seed in range(seeds):
        report = week.live(
            week.Week(days=days, reading=20),
            seed,
            finished=lambda memory: by_seed.append(examples_of(memory)),
        )
        summaries.append(report["summary"])
        print(f"seed {seed} lived", flush=True)
    print_seeds(summaries)
    print_bounds(by_seed, confidence=GateConfig().confidence)


if __name__ == "__main__":
    typer.run(main)
