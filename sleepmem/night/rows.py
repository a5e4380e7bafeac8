"""What seeding teaches, row by row, and how the rows come together in batches. Knows no model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sleepmem.config import SeedingConfig


class RowKind(StrEnum):
    """What a row is for: which teacher reads what, for a student with all experts on.

    FACT         the base with the episode; the student without it
    NEVER_SAID   the base; both without memories
    REHEARSAL    the model as it was this evening; both without memories
    READING      the base; both with the same memories
    """

    FACT = "fact"
    NEVER_SAID = "never_said"
    REHEARSAL = "rehearsal"
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Row:
    """One question as each view reads it, in chat messages, and the teacher's answer to it.

    When the answer is `certain`, it is itself the teacher, with all the probability: plain
    fine-tuning on it (ReST-EM).
    """

    kind: RowKind
    student: tuple[dict[str, str], ...]
    teacher: tuple[dict[str, str], ...]
    answer: str
    certain: bool = False


def compose(rows: Sequence[Row], config: SeedingConfig) -> list[Row]:
    """`config.steps` batches one after the other, each with its share of every kind there is.

    Tonight's facts fill what the other kinds leave.
    """
    rng = random.Random(config.seed)
    decks = {kind: _Deck(rows, kind, rng=rng) for kind in RowKind}
    shares = {
        RowKind.NEVER_SAID: config.never_said,
        RowKind.REHEARSAL: config.rehearsal,
        RowKind.READING: config.reading,
    }

    # Rounded down, so that facts keep their share; the summand makes up for what a float loses.
    counts = dict.fromkeys(shares, 0)
    for kind, share in shares.items():
        if decks[kind].rows:
            counts[kind] = int(share * config.batch + 1e-9)
    counts[RowKind.FACT] = config.batch - sum(counts.values())

    drawn: list[Row] = []
    for _ in range(config.steps):
        batch: list[Row] = []
        for kind, count in counts.items():
            for _ in range(count):
                batch.append(decks[kind].draw())
        rng.shuffle(batch)
        drawn += batch
    return drawn


class _Deck:
    """The rows of one kind, drawn by chance: every row once before any row twice."""

    def __init__(self, rows: Sequence[Row], kind: RowKind, *, rng: random.Random) -> None:
        self.rows = [row for row in rows if row.kind is kind]
        self._left: list[Row] = []
        self._rng = rng

    def draw(self) -> Row:
        if not self._left:
            self._left = self._rng.sample(self.rows, len(self.rows))
        return self._left.pop()
