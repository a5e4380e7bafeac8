"""Forgetting: what was told, all that was made of it, and every expert that may have seen it.

Exact, not approximate: an expert is never changed so that it knows less (machine unlearning); those
that learned beside a forgotten episode, or later, are taken away, and what else they held goes back
to the buffer. Nights rehearse what earlier ones taught, so every later one has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepmem.errors import EpisodeError
from sleepmem.records import Episode, Expert, Namespace, Receipt, check_day, namespace_key
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.schema import MOST_DIGEST, digest, stored_of
from sleepmem.text.prompts import line_of, memory_line
from sleepmem.text.rarity import commonness
from sleepmem.text.terms import terms

if TYPE_CHECKING:
    import sqlite_utils

# Share of texts at large that have a word which tells nothing of what was forgotten.
_COMMON = 1e-3
# What is derived from episodes and may quote them: the columns with text, by table.
_DERIVED = {
    "probes": ("question", "answer", "stale", "context"),
    "dreams": ("text", "question", "answer", "episodes"),
    "gate_examples": ("example",),
    "gates": ("gate",),
    "retrievals": ("question", "episodes"),
}
# What is made of an episode, by the column that names it.
_MADE_OF = (
    ("notes", "episode_id"),
    ("probes", "episode_id"),
    ("pieces", "episode"),
    ("corrected", "episode_id"),
)
_LISTED = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to be forgotten of an owner, and what that costs.

    episodes   with those that say the same in the same words
    quoting    episodes that quote one of them, as an answer of the agent does; they go, too
    experts    that may have seen them, in the order of their nights; none keeps its files
    """

    namespace: Namespace
    episodes: tuple[Episode, ...]
    quoting: tuple[Episode, ...]
    experts: tuple[Expert, ...]

    @property
    def ids(self) -> list[str]:
        return [episode.id for episode in (*self.episodes, *self.quoting)]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What goes, or went, and the receipt; None of what was only planned."""

    erasure: Erasure
    receipt: Receipt | None


def chosen(  # noqa: PLR0913 - the ways to choose
    ledger: Ledger,
    namespace: Namespace,
    *,
    episodes: Sequence[str],
    notes: Sequence[str],
    about: Sequence[str] | None,
    before: str,
    everything: bool,
) -> tuple[dict[str, Any], list[str]]:
    """How it was chosen, for the receipt, and the ids of the owner's episodes.

    Args:
        about: ids of what was found, or None when nothing was asked for.

    Raises:
        EpisodeError: nothing is chosen, or something that is not there.
    """
    every = {episode.id: episode for episode in ledger.episodes.all(namespace)}
    asked: dict[str, Any] = {}
    ids: list[str] = []
    if everything:
        asked["everything"] = True
        ids += every
    if episodes:
        asked["episodes"] = len(episodes)
        ids += _there(episodes, every, what="episode")
    if notes:
        asked["notes"] = len(notes)
        drawn = {note.id: note.episode_id for note in ledger.notes.of(namespace, every)}
        ids += map(drawn.__getitem__, _there(notes, drawn, what="note"))
    if about is not None:
        ids += about
    if before:
        day = check_day(before).isoformat()
        asked["before"] = day
        ids += [one.id for one in every.values() if one.date < day]
    if not asked and about is None:
        raise EpisodeError(
            "nothing was chosen to be forgotten; pass episodes, notes, about, before or "
            "everything=True."
        )
    return asked, list(dict.fromkeys(ids))


def _there(ids: Sequence[str], known: Collection[str], *, what: str) -> Sequence[str]:
    for one in ids:
        if one not in known:
            raise EpisodeError(
                f"there is no {what} {one!r} of this owner; nothing was forgotten. Search for it, "
                "or look at `sleepmem forget --dry-run`."
            )
    return ids


def planned(ledger: Ledger, namespace: Namespace, *, episode_ids: Iterable[str]) -> Erasure:
    """What goes when these episodes go."""
    wanted = ledger.episodes.saying_the_same(namespace, episode_ids)
    gone: list[Episode] = []
    left: list[Episode] = []
    for episode in ledger.episodes.all(namespace):
        (gone if episode.id in wanted else left).append(episode)
    only = _told_by_them_alone(gone, left)
    quoting = []
    for episode in left:
        told = " ".join(filter(None, (episode.answers, ledger.episodes.outcome(episode.id))))
        if not only.isdisjoint(terms(told)):
            quoting.append(episode)
    whole = [*gone, *quoting]
    return Erasure(namespace, tuple(gone), tuple(quoting), tuple(_seeing(ledger, namespace, whole)))


def erase(ledger: Ledger, erasure: Erasure) -> dict[str, int]:
    """Delete it from the ledger, in one transaction; returns the rows that went, by table."""
    namespace, key = erasure.namespace, namespace_key(erasure.namespace)
    traces, listed = _traces(ledger, erasure), json.dumps(erasure.ids)
    gone = {expert.name for expert in erasure.experts}
    of_owner = ledger.lineage.experts(namespace, live=False)
    with ledger.database.write() as db:
        # 1. Experts, with what was fitted to them; what they held goes back to the buffer.
        ledger.lineage.rollback(namespace, [o.night_id for o in of_owner if o.name not in gone])
        removed = {"experts": len(gone), "gates": 0, "gate_examples": 0}
        for expert in erasure.experts:
            _delete(db, "experts WHERE name = ?", expert.name)
            for table in ("gates", "gate_examples"):
                removed[table] += _delete(db, f"{table} WHERE night_id = ?", expert.night_id)

        # 2. What was made of the episodes, or quotes them.
        for table, columns in _DERIVED.items():
            count = _delete_quoting(db, table, key, columns=columns, traces=traces)
            removed[table] = removed.get(table, 0) + count
        for table, column in _MADE_OF:
            count = _delete(db, f"{table} WHERE {column} IN {_LISTED}", listed)
            removed[table] = removed.get(table, 0) + count
        # The questions that the weights answer are compared with what is left of them.
        _delete(db, "pieces WHERE episode IS NULL AND namespace = ?", key)
        sql = "INSERT INTO learned_anew VALUES (?, 1) ON CONFLICT DO UPDATE SET change = change + 1"
        db.execute(sql, [key])
        removed["events"] = _delete_events(db, traces)

        # 3. The episodes.
        for row in list(db.query(f"SELECT * FROM episodes WHERE id IN {_LISTED}", [listed])):
            sql = (
                "UPDATE tallies SET episodes = episodes - 1, "
                f"digests = (digests - ?) & {MOST_DIGEST} WHERE namespace = ?"
            )
            db.conn.execute(sql, [digest(stored_of(row)), key])
        removed["episodes"] = _delete(db, f"episodes WHERE id IN {_LISTED}", listed)
    return removed


class _Traces(NamedTuple):
    """What tells that a text is about what goes: ids, memory lines, and rare terms of it alone."""

    ids: Collection[str]
    lines: Collection[str]
    only: Collection[str]

    def are_in(self, text: str) -> bool:
        if any(one in text for one in self.ids):
            return True
        if any(line in text or json.dumps(line)[1:-1] in text for line in self.lines):
            return True
        return not set(self.only).isdisjoint(terms(text))


def _traces(ledger: Ledger, erasure: Erasure) -> _Traces:
    gone, ids = [*erasure.episodes, *erasure.quoting], erasure.ids
    left = [one for one in ledger.episodes.all(erasure.namespace) if one.id not in ids]
    probes = [one for one in ledger.nights.of(erasure.namespace) if one.episode_id in ids]
    asked = " ".join(f"{one.question} {one.answer}" for one in probes)
    lines = _lines(ledger, erasure.namespace, gone)
    return _Traces(ids, lines, _told_by_them_alone(gone, left, beside=asked))


def _seeing(ledger: Ledger, namespace: Namespace, episodes: Sequence[Episode]) -> list[Expert]:
    """Experts of the first night that asked about one of these, or read it, and of all later."""
    ids, nights = {episode.id for episode in episodes}, set()
    lines = _lines(ledger, namespace, episodes)
    for probe in ledger.nights.of(namespace):
        is_about = not ids.isdisjoint([probe.episode_id, *probe.sources])
        if is_about or not lines.isdisjoint(probe.context):
            nights.add(probe.night_id)
    numbers = ledger.nights.numbers()
    if not nights:
        return []
    first = min(numbers[night] for night in nights)
    experts = ledger.lineage.experts(namespace, live=False)
    return [expert for expert in experts if numbers[expert.night_id] >= first]


def _lines(ledger: Ledger, namespace: Namespace, episodes: Sequence[Episode]) -> set[str]:
    """The memory lines that stand for them in the context of a probe."""
    lines = {line_of(episode) for episode in episodes}
    dates = {episode.id: episode.date for episode in episodes}
    for note in ledger.notes.of(namespace, dates):
        lines.add(memory_line(dates[note.episode_id], note.text))
    return lines


def _told_by_them_alone(
    gone: Iterable[Episode], left: Iterable[Episode], *, beside: str = ""
) -> set[str]:
    """Rare terms of what goes that nothing that stays has: where they stand, it is quoted."""
    told = {term for episode in gone for term in terms(episode.whole)} | set(terms(beside))
    known = {term for episode in left for term in terms(episode.text)}
    return {term for term in told - known if commonness(term) < _COMMON}


def _delete_quoting(
    db: sqlite_utils.Database, table: str, key: str, *, columns: Sequence[str], traces: _Traces
) -> int:
    """Delete the rows of an owner that are about what goes."""
    gone = []
    sql = f"SELECT rowid AS place, {', '.join(columns)} FROM {table} WHERE namespace = ?"
    for row in list(db.query(sql, [key])):
        text = "\n".join(str(row[column]) for column in columns if row[column])
        if traces.are_in(text):
            gone.append(row["place"])
    return _delete(db, f"{table} WHERE rowid IN {_LISTED}", json.dumps(gone))


def _delete_events(db: sqlite_utils.Database, traces: _Traces) -> int:
    gone = []
    for row in list(db.query("SELECT id, detail FROM events")):
        if traces.are_in(row["detail"]):
            gone.append(row["id"])
    return _delete(db, f"events WHERE id IN {_LISTED}", json.dumps(gone))


def _delete(db: sqlite_utils.Database, what: str, *values: Any) -> int:
    return int(db.conn.execute(f"DELETE FROM {what}", list(values)).rowcount)
