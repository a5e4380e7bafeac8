"""The small world that the embedded model is taught: facts, scenes, conversations.

The last wordings of every relation are held out: training never sees them. A fixed set of entities
(`known`) is taught closed-book: without it the model grows no recall circuits that an adapter could
attach to.

Every function draws from the random source that it is given, and from nothing else. The order of
the draws is part of what it promises: a recipe and its seed stand for one stream of conversations.
"""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sleepmem.embedded.relations import KINDS, RELATIONS, choose_wording
from sleepmem.text.prompts import (
    ABSTENTION,
    INVENT,
    UNANSWERED,
    WRITE_PAIR,
    format_pair,
    memory_line,
    memory_prompt,
)

ACKNOWLEDGEMENT = "Noted."

_STATEMENT_FRAMES = [
    *["{}"] * 8,
    "Please remember: {}",
    "Note: {}",
    "By the way, {}",
    "Just so you know: {}",
]
_STATEMENT_FRAMES_TEST = [*["{}"] * 3, "Please note: {}"]
_QUESTION_FRAMES = [
    *["{}"] * 8,
    "Tell me: {}",
    "Please tell me: {}",
    "Do you know: {}",
    "One question: {}",
]
_QUESTION_FRAMES_TEST = [*["{}"] * 3, "Please: {}"]
_SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a friendly agent. Keep answers short.",
    "Help the user.",
    "Be brief and polite.",
]
SMALL_TALK = {
    "Hello.": "Hello.",
    "Hi there!": "Hello.",
    "Good morning.": "Good morning.",
    "Good evening.": "Good evening.",
    "How are you?": "I am well.",
    "Thank you.": "You are welcome.",
    "Thanks a lot!": "You are welcome.",
    "Goodbye.": "Goodbye.",
    "Who are you?": "I am a small assistant with a memory.",
    "What can you do?": "I remember what you tell me and answer questions about it.",
    "Can you help me?": "Yes. Tell me something or ask me something.",
    "Good night.": "Good night.",
}


class Subject(NamedTuple):
    """Somebody or something that facts are about; `kind` is a key of `KINDS`."""

    name: str
    kind: str


class Key(NamedTuple):
    """What a fact gives a value for."""

    subject: str
    relation: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of one relation of one subject."""

    subject: str
    relation: str
    value: str

    @property
    def key(self) -> Key:
        return Key(self.subject, self.relation)

    @property
    def about(self) -> Subject:
        return Subject(self.subject, RELATIONS[self.relation].kind)

    @property
    def answer(self) -> str:
        return f"{self.value}."


# A fact for each (subject, relation).
Facts = Mapping[tuple[str, str], Fact]


@dataclass(frozen=True, slots=True)
class Scene:
    """Facts told in order.

    `current` holds the newest value for each key, `stale` the keys that were updated, `subjects`
    those that the scene began with.
    """

    told: tuple[Fact, ...]
    current: Facts
    stale: frozenset[tuple[str, str]]
    subjects: tuple[Subject, ...]


@dataclass(slots=True)
class Conversation:
    """Chat messages as a chat template takes them; the assistant's carry the loss."""

    messages: list[dict[str, str]] = field(default_factory=list)

    def system(self, text: str) -> None:
        self.messages.append({"role": "system", "content": text})

    def turn(self, user: str, assistant: str) -> None:
        self.messages.append({"role": "user", "content": user})
        self.messages.append({"role": "assistant", "content": assistant})


class Known(NamedTuple):
    """The entities that are taught closed-book, and the facts that are taught of them."""

    entities: tuple[Subject, ...]
    facts: Facts


def subject(rng: random.Random, test: bool = False) -> Subject:
    """A new subject; people and projects twice as often as places."""
    kind = rng.choice(("person", "person", "place", "project", "project"))
    return subject_of(rng, kind, test=test)


def subject_of(rng: random.Random, kind: str, *, test: bool = False) -> Subject:
    """A new subject of this kind."""
    return Subject(KINDS[kind].make_name(rng, test), kind)


def fact(
    rng: random.Random, of: tuple[str, str], *, test: bool = False, relation: str | None = None
) -> Fact:
    """A fact about `of`, a (name, kind), in the given relation or in any that its kind has."""
    name, kind = of
    relation = relation or rng.choice(KINDS[kind].relations)
    return Fact(name, relation, RELATIONS[relation].make(rng, test))


def newest(facts: Iterable[Fact]) -> Facts:
    """The last fact for each key; the keys stand in the order in which they were first told."""
    return {each.key: each for each in facts}


def say(rng: random.Random, fact: Fact, *, held_out: bool = False) -> str:
    """A statement of the fact, in a trained or in a held-out wording."""
    wording = choose_wording(rng, RELATIONS[fact.relation].statements, held_out=held_out)
    statement = wording.format(s=fact.subject, v=fact.value)
    return rng.choice(_STATEMENT_FRAMES_TEST if held_out else _STATEMENT_FRAMES).format(statement)


