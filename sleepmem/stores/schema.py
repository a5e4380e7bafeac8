"""The shape of the ledger: named migrations, never changed once released."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlite_utils import Database, Migrations

migrations = Migrations("sleepmem")


@migrations()
def create_day(db: Database) -> None:
    db.table("episodes").create(
        {
            "id": str,
            "namespace": str,
            "text": str,
            "source": str,
            "created_at": str,
            "message_id": str,
            # 1 when the buffer holds it or held it
            "indexed": int,
            # the night whose expert holds it; NULL while it belongs to the buffer
            "learned_in": str,
            # 1 when a newer episode says otherwise
            "superseded": int,
        },
        pk="id",
        not_null={"namespace", "text", "source", "created_at", "indexed", "superseded"},
        defaults={"indexed": 0, "superseded": 0},
    )
    db.table("episodes").create_index(["namespace", "learned_in"])
    db.table("episodes").enable_fts(["text"], create_triggers=True)
    db.table("retrievals").create(
        {
            "id": int,
            "namespace": str,
            "at": str,
            "question": str,
            "view": str,
            "reason": str,
            "tokens": int,
            "episodes": str,
        },
        pk="id",
    )
    db.table("retrievals").create_index(["namespace", "at"])
    db.table("events").create({"id": int, "at": str, "kind": str, "detail": str}, pk="id")
    db.table("folder").create({"id": str}, pk="id").insert(
        {"id": uuid.uuid4().hex}
    )  # names this folder's collections on a shared Chroma server


@migrations()
def create_night(db: Database) -> None:
    db.table("nights").create(
        {
            "id": str,
            "namespace": str,
            "upto": int,  # rowid of the newest episode there was
            "started_at": str,
            "finished_at": str,
            "verdict": str,
            "reason": str,
            "report": str,
        },
        pk="id",
    )
    db.table("probes").create(
        {
            "id": str,
            "night_id": str,
            "namespace": str,
            "episode_id": str,
            "kind": str,
            "role": str,
            "question": str,
            "answer": str,
            "stale": str,
            "passed": int,  # closed-book, in the exam that promoted its expert
        },
        pk="id",
    )
    db.table("probes").create_index(["namespace", "night_id"])
    db.table("experts").create(
        {
            "name": str,
            "namespace": str,
            "night_id": str,
            "level": str,
            "rank": int,
            "created_at": str,
            "lineage": str,
            "live": int,
        },
        pk="name",
    )
    db.table("exams").create(
        {"id": int, "night_id": str, "stage": str, "measure": str, "right": float, "total": int},
        pk="id",
    )


@migrations()
def keep_readings(db: Database) -> None:
    db.table("probes").add_column("context", str)  # JSON list of memory lines


@migrations()
def keep_model(db: Database) -> None:
    db.table("folder").add_column(
        "model", str
    )  # hub id, folder or "embedded"; NULL until one was loaded


@migrations()
def keep_dreams(db: Database) -> None:
    db.table("probes").add_column("sources", str)  # JSON list of episode ids that a dream is about
    db.table("dreams").create(
        {
            "id": int,
            "night_id": str,
            "namespace": str,
            "round": int,
            "episodes": str,  # JSON list of ids
            "expert": str,  # the random one that was on
            "text": str,  # as sampled
            "question": str,
            "answer": str,
            "fate": str,
            "importance": float,
            "gain": float,
        },
        pk="id",
    )
    db.table("dreams").create_index(["namespace", "night_id"])


@migrations()
def tell_forgotten(db: Database) -> None:
    # 1 when the weights held it and were found to hold it no more: in the buffer, but no news
    db.table("episodes").add_column("forgotten", int, not_null_default=0)


@migrations()
def keep_corrections(db: Database) -> None:
    # What an expert's night found corrected, so that it is again when the expert is live again.
    db.table("corrected").create(
        {"night_id": str, "episode_id": str}, pk=("night_id", "episode_id")
    )
    db.execute(
        "INSERT INTO corrected SELECT learned_in, id FROM episodes "
        "WHERE superseded = 1 AND learned_in IS NOT NULL"
    )


@migrations()
def number_nights(db: Database) -> None:
    # Numbers order nights; as text the 10,000th would come before the 2,000th.
    db.table("nights").add_column("number", int)
    db.execute("UPDATE nights SET number = CAST(substr(id, 7) AS INTEGER)")
    db.table("nights").create_index(["number"], unique=True)


@migrations()
def tell_looks_apart(db: Database) -> None:
    # How a decision was made (records.Look); until then the reason's sentence told it.
    db.table("retrievals").add_column("look", str, not_null_default="buffer")
    second = "the model was not sure; searched the archive"
    db.execute("UPDATE retrievals SET look = 'again' WHERE reason = ?", [second])
    db.execute(
        "UPDATE retrievals SET look = 'archive' "
        "WHERE look = 'buffer' AND reason LIKE '%searched the archive'"
    )


@migrations()
def tell_what_was_taken_over(db: Database) -> None:
    # 1 for a probe of an expert that the night's own replaces
    db.table("probes").add_column("taken_over", int, not_null_default=0)
    db.execute("UPDATE probes SET taken_over = 1 WHERE id LIKE night_id || '-again-%'")


@migrations()
def give_reports_fields(db: Database) -> None:
    # Costs, sizes and dreams stood in the report's exam.
    numbers = {row["id"]: row["number"] for row in db.query("SELECT id, number FROM nights")}
    reports = list(db.query("SELECT id, report FROM nights WHERE report IS NOT NULL"))
    for row in reports:
        fields = _with_fields(json.loads(row["report"]), numbers)
        db.table("nights").update(row["id"], {"report": json.dumps(fields)})


def _with_fields(report: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    exam = dict(report.get("exam", {}))
    fields = {**report, "number": numbers.get(report.get("night_id", ""), 0)}
    for name in ("tokens_generated", "peak_bytes", "expert_bytes", "text_bytes", "dreams"):
        if name in exam:
            fields[name] = exam.pop(name)
    fields["step_seconds"] = exam.pop("seconds", {})
    fields["recall_by_night"] = []
    for night_id, rate in exam.pop("by_night", {}).items():
        fields["recall_by_night"].append({"night": numbers.get(night_id, 0), "rate": rate})
    fields["slower"] = [_with_fields(slower, numbers) for slower in report.get("slower", [])]
    return {**fields, "exam": exam}
