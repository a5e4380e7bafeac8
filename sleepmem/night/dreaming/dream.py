"""What a dream is, who dreams it and what it may be about. Values alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sleepmem.model.local import LocalModel
from sleepmem.records import Episode, Probe
from sleepmem.text.prompts import line_of

# One or two memories that a dream is about, oldest first.
Context = tuple[Episode, ...]

# Two episodes, by id, of which the one answers whom the other is about.
Link = frozenset[str]

# (question, context) -> memory lines, oldest first, that may answer it, the context's among them.
MemoryLines = Callable[[str, Context], Sequence[str]]


class Pair(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


class Fate(StrEnum):
    """What became of a dream, and why: shown to the user."""

    UNREADABLE = "no question with an answer"
    FOREIGN = "names what its memories do not"
    MIXED = "its memories have several owners"
    REPEATED = "was asked before"
    CONTRADICTS = "the memories answer otherwise"
    LOOSE = "is answered alike about somebody else"
    APART = "needs two memories of which neither leads to the other"
    IDLE = "teaches the expert less than others"
    USELESS = "did not help on other questions"
    REWARDED = "helped on other questions"
    HELD_OUT = "another wording of the same, kept for the exam"


@dataclass(frozen=True, slots=True)
class Dream:
    """One sampled dream and its fate.

    context           what it is about
    expert            the random one that was on while it was sampled, or ""
    text              as it was sampled
    question, answer  as the guard read them
    importance        norm of its gradient on tonight's expert
    gain              what its trial brought, in expected share of right answers
    round             in which it was dreamt, from 1
    """

    context: Context
    expert: str
    text: str
    question: str = ""
    answer: str = ""
    fate: Fate = Fate.IDLE
    importance: float = 0.0
    gain: float = 0.0
    round: int = 0

    @property
    def pair(self) -> Pair:
        return Pair(self.question, self.answer)

    @property
    def lines(self) -> list[str]:
        """Its memories as the model sees them."""
        return [line_of(episode) for episode in self.context]

    @property
    def told(self) -> str:
        """What its memories tell."""
        return "\n".join(episode.text for episode in self.context)

    @property
    def episode_ids(self) -> list[str]:
        return [episode.id for episode in self.context]


@dataclass(frozen=True, slots=True)
class Dreamer:
    """Who dreams, and learns from it.

    Args:
        local: the model; its base, experts off, judges the dreams.
        expert: the one that dreams and learns.
        beside: the experts that are on beside it.
    """

    local: LocalModel
    expert: str
    beside: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """What a night may dream about, and what its dreams are held against.

    Args:
        tonight: episodes that tonight learned.
        earlier: episodes that the weights held before.
        facts: what was asked about the episodes; none of the exam's.
        questions: all that were asked already.
        memory_lines: looks up what may answer a question.
        strangers: names of nobody.
    """

    tonight: Sequence[Episode]
    earlier: Sequence[Episode]
    facts: Sequence[Probe]
    questions: Collection[str]
    memory_lines: MemoryLines
    strangers: Sequence[str]

    @property
    def new_ids(self) -> set[str]:
        """Ids of tonight's episodes."""
        return {episode.id for episode in self.tonight}
