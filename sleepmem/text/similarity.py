"""How near two embedded texts are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Vector = Sequence[float] | np.ndarray


def cosine(vector: Vector, other: Vector) -> float:
    """Cosine similarity of two vectors of any length, in [-1, 1].

    Not every embedding model normalises.
    """
    one, two = np.asarray(vector, dtype=np.float64), np.asarray(other, dtype=np.float64)
    lengths = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / (lengths or 1.0)


# What its authors found best, and everybody uses since.
_RANK_OFFSET = 60


def fused(rankings: Iterable[Sequence[str]]) -> list[str]:
    """One ranking of several, each best first: reciprocal rank fusion (Cormack et al. 2009)."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking):
            scores[name] = scores.get(name, 0.0) + 1 / (_RANK_OFFSET + rank + 1)
    return sorted(scores, key=lambda name: -scores[name])
