"""The small world that the embedded model is taught: facts, scenes, conversations.

The last wordings of every relation are held out: training never sees them. A fixed set of entities (`known`) is taught closed-book: without it
the model grows no recall circuits that an adapter could attach to.
"""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sleepmem.embedded.relations import KINDS, RELATIONS
from sleepmem.text.prompts import ABSTENTION, INVENT, UNANSWERED, WRITE_PAIR, format_pair, memory_line, memory_prompt

HELD_OUT = 2  # wordings at the end of each list that training never sees
ACKNOWLEDGEMENT = "Noted."

_STATEMENT_FRAMES = ["{}"] * 8 + ["Please remember: {}", "Note: {}", "By the way, {}", "Just so you know: {}"]
_STATEMENT_FRAMES_TEST = ["{}"] * 3 + ["Please note: {}"]
_QUESTION_FRAMES = ["{}"] * 8 + ["Tell me: {}", "Please tell me: {}", "Do you know: {}", "One question: {}"]
_QUESTION_FRAMES_TEST = ["{}"] * 3 + ["Please: {}"]
_SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are a friendly agent. Keep answers short.", "Help the user.", "Be brief and polite."]
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


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of one relation of one subject."""

    subject: str
    relation: str
    value: str

    @property
    def key(self) -> tuple[str, str]:
        return self.subject, self.relation

    @property
    def answer(self) -> str:
        return f"{self.value}."


def subject(rng: random.Random, test: bool = False) -> tuple[str, str]:
    """A new subject: (name, kind); people twice as often as places or projects."""
    kind = rng.choice(("person", "person", "place", "project", "project"))
    return KINDS[kind][1](rng, test), kind


def fact(rng: random.Random, of: tuple[str, str], test: bool = False, relation: str | None = None) -> Fact:
    relation = relation or rng.choice(KINDS[of[1]][0])
    return Fact(of[0], relation, RELATIONS[relation].make(rng, test))


def _pick(rng: random.Random, wordings: Sequence[str], held_out: bool) -> str:
    return rng.choice(wordings[-HELD_OUT:] if held_out else wordings[:-HELD_OUT])


def say(rng: random.Random, f: Fact, held_out: bool = False) -> str:
    """A statement of the fact, in a trained or in a held-out wording."""
    text = _pick(rng, RELATIONS[f.relation].statements, held_out).format(s=f.subject, v=f.value)
    return rng.choice(_STATEMENT_FRAMES_TEST if held_out else _STATEMENT_FRAMES).format(text)


def ask(rng: random.Random, key: tuple[str, str], held_out: bool = False, framed: bool = True) -> str:
    """A question for (subject, relation), in a trained or in a held-out wording."""
    text = _pick(rng, RELATIONS[key[1]].questions, held_out).format(s=key[0])
    return frame(rng, text, held_out) if framed else text


def frame(rng: random.Random, question: str, held_out: bool = False) -> str:
    """The question as users put it: as it is, or after a few words."""
    return rng.choice(_QUESTION_FRAMES_TEST if held_out else _QUESTION_FRAMES).format(question)


@functools.cache
def known() -> tuple[tuple[tuple[str, str], ...], Mapping[tuple[str, str], Fact]]:
    """The entities taught closed-book and what is known of them; some relations stay unknown for each."""
    rng = random.Random(99)
    entities = tuple({(s := subject(rng))[0]: s for _ in range(100)}.values())
    facts = (fact(rng, e, relation=r) for e in entities for r in KINDS[e[1]][0] if rng.random() < 0.7)
    return entities, {f.key: f for f in facts}


@dataclass(slots=True)
class Conversation:
    """Chat messages as a chat template takes them; the assistant's carry the loss."""

    messages: list[dict[str, str]] = field(default_factory=list)

    def system(self, text: str) -> None:
        self.messages.append({"role": "system", "content": text})

    def turn(self, user: str, assistant: str) -> None:
        self.messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


@dataclass(frozen=True, slots=True)
class Scene:
    """Facts told in order; `current` holds the newest value for each key, `stale` the keys that were updated."""

    told: tuple[Fact, ...]
    current: Mapping[tuple[str, str], Fact]
    stale: frozenset[tuple[str, str]]
    subjects: tuple[tuple[str, str], ...]


