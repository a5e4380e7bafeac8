"""The buffer: a Chroma index of the episodes that are not in the weights, of those that are, and of
the questions that the weights can answer.

The only file that knows chromadb, which is imported when a buffer is opened. An index of the
ledger, never the truth: `agreement` makes it again. Distances are cosine; similarities are
1 - distance. One process writes to a folder; with a Chroma server the index can be shared.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sleepmem.errors import FolderError
from sleepmem.records import Episode, Namespace, Neighbour, Probe, namespace_key
from sleepmem.text.pieces import pieces
from sleepmem.text.similarity import cosine

if TYPE_CHECKING:
    import chromadb
    from chromadb.api import ClientAPI
    from langchain_core.embeddings import Embeddings

_MAX_BATCH = 1000
# Episodes that wait in memory to go to Chroma together: one at a time costs ten times more.
_WAITING = 64
_EPISODES, _ASKED, _ARCHIVE, _KNOWN = "episodes", "asked", "archive", "known"
# What surely asks lies apart, so that however many questions crowd out nothing that tells.
_BUFFERED = (_EPISODES, _ASKED)
# Of a long text's pieces, as many may be nearest before another text comes.
_PIECES_READ = 2
_OF_PIECE = "#"
# Pieces whose vectors are remembered: what is recalled is recalled again.
_MOST_READ = 10_000
# Two runs of the same embeddings differ by rounding alone.
_SAME_VECTOR = 0.99


class Buffer:
    """Four collections per namespace: `episodes` and `asked` (what is buffered and tells, or surely
    asks), `archive` (what the weights hold and still holds), `known` (probes passed closed-book).

    Long texts lie there in pieces. What was added last is kept in memory until there is more of it.

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
        self._collections: dict[tuple[str, Namespace], chromadb.Collection] = {}
        self._filled: dict[tuple[str, Namespace], bool] = {}
        self._waiting: dict[Namespace, dict[str, Piece]] = {}
        self._left_out: dict[Namespace, set[str]] = {}
        self._read: dict[str, Any] = {}
        self._width = 0  # numbers in a vector of the index; 0 while nothing tells
        self._unsound: set[str] = set()
        self._lock, self._process = threading.RLock(), os.getpid()

    def add(
        self, namespace: Namespace, episodes: Sequence[Episode], *, asking: Collection[str] = ()
    ) -> list[str]:
        """Index episodes; `asking` are the ids of those that surely ask, and tell nothing.

        Returns the ids of those that are in Chroma now; the others are found, too, but must be
        added again after a crash.

        Raises:
            FolderError: the embeddings gave no sound vectors for some, told once of each; the
                others are indexed, and these when they are added again.
        """
        texts: dict[str, str] = {}
        for episode in episodes:
            texts.update(_pieces_of(episode))
        vectors = self._vectors(list(texts.values()))
        faults = {}
        for piece_id, vector in zip(texts, vectors, strict=True):
            fault = self._fault(vector)
            if fault:
                faults[_episode_of(piece_id)] = fault
        with self._lock:
            waiting = self._waiting.setdefault(namespace, {})
            for (piece_id, text), vector in zip(texts.items(), vectors, strict=True):
                if _episode_of(piece_id) not in faults:
                    waiting[piece_id] = Piece(text, vector, _episode_of(piece_id) in asking)
            untold = set(faults) - self._unsound
            self._unsound = (self._unsound - {one.id for one in episodes}) | set(faults)
            if untold:
                raise FolderError(faults[min(untold)])
            if len(waiting) < _WAITING:
                return []
            return self.flush(namespace)

    def waiting(self, namespace: Namespace) -> set[str]:
        """Ids of the episodes that are kept in memory."""
        return {_episode_of(piece_id) for piece_id in self._waiting.get(namespace, {})}

    def leave_out(self, namespace: Namespace, episode_ids: Iterable[str]) -> None:
        """Find these no more; they leave Chroma together with what is written to it next."""
        with self._lock:
            self._left_out.setdefault(namespace, set()).update(episode_ids)

    def flush(self, namespace: Namespace) -> list[str]:
        """Write to Chroma what is kept in memory; returns the ids of these episodes."""
        with self._lock:
            waiting = self._waiting.get(namespace, {})
            gone = self._left_out.pop(namespace, set())
            for piece_id in [one for one in waiting if _episode_of(one) in gone]:
                del waiting[piece_id]
            for kind in _BUFFERED:
                self._remove_pieces(kind, namespace, gone)
                own = {
                    piece_id: piece
                    for piece_id, piece in waiting.items()
                    if piece.asks == (kind == _ASKED)
                }
                if own:
                    texts = [piece.text for piece in own.values()]
                    vectors = [piece.vector for piece in own.values()]
                    self._write(kind, namespace, list(own), texts=texts, vectors=vectors)
            self._waiting[namespace] = {}
            return sorted({_episode_of(piece_id) for piece_id in waiting})

    def archive(self, namespace: Namespace, episodes: Sequence[Episode]) -> None:
        """Index what the weights hold: a model without experts reads it."""
        texts: dict[str, str] = {}
        for episode in episodes:
            texts.update(_pieces_of(episode))
        self._add(_ARCHIVE, namespace, list(texts), list(texts.values()))

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
        with self._lock:
            gone = set(episode_ids)
            waiting = self._waiting.get(namespace, {})
            for piece_id in [one for one in waiting if _episode_of(one) in gone]:
                del waiting[piece_id]
        for kind in _BUFFERED:
            self._remove_pieces(kind, namespace, gone)

    def remove_archived(self, namespace: Namespace, episode_ids: Iterable[str]) -> None:
        self._remove_pieces(_ARCHIVE, namespace, set(episode_ids))

    def remove_known(self, namespace: Namespace, probe_ids: Iterable[str]) -> None:
        self._remove(_KNOWN, namespace, probe_ids)

    def near(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Buffered episodes that may tell something, nearest first.

        Each once, by its nearest piece.
        """
        return self._near_buffered(_EPISODES, namespace, embedding, count)

    def near_asked(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Buffered episodes that surely ask, nearest first."""
        return self._near_buffered(_ASKED, namespace, embedding, count)

    def vectors(self, namespace: Namespace, episodes: Iterable[Episode]) -> dict[str, Any]:
        """Vectors of the pieces of these episodes, by text: as indexed, else embedded anew.

        Raises:
            FolderError: the embeddings gave no sound vector for what is not indexed.
        """
        wanted: dict[str, str] = {}
        for episode in episodes:
            wanted.update(_pieces_of(episode))
        with self._lock:
            waiting = self._waiting.get(namespace, {})
            found = {one: waiting[one].vector for one in wanted if one in waiting}
            found.update((one, self._read[one]) for one in wanted if one in self._read)
        for kind in (*_BUFFERED, _ARCHIVE):
            left = [one for one in wanted if one not in found]
            if left and self._is_filled(kind, namespace):
                got: Any = self._collection(kind, namespace).get(left, include=["embeddings"])
                found.update(zip(got["ids"], got["embeddings"], strict=True))
        with self._lock:
            if len(self._read) > _MOST_READ:
                self._read.clear()
            self._read.update(found)
        # What the embeddings give now may be unsound, so it is not remembered.
        left = [one for one in wanted if one not in found]
        new = self._vectors([wanted[one] for one in left]) if left else []
        faults = list(filter(None, map(self._fault, new)))
        if faults:
            raise FolderError(faults[0])
        found.update(zip(left, new, strict=True))
        return {wanted[one]: vector for one, vector in found.items()}

    def near_archived(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Episodes that the weights hold, nearest first, each once, by its nearest piece."""
        return _by_episode(self._near(_ARCHIVE, namespace, embedding, count))

    def near_known(
        self, namespace: Namespace, embedding: Sequence[float], *, count: int
    ) -> list[Neighbour]:
        """Known questions, nearest first."""
        return self._near(_KNOWN, namespace, embedding, count)

    def ids(self, namespace: Namespace) -> set[str]:
        """Of the indexed episodes."""
        indexed = self.waiting(namespace)
        for kind in _BUFFERED:
            indexed |= self._episode_ids(kind, namespace)
        return indexed - self._left_out.get(namespace, set())

    def archived_ids(self, namespace: Namespace) -> set[str]:
        """Of the indexed episodes that the weights hold."""
        return self._episode_ids(_ARCHIVE, namespace)

    def known_ids(self, namespace: Namespace) -> set[str]:
        """Of the indexed questions."""
        return set(self._collection(_KNOWN, namespace).get(include=[])["ids"])

    def agrees(self, namespaces: Iterable[Namespace]) -> bool:
        """Whether the embeddings give for an indexed text the vector that lies there."""
        stored = self._stored(namespaces)
        if stored is None:
            return True
        text, known = stored
        (vector,) = self._vectors([text])
        is_same_kind = vector.shape == (len(known),) and np.isfinite(vector).all()
        return bool(is_same_kind and cosine(vector, known) > _SAME_VECTOR)

    def learn_width(self, namespaces: Iterable[Namespace]) -> None:
        """How many numbers a vector of the index has, from one that lies there."""
        stored = self._stored(namespaces)
        self._width = len(stored[1]) if stored else self._width

    def _stored(self, namespaces: Iterable[Namespace]) -> tuple[str, list[float]] | None:
        """An indexed text with its vector; None when nothing is indexed."""
        for namespace in namespaces:
            for kind in (*_BUFFERED, _ARCHIVE):
                found: Any = self._collection(kind, namespace).get(
                    limit=1, include=["documents", "embeddings"]
                )
                if found["ids"]:
                    return found["documents"][0], list(found["embeddings"][0])
        return None

    def clear(self, namespaces: Iterable[Namespace]) -> None:
        """Leave nothing of these in the index."""
        with self._lock:
            self._read.clear()
            for namespace in namespaces:
                for kind in (*_BUFFERED, _ARCHIVE, _KNOWN):
                    self._client.delete_collection(self._collection(kind, namespace).name)
                    self._collections.pop((kind, namespace), None)
                    self._filled.pop((kind, namespace), None)
                self._waiting.pop(namespace, None)
                self._left_out.pop(namespace, None)
            self._width = 0

    def close(self) -> None:
        """Write what is kept in memory, close the client, unless it is the caller's own."""
        if self._process != os.getpid():
            return
        try:
            for namespace in {*self._waiting, *self._left_out}:
                self.flush(namespace)
        finally:
            close = None if self._client_is_shared else getattr(self._client, "close", None)
            if close:
                close()

    def _vectors(self, texts: list[str]) -> list[Any]:
        """One of each text.

        Raises:
            FolderError: the embeddings gave more or fewer.
        """
        given = list(self.embeddings.embed_documents(texts) or ())
        if len(given) != len(texts):
            raise FolderError(
                f"the embeddings gave {len(given)} vectors for {len(texts)} texts. Nothing is "
                "lost, the ledger has them; they are indexed once the embeddings work again."
            )
        return [np.asarray(vector, dtype=np.float32) for vector in given]

    def _fault(self, vector: Any) -> str:
        """What keeps a vector from the index, in a sentence; empty when it is sound."""
        if np.ndim(vector) != 1 or not np.isfinite(vector).all():
            found = "a vector that holds what is no finite number"
        elif self._width and len(vector) != self._width:
            found = f"a vector of {len(vector)} numbers where the index has {self._width}"
        else:
            self._width = self._width or len(vector)
            return ""
        return (
            f"the embeddings gave {found}. Nothing is lost, the ledger has it, and it is indexed "
            "once the embeddings work again."
        )

    def _collection(self, kind: str, namespace: Namespace) -> chromadb.Collection:
        known = self._collections.get((kind, namespace))
        if known is None:
            key = (self.owner + namespace_key(namespace)).encode()
            known = self._client.get_or_create_collection(
                f"{kind}-{hashlib.sha256(key).hexdigest()[:32]}",
                configuration={"hnsw": {"space": "cosine"}},
                embedding_function=None,
            )
            self._collections[kind, namespace] = known
        return known

    def _is_filled(self, kind: str, namespace: Namespace) -> bool:
        """Whether it holds anything; on a shared server another process may fill it."""
        if self._client_is_shared or (kind, namespace) not in self._filled:
            filled = self._collection(kind, namespace).count() > 0
            self._filled[kind, namespace] = filled
        return self._filled[kind, namespace]

    def _episode_ids(self, kind: str, namespace: Namespace) -> set[str]:
        ids = self._collection(kind, namespace).get(include=[])["ids"]
        return set(map(_episode_of, ids))

    def _add(
        self,
        kind: str,
        namespace: Namespace,
        ids: list[str],
        texts: list[str],
        notes: list[dict[str, str]] | None = None,
    ) -> None:
        for start in range(0, len(ids), _MAX_BATCH):
            batch = slice(start, start + _MAX_BATCH)
            vectors = self._vectors(texts[batch])
            for fault in filter(None, map(self._fault, vectors)):
                raise FolderError(fault)
            some = notes[batch] if notes else None
            self._write(
                kind, namespace, ids[batch], texts=texts[batch], vectors=vectors, notes=some
            )

    def _write(
        self,
        kind: str,
        namespace: Namespace,
        ids: list[str],
        *,
        texts: list[str],
        vectors: Any,
        notes: Any = None,
    ) -> None:
        collection = self._collection(kind, namespace)
        if notes is None:
            notes = [{"episode": _episode_of(one)} for one in ids]
        try:
            collection.upsert(ids, embeddings=vectors, documents=texts, metadatas=notes)
        except Exception as error:  # chromadb raises bare errors of its Rust core
            raise FolderError(
                f"the index could not be written ({error}). Nothing is lost, the ledger has "
                "it; make room or make the folder writable, then reopen."
            ) from error
        self._filled[kind, namespace] = True

    def _remove(self, kind: str, namespace: Namespace, ids: Iterable[str]) -> None:
        gone = list(ids)
        if gone:
            self._collection(kind, namespace).delete(ids=gone)
            self._filled.pop((kind, namespace), None)

    def _remove_pieces(self, kind: str, namespace: Namespace, episode_ids: set[str]) -> None:
        if not episode_ids or not self._is_filled(kind, namespace):
            return
        where: Any = {"episode": {"$in": sorted(episode_ids)}}
        self._collection(kind, namespace).delete(where=where)
        self._remove(kind, namespace, episode_ids)

    def _near_buffered(
        self, kind: str, namespace: Namespace, embedding: Sequence[float], count: int
    ) -> list[Neighbour]:
        """In Chroma, and among what waits for it."""
        fault = self._fault(np.asarray(embedding, dtype=np.float32))
        if fault:
            raise FolderError(fault)
        with self._lock:
            pieces_of_kind = {
                piece_id: piece
                for piece_id, piece in self._waiting.get(namespace, {}).items()
                if piece.asks == (kind == _ASKED)
            }
            gone = set(self._left_out.get(namespace, ()))
        found = self._near(kind, namespace, embedding, count + len(gone))
        if pieces_of_kind:
            matrix = np.stack([piece.vector for piece in pieces_of_kind.values()])
            asked = np.asarray(embedding, dtype=np.float32)
            lengths = np.linalg.norm(matrix, axis=1) * (np.linalg.norm(asked) or 1.0)
            cosines = (matrix @ asked) / np.where(lengths, lengths, 1.0)
            for (piece_id, piece), value in zip(pieces_of_kind.items(), cosines, strict=True):
                found.append(Neighbour(piece_id, piece.text, float(value), piece.text))
        return [near for near in _by_episode(found) if near.id not in gone][:count]

    def _near(
        self,
        kind: str,
        namespace: Namespace,
        embedding: Sequence[float],
        count: int,
    ) -> list[Neighbour]:
        if not self._is_filled(kind, namespace):
            return []
        collection = self._collection(kind, namespace)
        is_known = kind == _KNOWN
        vectors: Any = [list(embedding)]
        wanted: Any = ["documents", "distances", "metadatas"] if is_known else ["distances"]
        try:
            answer: Any = collection.query(
                query_embeddings=vectors,
                n_results=count if is_known else count * _PIECES_READ,
                include=wanted,
            )
        except Exception as error:  # chromadb raises bare errors of its Rust core
            raise FolderError(
                f"the index could not be asked ({error}). Open the folder with the embeddings it "
                "was made with, or delete its chroma folder: it is rebuilt from the ledger."
            ) from error
        ids, distances = answer["ids"][0], answer["distances"][0]
        neighbours = []
        for place, (row_id, distance) in enumerate(zip(ids, distances, strict=True)):
            text = answer["documents"][0][place] if is_known else ""
            note = answer["metadatas"][0][place] if is_known else None
            taught_by = str((note or {}).get("episode", text))
            neighbours.append(Neighbour(row_id, text, 1 - distance, taught_by))
        return neighbours


class Piece(NamedTuple):
    """A text that waits for Chroma, with its vector, and whether it surely asks."""

    text: str
    vector: Any
    asks: bool


def _pieces_of(episode: Episode) -> dict[str, str]:
    """Ids and texts of an episode's pieces; a short text's one has the id of the episode."""
    texts = pieces(episode.whole)
    if len(texts) == 1:
        return {episode.id: texts[0]}
    return {f"{episode.id}{_OF_PIECE}{place}": text for place, text in enumerate(texts)}


def _episode_of(piece_id: str) -> str:
    return piece_id.partition(_OF_PIECE)[0]


def _by_episode(found: Iterable[Neighbour]) -> list[Neighbour]:
    """Each episode once, nearest first; `text` and `taught_by` are its nearest piece's."""
    nearest: dict[str, Neighbour] = {}
    for near in found:
        episode_id = _episode_of(near.id)
        if episode_id not in nearest or near.similarity > nearest[episode_id].similarity:
            nearest[episode_id] = near._replace(id=episode_id)
    return sorted(nearest.values(), key=lambda near: -near.similarity)


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
