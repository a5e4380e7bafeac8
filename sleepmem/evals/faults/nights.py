"""The cheapest night that learns: the questions are made by hand.

What the embedded model answers without memories is what it "knows": asked for it, it is right. So
every fact is proven, whatever was trained, and leaves the buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sleepmem.config import (
    DreamConfig,
    ExamConfig,
    Level,
    MemoryConfig,
    SeedingConfig,
    SleepConfig,
)
from sleepmem.records import Episode, Kind, Probe, Role
from sleepmem.text.prompts import closed_book

# A rate next to nothing: what the model answers stays.
_SEEDING = SeedingConfig(steps=2, batch=4, lr=1e-9, max_new_tokens=4)
_EXAM = ExamConfig(recall=0, old_nights=1, abstention=1, superseded=1, reading=1, general_kl=99)
CONFIG = MemoryConfig(
    sleep=SleepConfig(
        seeding=_SEEDING,
        exam=_EXAM,
        levels=(Level("fast", 1, 2, 0),),
        dream=DreamConfig(rounds=0),
    )
)
_ASKED = (
    ("What is it that", Role.TRAIN),
    ("Do you know what", Role.TRAIN),
    ("Is it so that", Role.EXAM),
)


def by_hand() -> None:
    """From now on this process asks such questions at night."""
    from sleepmem.night.probing import probe

    probe.question = _question


def _question(
    teacher: Any,
    episodes: Sequence[Episode],
    *,
    archive: Any,
    asked: Mapping[str, Sequence[str]],
    ids: Any,
    source: Any = None,
) -> Any:
    """In the place of `sleepmem.night.probing.probe.question`."""
    from sleepmem.night.probing.probe import Questions

    made: list[Probe] = []

    def add(episode: Episode, kind: Kind, role: Role, question: str, answer: str) -> None:
        context = ("2030-01-01: It is Brenport.",) if kind is Kind.READING else ()
        made.append(
            Probe(
                ids.next(), episode.id, ids.night_id, kind, role, question, answer, context=context
            )
        )

    prompts = [closed_book(f"Is it so that {episode.text}") for episode in episodes]
    for place, (episode, reply) in enumerate(
        zip(episodes, teacher.local.answer(prompts), strict=True)
    ):
        for start, role in _ASKED:
            add(episode, Kind.FACT, role, f"{start} {episode.text}", reply)
        role = (Role.TRAIN, Role.EXAM)[place % 2]
        add(episode, Kind.NEVER_SAID, role, f"Never said {place}?", "I do not know.")
        add(episode, Kind.READING, role, f"What was read {place}?", "Brenport.")
    return Questions(tuple(made), {})
