"""What was said: the table of episodes. Nothing leaves it."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from sleepmem.errors import LedgerError
from sleepmem.records import USER, Episode, Namespace, Verdict, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.forgotten import ForgottenMessages
from sleepmem.stores.rows import RESTORE, intact, namespace_of
from sleepmem.stores.schema import (
    MESSAGE_OF,
    MOST_DIGEST,
    digest,
    index_words,
    same_key,
    stored_of,
    tally,
)
from sleepmem.text.heads import SURELY_ASKS, asks
from sleepmem.text.terms import terms

# The kind of event that tells whose a turn is of which no episode tells.
BEGAN = "turn began"
# As `Episode.age_key`: of equal times what was stored later is newer.
OLDEST_FIRST, NEWEST_FIRST = (
    "ORDER BY created_at, rowid",
    "ORDER BY created_at DESC, rowid DESC",
)
_TICK, _LAST = timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)
_BUFFERED = "learned_in IS NULL AND said_again IS NULL"
_IS_TRUE = "superseded = 0"
# What was said to last until then is over.
_LASTS = "(lasts IS NULL OR lasts > strftime('%Y-%m-%dT%H:%M:%f', 'now'))"
# What was said again since happened on its own day, too.
_HAPPENED = f"{_IS_TRUE} AND {_LASTS}"
_HOLDS = f"{_HAPPENED} AND said_again IS NULL"
_TELLS = f"coalesce(asks, 0) < {SURELY_ASKS}"
_FEWEST_TERMS = 4
# An older one of the same words, that no expert holds, gives its place to a newer one, but never
# one that holds for good to one that does not. The plus keeps SQLite from walking all that is
# older, by that index, instead of the few of the same words.
_SAID_AGAIN = (
    "UPDATE episodes SET said_again = ? WHERE namespace = ? AND same = ? AND source = ? "
    "AND speaker IS ? AND answers IS ? AND +created_at <= ? AND rowid != ? AND learned_in IS NULL "
    "AND said_again IS NULL AND (? IS NULL OR lasts IS NOT NULL) RETURNING id"
)
# What a state of an episode must rest on; ids of those where it does not, and what they claim.
_CLAIMS = (
    (
        "SELECT id FROM episodes e WHERE superseded = 1 AND NOT EXISTS (SELECT 1 FROM corrected c "
        "WHERE c.episode_id = e.id AND c.night_id = e.learned_in)",
        "outdated, which no night found",
    ),
    (
        "SELECT e.id FROM episodes e JOIN corrected c ON c.episode_id = e.id "
        "JOIN experts x ON x.night_id = c.night_id AND x.live = 1 WHERE e.superseded = 0",
        "true, which a night found outdated",
    ),
    (
        "SELECT e.id FROM episodes e JOIN experts x ON x.night_id = e.learned_in AND x.live = 1 "
        "WHERE superseded = 0 AND NOT EXISTS "
        "(SELECT 1 FROM probes p WHERE p.episode_id = e.id AND p.night_id = e.learned_in)",
        "in the weights, which no question of that night was about",
    ),
    (
        "SELECT id FROM episodes e WHERE said_again IS NOT NULL AND NOT EXISTS (SELECT 1 "
        "FROM episodes newer WHERE newer.id = e.said_again AND newer.id != e.id "
        "AND newer.namespace = e.namespace AND newer.same = e.same AND newer.source = e.source)",
        "said again, which it was not",
    ),
)


def in_thread(message_id: str, thread: str | None) -> str:
    """A message's id that no other conversation has, where each begins its ids anew."""
    return f"{thread or ''}/{message_id}"


