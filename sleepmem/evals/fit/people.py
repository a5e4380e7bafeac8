"""Messages of people as they write to an agent, several facts in each, with what is known of them.

`messages.json` holds templates written for this project, and what fills them. They measure; nothing
of them is ever taught.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("messages.json")


class Fact(NamedTuple):
    """Two wordings of a question, its answer, and what any statement of the fact holds."""

    asks: tuple[str, ...]
    answer: str
    keys: tuple[str, ...]


class Message(NamedTuple):
    """What somebody wrote.

    news     a later message that corrects a fact, its place, and the new answer
    unknown  questions that fit it and that it does not answer
    names    of people in it
    """

    text: str
    facts: tuple[Fact, ...]
    unknown: tuple[str, ...]
    names: frozenset[str]
    news: tuple[str, int, str] | None = None


class Case(NamedTuple):
    """Memories, oldest first, and a question about one of them.

    `stale` is what no longer holds; an empty answer says that nothing tells.
    """

    texts: tuple[str, ...]
    question: str
    answer: str
    stale: str = ""


def messages(rng: random.Random, count: int, *, news: bool = False) -> list[Message]:
    """So many of different kinds and about different people; with `news`, such as are corrected."""
    templates = [one for one in _written()["messages"] if "news" in one or not news]
    made: list[Message] = []
    taken: set[str] = set()
    for template in rng.sample(templates, count):
        message = _made(rng, template, without=taken)
        taken |= message.names
        made.append(message)
    return made


def reading(rng: random.Random, memories: int) -> Case:
    """A fact of one message, among others."""
    own, *others = messages(rng, memories)
    fact = rng.choice(own.facts)
    texts = [own.text, *(other.text for other in others)]
    rng.shuffle(texts)
    return Case(tuple(texts), rng.choice(fact.asks), fact.answer)


def newest(rng: random.Random) -> Case:
    """A fact that was corrected later."""
    [own] = messages(rng, 1, news=True)
    assert own.news is not None
    text, place, answer = own.news
    fact = own.facts[place]
    return Case((own.text, text), rng.choice(fact.asks), answer, fact.answer)


def unknown(rng: random.Random, memories: int) -> Case:
    """What one of the messages might tell, and none does."""
    own, *others = messages(rng, memories)
    texts = [own.text, *(other.text for other in others)]
    rng.shuffle(texts)
    return Case(tuple(texts), rng.choice(own.unknown), "")


def drawn(rng: random.Random, count: int, *, make: Callable[[random.Random], Case]) -> list[Case]:
    """So many different cases."""
    cases: dict[Case, None] = {}
    while len(cases) < count:
        cases[make(rng)] = None
    return list(cases)


def _made(rng: random.Random, template: dict[str, Any], *, without: Collection[str]) -> Message:
    """The template with something in every slot; people that are not taken."""
    slots: dict[str, list[str]] = _written()["slots"]
    values = {}
    for slot, choices in slots.items():
        values[slot] = rng.choice([one for one in choices if one not in without])

    def filled(text: str) -> str:
        return text.format(**values)

    facts = []
    for fact in template["facts"]:
        asks, keys = map(filled, fact["asks"]), map(filled, fact["keys"])
        facts.append(Fact(tuple(asks), filled(fact["answer"]), tuple(keys)))
    news = template.get("news")
    text = filled(template["text"])
    return Message(
        text,
        tuple(facts),
        tuple(map(filled, template["unknown"])),
        frozenset(values[slot] for slot in ("person", "other") if values[slot] in text),
        (filled(news["text"]), news["fact"], filled(news["answer"])) if news else None,
    )


@functools.cache
def _written() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return written
