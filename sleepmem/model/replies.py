"""What a model answers, in this process or on a server. No torch at import."""

from __future__ import annotations

import math
from typing import NamedTuple


class Reply(NamedTuple):
    """An answer, and how sure the model was.

    `confidence`: the probability of the likeliest token where it was lowest, in (0, 1].
    `abstention`: log-likelihood of its abstention in the answer's place; -inf where none was asked.
    `is_whole`: whether it came to its end; else it was cut where it had no more room.
    """

    text: str
    confidence: float
    abstention: float = -math.inf
    is_whole: bool = True
