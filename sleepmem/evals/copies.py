"""Isolated copies: how much faster many trials of dreams are at once than one by one. `make bench-copies`.

Made-up dreams about facts that the model never saw: only the time counts here.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from typing import Annotated

import torch
import typer

from sleepmem.config import LEVELS, DreamConfig
from sleepmem.embedded import world
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming import trial as dreaming
from sleepmem.night.dreaming.dream import Dream, Dreamer, Pair
from sleepmem.stores.folder import EMBEDDED


def pair(rng: random.Random) -> Pair:
    f = world.fact(rng, world.subject(rng, True), test=True)
    return Pair(world.ask(rng, f.key), f.answer)


def main(
    copies: Annotated[int, typer.Option(help="Trials at once.", min=1)] = 16,
    repeats: Annotated[int, typer.Option(help="Times that both are timed, in turn.", min=1)] = 7,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print the median ratio of seconds, for gradients, trials without an exam, and whole trials."""
    torch.set_num_threads(threads)
    local, rng = LocalModel(EMBEDDED), random.Random(0)
    for n, name in enumerate(("evening", "tonight")):
        local.add_expert(name, LEVELS[0].rank, seed=n)
    dreams = [Dream((), "", "", *pair(rng)) for _ in range(copies)]
    config, dreamer = DreamConfig(), Dreamer(local, "tonight", ("evening",))
    print(
        f"{copies} copies of rank {LEVELS[0].rank}, {config.steps} steps each, {threads} thread(s), median of {repeats}:",
        flush=True,
    )

    def timed(examined: int, at_once: int) -> float:
        began = time.perf_counter()
        exams = [[pair(rng) for _ in range(examined)] for _ in dreams]
        dreaming.trial(dreamer, dreams, exams=exams, config=replace(config, copies=at_once))
        return time.perf_counter() - began

    def gradients(at_once: int) -> float:
        began = time.perf_counter()
        dreaming.importance(dreamer, dreams, at_once=at_once)
        return time.perf_counter() - began

    print(
        f"gradients: {statistics.median(gradients(1) / gradients(copies) for _ in range(repeats)):.1f} x as fast at once",
        flush=True,
    )
    for examined in (0, 4, config.examined, 24):
        ratio = statistics.median(
            timed(examined, 1) / timed(examined, copies) for _ in range(repeats)
        )
        print(f"trials scored on {examined} questions: {ratio:.1f} x as fast at once", flush=True)


if __name__ == "__main__":
    typer.run(main)
