"""The SQLite file behind the ledger: opening it, transactions, errors in words.

Only this file, `schema` and the groups of tables know sqlite-utils, which is imported when a ledger
is opened. What was written is on the disk (WAL, synchronous) when a transaction ends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sleepmem.errors import FolderError, LedgerError

if TYPE_CHECKING:
    import sqlite_utils

# "SLEP", in the header of the file: tells our ledgers from other SQLite files.
APPLICATION_ID = 0x534C4550
BUSY_SECONDS = 30


class Database:
    """One SQLite file with our tables, opened or created. Safe to share between threads.

    Raises:
        FolderError: the file cannot be read or written.
        LedgerError: it is not a ledger, or a newer sleepmem wrote it.
    """

    def __init__(self, path: Path) -> None:
        import sqlite_utils

        from sleepmem.stores.schema import migrations

        self.path = path
        self._lock = threading.RLock()
        try:
            # SQLite does not wait for a change of its journal mode: one process opens at a time.
            with FileLock(path.with_suffix(".opening")):
                connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_SECONDS)
                connection.row_factory = sqlite3.Row
                self.db = sqlite_utils.Database(connection)
                self._check_is_ours()
                self.db.execute("PRAGMA journal_mode=WAL")
                self.db.execute("PRAGMA synchronous=FULL")
                if migrations.pending(self.db):
                    migrations.apply(self.db)
                    self.db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        except sqlite3.DatabaseError as error:
            raise _in_words(path, error) from error
        except OSError as error:
            raise FolderError(
                f"{path} cannot be opened ({error.strerror or error}). "
                "Make the folder writable or choose another."
            ) from error

    def _check_is_ours(self) -> None:
        from sleepmem.stores.schema import migrations

        application = self.db.execute("PRAGMA application_id").fetchone()[0]
        applied = migrations.applied(self.db)
        if self.db.table_names() and application != APPLICATION_ID and not applied:
            raise LedgerError(
                f"{self.path} is a SQLite file of another program; sleepmem will not change it. "
                "Choose another folder."
            )
        known = {migration.name for migration in migrations._migrations}
        newer = [migration.name for migration in applied if migration.name not in known]
        if newer:
            raise LedgerError(
                f"{self.path} was written by a newer sleepmem (it has {', '.join(newer)}); "
                "this one would misread it. Upgrade sleepmem."
            )

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def write(self) -> Iterator[sqlite_utils.Database]:
        """One transaction, all or nothing."""
        with self._lock:
            try:
                with self.db.atomic():
                    yield self.db
            except sqlite3.DatabaseError as error:
                raise _in_words(self.path, error) from error

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self.db.execute(sql, list(values)).fetchall()
            except sqlite3.DatabaseError as error:
                raise _in_words(self.path, error) from error


def _in_words(path: Path, error: sqlite3.Error) -> FolderError | LedgerError:
    """The error of ours that says what SQLite found, and what to do."""
    text = str(error)
    if "readonly" in text or "unable to open" in text:
        return FolderError(
            f"{path} cannot be written ({text}); a memory must store what it is told. "
            "Make the folder writable or choose another."
        )
    if "full" in text or "disk I/O error" in text:
        return FolderError(
            f"the disk that holds {path} is full or failing ({text}); "
            "the last change was taken back. Free some space and try again."
        )
    if "not a database" in text or "malformed" in text:
        return LedgerError(
            f"{path} is not a ledger or is damaged ({text}); sleepmem will not change it. "
            "Restore it or choose another folder."
        )
    return FolderError(
        f"{path} could not be used ({text}). Check that no other program holds it, then try again."
    )
