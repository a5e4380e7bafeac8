"""What the nights fitted the gate to: a gate and its examples a night, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sleepmem.records import Namespace, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.rows import intact, namespace_of, unreadable, value_of


class Gates:
    """The gate of a namespace is that of its newest live night: a rollback takes it back, too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(
        self,
        namespace: Namespace,
        night_id: str,
        *,
        gate: str,
        examples: Sequence[Mapping[str, Any]],
    ) -> None:
        """Replace what this night fitted, and the examples that it made."""
        owner = {"night_id": night_id, "namespace": namespace_key(namespace)}
        with self._database.write() as db:
            db.table("gates").insert({**owner, "gate": gate}, replace=True)
            db.table("gate_examples").delete_where("night_id = ?", [night_id])
            rows = [{**owner, "example": json.dumps(example)} for example in examples]
            db.table("gate_examples").insert_all(rows)

    def owners(self) -> list[Namespace]:
        """Of all gates."""
        rows = self._database.rows("SELECT DISTINCT namespace FROM gates ORDER BY namespace")
        return [namespace_of(row["namespace"]) for row in rows]

    def read(self, namespace: Namespace) -> str | None:
        """The gate of the newest live night that fitted one, as it was written."""
        rows = self._database.rows(
            "SELECT g.gate FROM gates g JOIN experts x ON x.night_id = g.night_id "
            "JOIN nights n ON n.id = g.night_id "
            "WHERE x.namespace = ? AND x.live = 1 ORDER BY n.number DESC LIMIT 1",
            namespace_key(namespace),
        )
        return rows[0]["gate"] if rows else None

    def examples(self, namespace: Namespace, *, without: str, limit: int) -> list[dict[str, Any]]:
        """Examples of live nights, newest first; those of the night `without` left out."""
        rows = self._database.rows(
            "SELECT e.id, e.example FROM gate_examples e JOIN experts x ON x.night_id = e.night_id "
            "WHERE x.namespace = ? AND x.live = 1 AND e.night_id != ? "
            "ORDER BY e.id DESC LIMIT ?",
            namespace_key(namespace),
            without,
            limit,
        )
        return [_as_example(row) for row in rows]

    def faults(self) -> list[str]:
        """Examples that cannot be read; a gate is read by the day."""
        return unreadable(self._database.rows("SELECT * FROM gate_examples"), _as_example)

    def speakers(self, probe_ids: Iterable[str]) -> dict[str, str]:
        """Per known question, who of several people told what it asks, where it is known."""
        rows = self._database.rows(
            "SELECT p.id, e.speaker FROM probes p JOIN episodes e ON e.id = p.episode_id "
            "WHERE p.id IN (SELECT value FROM json_each(?)) AND e.speaker IS NOT NULL",
            json.dumps(list(probe_ids)),
        )
        return {row["id"]: row["speaker"] for row in rows}

    def facts(self, probe_ids: Iterable[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Per known question, a key of its fact, and all wordings of that which were passed."""
        rows = self._database.rows(
            "SELECT p.id, p.episode_id, p.answer, json_group_array(other.question) AS wordings "
            "FROM probes p JOIN probes other ON other.episode_id = p.episode_id "
            "AND other.answer = p.answer AND other.night_id = p.night_id "
            "AND other.kind = p.kind AND other.passed = 1 "
            "WHERE p.id IN (SELECT value FROM json_each(?)) GROUP BY p.id",
            json.dumps(list(probe_ids)),
        )
        facts = {}
        for row in rows:
            key = json.dumps([row["episode_id"], row["answer"]])
            facts[row["id"]] = (key, tuple(sorted(json.loads(row["wordings"]))))
        return facts


def _as_example(row: Any) -> dict[str, Any]:
    with intact(f"example {row['id']} of the gate"):
        return value_of(row["example"], dict)
