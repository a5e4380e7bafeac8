"""Full-text search over the episodes: words of any script, and pieces of rare ones.

SQLite's FTS5: `unicode61` over the terms of a text, which works without spaces and accents, beside
`trigram` for what is spelt another way. Words are asked rarest first, and common ones not at all,
so that the cost does not grow with what is stored.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sleepmem.errors import LedgerError
from sleepmem.records import Namespace, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.episodes import as_episode, matches
from sleepmem.stores.schema import owned_words
from sleepmem.text.rarity import BACKGROUND, commonness
from sleepmem.text.terms import normalised, terms

# Rows that all words of one question may touch; a word that more have tells least.
_MOST_ROWS = 300
# The same for the words of one source, among which others' are many.
_MOST_ROWS_OF_SOURCE = 10 * _MOST_ROWS
# Rows that one rare word's pieces may touch.
_MOST_SIMILAR = 100
# A word that fewer rows have than this may be spelt another way in others.
_RARE = 3
_SHORTEST_PIECE, _PIECE = 3, 0.6
# Words of an episode, and characters, that are asked for to see whether it is in the index.
_CHECKED = 20
# Rows looked at for each that is wanted; what a question's words count beside a statement's.
_LOOKED_AT, _ASKED = 2, 0.5


class Count(NamedTuple):
    """How many episodes have a word: of those that tell, and of those that only ask."""

    told: int = 0
    asked: int = 0

    @property
    def total(self) -> int:
        return self.told + self.asked


class Words:
    """Which episodes have the words of a question, and how rare a word is.

    `number_of` says how many episodes an owner has.
    """

    def __init__(self, database: Database, number_of: Callable[[Namespace], int]) -> None:
        self._database, self._number_of = database, number_of
        self._counts: dict[Namespace, dict[str, Count]] = {}
        self._counted_at: dict[Namespace, int] = {}

    def rarity(self, namespace: Namespace, words: Iterable[str]) -> dict[str, float]:
        """Inverse document frequency of words, as in BM25 (Robertson and Zaragoza 2009).

        Among the owner's episodes and texts at large.
        """
        asked = list(dict.fromkeys(words))
        total, counts = self._count(namespace, asked)
        rarities = {}
        for word in asked:
            texts_with = counts[word].told + BACKGROUND * commonness(word)
            rarities[word] = idf(texts_with, total + BACKGROUND)
        return rarities

    def search(
        self, namespace: Namespace, question: str, *, limit: int, source: str | None = None
    ) -> tuple[list[str], list[str]]:
        """Ids of the episodes that have most of the words, and of those with pieces of rare ones.

        Each best first; of one source alone where it is named.
        """
        words = list(dict.fromkeys(terms(question)))
        total, counts = self._count(namespace, words)
        by_words: dict[int, float] = {}
        left = most = _MOST_ROWS if source is None else _MOST_ROWS_OF_SOURCE
        for word in sorted(words, key=lambda word: counts[word].total):
            if counts[word].total > left:
                break
            left -= counts[word].total
            weight = idf(counts[word].total, total)
            for row, share in self._with_word(namespace, word, counts[word], most):
                by_words[row] = by_words.get(row, 0.0) + share * weight
        by_pieces: dict[int, float] = {}
        for word in words:
            if counts[word].total < _RARE:
                for row, weight in self._similar(word, total).items():
                    by_pieces[row] = by_pieces.get(row, 0.0) + weight
        looked_at = _LOOKED_AT * limit if source is None else None
        best_words = _best(by_words, looked_at)
        best_pieces = _best(by_pieces, looked_at)
        ids = self._holding(namespace, {*best_words, *best_pieces}, source)
        return (
            [ids[row] for row in best_words if row in ids][:limit],
            [ids[row] for row in best_pieces if row in ids][:limit],
        )

    def faults(self) -> list[str]:
        """Whose episodes are not found by their own words, or by a piece of them."""
        lost: Counter[str] = Counter()
        for row in self._database.rows("SELECT rowid, * FROM episodes"):
            if matches(row):  # what was changed by hand is a fault of its own
                text = as_episode(row).whole
                lost[row["namespace"]] += not self._is_indexed(row["rowid"], row["namespace"], text)
        return [
            f"of {key} {number} episodes are not in the full-text index; `sleepmem reindex` or "
            "memory.reindex() makes it anew"
            for key, number in sorted(lost.items())
            if number
        ]

    def _is_indexed(self, row: int, key: str, text: str) -> bool:
        words = owned_words(key, dict.fromkeys(terms(text)))[:_CHECKED]
        pieces = [
            word[:_CHECKED]
            for word in normalised(text).replace("\0", " ").split()
            if len(word) >= _SHORTEST_PIECE
        ]
        for table, phrases in (("episode_words", words), ("episode_pieces", pieces[:1])):
            if not phrases:
                continue
            sql = f"SELECT 1 FROM {table} WHERE {table} MATCH ? AND rowid = ?"
            try:
                found = self._database.rows(sql, " ".join(map(_quoted, phrases)), row)
            except LedgerError:  # the index is damaged
                found = []
            if not found:
                return False
        return True

    def _with_word(
        self, namespace: Namespace, word: str, count: Count, most: int
    ) -> Iterator[tuple[int, float]]:
        """Rows that have the word, with what it counts: less in what only asks."""
        (owned,) = owned_words(namespace_key(namespace), [word])
        sql = f"SELECT rowid FROM episode_words WHERE episode_words MATCH ? LIMIT {most}"
        for column, number, share in (("words", count.told, 1.0), ("asked", count.asked, _ASKED)):
            if number:
                for row in self._database.rows(sql, f"{column}:{_quoted(owned)}"):
                    yield row[0], share

    def _similar(self, word: str, total: int) -> Mapping[int, float]:
        """Rows with a long piece of the word: its beginning or its end."""
        length = max(_SHORTEST_PIECE, math.ceil(len(word) * _PIECE))
        if len(word) <= length:
            return {}
        found: dict[int, float] = {}
        sql = "SELECT rowid FROM episode_pieces WHERE episode_pieces MATCH ? LIMIT ?"
        for piece in (word[:length], word[-length:]):
            rows = self._database.rows(sql, _quoted(piece), _MOST_SIMILAR + 1)
            if len(rows) <= _MOST_SIMILAR:
                for row in rows:
                    found[row[0]] = max(found.get(row[0], 0.0), idf(len(rows), total))
        return found

    def _holding(
        self, namespace: Namespace, rows: Iterable[int], source: str | None
    ) -> Mapping[int, str]:
        """Ids of those of these rows that still hold, belong to the owner, and are of the source.

        None stands for every source.
        """
        # The plus keeps SQLite from walking all of the owner's, by an index, instead of these.
        found = self._database.rows(
            f"SELECT rowid, id FROM episodes WHERE rowid IN ({','.join(map(str, rows))}) "
            "AND +namespace = ? AND superseded = 0 AND said_again IS NULL "
            "AND source = coalesce(?, source)",
            namespace_key(namespace),
            source,
        )
        return {row[0]: row[1] for row in found}

    def _count(self, namespace: Namespace, words: Sequence[str]) -> tuple[int, Mapping[str, Count]]:
        """How many episodes an owner has, and how many of them have each word.

        A word's count is remembered until there are twice as many, or fewer.
        """
        total = self._number_of(namespace)
        known = self._counts.setdefault(namespace, {})
        counted_at = self._counted_at.get(namespace, 0)
        if total > 2 * counted_at or total < counted_at:
            known.clear()
            self._counted_at[namespace] = total
        new = [word for word in words if not known.get(word, Count()).told]
        owned = dict(zip(owned_words(namespace_key(namespace), new), new, strict=True))
        counted: dict[str, dict[str, int]] = {word: {} for word in new}
        sql = "SELECT term, col, doc FROM json_each(?) CROSS JOIN word_counts ON term = value"
        for term, column, number in self._database.rows(sql, json.dumps(list(owned))):
            counted[owned[term]][column] = number
        for word, columns in counted.items():
            known[word] = Count(columns.get("words", 0), columns.get("asked", 0))
        return total, {word: known[word] for word in words}


def _best(scores: Mapping[int, float], limit: int | None) -> list[int]:
    """The rows that score most; of equal ones the newest."""
    return sorted(scores, key=lambda row: (-scores[row], -row))[:limit]


def idf(count: float, total: float) -> float:
    """How much a word tells that `count` of `total` texts have; never negative."""
    return math.log(1 + (max(total, count) - count + 0.5) / (count + 0.5))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
