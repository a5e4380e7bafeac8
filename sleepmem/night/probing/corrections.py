"""What tonight's episodes correct, and what corrects them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sleepmem.night.probing.context import Archive, about_the_same, book, newer, older
from sleepmem.night.probing.pairs import (
    NO_SOURCE,
    Checked,
    Pair,
    similar_answer,
    write_pairs,
)
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import REPLACES, line_of, open_book


@dataclass(slots=True)
class Corrections:
    """What was found to be told otherwise.

    stale           per pair, the older value that its answer replaces
    newer_of        older episode's id -> id of the newer one that corrects it
    old_values      per corrected episode, the values that hold no more
    """

    stale: dict[Pair, str] = field(default_factory=dict)
    newer_of: dict[str, str] = field(default_factory=dict)
    old_values: dict[str, set[str]] = field(default_factory=dict)

    def add(self, old: str, new: str, *, value: str) -> None:
        """The older episode's value was corrected by the newer one."""
        self.newer_of[old] = new
        self.old_values.setdefault(old, set()).add(value)

    def holds(self, pair: Pair) -> bool:
        """Whether the pair's answer is none of the values that hold no more."""
        old_values = self.old_values.get(pair.episode_id, ())
        return not any(similar_answer(pair.answer, value) for value in old_values)


class _Asked(NamedTuple):
    """A pair whose question is asked again of other episodes, with its own beside them or not."""

    pair: Pair
    others: list[Episode]
    own: Episode | None


class _Contradiction(NamedTuple):
    """The answer of others to a pair's question, and those of them that tell it; never none."""

    pair: Pair
    answer: str
    telling: list[Episode]


def find_corrections(
    teacher: Teacher,
    checked: Checked,
    *,
    by_id: Mapping[str, Episode],
    archive: Archive,
    asked: Callable[[str], Sequence[Pair]] = NO_SOURCE.asked,
) -> Corrections:
    """Ask older and newer episodes the same questions, and compare.

    `asked` finds the pairs that earlier nights asked about an episode.
    """
    corrections = Corrections()

    # 1. What did older episodes answer to the same question?
    again = []
    for pair in checked.confirmed:
        own = by_id[pair.episode_id]
        same = about_the_same(pair.question, archive(pair.question), own=own)
        again.append(_Asked(pair, older(own, same), None))
    found = _contradictions(teacher, again, by_id=by_id)
    if teacher.local.profile.notes != "whole":
        found = _answered_anew(teacher, found, by_id=by_id, asked=_with(checked.alone, asked))
    for pair, answer, telling in found:
        corrections.stale[pair] = answer
        for episode in telling:
            corrections.add(episode.id, pair.episode_id, value=answer)

    # 2. And what do newer ones, tonight's or learned before? What was left behind is no news.
    again = []
    for pair in checked.alone:
        own = by_id[pair.episode_id]
        same = about_the_same(pair.question, archive(pair.question), own=own)
        again.append(_Asked(pair, newer(own, same), own))
    for pair, _, telling in _contradictions(teacher, again, by_id=by_id):
        newest = max(telling, key=lambda episode: episode.age_key)
        corrections.add(pair.episode_id, newest.id, value=pair.answer)
    return corrections


def _contradictions(
    teacher: Teacher, asked: Sequence[_Asked], *, by_id: Mapping[str, Episode]
) -> list[_Contradiction]:
    """Where the others answer otherwise, in the words of at least one of them."""
    wordings = Counter(one.pair.fact for one in asked)
    asked = [one for one in asked if one.others]
    chats = []
    for pair, others, own in asked:
        chats.append(book(teacher.local, pair.question, episodes=others, own=own))
    contradictions = []
    for (pair, others, _), answer in zip(asked, teacher.reply(chats), strict=True):
        if abstains(answer) or similar_answer(answer, pair.answer):
            continue
        telling = [episode for episode in others if matches(episode.whole, answer)]
        if telling:
            contradictions.append(_Contradiction(pair, answer, telling))
    if teacher.local.profile.notes == "whole":
        return contradictions
    return _judged(teacher, _agreed(contradictions, wordings), by_id=by_id)


def _agreed(
    found: Sequence[_Contradiction], wordings: Mapping[tuple[str, ...], int]
) -> list[_Contradiction]:
    """Those that half of the wordings of a fact bring up, two at least: one may ask anything."""
    times = Counter((one.pair.fact, other.id) for one in found for other in one.telling)
    agreed = []
    for one in found:
        fact, telling = one.pair.fact, []
        for other in one.telling:
            if times[fact, other.id] >= max(2, wordings[fact] / 2):
                telling.append(other)
        if telling:
            agreed.append(one._replace(telling=telling))
    return agreed


