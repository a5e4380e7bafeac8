"""The nights: when they began, what they asked, dreamt and scored, how they ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sleepmem.records import (
    Expert,
    Kind,
    Namespace,
    NightReport,
    Probe,
    Role,
    Score,
    Verdict,
    namespace_key,
    now,
)
from sleepmem.stores.database import Database
from sleepmem.stores.notes import REPLACED, give_back
from sleepmem.stores.rows import RESTORE, intact, namespace_of, unreadable, value_of
from sleepmem.stores.schema import tally_nights


@dataclass(frozen=True, slots=True)
class FinishedNight:
    """A night with its verdict; `report` is what `NightReport.as_dict` gave."""

    id: str
    number: int
    finished_at: str
    report: dict[str, Any]


def promoted(expert: Expert, *, number: int) -> NightReport:
    """Of a night that was promoted and never came to its report."""
    return NightReport(
        expert.night_id,
        expert.namespace,
        Verdict.PROMOTED,
        "promoted; what it had measured is gone with its checkpoint",
        number=number,
        expert=expert.name,
        level=expert.level,
        episodes=len(expert.lineage),
    )


class Nights:
    """Nights are numbered from 1 over all namespaces; numbers are never reused and order them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, namespace: Namespace, *, is_dry: bool = False) -> str:
        """Begin a night; returns its id. After a dry run what waited waits still."""
        with self._database.write() as db:
            last = db.execute("SELECT coalesce(max(number), 0) FROM nights").fetchone()[0]
            newest = db.execute("SELECT coalesce(max(rowid), 0) FROM episodes").fetchone()[0]
            row = {
                "id": f"night-{last + 1:04d}",
                "number": last + 1,
                "namespace": namespace_key(namespace),
                "upto": None if is_dry else newest,
                "started_at": now(),
            }
            db.table("nights").insert(row)
            tally_nights(db, row["namespace"])
        return str(row["id"])

    def begin_anew(self, night_id: str) -> None:
        """What an interrupted night had drawn in a dry run is gone; it goes on from nothing."""
        with self._database.write() as db:
            give_back(db, night_id)

    def unfinished(self, namespace: Namespace) -> str | None:
        """The id of the night that was interrupted, if one was."""
        rows = self._database.rows(
            "SELECT id FROM nights WHERE namespace = ? AND verdict IS NULL "
            "ORDER BY number DESC LIMIT 1",
            namespace_key(namespace),
        )
        return rows[0]["id"] if rows else None

    def finish(self, report: NightReport) -> None:
        """Close the night with its report; of a dry run no note is left."""
        with self._database.write() as db:
            give_back(db, report.night_id)
            changes = {
                "finished_at": now(),
                "verdict": report.verdict.value,
                "reason": report.reason,
                "report": json.dumps(report.as_dict()),
            }
            db.table("nights").update(report.night_id, changes)

    def finished(self, namespace: Namespace | None = None) -> list[FinishedNight]:
        """All finished nights, oldest first.

        Raises:
            LedgerError: the row of one is damaged.
        """
        condition, values = "verdict IS NOT NULL", []
        if namespace is not None:
            condition += " AND namespace = ?"
            values = [namespace_key(namespace)]
        rows = self._database.rows(
            f"SELECT * FROM nights WHERE {condition} ORDER BY number", *values
        )
        return [_as_night(row) for row in rows]

    def finished_ids(self) -> set[str]:
        """Of all finished nights."""
        rows = self._database.rows("SELECT id FROM nights WHERE verdict IS NOT NULL")
        return {row["id"] for row in rows}

    def owners(self) -> list[Namespace]:
        """Everybody who ever had a night; a name that is damaged is left out."""
        owners: list[Namespace] = []
        for row in self._database.rows("SELECT DISTINCT namespace FROM nights"):
            with contextlib.suppress(ValueError, TypeError):
                owners.append(namespace_of(row["namespace"]))
        return owners

    def numbers(self) -> dict[str, int]:
        """The number of every night, by id."""
        rows = self._database.rows("SELECT id, number FROM nights ORDER BY number")
        return {row["id"]: row["number"] for row in rows}

    def faults(self) -> list[str]:
        """Nights that are gone, and promoted ones whose expert is."""
        faults = []
        for key, began, there in self._database.rows(
            "SELECT namespace, sum(began), sum(there) FROM ("
            "SELECT namespace, nights AS began, 0 AS there FROM tallies UNION ALL "
            "SELECT namespace, 0, 1 FROM nights) GROUP BY namespace ORDER BY namespace"
        ):
            if began != there:
                faults.append(
                    f"of {key} {there} nights are in the ledger and {began} have begun; rows were "
                    f"changed, deleted or put there by hand. {RESTORE}"
                )
        # What was forgotten took experts away.
        known = "SELECT name FROM experts UNION SELECT value FROM receipts, json_each(experts)"
        experts = {row["name"] for row in self._database.rows(known)}

        def look(row: Any) -> None:
            expert = _as_night(row).report.get("expert")
            if expert and expert not in experts:
                faults.append(f"expert {expert} of {row['id']} is not in the ledger any more")

        nights = self._database.rows("SELECT * FROM nights WHERE verdict IS NOT NULL")
        faults += unreadable(nights, look)
        faults += unreadable(self._database.rows("SELECT * FROM probes"), _as_probe)
        return faults + unreadable(self._database.rows("SELECT * FROM dreams"), _as_dream)

    def last_promotion(self, namespace: Namespace, *, level: str) -> str:
        """When the last promoted night of this level began, or "" when none did."""
        rows = self._database.rows(
            "SELECT started_at FROM nights WHERE namespace = ? AND verdict = ? "
            "AND json_extract(report, '$.level') = ? ORDER BY number DESC LIMIT 1",
            namespace_key(namespace),
            Verdict.PROMOTED.value,
            level,
        )
        return rows[0]["started_at"] if rows else ""

    def add_probes(self, namespace: Namespace, probes: Sequence[Probe]) -> None:
        """Replace the probes of their night: a step that runs again writes the same rows again."""
        with self._database.write() as db:
            for night_id in {probe.night_id for probe in probes}:
                db.table("probes").delete_where("night_id = ?", [night_id])
            db.table("probes").insert_all(_probe_row(namespace, probe) for probe in probes)

    def probes(self, night_id: str) -> list[Probe]:
        """Those that this night asked."""
        rows = self._database.rows(
            "SELECT * FROM probes WHERE night_id = ? ORDER BY rowid", night_id
        )
        return [_as_probe(row) for row in rows]

    def of(self, namespace: Namespace) -> list[Probe]:
        """Those that all nights of an owner asked."""
        sql = "SELECT * FROM probes WHERE namespace = ? ORDER BY rowid"
        return [_as_probe(row) for row in self._database.rows(sql, namespace_key(namespace))]

    def probe(self, namespace: Namespace, probe_id: str) -> Probe | None:
        """The owner's of this id; None without one."""
        sql = "SELECT * FROM probes WHERE id = ? AND namespace = ?"
        rows = self._database.rows(sql, probe_id, namespace_key(namespace))
        return _as_probe(rows[0]) if rows else None

    def first_asked(self, namespace: Namespace, probe: Probe) -> str:
        """The id of the night that asked it first, before slower ones took it over."""
        rows = self._database.rows(
            "SELECT p.night_id FROM probes p JOIN nights t ON t.id = p.night_id "
            "WHERE p.namespace = ? AND p.episode_id = ? AND p.question = ? AND p.taken_over = 0 "
            "ORDER BY t.number DESC LIMIT 1",
            namespace_key(namespace),
            probe.episode_id,
            probe.question,
        )
        return rows[0]["night_id"] if rows else probe.night_id

    def learned_probes(self, namespace: Namespace, *, passed: bool = False) -> list[Probe]:
        """Probes of episodes, or of notes, that live in the weights and still hold, by night.

        Only those that were answered right closed-book when `passed`.
        """
        rows = self._database.rows(
            "SELECT p.* FROM probes p "
            "JOIN episodes e ON e.id = p.episode_id "
            "LEFT JOIN notes l ON l.id = p.note_id "
            "LEFT JOIN nights t ON t.id = p.night_id "
            "WHERE p.namespace = ? AND +e.namespace = p.namespace "
            "AND coalesce(l.learned_in, e.learned_in) = p.night_id "
            "AND e.superseded = 0 AND coalesce(p.passed, 0) >= ? "
            # A dream holds as long as all that it was dreamt about does.
            "AND NOT EXISTS (SELECT 1 FROM json_each(p.sources) s JOIN episodes x "
            "ON x.id = s.value WHERE x.superseded = 1 OR x.learned_in IS NULL) "
            f"AND NOT EXISTS (SELECT 1 FROM notes n WHERE n.id = p.note_id AND {REPLACED}) "
            "ORDER BY t.number, p.rowid",
            namespace_key(namespace),
            int(passed),
        )
        return [_as_probe(row) for row in rows]

    def take(self, night_id: str, episode_ids: Iterable[str]) -> None:
        """Write down what a night is about to teach."""
        rows = [{"night_id": night_id, "episode_id": one} for one in episode_ids]
        with self._database.write() as db:
            db.table("taken").insert_all(rows, ignore=True)

    def tried(self, namespace: Namespace) -> dict[str, int]:
        """Per episode, how many nights took it to teach it, however they ended."""
        rows = self._database.rows(
            "SELECT t.episode_id, count(*) AS tried FROM taken t "
            "JOIN nights n ON n.id = t.night_id WHERE n.namespace = ? GROUP BY t.episode_id",
            namespace_key(namespace),
        )
        return {row["episode_id"]: row["tried"] for row in rows}

    def last_taken(self, namespace: Namespace) -> dict[str, str]:
        """Per episode, when the last of these nights began."""
        rows = self._database.rows(
            "SELECT t.episode_id, max(n.started_at) AS began FROM taken t "
            "JOIN nights n ON n.id = t.night_id WHERE n.namespace = ? GROUP BY t.episode_id",
            namespace_key(namespace),
        )
        return {row["episode_id"]: row["began"] for row in rows}

    def questions(self, probe_ids: Iterable[str]) -> dict[str, str]:
        """Of these, by id."""
        rows = self._database.rows(
            "SELECT id, question FROM probes WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(list(probe_ids)),
        )
        return {row["id"]: row["question"] for row in rows}

    def taught(self, namespace: Namespace, probe_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Per id of the owner's, the question, and the texts of what taught its answer, a line
        each.
        """
        rows = self._database.rows(
            "SELECT p.id, p.question, group_concat(e.text, char(10)) AS taught FROM probes p "
            "JOIN json_each(CASE WHEN coalesce(p.sources, '[]') = '[]' "
            "THEN json_array(p.episode_id) ELSE p.sources END) s "
            "JOIN episodes e ON e.id = s.value AND +e.namespace = p.namespace "
            "WHERE p.id IN (SELECT value FROM json_each(?)) AND +p.namespace = ? GROUP BY p.id",
            json.dumps(list(probe_ids)),
            namespace_key(namespace),
        )
        return {row["id"]: (row["question"], row["taught"]) for row in rows}

    def distrust(self, probe_ids: Iterable[str]) -> None:
        """These questions are not answered right closed-book any more."""
        with self._database.write() as db:
            for probe_id in probe_ids:
                db.table("probes").update(probe_id, {"passed": 0})

    def write_exam(self, night_id: str, stage: str, *, scores: Mapping[str, Score]) -> None:
        """Replace the scores of one stage: before, after, dreamt."""
        rows = []
        for measure, score in scores.items():
            scored = {"measure": measure, "right": score.right, "total": score.total}
            rows.append({"night_id": night_id, "stage": stage, **scored})
        with self._database.write() as db:
            db.table("exams").delete_where("night_id = ? AND stage = ?", [night_id, stage])
            db.table("exams").insert_all(rows)

    def add_dreams(
        self, namespace: Namespace, night_id: str, *, dreams: Sequence[Mapping[str, Any]]
    ) -> None:
        """Replace the dreams of a night: every one that was sampled, with its fate."""
        owner = {"night_id": night_id, "namespace": namespace_key(namespace)}
        with self._database.write() as db:
            db.table("dreams").delete_where("night_id = ?", [night_id])
            db.table("dreams").insert_all({**owner, **dream} for dream in dreams)

    def dreams(self, night_id: str) -> list[dict[str, Any]]:
        rows = self._database.rows(
            "SELECT * FROM dreams WHERE night_id = ? ORDER BY rowid", night_id
        )
        return [_as_dream(row) for row in rows]


def _probe_row(namespace: Namespace, probe: Probe) -> dict[str, Any]:
    return {
        "id": probe.id,
        "night_id": probe.night_id,
        "namespace": namespace_key(namespace),
        "episode_id": probe.episode_id,
        "kind": probe.kind.value,
        "role": probe.role.value,
        "question": probe.question,
        "answer": probe.answer,
        "stale": probe.stale,
        "context": json.dumps(probe.context),
        "sources": json.dumps(probe.sources),
        "taken_over": int(probe.taken_over),
        "note_id": probe.note_id,
    }


def _as_probe(row: Any) -> Probe:
    with intact(f"question {row['id']}"):
        return Probe(
            id=row["id"],
            episode_id=row["episode_id"],
            night_id=row["night_id"],
            kind=Kind(row["kind"]),
            role=Role(row["role"]),
            question=row["question"],
            answer=row["answer"],
            stale=row["stale"] or "",
            context=tuple(value_of(row["context"] or "[]", list)),
            sources=tuple(value_of(row["sources"] or "[]", list)),
            taken_over=bool(row["taken_over"]),
            note_id=row["note_id"] or "",
        )


def _as_night(row: Any) -> FinishedNight:
    with intact(f"night {row['id']}"):
        report = value_of(row["report"] or "{}", dict)
        return FinishedNight(row["id"], int(row["number"]), row["finished_at"], report)


def _as_dream(row: Any) -> dict[str, Any]:
    with intact(f"dream {row['id']}"):
        return {**dict(row), "episodes": value_of(row["episodes"], list)}
