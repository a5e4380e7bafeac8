"""Forgetting: what was told, all that was made of it, and every expert that may have seen it.

Exact, not approximate: an expert is never changed so that it knows less (machine unlearning); those
that learned beside a forgotten episode, or later, are taken away, and what else they held goes back
to the buffer. Nights rehearse what earlier ones taught, so every later one has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepmem.errors import EpisodeError
from sleepmem.records import (
    USER,
    Episode,
    Expert,
    Namespace,
    Receipt,
    check_day,
    namespace_key,
)
from sleepmem.stores.episodes import BEGAN
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.schema import MOST_DIGEST, digest, stored_of
from sleepmem.text.heads import SURELY_ASKS
from sleepmem.text.pieces import sentences
from sleepmem.text.prompts import line_of, memory_line
from sleepmem.text.rarity import commonness
from sleepmem.text.terms import terms

if TYPE_CHECKING:
    import sqlite_utils

# Share of texts at large that have a word which tells nothing of what was forgotten.
_COMMON = 1e-3
# Terms from which a text is found as a part of another; a shorter one as the whole of it.
_PART = 3
# Digits from which a number may be somebody's.
_DIGITS = 3
# What is derived from episodes and may quote them: the columns with text or ids, by table.
_DERIVED = {
    "probes": ("question", "answer", "stale", "context", "episode_id", "sources"),
    "dreams": ("text", "question", "answer", "episodes"),
    "gate_examples": ("example",),
    "gates": ("gate",),
    "retrievals": ("question", "episodes"),
}
# What is made of an episode, by the column that names it.
_MADE_OF = (
    ("notes", "episode_id"),
    ("pieces", "episode"),
    ("corrected", "episode_id"),
    ("taken", "episode_id"),
)
_LISTED = "(SELECT value FROM json_each(?))"
# What an event says of whose and of which turn it is; whose turn a message began is kept.
_OF_TURNS = {"namespace", "thread", "message_id", "kind"}


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to be forgotten of an owner, and what that costs.

    episodes    with those that say the same in the same words
    quoting     episodes that quote one of them, as an answer of the agent does; they go, too
    unreadable  ids of such as cannot be read
    experts     that may have seen them, in the order of their nights; none keeps its files
    telling     episodes that stay, and have a sentence or a number of what goes all the same
    is_exact    these alone go, as what is over does, and not what says or quotes the same
    """

    namespace: Namespace
    episodes: tuple[Episode, ...]
    quoting: tuple[Episode, ...]
    unreadable: tuple[str, ...]
    experts: tuple[Expert, ...]
    telling: tuple[Episode, ...] = ()
    is_exact: bool = False

    @property
    def all(self) -> list[Episode]:
        return [*self.episodes, *self.quoting]

    @property
    def ids(self) -> list[str]:
        return [*(episode.id for episode in self.all), *self.unreadable]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What goes, or went, and the receipt; None of what was only planned, or of nothing."""

    erasure: Erasure
    receipt: Receipt | None


class Choice(NamedTuple):
    """What an owner chooses to be forgotten: see `SleepMemory.forget`.

    found      ids of what was found for the words of `about`
    confirmed  ids of what a dry run showed and alone goes, or None
    """

    episodes: Sequence[str] = ()
    notes: Sequence[str] = ()
    about: str = ""
    before: str = ""
    everything: bool = False
    found: Sequence[str] = ()
    confirmed: Sequence[str] | None = None


def chosen(
    ledger: Ledger, namespace: Namespace, *, choice: Choice
) -> tuple[dict[str, Any], list[str]]:
    """How it was chosen, for the receipt, and the ids of the owner's episodes.

    Raises:
        EpisodeError: nothing is chosen, or something that is not there.
    """
    asked = _asked(ledger, choice)
    every = {episode.id: episode for episode in ledger.episodes.all(namespace)}
    known = ledger.episodes.ids(namespace)
    if choice.confirmed is not None:
        asked["confirmed"] = len(choice.confirmed)
        return asked, list(_there(choice.confirmed, known, what="episode"))
    ids: list[str] = []
    if choice.everything:
        ids += known
    ids += _there(choice.episodes, known, what="episode")
    if choice.notes:
        drawn = {note.id: note.episode_id for note in ledger.notes.of(namespace, every)}
        ids += map(drawn.__getitem__, _there(choice.notes, drawn, what="note"))
    ids += choice.found
    if "before" in asked:
        ids += [one.id for one in every.values() if one.date < asked["before"]]
    return asked, list(dict.fromkeys(ids))


def _asked(ledger: Ledger, choice: Choice) -> dict[str, Any]:
    """How it is chosen; of words their keyed hash, of ids their number."""
    asked: dict[str, Any] = {}
    if choice.everything:
        asked["everything"] = True
    if choice.episodes:
        asked["episodes"] = len(choice.episodes)
    if choice.notes:
        asked["notes"] = len(choice.notes)
    if choice.about:
        asked["about"] = ledger.forgotten.keyed(choice.about)
    if choice.before:
        asked["before"] = check_day(choice.before).isoformat()
    if not asked:
        raise EpisodeError(
            "nothing was chosen to be forgotten; pass episodes, notes, about, before or "
            "everything=True."
        )
    return asked


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
    asked_for = set(episode_ids)
    wanted = ledger.episodes.saying_the_same(namespace, asked_for)
    gone: list[Episode] = []
    left: list[Episode] = []
    for episode in ledger.episodes.all(namespace):
        (gone if episode.id in wanted else left).append(episode)

    # Who quotes it is quoted in turn.
    quoting: list[Episode] = []
    while found := _quoting(ledger, [*gone, *quoting], left):
        quoting += found
        ids = {episode.id for episode in found}
        left = [episode for episode in left if episode.id not in ids]
    unreadable = asked_for - {episode.id for episode in gone}
    traces = _traces(ledger, namespace, [*gone, *quoting], left=left, ids=unreadable)
    experts = _seeing(ledger, namespace, traces)
    return Erasure(
        namespace,
        tuple(gone),
        tuple(quoting),
        tuple(sorted(unreadable)),
        tuple(experts),
        telling=tuple(_telling(traces, gone, left)),
    )


def expiring(ledger: Ledger, namespace: Namespace, *, episode_ids: Iterable[str]) -> Erasure:
    """What goes when these are over: they alone, since what says the same may hold for good.

    What does not last is never taught, so no expert goes but one that names it.
    """
    ids = set(episode_ids)
    gone = [episode for episode in ledger.episodes.all(namespace) if episode.id in ids]
    unreadable = ids - {episode.id for episode in gone}
    experts = _seeing(ledger, namespace, _Traces(ids))
    return Erasure(
        namespace, tuple(gone), (), tuple(sorted(unreadable)), tuple(experts), is_exact=True
    )


def erase(ledger: Ledger, erasure: Erasure) -> dict[str, int]:
    """Delete it from the ledger, in one transaction; returns the rows that went, by table."""
    namespace, key = erasure.namespace, namespace_key(erasure.namespace)
    ids = set(erasure.ids)
    left = [one for one in ledger.episodes.all(namespace) if one.id not in ids]
    quoted = _traces(ledger, namespace, erasure.all, left=left, ids=erasure.unreadable)
    traces = _Traces(ids) if erasure.is_exact else quoted
    listed = json.dumps(erasure.ids)
    removed = {"experts": len(erasure.experts), "gates": 0, "gate_examples": 0}
    with ledger.database.write() as db:
        # 1. Experts, with what was fitted to them; what they held goes back to the buffer.
        if erasure.experts:
            nights = [expert.night_id for expert in staying(ledger, erasure)]
            ledger.lineage.rollback(namespace, nights)
        for expert in erasure.experts:
            _delete(db, "experts WHERE name = ?", expert.name)
            for table in ("gates", "gate_examples"):
                removed[table] += _delete(db, f"{table} WHERE night_id = ?", expert.night_id)

        # 2. What was made of the episodes, or quotes them.
        for table, columns in _DERIVED.items():
            count = _delete_quoting(db, table, key, columns=columns, traces=traces)
            removed[table] = removed.get(table, 0) + count
        for table, column in _MADE_OF:
            removed[table] = _delete(db, f"{table} WHERE {column} IN {_LISTED}", listed)
        # The questions that the weights answer are compared with what is left of them.
        _delete(db, "pieces WHERE episode IS NULL AND namespace = ?", key)
        sql = "INSERT INTO learned_anew VALUES (?, 1) ON CONFLICT DO UPDATE SET change = change + 1"
        db.execute(sql, [key])
        removed["events"] = _delete_events(db, namespace, traces)

        # 3. The episodes. A message that is handed over again is known as one that was forgotten.
        for row in list(db.query(f"SELECT * FROM episodes WHERE id IN {_LISTED}", [listed])):
            sql = (
                "UPDATE tallies SET episodes = episodes - 1, "
                f"digests = (digests - ?) & {MOST_DIGEST} WHERE namespace = ?"
            )
            db.conn.execute(sql, [digest(stored_of(row)), key])
            if row["message_id"] is not None:
                ledger.forgotten.add(namespace, row["thread"], row["message_id"])
        removed["episodes"] = _delete(db, f"episodes WHERE id IN {_LISTED}", listed)
        _let_go(db, key, ids=ids, traces=quoted)
        rest = {} if erasure.is_exact else _delete_rest(db, namespace)
        for table, count in rest.items():
            removed[table] = removed.get(table, 0) + count
        # The next episodes get the rows of those that went last.
        db.execute(
            "UPDATE nights SET upto = min(upto, (SELECT coalesce(max(rowid), 0) FROM episodes))"
        )
        db.execute("UPDATE folder SET unclean = 1")
    return removed


class _Traces(NamedTuple):
    """What tells that a text is about what goes.

    ids     of episodes
    lines   as memories are shown
    said    whole texts and sentences, as their terms
    parts   of these, such as tell what they are from within another text
    only    rare terms that nothing which stays has
    """

    ids: Collection[str]
    lines: Collection[str] = ()
    said: Collection[str] = ()
    parts: Collection[str] = ()
    only: Collection[str] = ()

    def are_in(self, texts: Iterable[str]) -> bool:
        for text in texts:
            if text in self.ids or text in self.lines:
                return True
            read = terms(text)
            whole = " ".join(read)
            if whole in self.said or not set(self.only).isdisjoint(read):
                return True
            if any(part in f" {whole} " for part in self.parts):
                return True
        return False


def _traces(
    ledger: Ledger,
    namespace: Namespace,
    gone: Sequence[Episode],
    *,
    left: Iterable[Episode],
    ids: Iterable[str] = (),
) -> _Traces:
    dates = {episode.id: episode.date for episode in gone}
    texts = [text for episode in gone for text in (episode.text, *sentences(episode.text))]
    lines = {line_of(episode) for episode in gone}
    for note in ledger.notes.of(namespace, dates):
        if note.text:
            lines.add(memory_line(dates[note.episode_id], note.text))
            texts.append(note.text)
    said = {" ".join(terms(text)) for text in texts} - {""}
    told = {term for text in texts for term in terms(text)}
    known: set[str] = set()
    for episode in left:
        known.update(terms(episode.text))
    only = {term for term in told - known if commonness(term) < _COMMON}
    parts = [f" {one} " for one in said if one.count(" ") >= _PART - 1]
    return _Traces({*dates, *ids}, lines, said, parts, only)


def _quoting(ledger: Ledger, gone: Sequence[Episode], left: Sequence[Episode]) -> list[Episode]:
    """Of what is left, answers that quote it, and what asks about it or others told of it."""
    if not gone:
        return []
    asking = ledger.episodes.asking(episode.id for episode in left)
    telling: dict[str, Episode] = {}
    for episode in left:
        if episode.source == USER and asking[episode.id] < SURELY_ASKS:
            telling[episode.id] = episode
    traces = _traces(ledger, gone[0].namespace, gone, left=telling.values())
    found = []
    for episode in left:
        beside = [episode.answers or "", ledger.episodes.outcome(episode.id) or ""]
        if episode.id not in telling:
            beside.append(episode.text)
        if traces.are_in(filter(None, beside)):
            found.append(episode)
    return found


def _telling(traces: _Traces, gone: Sequence[Episode], left: Iterable[Episode]) -> list[Episode]:
    """Of what stays, what tells a sentence of it, or a number, be it of a telephone or a card."""
    numbers: set[str] = set()
    for episode in gone:
        numbers.update(filter(_is_number, terms(episode.text)))
    shared = _Traces((), parts=traces.parts, only=numbers)
    return [episode for episode in left if shared.are_in([episode.text])]


def _is_number(term: str) -> bool:
    """Whether it may be somebody's, unlike a year or the number of a day."""
    digits = sum(char.isdigit() for char in term)
    is_year = digits == len(term) == len("2026") and term.startswith(("19", "20"))
    return digits >= _DIGITS and not is_year and commonness(term) < _COMMON


