"""Take in what was exported: into an empty memory or a filled one, of the same owner or another.

Where the owner has no night yet and the base model is the same, all comes back as it was: experts
answer at once. Else the episodes wait in the buffer, with their notes, and are learned by the next
nights: experts of two memories were never examined beside each other. What is there already is not
stored twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepmem.config import PolicyConfig
from sleepmem.errors import ExpertError, FolderError, SleepmemError
from sleepmem.records import (
    USER,
    Episode,
    ExpertName,
    Namespace,
    Note,
    namespace_key,
    one_line,
)
from sleepmem.stores.episodes import Judged
from sleepmem.stores.expert_folder import ExpertFolders, inside
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.manifest import EXPERTS, TABLES, Manifest, rows
from sleepmem.stores.schema import tally_nights
from sleepmem.text.policy import refused, unrefused

if TYPE_CHECKING:
    import sqlite_utils

# The source of what users said in an export that is not trusted, and why no more of it comes in.
_UNTRUSTED = "import:sleepmem"
_NOT_TRUSTED = "the export is not trusted: its words teach nothing, and its experts stay out"
# What an episode is made of; the rest is this folder's.
_EPISODE = {one.name for one in fields(Episode)} - {"namespace", "sequence", "part_of"}


class Export(NamedTuple):
    """The folder of an export, and whether whoever made it is believed.

    Else what users said comes in as others' words, and of all else nothing.
    """

    folder: Path
    trusted: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in.

    episodes   that are new here; `known` were here before
    notes      with them
    nights     with their questions; 0 where the episodes are to be learned anew
    experts    names that they have here
    left_out   why experts stayed out, or which files were passed over, one sentence; empty when
               nothing was
    """

    episodes: int
    known: int
    notes: int = 0
    nights: int = 0
    experts: tuple[str, ...] = ()
    left_out: str = ""


