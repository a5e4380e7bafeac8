"""What is searched by meaning: vectors of the pieces of episodes and of known questions.

Each row says where it belongs (`Place`; a trigger of the ledger moves it) and which collection of
the index has it. What the index has not yet where it belongs, waits: it is searched here, exactly.
So the index may lie behind, be damaged or be another process's, and nothing is missed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sleepmem.errors import FolderError
from sleepmem.records import Episode, Namespace, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.rows import intact, namespace_of
from sleepmem.stores.schema import place_of
from sleepmem.text.pieces import pieces

# Separates an episode's id from the number of its piece.
_OF_PIECE = "#"
REMEDY = "`sleepmem reindex` or memory.reindex() makes all vectors anew"
# Vectors that are read at a time, so that memory stays flat however many there are.
_CHUNK = 4096
# Of an owner. Named, or SQLite walks all that the owner has by another index, for these few.
_WAITING = "pieces INDEXED BY pieces_waiting WHERE namespace = ? AND lies_in IS NOT place"
# Of a piece that is there already.
_ANEW = (
    "ON CONFLICT (id) DO UPDATE SET place = excluded.place, vector = excluded.vector, "
    "namespace = excluded.namespace"
)


class Place(StrEnum):
    """Where a piece belongs."""

    EPISODES = "episodes"  # of the buffer, and may tell something
    ASKED = "asked"  # of the buffer, and surely asks
    ARCHIVE = "archive"  # the weights hold it
    KNOWN = "known"  # a question that they answer


class Near(NamedTuple):
    """A piece with the cosine of its vector and a question's."""

    id: str
    similarity: float


class Waiting(NamedTuple):
    """A piece that the index has not where it belongs (`place`), but in `lies_in`, if at all."""

    id: str
    place: str | None
    lies_in: str | None
    vector: np.ndarray