def _seeing(ledger: Ledger, namespace: Namespace, traces: _Traces) -> list[Expert]:
    """Experts of the first night that asked about it, or read it, and of all later ones."""
    numbers = ledger.nights.numbers()
    nights = []
    for probe in ledger.nights.of(namespace):
        asked = (probe.question, probe.answer, probe.stale, probe.episode_id)
        if traces.are_in(filter(None, (*asked, *probe.sources, *probe.context))):
            nights.append(numbers[probe.night_id])
    experts = ledger.lineage.experts(namespace, live=False)
    for expert in experts:
        if not set(expert.lineage).isdisjoint(traces.ids):
            nights.append(numbers[expert.night_id])
    first = min(nights, default=None)
    return [one for one in experts if first is not None and numbers[one.night_id] >= first]


def staying(ledger: Ledger, erasure: Erasure) -> list[Expert]:
    """Experts that serve still, by themselves or absorbed: what was rolled back stays so."""
    gone = {expert.name for expert in erasure.experts}
    serving = ledger.lineage.in_service(erasure.namespace)
    return [expert for expert in serving if expert.name not in gone]


def _delete_quoting(
    db: sqlite_utils.Database, table: str, key: str, *, columns: Sequence[str], traces: _Traces
) -> int:
    """Delete the rows of an owner that are about what goes."""
    gone = []
    sql = f"SELECT rowid AS place, {', '.join(columns)} FROM {table} WHERE namespace = ?"
    for row in list(db.query(sql, [key])):
        if any(traces.are_in(_texts(row[column])) for column in columns if row[column]):
            gone.append(row["place"])
    return _delete(db, f"{table} WHERE rowid IN {_LISTED}", json.dumps(gone))


