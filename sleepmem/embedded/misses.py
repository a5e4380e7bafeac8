"""Near misses of the embedded model's world: questions that sound like known ones and are not.

What the weights hold answers none of them. They measure the gate, so they are written by hand here,
and by nothing that the gate is calibrated with.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import NamedTuple

from sleepmem.embedded import words, world
from sleepmem.embedded.relations import KINDS, RELATIONS, choose_wording
from sleepmem.embedded.world import Fact, Key, Subject


class MissKind(StrEnum):
    """How a question misses what is known."""

    SUBJECT = "another subject"
    SWAPPED = "roles swapped"
    NEGATED = "negated"
    DATE = "another date"
    CORRECTED = "corrected since"
    NEVER_TOLD = "never told"


class Miss(NamedTuple):
    """A question that the weights must not answer."""

    kind: MissKind
    question: str


# Whose boss or friend somebody is, not who theirs is; {s} is the subject of the known fact.
_SWAPPED = {
    "boss": (
        "Who is {s} the boss of?",
        "Whose boss is {s}?",
        "Who reports to {s}?",
        "Who works for {s}?",
        "Whom does {s} manage?",
    ),
    "friend": ("Whose best friend is {s}?", "Who calls {s} a friend?"),
    # {v} is the value: what was told is asked from the other end.
    "pet": ("Who owns the pet {v}?", "Whose pet is {v}?"),
    "mayor": ("Of which town is {v} the mayor?", "Which town does {v} govern?"),
    "leader": ("Which project does {v} lead?", "Of which project is {v} the leader?"),
    "tool": ("Which project is tested with {v}?", "What does the tool {v} test?"),
}
# Whether something is so on another day than the one that was told.
_DATED = {
    "birthday": ("Is {s}'s birthday on {v}?", "Who has a birthday on {v}, {s}?"),
    "appointment": ("Does {s} have an appointment on {v}?", "What does {s} do on {v}?"),
    "deadline": ("Is the deadline of {s} on {v}?", "Is {s} due on {v}?"),
    "opening": ("Is the library of {s} open at {v}?", "What opens in {s} at {v}?"),
}
_AUXILIARY = re.compile(r"\b(does|did|will|can|must|has) (the \w+ )?\{s\}(?!')")


def near_misses(
    rng: random.Random, held: Sequence[Fact], *, told: Collection[Key], corrected: Sequence[Fact]
) -> list[Miss]:
    """One question of each kind about each of some facts, as far as the kind has one.

    Args:
        rng: of every choice.
        held: facts that the weights hold.
        told: every key that was ever told.
        corrected: facts that were told anew since the last night.
    """
    misses: list[Miss] = []
    for fact in held:
        stranger = world.subject_of(rng, fact.about.kind, test=True)
        misses.append(Miss(MissKind.SUBJECT, world.ask(rng, Key(stranger.name, fact.relation))))
        misses += _swapped(rng, fact)
        misses += _negated(rng, fact)
        misses += _dated(rng, fact)
        untold = _untold(rng, fact.about, told)
        if untold is not None:
            question = world.ask(rng, untold, held_out=rng.random() < 0.5)
            misses.append(Miss(MissKind.NEVER_TOLD, question))
    for fact in corrected:
        question = world.ask(rng, fact.key, held_out=rng.random() < 0.5)
        misses.append(Miss(MissKind.CORRECTED, question))
    return misses


def _swapped(rng: random.Random, fact: Fact) -> list[Miss]:
    """Asked the other way round, of the subject or of the value."""
    if fact.relation not in _SWAPPED:
        return []
    other_way = rng.choice(_SWAPPED[fact.relation])
    other_way = other_way.format(s=fact.subject, v=fact.value)
    misses = [Miss(MissKind.SWAPPED, other_way)]
    if RELATIONS[fact.relation].make is words.name:
        of_value = world.ask(rng, Key(fact.value, fact.relation))
        misses.append(Miss(MissKind.SWAPPED, of_value))
    return misses


def _negated(rng: random.Random, fact: Fact) -> list[Miss]:
    wording = choose_wording(rng, RELATIONS[fact.relation].questions, held_out=rng.random() < 0.5)
    if _AUXILIARY.search(wording):
        denied = _AUXILIARY.sub(lambda match: f"{match.group()} not", wording, count=1)
    elif " is " in wording:
        denied = wording.replace(" is ", " is not ", 1)
    else:
        return []
    return [Miss(MissKind.NEGATED, denied.format(s=fact.subject))]


def _dated(rng: random.Random, fact: Fact) -> list[Miss]:
    """Another day than the fact's; for what has none, in a year long ago."""
    if fact.relation in _DATED:
        other = world.corrected(rng, fact, test=True)
        question = rng.choice(_DATED[fact.relation]).format(s=fact.subject, v=other.value)
    elif fact.relation in ("city", "job", "boss", "mayor", "leader"):
        wording = choose_wording(rng, RELATIONS[fact.relation].questions, held_out=False)
        year = rng.randint(1950, 2015)
        question = wording.format(s=fact.subject).rstrip("?") + f" in {year}?"
    else:
        return []
    return [Miss(MissKind.DATE, question)]


def _untold(rng: random.Random, about: Subject, told: Collection[Key]) -> Key | None:
    """Something of a known subject that nobody told."""
    open_keys = []
    for relation in KINDS[about.kind].relations:
        if Key(about.name, relation) not in told:
            open_keys.append(Key(about.name, relation))
    return rng.choice(open_keys) if open_keys else None