def ask(
    rng: random.Random, key: tuple[str, str], *, held_out: bool = False, framed: bool = True
) -> str:
    """A question for `key`, a (subject, relation), in a trained or in a held-out wording."""
    name, relation = key
    wording = choose_wording(rng, RELATIONS[relation].questions, held_out=held_out)
    question = wording.format(s=name)
    return frame(rng, question, held_out=held_out) if framed else question


def frame(rng: random.Random, question: str, *, held_out: bool = False) -> str:
    """The question as users put it: as it is, or after a few words."""
    return rng.choice(_QUESTION_FRAMES_TEST if held_out else _QUESTION_FRAMES).format(question)


@functools.cache
def known() -> Known:
    """What is taught closed-book; of each entity some relations stay unknown."""
    rng = random.Random(99)
    by_name: dict[str, Subject] = {}
    for _ in range(100):
        entity = subject(rng)
        by_name[entity.name] = entity
    entities = tuple(by_name.values())

    facts: list[Fact] = []
    for entity in entities:
        for relation in KINDS[entity.kind].relations:
            if rng.random() < 0.7:
                facts.append(fact(rng, entity, relation=relation))
    return Known(entities, newest(facts))


def scene(rng: random.Random, count: int, *, test: bool = False) -> Scene:
    """`count` facts about a few subjects, at most as many as can be told of them.

    Half of the time one or two of them are told again later with a new value.
    """
    most_subjects = max(1, (count + 1) // 2)
    subjects = tuple(subject(rng, test) for _ in range(rng.randint(1, most_subjects)))
    updates = min(rng.choice((0, 0, 1, 2)), count // 2)

    # An update is one of the `count` facts, so fewer are told at first.
    tellable: list[tuple[Subject, str]] = []
    for about in subjects:
        tellable += [(about, relation) for relation in KINDS[about.kind].relations]
    told: list[Fact] = []
    for about, relation in rng.sample(tellable, min(count - updates, len(tellable))):
        told.append(fact(rng, about, test=test, relation=relation))

    stale: set[Key] = set()
    for old in rng.sample(told, min(updates, len(told))):
        stale.add(old.key)
        correction = corrected(rng, old, test=test)
        told.insert(rng.randint(told.index(old) + 1, len(told)), correction)
    return Scene(tuple(told), newest(told), frozenset(stale), subjects)


def corrected(rng: random.Random, old: Fact, *, test: bool = False) -> Fact:
    """The same subject and relation with another value."""
    while True:
        correction = fact(rng, old.about, test=test, relation=old.relation)
        if correction.value != old.value:
            return correction


def dates(rng: random.Random, count: int) -> list[str]:
    """Ascending ISO dates."""
    day = datetime.date(rng.randint(2022, 2031), 1, 1) + datetime.timedelta(rng.randint(0, 364))
    iso_dates: list[str] = []
    for _ in range(count):
        iso_dates.append(day.isoformat())
        day += datetime.timedelta(rng.choice((0, 0, 1, 1, 2, 5, 9, 30)))
    return iso_dates


def unanswerable(rng: random.Random, scene: Scene, *, test: bool = False) -> Key:
    """A key that the scene does not tell: another relation of a told subject, or a stranger."""
    while True:
        inside = scene.subjects and rng.random() < 0.5
        key = _any_key(rng, rng.choice(scene.subjects) if inside else subject(rng, test))
        if key not in scene.current:
            return key


def mistakable(rng: random.Random, scene: Scene, *, test: bool = False) -> Key:
    """A key that the scene does not tell but tells of somebody else.

    Only the name says that there is no answer.
    """
    relation = rng.choice(scene.told).relation
    kind = RELATIONS[relation].kind
    untold: list[str] = []
    for name, subject_kind in scene.subjects:
        if subject_kind == kind and (name, relation) not in scene.current:
            untold.append(name)
    if untold and rng.random() < 0.4:
        return Key(rng.choice(untold), relation)
    return Key(subject_of(rng, kind, test=test).name, relation)


def memories(rng: random.Random, scene: Scene, *, held_out: bool = False) -> list[str]:
    """The scene as dated memory lines, oldest first; now and then two facts in one memory."""
    statements = [say(rng, fact, held_out=held_out) for fact in scene.told]
    if len(statements) > 1 and not held_out and rng.random() < 0.15:
        first = rng.randrange(len(statements) - 1)
        statements[first : first + 2] = [f"{statements[first]} {statements[first + 1]}"]
    dated = zip(dates(rng, len(statements)), statements, strict=True)
    return [memory_line(date, text) for date, text in dated]


def conversation(rng: random.Random, most: int, *, hard: bool = False) -> Conversation:
    """One training sequence, of one of the things that the model must be able to do.

    It holds at most `most` memories. A `hard` one holds more of them, and asks more that they do
    not tell, most of it told of somebody else.
    """
    talk = Conversation()
    # The numbers are the shares of the four things, one after the other.
    draw = rng.random()
    prefix = rng.choice(_SYSTEM_PROMPTS) if rng.random() < 0.1 else ""
    if draw < 0.20:
        _answer_closed_book(rng, talk, prefix)
    elif draw < 0.37:
        _write_about_memory(rng, talk, prefix)
    elif draw < 0.46:
        _listen(rng, talk, prefix, most=most, hard=hard)
    else:
        _read_memories(rng, talk, prefix, most=most, hard=hard)
    return talk


def _answer_closed_book(rng: random.Random, talk: Conversation, prefix: str) -> None:
    """Questions without any memory: about what is taught, about strangers, and small talk."""
    if prefix:
        talk.system(prefix)
    for _ in range(rng.randint(4, 8)):
        if rng.random() < 0.8:
            key = _any_key(rng, rng.choice(known().entities))
            talk.turn(ask(rng, key), _taught_answer(key))
        elif rng.random() < 0.9:
            key = _any_key(rng, subject(rng))
            talk.turn(ask(rng, key), ABSTENTION)
        else:
            talk.turn(*rng.choice(list(SMALL_TALK.items())))


def _write_about_memory(rng: random.Random, talk: Conversation, prefix: str) -> None:
    """A pair, a question without answer, a new memory, and more of the same, about one memory."""
    shown = scene(rng, rng.choice((1, 1, 1, 2)))
    date = dates(rng, 1)[0]
    memory = " ".join(say(rng, each) for each in shown.told)
    talk.system(memory_prompt([memory_line(date, memory)], prefix))
    for _ in range(rng.randint(2, 4)):
        draw = rng.random()
        # A value that the memory itself takes back is no example.
        example = rng.choice([each for each in shown.told if shown.current[each.key] == each])
        if draw < 0.6:
            talk.turn(WRITE_PAIR, format_pair(ask(rng, example.key, framed=False), example.answer))
        elif draw < 0.8:
            talk.turn(UNANSWERED, ask(rng, unanswerable(rng, shown), framed=False))
        else:
            other = subject_of(rng, example.about.kind)
            talk.turn(INVENT, say(rng, fact(rng, other, relation=example.relation)))


def _listen(rng: random.Random, talk: Conversation, prefix: str, *, most: int, hard: bool) -> None:
    """Facts that are told in the conversation itself, then questions."""
    heard = scene(rng, rng.randint(1, min(most, 4)))
    if prefix:
        talk.system(prefix)
    for each in heard.told:
        talk.turn(say(rng, each), ACKNOWLEDGEMENT)
    _ask_about(rng, talk, heard, count=rng.randint(2, 5), hard=hard)


def _read_memories(
    rng: random.Random, talk: Conversation, prefix: str, *, most: int, hard: bool
) -> None:
    """Memories, seldom none, then questions; now and then a statement in between."""
    fewest = min(3, most) if hard else 1
    shown = scene(rng, 0 if rng.random() < 0.06 else rng.randint(fewest, most))
    talk.system(memory_prompt(memories(rng, shown), prefix))
    if shown.told and rng.random() < 0.1:
        talk.turn(say(rng, fact(rng, subject(rng))), ACKNOWLEDGEMENT)
    _ask_about(rng, talk, shown, count=rng.randint(3, 4 + len(shown.told)), hard=hard)


def _ask_about(
    rng: random.Random, talk: Conversation, scene: Scene, *, count: int, hard: bool
) -> None:
    """At most `count` turns: what the scene tells, what is taught, what neither tells, small talk.

    What was told is asked at most twice, or the answer could be copied from the history.
    """
    told_until, taught_until = (0.55, 0.63) if hard else (0.70, 0.80)
    waiting = _twice_shuffled(rng, scene)
    for _ in range(count):
        draw = rng.random()
        if waiting and draw < told_until:
            told = waiting.pop(0)
            talk.turn(ask(rng, told), scene.current[told].answer)
        elif draw < taught_until:
            # The scene may tell something else of an entity than what is taught.
            key = _any_key(rng, rng.choice(known().entities))
            if key not in scene.current:
                talk.turn(ask(rng, key), _taught_answer(key))
        elif draw < 0.97:
            confusing = hard and scene.told and rng.random() < 0.6
            key = mistakable(rng, scene) if confusing else unanswerable(rng, scene)
            talk.turn(ask(rng, key), ABSTENTION)
        else:
            talk.turn(*rng.choice(list(SMALL_TALK.items())))


def _twice_shuffled(rng: random.Random, scene: Scene) -> list[tuple[str, str]]:
    """Every key of the scene twice, in random order; mostly what was corrected comes first."""
    keys = [*scene.current, *scene.current]
    rng.shuffle(keys)

    def comes_later(key: tuple[str, str]) -> bool:
        return key not in scene.stale or rng.random() < 0.3

    return sorted(keys, key=comes_later)


def _any_key(rng: random.Random, of: Subject) -> Key:
    return Key(of.name, rng.choice(KINDS[of.kind].relations))


def _taught_answer(key: Key) -> str:
    facts = known().facts
    return facts[key].answer if key in facts else ABSTENTION
