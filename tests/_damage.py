"""A folder with something of all that a memory leaves, and what hands do to it."""

import sqlite3
from contextlib import closing

from _values import HashedWords, put_expert

from sleepmem import SleepMemory

ALICE, BOB = ("alice",), ("bob",)
TOLD = "Mara moved to Brenport."


def opened(path, **how):
    return SleepMemory.open(path, embeddings=HashedWords(), **how)


def used_folder(path):
    """A memory with an expert, an index and what a night leaves; closed."""
    with opened(path) as memory:
        for owner in (ALICE, BOB):
            put_expert(memory, owner, [memory.observe(owner, TOLD).id])
            memory.observe(owner, "Jon owns the red boat.", message_id="m2")
    (path / "nights.db").write_bytes(b"SQLite")
    return path


def by_hand(folder, *statements):
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()


def deleted(folder):
    for file in folder.glob("ledger.db*"):
        file.unlink()
