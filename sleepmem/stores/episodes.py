"""What was said: the table of episodes. Nothing leaves it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sleepmem.records import USER, Episode, Namespace, namespace_key
from sleepmem.stores.database import Database

OLDEST_FIRST = "ORDER BY created_at, id"


class Episodes:
    """Every episode of a folder, with whether the buffer or an expert holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, episode: Episode) -> bool:
        """Store it; False when it was there already."""
        row = {
            "id": episode.id,
            "namespace": namespace_key(episode.namespace),
            "text": episode.text,
            "source": episode.source,
            "created_at": episode.created_at,
            "message_id": episode.message_id,
        }
        with self._database.write() as db:
            before = db.conn.total_changes
            db.table("episodes").insert(row, ignore=True)
            return bool(db.conn.total_changes > before)

    def unindexed(self) -> list[Episode]:
        """Those that the buffer has not seen: written by another process, or before a crash."""
        return self._select("indexed = 0 AND learned_in IS NULL")

    def mark_indexed(self, episode_ids: Iterable[str]) -> None:
        with self._database.write() as db:
            for episode_id in episode_ids:
                db.execute("UPDATE episodes SET indexed = 1 WHERE id = ?", [episode_id])

    def buffered(self, namespace: Namespace) -> list[Episode]:
        """Those that are not in the weights, oldest first."""
        return self._select("namespace = ? AND learned_in IS NULL", namespace_key(namespace))

    def waiting(self, namespace: Namespace, *, untrusted: bool) -> int:
        """How many that may teach the weights came in since the last night began."""
        key = namespace_key(namespace)
        rows = self._database.rows(
            "SELECT count(*) AS number FROM episodes "
            "WHERE namespace = ? AND learned_in IS NULL AND (? OR source = ?) "
            "AND rowid > (SELECT coalesce(max(upto), 0) FROM nights WHERE namespace = ?)",
            key,
            untrusted,
            USER,
            key,
        )
        return int(rows[0]["number"])

    def learned(self, namespace: Namespace) -> list[Episode]:
        """Those that a live expert holds, oldest first; superseded ones left out."""
        condition = "namespace = ? AND learned_in IS NOT NULL AND superseded = 0"
        return self._select(condition, namespace_key(namespace))

    def forgotten(self, namespace: Namespace) -> dict[str, str]:
        """Buffered ones that the weights held once, by id, and when they were told."""
        rows = self._database.rows(
            "SELECT id, created_at FROM episodes "
            "WHERE namespace = ? AND learned_in IS NULL AND forgotten = 1",
            namespace_key(namespace),
        )
        return {row["id"]: row["created_at"] for row in rows}

    def all(self, namespace: Namespace | None = None) -> list[Episode]:
        """Everything that was ever stored, oldest first."""
        if namespace is None:
            return self._select("1")
        return self._select("namespace = ?", namespace_key(namespace))

    def repeats(self, episode: Episode) -> list[Episode]:
        """Stored ones with the same owner, source and text, newest first."""
        rows = self._database.rows(
            "SELECT * FROM episodes WHERE namespace = ? AND source = ? AND text = ? "
            "ORDER BY created_at DESC",
            namespace_key(episode.namespace),
            episode.source,
            episode.text,
        )
        return [as_episode(row) for row in rows]

    def search(self, namespace: Namespace, question: str, *, limit: int) -> list[Episode]:
        """The archive: full-text search (BM25) over every episode of the namespace."""
        words = dict.fromkeys(re.findall(r"\w+", question))
        if not words:
            return []
        rows = self._database.rows(
            "SELECT e.* FROM episodes_fts f JOIN episodes e ON e.rowid = f.rowid "
            "WHERE episodes_fts MATCH ? AND e.namespace = ? "
            "ORDER BY bm25(episodes_fts), e.created_at DESC LIMIT ?",
            " OR ".join(f'"{word}"' for word in words),
            namespace_key(namespace),
            limit,
        )
        return [as_episode(row) for row in rows]

    def take_back(self, episode_ids: Iterable[str]) -> None:
        """The weights do not hold them any more: they belong to the buffer again.

        What they passed counts no longer.
        """
        with self._database.write() as db:
            for episode_id in episode_ids:
                changes = {"learned_in": None, "indexed": 0, "forgotten": 1}
                db.table("episodes").update(episode_id, changes)
                db.execute("UPDATE probes SET passed = 0 WHERE episode_id = ?", [episode_id])

    def namespaces(self) -> list[Namespace]:
        """Every owner to whom something was ever said."""
        rows = self._database.rows("SELECT DISTINCT namespace FROM episodes ORDER BY namespace")
        return [tuple(json.loads(row["namespace"])) for row in rows]

    def faults(self) -> list[str]:
        """Those that do not match their hash or claim an expert that is not live."""
        faults = []
        for row in self._database.rows("SELECT * FROM episodes"):
            if as_episode(row).id != row["id"]:
                faults.append(f"episode {row['id']} does not match its content")
        homeless = self._database.rows(
            "SELECT id, learned_in FROM episodes WHERE learned_in IS NOT NULL "
            "AND learned_in NOT IN (SELECT night_id FROM experts WHERE live = 1)"
        )
        for row in homeless:
            faults.append(
                f"episode {row['id']} is said to be in the expert of {row['learned_in']}, "
                "which is not live"
            )
        return faults

    def _select(self, condition: str, *values: Any) -> list[Episode]:
        rows = self._database.rows(
            f"SELECT * FROM episodes WHERE {condition} {OLDEST_FIRST}", *values
        )
        return [as_episode(row) for row in rows]


def as_episode(row: Any) -> Episode:
    namespace = tuple(json.loads(row["namespace"]))
    return Episode(namespace, row["text"], row["source"], row["created_at"], row["message_id"])
