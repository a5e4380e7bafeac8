"""What dreaming is for: questions that no single episode answers, and facts asked the other way round. `make bench-dreams`.

Several nights of facts that lead on to each other, learned twice: by seeding alone, and by seeding with dreams, with as many training steps. Then all is
asked closed-book, in wordings of which half were never trained on, with values and names that no training ever saw.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from sleepmem.config import DreamConfig, MemoryConfig, SleepConfig
from sleepmem.embedded import links, relations, world
from sleepmem.embedded.world import Fact
from sleepmem.memory import SleepMemory
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book

OWNER = ("bench",)
EQUAL = 1.48  # times a night's steps, with which seeding alone trains on as many tokens as a night that dreams (measured)
FIGURES = ("plain", "chain", "inverse", "abstention", "unknown chain", "tokens", "seconds")
WORDINGS = 4  # of each fact, chain and inverse: one wording tells a point from another badly
Facts = Mapping[tuple[str, str], Fact]


def told(rng: random.Random, nights: int, each: int) -> list[list[Fact]]:
    """Facts by night; a third of them are about what an earlier one named."""
    facts: dict[tuple[str, str], Fact] = {}
    by_night: list[list[Fact]] = []
    for _ in range(nights):
        fresh = [world.subject(rng, True) for _ in range(each // 5)]
        tonight: list[Fact] = []
        while len(tonight) < each:
            starts = [f for f in facts.values() if f.relation in links.DESCRIPTIONS]
            f = (
                links.linked(rng, rng.choice(starts), test=True)
                if starts and rng.random() < 0.35
                else world.fact(rng, rng.choice(fresh), test=True)
            )
            if f.key not in facts:
                facts[f.key] = f
                tonight.append(f)
        by_night.append(tonight)
    return by_night


def measure(memory: SleepMemory, facts: Facts, count: int, seed: int) -> dict[str, float]:
    """Shares right closed-book: plain facts, chains, inverses, and abstention on facts and on chains that nothing tells."""
    rng = random.Random(seed)

    def half() -> bool:
        return rng.random() < 0.5

    asked: dict[str, list[tuple[str, str | None]]] = {
        "plain": [],
        "chain": [],
        "inverse": [],
        "abstention": [],
        "unknown chain": [],
    }
    pairs, turned = links.chains(facts), links.invertible(facts)
    for _ in range(WORDINGS):
        asked["plain"] += [
            (world.ask(rng, f.key, held_out=half()), f.answer) for f in facts.values()
        ]
        asked["chain"] += [
            (links.chain(rng, a.key, second=b.relation, held_out=half()), b.answer)
            for a, b in pairs
        ]
        asked["inverse"] += [
            (links.inverse(rng, f, held_out=half()), f"{f.subject}.") for f in turned
        ]
    for _ in range(count):
        key, second = links.unknown_chain(rng, {}, test=True)
        asked["unknown chain"].append((links.chain(rng, key, second=second, held_out=half()), None))
        of = world.subject(rng, True)
        asked["abstention"].append(
            (world.ask(rng, (of[0], rng.choice(relations.KINDS[of[1]][0])), held_out=half()), None)
        )
    found = {}
    for name, some in asked.items():
        made = memory.local.answer([closed_book(q) for q, _ in some], memory.live_experts(OWNER))
        right = [
            abstains(text) if a is None else matches(text, a)
            for text, (_, a) in zip(made, some, strict=True)
        ]
        found[name] = round(statistics.mean(right), 4) if right else 1.0
    return found


def arm(
    by_night: Sequence[Sequence[Fact]], config: SleepConfig, seed: int, model: str = "embedded"
) -> dict[str, Any]:
    """Learn night after night, then measure."""
    rng, began, tokens, verdicts, dreams = random.Random(seed), time.time(), 0, [], []
    settings = MemoryConfig(sleep=replace(config, seeding=replace(config.seeding, seed=seed)))
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-dreams-") as folder,
        SleepMemory.open(folder, model, embeddings=MiniLMEmbeddings(), config=settings) as memory,
    ):
        for tonight in by_night:
            for f in tonight:
                memory.observe(OWNER, world.say(rng, f, held_out=rng.random() < 0.5))
            report = memory.sleep(OWNER)
            tokens += report.tokens_trained
            verdicts.append(report.verdict.value)
            dreams.append(report.dreams)
        facts: dict[tuple[str, str], Fact] = {f.key: f for tonight in by_night for f in tonight}
        return {
            **measure(memory, facts, 200, seed),
            "tokens": tokens,
            "seconds": round(time.time() - began),
            "verdicts": verdicts,
            "dreams": dreams,
        }


def compare(
    arms: Mapping[str, SleepConfig],
    seeds: Sequence[int],
    nights: int,
    facts: int,
    model: str,
    out: Path,
) -> dict[str, list[dict[str, Any]]]:
    """Every arm with every seed, on the same facts; one JSON file, written after each run."""
    torch.set_num_threads(1)  # as in the week
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for seed in seeds:
        by_night = told(random.Random(seed), nights, facts)
        for name, config in arms.items():
            found[name].append(arm(by_night, config, seed, model))
            print(seed, name, json.dumps(found[name][-1]), flush=True)
            (out / f"seeds-{seeds[0]}.json").write_text(json.dumps(found, indent=1))
    for name, some in found.items():
        print(
            name,
            {
                k: f"{statistics.mean(r[k] for r in some):.3f} ({', '.join(f'{r[k]:.3f}' for r in some)})"
                for k in FIGURES
            },
        )
    return found


def main(
    seeds: Annotated[int, typer.Option(help="How many runs, with seeds 0, 1, ...", min=1)] = 3,
    nights: Annotated[int, typer.Option(min=1)] = 3,
    facts: Annotated[int, typer.Option(help="New facts a night.", min=1)] = 24,
    model: Annotated[
        str, typer.Option(help="Folder of a model that can dream, or embedded.")
    ] = "embedded",
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-dreams"),
) -> None:
    """Learn with and without dreams, and print what is answered closed-book."""
    plain = SleepConfig()
    dream = DreamConfig(rounds=2)
    longer = replace(
        plain.seeding,
        steps=round(EQUAL * max(plain.seeding.steps, plain.levels[0].steps_per_episode * facts)),
    )
    arms = {
        "seeding": replace(plain, seeding=longer),
        "seeding + dreams": replace(plain, dream=dream),
    }
    compare(arms, range(first, first + seeds), nights, facts, model, out)


if __name__ == "__main__":
    typer.run(main)
