"""How likely an episode is what a question needs. Pure.

A linear model over what a question and an episode share: meaning (the cosine, read by
`Relatedness`), words and pieces of words, the rare ones most, days. Names, numbers and dates are
rare words: evidence, no filter. Its weights were fitted by `make fit-recall` on public dialogues,
stories and passages; `docs/lab/`, "How much is recalled".
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sleepmem.text.dates import Days
from sleepmem.text.relatedness import Relatedness
from sleepmem.text.spelling import SHORTEST, begin_alike, end_alike
from sleepmem.text.terms import terms

# Of what several searches found, as many are judged.
CANDIDATES = 24
# Stronger evidence than these log-odds tells no more.
_MOST_EVIDENCE = 8.0
# A word of less rarity than this tells nothing of what is asked for.
_EVERYDAY = 3.0


class Features(NamedTuple):
    """What speaks for an episode.

    meaning  log-odds of the cosine, in [-8, 8]
    covered  share of the question, by how much each of its words tells, that the episode has
    alike    share of the question that the episode spells another way
    dated    how likely the question names the day when it happened, in [0, 1]
    asks     how surely it asks itself, and tells nothing, in [0, 1]
    echoes   the same, as far as it means what the question means
    repeats  the same, as far as it has the question's words
    """

    meaning: float
    covered: float
    alike: float
    dated: float
    asks: float
    echoes: float
    repeats: float


# Fitted: `make fit-recall`; but for the day, for which no public set asks.
WEIGHTS = Features(0.46, 7.0, 3.21, 3.0, -0.61, -6.33, -3.01)
# How far below the best another may lie that is recalled with it; less far where the best has
# nearly all of what is asked for.
WITHIN, WITHIN_SURE, _SURE = 4.0, 2.0, 0.9
# Log-odds of a cosine from which what was told later may be its news, in other words.
MAY_BE_NEWS = -3.0


@dataclass(frozen=True)
class Question:
    """What is asked for.

    rarity  idf of each of its terms
    days    that it names
    """

    rarity: Mapping[str, float]
    days: Sequence[Days] = ()

    @functools.cached_property
    def telling(self) -> Mapping[str, float]:
        """How much each word tells, of those that tell anything: the square of its rarity."""
        rare = ((word, rarity - _EVERYDAY) for word, rarity in self.rarity.items())
        return {word: rarity**2 for word, rarity in rare if rarity > 0}

    def share(self, words: Container[str]) -> float:
        """Of the question that is among these, by how much each of its words tells."""
        return sum(tells for word, tells in self.telling.items() if word in words) / self._whole

    def spelt_alike(self, words: Iterable[str]) -> set[str]:
        """What tells and begins or ends as one of these does, for the most part."""
        found = set()
        for word in words:
            for own in self._by_start.get(word[:SHORTEST], ()):
                if begin_alike(word, own):
                    found.add(own)
            for own in self._by_end.get(word[-SHORTEST:], ()):
                if end_alike(word, own):
                    found.add(own)
        return found

    @functools.cached_property
    def _whole(self) -> float:
        return sum(self.telling.values()) or 1.0

    @functools.cached_property
    def _by_start(self) -> Mapping[str, Sequence[str]]:
        return _grouped(self.telling, lambda word: word[:SHORTEST])

    @functools.cached_property
    def _by_end(self) -> Mapping[str, Sequence[str]]:
        return _grouped(self.telling, lambda word: word[-SHORTEST:])


def features(
    question: Question, text: str, *, day: str, evidence: float, asks: float = 0.0
) -> Features:
    """What speaks for a text.

    Args:
        question: with its rarities.
        text: of an episode, or of the piece of it that is nearest.
        day: when it happened, ISO date.
        evidence: log-odds of its cosine.
        asks: log-odds that the episode asks, and tells nothing.
    """
    words = set(terms(text))
    covered = question.share(words)
    alike = question.share(question.spelt_alike(words) - words)
    meaning, surely = _bounded(evidence), max(0.0, _bounded(asks)) / _MOST_EVIDENCE
    return Features(
        meaning,
        covered,
        alike,
        max((days.likely for days in question.days if days.hold(day)), default=0.0),
        surely,
        surely * max(0.0, meaning) / _MOST_EVIDENCE,
        surely * covered,
    )


def _bounded(log_odds: float) -> float:
    return max(-_MOST_EVIDENCE, min(_MOST_EVIDENCE, log_odds))


def _grouped(words: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(key(word), []).append(word)
    return groups


def score(found: Features) -> float:
    """The more, the likelier the question needs it."""
    return sum(x * weight for x, weight in zip(found, WEIGHTS, strict=True))


def within(best: Features) -> float:
    """How far below the best candidate another may lie to be recalled, too."""
    return WITHIN_SURE if best.covered >= _SURE else WITHIN


class Need(NamedTuple):
    """What tells whether a turn needs any memory.

    meaning  the most evidence that a cosine gives
    covered  the largest share of the question that a candidate has
    stands   log-odds by which the nearest stands out from what else was found
    general  log-odds that the turn is small talk or a general request
    dated    how likely the turn names the day when one of the candidates happened, in [0, 1]
    """

    meaning: float
    covered: float
    stands: float
    general: float
    dated: float = 0.0

    @classmethod
    def of(cls, found: Sequence[Features], *, general: float, unrelated: float) -> Need:
        """Of what was found for a turn; `unrelated` are the log-odds of any text's cosine."""
        meanings = [one.meaning for one in found]
        others = meanings + [_bounded(unrelated)] * (CANDIDATES - len(meanings))
        covered = max((one.covered for one in found), default=0.0)
        most = max(others)
        dated = max((one.dated for one in found), default=0.0)
        return cls(most, covered, most - statistics.median(others), general, dated)


# Fitted: `make fit-recall`; but for the day. With the constant one of twenty-five general turns
# gets any memory.
NEED, NEED_CONSTANT = Need(0.2, 3.47, 0.33, -1.47, 6.0), -2.01


def is_needed(need: Need) -> bool:
    """Whether a turn needs any memory."""
    log_odds = sum(x * weight for x, weight in zip(need, NEED, strict=True))
    return log_odds + NEED_CONSTANT >= 0


def may_be_news(relatedness: Relatedness, cosine: float) -> bool:
    """Whether what was told later may be the news of what it has this cosine with.

    Embeddings that tell little apart must have it nearer than unrelated texts are on average.
    """
    least = relatedness.unrelated + relatedness.spread / 2
    return cosine >= least and relatedness.evidence(cosine) >= MAY_BE_NEWS
