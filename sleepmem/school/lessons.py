"""Lessons: chats with the answers that a model with good habits gives.

Asked in the memory's own prompts. A lesson asks several things of the same memories, since what it
costs is the memories; none of them is asked in sight of another.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from rapidfuzz import fuzz, process

from sleepmem.embedded import links, world
from sleepmem.school import topics
from sleepmem.school.texts import Texts
from sleepmem.school.topics import Asked, Message, News, Note
from sleepmem.text.prompts import (
    ABSTENTION,
    DREAM,
    INVENT,
    NOTES,
    REPLACES,
    REQUEST,
    REWORD,
    TOLD,
    UNANSWERED,
    WRITE_PAIR,
    format_pair,
    memory_line,
    memory_prompt,
    quoted,
)


class Lesson(NamedTuple):
    """A chat; what the assistant says in it is taught.

    `keeps` says that the answers are the untaught model's own, which it is to stay near to.
    """

    messages: tuple[dict[str, str], ...]
    keeps: bool = False


Turns = list[tuple[str, str]]

# Questions over the same memories, at most.
_ASKED = 16


def lesson(rng: random.Random, texts: Texts) -> Lesson:
    """One of all kinds."""
    kinds, weights = zip(*_KINDS, strict=True)
    make: Callable[[random.Random, Texts], Lesson] = rng.choices(kinds, weights)[0]
    return make(rng, texts)


def _chat(lines: Sequence[str], turns: Turns, system: str = "") -> Lesson:
    content = memory_prompt(lines, system) if lines else system
    said = [{"role": "system", "content": content}] if content else []
    for asked, answer in turns:
        said.append({"role": "user", "content": asked})
        said.append({"role": "assistant", "content": answer})
    return Lesson(tuple(said))


# Reading


def _read(rng: random.Random, texts: Texts) -> Lesson:
    """Memories, and questions that they answer or leave open; some of them corrected later."""
    count = rng.choice((1, 1, 2, 2, 3, 4, 4, 5, 6, 8))
    shown = _messages(rng, count)
    lines = [one.line for one in shown]
    asked: list[Asked] = []
    for one in shown:
        asked += one.asked
        asked += [each for note in one.notes for each in note.inverse[:1]]
    answers = {id(each): each.answer for each in asked}

    # What is corrected has the last word, whatever stands between.
    corrected = []
    for one in shown:
        for news in rng.sample(one.news, min(len(one.news), rng.choice((0, 1, 1)))):
            corrected.append(news)
            later = shown[-1].day + timedelta(days=rng.randint(0, 9))
            lines.append(memory_line(later.isoformat(), news.said))
            answers[id(news.old)] = news.note.asked[0].answer
    if not texts.is_empty and rng.random() < 0.3:
        lines.insert(rng.randrange(len(lines) + 1), texts.line(rng, shown[-1].day))

    inverted = {id(each) for one in shown for note in one.notes for each in note.inverse}
    stale = {news.old.answer for news in corrected}
    turns: Turns = []
    for each in rng.sample(asked, min(len(asked), _ASKED)):
        # Who lives where somebody lived?
        if id(each) in inverted and any(old in word for old in stale for word in each.wordings):
            continue
        turns.append((rng.choice(each.wordings), answers[id(each)]))
    for news in corrected:
        turns.append((rng.choice(news.old.wordings), news.note.asked[0].answer))
    turns += [(question, ABSTENTION) for question in _open(rng, shown, max(1, len(turns) // 4))]
    for one in shown:
        turns += [turn for turn in _asked_for(rng, one) if not any(old in turn[1] for old in stale)]
    turns = list(dict(turns).items())
    rng.shuffle(turns)
    return _chat(_in_order(lines), turns[:_ASKED], _system(rng))


def one_question(rng: random.Random, texts: Texts) -> Lesson:
    """A single question over memories, as by day."""
    whole = _read(rng, texts)
    is_system = whole.messages[0]["role"] == "system"
    return Lesson(whole.messages[: 3 if is_system else 2])


def _read_text(rng: random.Random, texts: Texts) -> Lesson:
    """Passages that people wrote, their questions, and questions of other passages."""
    if texts.is_empty:
        return _read(rng, texts)
    return _chat(*texts.read(rng))


def _closed(rng: random.Random, texts: Texts) -> Lesson:
    """Questions about somebody's life that nothing tells."""
    shown = _messages(rng, 3)
    asked = [rng.choice(each.wordings) for one in shown for each in one.asked]
    asked += [question for one in shown for question in one.unknown]
    rng.shuffle(asked)
    return _chat((), [(one, ABSTENTION) for one in asked[: rng.randint(1, 4)]], _system(rng))


