"""Messages that were forgotten, or are never to be stored: known again, and told by nothing.

Ids of messages may hold words, or hashes of what was said. So keyed hashes are kept (HMAC-SHA-256),
with a random key of the folder; what an export brings along stands under its own key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sleepmem.records import Namespace, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.schema import hashed_with


class ForgottenMessages:
    """Which messages of a conversation must not be stored, and whose they were."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, namespace: Namespace, thread: str | None, message_id: str) -> None:
        hashed = self.keyed(thread or "", message_id)
        self.take_in(namespace, {"key": self._keys[0], "id": hashed})

    def take_in(self, namespace: Namespace, exported: Mapping[str, Any]) -> None:
        """A row of an export, which may be of a version that kept no hashes."""
        if "key" not in exported:
            self.add(namespace, exported["thread"], exported["id"])
            return
        key, hashed = exported["key"], exported["id"]
        bytes.fromhex(key)
        row = {"namespace": namespace_key(namespace), "key": key, "id": hashed}
        with self._database.write() as db:
            db.table("keys").insert({"key": key}, ignore=True)
            db.table("forgotten").insert(row, ignore=True)

    def owners(self, thread: str | None, message_ids: Iterable[str]) -> list[tuple[str, str]]:
        """Of those of these messages that were forgotten the id, and whose it was, as its key."""
        hashes, keys = {}, self._keys
        for message_id in message_ids:
            for key in keys:
                hashes[hashed_with(key, thread or "", message_id)] = message_id
        rows = self._database.rows(
            "SELECT id, namespace FROM forgotten WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(list(hashes)),
        )
        return [(hashes[row["id"]], row["namespace"]) for row in rows]

    def keyed(self, *texts: str) -> str:
        """A hash that tells nothing of these texts to whom has not the key of the folder."""
        return hashed_with(self._keys[0], *texts)

    @property
    def _keys(self) -> list[str]:
        """The folder's own, then those of exports that were taken in."""
        return [row["key"] for row in self._database.rows("SELECT key FROM keys ORDER BY rowid")]
