"""Whether two words may be forms of one, by their spelling, whatever the language. Pure."""

from __future__ import annotations

import math

# Of the longer word, what two must share; and letters.
_ALIKE, SHORTEST = 0.55, 3


def begin_alike(word: str, other: str) -> bool:
    """Whether they share their beginning for the most part: "Sanna" and "Sanny"."""
    length = _shared(word, other)
    return bool(length) and word[:length] == other[:length]


def end_alike(word: str, other: str) -> bool:
    """Whether they share their end for the most part: "drucken" and "ausdrucken"."""
    length = _shared(word, other)
    return bool(length) and word[-length:] == other[-length:]


def _shared(word: str, other: str) -> int:
    """How many letters they must share; 0 when one is too short for it."""
    length = max(SHORTEST, math.ceil(_ALIKE * max(len(word), len(other))))
    return length if min(len(word), len(other)) >= length else 0