class Episodes:
    """Every episode of a folder, with whether the buffer or an expert holds it."""

    def __init__(self, database: Database) -> None:
        self._database, self._gone = database, ForgottenMessages(database)

    def tell(self, episode: Episode) -> Episode:
        """Store what the clock has dated, and return it as it is stored.

        It is newer than all that the clock dated before, of this owner: a clock is set back, and
        that of another machine goes otherwise.
        """
        judged = _judged(episode)
        with self._database.write():
            ((last,),) = self._database.rows(
                "SELECT max(created_at) FROM episodes "
                "WHERE namespace = ? AND by_clock = 1 AND created_at >= ?",
                namespace_key(episode.namespace),
                episode.created_at,
            )
            if last is not None:
                # At the end of time the later one stands in a later row.
                with intact(f"the time of an episode of {episode.namespace}"):
                    after = min(datetime.fromisoformat(last), _LAST - _TICK) + _TICK
                episode = replace(episode, created_at=after.isoformat())
            self._add(episode, judged, by_clock=True)
        return episode

    def add(
        self, episode: Episode, *, by_clock: bool = False, judged: Judged | None = None
    ) -> list[str]:
        """Store it, once; returns the ids of those whose place it takes.

        These say the same in the same words, and are in no expert.

        Args:
            episode: what was said.
            by_clock: nobody said when, a clock did.
            judged: what `judged` said of it, for who may not wait for that now.
        """
        return self._add(episode, judged or _judged(episode), by_clock=by_clock)

    def judged(self, episode: Episode) -> Judged:
        """What is judged of a text before it is stored; an embedding takes its time."""
        return _judged(episode)

    def _add(self, episode: Episode, judged: Judged, *, by_clock: bool) -> list[str]:
        key, (asking, same) = namespace_key(episode.namespace), judged
        row = {
            "id": episode.id,
            "namespace": key,
            "text": episode.text,
            "source": episode.source,
            "created_at": episode.created_at,
            "message_id": episode.message_id,
            "speaker": episode.speaker,
            "thread": episode.thread,
            "answers": episode.answers,
            "day": episode.day,
            "lasts": episode.lasts or None,
            "same": same,
            "asks": asking,
            "by_clock": int(by_clock),
        }
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        with self._database.write() as db:
            added = db.conn.execute(
                f"INSERT OR IGNORE INTO episodes ({columns}) VALUES ({places})",
                list(row.values()),
            )
            if not added.rowcount:
                return []
            tally(db, key, stored=stored_of(row))
            rowid = added.lastrowid or 0
            is_asked = (asking or 0.0) >= SURELY_ASKS
            index_words(db, rowid, namespace=key, text=episode.whole, asks=is_asked)
            told = [same, episode.source, episode.speaker, episode.answers]
            when = [episode.created_at, rowid, row["lasts"]]
            replaced = db.conn.execute(_SAID_AGAIN, [episode.id, key, *told, *when]).fetchall()
        return [gone[0] for gone in replaced]

    def complete(
        self, namespace: Namespace, message_id: str, *, thread: str | None, outcome: str
    ) -> None:
        """What came of a message of a conversation: the answer that its turn ended with."""
        with self._database.write(synced=False) as db:
            db.conn.execute(
                "UPDATE episodes SET outcome = ? "
                "WHERE namespace = ? AND thread IS ? AND message_id IN (?, ?)",
                [
                    outcome,
                    namespace_key(namespace),
                    thread,
                    message_id,
                    in_thread(message_id, thread),
                ],
            )

    def in_another_thread(self, episode: Episode) -> bool:
        """Whether the same was told before under the same id of a message, elsewhere."""
        rows = self._database.rows(
            "SELECT 1 FROM episodes WHERE id = ? AND thread IS NOT ?", episode.id, episode.thread
        )
        return bool(rows)

    def outcome(self, episode_id: str) -> str | None:
        """The answer that its turn ended with; None while it has not."""
        rows = self._database.rows("SELECT outcome FROM episodes WHERE id = ?", episode_id)
        return rows[0]["outcome"] if rows else None

    def unembedded(self, namespace: Namespace) -> list[Episode]:
        """Those that hold and have no vectors yet, oldest first."""
        # SQLite would rather walk all of the owner's in this order, to find the few without.
        rows = self._database.rows(
            "SELECT rowid, * FROM episodes INDEXED BY episodes_unindexed "
            f"WHERE namespace = ? AND indexed = 0 AND {_HOLDS} {OLDEST_FIRST}",
            namespace_key(namespace),
        )
        return as_episodes(rows)

    def buffered(self, namespace: Namespace) -> list[Episode]:
        """Those that are not in the weights, oldest first; of equal ones the newest."""
        return self._select(f"namespace = ? AND {_BUFFERED}", namespace_key(namespace))

    def telling(self, namespace: Namespace) -> list[Episode]:
        """Those of the buffered that do not surely ask: there may be something to learn."""
        return self._select(f"namespace = ? AND {_BUFFERED} AND {_TELLS}", namespace_key(namespace))

    def is_newest(self, episode: Episode, *, beside: Collection[str] = ()) -> bool:
        """Whether its source said nothing else since: saying it again is no news.

        `beside`: texts that it may have said since.
        """
        others = {_judged(replace(episode, text=text)).same for text in beside}
        same = _judged(episode).same
        for last in self._newest(episode.namespace, episode.source, limit=len(others) + 1):
            said = _judged(last).same
            if said == same:
                return (last.speaker, last.answers) == (episode.speaker, episode.answers)
            if said not in others:
                return False
        return False

    def newest(self, namespace: Namespace, source: str) -> Episode | None:
        """The last that this source said; None when it said nothing."""
        return next(iter(self._newest(namespace, source, limit=1)), None)

    def _newest(self, namespace: Namespace, source: str, *, limit: int) -> list[Episode]:
        rows = self._database.rows(
            "SELECT rowid, * FROM episodes WHERE namespace = ? AND source = ? "
            f"{NEWEST_FIRST} LIMIT ?",
            namespace_key(namespace),
            source,
            limit,
        )
        return as_episodes(rows)

    def owner(self, thread: str, message_id: str) -> Namespace | None:
        """Whose a message of a conversation is, stored or known to have begun a turn."""
        owners = self.owners(thread, [message_id]).get(message_id, set())
        return next(iter(owners)) if len(owners) == 1 else None

    def owners(self, thread: str, message_ids: Iterable[str]) -> dict[str, set[Namespace]]:
        """Whose these messages of a conversation are: stored, forgotten, or begun a turn with."""
        plain = {in_thread(one, thread): one for one in message_ids}
        listed = json.dumps([*plain, *plain.values()])
        rows = self._database.rows(
            "SELECT message_id AS id, namespace FROM episodes "
            "WHERE thread = ? AND message_id IN (SELECT value FROM json_each(?)) "
            f"UNION SELECT {MESSAGE_OF}, json_extract(detail, '$.namespace') FROM events "
            f"WHERE kind = ? AND {MESSAGE_OF} IN (SELECT value FROM json_each(?)) "
            "AND json_extract(detail, '$.thread') = ?",
            *(thread, listed, BEGAN, listed, thread),
        )
        gone = self._gone.owners(thread, [*plain, *plain.values()])
        found: dict[str, set[Namespace]] = {}
        for message_id, key in [*map(tuple, rows), *gone]:
            with intact(f"the owner of message {message_id}"):
                owner = namespace_of(key)
            found.setdefault(plain.get(message_id, message_id), set()).add(owner)
        return found

    def expired(self, namespace: Namespace) -> list[str]:
        """Ids of what was said to last until now, at most."""
        rows = self._database.rows(
            f"SELECT id FROM episodes WHERE namespace = ? AND NOT {_LASTS}",
            namespace_key(namespace),
        )
        return [row["id"] for row in rows]

    def waiting(self, namespace: Namespace, *, untrusted: bool) -> int:
        """How many that may teach the weights came in since the last night began."""
        key = namespace_key(namespace)
        rows = self._database.rows(
            "SELECT count(*) AS number FROM episodes "
            f"WHERE namespace = ? AND {_BUFFERED} AND {_TELLS} AND (? OR source = ?) "
            "AND rowid > (SELECT coalesce(max(upto), 0) FROM nights WHERE namespace = ? "
            f"AND coalesce(verdict, '') != '{Verdict.TRIED.value}')",
            key,
            untrusted,
            USER,
            key,
        )
        return int(rows[0]["number"])

    def learned(self, namespace: Namespace) -> list[Episode]:
        """Those that a live expert holds, oldest first; superseded ones left out."""
        condition = "namespace = ? AND learned_in IS NOT NULL AND superseded = 0"
        return self._select(condition, namespace_key(namespace))

    def forgotten(self, namespace: Namespace) -> dict[str, str]:
        """Buffered ones that the weights held once, by id, and when they were told."""
        rows = self._database.rows(
            "SELECT id, created_at FROM episodes "
            f"WHERE namespace = ? AND {_BUFFERED} AND forgotten = 1",
            namespace_key(namespace),
        )
        return {row["id"]: row["created_at"] for row in rows}

    def all(self, namespace: Namespace | None = None) -> list[Episode]:
        """Everything that was ever stored, oldest first."""
        if namespace is None:
            return self._select("1")
        return self._select("namespace = ?", namespace_key(namespace))

    def repeats(self, episode: Episode) -> bool:
        """Whether its source ever said the same."""
        rows = self._database.rows(
            "SELECT 1 FROM episodes WHERE namespace = ? AND same = ? AND source = ? LIMIT 1",
            namespace_key(episode.namespace),
            _judged(episode).same,
            episode.source,
        )
        return bool(rows)

    def get(self, namespace: Namespace, episode_ids: Iterable[str]) -> list[Episode]:
        """The owner's of these that still hold, in any order: not outdated, not said again."""
        return [episode for episode, _ in self.holding(namespace, episode_ids).values()]

    def holding(
        self, namespace: Namespace, episode_ids: Iterable[str], *, repeated: bool = False
    ) -> dict[str, tuple[Episode, float]]:
        """The owner's of these that still hold, by id, with the log-odds that they ask.

        Whatever an index says, nobody else's are read, nor what was changed. The plus keeps SQLite
        from walking all of the owner's instead.

        `repeated`: also what was said again since.
        """
        holds = _HAPPENED if repeated else _HOLDS
        rows = self._database.rows(
            "SELECT rowid, * FROM episodes "
            f"WHERE id IN (SELECT value FROM json_each(?)) AND +namespace = ? AND {holds}",
            json.dumps(list(episode_ids)),
            namespace_key(namespace),
        )
        found = {}
        for row in rows:
            with contextlib.suppress(LedgerError):  # `faults` names it; the others are found
                found[row["id"]] = (_as_stored(row), _asking(row))
        return found

    def saying_the_same(self, namespace: Namespace, episode_ids: Iterable[str]) -> set[str]:
        """Ids of the owner's of these, and of all that say the same in the same words."""
        rows = self._database.rows(
            "SELECT id FROM episodes WHERE namespace = ? AND same IN (SELECT same FROM episodes "
            "WHERE namespace = ? AND id IN (SELECT value FROM json_each(?)))",
            namespace_key(namespace),
            namespace_key(namespace),
            json.dumps(list(episode_ids)),
        )
        return {row["id"] for row in rows}

    def stored(self, episode_ids: Iterable[str]) -> list[Episode]:
        """Those of these that were ever stored, in any order."""
        ids = json.dumps(list(episode_ids))
        return self._select("id IN (SELECT value FROM json_each(?))", ids)

    def asking(self, episode_ids: Iterable[str]) -> dict[str, float]:
        """Log-odds that each asks, and tells nothing; 0 where nobody could tell."""
        rows = self._database.rows(
            "SELECT id, asks FROM episodes WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(list(episode_ids)),
        )
        return {row["id"]: _asking(row) for row in rows}

    def count(self, namespace: Namespace) -> int:
        """How many an owner has, by the tally that is kept of them."""
        rows = self._database.rows(
            "SELECT episodes FROM tallies WHERE namespace = ?", namespace_key(namespace)
        )
        return int(rows[0][0] or 0) if rows else 0

    def on_days(self, namespace: Namespace, first: str, *, last: str, limit: int) -> list[Episode]:
        """What happened from one day to another, newest first; ISO dates, both included.

        Also what was said again on a later day: on its own day it happened, too.
        """
        rows = self._database.rows(
            "SELECT rowid, * FROM episodes "
            f"WHERE namespace = ? AND day BETWEEN ? AND ? AND {_HAPPENED} "
            "ORDER BY day DESC, rowid DESC LIMIT ?",
            namespace_key(namespace),
            first,
            last,
            limit,
        )
        return as_episodes(rows)

    def beside(self, episode: Episode) -> list[Episode]:
        """What holds and was told right before and right after it in the same conversation."""
        key = namespace_key(episode.namespace)
        found = []
        for sign, order in (("<", NEWEST_FIRST), (">", OLDEST_FIRST)):
            found += self._database.rows(
                f"SELECT rowid, * FROM episodes WHERE namespace = ? AND thread IS ? AND source = ? "
                f"AND (created_at, rowid) {sign} (?, (SELECT rowid FROM episodes WHERE id = ?)) "
                f"AND {_HOLDS} AND {_TELLS} {order} LIMIT 1",
                key,
                episode.thread,
                episode.source,
                episode.created_at,
                episode.id,
            )
        return as_episodes(found)

    def take_back(self, episode_ids: Iterable[str], *, notes: Iterable[str] = ()) -> None:
        """The weights do not hold them any more: they belong to the buffer again.

        What they passed counts no longer; where notes were drawn from them, of these notes alone.
        """
        lost = json.dumps(list(notes))
        listed = "(SELECT value FROM json_each(?))"
        with self._database.write() as db:
            for episode_id in episode_ids:
                changes = {"learned_in": None, "forgotten": 1}
                db.table("episodes").update(episode_id, changes)
                db.execute(
                    "UPDATE probes SET passed = 0 WHERE episode_id = ? "
                    f"AND (coalesce(note_id, '') = '' OR note_id IN {listed})",
                    [episode_id, lost],
                )
            db.execute(f"UPDATE notes SET learned_in = NULL WHERE id IN {listed}", [lost])

    def namespaces(self, *, emptied: bool = False) -> list[Namespace]:
        """Every owner of whom there is something; a name that is damaged is left out.

        `emptied`: also those of whom all was forgotten, or who only asked.
        """
        sql = "SELECT namespace FROM episodes"
        if emptied:
            sql += " UNION SELECT namespace FROM tallies UNION SELECT namespace FROM retrievals"
        rows = self._database.rows(f"SELECT DISTINCT namespace FROM ({sql}) ORDER BY namespace")
        owners: list[Namespace] = []
        for row in rows:
            with contextlib.suppress(ValueError, TypeError):
                owners.append(namespace_of(row["namespace"]))
        return owners

    def faults(self) -> list[str]:
        """Those that are gone, changed, or in a state that no night and no word brought about."""
        faults = []
        stored = self._tallies()
        rows = self._database.rows("SELECT rowid, * FROM episodes")
        for row in rows:
            if not matches(row):
                faults.append(f"episode {row['id']} does not match its content")
        faults += _miscounted(rows, stored, since=self._tallies())
        return faults + self._unfounded()

    def _unfounded(self) -> list[str]:
        """Those that claim what nothing bears out: an expert, a correction, a repetition."""
        faults = []
        homeless = self._database.rows(
            "SELECT id, learned_in FROM episodes WHERE learned_in IS NOT NULL "
            "AND learned_in NOT IN (SELECT night_id FROM experts WHERE live = 1)"
        )
        for row in homeless:
            faults.append(
                f"episode {row['id']} is said to be in the expert of {row['learned_in']}, "
                "which is not live"
            )
        for sql, claim in _CLAIMS:
            for (episode_id,) in self._database.rows(sql):
                faults.append(f"episode {episode_id} is said to be {claim}. {RESTORE}")
        return faults

    def ids(self, namespace: Namespace) -> set[str]:
        """Of everything that was ever stored of the owner, what cannot be read included."""
        sql = "SELECT id FROM episodes WHERE namespace = ?"
        return {row["id"] for row in self._database.rows(sql, namespace_key(namespace))}

    def was_forgotten(self, episode: Episode) -> bool:
        """Whether its message is one of those that were forgotten."""
        key, message_id = namespace_key(episode.namespace), episode.message_id
        gone = [] if message_id is None else self._gone.owners(episode.thread, [message_id])
        return any(owner == key for _, owner in gone)

    def leave_out(self, namespace: Namespace, thread: str, *, message_ids: Collection[str]) -> None:
        """Messages of a conversation are never stored: they count as forgotten.

        Those that are stored stay so.
        """
        owners = self.owners(thread, message_ids)
        with self._database.write():
            for message_id in message_ids:
                for one in {message_id, in_thread(message_id, thread)}:
                    if message_id not in owners:
                        self._gone.add(namespace, thread, one)

    def places(self) -> list[tuple[int, str]]:
        """Every episode's row and id."""
        rows = self._database.rows("SELECT rowid, id FROM episodes ORDER BY rowid")
        return [(row[0], row[1]) for row in rows]

    def index_words_anew(self) -> None:
        """Make the full-text index anew, of all that can be read."""
        with self._database.write() as db:
            for table in ("episode_words", "episode_pieces"):
                db.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
            for row in self._database.rows("SELECT rowid, * FROM episodes"):
                for episode in as_episodes([row]):
                    asking, key = _asking(row) >= SURELY_ASKS, row["namespace"]
                    index_words(db, row["rowid"], namespace=key, text=episode.whole, asks=asking)

    def _tallies(self) -> dict[str, tuple[int, int]]:
        rows = self._database.rows("SELECT namespace, episodes, digests FROM tallies")
        return {row[0]: (row[1], row[2]) for row in rows}

    def _select(self, condition: str, *values: Any) -> list[Episode]:
        rows = self._database.rows(
            f"SELECT rowid, * FROM episodes WHERE {condition} {OLDEST_FIRST}", *values
        )
        return as_episodes(rows)


