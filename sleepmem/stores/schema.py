"""The shape of the ledger: named migrations, never changed once released."""

from __future__ import annotations

import uuid

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
            "indexed": int,  # 1 when the buffer holds it or held it
            "learned_in": str,  # the night whose expert holds it; NULL while it belongs to the buffer
            "superseded": int,  # 1 when a newer episode says otherwise
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
    # 1 when the weights held it and were found to hold it no more: in the buffer again, but nothing new
    db.table("episodes").add_column("forgotten", int, not_null_default=0)


@migrations()
def keep_corrections(db: Database) -> None:
    # the episodes that an expert's night found corrected, so that they are again when the expert is made live again
    db.table("corrected").create(
        {"night_id": str, "episode_id": str}, pk=("night_id", "episode_id")
    )
    db.execute(
        "INSERT INTO corrected SELECT learned_in, id FROM episodes WHERE superseded = 1 AND learned_in IS NOT NULL"
    )
