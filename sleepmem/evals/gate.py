"""Read the gate's thresholds off data: `make bench-gate`.

Facts of the embedded model's world. A third is known (its questions are indexed as after a night),
a third is known and was corrected since (the correction waits in the buffer), a third was never
learned and waits in the buffer. Questions in held-out wordings. First table, by `known`: questions
about known facts that are near enough (the saving), and questions about something else that are
(the risk; the model can still abstain). Second table, by `near`: corrected facts whose correction
is seen, and known facts that are read without need because the buffer names their subject.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from sleepmem.day.gate import about
from sleepmem.embedded import relations, world
from sleepmem.embedded.world import Fact, Key
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.similarity import cosine

KNOWN = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
NEAR = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Situation:
    """What is known, corrected and waiting, and what lies in the two indexes.

    questions  that were passed closed-book
    buffered   texts of the episodes that wait
    asked      per fact, a question in a wording that is in no index
    """

    known: Sequence[Key]
    corrected: Sequence[Key]
    waiting: Sequence[Key]
    questions: Collection[str]
    buffered: Sequence[str]
    asked: Mapping[Key, str]


def situation(rng: random.Random, count: int) -> Situation:
    """Facts, a third of each kind."""
    subjects = [world.subject(rng, True) for _ in range(count // 4)]
    told: dict[Key, Fact] = {}
    for _ in range(count):
        fact = world.fact(rng, rng.choice(subjects), test=True)
        told[fact.key] = fact
    keys = list(told)
    known, corrected, waiting = keys[::3], keys[1::3], keys[2::3]

    # What was taught, and what waits: corrections of what is known, and what is new.
    taught = {key: world.say(rng, told[key]) for key in keys}
    buffered = []
    for key in corrected:
        kind = relations.RELATIONS[key[1]].kind
        fact = world.fact(rng, (key[0], kind), test=True, relation=key[1])
        buffered.append(world.say(rng, fact))
    buffered += [taught[key] for key in waiting]

    questions = set()
    for key in [*known, *corrected]:
        for _ in range(5):
            questions.add(world.ask(rng, key, framed=False))
    asked = {key: world.ask(rng, key, held_out=True) for key in keys}
    return Situation(known, corrected, waiting, questions, buffered, asked)


def nearest(
    embeddings: MiniLMEmbeddings, question: str, *, texts: Sequence[str], empty: float
) -> float:
    """The cosine of the nearest text that names what the question names; `empty` without one."""
    vector, best = embeddings.embed_query(question), empty
    for text, other in zip(texts, embeddings.embed_documents(list(texts)), strict=True):
        if about(question, text):
            best = max(best, cosine(vector, other))
    return best


def share(keys: Sequence[Key], values: Mapping[Key, float], *, least: float) -> float:
    """Share of the facts whose value is at least this."""
    return sum(values[key] >= least for key in keys) / len(keys)


def main(
    facts: Annotated[int, typer.Option(help="Facts, a third of each kind.", min=3)] = 300,
    seed: int = 0,
) -> None:
    """Print both tables."""
    embeddings, given = MiniLMEmbeddings(), situation(random.Random(seed), facts)
    questions = list(given.questions)
    known, fresh = {}, {}
    for key, question in given.asked.items():
        known[key] = nearest(embeddings, question, texts=questions, empty=0.0)
        fresh[key] = nearest(embeddings, question, texts=given.buffered, empty=-1.0)

    print("known   near enough  wrongly")
    for least in KNOWN:
        saved = share(given.known, known, least=least)
        risked = share(given.waiting, known, least=least)
        print(f"{least:5.2f}  {saved:12.3f} {risked:8.3f}")
    print("  near  correction seen  read without need")
    for least in NEAR:
        seen = share(given.corrected, fresh, least=least)
        needless = share(given.known, fresh, least=least)
        print(f"{least:6.2f} {seen:16.3f} {needless:10.3f}")


if __name__ == "__main__":
    typer.run(main)