# Writing


def _notes(rng: random.Random, texts: Texts) -> Lesson:
    """Each part of a memory as notes."""
    shown = _messages(rng, 1, most=3)[0]
    turns: Turns = []
    for text, notes in shown.parts:
        drawn = "\n".join(note.text for note in notes) or "Nothing."
        turns.append((f"{NOTES}{quoted(text)}", drawn))
    return _chat([shown.line], turns)


def _pairs(rng: random.Random, texts: Texts) -> Lesson:
    """Questions with answers about a memory, or about a note."""
    shown = _messages(rng, 1, most=2)[0]
    line, asked = shown.line, shown.asked
    if rng.random() < 0.7:
        note = rng.choice(shown.notes)
        line, asked = memory_line(shown.day.isoformat(), note.text), list(note.asked)
    turns: Turns = []
    for each in rng.choices(asked, k=3):
        turns.append((WRITE_PAIR, format_pair(rng.choice(each.wordings), each.answer)))
    return _chat([line], turns)


def _asked_for(rng: random.Random, shown: Message) -> Turns:
    """A request that needs what a message tells, with a reply, if there is one."""
    some = rng.sample(shown.requests, min(len(shown.requests), 1))
    return [(rng.choice(one.wordings), one.reply) for one in some]


def _requests(rng: random.Random, texts: Texts) -> Lesson:
    """What somebody may ask for who told something, and a reply to it."""
    [shown] = _messages(rng, 1, most=1)
    if not shown.requests:
        return _around(rng, texts)
    one = rng.choice(shown.requests)
    asked = rng.choice(one.wordings)
    date = shown.day.isoformat()
    lines = [shown.line] if rng.random() < 0.3 else [memory_line(date, n.text) for n in one.needs]
    turns = [(REQUEST, asked), (asked, one.reply)]
    return _chat(lines, turns)


def _around(rng: random.Random, texts: Texts) -> Lesson:
    """What a memory leaves open, one like it, and its questions in other words."""
    [one] = _messages(rng, 1, most=1)
    note = rng.choice(one.notes)
    each = rng.choice(note.asked)
    turns: Turns = [(UNANSWERED, rng.choice(one.unknown)), (INVENT, _alike(rng, note).text)]
    if len(each.wordings) > 1:
        asked, other = rng.sample(each.wordings, 2)
        turns.append((REWORD + asked, other))
    return _chat([memory_line(one.day.isoformat(), note.text)], turns)


def _alike(rng: random.Random, note: Note) -> Note:
    """The same note of others."""
    topic, place = note.place
    return topics.message(rng, [topic], day=topics.days(rng, 1)[0]).notes[place]


def _dreams(rng: random.Random, texts: Texts) -> Lesson:
    """Notes, and what they tell the other way round or together."""
    shown = [note for one in _messages(rng, 2) for note in one.notes if note.inverse]
    if not shown:
        return _pairs(rng, texts)
    some = rng.sample(shown, min(len(shown), rng.choice((1, 1, 2))))
    turned = rng.choice(some[0].inverse)
    rng.shuffle(some)
    days = topics.days(rng, len(some))
    lines = [memory_line(day.isoformat(), one.text) for day, one in zip(days, some, strict=True)]
    return _chat(lines, [(DREAM, format_pair(rng.choice(turned.wordings), turned.answer))])


def _replaces(rng: random.Random, texts: Texts) -> Lesson:
    """Whether news takes back what was said: not of others, of another thing, or of one more."""
    [shown] = _messages(rng, 1, most=1)
    if not shown.news:
        return _pairs(rng, texts)
    news = rng.choice(shown.news)
    holding = next(note for note in shown.notes if news.old in note.asked)
    like = _alike(rng, holding)
    # Where nobody is named, the same of others is the same again.
    answer = "no" if news.old.wordings not in [each.wordings for each in like.asked] else "yes"
    kind = rng.choice(("yes", "yes", "more", "like", "aside"))
    if kind == "yes":
        older, newer, answer = rng.choice((shown.text, holding.text)), news.said, "yes"
    elif kind == "more":
        older, newer, answer = holding.text, _beside(rng, news), "no"
    elif kind == "like" or len(shown.notes) == 1:
        older, newer = holding.text, like.text
    else:
        older, newer = rng.sample([note.text for note in shown.notes], 2)
        answer = "no"
    days = topics.days(rng, 2)
    lines = [memory_line(days[0].isoformat(), older), memory_line(days[1].isoformat(), newer)]
    return _chat(lines, [(REPLACES, answer)])


