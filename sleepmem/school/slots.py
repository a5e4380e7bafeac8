"""What fills the slots of a topic: names and values, listed or made of syllables, and dates.

A slot with a digit ({city2}) is another value of the same kind.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sleepmem.embedded import words
from sleepmem.text.language import matches

_FOLDER = Path(__file__).with_name("material")
_SLOT = re.compile(r"\{([a-z_]+?)(\d?)\}")
_INVENTED = 0.35
_DRAWS = 30
_COINS = ("euros", "dollars", "pounds", "kroner", "francs")
_PATTERNS = {
    "fullname": ("{person} {surname}",),
    "street": ("{number} {word} Street", "{number} {word} Lane", "{word} Road {number}"),
    "company": ("{word}", "{surname} & {surname2}", "{word} Ltd", "{surname} Brothers"),
    "project": ("{word}", "{thing}", "{petname}"),
    "product": ("{word}", "{word} {number}"),
    "codename": ("{word}", "{petname}"),
    "book": ("The {colour} {thing}", "{person}'s {thing}", "The {thing} of {city}"),
    "film": ("The {thing}", "{word}", "{colour} {thing}"),
    "song": ("{colour} {thing}", "{city} {thing}", "{thing}"),
    "school": ("{word} School", "{surname} College", "{city} Academy"),
    "shop": ("{surname}'s", "{word}", "the {colour} {thing}"),
    "hotel": ("Hotel {word}", "the {colour} {thing}", "the {surname} Inn"),
    "restaurant": ("{word}", "{person}'s", "the {colour} {thing}"),
}


class Slots:
    """Fills texts; the same slot always with the same value."""

    def __init__(self, rng: random.Random, day: date) -> None:
        self.rng, self.day = rng, day
        self._values: dict[str, str] = {}

    def fill(self, text: str) -> str:
        """The text with something in every slot."""
        return _SLOT.sub(lambda slot: self._value(slot[1], slot[2]), text)

    def _value(self, kind: str, number: str) -> str:
        slot = kind + number
        if slot not in self._values:
            # Values do not tell each other, unless the date wants it.
            for _ in range(_DRAWS):
                value = self._drawn(kind)
                taken = self._values.values()
                if not any(matches(value, one) or matches(one, value) for one in taken):
                    break
            self._values[slot] = value
        return self._values[slot]

    def _drawn(self, kind: str) -> str:
        rng = self.rng
        if kind == "person":
            kind = rng.choice(("woman", "man"))
        if kind in _DAYS or kind in _MADE:
            return self._dated(kind) if kind in _DAYS else _MADE[kind](rng)
        if kind in _NAMES and rng.random() < _INVENTED:
            return _NAMES[kind](rng, False).capitalize()
        if kind in _PATTERNS:
            return self._composed(rng.choice(_PATTERNS[kind]))
        return rng.choice(listed("weekday" if kind == "weekday_next" else kind))

    def _dated(self, kind: str) -> str:
        if kind != "date_weekday_next":
            return _DAYS[kind](self.day)
        weekday = self._value("weekday_next", "")
        following = (self.day + timedelta(days=ahead) for ahead in range(1, 8))
        return spelt(next(day for day in following if f"{day:%A}" == weekday))

    def _composed(self, pattern: str) -> str:
        def drawn(slot: re.Match[str]) -> str:
            value = self._drawn(slot[1])
            return value.title() if slot[1] == "colour" else value

        return _SLOT.sub(drawn, pattern)


def missing(text: str) -> set[str]:
    """Kinds of slots in a text that nothing fills."""
    filled = {*_PATTERNS, *_DAYS, *_MADE, *_lists(), "person", "weekday_next"}
    return {slot[1] for slot in _SLOT.finditer(text)} - filled


def listed(kind: str) -> list[str]:
    """All values of a kind."""
    return _lists()[kind]


@functools.cache
def _lists() -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for file in sorted(_FOLDER.glob("slots*.json")):
        read: dict[str, Any] = json.loads(file.read_text("utf-8"))
        for kind, values in read.items():
            lists.setdefault(kind, []).extend(values)
    return lists


def spelt(day: date) -> str:
    """A day as people write it."""
    return f"{day.day} {day:%B} {day.year}"


def _month(day: date, ahead: int) -> str:
    """The month so many after that of the day."""
    years, month = divmod(day.month - 1 + ahead, 12)
    return f"{date(day.year + years, month + 1, 1):%B %Y}"


def _amount(rng: random.Random) -> str:
    count = rng.choice((rng.randint(2, 99), 10 * rng.randint(10, 900)))
    return f"{count} {rng.choice(_COINS)}"


# Days, months and years by how they lie to the day of the message.
_DAYS: dict[str, Callable[[date], str]] = {
    "today": spelt,
    "yesterday": lambda day: spelt(day - timedelta(days=1)),
    "tomorrow": lambda day: spelt(day + timedelta(days=1)),
    "in_two_days": lambda day: spelt(day + timedelta(days=2)),
    "a_week_ago": lambda day: spelt(day - timedelta(days=7)),
    "last_month": lambda day: _month(day, -1),
    "next_month": lambda day: _month(day, 1),
    "last_year": lambda day: str(day.year - 1),
    "this_year": lambda day: str(day.year),
    "next_year": lambda day: str(day.year + 1),
    "date_weekday_next": spelt,
}
_MADE: dict[str, Callable[[random.Random], str]] = {
    "number": lambda rng: str(rng.randint(2, 99)),
    "amount": _amount,
    "word": lambda rng: words.word(rng, False).capitalize(),
}
# Names that are made of syllables now and then, so that any can be copied.
_NAMES = {"woman": words.name, "man": words.name, "surname": words.name, "city": words.place}
