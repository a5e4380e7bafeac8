"""What dreaming is for: questions that no single episode answers, and facts asked the other way
round. `make bench-dreams`.

Several nights of facts that lead on to each other, learned twice: by seeding alone, and by seeding
with dreams, with as many training steps. Then all is asked closed-book, in wordings of which half
were never trained on, with values and names that no training ever saw.
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

from sleepmem.config import DreamConfig, MemoryConfig, SleepConfig
from sleepmem.embedded import links, relations, world
from sleepmem.embedded.world import Fact, Key
from sleepmem.evals.questions import Question, about_fact, about_unsaid, ask_all
from sleepmem.evals.week import seeded
from sleepmem.memory import SleepMemory
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.prompts import closed_book

OWNER = ("bench",)
# Times a night's steps, with which seeding alone trains on as many tokens as a night that dreams
# (measured).
EQUAL = 1.48
FIGURES = ("plain", "chain", "inverse", "abstention", "unknown chain", "tokens", "seconds")
# Of each fact, chain and inverse: one wording tells a point from another badly.
WORDINGS = 4
# Questions about what nobody told.
UNSAID = 200
# Share of the facts that are about what an earlier one named.
LINKED = 0.35
Facts = Mapping[tuple[str, str], Fact]


@dataclass(frozen=True)
class Course:
    """How many nights, how many new facts a night, and the model that learns."""

    nights: int
    facts: int
    model: str = "embedded"


def told(rng: random.Random, nights: int, *, each: int) -> list[list[Fact]]:
    """Facts by night; a third of them are about what an earlier one named."""
    facts: dict[tuple[str, str], Fact] = {}
    by_night: list[list[Fact]] = []
    for _ in range(nights):
        fresh = [world.subject(rng, True) for _ in range(each // 5)]
        tonight: list[Fact] = []
        while len(tonight) < each:
            starts = [fact for fact in facts.values() if fact.relation in links.DESCRIPTIONS]
            if starts and rng.random() < LINKED:
                fact = links.linked(rng, rng.choice(starts), test=True)
            else:
                fact = world.fact(rng, rng.choice(fresh), test=True)
            if fact.key not in facts:
                facts[fact.key] = fact
                tonight.append(fact)
        by_night.append(tonight)
    return by_night


def questions(rng: random.Random, facts: Facts, *, unsaid: int) -> dict[str, list[Question]]:
    """By figure: plain facts, chains, inverses, and what nothing tells.

    Half of them are in held-out wordings.
    """

    def half() -> bool:
        return rng.random() < 0.5

    asked: dict[str, list[Question]] = {name: [] for name in FIGURES[:5]}
    pairs, turned = links.chains(facts), links.invertible(facts)
    for _ in range(WORDINGS):
        for fact in facts.values():
            asked["plain"].append(about_fact(rng, fact, held_out=half()))
        for start, end in pairs:
            text = links.chain(rng, start.key, second=end.relation, held_out=half())
            asked["chain"].append(Question(closed_book(text), end.answer))
        for fact in turned:
            text = links.inverse(rng, fact, held_out=half())
            asked["inverse"].append(Question(closed_book(text), f"{fact.subject}."))

    # What nobody told: a chain that begins nowhere, a relation of somebody unheard of.
    for _ in range(unsaid):
        key, second = links.unknown_chain(rng, {}, test=True)
        text = links.chain(rng, key, second=second, held_out=half())
        asked["unknown chain"].append(Question(closed_book(text), None))
        about = world.subject(rng, True)
        key = Key(about.name, rng.choice(relations.KINDS[about.kind].relations))
        asked["abstention"].append(about_unsaid(rng, key, held_out=half()))
    return asked


def measure(
    memory: SleepMemory, facts: Facts, *, seed: int, unsaid: int = UNSAID
) -> dict[str, float]:
    """Shares right closed-book, by figure; 1 where nothing could be asked."""
    figures = {}
    for name, asked in questions(random.Random(seed), facts, unsaid=unsaid).items():
        right = ask_all(memory.local, asked, experts=memory.live_experts(OWNER))
        figures[name] = round(statistics.mean(right), 4) if right else 1.0
    return figures


def learn(
    by_night: Sequence[Sequence[Fact]], config: SleepConfig, *, seed: int, model: str = "embedded"
) -> dict[str, Any]:
    """Learn night after night, then measure."""
    rng, started, tokens = random.Random(seed), time.time(), 0
    verdicts, dreams = [], []
    facts: dict[tuple[str, str], Fact] = {}
    settings = seeded(MemoryConfig(sleep=config), seed)
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-dreams-") as folder,
        SleepMemory.open(folder, model, embeddings=default_embeddings(), config=settings) as memory,
    ):
        for tonight in by_night:
            for fact in tonight:
                held_out = rng.random() < 0.5
                memory.observe(OWNER, world.say(rng, fact, held_out=held_out))
                facts[fact.key] = fact
            report = memory.sleep(OWNER)
            tokens += report.tokens_trained
            verdicts.append(report.verdict.value)
            dreams.append(report.dreams)
        return {
            **measure(memory, facts, seed=seed),
            "tokens": tokens,
            "seconds": round(time.time() - started),
            "verdicts": verdicts,
            "dreams": dreams,
        }


def compare(
    arms: Mapping[str, SleepConfig], seeds: Sequence[int], *, course: Course, out: Path
) -> dict[str, list[dict[str, Any]]]:
    """Every arm with every seed, on the same facts; one JSON file, written after each run."""
    torch.set_num_threads(1)  # as in the week
    out.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for seed in seeds:
        by_night = told(random.Random(seed), course.nights, each=course.facts)
        for name, config in arms.items():
            run = learn(by_night, config, seed=seed, model=course.model)
            runs[name].append(run)
            print(seed, name, json.dumps(run), flush=True)
            (out / f"seeds-{seeds[0]}.json").write_text(json.dumps(runs, indent=1))
    for name, of_arm in runs.items():
        print(name, _means(of_arm))
    return runs


def _means(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The mean of each figure, and what it was in each run."""
    means = {}
    for figure in FIGURES:
        values = [run[figure] for run in runs]
        each = ", ".join(f"{value:.3f}" for value in values)
        means[figure] = f"{statistics.mean(values):.3f} ({each})"
    return means


def main(
    seeds: Annotated[int, typer.Option(help="How many runs, with seeds 0, 1, ...", min=1)] = 3,
    nights: Annotated[int, typer.Option(min=1)] = 3,
    *,
    facts: Annotated[int, typer.Option(help="New facts a night.", min=1)] = 24,
    model: Annotated[
        str, typer.Option(help="Folder of a model that can dream, or embedded.")
    ] = "embedded",
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-dreams"),
) -> None:
    """Learn with and without dreams, and print what is answered closed-book."""
    plain = SleepConfig()
    of_a_night = max(plain.seeding.steps, plain.levels[0].steps_per_episode * facts)
    longer = replace(plain.seeding, steps=round(EQUAL * of_a_night))
    arms = {
        "seeding": replace(plain, seeding=longer),
        "seeding + dreams": replace(plain, dream=DreamConfig(rounds=2)),
    }
    course = Course(nights, facts, model)
    compare(arms, range(first, first + seeds), course=course, out=out)


if __name__ == "__main__":
    typer.run(main)