def matches(row: Any) -> bool:
    """Whether it can be read, and has the id that its content gives."""
    try:
        return bool(as_episode(row).id == row["id"])
    except (ValueError, TypeError):
        return False


def _as_stored(row: Any) -> Episode:
    """As `as_episode`; a LedgerError where the row has another id than its content gives."""
    episode = as_episode(row)
    with intact(f"episode {row['id']}"):
        if episode.id != row["id"]:
            raise ValueError("it does not match its content")
    return episode


def _asking(row: Any) -> float:
    """Log-odds that it asks, and tells nothing; 0 where nobody could tell."""
    with intact(f"whether episode {row['id']} asks"):
        return float(row["asks"] or 0.0)


def _miscounted(
    rows: Iterable[Any],
    stored: Mapping[str, tuple[int, int]],
    *,
    since: Mapping[str, tuple[int, int]],
) -> list[str]:
    """Owners whose rows are not those that were stored; the tallies of before and after reading.

    Where they differ somebody stores right now.
    """
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        number, digests = found.get(row["namespace"], (0, 0))
        found[row["namespace"]] = number + 1, (digests + digest(stored_of(row))) & MOST_DIGEST
    faults = []
    for key in sorted({*stored, *found}):
        if stored.get(key) == since.get(key) and stored.get(key) != found.get(key, (0, 0)):
            there, were = found.get(key, (0, 0))[0], stored.get(key, (0, 0))[0]
            faults.append(
                f"of {key} {there} episodes are in the ledger and {were} were stored; rows were "
                f"changed, deleted or put there by hand. {RESTORE}"
            )
    return faults


