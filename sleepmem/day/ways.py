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
from typing import Any

from sleepmem.text.terms import terms

# Frames that facts must share to be asked alike: one may do so by chance.
_SHARED = 2
# So many of a fact's wordings say what it is about, where one was written badly.
_NEARLY_ALL = 0.75
# Facts that stand for all with the same frame: at thousands of facts pairs would be too many.
_FIRST = 3
Wordings = Sequence[str]
Frame = tuple[str, ...]


@dataclass(frozen=True)
class Ways:
    """What is asked alike: per group of facts, in how many of them each frame was asked."""

    groups: tuple[Mapping[Frame, int], ...] = ()

    @classmethod
    def of(cls, facts: Sequence[Wordings]) -> Ways:
        """Group facts by their wordings; a fact that is asked like no other has no group."""
        frames = [_frames(wordings) for wordings in facts]
        groups = []
        for alike in _alike(frames):
            groups.append(Counter(frame for number in alike for frame in frames[number]))
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
        for number in {self._group_of[f] for f in _frames(wordings) if f in self._group_of}:
            for frame, count in self.groups[number].items():
                if count > (frame in own):
                    found.add(frame)
        return found

    @functools.cached_property
    def _group_of(self) -> Mapping[Frame, int]:
        group_of = {}
        for number, frames in enumerate(self.groups):
            group_of.update(dict.fromkeys(frames, number))
        return group_of

    def as_lists(self) -> list[list[Any]]:
        return [[[list(frame), count] for frame, count in group.items()] for group in self.groups]

    @classmethod
    def parse(cls, written: Iterable[Iterable[Any]]) -> Ways:
        """The inverse of `as_lists`."""
        groups = []
        for group in written:
            groups.append({tuple(frame): count for frame, count in group})
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
