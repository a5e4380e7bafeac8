"""Questions with answers about episodes: asked by users or written by the teacher, and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sleepmem.night.probing.context import book, distractors
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches, words
from sleepmem.text.prompts import (
    DREAM,
    REWORD,
    WRITE_PAIR,
    format_pair,
    line_of,
    names_label,
    open_book,
    parse_pair,
)

# Tell the sampled pairs, those asked the other way round, and the rewordings of a night from its
# other writings; each attempt has its own.
_SALT, _TURNED_SALT, _REWORD_SALT, _NEXT = 1, 16, 8, 64


class Pair(NamedTuple):
    """A question about one episode, and the teacher's answer.

    Users' own questions are used before written ones.
    """

    episode_id: str
    question: str
    answer: str
    from_user: bool = False

    @property
    def fact(self) -> tuple[str, ...]:
        """What it asks about, in whatever words; a full stop tells no answers apart."""
        return self.episode_id, *words(self.answer)


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of what is questioned, by the id that it is questioned under.

    episode     finds what a note was drawn from; None for an episode itself
    asked       finds the pairs that earlier nights asked about it
    """

    episode: Callable[[str], Episode | None] = lambda unit: None
    asked: Callable[[str], Sequence[Pair]] = lambda unit: ()


NO_SOURCE = Source()


def write_pairs(
    teacher: Teacher,
    episodes: Sequence[Episode],
    *,
    asked: Mapping[str, Sequence[str]],
    attempt: int = 0,
) -> list[Pair]:
    """What users asked about the episodes, then what the teacher asks; each question once.

    Where notes are drawn, each is asked the other way round, too: who lives there as well as where.
    """
    by_id = {episode.id: episode for episode in episodes}
    users = []
    for episode_id, questions in asked.items():
        if episode_id in by_id:
            users += [(episode_id, question) for question in dict.fromkeys(questions)]
    pairs: dict[tuple[str, str], Pair] = {}

    # 1. Users' questions: what is asked by day is what must be known.
    chats = [open_book(question, [line_of(by_id[i])]) for i, question in users]
    for (episode_id, question), answer in zip(users, teacher.reply(chats), strict=True):
        if not abstains(answer) and not names_label(answer, by_id[episode_id]):
            pairs[episode_id, question] = Pair(episode_id, question, answer, from_user=True)

    # 2. Written ones, as far as they do not tell what they ask.
    config = teacher.config
    turned = config.turned if teacher.local.profile.notes != "whole" else 0
    from_users = set(users)
    for prompt, times, salt in (
        (WRITE_PAIR, config.samples, _SALT),
        (DREAM, turned, _TURNED_SALT),
    ):
        models = [episode for episode in episodes for _ in range(times)]
        texts = teacher.write(
            prompt,
            [line_of(episode) for episode in models],
            tokens=config.pair_tokens,
            salt=salt + attempt * _NEXT,
        )
        for episode, text in zip(models, texts, strict=True):
            parsed = parse_pair(text)
            if parsed is None:
                continue
            question, answer = parsed
            tells = not abstains(answer) and not matches(question, answer)
            if tells and not names_label(format_pair(question, answer), episode):
                key = (episode.id, question)
                pairs.setdefault(key, Pair(*key, answer, from_user=key in from_users))
    return list(pairs.values())


def reworded(teacher: Teacher, pairs: Sequence[Pair], *, episodes: Sequence[Episode]) -> list[Pair]:
    """These pairs' questions in other words, of facts that have too few wordings; new ones only."""
    by_fact: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        by_fact.setdefault(pair.fact, []).append(pair)
    asked = []
    for own in by_fact.values():
        if len(own) <= teacher.config.wordings:
            asked += own * teacher.config.rewordings
    by_id = {episode.id: episode for episode in episodes}
    texts = teacher.write(
        [REWORD + pair.question for pair in asked],
        [line_of(by_id[pair.episode_id]) for pair in asked],
        tokens=teacher.config.text_tokens,
        salt=_REWORD_SALT,
    )
    known = {(pair.episode_id, pair.question) for pair in pairs}
    new: dict[tuple[str, str], Pair] = {}
    for pair, text in zip(asked, texts, strict=True):
        question = " ".join(text.split())
        key = pair.episode_id, question
        is_new = question and key not in known and not matches(question, pair.answer)
        if is_new and not names_label(question, by_id[pair.episode_id]):
            new.setdefault(key, Pair(*key, pair.answer))
    return list(new.values())


