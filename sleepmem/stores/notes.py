"""The notes: what the teacher drew from episodes at night, a statement each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sleepmem.records import Namespace, Note, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.rows import RESTORE, intact, unreadable

if TYPE_CHECKING:
    import sqlite_utils

# Whether the note `n` is replaced: as long as the night that found so is in the weights, its expert
# live or absorbed by one that is.
REPLACED = (
    "(n.replaced_by IS NOT NULL AND n.replaced_in IN ("
    "WITH RECURSIVE serving (night_id, lineage) AS ("
    "SELECT night_id, lineage FROM experts WHERE live = 1 UNION "
    "SELECT older.night_id, older.lineage FROM serving, json_each(serving.lineage) AS absorbed "
    "JOIN experts older ON older.name = absorbed.value) SELECT night_id FROM serving))"
)


class Notes:
    """A note is kept once, however often it is drawn."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, namespace: Namespace, notes: Iterable[Note]) -> None:
        """Keep them; what is there stays as it is."""
        with self._database.write() as db:
            for note in notes:
                row = {
                    "id": note.id,
                    "namespace": namespace_key(namespace),
                    "episode_id": note.episode_id,
                    "text": note.text,
                    "part": note.part,
                }
                db.table("notes").insert(row, ignore=True)

    def replace(self, namespace: Namespace, old: str, *, by: Note) -> None:
        """Keep a note instead of another, or beside what has none."""
        with self._database.write() as db:
            db.execute(
                "DELETE FROM notes WHERE id = ? AND namespace = ?", [old, namespace_key(namespace)]
            )
            self.add(namespace, [by])

    def lend(self, night_id: str, episode_ids: Iterable[str]) -> None:
        """Until this night ends its notes of these episodes may change: see `give_back`."""
        with self._database.write() as db:
            for episode_id in episode_ids:
                sql = "SELECT * FROM notes WHERE episode_id = ? ORDER BY rowid"
                before = list(db.query(sql, [episode_id]))
                row = {"night_id": night_id, "episode_id": episode_id, "notes": json.dumps(before)}
                db.table("notes_before").insert(row, ignore=True)

    def of(self, namespace: Namespace, episode_ids: Iterable[str]) -> list[Note]:
        """Those drawn from these episodes of the owner, in the order of their drawing.

        Raises:
            LedgerError: the row of one is damaged.
        """
        rows = self._database.rows(
            f"SELECT n.*, {REPLACED} AS replaced FROM notes n WHERE n.namespace = ? "
            "AND n.episode_id IN (SELECT value FROM json_each(?)) ORDER BY n.rowid",
            namespace_key(namespace),
            json.dumps(list(episode_ids)),
        )
        return [_as_note(row) for row in rows]

    def rest(self, namespace: Namespace, episode_ids: Iterable[str]) -> dict[str, str]:
        """Of those that an expert holds in part, by id, the sentences that it does not hold."""
        parts: dict[str, dict[str, None]] = {}
        held = set()
        for note in self.of(namespace, episode_ids):
            if note.learned_in:
                held.add(note.episode_id)
            elif not note.replaced_by:
                parts.setdefault(note.episode_id, {})[note.part] = None
        return {one: " ".join(found) for one, found in parts.items() if one in held}

    def faults(self) -> list[str]:
        """Notes that cannot be read, are not what was written, or are in no expert's weights."""
        rows = self._database.rows(f"SELECT n.*, {REPLACED} AS replaced FROM notes n")
        lost = self._database.rows(
            "SELECT id, learned_in FROM notes WHERE learned_in IS NOT NULL "
            "AND learned_in NOT IN (SELECT night_id FROM experts WHERE live = 1)"
        )
        faults = [
            f"note {row['id']} is said to be in the expert of {row['learned_in']}, " for row in lost
        ]
        return [
            *unreadable(rows, _as_note),
            *(f"{fault}which is not live. {RESTORE}" for fault in faults),
        ]


def give_back(db: sqlite_utils.Database, night_id: str) -> None:
    """Notes that were lent to a night are again as they were before it."""
    for row in list(db.query("SELECT * FROM notes_before WHERE night_id = ?", [night_id])):
        db.table("notes").delete_where("episode_id = ?", [row["episode_id"]])
        db.table("notes").insert_all(json.loads(row["notes"]))
        # An expert may have been rolled back while the night was interrupted.
        db.execute(
            "UPDATE notes SET learned_in = NULL WHERE episode_id = ? AND learned_in NOT IN "
            "(SELECT night_id FROM experts WHERE live = 1)",
            [row["episode_id"]],
        )
    db.table("notes_before").delete_where("night_id = ?", [night_id])


def _as_note(row: Any) -> Note:
    with intact(f"note {row['id']}"):
        newer = row["replaced_by"] if row["replaced"] else ""
        learned_in = row["learned_in"] or ""
        note = Note(row["episode_id"], row["text"], row["part"], newer, learned_in)
        if note.id != row["id"]:
            raise ValueError("its text is not what was drawn")
        return note