class Judged(NamedTuple):
    """What is judged of a text before others wait for it: an embedding takes its time.

    asking   log-odds that the user asks, and tells nothing; None where that is not judged
    same     a key that episodes have in common which say the same in the same words
    """

    asking: float | None
    same: str


def _judged(episode: Episode) -> Judged:
    asking = _asks(episode)
    return Judged(asking, same_key(episode.text, asks=(asking or 0.0) >= SURELY_ASKS))


def _asks(episode: Episode) -> float | None:
    """Log-odds that the user asks, and tells nothing.

    Nobody else's words are judged, and a word or two in reply to the agent tell something.
    """
    is_reply = episode.answers and len(terms(episode.text)) < _FEWEST_TERMS
    if episode.source != USER or is_reply:
        return None
    return round(asks(episode.text), 3) + 0.0  # SQLite keeps -0.0 as 0.0


# Columns of an episode.
_READ = itemgetter(
    "namespace",
    "day",
    "rowid",
    "text",
    "source",
    "created_at",
    "message_id",
    "speaker",
    "thread",
    "answers",
    "lasts",
)


def as_episodes(rows: Iterable[Any]) -> list[Episode]:
    """Those that can be read; `Episodes.faults` names the others."""
    found = []
    for row in rows:
        with contextlib.suppress(ValueError, TypeError):
            found.append(as_episode(row))
    return found


def as_episode(row: Any) -> Episode:
    return _as_episode(_READ(row))


@functools.lru_cache(maxsize=20_000)
def _as_episode(read: tuple[Any, ...]) -> Episode:
    """Checked once, however often one recall and the next ones read it."""
    key, day, sequence, *said, lasts = read
    values = (*said, day or "", sequence, lasts or "")
    with intact(f"episode {sequence} of {key}"):
        return Episode(namespace_of(key), *values)
