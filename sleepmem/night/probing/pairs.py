"""Questions with answers about episodes: asked by users or written by the teacher, and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sleepmem.night.probing.context import book, distractors
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches, names, words
from sleepmem.text.prompts import WRITE_PAIR, line_of, open_book, parse_pair

# Finds the episode that a note was drawn from, by the id that the note is questioned under.
Source = Callable[[str], Episode | None]

# Tells the sampled pairs of a night from its other writings.
_SALT = 1


def no_source(unit: str) -> None:
    """Where episodes themselves are questioned."""


class Pair(NamedTuple):
    """A question about one episode, and the teacher's answer.

    Users' own questions are used before written ones.
    """

    episode_id: str
    question: str
    answer: str
    from_user: bool = False


def write_pairs(
    teacher: Teacher, episodes: Sequence[Episode], *, asked: Mapping[str, Sequence[str]]
) -> list[Pair]:
    """What users asked about the episodes, then what the teacher asks; each question once."""
    by_id = {episode.id: episode for episode in episodes}
    users = []
    for episode_id, questions in asked.items():
        told = set(words(by_id[episode_id].whole)) if episode_id in by_id else set()
        for question in dict.fromkeys(questions):
            # What it names and the memory does not is asked about something else.
            if told and names(question) <= told:
                users.append((episode_id, question))
    pairs: dict[tuple[str, str], Pair] = {}

    # 1. Users' questions: what is asked by day is what must be known.
    chats = [open_book(question, [line_of(by_id[i])]) for i, question in users]
    for (episode_id, question), answer in zip(users, teacher.reply(chats), strict=True):
        if not abstains(answer):
            pairs[episode_id, question] = Pair(episode_id, question, answer, from_user=True)

    # 2. Written ones, as far as they ask about what the memory names.
    models = [episode for episode in episodes for _ in range(teacher.config.samples)]
    texts = teacher.write(
        WRITE_PAIR,
        [line_of(episode) for episode in models],
        tokens=teacher.config.pair_tokens,
        salt=_SALT,
    )
    from_users = set(users)
    for episode, text in zip(models, texts, strict=True):
        parsed = parse_pair(text)
        if parsed is None:
            continue
        question, answer = parsed
        if names(question) <= set(words(episode.whole)) and not abstains(answer):
            key = (episode.id, question)
            pairs.setdefault(key, Pair(*key, answer, from_user=key in from_users))
    return list(pairs.values())


class Checked(NamedTuple):
    """Pairs answered the same from their memory alone, and among others, too."""

    alone: list[Pair]
    confirmed: list[Pair]


def check_pairs(
    teacher: Teacher,
    pairs: Sequence[Pair],
    *,
    episodes: Sequence[Episode],
    source: Source = no_source,
) -> Checked:
    """Ask every pair again: alone it must be answered the same.

    Among others, to be overlooked is no contradiction. What asks about a note must be answered the
    same from its `source`, and by none of the others.
    """
    by_id = {episode.id: episode for episode in episodes}
    pairs = _from_source(teacher, pairs, source=source)
    alone = confirmed = list(pairs)
    for check in range(teacher.config.checks):
        count = teacher.config.distractors if check else 0
        chats = []
        for pair in confirmed:
            own = by_id[pair.episode_id]
            others = distractors(teacher.rng, episodes, count=count, own=own)
            chats.append(book(teacher.local, pair.question, episodes=others, own=own))
        answered = []
        for pair, answer in zip(confirmed, teacher.reply(chats), strict=True):
            if same_answer(answer, pair.answer) or (check and abstains(answer)):
                answered.append(pair)
        confirmed = answered
        if check == 0:
            alone = confirmed
    return Checked(alone, confirmed)


def _from_source(teacher: Teacher, pairs: Sequence[Pair], *, source: Source) -> list[Pair]:
    """Those that the episode behind a note answers the same."""
    drawn = [(pair, episode) for pair in pairs if (episode := source(pair.episode_id))]
    chats = [open_book(pair.question, [line_of(episode)]) for pair, episode in drawn]
    false = set()
    for (pair, _), answer in zip(drawn, teacher.reply(chats), strict=True):
        if not same_answer(answer, pair.answer):
            false.add(pair)
    return [pair for pair in pairs if pair not in false]


def same_answer(answer: str, other: str) -> bool:
    """Whether the answers give each other."""
    return matches(answer, other) and matches(other, answer)


def similar_answer(answer: str, other: str) -> bool:
    """Whether one of the answers gives the other."""
    return matches(answer, other) or matches(other, answer)
