"""Ways of asking: in which other words the same is asked of others. Pure.

A wording without what is particular to its fact is a frame: "where does ... live". Facts that share
frames are asked alike, so the words of one explain those of another, whatever the language.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sleepmem.text.terms import terms

# Frames that facts must share to be asked alike: one may do so by chance.
_SHARED = 2
# So many of a fact's wordings say what it is about, where one was written badly.
_NEARLY_ALL = 0.75
# Facts that stand for all with the same frame: at thousands of facts pairs would be too many.
_FIRST = 3
Wordings = Sequence[str]
Frame = tuple[str, ...]


class Group(NamedTuple):
    """Facts that are asked alike.

    frames  in how many of the facts each was asked
    shared  which share of the facts is about a term; terms of only one are left out
    """

    frames: Mapping[Frame, int]
    shared: Mapping[str, float]


@dataclass(frozen=True)
class Ways:
    """What is asked alike, in groups of facts."""

    groups: tuple[Group, ...] = ()

    @classmethod
    def of(cls, facts: Sequence[Wordings]) -> Ways:
        """Group facts by their wordings; a fact that is asked like no other has no group."""
        frames = [_frames(wordings) for wordings in facts]
        groups = []
        for alike in _alike(frames):
            about = Counter(term for number in alike for term in core(facts[number]))
            shared = {term: count / len(alike) for term, count in about.items() if count > 1}
            counts = Counter(frame for number in alike for frame in frames[number])
            groups.append(Group(counts, shared))
        return cls(tuple(groups))

    def frames(self, wordings: Wordings, *, hidden: Wordings = ()) -> set[Frame]:
        """The frames in which what is asked like this fact was asked of others.

        Args:
            wordings: of the fact.
            hidden: further ones, which are not to be counted.
        """
        shared = core(wordings)
        own = {_frame(wording, shared) for wording in hidden}
        found: set[Frame] = set()
        for number in self._groups(_frames(wordings)):
            for frame, count in self.groups[number].frames.items():
                if count > (frame in own):
                    found.add(frame)
        return found

    def elsewhere(self, term: str, wordings: Wordings, *, hidden: Wordings = ()) -> int:
        """In how many groups but the fact's own the term is asked with.

        What is asked with anything, and left the answer as it was, is no part of what is asked.
        """
        shared = core(wordings)
        own = self._groups([*_frames(wordings), *(_frame(wording, shared) for wording in hidden)])
        return len(self._groups_with.get(term, set()) - own)

    def particular(self, term: str, wordings: Wordings) -> float:
        """How much a term tells the fact from those that are asked alike: 0 when all have it."""
        groups = self._groups(_frames(wordings))
        return 1.0 - max(
            (self.groups[number].shared.get(term, 0.0) for number in groups), default=0
        )

    def _groups(self, frames: Iterable[Frame]) -> set[int]:
        return {self._group_of[frame] for frame in frames if frame in self._group_of}

    @functools.cached_property
    def _group_of(self) -> Mapping[Frame, int]:
        group_of = {}
        for number, group in enumerate(self.groups):
            group_of.update(dict.fromkeys(group.frames, number))
        return group_of

    @functools.cached_property
    def _groups_with(self) -> Mapping[str, set[int]]:
        """In the frames of which groups each term stands."""
        groups_with: dict[str, set[int]] = {}
        for number, group in enumerate(self.groups):
            for frame in group.frames:
                for term in frame:
                    groups_with.setdefault(term, set()).add(number)
        return groups_with

    def as_lists(self) -> list[list[Any]]:
        written = []
        for group in self.groups:
            frames = [[list(frame), count] for frame, count in group.frames.items()]
            written.append([frames, dict(group.shared)])
        return written

    @classmethod
    def parse(cls, written: Iterable[Iterable[Any]]) -> Ways:
        """The inverse of `as_lists`."""
        groups = []
        for frames, shared in written:
            groups.append(Group({tuple(frame): count for frame, count in frames}, shared))
        return cls(tuple(groups))


def core(wordings: Wordings) -> set[str]:
    """The terms that all wordings of a fact share, or nearly all: whom or what it is about."""
    counts = Counter[str]()
    for wording in wordings:
        counts.update(set(terms(wording)))
    for share in (1.0, _NEARLY_ALL):
        least = math.ceil(share * len(wordings))
        shared = {term for term, count in counts.items() if count >= least}
        if shared:
            return shared
    return set()


def _frames(wordings: Wordings) -> set[Frame]:
    """Of the wordings of a fact; a lone one has none."""
    if len(wordings) < 2:
        return set()
    shared = core(wordings)
    frames = {_frame(wording, shared) for wording in wordings}
    return {frame for frame in frames if len(frame) > 1}


def _frame(wording: str, shared: set[str]) -> Frame:
    """Its terms without those that all share."""
    return tuple(term for term in terms(wording) if term not in shared)


def _alike(frames: Sequence[set[Frame]]) -> list[list[int]]:
    """Numbers of the facts that share frames, in groups of several."""
    facts_of: dict[Frame, list[int]] = {}
    for number, own in enumerate(frames):
        for frame in own:
            facts_of.setdefault(frame, []).append(number)
    shared = Counter[tuple[int, int]]()
    for alike in facts_of.values():
        for first in alike[:_FIRST]:
            shared.update((first, other) for other in alike if other > first)

    # What shares frames with one of a group belongs to it.
    leader = list(range(len(frames)))

    def lead(number: int) -> int:
        while leader[number] != number:
            number = leader[number]
        return number

    for (first, other), times in shared.items():
        if times >= _SHARED:
            leader[lead(other)] = lead(first)
    members: dict[int, list[int]] = {}
    for number in range(len(frames)):
        members.setdefault(lead(number), []).append(number)
    return [alike for alike in members.values() if len(alike) > 1]