def _judged(
    teacher: Teacher, found: Sequence[_Contradiction], *, by_id: Mapping[str, Episode]
) -> list[_Contradiction]:
    """Those in which the newer one takes the older one back: two values may hold together."""
    asked, chats = [], []
    for contradiction in found:
        own = by_id[contradiction.pair.episode_id]
        for other in contradiction.telling:
            in_order = sorted([own, other], key=lambda episode: episode.age_key)
            asked.append((contradiction, other))
            chats.append(open_book(REPLACES, [line_of(episode) for episode in in_order]))
    telling: dict[int, list[Episode]] = {}
    for (contradiction, other), answer in zip(asked, teacher.reply(chats), strict=True):
        if matches(answer, "yes"):
            telling.setdefault(id(contradiction), []).append(other)
    return [one._replace(telling=telling[id(one)]) for one in found if id(one) in telling]


def _with(
    pairs: Sequence[Pair], asked: Callable[[str], Sequence[Pair]]
) -> Callable[[str], list[Pair]]:
    """What was asked about an episode by these pairs, too; each question once."""

    def both(episode_id: str) -> list[Pair]:
        tonight = [pair for pair in pairs if pair.episode_id == episode_id]
        by_question: dict[str, Pair] = {}
        for pair in [*asked(episode_id), *tonight]:
            by_question.setdefault(pair.question, pair)
        return list(by_question.values())

    return both


def _answered_anew(
    teacher: Teacher,
    found: Sequence[_Contradiction],
    *,
    by_id: Mapping[str, Episode],
    asked: Callable[[str], Sequence[Pair]],
) -> list[_Contradiction]:
    """Those in which, with both read, the newer one answers what is asked about the older one.

    Asked about the newer one, an older one may say whatever is nearest: who has the ladder once had
    a saw.
    """
    questions = _questions(teacher, found, asked=asked)
    both: dict[tuple[str, str], Episode] = {}
    for pair, _, telling in found:
        for other in telling:
            both[pair.episode_id, other.id] = other
    rows, chats = [], []
    for (new, old), other in both.items():
        for pair in questions[old]:
            rows.append((new, pair))
            chats.append(open_book(pair.question, [line_of(other), line_of(by_id[new])]))
    answers: dict[tuple[str, str], list[tuple[Pair, str]]] = {}
    for (new, pair), answer in zip(rows, teacher.reply(chats), strict=True):
        answers.setdefault((new, pair.episode_id), []).append((pair, answer))
    kept = []
    for one in found:
        new, telling = one.pair.episode_id, []
        for other in one.telling:
            if _gives(one.pair.answer, answers.get((new, other.id), ())):
                telling.append(other)
        if telling:
            kept.append(one._replace(telling=telling))
    return kept


def _questions(
    teacher: Teacher,
    found: Sequence[_Contradiction],
    *,
    asked: Callable[[str], Sequence[Pair]],
) -> dict[str, list[Pair]]:
    """By older ones, what was asked about each; about a value that none of it asks for, more."""
    questions: dict[str, list[Pair]] = {}
    unasked: dict[str, Episode] = {}
    values: dict[str, set[str]] = {}
    for _, value, telling in found:
        for other in telling:
            own = questions.setdefault(other.id, list(asked(other.id)))
            if not any(similar_answer(pair.answer, value) for pair in own):
                unasked[other.id] = other
                values.setdefault(other.id, set()).add(value)
    written = []
    attempt = teacher.config.retries + 1
    for pair in write_pairs(teacher, list(unasked.values()), asked={}, attempt=attempt):
        if any(similar_answer(pair.answer, value) for value in values[pair.episode_id]):
            written.append(pair)
    chats = [open_book(pair.question, [line_of(unasked[pair.episode_id])]) for pair in written]
    for pair, answer in zip(written, teacher.reply(chats), strict=True):
        if similar_answer(answer, pair.answer):
            questions[pair.episode_id].append(pair)
    return questions


def _gives(value: str, answers: Sequence[tuple[Pair, str]]) -> bool:
    """Whether half of the wordings of a fact are answered with the value in place of their own."""
    wordings, times = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for pair, answer in answers:
        wordings[pair.fact] += 1
        is_value = similar_answer(answer, value) and not similar_answer(answer, pair.answer)
        times[pair.fact] += is_value
    return any(2 * times[fact] >= count for fact, count in wordings.items())
