"""The buffer: a Chroma index of the episodes that are not in the weights, and of the questions
that the weights can answer.

The only file that knows chromadb, which is imported when a buffer is opened. An index of the
ledger, never the truth: `agreement` makes it again. Distances are cosine; similarities are
1 - distance. One process writes to a folder; with a Chroma server the index can be shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepmem.errors import FolderError
from sleepmem.records import Episode, Namespace, Neighbour, Probe, namespace_key

if TYPE_CHECKING:
    import chromadb
    from chromadb.api import ClientAPI
    from langchain_core.embeddings import Embeddings

_MAX_BATCH = 1000
_EPISODES, _KNOWN = "episodes", "known"


class Buffer:
    """Two collections per namespace: `episodes` (buffered), `known` (probes passed closed-book).

    Args:
        folder: where Chroma keeps its files; created when new. Ignored when `client` is given.
        embeddings: any LangChain embeddings.
        client: a Chroma client of your own, such as `chromadb.HttpClient(...)`.
        owner: id of the ledger, so that two folders may share one server.
    """

    def __init__(
        self,
        folder: Path,
        embeddings: Embeddings,
        *,
        client: ClientAPI | None = None,
        owner: str = "",
    ) -> None:
        self.embeddings, self.owner = embeddings, owner
        self._client_is_shared = client is not None
        self._client = client or _open_client(folder)

    def add(self, namespace: Namespace, episodes: Sequence[Episode]) -> None:
        ids = [episode.id for episode in episodes]
        self._add(_EPISODES, namespace, ids, [episode.text for episode in episodes])

    def add_known(
        self, namespace: Namespace, probes: Sequence[Probe], *, taught_by: Mapping[str, str]
    ) -> None:
        """Index questions that the weights answer.

        Args:
            namespace: whose.
            probes: the questions.
            taught_by: texts of the episodes, by id. Those of a dream are kept line by line.
        """
        notes = []
        for probe in probes:
            sources = probe.sources or (probe.episode_id,)
            notes.append({"episode": "\n".join(taught_by[source] for source in sources)})
        ids = [probe.id for probe in probes]
        self._add(_KNOWN, namespace, ids, [probe.question for probe in probes], notes)

    def remove(self, namespace: Namespace, episode_ids: Iterable[str]) -> None:
        self._remove(_EPISODES, namespace, episode_ids)

    def remove_known(self, namespace: Namespace, probe_ids: Iterable[str]) -> None:
        self._remove(_KNOWN, namespace, probe_ids)

    def near(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Buffered episodes, nearest first."""
        return self._near(_EPISODES, namespace, embedding, count)

    def near_known(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Known questions, nearest first."""
        return self._near(_KNOWN, namespace, embedding, count)

    def ids(self, namespace: Namespace) -> set[str]:
        """Of the indexed episodes."""
        return set(self._collection(_EPISODES, namespace).get(include=[])["ids"])

    def known_ids(self, namespace: Namespace) -> set[str]:
        """Of the indexed questions."""
        return set(self._collection(_KNOWN, namespace).get(include=[])["ids"])

    def close(self) -> None:
        """Close the client, unless it is the caller's own."""
        close = None if self._client_is_shared else getattr(self._client, "close", None)
        if close:
            close()

    def _collection(self, kind: str, namespace: Namespace) -> chromadb.Collection:
        key = (self.owner + namespace_key(namespace)).encode()
        return self._client.get_or_create_collection(
            f"{kind}-{hashlib.sha256(key).hexdigest()[:32]}",
            configuration={"hnsw": {"space": "cosine"}},
            embedding_function=None,
        )

    def _add(
        self,
        kind: str,
        namespace: Namespace,
        ids: list[str],
        texts: list[str],
        notes: list[dict[str, str]] | None = None,
    ) -> None:
        collection = self._collection(kind, namespace)
        for start in range(0, len(ids), _MAX_BATCH):
            batch = slice(start, start + _MAX_BATCH)
            vectors: Any = self.embeddings.embed_documents(texts[batch])
            metadatas: Any = notes[batch] if notes else None
            try:
                collection.upsert(
                    ids[batch], embeddings=vectors, documents=texts[batch], metadatas=metadatas
                )
            except Exception as error:  # chromadb raises bare errors of its Rust core
                raise FolderError(
                    f"the index could not be written ({error}). Nothing is lost, the ledger has "
                    "it; make room or make the folder writable, then reopen."
                ) from error

    def _remove(self, kind: str, namespace: Namespace, ids: Iterable[str]) -> None:
        gone = list(ids)
        if gone:
            self._collection(kind, namespace).delete(ids=gone)

    def _near(
        self, kind: str, namespace: Namespace, embedding: Sequence[float], count: int
    ) -> list[Neighbour]:
        collection = self._collection(kind, namespace)
        count = min(count, collection.count())
        if not count:
            return []
        vectors: Any = [list(embedding)]
        try:
            answer: Any = collection.query(
                query_embeddings=vectors,
                n_results=count,
                include=["documents", "distances", "metadatas"],
            )
        except Exception as error:  # chromadb raises bare errors of its Rust core
            raise FolderError(
                f"the index could not be asked ({error}). Open the folder with the embeddings it "
                "was made with, or delete its chroma folder: it is rebuilt from the ledger."
            ) from error
        columns = ("ids", "documents", "distances", "metadatas")
        neighbours = []
        for row_id, text, distance, note in zip(*(answer[c][0] for c in columns), strict=True):
            taught_by = str((note or {}).get("episode", text))
            neighbours.append(Neighbour(row_id, text, 1 - distance, taught_by))
        return neighbours


def _open_client(folder: Path) -> ClientAPI:
    import chromadb
    from chromadb.config import Settings

    try:
        return chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    except Exception as error:  # chromadb raises bare errors of its Rust core
        raise FolderError(
            f"Chroma could not open {folder} ({error}). "
            "Make it writable, or delete it: it is rebuilt from the ledger."
        ) from error
