"""The experts and what they hold: promotion, absorption, rollback. Each is one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sleepmem.records import Expert, Kind, Namespace, Role, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.notes import REPLACED
from sleepmem.stores.rows import intact, namespace_of, unreadable, value_of

if TYPE_CHECKING:
    import sqlite_utils


# An expert, and whose night it was born in.
WITH_LEARNER = (
    "SELECT x.*, n.namespace AS learner FROM experts x LEFT JOIN nights n ON n.id = x.night_id"
)


_OF = "(SELECT value FROM json_each(?))"
# The notes that a night proved, every question of its exam about them.
_LEARNED_NOTES = (
    "UPDATE notes SET learned_in = ? WHERE learned_in IS NULL AND id IN "
    "(SELECT note_id FROM probes WHERE night_id = ? AND kind = ? AND role = ? "
    "GROUP BY note_id HAVING min(coalesce(passed, 0)) = 1)"
)
_ORPHAN = "expert {name} was taught by {gone} episodes that are not in the ledger any more."
_REMEDY = (
    "Restore the ledger from a backup, or give up what the expert held with `sleepmem rollback`."
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What an exam showed: ids of the proven and superseded episodes, and of the passed probes.

    replaced   id of a note -> id of the newer one that says otherwise
    notes      ids of the proven notes
    """

    proven: Sequence[str] = ()
    superseded: Sequence[str] = ()
    passed: Sequence[str] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Seals:
    """What the files of each expert must be, by its name: kept when they are written.

    A name is an expert's for ever, and an expert its owner's, so no files of another pass for it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """The hash of its files; None of an expert that was never written here."""
        rows = self._database.rows("SELECT sha256 FROM seals WHERE name = ?", name)
        return rows[0]["sha256"] if rows else None

    def __setitem__(self, name: str, seal: str) -> None:
        with self._database.write() as db:
            db.table("seals").insert({"name": name, "sha256": seal}, replace=True)

    def digest(self, names: Iterable[str]) -> str:
        """One hash of the files of these experts together; empty of none."""
        sealed = [f"{name} {self.get(name)}" for name in names]
        return hashlib.sha256("\n".join(sealed).encode()).hexdigest() if sealed else ""

    def names(self) -> set[str]:
        """Every expert that was ever written."""
        return {row["name"] for row in self._database.rows("SELECT name FROM seals")}

    def open(self) -> list[str]:
        """Experts from before there were seals."""
        rows = self._database.rows("SELECT name FROM seals WHERE sha256 IS NULL")
        return [row["name"] for row in rows]


class Lineage:
    """Every expert that was ever promoted. Versions are never overwritten; some are live."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.seals = Seals(database)

    def experts(self, namespace: Namespace | None = None, *, live: bool = True) -> list[Expert]:
        """Experts in the order of their nights; only the live ones unless asked otherwise.

        Raises:
            LedgerError: one's row cannot be read, or its night was another owner's.
        """
        condition, values = "1", []
        if live:
            condition += " AND live = 1"
        if namespace is not None:
            condition += " AND x.namespace = ?"
            values = [namespace_key(namespace)]
        rows = self._database.rows(
            f"{WITH_LEARNER} WHERE {condition} ORDER BY n.number, x.created_at", *values
        )
        return [as_expert(row) for row in rows]

    def in_service(self, namespace: Namespace) -> list[Expert]:
        """The live experts, and those that one of them absorbed, in the order of their nights."""
        experts = self.experts(namespace, live=False)
        serving = {expert.name for expert in experts if expert.live}
        for expert in reversed(experts):
            if expert.name in serving:
                serving.update(expert.lineage)
        return [expert for expert in experts if expert.name in serving]

    def holding(self, namespace: Namespace, night_id: str) -> Expert | None:
        """The live expert that holds what a night taught: its own, or one that absorbed that."""
        holding, names = None, set[str]()
        # Who absorbs is born later.
        for expert in self.experts(namespace, live=False):
            if expert.night_id == night_id or not names.isdisjoint(expert.lineage):
                names.add(expert.name)
                holding = expert if expert.live else holding
        return holding

    def names(self) -> set[str]:
        """Of every expert that was ever promoted."""
        return {row["name"] for row in self._database.rows("SELECT name FROM experts")}

    def faults(self) -> list[str]:
        """Experts that cannot be read, are said to be another owner's, or lost what taught them."""
        faults = unreadable(self._database.rows(WITH_LEARNER), as_expert)
        return faults + self.orphans()

    def orphans(self) -> list[str]:
        """Live experts that were taught by what is not there any more, one sentence each.

        Nobody knows then what such an expert holds; `forget` leaves none.
        """
        rows = self._database.rows(
            "SELECT x.name, count(DISTINCT p.episode_id) AS gone FROM experts x "
            "JOIN probes p ON p.night_id = x.night_id WHERE x.live = 1 AND NOT EXISTS "
            "(SELECT 1 FROM episodes e WHERE e.id = p.episode_id) GROUP BY x.name"
        )
        return [f"{_ORPHAN.format(**dict(row))} {_REMEDY}" for row in rows]

    def promote(self, expert: Expert, proof: Proof, *, absorbed: Iterable[str] = ()) -> None:
        """Make the expert live: its proven episodes belong to the weights from here on.

        The experts it absorbed are live no more; what they held and it does not prove to hold
        goes back to the buffer.
        """
        night_id = expert.night_id
        with self._database.write() as db:
            for name in absorbed:
                _absorb(db, name, night_id)
            db.table("experts").insert(_expert_row(expert), replace=True)
            for episode_id in proof.superseded:
                changes = {"superseded": 1, "learned_in": night_id}
                db.table("episodes").update(episode_id, changes)
                corrected = {"night_id": night_id, "episode_id": episode_id}
                db.table("corrected").insert(corrected, ignore=True)
            for episode_id in proof.proven:
                db.table("episodes").update(episode_id, {"learned_in": night_id})
            for note_id in proof.notes:
                db.table("notes").update(note_id, {"learned_in": night_id})
            for probe_id in proof.passed:
                db.table("probes").update(probe_id, {"passed": 1})
            for old, new in proof.replaced.items():
                changes = {"replaced_by": new, "replaced_in": night_id}
                db.table("notes").update(old, changes)

    def rollback(self, namespace: Namespace, nights: Iterable[str]) -> list[str]:
        """Make the experts of these nights live, but for those that another of them absorbed.

        What no live one holds goes back to the buffer; returns those ids.
        """
        key = namespace_key(namespace)
        with self._database.write() as db:
            live = _switch(db, key, list(nights))
            gone = _held_by_others(db, key, live)
            db.execute(
                "UPDATE notes SET learned_in = NULL "
                f"WHERE namespace = ? AND learned_in NOT IN {_OF}",
                [key, json.dumps(live)],
            )
            # What corrected something may be newer than the weights again.
            db.execute("UPDATE episodes SET forgotten = 0 WHERE namespace = ?", [key])
            for episode_id in gone:
                changes = {"learned_in": None, "superseded": 0}
                db.table("episodes").update(episode_id, changes)
            for night_id in live:
                _hold_again(db, night_id)
            episodes = db.table("episodes")
            return [i for i in gone if episodes.get(i)["learned_in"] is None]


