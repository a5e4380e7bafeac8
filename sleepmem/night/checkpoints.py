"""The checkpoints of nights: read as plain data, set aside where they are anything else.

A night writes dicts, lists, texts and numbers, so nothing else is read: no pickle, no constructor,
nothing that would import a module or make an object. What it reads it believes: whoever can write
the file can decide how a night that was interrupted ends, its verdict included.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from sleepmem.errors import FolderError
from sleepmem.records import now
from sleepmem.stores.mark import CHECKPOINTS

# What its serializer writes for plain data.
_PLAIN = ("null", "msgpack")
# What SQLite says of a file that is damaged or another program's; all else is the machine's.
_UNREADABLE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
# SQLite keeps these beside a file.
_BESIDE = ("", "-wal", "-shm", "-journal")
_BUSY_SECONDS = 30


@contextmanager
def opened(
    folder: Path, interrupted: str | None, *, set_aside: Callable[[str], None]
) -> Iterator[SqliteSaver]:
    """The saver of a memory folder's nights, over a new file where the old one is none of ours.

    Args:
        folder: the memory folder.
        interrupted: id of the night that is to go on.
        set_aside: is told the name that a foreign or damaged file has from then on.

    Raises:
        FolderError: the file can be neither used nor renamed.
    """
    path = folder / CHECKPOINTS
    try:
        saver = _saver(path, interrupted)
    except _Unreadable:
        set_aside(_rename(path))
        saver = _saver(path, interrupted)
    with closing(saver.conn):
        yield saver


def reached(graph: Any, night_id: str) -> dict[str, Any]:
    """The state that a night had reached; empty when it had reached none that can be read."""
    try:
        return dict(graph.get_state({"configurable": {"thread_id": night_id}}).values)
    except Exception:  # whatever somebody made of it: plain data of any form
        return {}


def forget(saver: SqliteSaver, night_id: str) -> None:
    """Remove the checkpoints of a night; where that fails they lie there, and nobody reads them."""
    with suppress(sqlite3.Error):
        saver.delete_thread(night_id)


class _Unreadable(Exception):
    """The file holds what no night has written."""


class _PlainData(JsonPlusSerializer):
    """LangGraph's serializer without all that makes objects."""

    def __init__(self) -> None:
        super().__init__(allowed_msgpack_modules=None, __unpack_ext_hook__=_refuse)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] not in _PLAIN:
            raise ValueError(f"a checkpoint of the type {data[0]!r} is no plain data")
        return super().loads_typed(data)


def _refuse(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"a checkpoint with an object of the code {code} is no plain data")


def _saver(path: Path, interrupted: str | None) -> SqliteSaver:
    """Over a connection to a file that can be used, and read where the interrupted night reads it.

    Raises:
        _Unreadable: it is damaged, another program's, or holds what is no plain data.
    """
    if path.is_dir():
        raise _Unreadable
    with ExitStack() as failing:
        try:
            connection = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_SECONDS)
            failing.callback(connection.close)
            _check_is_ours(connection)
            saver = SqliteSaver(connection, serde=_PlainData())
            saver.setup()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in _UNREADABLE:
                raise _Unreadable from error
            raise _unusable(path, str(error)) from error
        try:
            saver.get_tuple({"configurable": {"thread_id": interrupted or ""}})
        except Exception as error:  # whatever somebody put into its rows
            raise _Unreadable from error
        failing.pop_all()
    return saver


def _check_is_ours(connection: sqlite3.Connection) -> None:
    """That it is sound, and holds the saver's own tables or none yet."""
    with closing(sqlite3.connect(":memory:")) as new:
        SqliteSaver(new).setup()
        foreign = _schema(connection) - _schema(new)
    if foreign:
        raise _Unreadable
    for (fault,) in connection.execute("PRAGMA quick_check(1)"):
        if fault != "ok":
            raise _Unreadable


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Tables, indexes, triggers and views, each with the statement that made it."""
    sql = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    return set(connection.execute(sql))


def _rename(path: Path) -> str:
    """Give the file, with what SQLite keeps beside it, another name; returns it."""
    new = f"{path.name}.set-aside-{now()[:26].replace(':', '')}"
    try:
        for ending in _BESIDE:
            old = path.with_name(path.name + ending)
            if old.exists() or old.is_symlink():
                old.rename(path.with_name(new + ending))
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    return new


def _unusable(path: Path, reason: str) -> FolderError:
    return FolderError(
        f"the checkpoints of nights in {path} could not be used ({reason}). Make the folder "
        "writable and make room, then sleep again."
    )