@dataclass
class _Names:
    """What things were called there, and are called here."""

    episodes: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    nights: dict[str, str] = field(default_factory=dict)
    experts: dict[str, str] = field(default_factory=dict)

    def here(self, name: str | None) -> str | None:
        """Of an episode, a note, a night, an expert or a question; anything else as it is."""
        if not name:
            return name
        for names in (self.episodes, self.notes, self.nights, self.experts):
            if name in names:
                return names[name]
        night, _, rest = name.rpartition("-")
        return f"{self.nights[night]}-{rest}" if night in self.nights else name

    def everywhere(self, value: Any) -> Any:
        """In all texts of plain JSON that are nothing but a name."""
        if isinstance(value, str):
            return self.here(value)
        if isinstance(value, dict):
            return {name: self.everywhere(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.everywhere(one) for one in value]
        return value


def arrive(
    ledger: Ledger,
    experts: ExpertFolders,
    *,
    namespace: Namespace,
    export: Export,
    base: str,
    policy: PolicyConfig,
) -> Imported:
    """Take in an export, in one transaction.

    Args:
        ledger: of the memory folder.
        experts: their folders.
        namespace: whose it becomes.
        export: what comes in.
        base: what the model of this memory is known by (`manifest.base_of`).
        policy: what it refuses is not stored.

    Raises:
        FolderError: it is no whole export, or cannot be written.
        EpisodeError: an episode in it is none.
    """
    manifest = Manifest.read(export.folder)
    with _as_exported(export.folder):
        tables = _tables(export, policy)
        incoming = _Incoming.of(ledger, tables["episodes"], namespace=namespace, policy=policy)
        left_out = _NOT_TRUSTED
        if export.trusted:
            left_out = _why_without(ledger, manifest, namespace=namespace, base=base)
        if incoming.refused:
            left_out = f"{incoming.refused} episodes were forgotten here, or a rule refuses them"
        names = _Names(episodes=incoming.names)
        if not left_out:
            _name_nights(ledger, names, tables, namespace=namespace)
            _copy_experts(experts, names, export.folder)
        before = set(ledger.episodes.ids(namespace))
        with ledger.database.write() as db:
            for one in incoming.episodes:
                ledger.episodes.add(one.episode, by_clock=one.by_clock, judged=one.judged)
                if one.outcome:
                    sql = "UPDATE episodes SET outcome = coalesce(outcome, ?) WHERE id = ?"
                    db.execute(sql, [one.outcome, one.episode.id])
            notes = _write_notes(ledger, db, names, tables["notes"], namespace=namespace)
            if not left_out:
                _write_nights(db, names, tables, key=namespace_key(namespace))
                _hold(db, names, tables)
            for row in tables["forgotten"]:
                ledger.forgotten.take_in(namespace, row)
    ids = set(names.episodes.values())
    return Imported(
        len(ids - before),
        len(ids & before),
        notes,
        0 if left_out else len(tables["nights"]),
        tuple(names.experts.values()),
        left_out if tables["experts"] or incoming.refused or not export.trusted else "",
    )


@contextmanager
def _as_exported(source: Path) -> Iterator[None]:
    """Within it rows are read that our export wrote; other ones are told in a sentence."""
    try:
        yield
    except SleepmemError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(
            f"{source} holds what no export has written ({type(error).__name__}: {error}). "
            "Export it anew."
        ) from error


def _tables(export: Export, policy: PolicyConfig) -> dict[str, list[dict[str, Any]]]:
    """Its rows by table, no notes of what a rule refuses; of others' words the episodes alone."""
    tables = {name: list(rows(export.folder, name)) for name in TABLES}
    notes = []
    for row in tables["notes"]:
        if not (refused(row["text"], policy) or refused(row["part"], policy)):
            notes.append(row)
    tables["notes"] = notes
    if export.trusted:
        return tables
    others = list(_as_others(tables["episodes"]))
    return {name: others if name == "episodes" else [] for name in TABLES}


def _as_others(episodes: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The episodes, those of users as imported: stored, recalled, and not learned."""
    for row in episodes:
        source = one_line(row.get("source") or USER)
        yield {**row, "source": _UNTRUSTED if source == USER else source, "outcome": None}


class _One(NamedTuple):
    """An episode that comes in, with what was judged of it and came of it."""

    episode: Episode
    judged: Judged
    by_clock: bool
    outcome: str | None


@dataclass
class _Incoming:
    """What comes in, judged before anybody has to wait; `names` are its ids, by those there."""

    episodes: list[_One] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    refused: int = 0

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        found: Iterable[Mapping[str, Any]],
        *,
        namespace: Namespace,
        policy: PolicyConfig,
    ) -> _Incoming:
        incoming = cls()
        for row in found:
            said = {name: row[name] for name in _EPISODE if row.get(name)}
            episode = Episode(namespace, **said)
            rule = refused(episode.text, policy, name=episode.speaker)
            if rule or ledger.episodes.was_forgotten(episode):
                incoming.refused += 1
                continue
            if there := _otherwise(ledger, episode):
                incoming.names[row["id"]] = there
                continue
            answers = unrefused(episode.answers, policy)
            if answers != episode.answers:
                # What was made of it there may quote it.
                incoming.refused += 1
                episode = replace(episode, answers=answers)
            incoming.names[row["id"]] = episode.id
            judged, by_clock = ledger.episodes.judged(episode), bool(row.get("by_clock"))
            outcome = unrefused(row.get("outcome"), policy)
            incoming.episodes.append(_One(episode, judged, by_clock, outcome))
        return incoming


def _otherwise(ledger: Ledger, episode: Episode) -> str | None:
    """Its id here where it came in believed before, and does not now, or the other way round."""
    other = {USER: _UNTRUSTED, _UNTRUSTED: USER}.get(episode.source)
    there = ledger.episodes.stored([replace(episode, source=other).id]) if other else ()
    return there[0].id if there else None


def _why_without(ledger: Ledger, manifest: Manifest, *, namespace: Namespace, base: str) -> str:
    """Why the episodes are to be learned anew; empty when all can come back as it was."""
    if ledger.nights.finished(namespace) or ledger.nights.unfinished(namespace):
        return "this owner has had nights here; what the export's experts hold is learned anew"
    if ledger.episodes.ids(namespace):
        return "this owner has episodes here; what the export's experts hold is learned anew"
    habits = ledger.habits if ledger.model else manifest.habits
    if (base, habits) != (manifest.base, manifest.habits):
        return (
            f"the experts were trained on the model {manifest.base[:40]} and this memory has "
            f"{base[:40]}, or other habits; what they hold is learned anew"
        )
    return ""


def _name_nights(
    ledger: Ledger,
    names: _Names,
    tables: Mapping[str, list[dict[str, Any]]],
    *,
    namespace: Namespace,
) -> None:
    """New numbers for nights, and names for experts after them."""
    last = max(ledger.nights.numbers().values(), default=0)
    for number, row in enumerate(tables["nights"], start=last + 1):
        names.nights[row["id"]] = f"night-{number:04d}"
    for row in tables["experts"]:
        night_id = names.nights[row["night_id"]]
        names.experts[row["name"]] = str(ExpertName.new(night_id, namespace))


def _copy_experts(experts: ExpertFolders, names: _Names, source: Path) -> None:
    for there, here in names.experts.items():
        try:
            folder = inside(source / EXPERTS, there)
        except ExpertError:
            raise FolderError(
                f"{source} calls an expert {there!r}, which names no folder in it. Export it anew."
            ) from None
        if not folder.is_dir():
            raise FolderError(
                f"{folder} is missing, so the expert {there} cannot come along. Export it anew."
            )
        experts.write(here, _copying(folder))
        experts.promote(here)


def _copying(folder: Path) -> Callable[[Path], None]:
    def copy(to: Path) -> None:
        shutil.copytree(folder, to)

    return copy


def _write_notes(
    ledger: Ledger,
    db: sqlite_utils.Database,
    names: _Names,
    notes: Iterable[Mapping[str, Any]],
    *,
    namespace: Namespace,
) -> int:
    """Notes of what came in; what replaced them, and which night holds them, with the nights."""
    written = []
    for row in notes:
        if row["episode_id"] not in names.episodes:
            continue
        note = Note(names.episodes[row["episode_id"]], row["text"], row["part"])
        names.notes[row["id"]] = note.id
        written.append((note, row))
    ledger.notes.add(namespace, [note for note, _ in written])
    for note, row in written:
        if names.nights:
            columns = ("replaced_by", "replaced_in", "learned_in")
            changes = {column: names.here(row.get(column)) for column in columns}
            db.table("notes").update(note.id, changes)
    return len(written)


def _write_nights(
    db: sqlite_utils.Database,
    names: _Names,
    tables: Mapping[str, list[dict[str, Any]]],
    *,
    key: str,
) -> None:
    newest = db.execute("SELECT coalesce(max(rowid), 0) FROM episodes").fetchone()[0]
    for row in tables["nights"]:
        night_id = names.nights[row["id"]]
        number = int(night_id.rpartition("-")[2])
        written = _with_known(json.loads(row["report"]), names) if row.get("report") else {}
        report = names.everywhere(written)
        report = {**report, "number": number, "namespace": json.loads(key)}
        own = {"id": night_id, "number": number, "namespace": key, "upto": newest}
        db.table("nights").insert({**row, **own, "report": json.dumps(report)})
    tally_nights(db, key, number=len(tables["nights"]))
    for row in tables["probes"]:
        ids = ("id", "night_id", "episode_id", "note_id")
        own = {name: names.here(row.get(name)) for name in ids}
        sources = json.dumps(names.everywhere(json.loads(row.get("sources") or "[]")))
        db.table("probes").insert({**row, **own, "namespace": key, "sources": sources})
    for row in tables["exams"]:
        scored = {name: value for name, value in row.items() if name != "id"}
        db.table("exams").insert({**scored, "night_id": names.here(row["night_id"])})
    for row in tables["corrected"]:
        db.table("corrected").insert(names.everywhere(row), ignore=True)
    for row in tables["gates"]:
        db.table("gates").insert({**row, "night_id": names.here(row["night_id"]), "namespace": key})
    for row in tables["experts"]:
        lineage = json.dumps(names.everywhere(json.loads(row["lineage"])))
        own = {"name": names.here(row["name"]), "night_id": names.here(row["night_id"])}
        db.table("experts").insert({**row, **own, "namespace": key, "lineage": lineage})


def _with_known(report: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    """A night's report, without an expert that did not come along: only live ones do."""
    expert = report.get("expert")
    slower = [_with_known(one, names) for one in report.get("slower", ())]
    return {**report, "expert": expert if expert in names.experts else None, "slower": slower}


def _hold(
    db: sqlite_utils.Database, names: _Names, tables: Mapping[str, list[dict[str, Any]]]
) -> None:
    """What the experts hold, and what they corrected, as it was there."""
    for row in tables["episodes"]:
        changes = {
            "learned_in": names.here(row.get("learned_in")),
            "superseded": row.get("superseded", 0),
            "forgotten": row.get("forgotten", 0),
            "said_again": names.here(row.get("said_again")),
        }
        db.table("episodes").update(names.episodes[row["id"]], changes)
