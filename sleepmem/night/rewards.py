"""The reward of knowledge seeding's second half, learning to imitate. Knows no model."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.embeddings import Embeddings
from rapidfuzz.distance import Levenshtein

from sleepmem.text.similarity import cosine

# The frozen judge: 1.0 when an answer means what was wanted, else 0.0.
Semantic = Callable[[str, str], float]


def reward(answer: str, wanted: str, *, semantic: Semantic, gamma: float, z0: int) -> float:
    """r = gamma * r_sem + (1 - gamma) * r_abs, in [0, 1] (arXiv 2606.03979, section 4).

    Args:
        answer: the student's.
        wanted: the teacher's.
        semantic: judges the meaning.
        gamma: share of the meaning; the rest is the wording's.
        z0: most edits, in characters, that earn something for the wording.
    """
    edits = Levenshtein.distance(answer, wanted)
    wording = 1 - edits / max(len(answer), len(wanted), 1) if edits <= z0 else 0.0
    return gamma * semantic(answer, wanted) + (1 - gamma) * wording


def near_in_meaning(embeddings: Embeddings, *, least: float) -> Semantic:
    """The judge by default: two answers mean the same when the cosine of their vectors is `least`.

    Equal answers do, whatever the vectors; an empty one is read as "nothing".
    """

    def judge(answer: str, wanted: str) -> float:
        if answer == wanted:
            return 1.0
        vector, wanted_vector = embeddings.embed_documents([answer or "nothing", wanted])
        return float(cosine(vector, wanted_vector) >= least)

    return judge