def scene(rng: random.Random, count: int, test: bool = False) -> Scene:
    """`count` facts about a few subjects; half of the time one or two of them are told again later with a new value."""
    subjects = tuple(subject(rng, test) for _ in range(rng.randint(1, max(1, (count + 1) // 2))))
    updates = min(rng.choice((0, 0, 1, 2)), count // 2)
    told: list[Fact] = []
    keys = [(s, relation) for s in subjects for relation in KINDS[s[1]][0]]
    for of, relation in rng.sample(keys, min(count - updates, len(keys))):
        told.append(fact(rng, of, test, relation))
    stale: set[tuple[str, str]] = set()
    for old in rng.sample(told, min(updates, len(told))):
        while (new := fact(rng, (old.subject, RELATIONS[old.relation].kind), test, old.relation)).value == old.value:
            pass
        stale.add(old.key)
        told.insert(rng.randint(told.index(old) + 1, len(told)), new)
    return Scene(tuple(told), {f.key: f for f in told}, frozenset(stale), subjects)


def dates(rng: random.Random, count: int) -> list[str]:
    """Ascending ISO dates."""
    at = datetime.date(rng.randint(2022, 2031), 1, 1) + datetime.timedelta(rng.randint(0, 364))
    out = []
    for _ in range(count):
        out.append(at.isoformat())
        at += datetime.timedelta(rng.choice((0, 0, 1, 1, 2, 5, 9, 30)))
    return out


def unanswerable(rng: random.Random, s: Scene, test: bool = False) -> tuple[str, str]:
    """A key that the scene does not tell: another relation of a told subject, or a stranger."""
    while True:
        of = rng.choice(s.subjects) if s.subjects and rng.random() < 0.5 else subject(rng, test)
        key = (of[0], rng.choice(KINDS[of[1]][0]))
        if key not in s.current:
            return key


def mistakable(rng: random.Random, s: Scene, test: bool = False) -> tuple[str, str]:
    """A key that the scene does not tell but tells of somebody else: only the name says that there is no answer."""
    relation = rng.choice(s.told).relation
    kind = RELATIONS[relation].kind
    others = [name for name, k in s.subjects if k == kind and (name, relation) not in s.current]
    return (rng.choice(others) if others and rng.random() < 0.4 else KINDS[kind][1](rng, test)), relation


def memories(rng: random.Random, s: Scene, held_out: bool = False) -> list[str]:
    """The scene as dated memory lines, oldest first; now and then two facts in one memory."""
    said = [say(rng, f, held_out) for f in s.told]
    if len(said) > 1 and not held_out and rng.random() < 0.15:
        i = rng.randrange(len(said) - 1)
        said[i : i + 2] = [f"{said[i]} {said[i + 1]}"]
    return [memory_line(d, text) for d, text in zip(dates(rng, len(said)), said, strict=True)]


def _questions(rng: random.Random, c: Conversation, s: Scene, count: int, hard: bool) -> None:
    """`count` turns of questions; what was told is asked at most twice, or the answer could be copied from the history."""
    answered, closed = (0.55, 0.63) if hard else (0.70, 0.80)
    entities, facts = known()
    told = [*s.current, *s.current]
    rng.shuffle(told)
    told.sort(key=lambda key: key not in s.stale or rng.random() < 0.3)  # what was corrected is asked first, mostly
    for _ in range(count):
        draw = rng.random()
        if told and draw < answered:
            key = told.pop(0)
            c.turn(ask(rng, key), s.current[key].answer)
        elif draw < closed:
            e = rng.choice(entities)
            key = (e[0], rng.choice(KINDS[e[1]][0]))
            if key not in s.current:
                c.turn(ask(rng, key), facts[key].answer if key in facts else ABSTENTION)
        elif draw < 0.97:
            key = mistakable(rng, s) if hard and s.told and rng.random() < 0.6 else unanswerable(rng, s)
            c.turn(ask(rng, key), ABSTENTION)
        else:
            c.turn(*rng.choice(list(SMALL_TALK.items())))


def conversation(rng: random.Random, most: int, hard: bool = False) -> Conversation:
    """One training sequence with at most `most` memories, of one of the things the model must be able to do; `hard` ones hold more
    memories and ask more that they do not tell, most of it told of somebody else."""
    c = Conversation()
    draw = rng.random()
    prefix = rng.choice(_SYSTEM_PROMPTS) if rng.random() < 0.1 else ""
    if draw < 0.20:  # closed book
        if prefix:
            c.system(prefix)
        entities, facts = known()
        for _ in range(rng.randint(4, 8)):
            if rng.random() < 0.8:
                e = rng.choice(entities)
                key = (e[0], rng.choice(KINDS[e[1]][0]))
                c.turn(ask(rng, key), facts[key].answer if key in facts else ABSTENTION)
            elif rng.random() < 0.9:
                e = subject(rng)
                c.turn(ask(rng, (e[0], rng.choice(KINDS[e[1]][0]))), ABSTENTION)
            else:
                c.turn(*rng.choice(list(SMALL_TALK.items())))
    elif draw < 0.37:  # write a pair, a question without answer, a new memory; then more of the same
        s = scene(rng, rng.choice((1, 1, 1, 2)))
        c.system(memory_prompt([memory_line(dates(rng, 1)[0], " ".join(say(rng, f) for f in s.told))], prefix))
        for _ in range(rng.randint(2, 4)):
            kind = rng.random()
            f = rng.choice([f for f in s.told if s.current[f.key] == f])
            if kind < 0.6:
                c.turn(WRITE_PAIR, format_pair(ask(rng, f.key, framed=False), f.answer))
            elif kind < 0.8:
                c.turn(UNANSWERED, ask(rng, unanswerable(rng, s), framed=False))
            else:
                other = fact(rng, (KINDS[RELATIONS[f.relation].kind][1](rng, False), RELATIONS[f.relation].kind), relation=f.relation)
                c.turn(INVENT, say(rng, other))
    elif draw < 0.46:  # told in conversation
        s = scene(rng, rng.randint(1, min(most, 4)))
        if prefix:
            c.system(prefix)
        for f in s.told:
            c.turn(say(rng, f), ACKNOWLEDGEMENT)
        _questions(rng, c, s, rng.randint(2, 5), hard)
    else:
        s = scene(rng, 0 if rng.random() < 0.06 else rng.randint(min(3, most) if hard else 1, most))
        c.system(memory_prompt(memories(rng, s), prefix))
        if s.told and rng.random() < 0.1:
            c.turn(say(rng, fact(rng, subject(rng))), ACKNOWLEDGEMENT)
        _questions(rng, c, s, rng.randint(3, 4 + len(s.told)), hard)
    return c