def _let_go(db: sqlite_utils.Database, key: str, *, ids: Collection[str], traces: _Traces) -> None:
    """What stays of an owner names what goes no more, nor tells of it."""
    # What was said again by what goes holds by itself.
    again = f"namespace = ? AND said_again IN {_LISTED}"
    db.conn.execute(
        f"UPDATE episodes SET said_again = NULL WHERE {again}", [key, json.dumps(list(ids))]
    )
    sql = "SELECT id, outcome FROM episodes WHERE namespace = ? AND outcome IS NOT NULL"
    about = [row["id"] for row in db.query(sql, [key]) if traces.are_in([row["outcome"]])]
    cleared = f"UPDATE episodes SET outcome = NULL WHERE id IN {_LISTED}"
    db.conn.execute(cleared, [json.dumps(about)])
    sql = "SELECT id, report FROM nights WHERE namespace = ? AND report IS NOT NULL"
    for night in list(db.query(sql, [key])):
        # `verify` tells of a damaged one.
        with suppress(LookupError, ValueError, TypeError, AttributeError):
            report = json.loads(night["report"])
            if _drop_held(report, ids):
                db.table("nights").update(night["id"], {"report": json.dumps(report)})


def _drop_held(report: dict[str, Any], ids: Collection[str]) -> bool:
    """Take these from what a night's report says was kept back; whether any was there."""
    held = report.get("held", [])
    kept = [one for one in held if one["episode"] not in ids]
    has_dropped = len(kept) < len(held)
    if has_dropped:
        report["held"] = kept
    for slower in report.get("slower", []):
        has_dropped |= _drop_held(slower, ids)
    return has_dropped


