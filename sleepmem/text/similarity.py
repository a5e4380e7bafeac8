"""How near two embedded texts are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Vector = Sequence[float] | np.ndarray


def cosine(vector: Vector, other: Vector) -> float:
    """Cosine similarity of two vectors of any length, in [-1, 1].

    Not every embedding model normalises.
    """
    return cosines(vector, [other])[0]


def cosines(vector: Vector, others: Sequence[Vector]) -> list[float]:
    """Of one vector with each of some."""
    matrix, one = np.asarray(others, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix) * (one @ one))
    found: list[float] = (matrix @ one / np.where(lengths, lengths, 1.0)).tolist()
    return found


# What its authors found best, and everybody uses since.
_RANK_OFFSET = 60


def fused(rankings: Iterable[Sequence[str]]) -> list[str]:
    """One ranking of several, each best first: reciprocal rank fusion (Cormack et al. 2009)."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking):
            scores[name] = scores.get(name, 0.0) + 1 / (_RANK_OFFSET + rank + 1)
    return sorted(scores, key=lambda name: -scores[name])
