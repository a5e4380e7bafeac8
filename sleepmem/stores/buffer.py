"""The buffer: a Chroma index of the episodes that are not in the weights, and of the questions that the weights can answer.

The only file that knows chromadb. An index of the ledger, never the truth: `rebuild` makes it again. Distances are cosine; similarities
are 1 - distance. One process writes to a folder; with a Chroma server the index can be shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import chromadb
from chromadb.api import ClientAPI
from chromadb.config import Settings
from langchain_core.embeddings import Embeddings

from sleepmem.errors import FolderError
from sleepmem.records import Episode, Namespace, Probe, namespace_key

_MAX_BATCH = 1000


class Buffer:
    """Two collections per namespace: `episodes` (buffered), `known` (probes passed closed-book).

    Args:
        folder: where Chroma keeps its files; created when new. Ignored when `client` is given.
        embeddings: any LangChain embeddings.
        client: a Chroma client of your own, such as `chromadb.HttpClient(...)`.
        owner: id of the ledger, so that two folders may share one server.
    """

    def __init__(
        self, folder: Path, embeddings: Embeddings, client: ClientAPI | None = None, owner: str = ""
    ) -> None:
        self.embeddings, self.owner, self._shared = embeddings, owner, client is not None
        try:
            self._client = client or chromadb.PersistentClient(
                str(folder), Settings(anonymized_telemetry=False)
            )
        except Exception as e:  # chromadb raises bare errors of its Rust core
            raise FolderError(
                f"Chroma could not open {folder} ({e}). Make it writable, or delete it: it is rebuilt from the ledger."
            ) from e

    def _collection(self, kind: str, namespace: Namespace) -> chromadb.Collection:
        name = hashlib.sha256((self.owner + namespace_key(namespace)).encode()).hexdigest()[:32]
        return self._client.get_or_create_collection(
            f"{kind}-{name}", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def add(self, namespace: Namespace, episodes: Sequence[Episode]) -> None:
        self._add("episodes", namespace, [e.id for e in episodes], [e.text for e in episodes])

    def add_known(
        self, namespace: Namespace, probes: Sequence[Probe], taught_by: Mapping[str, str]
    ) -> None:
        """Index questions that the weights answer; `taught_by` gives the texts of the episodes, by id. Those of a dream are kept line by line."""
        notes = [
            {"episode": "\n".join(taught_by[i] for i in p.sources or (p.episode_id,))}
            for p in probes
        ]
        self._add("known", namespace, [p.id for p in probes], [p.question for p in probes], notes)

    def _add(
        self,
        kind: str,
        namespace: Namespace,
        ids: list[str],
        texts: list[str],
        notes: list[dict[str, str]] | None = None,
    ) -> None:
        collection = self._collection(kind, namespace)
        for i in range(0, len(ids), _MAX_BATCH):
            batch = texts[i : i + _MAX_BATCH]
            vectors: Any = self.embeddings.embed_documents(batch)
            try:
                collection.upsert(
                    ids[i : i + _MAX_BATCH],
                    embeddings=vectors,
                    documents=batch,
                    metadatas=notes and notes[i : i + _MAX_BATCH],  # type: ignore[arg-type]
                )
            except Exception as e:  # chromadb raises bare errors of its Rust core
                raise FolderError(
                    f"the index could not be written ({e}). Nothing is lost, the ledger has it; make room or make the folder writable, then reopen."
                ) from e

    def remove(self, namespace: Namespace, episode_ids: Iterable[str]) -> None:
        self._remove("episodes", namespace, episode_ids)

    def remove_known(self, namespace: Namespace, probe_ids: Iterable[str]) -> None:
        self._remove("known", namespace, probe_ids)

    def _remove(self, kind: str, namespace: Namespace, ids: Iterable[str]) -> None:
        if ids := list(ids):
            self._collection(kind, namespace).delete(ids=ids)

    def near(
        self, namespace: Namespace, embedding: Sequence[float], count: int
    ) -> list[tuple[str, str, float, str]]:
        """Buffered episodes: (id, text, cosine similarity, text), nearest first."""
        return self._near("episodes", namespace, embedding, count)

    def near_known(
        self, namespace: Namespace, embedding: Sequence[float], count: int
    ) -> list[tuple[str, str, float, str]]:
        """Known questions: (probe id, question, cosine similarity, text of the episode that taught it), nearest first."""
        return self._near("known", namespace, embedding, count)

    def _near(
        self, kind: str, namespace: Namespace, embedding: Sequence[float], count: int
    ) -> list[tuple[str, str, float, str]]:
        collection = self._collection(kind, namespace)
        count = min(count, collection.count())
        if not count:
            return []
        vectors: Any = [list(embedding)]
        try:
            found = collection.query(
                query_embeddings=vectors,
                n_results=count,
                include=["documents", "distances", "metadatas"],
            )
        except Exception as e:  # chromadb raises bare errors of its Rust core
            raise FolderError(
                f"the index could not be asked ({e}). Open the folder with the embeddings it was made with, or delete its chroma folder: "
                "it is rebuilt from the ledger."
            ) from e
        assert found["documents"]
        assert found["distances"]
        assert found["metadatas"]
        rows = zip(
            found["ids"][0],
            found["documents"][0],
            found["distances"][0],
            found["metadatas"][0],
            strict=True,
        )
        return [
            (i, text, 1 - distance, str((note or {}).get("episode", text)))
            for i, text, distance, note in rows
        ]

    def ids(self, namespace: Namespace) -> set[str]:
        return set(self._collection("episodes", namespace).get(include=[])["ids"])

    def known_ids(self, namespace: Namespace) -> set[str]:
        return set(self._collection("known", namespace).get(include=[])["ids"])

    def close(self) -> None:
        """Close the client, unless it is the caller's own."""
        close = None if self._shared else getattr(self._client, "close", None)
        if close:
            close()
