"""Owners of a bench: each has a word that stands in all of its texts, and in nobody else's."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace

# So begins every such word; six letters follow.
_BEGINS, _LETTERS = "zq", "abcdefghij"
_MARKER = re.compile(rf"\b{_BEGINS}[{_LETTERS}]{{6}}\b")
# What the owners have alike: what one asks for, all have told.
_THINGS = ("boat", "house", "school", "garden", "doctor", "cousin", "violin", "market", "bicycle")
_PEOPLE = ("Mara", "Jon", "Karo", "Tolvan", "Fenwin", "Ilse", "Bero", "Sanna")
_PLACES = ("Brenport", "Oslo", "Lindau", "Kyoto", "Tunis", "Quito")


def owner(number: int) -> Namespace:
    return (f"owner-{number:05d}",)


def marker(number: int) -> str:
    """The word of an owner."""
    digits = f"{number:06d}"
    return _BEGINS + "".join(_LETTERS[int(digit)] for digit in digits)


def text(number: int, rng: random.Random) -> str:
    """Something that this owner says, like what others say but for the word."""
    person, thing, place = (rng.choice(words) for words in (_PEOPLE, _THINGS, _PLACES))
    digits = rng.randrange(10**6)
    return f"The {thing} of {person} in {place} has number {digits}, {marker(number)}."


def question(rng: random.Random, *, about: int | None = None) -> str:
    """Something that all of them could ask; about the word of an owner where it is given.

    In capitals, which search takes for the same: a question that is stored is no leak.
    """
    person, thing = rng.choice(_PEOPLE), rng.choice(_THINGS)
    if about is None:
        return f"What number has the {thing} of {person}?"
    return f"Which {thing} has {marker(about).upper()}?"


def strangers(texts: Iterable[str], number: int) -> list[str]:
    """Texts that hold the word of another owner."""
    own = marker(number)
    return [one for one in texts if set(_MARKER.findall(one)) - {own}]


def fill(folder: Path, numbers: Iterable[int], *, each: int, seed: int = 0) -> None:
    """Store so many episodes of each of these owners; who recalls them embeds them."""
    rng = random.Random(seed)
    with SleepMemory.open(folder, append_only=True) as memory:
        for number in numbers:
            with memory.ledger.database.write():
                for _ in range(each):
                    memory.observe(owner(number), text(number, rng))
