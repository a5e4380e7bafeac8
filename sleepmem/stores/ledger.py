"""The ledger: one SQLite file, the only truth. Only this file and schema.py know sqlite-utils.

An episode is on the disk (WAL, synchronous) before `add_episode` returns. Its shape is in schema.py.
The ledger knows no model and no index; it says which episodes are still to be indexed (`unindexed`).
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlite_utils import Database

from sleepmem.errors import FolderError, LedgerError
from sleepmem.records import (
    USER,
    Episode,
    Expert,
    Kind,
    Namespace,
    Probe,
    Recall,
    Role,
    Verdict,
    View,
    namespace_key,
    now,
)
from sleepmem.stores.schema import migrations

ARCHIVE = "the model was not sure; searched the archive"  # reason of the second decision in a turn

APPLICATION_ID = (
    0x534C4550  # "SLEP", in the header of the file: tells our ledgers from other SQLite files
)


class Ledger:
    """Open, or create, the ledger of a memory folder. Safe to share between threads.

    Raises:
        FolderError: the file cannot be read or written.
        LedgerError: it is not a ledger, or a newer sleepmem wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            with FileLock(
                path.with_suffix(".opening")
            ):  # SQLite does not wait for a change of its journal mode
                connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
                connection.row_factory = sqlite3.Row
                self.db = Database(connection)
                self._check()
                self.db.execute("PRAGMA journal_mode=WAL")
                self.db.execute("PRAGMA synchronous=FULL")
                if migrations.pending(self.db):
                    migrations.apply(self.db)
                    self.db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        except sqlite3.DatabaseError as e:
            raise _explain(path, e) from e
        except OSError as e:
            raise FolderError(
                f"{path} cannot be opened ({e.strerror or e}). Make the folder writable or choose another."
            ) from e

    @property
    def id(self) -> str:
        """Of this folder, made once, the same for ever."""
        return str(self._rows("SELECT id FROM folder")[0]["id"])

    @property
    def model(self) -> str | None:
        """The model this folder was last used with: a hub id, a folder, or "embedded"; None when none was loaded yet."""
        return self._rows("SELECT model FROM folder")[0]["model"] or None

    def use_model(self, model: str) -> None:
        with self._write() as db:
            db.execute("UPDATE folder SET model = ?", [model])

    def _check(self) -> None:
        tables = set(self.db.table_names())
        application = self.db.execute("PRAGMA application_id").fetchone()[0]
        if tables and application != APPLICATION_ID and not migrations.applied(self.db):
            raise LedgerError(
                f"{self.path} is a SQLite file of another program; sleepmem will not change it. Choose another folder."
            )
        known = {m.name for m in migrations._migrations}
        newer = [m.name for m in migrations.applied(self.db) if m.name not in known]
        if newer:
            raise LedgerError(
                f"{self.path} was written by a newer sleepmem (it has {', '.join(newer)}); this one would misread it. Upgrade sleepmem."
            )

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def _write(self) -> Iterator[Database]:
        """One transaction, all or nothing."""
        with self._lock:
            try:
                with self.db.atomic():
                    yield self.db
            except sqlite3.DatabaseError as e:
                raise _explain(self.path, e) from e

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self.db.execute(sql, list(values)).fetchall()
            except sqlite3.DatabaseError as e:
                raise _explain(self.path, e) from e

    # The day

    def add_episode(self, episode: Episode) -> bool:
        """Store it; False when it was there already."""
        row = {
            "id": episode.id,
            "namespace": namespace_key(episode.namespace),
            "text": episode.text,
            "source": episode.source,
            "created_at": episode.created_at,
            "message_id": episode.message_id,
        }
        with self._write() as db:
            before = db.conn.total_changes
            db.table("episodes").insert(row, ignore=True)
            return bool(db.conn.total_changes > before)

    def unindexed(self) -> list[Episode]:
        """Episodes that the buffer has not seen yet: written by another process, or before a crash."""
        return [
            _episode(r)
            for r in self._rows(
                "SELECT * FROM episodes WHERE indexed = 0 AND learned_in IS NULL ORDER BY created_at, id"
            )
        ]

    def mark_indexed(self, ids: Iterable[str]) -> None:
        with self._write() as db:
            for i in ids:
                db.execute("UPDATE episodes SET indexed = 1 WHERE id = ?", [i])

    def buffered(self, namespace: Namespace) -> list[Episode]:
        """Episodes that are not in the weights, oldest first."""
        return [
            _episode(r)
            for r in self._rows(
                "SELECT * FROM episodes WHERE namespace = ? AND learned_in IS NULL ORDER BY created_at, id",
                namespace_key(namespace),
            )
        ]

    def waiting(self, namespace: Namespace, untrusted: bool) -> int:
        """How many episodes that may teach the weights came in since the last night began."""
        rows = self._rows(
            "SELECT count(*) AS n FROM episodes WHERE namespace = ? AND learned_in IS NULL AND (? OR source = ?) "
            "AND rowid > (SELECT coalesce(max(upto), 0) FROM nights WHERE namespace = ?)",
            namespace_key(namespace),
            untrusted,
            USER,
            namespace_key(namespace),
        )
        return int(rows[0]["n"])

    def learned(self, namespace: Namespace) -> list[Episode]:
        """Episodes whose expert is live and that left the buffer, oldest first; superseded ones left out."""
        return [
            _episode(r)
            for r in self._rows(
                "SELECT * FROM episodes WHERE namespace = ? AND learned_in IS NOT NULL AND superseded = 0 ORDER BY created_at, id",
                namespace_key(namespace),
            )
        ]

    def forgotten(self, namespace: Namespace) -> dict[str, str]:
        """Buffered episodes that the weights held once, by id, and when they were told."""
        return {
            r["id"]: r["created_at"]
            for r in self._rows(
                "SELECT id, created_at FROM episodes WHERE namespace = ? AND learned_in IS NULL AND forgotten = 1",
                namespace_key(namespace),
            )
        }

    def episodes(self, namespace: Namespace | None = None) -> list[Episode]:
        """Everything that was ever stored, oldest first."""
        where, values = (
            ("WHERE namespace = ?", [namespace_key(namespace)]) if namespace else ("", [])
        )
        return [
            _episode(r)
            for r in self._rows(f"SELECT * FROM episodes {where} ORDER BY created_at, id", *values)
        ]

    def repeats(self, episode: Episode) -> list[Episode]:
        """Stored episodes with the same owner, source and text, newest first."""
        return [
            _episode(r)
            for r in self._rows(
                "SELECT * FROM episodes WHERE namespace = ? AND source = ? AND text = ? ORDER BY created_at DESC",
                namespace_key(episode.namespace),
                episode.source,
                episode.text,
            )
        ]

    def search(self, namespace: Namespace, question: str, limit: int) -> list[Episode]:
        """The archive: full-text search (BM25) over every episode of the namespace, learned or not."""
        words = re.findall(r"\w+", question)
        if not words:
            return []
        query = " OR ".join(f'"{w}"' for w in dict.fromkeys(words))
        return [
            _episode(r)
            for r in self._rows(
                "SELECT e.* FROM episodes_fts f JOIN episodes e ON e.rowid = f.rowid "
                "WHERE episodes_fts MATCH ? AND e.namespace = ? ORDER BY bm25(episodes_fts), e.created_at DESC LIMIT ?",
                query,
                namespace_key(namespace),
                limit,
            )
        ]

    def log_recall(self, namespace: Namespace, question: str, recall: Recall, tokens: int) -> None:
        """Keep the gate's decision: the retrieval-load curve is drawn from these."""
        with self._write() as db:
            db.table("retrievals").insert(
                {
                    "namespace": namespace_key(namespace),
                    "at": now(),
                    "question": question,
                    "view": recall.view.value,
                    "reason": recall.reason,
                    "tokens": tokens,
                    "episodes": json.dumps([e.id for e in recall.episodes]),
                }
            )

    def retrievals(self, namespace: Namespace, since: str = "") -> list[dict[str, Any]]:
        rows = self._rows(
            "SELECT * FROM retrievals WHERE namespace = ? AND at > ? ORDER BY id",
            namespace_key(namespace),
            since,
        )
        return [{**dict(r), "episodes": json.loads(r["episodes"])} for r in rows]

    def turns(self, namespace: Namespace) -> list[dict[str, Any]]:
        """The questions, oldest first: `question`, `at`, whether it `retrieved`, `tokens` of memories.

        A search of the archive belongs to the question before it.
        """
        out: list[dict[str, Any]] = []
        for r in self.retrievals(namespace):
            again = r["reason"] == ARCHIVE and out and out[-1]["question"] == r["question"]
            turn = (
                out.pop()
                if again
                else {"question": r["question"], "at": r["at"], "retrieved": False, "tokens": 0}
            )
            retrieved = turn["retrieved"] or r["view"] == View.RETRIEVAL.value
            out.append({**turn, "retrieved": retrieved, "tokens": turn["tokens"] + r["tokens"]})
        return out

    def log_event(self, kind: str, **detail: Any) -> None:
        with self._write() as db:
            db.table("events").insert({"at": now(), "kind": kind, "detail": json.dumps(detail)})

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What was logged of this kind, oldest first."""
        return [
            {"at": r["at"], **json.loads(r["detail"])}
            for r in self._rows("SELECT * FROM events WHERE kind = ? ORDER BY id", kind)
        ]

    # The night

    def start_night(self, namespace: Namespace) -> str:
        """A new night's id; ids are never reused."""
        with self._write() as db:
            night_id = f"night-{db['nights'].count + 1:04d}"
            upto = db.execute("SELECT coalesce(max(rowid), 0) FROM episodes").fetchone()[0]
            db.table("nights").insert(
                {
                    "id": night_id,
                    "namespace": namespace_key(namespace),
                    "upto": upto,
                    "started_at": now(),
                }
            )
        return night_id

    def unfinished_night(self, namespace: Namespace) -> str | None:
        rows = self._rows(
            "SELECT id FROM nights WHERE namespace = ? AND verdict IS NULL ORDER BY id DESC LIMIT 1",
            namespace_key(namespace),
        )
        return rows[0]["id"] if rows else None

    def nights(self, namespace: Namespace | None = None) -> list[dict[str, Any]]:
        """All finished nights, oldest first, each with its report."""
        where, values = ("AND namespace = ?", [namespace_key(namespace)]) if namespace else ("", [])
        rows = self._rows(
            f"SELECT * FROM nights WHERE verdict IS NOT NULL {where} ORDER BY id", *values
        )
        return [{**dict(r), "report": json.loads(r["report"] or "{}")} for r in rows]

    def last_promotion(self, namespace: Namespace) -> str:
        """When the last promoted night finished, or '' when none did."""
        rows = self._rows(
            "SELECT max(finished_at) AS at FROM nights WHERE namespace = ? AND verdict = ?",
            namespace_key(namespace),
            Verdict.PROMOTED.value,
        )
        return rows[0]["at"] or ""

    def add_probes(self, namespace: Namespace, probes: Sequence[Probe]) -> None:
        """Replace the probes of their night: a step that runs again writes the same rows again."""
        with self._write() as db:
            for night_id in {p.night_id for p in probes}:
                db.table("probes").delete_where("night_id = ?", [night_id])
            db.table("probes").insert_all(
                {
                    "id": p.id,
                    "night_id": p.night_id,
                    "namespace": namespace_key(namespace),
                    "episode_id": p.episode_id,
                    "kind": p.kind.value,
                    "role": p.role.value,
                    "question": p.question,
                    "answer": p.answer,
                    "stale": p.stale,
                    "context": json.dumps(p.context),
                    "sources": json.dumps(p.sources),
                }
                for p in probes
            )

    def add_dreams(
        self, namespace: Namespace, night_id: str, dreams: Sequence[Mapping[str, Any]]
    ) -> None:
        """Replace the dreams of a night: every one that was sampled, with its fate."""
        with self._write() as db:
            db.table("dreams").delete_where("night_id = ?", [night_id])
            db.table("dreams").insert_all(
                {"night_id": night_id, "namespace": namespace_key(namespace), **d} for d in dreams
            )

    def dreams(self, night_id: str) -> list[dict[str, Any]]:
        return [
            {**dict(r), "episodes": json.loads(r["episodes"])}
            for r in self._rows("SELECT * FROM dreams WHERE night_id = ? ORDER BY id", night_id)
        ]

    def probes(self, night_id: str) -> list[Probe]:
        return [
            _probe(r)
            for r in self._rows("SELECT * FROM probes WHERE night_id = ? ORDER BY id", night_id)
        ]

    def learned_probes(self, namespace: Namespace, passed: bool = False) -> list[Probe]:
        """Probes of episodes that live in the weights and still hold, by night; only those answered right closed-book when `passed`."""
        return [
            _probe(r)
            for r in self._rows(
                "SELECT p.* FROM probes p JOIN episodes e ON e.id = p.episode_id AND e.learned_in = p.night_id "
                "WHERE p.namespace = ? AND e.superseded = 0 AND coalesce(p.passed, 0) >= ? AND NOT EXISTS (SELECT 1 FROM json_each(p.sources) s "
                "JOIN episodes x ON x.id = s.value WHERE x.superseded = 1 OR x.learned_in IS NULL) ORDER BY p.id",
                namespace_key(namespace),
                int(passed),
            )
        ]

    def write_exam(
        self, night_id: str, stage: str, scores: Mapping[str, tuple[float, int]]
    ) -> None:
        with self._write() as db:
            db.table("exams").delete_where("night_id = ? AND stage = ?", [night_id, stage])
            db.table("exams").insert_all(
                {"night_id": night_id, "stage": stage, "measure": m, "right": right, "total": total}
                for m, (right, total) in scores.items()
            )

    def promote(
        self,
        expert: Expert,
        proven: Iterable[str],
        superseded: Iterable[str],
        passed: Iterable[str],
        absorbed: Sequence[str] = (),
    ) -> None:
        """Make the expert live, in one transaction: its proven episodes belong to the weights from here on.

        The experts it absorbed are live no more; what they held and it does not prove to hold goes back to the buffer.
        """
        with self._write() as db:
            for name in absorbed:
                night_id = db.table("experts").get(name)["night_id"]
                db.table("experts").update(name, {"live": 0})
                db.execute(
                    "UPDATE episodes SET learned_in = NULL, indexed = 0, forgotten = 1 WHERE superseded = 0 AND learned_in = ?",
                    [night_id],
                )
                db.execute(
                    "UPDATE episodes SET learned_in = ? WHERE superseded = 1 AND learned_in = ?",
                    [expert.night_id, night_id],
                )
                db.execute(
                    "INSERT OR IGNORE INTO corrected SELECT ?, episode_id FROM corrected WHERE night_id = ?",
                    [expert.night_id, night_id],
                )
            db.table("experts").insert(
                {
                    "name": expert.name,
                    "namespace": namespace_key(expert.namespace),
                    "night_id": expert.night_id,
                    "level": expert.level,
                    "rank": expert.rank,
                    "created_at": expert.created_at,
                    "lineage": json.dumps(list(expert.lineage)),
                    "live": 1,
                },
                replace=True,
            )
            for i in superseded:
                db.table("episodes").update(i, {"superseded": 1, "learned_in": expert.night_id})
                db.table("corrected").insert(
                    {"night_id": expert.night_id, "episode_id": i}, ignore=True
                )
            for i in proven:
                db.table("episodes").update(i, {"learned_in": expert.night_id})
            for i in passed:
                db.table("probes").update(i, {"passed": 1})

    def take_back(self, ids: Iterable[str]) -> None:
        """Episodes that the weights are found not to hold any more belong to the buffer again; what they passed counts no longer."""
        with self._write() as db:
            for i in ids:
                db.table("episodes").update(i, {"learned_in": None, "indexed": 0, "forgotten": 1})
                db.execute("UPDATE probes SET passed = 0 WHERE episode_id = ?", [i])

    def distrust(self, probe_ids: Iterable[str]) -> None:
        """These questions are not answered right closed-book any more."""
        with self._write() as db:
            for i in probe_ids:
                db.table("probes").update(i, {"passed": 0})

    def finish_night(
        self, night_id: str, verdict: Verdict, reason: str, report: Mapping[str, Any]
    ) -> None:
        with self._write() as db:
            db.table("nights").update(
                night_id,
                {
                    "finished_at": now(),
                    "verdict": verdict.value,
                    "reason": reason,
                    "report": json.dumps(report),
                },
            )

    def experts(self, namespace: Namespace | None = None, live: bool = True) -> list[Expert]:
        """Experts in the order they were born; only the live ones unless asked otherwise."""
        where = (
            "WHERE 1"
            + (" AND live = 1" if live else "")
            + (" AND namespace = ?" if namespace else "")
        )
        values = [namespace_key(namespace)] if namespace else []
        return [
            Expert(
                r["name"],
                tuple(json.loads(r["namespace"])),
                r["night_id"],
                r["level"],
                r["rank"],
                r["created_at"],
                tuple(json.loads(r["lineage"])),
                bool(r["live"]),
            )
            for r in self._rows(f"SELECT * FROM experts {where} ORDER BY created_at", *values)
        ]

    def rollback(self, namespace: Namespace, nights: Sequence[str]) -> list[str]:
        """Make the experts of these nights live, but for those another of them absorbed. What no live one holds goes back to the buffer; returns those ids."""
        key = namespace_key(namespace)
        with self._write() as db:
            db.execute(
                "UPDATE experts SET live = night_id IN (SELECT value FROM json_each(?)) WHERE namespace = ?",
                [json.dumps(list(nights)), key],
            )
            db.execute(  # what a slower expert absorbed stays off beside it
                "UPDATE experts SET live = 0 WHERE namespace = ? AND name IN "
                "(SELECT value FROM experts AS slower, json_each(slower.lineage) WHERE slower.namespace = ? AND slower.live = 1)",
                [key, key],
            )
            live = [
                r["night_id"]
                for r in db.execute(
                    "SELECT night_id FROM experts WHERE namespace = ? AND live = 1", [key]
                ).fetchall()
            ]
            gone = [
                r["id"]
                for r in db.execute(
                    "SELECT id FROM episodes WHERE namespace = ? AND learned_in IS NOT NULL AND learned_in NOT IN (SELECT value FROM json_each(?))",
                    [key, json.dumps(live)],
                ).fetchall()
            ]
            db.execute(
                "UPDATE episodes SET forgotten = 0 WHERE namespace = ?", [key]
            )  # what corrected something may be newer than the weights again
            for i in gone:
                db.table("episodes").update(i, {"learned_in": None, "superseded": 0, "indexed": 0})
            for night_id in live:  # forward again: what that night proved is in the weights again
                db.execute(
                    "UPDATE episodes SET learned_in = ? WHERE learned_in IS NULL AND id IN (SELECT episode_id FROM probes "
                    "WHERE night_id = ? AND kind = ? AND role = ? GROUP BY episode_id HAVING min(coalesce(passed, 0)) = 1)",
                    [night_id, night_id, Kind.FACT.value, Role.EXAM.value],
                )
                db.execute(
                    "UPDATE episodes SET learned_in = ?, superseded = 1 WHERE id IN (SELECT episode_id FROM corrected WHERE night_id = ?)",
                    [night_id, night_id],
                )
            return [i for i in gone if db.table("episodes").get(i)["learned_in"] is None]

    def namespaces(self) -> list[Namespace]:
        return [
            tuple(json.loads(r["namespace"]))
            for r in self._rows("SELECT DISTINCT namespace FROM episodes ORDER BY namespace")
        ]

    def verify(self) -> list[str]:
        """What is wrong with the ledger, one sentence each; empty when it is sound. Re-derives every id."""
        faults = [
            f"SQLite reports: {r[0]}" for r in self._rows("PRAGMA integrity_check") if r[0] != "ok"
        ]
        for row in self._rows("SELECT * FROM episodes"):
            if _episode(row).id != row["id"]:
                faults.append(f"episode {row['id']} does not match its content")
        for row in self._rows(
            "SELECT id, learned_in FROM episodes WHERE learned_in IS NOT NULL AND learned_in NOT IN (SELECT night_id FROM experts WHERE live = 1)"
        ):
            faults.append(
                f"episode {row['id']} is said to be in the expert of {row['learned_in']}, which is not live"
            )
        return faults


