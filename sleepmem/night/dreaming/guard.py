"""The guard: which dreams are sound. The base, experts off, judges by reading.

Values in, values out: touches no store.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from sleepmem.config import DreamConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming.dream import Dream, Fate, Link, MemoryLines
from sleepmem.records import Probe
from sleepmem.text.heads import asks
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches, words
from sleepmem.text.prompts import open_book, parse_pair
from sleepmem.text.rarity import commonness
from sleepmem.text.subjects import about_another, rare
from sleepmem.text.terms import terms


class Ground(NamedTuple):
    """What dreams are judged on.

    questions     those that were asked already
    memory_lines  looks up what may answer a question, the context's own lines among it
    links         pairs of ids, see `leads`: only linked memories may be needed both
    strangers     names of nobody; what is answered alike about them is loose
    """

    questions: Collection[str]
    memory_lines: MemoryLines
    links: Collection[Link] = ()
    strangers: Sequence[str] = ()


class _Reading(NamedTuple):
    """A question, and the memory lines it is asked over."""

    question: str
    lines: Sequence[str]


class _Replies(NamedTuple):
    """The base's answers to a dream's question.

    alone      from the dream's own memories
    among      from these among others of the ledger
    apart      from each of two memories
    elsewhere  when it is asked about strangers
    """

    alone: str
    among: str
    apart: Sequence[str]
    elsewhere: Sequence[str]


def leads(facts: Sequence[Probe]) -> set[Link]:
    """Pairs of episodes, by id, of which the one answers whom the other is about."""
    asked_about: dict[str, set[str]] = {}
    for fact in facts:
        for term in rare(fact.question):
            asked_about.setdefault(term, set()).add(fact.episode_id)
    links = set()
    for fact in facts:
        for term in terms(fact.answer):
            for episode_id in asked_about.get(term, set()) - {fact.episode_id}:
                links.add(frozenset((fact.episode_id, episode_id)))
    return links


def guard(
    local: LocalModel, dreams: Sequence[Dream], *, ground: Ground, config: DreamConfig
) -> tuple[list[Dream], list[Dream]]:
    """Split dreams into sound and refused ones, each refused one with its fate.

    Args:
        local: its base answers again.
        dreams: as they were sampled.
        ground: what they are judged on.
        config: when a question stammers.
    """
    # 1. What can be held against a dream without asking the model?
    read, refused = _read(dreams, ground.questions, distinct_words=config.distinct_words)

    # 2. Does the base answer as the dream does, and what does it need for that?
    replies = _ask_again(local, read, ground)
    sound = []
    for dream, replies_to_it in zip(read, replies, strict=True):
        fate = _judge(dream, replies_to_it, links=ground.links)
        if fate is None:
            sound.append(dream)
        else:
            refused.append(replace(dream, fate=fate))
    return sound, refused


def _read(
    dreams: Sequence[Dream], questions: Collection[str], *, distinct_words: float
) -> tuple[list[Dream], list[Dream]]:
    """The dreams with their question and answer, and those that are refused as they stand."""
    read: list[Dream] = []
    refused: list[Dream] = []
    asked = {_plain(question) for question in questions}
    for dream in dreams:
        question, answer = parse_pair(dream.text) or ("", "")
        candidate = replace(dream, question=question, answer=answer)
        fate = _fault(candidate, asked, distinct_words=distinct_words)
        if fate is None:
            asked.add(_plain(question))
            read.append(candidate)
        else:
            # As it was sampled: what is refused so is asked nowhere.
            refused.append(replace(dream, fate=fate))
    return read, refused


def _fault(dream: Dream, asked: Collection[str], *, distinct_words: float) -> Fate | None:
    """What can be held against a dream without asking the model."""
    is_pair = asks(dream.question) > 0 and words(dream.answer) and not abstains(dream.answer)
    if not is_pair or _stammers(dream.question, distinct_words):
        return Fate.UNREADABLE
    if len({episode.namespace for episode in dream.context}) > 1:
        return Fate.MIXED
    # It may ask in words of its own, but about nobody else.
    rarest = sorted(rare(dream.question), key=commonness)[:1]
    is_told = set(words(dream.told)).issuperset(words(dream.answer))
    if not is_told or not set(terms(dream.told)).issuperset(rarest):
        return Fate.FOREIGN
    return Fate.REPEATED if _plain(dream.question) in asked else None


def _ask_again(local: LocalModel, dreams: Sequence[Dream], ground: Ground) -> list[_Replies]:
    """What the base answers to each dream's question."""
    # 1. From its own memories; from these among others of the ledger; from each of them alone.
    own, others, one_by_one = [], [], []
    for dream in dreams:
        own.append([_Reading(dream.question, dream.lines)])
        lines = ground.memory_lines(dream.question, dream.context)
        others.append([_Reading(dream.question, lines)])
        single = [_Reading(dream.question, [line]) for line in dream.lines]
        one_by_one.append(single if len(single) > 1 else [])
    alone = _answers(local, own)
    among = _answers(local, others)
    apart = _answers(local, one_by_one)

    # 2. About strangers, where one memory is enough: what is answered alike about them was answered
    # without looking whom it is about.
    strange = []
    for dream, replies in zip(dreams, apart, strict=True):
        needs_both = _needs_both(dream, replies)
        strange.append([] if needs_both else _about_strangers(dream, ground.strangers))
    elsewhere = _answers(local, strange)

    together = []
    for index in range(len(dreams)):
        (own_reply,), (other_reply,) = alone[index], among[index]
        together.append(_Replies(own_reply, other_reply, apart[index], elsewhere[index]))
    return together


def _judge(dream: Dream, replies: _Replies, *, links: Collection[Link]) -> Fate | None:
    """What the base's answers hold against a dream."""
    is_upheld = abstains(replies.among) or _same(replies.among, dream.answer)
    if not _same(replies.alone, dream.answer) or not is_upheld:
        return Fate.CONTRADICTS
    if _needs_both(dream, replies.apart) and frozenset(dream.episode_ids) not in links:
        return Fate.APART
    if replies.elsewhere and all(_same(reply, dream.answer) for reply in replies.elsewhere):
        return Fate.LOOSE
    return None


def _needs_both(dream: Dream, apart: Sequence[str]) -> bool:
    """Whether neither of two memories gives the answer alone."""
    return bool(apart) and not any(_same(reply, dream.answer) for reply in apart)


def _about_strangers(dream: Dream, strangers: Sequence[str]) -> list[_Reading]:
    """The dream's question about each stranger instead, over the same memories."""
    readings = []
    for stranger in strangers:
        question = about_another(dream.question, stranger, memory=dream.told)
        if question:
            readings.append(_Reading(question, dream.lines))
    return readings


def _answers(local: LocalModel, readings_by_dream: Sequence[Sequence[_Reading]]) -> list[list[str]]:
    """The base's answers, by dream: all are asked in one call."""
    chats = []
    for question, lines in itertools.chain.from_iterable(readings_by_dream):
        chats.append(open_book(question, lines))
    replies = iter(local.answer(chats))
    return [list(itertools.islice(replies, len(readings))) for readings in readings_by_dream]


def _plain(question: str) -> str:
    return " ".join(words(question))


def _stammers(question: str, distinct_words: float) -> bool:
    """Whether the same words come again and again."""
    spoken = words(question)
    return len(set(spoken)) < distinct_words * len(spoken)


def _same(one: str, other: str) -> bool:
    return matches(one, other) and matches(other, one)