def _absorb(db: sqlite_utils.Database, name: str, into: str) -> None:
    """Switch an expert off; what it corrected is corrected by the night `into` from here on."""
    night_id = db.table("experts").get(name)["night_id"]
    db.table("experts").update(name, {"live": 0})
    db.execute(
        "UPDATE episodes SET learned_in = NULL, forgotten = 1 WHERE superseded = 0 "
        "AND learned_in IS NOT NULL AND (learned_in = ? "
        "OR id IN (SELECT episode_id FROM notes WHERE learned_in = ?))",
        [night_id, night_id],
    )
    db.execute("UPDATE notes SET learned_in = NULL WHERE learned_in = ?", [night_id])
    db.execute(
        "UPDATE episodes SET learned_in = ? WHERE superseded = 1 AND learned_in = ?",
        [into, night_id],
    )
    db.execute(
        "INSERT OR IGNORE INTO corrected SELECT ?, episode_id FROM corrected WHERE night_id = ?",
        [into, night_id],
    )


def _switch(db: sqlite_utils.Database, key: str, nights: Sequence[str]) -> list[str]:
    """Make the experts of these nights live, no others; returns the nights of the live ones."""
    db.execute(
        "UPDATE experts SET live = night_id IN (SELECT value FROM json_each(?)) "
        "WHERE namespace = ?",
        [json.dumps(nights), key],
    )
    # What a slower expert absorbed stays off beside it.
    db.execute(
        "UPDATE experts SET live = 0 WHERE namespace = ? AND name IN "
        "(SELECT value FROM experts AS slower, json_each(slower.lineage) "
        "WHERE slower.namespace = ? AND slower.live = 1)",
        [key, key],
    )
    sql = "SELECT night_id FROM experts WHERE namespace = ? AND live = 1"
    return [row["night_id"] for row in db.execute(sql, [key]).fetchall()]


