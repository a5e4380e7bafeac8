"""Take an owner's memory along: everything as plain files that anybody can read.

Episodes, notes, questions and nights as JSON lines, live experts as PEFT adapters, one manifest
with hashes. What can be made anew is left out: vectors, indexes, logs, the examples that the
gate was fitted to.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sleepmem.errors import FolderError
from sleepmem.records import Namespace, namespace_key
from sleepmem.stores.database import in_words
from sleepmem.stores.expert_folder import CHECKSUMS, ExpertFolders
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.lineage import WITH_LEARNER, as_expert
from sleepmem.stores.manifest import EXPERTS, HABITS, TABLES, Manifest, base_of, digests
from sleepmem.stores.nights import promoted

# Columns that are made anew from the others, or are of this folder alone.
_OWN = {"namespace", "indexed", "same", "asks", "upto", "rowid"}
# Of unfinished nights nothing goes along, unless their expert answers; of experts those that do.
_FINISHED = (
    "(verdict IS NOT NULL OR EXISTS "
    "(SELECT 1 FROM experts x WHERE x.night_id = nights.id AND x.live = 1))"
)
_SELECTED = {
    "nights": _FINISHED,
    "probes": f"night_id IN (SELECT id FROM nights WHERE {_FINISHED})",
    "experts": "live = 1",
    "gates": "night_id IN (SELECT night_id FROM experts WHERE live = 1)",
}
# The nights that a live expert holds, each with the live one's.
_SERVING = (
    "WITH RECURSIVE serving (live, night_id, lineage) AS ("
    "SELECT night_id, night_id, lineage FROM experts WHERE live = 1 AND namespace = ? UNION "
    "SELECT serving.live, older.night_id, older.lineage FROM serving, "
    "json_each(serving.lineage) AS absorbed JOIN experts older ON older.name = absorbed.value) "
    "SELECT live, night_id FROM serving"
)
# Tables that name no owner, by what they belong to.
_OF_NIGHTS = {"exams", "corrected"}
# What a school goes on from stays where it was.
_OF_SCHOOL = shutil.ignore_patterns("checkpoints", "answers.json")


def leave(
    ledger: Ledger,
    experts: ExpertFolders,
    *,
    namespace: Namespace,
    to: Path,
    habits: Path | None = None,
) -> Manifest:
    """Write an owner's memory into a new folder; there is a whole export or none.

    As it is at one moment, while this process and others go on.

    Args:
        ledger: of the memory folder.
        experts: their folders.
        namespace: whose.
        to: the new folder.
        habits: those that the experts were trained on, where they do not ship with the package.

    Raises:
        FolderError: it exists or cannot be written.
        ExpertError: an expert is missing or damaged.
    """
    if to.exists() or to.is_symlink():
        raise FolderError(
            f"{to} exists; an export overwrites nothing. Choose a folder that is not there yet."
        )
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=".export-", dir=to.parent))
    except OSError as error:
        raise _unwritten(to, error) from error
    try:
        with closing(ledger.database.snapshot()) as rows:
            counts = {}
            for table in TABLES:
                counts[table] = _write(rows, table, namespace=namespace, folder=half)
            (folder,) = rows.execute("SELECT model, habits FROM folder").fetchall()
            live = "SELECT name FROM experts WHERE namespace = ? AND live = 1"
            names = [row["name"] for row in rows.execute(live, [namespace_key(namespace)])]
        for name in names:
            ignore = shutil.ignore_patterns(CHECKSUMS)
            shutil.copytree(experts.checked(name), half / EXPERTS / name, ignore=ignore)
        if habits:
            shutil.copytree(habits, half / HABITS, ignore=_OF_SCHOOL)
        base = base_of(folder["model"]) if folder["model"] else ""
        manifest = Manifest(namespace, base, folder["habits"] or "", counts, digests(half))
        manifest.write(half)
        half.rename(to)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise _unwritten(to, error) from error
    except sqlite3.Error as error:
        raise in_words(ledger.path, error) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return manifest


def _write(copy: sqlite3.Connection, table: str, *, namespace: Namespace, folder: Path) -> int:
    """The owner's rows of a table, oldest first; returns how many."""
    condition = "namespace = ?"
    if table in _OF_NIGHTS:
        finished = f"namespace = ? AND {_FINISHED}"
        condition = f"night_id IN (SELECT id FROM nights WHERE {finished})"
    if table in _SELECTED:
        condition += f" AND {_SELECTED[table]}"
    order = "created_at, rowid" if table == "episodes" else "rowid"
    sql = f"SELECT * FROM {table} WHERE {condition} ORDER BY {order}"
    rows = [dict(row) for row in copy.execute(sql, [namespace_key(namespace)]).fetchall()]
    if table == "notes":
        _name_who_corrects(copy, rows, namespace=namespace)
    if table == "nights":
        _close(copy, rows)
    with (folder / f"{table}.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")
    return len(rows)


def _name_who_corrects(
    copy: sqlite3.Connection, notes: list[dict[str, Any]], *, namespace: Namespace
) -> None:
    """A note was replaced in the night of the live expert, which may have absorbed the one that
    found so; where none serves, by none.
    """
    serving = copy.execute(_SERVING, [namespace_key(namespace)]).fetchall()
    live = {row["night_id"]: row["live"] for row in serving}
    for note in notes:
        note["replaced_in"] = live.get(note["replaced_in"])
        if note["replaced_in"] is None:
            note["replaced_by"] = None


def _close(copy: sqlite3.Connection, nights: list[dict[str, Any]]) -> None:
    """A night whose expert answers, and that has not come to its report yet, is a promoted one."""
    for night in nights:
        if night["verdict"] is None:
            sql = f"{WITH_LEARNER} WHERE night_id = ? AND live = 1"
            expert = as_expert(copy.execute(sql, [night["id"]]).fetchone())
            report = promoted(expert, number=night["number"])
            night["finished_at"] = expert.created_at
            night["verdict"], night["reason"] = report.verdict.value, report.reason
            night["report"] = json.dumps(report.as_dict())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """What somebody reads: nothing that is empty, JSON as it is."""
    plain = {}
    for name, value in row.items():
        if name in _OWN or value is None:
            continue
        plain[name] = value
    return plain


def _unwritten(to: Path, error: OSError) -> FolderError:
    return FolderError(
        f"the export {to} could not be written ({error.strerror or error}); make room or choose "
        "another place."
    )