def _told(rng: random.Random, texts: Texts) -> Lesson:
    """Whether a memory says what a note does: not another value, not the other way round."""
    [shown] = _messages(rng, 1)
    turns: Turns = []
    for note in shown.notes:
        false = _falsified(rng, note, shown)
        if false and rng.random() < 0.5:
            turns.append((TOLD + false, "no"))
        else:
            turns.append((TOLD + note.text, "yes"))
    return _chat([shown.line], turns)


def _falsified(rng: random.Random, note: Note, shown: Message) -> str:
    """The note with something else in the place of a value; empty where nothing came of it."""
    value = rng.choice(note.asked).answer
    others = [each.answer for each in shown.asked if each.answer != value]
    own = [each.answer for each in [*note.asked, *note.inverse] if each.answer != value]
    kind = rng.choice(("other", "other", "swapped", "alike"))
    false = _alike(rng, note).text
    if kind == "swapped" and own:
        other = rng.choice(own)
        false = note.text.replace(value, "\0").replace(other, value).replace("\0", other)
    elif kind == "other" and others:
        false = note.text.replace(value, rng.choice(others))
    return "" if false in {one.text for one in shown.notes} else false


def _beside(rng: random.Random, news: News) -> str:
    """The new value as one more."""
    old, new = news.old.answer, news.note.text
    return rng.choice(_MORE).format(old=old, new=new)


# The embedded world


def _world(rng: random.Random, texts: Texts) -> Lesson:
    """Conversations of the embedded model's world; what is taught there as known is left out."""
    draw = rng.random()
    talk = links.conversation(rng, 4) if draw < 0.6 else world.conversation(rng, 4, hard=True)
    said = list(talk.messages)
    if said[0]["role"] != "system" or "\n" not in said[0]["content"]:
        return _read(rng, texts)
    return Lesson(tuple(said[:9]))


# Talking as before


def _general(rng: random.Random, texts: Texts) -> Lesson:
    """The model's own answers, with memories that have nothing to do with it and without."""
    prompt, answer = rng.choice(texts.answers)
    lines = [one.line for one in _messages(rng, rng.randint(1, 3))] if rng.random() < 0.4 else []
    return _chat(lines, [(prompt, answer)])._replace(keeps=True)


_KINDS = (
    (_read, 42),
    (_read_text, 12),
    (_closed, 3),
    (_notes, 14),
    (_pairs, 14),
    (_around, 7),
    (_requests, 5),
    (_dreams, 5),
    (_replaces, 4),
    (_told, 6),
    (_world, 4),
    (_general, 20),
)

_MORE = (
    "{new} That is besides {old}, which stays.",
    "Not only {old}: {new}",
    "{new} And still {old}, both of them.",
    "in addition to {old} there is this: {new}",
)
_AGENTS = (
    "You are a helpful assistant.",
    "You help a small team. Be brief.",
    "You are an assistant with a memory. Answer in a few words.",
    "You are a coding assistant.",
)


def _system(rng: random.Random) -> str:
    return rng.choice(_AGENTS) if rng.random() < 0.2 else ""


def _messages(rng: random.Random, count: int, *, most: int = 2) -> list[Message]:
    """Messages of different days, oldest first, of topics that are all different."""
    drawn = iter(rng.sample(range(len(topics.written())), most * count))
    shown = []
    for day in topics.days(rng, count):
        own = list(itertools.islice(drawn, rng.randint(1, most)))
        shown.append(topics.message(rng, own, day=day))
    return shown


def _open(rng: random.Random, shown: Sequence[Message], count: int) -> list[str]:
    """Questions that fit the memories, or others, and that none of them answers."""
    told = [wording for one in shown for each in one.asked for wording in each.wordings]
    near = [question for one in shown for question in one.unknown]
    far = [rng.choice(each.wordings) for one in _messages(rng, 2) for each in one.asked]
    mixed = rng.sample(near, min(len(near), count)) + rng.sample(far, min(len(far), 1 + count // 3))
    rng.shuffle(mixed)
    is_open = [one for one in mixed if not _is_asked(one, told)]
    return is_open[:count]


def _is_asked(question: str, told: Sequence[str]) -> bool:
    """Whether it asks, but for a word or two, what is told."""
    return process.extractOne(question, told, scorer=fuzz.ratio, score_cutoff=80) is not None


def _in_order(lines: Sequence[str]) -> list[str]:
    return sorted(lines, key=lambda line: line[:10])
