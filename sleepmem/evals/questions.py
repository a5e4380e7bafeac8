"""Questions with the answer that is wanted, and which of them a model answers so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from sleepmem.embedded import world
from sleepmem.embedded.world import Fact, Key
from sleepmem.model.local import LocalModel
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import closed_book, memory_line, open_book

Chat = tuple[dict[str, str], ...]


class Question(NamedTuple):
    """Chat messages that ask, and the wanted answer; None: nobody told it, so none is right."""

    chat: Chat
    wanted: str | None


def about_fact(rng: random.Random, fact: Fact, *, held_out: bool = False) -> Question:
    """A closed-book question about a fact."""
    return Question(closed_book(world.ask(rng, fact.key, held_out=held_out)), fact.answer)


def about_unsaid(rng: random.Random, key: Key, *, held_out: bool = False) -> Question:
    """A closed-book question about what nobody told."""
    return Question(closed_book(world.ask(rng, key, held_out=held_out)), None)


def reading_questions(rng: random.Random, count: int) -> list[Question]:
    """Questions about facts nobody ever learned, with 1 to 4 memories in the context."""
    questions = []
    for _ in range(count):
        scene = world.scene(rng, rng.randint(1, 4), test=True)
        lines = memory_lines(rng, scene.told)
        fact = rng.choice(list(scene.current.values()))
        questions.append(Question(open_book(world.ask(rng, fact.key), lines), fact.answer))
    return questions


def memory_lines(rng: random.Random, facts: Sequence[Fact]) -> list[str]:
    """These facts as memory lines at ascending dates, in held-out wordings."""
    lines = []
    for date, fact in zip(world.dates(rng, len(facts)), facts, strict=True):
        lines.append(memory_line(date, world.say(rng, fact, held_out=True)))
    return lines


def is_right(reply: str, wanted: str | None) -> bool:
    """Whether it gives what is wanted, or says that it does not know where nothing is."""
    return abstains(reply) if wanted is None else matches(reply, wanted)


def ask_all(
    local: LocalModel, questions: Sequence[Question], *, experts: Sequence[str] = ()
) -> list[bool]:
    """Which of them are answered right, all asked in one call, with these experts on."""
    replies = local.answer([question.chat for question in questions], experts)
    results = []
    for question, reply in zip(questions, replies, strict=True):
        results.append(is_right(reply, question.wanted))
    return results
