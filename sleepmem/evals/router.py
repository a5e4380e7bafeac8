"""All experts on, or the few that add most to a token? And what do sixty nights of experts cost an answer? `make bench-router`.

Some nights of facts are learned, one fast expert each, with all experts on or with a router; then the same experts answer with routers of several
widths. Latency is measured with untrained experts of the ranks that the levels leave after sixty nights: weights do not change it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer

from sleepmem.config import LEVELS, MemoryConfig, SleepConfig
from sleepmem.embedded import world
from sleepmem.evals.questions import reading_questions
from sleepmem.evals.week import Life, Week
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book

OWNER = ("bench",)


def routed(nights: int, facts: int, seed: int, trained: int) -> None:
    """Learn some nights with a router of width `trained`, 0 for none, then answer with every width; one line each."""
    life, rng = Life(random.Random(seed)), random.Random(seed)
    config = SleepConfig(levels=LEVELS[:1], experts_per_token=trained)
    settings = MemoryConfig(sleep=replace(config, seeding=replace(config.seeding, seed=seed)))
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-router-") as folder,
        SleepMemory.open(
            folder, "embedded", embeddings=MiniLMEmbeddings(), config=settings
        ) as memory,
    ):
        for _ in range(nights):
            for f in life.new_day(Week(facts=facts)):
                memory.observe(OWNER, world.say(rng, f, held_out=rng.random() < 0.5))
            memory.sleep(OWNER)
        facts_ = list(life.current.values())
        asked = [closed_book(world.ask(rng, f.key, held_out=rng.random() < 0.5)) for f in facts_]
        unsaid = [closed_book(world.ask(rng, key)) for key in life.unsaid(200)]
        reading = reading_questions(rng, 200)
        names = [e.name for e in memory.ledger.lineage.experts(OWNER)]
        for experts_per_token in (0, 1, 2, 3):
            local = LocalModel(EMBEDDED, experts_per_token=experts_per_token)
            for name in names:
                local.load_expert(name, memory.folder / "experts" / name)
            recall = statistics.mean(
                matches(t, f.answer)
                for t, f in zip(local.answer(asked, names), facts_, strict=True)
            )
            honest = statistics.mean(map(abstains, local.answer(unsaid, names)))
            read = statistics.mean(
                matches(t, str(q.wanted))
                for t, q in zip(
                    local.answer([q.chat for q in reading], names), reading, strict=True
                )
            )
            width = f"top {experts_per_token}" if experts_per_token else f"all {len(names)}"
            print(
                f"seed {seed}, learned with {trained or 'all'}, {width}: recall {recall:.3f}, abstention {honest:.3f}, reading {read:.3f}",
                flush=True,
            )


def latency(by_view: Mapping[str, Sequence[int]], questions: int = 60) -> dict[str, float]:
    """Median seconds of one closed-book answer of eight tokens, by view: the ranks of its experts. The views answer in turn."""
    views: dict[str, tuple[LocalModel, list[str]]] = {}
    for view, ranks in by_view.items():
        local, names = LocalModel(EMBEDDED), [f"expert-{n}" for n in range(len(ranks))]
        for n, (name, rank) in enumerate(zip(names, ranks, strict=True)):
            local.add_expert(name, rank, seed=n)
        views[view] = local, names
    rng, spent = random.Random(0), {view: list[float]() for view in views}
    for _ in range(questions + 5):
        chat = closed_book(world.ask(rng, world.fact(rng, world.subject(rng)).key))
        for view, (local, names) in views.items():
            began = time.perf_counter()
            local.answer([chat], names, max_new_tokens=8)
            spent[view].append(time.perf_counter() - began)
    return {view: statistics.median(some[5:]) for view, some in spent.items()}


def main(
    nights: int = 6,
    facts: Annotated[int, typer.Option(help="New facts a night.")] = 20,
    seeds: int = 2,
) -> None:
    torch.set_num_threads(1)
    fast, slow, deep = (x.rank for x in LEVELS)
    seconds = latency(
        {
            "one night": [fast],
            "60 nights: two deep experts, four fast ones": [deep] * 2 + [fast] * 4,
            "55 nights, the most there are before: one deep, three slow, six fast": [
                deep,
                *[slow] * 3,
                *[fast] * 6,
            ],
            "60 nights without levels: sixty fast experts": [fast] * 60,
        }
    )
    for view, some in seconds.items():
        print(
            f"{view}: {some / seconds['one night']:.2f} x the latency after one night ({1000 * some:.1f} ms)",
            flush=True,
        )
    for seed in range(seeds):
        for trained in (0, 2):
            routed(nights, facts, seed, trained)


if __name__ == "__main__":
    typer.run(main)
