"""How near two embedded texts are."""

from __future__ import annotations

import math
from collections.abc import Sequence


def cosine(vector: Sequence[float], other: Sequence[float]) -> float:
    """Cosine similarity of two vectors of any length, in [-1, 1].

    Not every embedding model normalises.
    """
    product = sum(x * y for x, y in zip(vector, other, strict=True))
    return product / (math.hypot(*vector) * math.hypot(*other) or 1.0)
