"""Is what an answer is said to come from what it comes from? `python -m sleepmem.evals.why`.

A few nights on the embedded model, each after a day of new facts. Then every fact is asked for, in
trained and in held-out wordings; of what the weights answer, `memory.why` names an expert and a
night, and asks again with each live expert switched off. The world knows on which day a fact was
told, and in which words.

A night trains its expert on top of the earlier ones, which are frozen, so an answer may need these,
too; that is counted apart, and so is whether it comes with the named expert: not given by the
earlier ones alone, given once that is added to them.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from sleepmem.embedded import world
from sleepmem.embedded.world import Fact
from sleepmem.evals.questions import is_right
from sleepmem.evals.week import OF_THE_WEEK, Life, Week, seeded
from sleepmem.memory import SleepMemory
from sleepmem.night.promotion import wilson
from sleepmem.records import Score, Verdict, View
from sleepmem.text.language import words
from sleepmem.text.prompts import closed_book

OWNER = ("why",)
_CONFIDENCE = 0.95
# Wordings of a fact that are asked, half of them held out.
_WORDINGS = 8


class Told(NamedTuple):
    """A fact, the episode that tells it, and the night after it."""

    fact: Fact
    episode: str
    night: str


@dataclass(frozen=True)
class Judged:
    """What came of a question that the weights answered.

    is_right               it is the fact that was told
    goes, stays            without the named expert the answer goes; without any other it stays
    stays_earlier, _later  without any earlier one, without any later one
    is_proven              as `why` says: it goes, and stays without any other
    comes                  it is given once the named expert is added to the earlier ones
    is_night               the named night is that after the day on which the fact was told
    is_episode             what is cited tells the fact
    named                  the expert; `without` holds the other answers, by what is switched off
    """

    question: str
    answer: str
    wanted: str
    is_right: bool
    goes: bool
    stays: bool
    stays_earlier: bool
    stays_later: bool
    is_proven: bool
    comes: bool
    is_night: bool
    is_episode: bool
    named: str
    without: Mapping[str, str]


def lived(memory: SleepMemory, *, nights: int, facts: int, seed: int) -> list[Told]:
    """Days of facts, a night after each; what was told and still holds."""
    week = Week(facts=facts)
    life, told = Life(random.Random(seed)), dict[tuple[str, str], Told]()
    for number in range(nights):
        today = []
        for fact in life.new_day(week):
            text = world.say(life.rng, fact, held_out=life.rng.random() < 0.5)
            today.append((fact, memory.observe(OWNER, text).id))
        began = time.time()
        report = memory.sleep(OWNER)
        for fact, episode in today:
            told[fact.key] = Told(fact, episode, report.night_id)
        live = len(memory.ledger.lineage.experts(OWNER))
        seconds = time.time() - began
        print(
            f"night {number + 1}: {report.verdict.value}, {report.evicted} of {report.episodes} "
            f"left the buffer, {live} live experts, {seconds:.0f} s",
            flush=True,
        )
        if report.verdict is not Verdict.PROMOTED:
            print(report.reason)
    return list(told.values())


def judged(memory: SleepMemory, told: Sequence[Told], *, most: int, seed: int) -> list[Judged]:
    """At most so many questions that the weights answered, each fact in turn."""
    rng, found = random.Random(f"why {seed}"), dict[str, Judged]()
    for wording in range(_WORDINGS):
        for one in told:
            question = world.ask(rng, one.fact.key, held_out=wording % 2 == 1)
            if len(found) < most and question not in found:
                judgement = _judge(memory, one, question)
                if judgement is not None:
                    found[question] = judgement
        print(f"{len(found)} questions answered from the weights", flush=True)
    return list(found.values())


def _judge(memory: SleepMemory, told: Told, question: str) -> Judged | None:
    """What is said of one question; None when the weights do not answer it."""
    if memory.recall(OWNER, question, log=False).view is not View.WEIGHTS:
        return None
    why = memory.why(OWNER, question)
    traced = why.provenance
    if traced is None or traced.view is not View.WEIGHTS:
        return None
    experts = [one.without for one in why.ablations]
    gone = [one.without for one in why.ablations if not one.stays]
    place = experts.index(traced.expert)
    earlier, later = set(experts[:place]), set(experts[place + 1 :])
    return Judged(
        question,
        why.answer,
        told.fact.answer,
        is_right(why.answer, told.fact.answer),
        goes=traced.expert in gone,
        stays=gone in ([], [traced.expert]),
        stays_earlier=earlier.isdisjoint(gone),
        stays_later=later.isdisjoint(gone),
        is_proven=why.proven,
        comes=_comes(memory, question, answer=why.answer, experts=experts[: place + 1]),
        is_night=traced.night == told.night,
        is_episode=told.episode in [one.episode for one in traced.citations],
        named=traced.expert,
        without={one.without: one.answer for one in why.ablations if not one.stays},
    )


def _comes(memory: SleepMemory, question: str, *, answer: str, experts: Sequence[str]) -> bool:
    """Whether the last of these experts, added to the others, brings the answer."""
    chat = [closed_book(question)]
    before, after = (memory.local.answer(chat, names)[0] for names in (experts[:-1], experts))
    return words(after) == words(answer) != words(before)


def scores(found: Sequence[Judged]) -> dict[str, Score]:
    """By what is counted, the share of the questions."""
    counted = {
        "answered right": [one.is_right for one in found],
        "goes without the named expert": [one.goes for one in found],
        "stays without every other": [one.stays for one in found],
        "stays without every later": [one.stays_later for one in found],
        "stays without every earlier": [one.stays_earlier for one in found],
        "proven: goes and stays": [one.is_proven for one in found],
        "comes with the named expert": [one.comes for one in found],
        "named night taught it": [one.is_night for one in found],
        "cited episode tells it": [one.is_episode for one in found],
    }
    return {name: Score(float(sum(hits)), len(hits)) for name, hits in counted.items()}


def table(measured: Mapping[str, Score]) -> str:
    """Markdown, with the Wilson interval of each share."""
    lines = ["| | right | of | share | 95 % |", "|---|---:|---:|---:|---|"]
    for name, score in measured.items():
        low, high = wilson(score, _CONFIDENCE)
        lines.append(
            f"| {name} | {score.right:.0f} | {score.total} | {score.rate:.3f} "
            f"| {low:.3f} to {high:.3f} |"
        )
    return "\n".join(lines)


def _written(measured: Mapping[str, Score]) -> dict[str, Any]:
    written = {}
    for name, score in measured.items():
        low, high = wilson(score, _CONFIDENCE)
        written[name] = {**score.as_dict(), "low": round(low, 4), "high": round(high, 4)}
    return written


def main(
    nights: Annotated[int, typer.Option(help="That are slept.", min=1)] = 3,
    facts: Annotated[int, typer.Option(help="New ones a day.", min=4)] = 20,
    *,
    questions: Annotated[int, typer.Option(help="At most so many.", min=1)] = 200,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-why"),
) -> None:
    """Live a few nights, ask why of every fact, print the table and write the numbers."""
    torch.set_num_threads(1)
    config = seeded(OF_THE_WEEK, seed)
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-why-") as folder,
        SleepMemory.open(folder, config=config) as memory,
    ):
        told = lived(memory, nights=nights, facts=facts, seed=seed)
        found = judged(memory, told, most=questions, seed=seed)
        live = [expert.name for expert in memory.ledger.lineage.experts(OWNER)]
    measured = scores(found)
    print(table(measured))
    out.mkdir(parents=True, exist_ok=True)
    numbers = {
        "nights": nights,
        "facts": len(told),
        "seed": seed,
        "experts": live,
        "shares": _written(measured),
        "questions": [asdict(one) for one in found],
    }
    (out / "why.json").write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    typer.run(main)