class Checked(NamedTuple):
    """Pairs answered the same from their memory alone, and among others, too."""

    alone: list[Pair]
    confirmed: list[Pair]

    def joined(self, other: Checked) -> Checked:
        """These and those of another check, a question about an episode once."""
        return Checked(
            _once([*self.alone, *other.alone]), _once([*self.confirmed, *other.confirmed])
        )


def _once(pairs: Sequence[Pair]) -> list[Pair]:
    first: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        first.setdefault((pair.episode_id, pair.question), pair)
    return list(first.values())


def check_pairs(
    teacher: Teacher,
    pairs: Sequence[Pair],
    *,
    episodes: Sequence[Episode],
    source: Source = NO_SOURCE,
) -> Checked:
    """Ask every pair again: alone it must be answered the same.

    Among others, to be overlooked is no contradiction. What asks about a note must be answered the
    same from its source, too, and not from other notes alone.
    """
    by_id = {episode.id: episode for episode in episodes}
    pairs = _from_source(teacher, pairs, source=source)
    alone = confirmed = list(pairs)
    for check in range(teacher.config.checks):
        others = _others(teacher, confirmed, episodes=episodes) if check else {}
        chats = []
        for pair in confirmed:
            beside, own = others.get(pair.episode_id, []), by_id[pair.episode_id]
            chats.append(book(teacher.local, pair.question, episodes=beside, own=own))
        answered = []
        for pair, answer in zip(confirmed, teacher.reply(chats), strict=True):
            if same_answer(answer, pair.answer) or (check and abstains(answer)):
                answered.append(pair)
        confirmed = answered
        if check == 0:
            alone = confirmed
    if teacher.local.profile.notes != "whole":
        confirmed = _about_its_own(teacher, confirmed, episodes=episodes)
    return Checked(alone, confirmed)


def _from_source(teacher: Teacher, pairs: Sequence[Pair], *, source: Source) -> list[Pair]:
    """Those that the episode behind a note answers the same."""
    drawn, chats = [], []
    for pair in pairs:
        episode = source.episode(pair.episode_id)
        if episode:
            drawn.append(pair)
            chats.append(open_book(pair.question, [line_of(episode)]))
    false = set()
    for pair, answer in zip(drawn, teacher.reply(chats), strict=True):
        if not same_answer(answer, pair.answer):
            false.add(pair)
    return [pair for pair in pairs if pair not in false]


def _about_its_own(
    teacher: Teacher, pairs: Sequence[Pair], *, episodes: Sequence[Episode]
) -> list[Pair]:
    """Those that are not answered the same from others, which do not tell it: by a guess."""
    others = _others(teacher, pairs, episodes=episodes)
    chats = []
    for pair in pairs:
        silent = [one for one in others[pair.episode_id] if not matches(one.whole, pair.answer)]
        chats.append(book(teacher.local, pair.question, episodes=silent))
    replies = teacher.reply(chats)
    return [
        pair
        for pair, reply in zip(pairs, replies, strict=True)
        if not same_answer(reply, pair.answer)
    ]


def _others(
    teacher: Teacher, pairs: Sequence[Pair], *, episodes: Sequence[Episode]
) -> dict[str, list[Episode]]:
    """Those that stand beside each asked one; the same for all its pairs, so it is read once."""
    by_id = {episode.id: episode for episode in episodes}
    others = {}
    for asked in dict.fromkeys(pair.episode_id for pair in pairs):
        count, own = teacher.config.distractors, by_id[asked]
        others[asked] = distractors(teacher.rng, episodes, count=count, own=own)
    return others


def same_answer(answer: str, other: str) -> bool:
    """Whether the answers give each other."""
    return matches(answer, other) and matches(other, answer)


def similar_answer(answer: str, other: str) -> bool:
    """Whether one of the answers gives the other."""
    return matches(answer, other) or matches(other, answer)
