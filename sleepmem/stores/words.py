"""Full-text search over the episodes: words of any script, and pieces of rare ones.

SQLite's FTS5: `unicode61` over the terms of a text, which works without spaces and accents, beside
`trigram` for what is spelt another way. Words are asked rarest first, and common ones not at all,
so that the cost does not grow with what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sleepmem.records import Namespace, namespace_key
from sleepmem.stores.database import Database
from sleepmem.stores.schema import owner_word
from sleepmem.text.heads import SURELY_ASKS
from sleepmem.text.rarity import BACKGROUND, commonness
from sleepmem.text.terms import terms

_COUNT = "SELECT doc FROM word_counts WHERE term = ? AND col = 'words'"
# Rows that all words of one question may touch; a word that more have tells least.
_MOST_ROWS = 1_000
# Rows that one rare word's pieces may touch.
_MOST_SIMILAR = 100
# A word that fewer rows have than this may be spelt another way in others.
_RARE = 3
_SHORTEST_PIECE, _PIECE = 3, 0.6
# Rows looked at for each that is wanted; what a question's words count beside a statement's.
_LOOKED_AT, _ASKED = 4, 0.5


class Words:
    """Which episodes have the words of a question, and how rare a word is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[str, int] = {}
        self._counted_at = 0

    def total(self) -> int:
        """How many episodes there are, about."""
        rows = self._database.rows("SELECT coalesce(max(rowid), 0) AS number FROM episodes")
        return int(rows[0]["number"])

    def rarity(self, words: Iterable[str]) -> tuple[dict[str, float], frozenset[str]]:
        """Inverse document frequency of words, as in BM25 (Robertson and Zaragoza 2009).

        Among the episodes and texts at large; also which of the words no episode has.
        """
        asked = list(dict.fromkeys(words))
        total = self.total()
        counts = self._count(asked, total)
        unknown = frozenset(word for word in asked if not counts[word])
        rarities = {}
        for word in asked:
            texts_with = counts[word] + BACKGROUND * commonness(word)
            rarities[word] = idf(texts_with, total + BACKGROUND)
        return rarities, unknown

    def search(
        self, namespace: Namespace, question: str, *, limit: int
    ) -> tuple[list[str], list[str]]:
        """Ids of the episodes that have most of the words, and of those with pieces of rare ones.

        Each best first.
        """
        words = list(dict.fromkeys(terms(question)))
        total = self.total()
        counts = self._count(words, total)
        owner = owner_word(namespace_key(namespace))
        by_words: dict[int, float] = {}
        left = _MOST_ROWS
        for word in sorted(words, key=counts.__getitem__):
            if counts[word] > left:
                continue
            left -= counts[word]
            match = f'owner:"{owner}" AND {{words asked}}:{_quoted(word)}'
            sql = "SELECT rowid FROM episode_words WHERE episode_words MATCH ? LIMIT ?"
            for row in self._database.rows(sql, match, _MOST_ROWS):
                by_words[row[0]] = by_words.get(row[0], 0.0) + idf(counts[word], total)

        by_pieces: dict[int, float] = {}
        for word in words:
            if counts[word] < _RARE:
                for rowid, weight in self._similar(word, total).items():
                    by_pieces[rowid] = by_pieces.get(rowid, 0.0) + weight
        return (
            self._ids(namespace, by_words, limit=limit),
            self._ids(namespace, by_pieces, limit=limit),
        )

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

    def _ids(self, namespace: Namespace, scores: Mapping[int, float], *, limit: int) -> list[str]:
        """Of the best rows that still hold and belong to the owner; what tells before what asks."""
        near = sorted(scores, key=lambda rowid: (-scores[rowid], -rowid))[: _LOOKED_AT * limit]
        if not near:
            return []
        rows = self._database.rows(
            "SELECT rowid, id, coalesce(asks, 0) FROM episodes "
            f"WHERE rowid IN ({','.join(map(str, near))}) "
            "AND namespace = ? AND superseded = 0 AND said_again IS NULL",
            namespace_key(namespace),
        )
        ranked = []
        for rowid, episode_id, asks in rows:
            weight = _ASKED if asks >= SURELY_ASKS else 1.0
            ranked.append((weight * scores[rowid], rowid, episode_id))
        return [episode_id for _, _, episode_id in sorted(ranked, reverse=True)[:limit]]

    def _count(self, words: Sequence[str], total: int) -> Mapping[str, int]:
        """How many rows have each word; remembered until there are twice as many rows."""
        if total > 2 * self._counted_at:
            self._counts.clear()
            self._counted_at = total
        counts = {}
        for word in words:
            known = self._counts.get(word)
            if not known:
                rows = self._database.rows(_COUNT, word)
                known = rows[0][0] if rows else 0
                self._counts[word] = known
            counts[word] = known
        return counts


def idf(count: float, total: float) -> float:
    """How much a word tells that `count` of `total` texts have; never negative."""
    return math.log(1 + (total - count + 0.5) / (count + 0.5)) if count <= total else 0.0


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
