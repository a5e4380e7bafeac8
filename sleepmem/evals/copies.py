"""Isolated copies: how much faster many trials of dreams are at once than one by one.

`make bench-copies`. Made-up dreams about facts that the model never saw: only the time counts here.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import typer

from sleepmem.config import LEVELS, DreamConfig
from sleepmem.embedded import world
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming.dream import Dream, Dreamer, Pair
from sleepmem.night.dreaming.trial import importance, trial
from sleepmem.stores.folder import EMBEDDED


def pair(rng: random.Random) -> Pair:
    """A question about a fact that the model never saw, and its answer."""
    fact = world.fact(rng, world.subject(rng, True), test=True)
    return Pair(world.ask(rng, fact.key), fact.answer)


@dataclass(frozen=True)
class Race:
    """The same dreams, tried so many at once or one by one."""

    dreamer: Dreamer
    dreams: list[Dream]
    rng: random.Random
    config: DreamConfig

    def trial_seconds(self, examined: int, *, at_once: int) -> float:
        """Of all trials, each scored on so many questions."""
        started = time.perf_counter()
        exams = [[pair(self.rng) for _ in range(examined)] for _ in self.dreams]
        trial(self.dreamer, self.dreams, exams=exams, config=replace(self.config, copies=at_once))
        return time.perf_counter() - started

    def gradient_seconds(self, at_once: int) -> float:
        started = time.perf_counter()
        importance(self.dreamer, self.dreams, at_once=at_once)
        return time.perf_counter() - started


def race(copies: int) -> Race:
    """Two experts, and a made-up dream for each copy."""
    local, rng = LocalModel(EMBEDDED), random.Random(0)
    for seed, name in enumerate(("evening", "tonight")):
        local.add_expert(name, LEVELS[0].rank, seed=seed)
    dreams = [Dream((), "", "", *pair(rng)) for _ in range(copies)]
    return Race(Dreamer(local, "tonight", ("evening",)), dreams, rng, DreamConfig())


def main(
    copies: Annotated[int, typer.Option(help="Trials at once.", min=1)] = 16,
    repeats: Annotated[int, typer.Option(help="Times that both are timed, in turn.", min=1)] = 7,
    *,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print the median ratio of seconds, for gradients, trials without an exam, whole trials."""
    torch.set_num_threads(threads)
    run = race(copies)
    setting = f"{run.config.steps} steps each, {threads} thread(s), median of {repeats}"
    print(f"{copies} copies of rank {LEVELS[0].rank}, {setting}:", flush=True)

    ratios = []
    for _ in range(repeats):
        ratios.append(run.gradient_seconds(1) / run.gradient_seconds(copies))
    print(f"gradients: {statistics.median(ratios):.1f} x as fast at once", flush=True)

    for examined in (0, 4, run.config.examined, 24):
        ratios = []
        for _ in range(repeats):
            one_by_one = run.trial_seconds(examined, at_once=1)
            ratios.append(one_by_one / run.trial_seconds(examined, at_once=copies))
        ratio = statistics.median(ratios)
        print(f"trials scored on {examined} questions: {ratio:.1f} x as fast at once", flush=True)


if __name__ == "__main__":
    typer.run(main)
