"""A ledger that is only read: without a lock, without a byte written, on any disk.

Beside a writer it reads what is committed, as SQLite's readers do. Where nobody writes it is read
as a file that does not change (`immutable`), because SQLite would lay files beside it; when it does
change after all, it is opened anew. A ledger of an earlier version is brought up to date in memory.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

from sleepmem.errors import FolderError
from sleepmem.stores import connections
from sleepmem.stores.database import BUSY_SECONDS, Database, fetched, in_words

T = TypeVar("T")


class ReadOnlyDatabase(Database):
    """The SQLite file, for `rows` alone.

    Raises:
        FolderError: the file is not there or cannot be read, or a process that this one is a fork
            of has it open.
        LedgerError: it is not a ledger, is damaged, or a newer sleepmem wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._process = threading.RLock(), os.getpid()
        self._is_copy, self.set_aside = False, None
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise FolderError(
                f"there is no memory in {path.parent}, and read_only=True makes none. "
                "Choose the folder of a memory."
            ) from None
        except OSError as error:
            raise FolderError(
                f"{path} cannot be read ({error.strerror}). Make it and its folder readable."
            ) from error
        self._connect()

    def write(self, *, synced: bool = True) -> NoReturn:
        raise read_only(self.path.parent)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._read(lambda: fetched(self.db.conn, sql, values=values))

    def snapshot(self) -> sqlite3.Connection:
        """As it is read here: brought up to date, on any disk."""

        def copied() -> sqlite3.Connection:
            copy = sqlite3.connect(":memory:")
            copy.row_factory = sqlite3.Row
            try:
                self.db.conn.backup(copy)
            except BaseException:
                copy.close()
                raise
            return copy

        return self._read(copied)

    def _read(self, read: Callable[[], T]) -> T:
        """What `read` gives of the file as it is, however often it is written meanwhile."""
        self._check_process()
        with self._lock:
            while True:
                if self._state() != self._seen:
                    self.db.close()
                    self._connect()
                try:
                    found = read()
                except sqlite3.DatabaseError as error:
                    if self._state() == self._seen:
                        raise in_words(self.path, error) from error
                    continue  # It was written under the eyes of the reader.
                if self._state() == self._seen:
                    return found

    def _connect(self) -> None:
        import sqlite_utils

        from sleepmem.stores.schema import migrations

        self._is_copy = False
        how = "mode=ro" if self._has_log() else "mode=ro&immutable=1"
        connections.check_not_inherited(self.path)
        connections.opened(self, self.path)
        try:
            self._seen = self._state()
            self.db = sqlite_utils.Database(self._open(f"{quote(str(self.path.resolve()))}?{how}"))
            self._check_is_ours()
            if migrations.pending(self.db):
                self._is_copy = True
                self._seen = self._state()
                copied = self._open(":memory:")
                self.db.conn.backup(copied)
                self.db.close()
                self.db = sqlite_utils.Database(copied)
                migrations.apply(self.db)
        except sqlite3.OperationalError as error:
            raise FolderError(
                f"{self.path} cannot be read ({error}). Make it readable; one that was copied with "
                "its -wal but without its -shm must lie where it can be written once."
            ) from error
        except sqlite3.DatabaseError as error:
            raise in_words(self.path, error) from error

    def _open(self, file: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{file}", uri=True, check_same_thread=False, timeout=BUSY_SECONDS
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _has_log(self) -> bool:
        """Whether a writer is at work, or was killed."""
        log = _stat(self._beside("-wal"))
        return log is not None and (log.st_size > 0 or _stat(self._beside("-shm")) is not None)

    def _state(self) -> tuple[object, ...]:
        """Changes when the file must be opened anew; beside a writer SQLite sees to it."""
        has_log = self._has_log()
        state: list[object] = [has_log]
        for file in (self.path, self._beside("-wal")):
            stat = _stat(file)
            if has_log and not self._is_copy:
                state.append(stat and stat.st_ino)
            else:
                state.append(stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(state)

    def _beside(self, end: str) -> Path:
        return self.path.with_name(self.path.name + end)


def read_only(folder: Path) -> FolderError:
    """What whoever writes is told."""
    return FolderError(
        f"{folder} was opened read only, so nothing in it can be changed. "
        "Open it without read_only=True to write."
    )


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
