"""The index over the vectors: collections of Chroma, of a server or of a folder's own files.

The only file that knows chromadb, which is imported when a client is opened. Distances are cosine;
similarities are 1 - distance. What the index does not do, in time or at all, is an `IndexFault`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from filelock import FileLock, Timeout

from sleepmem.errors import FolderError

if TYPE_CHECKING:
    import chromadb
    from chromadb.api import ClientAPI

# Seconds that a call may take: what takes longer hangs.
PATIENCE = 20.0


class IndexFault(Exception):
    """The index could not do it, or not in time; the ledger has all that it holds."""


class IndexElsewhere(IndexFault):
    """Another process has the index: this one searches without it."""


class Index(Protocol):
    """What an index does. Every call raises `IndexFault` when it cannot."""

    # Whether other processes may change it, too.
    is_shared: bool

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Held while the index is brought to what the ledger says; another does it already:
        IndexElsewhere.
        """

    def upsert(
        self, collection: str, *, ids: list[str], vectors: np.ndarray, texts: list[str]
    ) -> None: ...

    def delete(self, collection: str, ids: list[str]) -> None: ...

    def query(
        self, collection: str, vector: np.ndarray, *, count: int
    ) -> list[tuple[str, float]]: ...

    def ids(self, collection: str) -> list[str]: ...

    def drop(self, collection: str) -> None: ...

    def set_aside(self) -> None: ...

    def erase(self, collections: list[str]) -> None: ...

    def close(self) -> None: ...


class Collections:
    """Chroma's collections, by name, through one client; a collection is made when first used.

    Raises bare errors of chromadb.
    """

    def __init__(self, client: ClientAPI) -> None:
        self._client = client
        self._open: dict[str, chromadb.Collection] = {}

    def upsert(
        self, collection: str, *, ids: list[str], vectors: np.ndarray, texts: list[str]
    ) -> None:
        self._on(collection, "upsert", ids, embeddings=vectors, documents=texts)

    def delete(self, collection: str, ids: list[str]) -> None:
        self._on(collection, "delete", ids=ids)

    def query(self, collection: str, vector: np.ndarray, *, count: int) -> list[tuple[str, float]]:
        answer = self._on(
            collection,
            "query",
            query_embeddings=vector.reshape(1, -1),
            n_results=count,
            include=["distances"],
        )
        similarities = [1.0 - float(distance) for distance in answer["distances"][0]]
        return list(zip(answer["ids"][0], similarities, strict=True))

    def ids(self, collection: str) -> list[str]:
        return list(self._on(collection, "get", include=[])["ids"])

    def drop(self, collection: str) -> None:
        self._get(collection)  # there is one to be deleted then
        self._client.delete_collection(collection)
        self._open.pop(collection, None)

    def close(self) -> None:
        close = getattr(self._client, "close", None)
        if close:
            close()

    def _on(self, name: str, call: str, *given: Any, **named: Any) -> Any:
        """Call the collection; one that another process has made anew is looked up again."""
        from chromadb.errors import NotFoundError

        try:
            return getattr(self._get(name), call)(*given, **named)
        except NotFoundError:
            self._open.pop(name, None)
            return getattr(self._get(name), call)(*given, **named)

    def _get(self, name: str) -> chromadb.Collection:
        if name not in self._open:
            self._open[name] = self._client.get_or_create_collection(
                name, configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
            )
        return self._open[name]


def open_files(folder: Path) -> ClientAPI:
    """A client of Chroma's files in a folder."""
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))


class ServerIndex:
    """The index on a Chroma server, by a client of the caller's own, which stays open.

    Calls run in a thread of their own: a server that does not answer holds up nobody for longer
    than `patience` seconds. By the file `lock` the processes of a folder write one at a time.
    """

    is_shared = True

    def __init__(
        self, client: ClientAPI, *, lock: Path | None = None, patience: float = PATIENCE
    ) -> None:
        self._collections, self._patience = Collections(client), patience
        self._writing = None if lock is None else FileLock(lock, timeout=0)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        if self._writing is None:
            yield
            return
        try:
            self._writing.acquire()
        except Timeout:
            raise IndexElsewhere("another process brings the server what is new") from None
        except OSError as error:
            raise IndexElsewhere(f"{error.filename} cannot be locked ({error})") from error
        try:
            yield
        finally:
            self._writing.release()

    def upsert(
        self, collection: str, *, ids: list[str], vectors: np.ndarray, texts: list[str]
    ) -> None:
        self._timed(
            lambda: self._collections.upsert(collection, ids=ids, vectors=vectors, texts=texts)
        )

    def delete(self, collection: str, ids: list[str]) -> None:
        self._timed(lambda: self._collections.delete(collection, ids))

    def query(self, collection: str, vector: np.ndarray, *, count: int) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = self._timed(
            lambda: self._collections.query(collection, vector, count=count)
        )
        return found

    def ids(self, collection: str) -> list[str]:
        found: list[str] = self._timed(lambda: self._collections.ids(collection))
        return found

    def drop(self, collection: str) -> None:
        self._timed(lambda: self._collections.drop(collection))

    def set_aside(self) -> None:
        """Others use the server, too: nothing is set aside there."""

    def erase(self, collections: list[str]) -> None:
        """Drop these; what the server keeps of them in its own files is the server's."""
        for collection in collections:
            self.drop(collection)

    def close(self) -> None:
        """The client is the caller's own."""

    def _timed(self, call: Callable[[], Any]) -> Any:
        answers: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

        def run() -> None:
            try:
                answers.put((call(), None))
            except Exception as error:  # chromadb raises bare errors of its client
                answers.put((None, error))

        threading.Thread(target=run, daemon=True).start()
        try:
            answer, error = answers.get(timeout=self._patience)
        except queue.Empty:
            raise IndexFault(f"the server gave no answer within {self._patience:g} s") from None
        if error is not None:
            raise IndexFault(str(error)) from error
        return answer


def check_client(client: Any) -> None:
    """Raise FolderError unless it is a client of Chroma."""
    missing: Sequence[str] = [
        name
        for name in ("get_or_create_collection", "delete_collection")
        if not callable(getattr(client, name, None))
    ]
    if missing:
        raise FolderError(
            f"chroma_client is a {type(client).__name__}, no client of Chroma. Pass one, such as "
            "chromadb.HttpClient(host=...)."
        )