def _episode(row: Any) -> Episode:
    return Episode(
        tuple(json.loads(row["namespace"])),
        row["text"],
        row["source"],
        row["created_at"],
        row["message_id"],
    )


def _probe(row: Any) -> Probe:
    return Probe(
        row["id"],
        row["episode_id"],
        row["night_id"],
        Kind(row["kind"]),
        Role(row["role"]),
        row["question"],
        row["answer"],
        row["stale"] or "",
        tuple(json.loads(row["context"] or "[]")),
        tuple(json.loads(row["sources"] or "[]")),
    )


def _explain(path: Path, error: sqlite3.Error) -> FolderError | LedgerError:
    text = str(error)
    if "readonly" in text or "unable to open" in text:
        return FolderError(
            f"{path} cannot be written ({text}); a memory must store what it is told. Make the folder writable or choose another."
        )
    if "full" in text or "disk I/O error" in text:
        return FolderError(
            f"the disk that holds {path} is full or failing ({text}); the last change was taken back. Free some space and try again."
        )
    if "not a database" in text or "malformed" in text:
        return LedgerError(
            f"{path} is not a ledger or is damaged ({text}); sleepmem will not change it. Restore it or choose another folder."
        )
    return FolderError(
        f"{path} could not be used ({text}). Check that no other program holds it, then try again."
    )
