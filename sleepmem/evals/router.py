"""All experts on, or the few that add most to a token? And what do sixty nights of experts cost an
answer? `make bench-router`.

Some nights of facts are learned, one fast expert each, with all experts on or with a router; then
the same experts answer with routers of several widths. Latency is measured with untrained experts
of the ranks that the levels leave after sixty nights: weights do not change it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import typer

from sleepmem.config import LEVELS, MemoryConfig, SleepConfig
from sleepmem.embedded import world
from sleepmem.evals.questions import (
    Question,
    about_fact,
    about_unsaid,
    ask_all,
    reading_questions,
)
from sleepmem.evals.week import Life, Week, seeded
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.prompts import closed_book

OWNER = ("bench",)
WIDTHS = (0, 1, 2, 3)
# Answers that warm up, before those that are timed.
WARM_UP = 5


@dataclass(frozen=True)
class Exam:
    """What is asked after the nights: facts, what nobody told, and what is read."""

    facts: Sequence[Question]
    unsaid: Sequence[Question]
    reading: Sequence[Question]

    def line(self, local: LocalModel, experts: Sequence[str]) -> str:
        """Shares of right answers with these experts on."""
        recall = statistics.mean(ask_all(local, self.facts, experts=experts))
        honest = statistics.mean(ask_all(local, self.unsaid, experts=experts))
        read = statistics.mean(ask_all(local, self.reading, experts=experts))
        return f"recall {recall:.3f}, abstention {honest:.3f}, reading {read:.3f}"


def routed(nights: int, facts: int, *, seed: int, trained: int) -> None:
    """Learn some nights with a router, then answer with every width; one line each.

    Args:
        nights: how many.
        facts: new ones a night.
        seed: of the facts and the nights.
        trained: width of the router that learns; 0 for none.
    """
    life, rng = Life(random.Random(seed)), random.Random(seed)
    config = SleepConfig(levels=LEVELS[:1], experts_per_token=trained)
    settings = seeded(MemoryConfig(sleep=config), seed)
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-router-") as folder,
        SleepMemory.open(
            folder, "embedded", embeddings=default_embeddings(), config=settings
        ) as memory,
    ):
        for _ in range(nights):
            for fact in life.new_day(Week(facts=facts)):
                held_out = rng.random() < 0.5
                memory.observe(OWNER, world.say(rng, fact, held_out=held_out))
            memory.sleep(OWNER)

        exam = _exam(life, rng)
        experts = [expert.name for expert in memory.ledger.lineage.experts(OWNER)]
        for width in WIDTHS:
            local = LocalModel(EMBEDDED, experts_per_token=width)
            memory.experts.load(local, experts)
            learned = f"seed {seed}, learned with {trained or 'all'}"
            answered = f"top {width}" if width else f"all {len(experts)}"
            print(f"{learned}, {answered}: {exam.line(local, experts)}", flush=True)


def _exam(life: Life, rng: random.Random) -> Exam:
    facts, unsaid = [], []
    for fact in life.current.values():
        facts.append(about_fact(rng, fact, held_out=rng.random() < 0.5))
    for key in life.unsaid(200):
        unsaid.append(about_unsaid(rng, key))
    return Exam(facts, unsaid, reading_questions(rng, 200))


def latency(by_view: Mapping[str, Sequence[int]], questions: int = 60) -> dict[str, float]:
    """Median seconds of one closed-book answer of eight tokens, by view.

    Args:
        by_view: the ranks of each view's experts. The views answer in turn.
        questions: that are timed.
    """
    views: dict[str, tuple[LocalModel, list[str]]] = {}
    for view, ranks in by_view.items():
        local, names = LocalModel(EMBEDDED), []
        for number, rank in enumerate(ranks):
            names.append(f"expert-{number}")
            local.add_expert(names[-1], rank, seed=number)
        views[view] = local, names

    rng = random.Random(0)
    spent: dict[str, list[float]] = {view: [] for view in views}
    for _ in range(questions + WARM_UP):
        chat = closed_book(world.ask(rng, world.fact(rng, world.subject(rng)).key))
        for view, (local, names) in views.items():
            started = time.perf_counter()
            local.answer([chat], names, max_new_tokens=8)
            spent[view].append(time.perf_counter() - started)
    return {view: statistics.median(seconds[WARM_UP:]) for view, seconds in spent.items()}


def main(
    nights: int = 6,
    facts: Annotated[int, typer.Option(help="New facts a night.")] = 20,
    *,
    seeds: int = 2,
) -> None:
    """Print the latencies, then what routers of several widths answer right."""
    torch.set_num_threads(1)
    fast, slow, deep = (level.rank for level in LEVELS)
    most = "55 nights, the most there are before: one deep, three slow, six fast"
    by_view = {
        "one night": [fast],
        "60 nights: two deep experts, four fast ones": [deep] * 2 + [fast] * 4,
        most: [deep, *[slow] * 3, *[fast] * 6],
        "60 nights without levels: sixty fast experts": [fast] * 60,
    }
    seconds = latency(by_view)
    for view, spent in seconds.items():
        ratio = spent / seconds["one night"]
        milliseconds = f"{1000 * spent:.1f} ms"
        print(f"{view}: {ratio:.2f} x the latency after one night ({milliseconds})", flush=True)
    for seed in range(seeds):
        for trained in (0, 2):
            routed(nights, facts, seed=seed, trained=trained)


if __name__ == "__main__":
    typer.run(main)
