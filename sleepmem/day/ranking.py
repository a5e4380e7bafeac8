"""How likely an episode is what a question needs. Pure.

A linear model over what a question and an episode share: meaning (the cosine, read by
`Relatedness`), words weighted by how rare they are, pieces of rare words, days. Names, numbers and
dates are rare words: evidence, no filter. Its weights were fitted by `make fit-recall` on public
dialogues, stories and passages; `docs/lab/`, "How much is recalled".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sleepmem.text.dates import Days
from sleepmem.text.terms import terms

# Stronger evidence than these log-odds tells no more.
_MOST_EVIDENCE = 8.0
# Rarity of a word that one of some thousand texts has.
_RAREST = 8.0
# Two words are spelt alike when they share this much of the longer one, at its beginning or end.
_ALIKE, _SHORTEST_ALIKE = 0.55, 3


class Features(NamedTuple):
    """What speaks for an episode.

    meaning     log-odds of the cosine, in [-8, 8]
    covered     share of the question, by rarity of its words, that the episode has: of those
                words that any memory has
    alike       share of the question whose words the episode spells another way
    dated       1 when it happened on a day that the question names, else 0
    asks        how surely it asks itself, and tells nothing, in [0, 1]
    echoes      the same, as far as it means what the question means
    repeats     the same, as far as it has the question's words
    lacking     rarity of the rarest word of the question that other memories have and it has not
    explained   share of all of the question, by rarity of its words, that the episode has
    """

    meaning: float
    covered: float
    alike: float
    dated: float
    asks: float
    echoes: float
    repeats: float
    lacking: float
    explained: float


# Fitted: `make fit-recall`; but for the day, for which no public set asks.
WEIGHTS = Features(0.44, -0.89, 4.36, 3.0, -0.25, -3.58, -5.24, -5.06, 5.7)
# How far below the best another may lie that is recalled with it; less far where the best has
# nearly all of the rare words of the question.
WITHIN, WITHIN_SURE = 5.0, 2.0
# Log-odds of a cosine from which a text may be about the same after all.
A_LITTLE = -2.0
_LACKS_NOTHING, _EXPLAINS = 0.35, 0.3


class Question(NamedTuple):
    """What is asked for.

    rarity   idf of each of its terms
    days     that it names
    unknown  those of its terms that no memory has
    """

    rarity: Mapping[str, float]
    days: Sequence[Days] = ()
    unknown: frozenset[str] = frozenset()


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
    has = _words_of(text)
    whole = sum(question.rarity.values()) or 1.0
    unknown = sum(question.rarity[word] for word in question.unknown)
    known = whole - unknown or 1.0
    covered = alike = lacking = 0.0
    for word, rarity in question.rarity.items():
        if word in has.words:
            covered += rarity
        elif spelt_alike(word, has):
            alike += rarity
        elif word not in question.unknown:
            lacking = max(lacking, rarity)
    meaning, surely = _bounded(evidence), max(0.0, _bounded(asks)) / _MOST_EVIDENCE
    return Features(
        meaning,
        min(1.0, covered / known),
        alike / whole,
        float(any(days.hold(day) for days in question.days)),
        surely,
        surely * max(0.0, meaning) / _MOST_EVIDENCE,
        surely * covered / known,
        lacking / _RAREST,
        covered / whole,
    )


def _bounded(log_odds: float) -> float:
    return max(-_MOST_EVIDENCE, min(_MOST_EVIDENCE, log_odds))


class Spellings(NamedTuple):
    """The words of a text, and which begin or end with the same few letters."""

    words: frozenset[str]
    by_start: Mapping[str, Sequence[str]]
    by_end: Mapping[str, Sequence[str]]


@functools.lru_cache(maxsize=20_000)
def _words_of(text: str) -> Spellings:
    words = frozenset(terms(text))
    by_start: dict[str, list[str]] = {}
    by_end: dict[str, list[str]] = {}
    for word in words:
        by_start.setdefault(word[:_SHORTEST_ALIKE], []).append(word)
        by_end.setdefault(word[-_SHORTEST_ALIKE:], []).append(word)
    return Spellings(words, by_start, by_end)


def spelt_alike(word: str, others: Spellings) -> bool:
    """Whether one of the other words begins or ends as this one does, for the most part."""
    for other in others.by_start.get(word[:_SHORTEST_ALIKE], ()):
        length = _alike(word, other)
        if length and word[:length] == other[:length]:
            return True
    for other in others.by_end.get(word[-_SHORTEST_ALIKE:], ()):
        length = _alike(word, other)
        if length and word[-length:] == other[-length:]:
            return True
    return False


def _alike(word: str, other: str) -> int:
    """How many letters two words must share; 0 when one is too short for it."""
    length = max(_SHORTEST_ALIKE, math.ceil(_ALIKE * max(len(word), len(other))))
    return length if min(len(word), len(other)) >= length else 0


def score(found: Features) -> float:
    """The more, the likelier the question needs it."""
    return sum(x * weight for x, weight in zip(found, WEIGHTS, strict=True))


def within(best: Features) -> float:
    """How far below the best candidate another may lie to be recalled, too."""
    is_sure = best.lacking <= _LACKS_NOTHING and best.explained >= _EXPLAINS
    return WITHIN_SURE if is_sure else WITHIN


class Need(NamedTuple):
    """What tells whether a turn needs any memory.

    meaning     the most evidence that a cosine gives
    explained   the largest share of all of the question that a candidate has
    general     log-odds that the turn is small talk or a general request
    """

    meaning: float
    explained: float
    general: float


# Fitted: `make fit-recall`. With the constant one of twenty-five general turns gets any memory.
NEED, NEED_CONSTANT = Need(0.73, 0.67, -1.28), -0.58


def is_needed(need: Need) -> bool:
    """Whether a turn needs any memory."""
    log_odds = sum(x * weight for x, weight in zip(need, NEED, strict=True))
    return log_odds + NEED_CONSTANT >= 0
