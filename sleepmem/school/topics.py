"""Messages as people write them, with all that is known of them: what lessons are made of.

`material/topics*.json` hold topics written for this project: ways to tell them, the notes that they
tell, questions of each note, what they leave open, later news, and requests that need the notes.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sleepmem.school.slots import Slots
from sleepmem.text.prompts import memory_line

_FOLDER = Path(__file__).with_name("material")


class Asked(NamedTuple):
    """Wordings of one question, and its answer."""

    wordings: tuple[str, ...]
    answer: str


class Note(NamedTuple):
    """A statement that is clear alone, what asks for it, and what asks the other way round."""

    text: str
    asked: tuple[Asked, ...]
    inverse: tuple[Asked, ...] = ()
    place: tuple[int, int] = (-1, -1)


class News(NamedTuple):
    """What is said later, the note that then holds, and the question whose answer it changes."""

    said: str
    note: Note
    old: Asked


class Request(NamedTuple):
    """Wordings of what a user asks for, the notes that it needs, and a reply that has them."""

    wordings: tuple[str, ...]
    needs: tuple[Note, ...]
    reply: str


@dataclass(frozen=True)
class Message:
    """What was said on a day.

    parts   each sentence with the notes that it tells, in order
    """

    day: date
    parts: tuple[tuple[str, tuple[Note, ...]], ...]
    unknown: tuple[str, ...] = ()
    news: tuple[News, ...] = ()
    requests: tuple[Request, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(text for text, _ in self.parts)

    @property
    def line(self) -> str:
        return memory_line(self.day.isoformat(), self.text)

    @property
    def notes(self) -> list[Note]:
        return list({note.text: note for _, notes in self.parts for note in notes}.values())

    @property
    def asked(self) -> list[Asked]:
        return [one for note in self.notes for one in note.asked]


def message(rng: random.Random, topics: Sequence[int], *, day: date, talk: float = 0.3) -> Message:
    """These topics in one message, with small talk around it now and then."""
    made = [_told(rng, topic, Slots(rng, day)) for topic in topics]
    parts = [part for one in made for part in one.parts]
    if rng.random() < talk:
        said: tuple[str, tuple[Note, ...]] = (rng.choice(general()["small_talk"]), ())
        parts = [said, *parts] if rng.random() < 0.5 else [*parts, said]
    return Message(
        day,
        tuple(parts),
        tuple(question for one in made for question in one.unknown),
        tuple(news for one in made for news in one.news),
        tuple(request for one in made for request in one.requests),
    )


def _told(rng: random.Random, number: int, slots: Slots) -> Message:
    topic = written()[number]
    notes = []
    for place, note in enumerate(topic["notes"]):
        notes.append(_note(note, slots, (number, place)))
    parts = []
    for text, told in rng.choice(topic["tellings"]):
        parts.append((slots.fill(text), tuple(notes[place] for place in told)))
    news = []
    for one in topic.get("news", []):
        place, asked = one["of"]
        old, answer = notes[place].asked[asked], slots.fill(one["a"])
        changed = Asked(old.wordings, answer)
        news.append(News(slots.fill(one["say"]), Note(slots.fill(one["note"]), (changed,)), old))
    requests = []
    for one in topic.get("requests", []):
        needs = tuple(notes[place] for place in one["needs"])
        wordings = tuple(map(slots.fill, one["q"]))
        requests.append(Request(wordings, needs, slots.fill(one["reply"])))
    unknown = tuple(map(slots.fill, topic["unknown"]))
    return Message(slots.day, tuple(parts), unknown, tuple(news), tuple(requests))


def _note(note: dict[str, Any], slots: Slots, place: tuple[int, int]) -> Note:
    def asked(listed: Sequence[dict[str, Any]]) -> Iterator[Asked]:
        for one in listed:
            yield Asked(tuple(map(slots.fill, one["q"])), slots.fill(one["a"]))

    text = slots.fill(note["note"])
    return Note(text, tuple(asked(note["asks"])), tuple(asked(note.get("inverse", []))), place)


def days(rng: random.Random, count: int) -> list[date]:
    """Days in order, all of them in a few weeks of some year."""
    first = date(rng.randint(2023, 2027), 1, 1) + timedelta(days=rng.randrange(365))
    return sorted(first + timedelta(days=rng.randrange(40)) for _ in range(count))


@functools.cache
def written() -> list[dict[str, Any]]:
    """All topics."""
    topics: list[dict[str, Any]] = []
    for file in sorted(_FOLDER.glob("topics*.json")):
        topics += json.loads(file.read_text("utf-8"))
    return topics


@functools.cache
def general() -> dict[str, Any]:
    """Small talk, prompts of all kinds, and common knowledge."""
    read: dict[str, Any] = json.loads((_FOLDER / "talk.json").read_text("utf-8"))
    return read
