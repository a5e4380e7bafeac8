"""What tonight's episodes correct, and what corrects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sleepmem.night.probing.context import Archive, book, naming, newer, older
from sleepmem.night.probing.pairs import Checked, Pair, similar_answer
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.language import abstains, matches


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


def find_corrections(
    teacher: Teacher, checked: Checked, *, by_id: Mapping[str, Episode], archive: Archive
) -> Corrections:
    """Ask older and newer episodes the same questions, and compare."""
    corrections = Corrections()
    _correct_older(teacher, checked.confirmed, by_id, archive, corrections)
    _correct_tonights(teacher, checked.alone, by_id, archive, corrections)
    return corrections


def _correct_older(
    teacher: Teacher,
    pairs: Sequence[Pair],
    by_id: Mapping[str, Episode],
    archive: Archive,
    corrections: Corrections,
) -> None:
    """What did older episodes answer to the same question?"""
    asked, chats = [], []
    for pair in pairs:
        named = naming(pair.question, archive(pair.question))
        earlier = older(by_id[pair.episode_id], named)
        if earlier:
            asked.append((pair, earlier))
            chats.append(book(teacher.local, pair.question, episodes=earlier))
    for (pair, earlier), answer in zip(asked, teacher.reply(chats), strict=True):
        if abstains(answer) or similar_answer(answer, pair.answer):
            continue
        for episode in earlier:
            if matches(episode.text, answer):
                corrections.stale[pair] = answer
                corrections.add(episode.id, pair.episode_id, value=answer)


def _correct_tonights(
    teacher: Teacher,
    pairs: Sequence[Pair],
    by_id: Mapping[str, Episode],
    archive: Archive,
    corrections: Corrections,
) -> None:
    """And what do newer ones answer, tonight's or learned before?

    An episode that was left behind must not pass for news.
    """
    asked, chats = [], []
    for pair in pairs:
        own = by_id[pair.episode_id]
        later = newer(own, naming(pair.question, archive(pair.question)))
        if later:
            asked.append((pair, later))
            chats.append(book(teacher.local, pair.question, episodes=later, own=own))
    for (pair, later), answer in zip(asked, teacher.reply(chats), strict=True):
        if abstains(answer) or similar_answer(answer, pair.answer):
            continue
        telling = [episode for episode in later if matches(episode.text, answer)]
        if telling:
            newest = max(telling, key=lambda episode: episode.age_key)
            corrections.add(pair.episode_id, newest.id, value=pair.answer)