def _held_by_others(db: sqlite_utils.Database, key: str, live: Sequence[str]) -> list[str]:
    """Ids of the episodes that are said to be, wholly or in part, in an expert of other nights."""
    listed = json.dumps(live)
    rows = db.execute(
        "SELECT id FROM episodes WHERE namespace = ? AND learned_in IS NOT NULL "
        f"AND (learned_in NOT IN {_OF} "
        f"OR id IN (SELECT episode_id FROM notes WHERE learned_in NOT IN {_OF}))",
        [key, listed, listed],
    ).fetchall()
    return [row["id"] for row in rows]


def _hold_again(db: sqlite_utils.Database, night_id: str) -> None:
    """Forward again: what that night proved and corrected is in the weights again."""
    asked = [night_id, night_id, Kind.FACT.value, Role.EXAM.value]
    db.execute(_LEARNED_NOTES, asked)
    db.execute(
        "UPDATE episodes SET learned_in = ? WHERE learned_in IS NULL AND id IN "
        "(SELECT episode_id FROM probes WHERE night_id = ? AND kind = ? AND role = ? "
        "GROUP BY episode_id HAVING min(coalesce(passed, 0)) = 1) "
        # Of what notes were drawn from, each of them, though other nights taught some.
        "AND NOT EXISTS (SELECT 1 FROM notes n WHERE n.episode_id = episodes.id "
        f"AND NOT {REPLACED} AND n.learned_in IS NULL)",
        asked,
    )
    db.execute(
        "UPDATE episodes SET learned_in = ?, superseded = 1 "
        "WHERE id IN (SELECT episode_id FROM corrected WHERE night_id = ?)",
        [night_id, night_id],
    )


def _expert_row(expert: Expert) -> dict[str, Any]:
    return {
        "name": expert.name,
        "namespace": namespace_key(expert.namespace),
        "night_id": expert.night_id,
        "level": expert.level,
        "rank": expert.rank,
        "created_at": expert.created_at,
        "lineage": json.dumps(list(expert.lineage)),
        "live": 1,
    }


def as_expert(row: Any) -> Expert:
    """Of a row of `WITH_LEARNER`."""
    with intact(f"expert {row['name']}"):
        if row["learner"] not in (None, row["namespace"]):
            raise ValueError(f"{row['learner']} learned it, not {row['namespace']}")
        return Expert(
            name=row["name"],
            namespace=namespace_of(row["namespace"]),
            night_id=row["night_id"],
            level=row["level"],
            rank=row["rank"],
            created_at=row["created_at"],
            lineage=tuple(value_of(row["lineage"], list)),
            live=bool(row["live"]),
        )
