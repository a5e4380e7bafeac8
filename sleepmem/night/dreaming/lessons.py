"""What rewarded dreams teach: the rows of seeding that a round of dreaming ends with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sleepmem.config import DreamConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming.dream import Dream
from sleepmem.night.rows import Row, RowKind
from sleepmem.text.kinds import abstains
from sleepmem.text.prompts import DREAM, closed_book, format_pair, open_book
from sleepmem.text.subjects import about_another


def dream_rows(
    local: LocalModel,
    dreams: Sequence[Dream],
    *,
    waking: Sequence[Row],
    strangers: Sequence[str],
    config: DreamConfig,
    seed: int,
) -> list[Row]:
    """Rewarded dreams teach what they ask, and half of them how to dream (ReST-EM).

    The same asked of strangers stays unanswered.

    Args:
        local: the model; its base, experts off, says what is asked of strangers is not known.
        dreams: the rewarded ones.
        waking: what tonight taught. As many of its facts as there are dreams are taught again, as
            many of its rows without answer as there are strangers' questions (a quarter at least),
            and all of its other rows.
        strangers: names of nobody.
        config: about how many strangers each dream is asked.
        seed: of every choice.
    """
    rng = random.Random(seed)
    rows: list[Row] = []
    facts: list[Row] = []
    unsaid: list[Row] = []
    limited = {RowKind.FACT: facts, RowKind.NEVER_SAID: unsaid}

    # 1. What tonight taught is gone over again beside the dreams.
    for row in waking:
        limited.get(row.kind, rows).append(row)
    rows += rng.sample(facts, min(len(facts), len(dreams)))

    # 2. The answers; and, from the same memories, the dreams themselves as text.
    for dream in dreams:
        read = open_book(dream.question, dream.lines)
        rows.append(Row(RowKind.FACT, closed_book(dream.question), read, dream.answer))
    for dream in rng.sample(dreams, len(dreams) // 2):
        asked_to_dream = open_book(DREAM, dream.lines)
        text = format_pair(dream.question, dream.answer)
        rows.append(Row(RowKind.FACT, asked_to_dream, asked_to_dream, text, certain=True))

    # 3. Silence about strangers. A few dreams need general talk all the same.
    questions = _about_strangers(dreams, strangers, most=config.lesson_strangers, rng=rng)
    silent = _unanswered(local, questions)
    count = min(len(unsaid), max(len(silent), len(unsaid) // 4)) if silent else len(unsaid)
    return [*rows, *silent, *rng.sample(unsaid, count)]


def _about_strangers(
    dreams: Sequence[Dream], strangers: Sequence[str], *, most: int, rng: random.Random
) -> list[str]:
    """The dreams' questions, each asked about at most so many strangers instead."""
    questions = set()
    for dream in dreams:
        for stranger in rng.sample(strangers, min(len(strangers), most)):
            questions.add(about_another(dream.question, stranger, memory=dream.told))
    # A question about nobody is about nobody else.
    questions.discard("")
    return sorted(questions)


def _unanswered(local: LocalModel, questions: Sequence[str]) -> list[Row]:
    """Rows that teach the base's silence, for the questions that it does not answer."""
    replies = local.answer([closed_book(question) for question in questions])
    rows = []
    for question, reply in zip(questions, replies, strict=True):
        if abstains(reply):
            chat = closed_book(question)
            rows.append(Row(RowKind.NEVER_SAID, chat, chat, reply, certain=True))
    return rows
