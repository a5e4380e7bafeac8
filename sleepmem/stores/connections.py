"""Which ledgers this process has open, and which it has from the process that it is a fork of.

SQLite keeps the locks of a file once for a process. Whoever closes another handle of the file there
lets go of all of them. A fork inherits the table of them without the
locks: what opens the same file there writes as if it held them, and the next one that closes the
ledger deletes the log (`-wal`) under it, with all that was stored.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from sleepmem.errors import FolderError

# Which file it is: its device and its inode.
File = tuple[int, int]
_open: weakref.WeakKeyDictionary[object, tuple[int, File]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def which(path: Path) -> File | None:
    """Which file lies there; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def opened(connection: object, path: Path) -> None:
    """This process has the file open for as long as the connection is there, or until `closed`."""
    file = which(path)
    if file is not None:
        with _lock:
            _open[connection] = os.getpid(), file


def closed(connection: object) -> None:
    with _lock:
        _open.pop(connection, None)


def beginning(path: Path, number: int) -> bytes:
    """The first bytes of a file; none where this process has it open, or where there is none."""
    file = which(path)
    with _lock:
        if file is None or any(opened == file for _, opened in _open.values()):
            return b""
        with path.open("rb") as handle:
            return handle.read(number)


def check_not_inherited(path: Path) -> None:
    """To be asked before a ledger is opened.

    Raises:
        FolderError: the process that this one is a fork of had it open.
    """
    file = which(path)
    with _lock:
        processes = [process for process, opened in _open.values() if opened == file]
    for process in processes:
        if process != os.getpid():
            raise inherited(path, process)


def inherited(path: Path, process: int) -> FolderError:
    """What whoever uses or opens a ledger in a fork of the process that has it open is told."""
    return FolderError(
        f"{path.parent} was opened by process {process} and is used in {os.getpid()}, its fork; "
        "SQLite and Chroma break in a fork, and so does what is opened anew there. Close the "
        "memory before the fork, and open it after it, in each process that uses it."
    )


def _renew_lock() -> None:
    """A thread that the fork has not may have held it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
