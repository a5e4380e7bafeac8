"""The SQLite file behind the ledger: opening it, transactions, errors in words.

Only this file, `schema` and the groups of tables know sqlite-utils, which is imported when a ledger
is opened. What was written is on the disk (WAL, synchronous) when a transaction ends.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sleepmem.errors import FolderError, LedgerError
from sleepmem.records import now
from sleepmem.stores import connections
from sleepmem.stores.connections import which

if TYPE_CHECKING:
    import sqlite_utils

# "SLEP", in the header of the file: tells our ledgers from other SQLite files.
APPLICATION_ID = 0x534C4550
# The versions in the header of a file: 2 once it has had a log (`-wal`), before there is one.
_VERSIONS, _WITHOUT_LOG = slice(18, 20), b"\1\1"
# How long a change waits for another process that writes. After one that waited in vain the next
# ones hardly wait for a while: a turn makes many, and must not wait for each.
BUSY_SECONDS = 30
# The same for what a recall would write, which can be written later or not at all.
HURRIED_SECONDS = 1
# How long the opening of a ledger waits for others that open it.
OPENING_SECONDS = 60
_GIVEN_UP_SECONDS = 5
# What SQLite says of a file that is damaged, or none of ours.
_DAMAGE = ("not a database", "malformed", "Could not decode", "no such table")
# It waits so long at a time, and lets other threads read in between.
_AT_A_TIME, _LETS_READ = 0.1, 0.005
_waiting = threading.local()


@contextmanager
def hurried() -> Iterator[None]:
    """What this thread writes meanwhile hardly waits for others."""
    before = getattr(_waiting, "is_hurried", False)
    _waiting.is_hurried = True
    try:
        yield
    finally:
        _waiting.is_hurried = before


class Database:
    """One SQLite file with our tables, opened or created. Safe to share between threads.

    `set_aside` is the name that the log of a ledger has from now on that was here before this one.

    Raises:
        FolderError: the file cannot be read or written, or a process that this one is a fork of
            has it open.
        LedgerError: it is not a ledger, or a newer sleepmem wrote it.
    """

    def __init__(self, path: Path) -> None:
        import sqlite_utils

        from sleepmem.stores.schema import migrations

        self.path = path
        self._lock, self._process = threading.RLock(), os.getpid()
        self._hardly_until = dict.fromkeys((False, True), 0.0)  # whoever hurries, and others
        connections.check_not_inherited(path)
        try:
            # SQLite does not wait for a change of its journal mode: one process opens at a time.
            with FileLock(path.with_suffix(".opening"), timeout=OPENING_SECONDS):
                self.set_aside = _set_log_aside(path)
                connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_SECONDS)
                connections.opened(self, path)
                connection.row_factory = sqlite3.Row
                self.db = sqlite_utils.Database(connection)
                self._check_is_ours()
                self.db.execute("PRAGMA journal_mode=WAL")
                self.db.execute("PRAGMA synchronous=FULL")
                self.db.execute("PRAGMA secure_delete=ON")
                if migrations.pending(self.db):
                    # First: whoever is killed in between leaves a file that is known as ours.
                    self.db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                    migrations.apply(self.db)
                # Read once, the log is there, and stays as long as a connection does.
                self.db.execute("SELECT 1 FROM sqlite_master").fetchone()
            file = path.absolute()
            self._files = (file, file.with_name(f"{file.name}-wal"))
            self._opened = tuple(map(which, self._files))
        except sqlite3.DatabaseError as error:
            raise in_words(path, error) from error
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

    def copy(self, to: Path) -> None:
        """Copy what is committed at one moment into a new file, while others write.

        The header of a copy says that no log (`-wal`) belongs to it, until it is opened.
        """
        self._check_process()
        # Not made anew when it was deleted.
        source = f"{self.path.resolve().as_uri()}?mode=rw"
        try:
            with (
                closing(sqlite3.connect(source, uri=True, timeout=BUSY_SECONDS)) as ours,
                closing(sqlite3.connect(to)) as copy,
            ):
                ours.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.DatabaseError as error:
            raise in_words(self.path, error) from error

    def snapshot(self) -> sqlite3.Connection:
        """What is committed at one moment, copied into memory; to be closed."""
        self._check_process()
        source = f"{self.path.resolve().as_uri()}?mode=ro"
        copy = sqlite3.connect(":memory:")
        copy.row_factory = sqlite3.Row
        try:
            with closing(sqlite3.connect(source, uri=True, timeout=BUSY_SECONDS)) as ours:
                ours.backup(copy)
        except sqlite3.DatabaseError as error:
            copy.close()
            raise in_words(self.path, error) from error
        return copy

    def compact(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it or in its log.

        Raises:
            FolderError: another process reads or writes it.
        """
        self._check_process()
        self._check_is_there()
        with self._lock:
            try:
                self.db.conn.execute(f"PRAGMA busy_timeout={1000 * BUSY_SECONDS}")
                self.db.conn.execute("VACUUM")
                truncated = self.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.DatabaseError as error:
                raise in_words(self.path, error) from error
        if truncated[0]:
            raise FolderError(
                f"what was forgotten lies in {self.path}-wal still: another process reads it. "
                "Close that, and open the memory again, or call memory.reconcile()."
            )

    def close(self) -> None:
        if self._process == os.getpid():
            self.db.close()
            connections.closed(self)

    @contextmanager
    def write(self, *, synced: bool = True) -> Iterator[sqlite_utils.Database]:
        """One transaction, all or nothing; it waits for other processes that write.

        Args:
            synced: on the disk when it ends. What may be lost with the power, such as a log, need
                not be, and costs less.
        """
        self._check_process()
        self._check_is_there()
        try:
            is_nested = self._begin(synced)
            try:
                if is_nested:
                    with self.db.atomic():
                        yield self.db
                else:
                    with self._transaction():
                        yield self.db
            finally:
                self._lock.release()
        except sqlite3.DatabaseError as error:
            raise in_words(self.path, error) from error

    def _begin(self, synced: bool) -> bool:
        """Take the lock, and the writer's place at once, so that no reader must yield.

        Returns whether this thread has begun a transaction before. What it raises, it raises
        without the lock.
        """
        now, is_hurried = time.monotonic(), getattr(_waiting, "is_hurried", False)
        seconds = HURRIED_SECONDS if is_hurried else BUSY_SECONDS
        waits_until = now if now < self._hardly_until[is_hurried] else now + seconds
        while True:
            self._lock.acquire()
            try:
                is_nested = self.db.conn.in_transaction
                if not is_nested:
                    self.db.conn.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
                    self.db.conn.execute(f"PRAGMA busy_timeout={int(1000 * _AT_A_TIME)}")
                    self.db.conn.execute("BEGIN IMMEDIATE")
                    self._hardly_until = dict.fromkeys(self._hardly_until, 0.0)
                return is_nested
            except BaseException as error:
                self._lock.release()
                is_busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
                if is_busy and time.monotonic() >= waits_until:
                    self._hardly_until[is_hurried] = time.monotonic() + _GIVEN_UP_SECONDS
                if not is_busy or time.monotonic() >= waits_until:
                    raise
            time.sleep(_LETS_READ)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is written, or take it back."""
        try:
            yield
        except BaseException:
            self.db.conn.rollback()
            raise
        self.db.conn.commit()

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        self._check_process()
        with self._lock:
            try:
                return fetched(self.db.conn, sql, values=values)
            except sqlite3.DatabaseError as error:
                raise in_words(self.path, error) from error

    def _check_is_there(self) -> None:
        """SQLite goes on writing to a file that was deleted, where nobody finds it again."""
        for file, opened in zip(self._files, self._opened, strict=True):
            if which(file) != opened:
                raise FolderError(
                    f"{file} was deleted, moved or replaced while it was open; what is written "
                    "now would be lost. Close the memory, restore the ledger, and open it again."
                )

    def _check_process(self) -> None:
        """A connection that was opened before a fork corrupts, or waits for ever, after it."""
        if self._process != os.getpid():
            raise connections.inherited(self.path, self._process)


def compact_checkpoints(path: Path, going_on: Sequence[str]) -> None:
    """Delete the checkpoints of all nights but these, down to the bytes (LangGraph's SqliteSaver).

    A file that cannot be used goes, when no night goes on.

    Raises:
        FolderError: another process has the file open.
    """
    kept = json.dumps(list(going_on))
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            for (table,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%thread_id%'"
            ).fetchall():
                db.execute(
                    f"DELETE FROM {table} WHERE thread_id NOT IN (SELECT value FROM json_each(?))",
                    [kept],
                )
            db.execute("VACUUM")
            truncated = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.DatabaseError as error:
        if going_on:
            raise in_words(path, error) from error
        # Damaged, or another program's: nobody goes on with it.
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return
    if truncated[0]:
        raise FolderError(
            f"what was forgotten may lie in {path}-wal still: another process reads it. Close "
            "that, and open the memory again, or call memory.reconcile()."
        )


def fetched(
    connection: sqlite3.Connection, sql: str, *, values: Sequence[Any]
) -> list[sqlite3.Row]:
    """The rows; one with bytes that are no text, as a rotten bit makes them, stops no others.

    They are read as "\N{REPLACEMENT CHARACTER}": a hash then tells which row it is.
    """
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    connection.text_factory = lambda written: written.decode(errors="replace")
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.text_factory = str


def _set_log_aside(path: Path) -> str | None:
    """Rename a log that lies beside a copy, since SQLite would write it over the copy.

    The ledger that it belongs to was lost with its process, and the copy put in its place. Returns
    the new name of the log.
    """
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or connections.beginning(path, _VERSIONS.stop)[_VERSIONS] != _WITHOUT_LOG:
        return None
    new = f"{log.name}.set-aside-{now()[:26].replace(':', '')}"
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    log.rename(log.with_name(new))
    return new


def in_words(path: Path, error: sqlite3.Error) -> FolderError | LedgerError:
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
    if any(damage in text for damage in _DAMAGE):
        return LedgerError(
            f"{path} is not a ledger or is damaged ({text}); sleepmem will not change it. "
            "Restore it or choose another folder."
        )
    return FolderError(
        f"{path} could not be used ({text}). Check that no other program holds it, then try again."
    )