class Vectors:
    """The vectors of a folder, float32, each once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # What the embeddings in use are known by in the ledger; None: nobody has looked.
        self.made_with: str | None = None

    def check_made_with(self) -> None:
        """Whoever reads or keeps vectors has those of the embeddings in use.

        Raises:
            FolderError: since somebody looked, all were made anew with others.
        """
        sql = "SELECT 1 FROM folder WHERE embeddings IS NOT ?"
        if self.made_with is not None and self._database.rows(sql, self.made_with):
            raise of_others(self._database.path.parent)

    def add(self, namespace: Namespace, vectors: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Keep the vectors of episodes: per id of one, those of its pieces by their ids."""
        sql = (
            "INSERT INTO pieces (id, namespace, episode, place, vector) "
            f"SELECT ?, ?, e.id, {place_of('e')}, ? FROM episodes e WHERE e.id = ? "
            f"{_ANEW}"
        )
        key = namespace_key(namespace)
        with self._database.write(synced=False) as db:
            self.check_made_with()
            for episode_id, own in vectors.items():
                for piece_id, vector in own.items():
                    db.conn.execute(sql, [piece_id, key, _bytes(vector), episode_id])
                db.conn.execute("UPDATE episodes SET indexed = 1 WHERE id = ?", [episode_id])

    def learned_anew(self, namespace: Namespace) -> int:
        """The change since which the known questions are to be compared again; 0 without one."""
        rows = self._database.rows(
            "SELECT change FROM learned_anew WHERE namespace = ?", namespace_key(namespace)
        )
        return int(rows[0][0]) if rows else 0

    def set_known(
        self,
        namespace: Namespace,
        fresh: Mapping[str, np.ndarray],
        *,
        gone: Collection[str],
        change: int,
    ) -> None:
        """Keep the vectors of further known questions, and let others go, as of this change."""
        key = namespace_key(namespace)
        rows = [[probe_id, key, Place.KNOWN, _bytes(one)] for probe_id, one in fresh.items()]
        with self._database.write(synced=False) as db:
            self.check_made_with()
            db.conn.executemany(
                f"INSERT INTO pieces (id, namespace, place, vector) VALUES (?, ?, ?, ?) {_ANEW}",
                rows,
            )
            db.conn.execute(
                "UPDATE pieces SET place = NULL WHERE id IN (SELECT value FROM json_each(?))",
                [json.dumps(list(gone))],
            )
            db.conn.execute(
                "DELETE FROM learned_anew WHERE namespace = ? AND change = ?", [key, change]
            )

    def of(self, piece_ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Vectors of these pieces, by id; those that have none are left out."""
        rows = self._database.rows(
            "SELECT id, vector FROM pieces WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(list(piece_ids)),
        )
        return {row[0]: _vector(row[0], row[1]) for row in rows}

    def nearest(
        self,
        namespace: Namespace,
        place: Place,
        *,
        vector: np.ndarray,
        count: int,
        waiting: bool = False,
    ) -> list[Near]:
        """Exact search over what belongs there, nearest first; of it only what waits, if asked.

        Raises:
            LedgerError: a vector is damaged, or of other embeddings than the one given.
        """
        source = f"{_WAITING if waiting else 'pieces WHERE namespace = ?'} AND place = ?"
        best: list[Near] = []
        length = float(np.linalg.norm(vector)) or 1.0
        for rows in self._chunks(source, namespace_key(namespace), place):
            matrix = _matrix(rows, len(vector))
            lengths = np.linalg.norm(matrix, axis=1) * length
            cosines = (matrix @ vector) / np.where(lengths, lengths, 1.0)
            first = np.argsort(-cosines)[:count]
            best += [Near(rows[row][0], float(cosines[row])) for row in first]
            best = sorted(best, key=lambda near: -near.similarity)[:count]
        return best

    def _chunks(self, source: str, *values: Any) -> Iterator[list[sqlite3.Row]]:
        last = 0
        sql = f"SELECT id, vector, rowid FROM {source} AND rowid > ? ORDER BY rowid LIMIT {_CHUNK}"
        while True:
            rows = self._database.rows(sql, *values, last)
            if rows:
                yield rows
            if len(rows) < _CHUNK:
                return
            last = rows[-1][2]

    def belonging(self, piece_ids: Collection[str], place: Place) -> set[str]:
        """Those of these that belong there still."""
        rows = self._database.rows(
            "SELECT id FROM pieces WHERE id IN (SELECT value FROM json_each(?)) AND place = ?",
            json.dumps(list(piece_ids)),
            place,
        )
        return {row[0] for row in rows}

    def ids(self, namespace: Namespace, place: Place) -> set[str]:
        """Of the pieces that belong there."""
        rows = self._database.rows(
            "SELECT id FROM pieces WHERE namespace = ? AND place = ?",
            namespace_key(namespace),
            place,
        )
        return {row[0] for row in rows}

    # What the index has

    def number_lying(self, namespace: Namespace, place: Place, *, most: int = 1) -> int:
        """How many the index has there; counted up to `most`."""
        rows = self._database.rows(
            "SELECT count(*) FROM "
            "(SELECT 1 FROM pieces WHERE namespace = ? AND lies_in = ? LIMIT ?)",
            namespace_key(namespace),
            place,
            most,
        )
        return int(rows[0][0])

    def number_astray(self, namespace: Namespace, place: Place) -> int:
        """How many the index has there that belong elsewhere, or nowhere, by now."""
        rows = self._database.rows(
            "SELECT count(*) FROM pieces INDEXED BY pieces_astray "
            "WHERE namespace = ? AND lies_in = ? AND lies_in IS NOT place AND lies_in NOT NULL",
            namespace_key(namespace),
            place,
        )
        return int(rows[0][0])

    def lying(self, namespace: Namespace, place: Place) -> set[str]:
        """Ids of those that the index is said to have there."""
        rows = self._database.rows(
            "SELECT id FROM pieces WHERE namespace = ? AND lies_in = ?",
            namespace_key(namespace),
            place,
        )
        return {row[0] for row in rows}

    def number_waiting(self, namespace: Namespace) -> int:
        """How many the index has not where they belong."""
        rows = self._database.rows(f"SELECT count(*) FROM {_WAITING}", namespace_key(namespace))
        return int(rows[0][0])

    def waiting(self, namespace: Namespace, *, limit: int) -> list[Waiting]:
        """Some of those."""
        rows = self._database.rows(
            f"SELECT id, place, lies_in, vector FROM {_WAITING} LIMIT ?",
            namespace_key(namespace),
            limit,
        )
        return [Waiting(row[0], row[1], row[2], _vector(row[0], row[3])) for row in rows]

    def laid(self, piece_ids: Iterable[str], place: str | None) -> None:
        """The index has them there now; None: nowhere."""
        with self._database.write(synced=False) as db:
            db.conn.execute(
                "UPDATE pieces SET lies_in = ? WHERE id IN (SELECT value FROM json_each(?))",
                [place, json.dumps(list(piece_ids))],
            )

    def any_lying(self) -> tuple[Namespace, Place] | None:
        """An owner and a place of which the index has something; None when it has nothing."""
        rows = self._database.rows(
            "SELECT namespace, lies_in FROM pieces WHERE lies_in IS NOT NULL LIMIT 1"
        )
        if not rows:
            return None
        with intact("where a vector lies", REMEDY):
            return namespace_of(rows[0][0]), Place(rows[0][1])

    def lost(self) -> None:
        """The index has nothing any more."""
        if not self._database.rows("SELECT 1 FROM pieces WHERE lies_in IS NOT NULL LIMIT 1"):
            return
        with self._database.write(synced=False) as db:
            db.conn.execute("UPDATE pieces SET lies_in = NULL WHERE lies_in IS NOT NULL")

    def clear(self, made_with: str) -> None:
        """Forget every vector: all is to be embedded anew, with what is known by this."""
        with self._database.write() as db:
            db.conn.execute("UPDATE folder SET embeddings = ?", [made_with])
            db.conn.execute("DELETE FROM pieces")
            db.conn.execute("UPDATE episodes SET indexed = 0")
            db.conn.execute(
                "INSERT OR REPLACE INTO learned_anew SELECT DISTINCT namespace, 1 FROM episodes"
            )
        self.made_with = made_with

    def put_in_place(self) -> None:
        """Derive every place anew, whatever stands there."""
        with self._database.write() as db:
            db.conn.execute(
                f"UPDATE pieces SET place = (SELECT {place_of('e')} FROM episodes e "
                "WHERE e.id = pieces.episode), namespace = coalesce((SELECT e.namespace "
                "FROM episodes e WHERE e.id = pieces.episode), namespace) "
                "WHERE episode IS NOT NULL"
            )
            db.conn.execute(
                "UPDATE episodes SET indexed = 0 WHERE indexed = 1 "
                "AND id NOT IN (SELECT episode FROM pieces WHERE episode IS NOT NULL)"
            )
            db.conn.execute(
                "INSERT OR IGNORE INTO learned_anew SELECT DISTINCT namespace, 1 FROM episodes"
            )

    def faults(self) -> list[str]:
        """Vectors that are none, or not as long as most are."""
        rows = self._database.rows(
            "SELECT id FROM pieces WHERE typeof(vector) != 'blob' OR length(vector) % 4 "
            "OR length(vector) != (SELECT length(vector) FROM pieces GROUP BY 1 "
            "ORDER BY count(*) DESC LIMIT 1)"
        )
        return [f"the vector of {row[0]} is damaged. {REMEDY}" for row in rows]

    def misplaced(self) -> list[str]:
        """Ids of episodes whose pieces do not stand where they belong, or are gone."""
        rows = self._database.rows(
            "SELECT DISTINCT e.id FROM episodes e LEFT JOIN pieces p ON p.episode = e.id "
            "WHERE e.indexed = 1 AND (p.id IS NULL OR p.namespace != e.namespace "
            f"OR p.place IS NOT ({place_of('e')}))"
        )
        return [row[0] for row in rows]


def of_others(folder: Path) -> FolderError:
    """What whoever has other embeddings is told."""
    return FolderError(
        f"the index in {folder} was made with other embeddings than those it is opened with; they "
        "would find the wrong memories. Open it with the same embeddings, or make the index anew: "
        "memory.reindex(), or `sleepmem reindex`."
    )


def pieces_of(episode: Episode) -> dict[str, str]:
    """Ids and texts of an episode's pieces; a short text's one has the id of the episode."""
    texts = pieces(episode.whole)
    if len(texts) == 1:
        return {episode.id: texts[0]}
    return {f"{episode.id}{_OF_PIECE}{place}": text for place, text in enumerate(texts)}


def episode_of(piece_id: str) -> str:
    return piece_id.partition(_OF_PIECE)[0]


def _bytes(vector: np.ndarray | Sequence[float]) -> bytes:
    return np.asarray(vector, dtype=np.float32).tobytes()


def _matrix(rows: Sequence[Any], width: int) -> np.ndarray:
    """The vectors of these rows, of so many numbers."""
    size = width * np.dtype(np.float32).itemsize
    for piece_id, written, *_ in rows:
        if type(written) is not bytes or len(written) != size:
            _vector(piece_id, written, width)
    matrix = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.float32)
    return matrix.reshape(len(rows), width)


def _vector(piece_id: str, written: bytes, width: int = 0) -> np.ndarray:
    """The vector of a piece; of so many numbers, when that is known."""
    with intact(f"the vector of {piece_id}", REMEDY):
        vector = np.frombuffer(written, dtype=np.float32)
        if width and len(vector) != width:
            raise ValueError(f"{len(vector)} numbers instead of {width}")
        return vector
