"""What was asked by day, and what happened beside it: the tables of retrievals and events."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sleepmem.records import Look, Namespace, Recall, View, namespace_key, now
from sleepmem.stores.database import Database
from sleepmem.stores.rows import intact, unreadable, value_of

# The kind of event that a failure of the memory within a turn is.
FAILED = "memory failed"
_REMEDY = "Restore the ledger from a backup, or delete the row: it is a log"
# Events that are kept in memory while the ledger cannot be written.
_MOST_UNWRITTEN = 1_000


@dataclass(slots=True)
class Turn:
    """A question of the user with all that was decided about it; `last` is the last decision."""

    question: str
    at: str
    last: Mapping[str, Any]
    retrieved: bool = False
    tokens: int = 0


class Turns:
    """The gate's log: the retrieval-load curve is drawn from it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Events that could not be written yet: the disk may be full, or the ledger locked.
        self._unwritten: list[dict[str, str]] = []
        # Never held while the ledger is waited for.
        self._lock = threading.Lock()

    def log(self, namespace: Namespace, question: str, *, recall: Recall, tokens: int) -> None:
        """Keep one decision of the gate, and the memory tokens that it put into the prompt."""
        row = {
            "namespace": namespace_key(namespace),
            "at": now(),
            "question": question,
            "view": recall.view.value,
            "reason": recall.reason,
            "look": recall.look.value,
            "tokens": tokens,
            "margin": recall.margin,
            "known": recall.known,
            "episodes": json.dumps([episode.id for episode in recall.episodes]),
        }
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        with self._database.write(synced=False) as db:
            sql = f"INSERT INTO retrievals ({columns}) VALUES ({places})"
            db.conn.execute(sql, list(row.values()))
        if self._unwritten:
            self._write_events()

    def retrievals(self, namespace: Namespace, since: str = "") -> list[dict[str, Any]]:
        """Every decision after `since`, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM retrievals WHERE namespace = ? AND at > ? ORDER BY id",
            namespace_key(namespace),
            since,
        )
        return [_as_decision(row) for row in rows]

    def totals(self) -> list[dict[str, Any]]:
        """How many decisions there were of each view and look, and their tokens, of all owners."""
        rows = self._database.rows(
            "SELECT view, look, count(*) AS decisions, sum(tokens) AS tokens FROM retrievals "
            "GROUP BY view, look ORDER BY view, look"
        )
        return [dict(row) for row in rows]

    def last_look(self, namespace: Namespace, question: str) -> Recall | None:
        """The newest decision about this question, without its memories; None without one."""
        last = self._last(namespace, question)
        if last is None:
            return None
        with intact(f"the last decision of the gate about {question!r}", _REMEDY):
            return Recall(
                View(last["view"]),
                last["reason"],
                look=Look(last["look"]),
                margin=last["margin"] or 0.0,
                known=last["known"] or "",
            )

    def last_read(self, namespace: Namespace, question: str) -> list[str]:
        """Ids of the episodes that were read for it then."""
        last = self._last(namespace, question)
        if last is None:
            return []
        with intact(f"the last decision of the gate about {question!r}", _REMEDY):
            return [str(one) for one in value_of(last["episodes"], list)]

    def _last(self, namespace: Namespace, question: str) -> Any:
        rows = self._database.rows(
            "SELECT * FROM retrievals WHERE namespace = ? AND question = ? "
            "ORDER BY id DESC LIMIT 1",
            namespace_key(namespace),
            question,
        )
        return rows[0] if rows else None

    def all(self, namespace: Namespace) -> list[Turn]:
        """The questions, oldest first; a second look belongs to the question before it."""
        turns: list[Turn] = []
        for decision in self.retrievals(namespace):
            question = decision["question"]
            again = decision["look"] == Look.AGAIN and turns and turns[-1].question == question
            if not again:
                turns.append(Turn(question, decision["at"], decision))
            turns[-1].last = decision
            turns[-1].retrieved |= decision["view"] == View.RETRIEVAL
            turns[-1].tokens += decision["tokens"]
        return turns

    def log_event(self, kind: str, **detail: Any) -> None:
        """Keep what happened; what cannot be written now is written with what comes next.

        Raises:
            FolderError: the ledger cannot be written.
        """
        event = {"at": now(), "kind": kind, "detail": json.dumps(detail)}
        with self._lock:
            self._unwritten = [*self._unwritten, event][-_MOST_UNWRITTEN:]
        self._write_events()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What happened of this kind, oldest first."""
        rows = self._database.rows("SELECT * FROM events WHERE kind = ? ORDER BY id", kind)
        events = [*map(dict, rows), *(one for one in self._unwritten if one["kind"] == kind)]
        return [_as_event(event) for event in events]

    def faults(self) -> list[str]:
        """Decisions and events that cannot be read."""
        faults = unreadable(self._database.rows("SELECT * FROM retrievals"), _as_decision)
        return faults + unreadable(self._database.rows("SELECT * FROM events"), _as_event)

    def _write_events(self) -> None:
        events: list[dict[str, str]] = []
        try:
            with self._database.write(synced=False) as db:
                with self._lock:
                    events, self._unwritten = self._unwritten, []
                db.table("events").insert_all(events)
        except BaseException:
            with self._lock:
                self._unwritten = [*events, *self._unwritten][-_MOST_UNWRITTEN:]
            raise


def _as_decision(row: Any) -> dict[str, Any]:
    with intact(f"decision {row['id']} of the gate", _REMEDY):
        decision = {**dict(row), "episodes": value_of(row["episodes"], list)}
        return {**decision, "view": View(row["view"]), "look": Look(row["look"])}


def _as_event(event: Any) -> dict[str, Any]:
    with intact(f"the event of {event['at']}", _REMEDY):
        return {"at": event["at"], **value_of(event["detail"], dict)}
