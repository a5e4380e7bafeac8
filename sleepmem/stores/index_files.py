"""The index in a folder's own files, kept by a process of its own.

Chroma's core holds the interpreter while it works: damaged files or a full disk can hang the whole
process that asks. So another one asks, started when an owner has enough to be indexed; when it
hangs or dies it is killed, its files are set aside, and the index is made anew from the ledger.

Parent and child speak in lines of JSON over the child's standard input and output; vectors are
base64 of float32. `python -m sleepmem.stores.index_files FOLDER` is the child.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from sleepmem.stores.index import (
    PATIENCE,
    Collections,
    IndexElsewhere,
    IndexFault,
    open_files,
)

# Seconds that the child has to end by itself.
_FAREWELL = 5.0
_SET_ASIDE = ".set-aside-"


class FilesIndex:
    """The index in `folder`; nothing is started or made before the first call. One process's."""

    is_shared = False

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        self.folder, self._patience = folder, patience
        self._child: _Child | None = None
        self._lock = threading.Lock()
        # Held from the first call on: the files take one process.
        self._owned = FileLock(folder.with_name("index.lock"), thread_local=False)

    def writing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # no other process writes

    def upsert(
        self, collection: str, *, ids: list[str], vectors: np.ndarray, texts: list[str]
    ) -> None:
        self._ask("upsert", collection, ids=ids, vectors=_as_text(vectors), texts=texts)

    def delete(self, collection: str, ids: list[str]) -> None:
        self._ask("delete", collection, ids=ids)

    def query(self, collection: str, vector: np.ndarray, *, count: int) -> list[tuple[str, float]]:
        found = self._ask("query", collection, vectors=_as_text(vector), count=count)
        return [(piece_id, similarity) for piece_id, similarity in found]

    def ids(self, collection: str) -> list[str]:
        return list(self._ask("ids", collection))

    def drop(self, collection: str) -> None:
        self._ask("drop", collection)

    def set_aside(self) -> None:
        """Keep the damaged files beside the folder, in place of what was set aside before."""
        with self._lock:
            self._own()
            self._stop(kill=True)
            for older in self.folder.parent.glob(f"{self.folder.name}{_SET_ASIDE}*"):
                shutil.rmtree(older, ignore_errors=True)
            if self.folder.exists():
                at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
                self.folder.rename(self.folder.with_name(f"{self.folder.name}{_SET_ASIDE}{at}"))

    def erase(self, collections: list[str]) -> None:
        """Delete the files, and what was set aside of them: all is laid anew when it is used."""
        with self._lock:
            self._own()
            self._stop(kill=True)
            for folder in self.folder.parent.glob(f"{self.folder.name}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            self._stop()
            self._owned.release()

    def _own(self) -> None:
        if self._owned.is_locked:  # by this one, for a child that has ended since
            return
        try:
            self._owned.acquire(timeout=0)
        except Timeout:
            raise IndexElsewhere(f"another process has {self.folder} open") from None
        except OSError as error:
            raise IndexElsewhere(f"{error.filename} cannot be locked ({error})") from error

    def _stop(self, *, kill: bool = False) -> None:
        child, self._child = self._child, None
        if child:
            child.stop(kill=kill)

    def _ask(self, what: str, collection: str, **how: Any) -> Any:
        request = {"what": what, "collection": collection, **how}
        with self._lock:
            if self._child is None:
                self._own()
            try:
                if self._child is None:
                    self._child = _Child(self.folder)
                answer = self._child.ask(request, self._patience)
            except (OSError, IndexFault) as error:
                self._stop(kill=True)
                raise IndexFault(f"the index's process failed ({error})") from error
        if "error" in answer:
            raise IndexFault(answer["error"])
        return answer["answer"]


class _Child:
    """The process that has the files open."""

    def __init__(self, folder: Path) -> None:
        # As this process finds sleepmem and chromadb, so does the child.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            encoding="utf-8",
            # Ctrl-C ends the agent, which ends this one when nothing more is to be written.
            start_new_session=True,
        )
        _CHILDREN.add(self)
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """Send a request; returns its answer.

        Raises:
            IndexFault: none came in time, or the process has ended.
            OSError: it takes no requests.
        """
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            raise IndexFault(f"no answer within {patience:g} s") from None
        if not line:
            raise IndexFault(f"it ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def forget(self) -> None:
        """In a fork of its parent: hold no end of its pipes, or it would outlive its parent."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                os.dup2(nowhere, pipe.fileno())
        os.close(nowhere)

    def stop(self, *, kill: bool) -> None:
        """End it: by itself, else by force."""
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        if kill:
            self._process.kill()
        try:
            self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")
        self._process.stdout.close()


def _forget_all() -> None:
    for child in list(_CHILDREN):
        child.forget()


_CHILDREN: weakref.WeakSet[_Child] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _as_text(vectors: np.ndarray) -> str:
    return base64.b64encode(np.asarray(vectors, dtype=np.float32).tobytes()).decode()


def _as_vectors(text: str, number: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.float32).reshape(number, -1)


def serve(folder: Path, *, requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more of them: the child's whole life."""
    collections: Collections | None = None
    for line in requests:
        answer: dict[str, Any] = {}
        try:
            collections = collections or Collections(open_files(folder))
            answer["answer"] = _do(collections, json.loads(line))
        except BaseException as error:  # chromadb raises bare errors and panics of its Rust core
            answer["error"] = f"{type(error).__name__}: {error}"
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()
    if collections:
        collections.close()


def _do(collections: Collections, request: dict[str, Any]) -> Any:
    what, name = request["what"], request["collection"]
    if what == "upsert":
        vectors = _as_vectors(request["vectors"], len(request["ids"]))
        return collections.upsert(name, ids=request["ids"], vectors=vectors, texts=request["texts"])
    if what == "query":
        (vector,) = _as_vectors(request["vectors"], 1)
        return collections.query(name, vector, count=request["count"])
    if what == "delete":
        return collections.delete(name, request["ids"])
    return collections.ids(name) if what == "ids" else collections.drop(name)


if __name__ == "__main__":
    # What libraries print must not stand among the answers.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), requests=sys.stdin, answers=replies)