def _delete_events(db: sqlite_utils.Database, namespace: Namespace, traces: _Traces) -> int:
    """Events of the owner, or of nobody, whose words are about it."""
    gone = []
    for row in list(db.query("SELECT id, detail FROM events")):
        detail = json.loads(row["detail"])
        is_own = detail.get("namespace") is None or _owner_in(detail, namespace)
        words = {name: value for name, value in detail.items() if name not in _OF_TURNS}
        if is_own and traces.are_in(_texts(json.dumps(words))):
            gone.append(row["id"])
    return _delete(db, f"events WHERE id IN {_LISTED}", json.dumps(gone))


def _delete_rest(db: sqlite_utils.Database, namespace: Namespace) -> dict[str, int]:
    """Of an owner of whom no episode is left, also what is about none, such as what was asked."""
    key = namespace_key(namespace)
    if db.execute("SELECT 1 FROM episodes WHERE namespace = ? LIMIT 1", [key]).fetchone():
        return {}
    removed = {table: _delete(db, f"{table} WHERE namespace = ?", key) for table in _DERIVED}
    gone = []
    # Whose a turn is that began is kept, without its words.
    for row in list(db.query("SELECT id, detail FROM events WHERE kind != ?", [BEGAN])):
        if _owner_in(json.loads(row["detail"]), namespace):
            gone.append(row["id"])
    removed["events"] = _delete(db, f"events WHERE id IN {_LISTED}", json.dumps(gone))
    return removed


def _owner_in(detail: dict[str, Any], namespace: Namespace) -> bool:
    """Whether an event is told of this owner."""
    return detail.get("namespace") in (list(namespace), namespace_key(namespace))


def _texts(written: Any) -> Iterator[str]:
    """The texts in a column: itself, or those that its JSON holds."""
    if not isinstance(written, str):
        return
    try:
        value = json.loads(written)
    except ValueError:
        yield written
        return
    yield from _strings(value if isinstance(value, dict | list) else written)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _delete(db: sqlite_utils.Database, what: str, *values: Any) -> int:
    return int(db.conn.execute(f"DELETE FROM {what}", list(values)).rowcount)
