"""How rare the terms of a memory are: inverse document frequencies, in any script. Pure.

A rare term is what makes one question another: a name, a number, a date, what is asked about it. No
list of words and no capital letter says so, only how often a memory uses the term.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sleepmem.text.terms import terms

# Terms that are kept with their counts, commonest first; a rarer one counts as never used.
_KEPT = 5_000


@dataclass(frozen=True)
class Frequencies:
    """In how many of a memory's documents each term stands; terms of only one are left out."""

    documents: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Iterable[Iterable[str]]) -> Frequencies:
        """Count the terms of documents, each of several texts."""
        number, counts = 0, Counter[str]()
        for texts in documents:
            number += 1
            counts.update({term for text in texts for term in terms(text)})
        kept = {term: count for term, count in counts.most_common(_KEPT) if count > 1}
        return cls(number, kept)

    @classmethod
    def parse(cls, written: Mapping[str, Any]) -> Frequencies:
        """The inverse of `as_dict`."""
        return cls(written["documents"], written["counts"])

    def as_dict(self) -> dict[str, Any]:
        return {"documents": self.documents, "counts": dict(self.counts)}

    def rarity(self, term: str) -> float:
        """How rare a term is, in [0, 1]: 1 for one of a single document, 0 for one of all."""
        count = max(self.counts.get(term, 1), 1)
        if self.documents < 2:
            return 1.0
        return max(0.0, math.log(self.documents / count) / math.log(self.documents))

    def mass(self, some: Iterable[str]) -> float:
        """The rarities of these terms together."""
        return sum(self.rarity(term) for term in some)

    def share(self, some: Collection[str], within: Collection[str]) -> float:
        """Which share of the mass of `some` stands in `within`, too; 1.0 without any mass."""
        whole = self.mass(some)
        if whole <= 0:
            return 1.0
        return self.mass(term for term in some if term in within) / whole
