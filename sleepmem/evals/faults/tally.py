"""What one part of the bench counts, and the table of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sleepmem.errors import SleepmemError

COLUMNS = ("asked for", "lost", "leaked", "unsound", "undocumented", "documented", "locked")


@dataclass
class Tally:
    """Of one kind of fault.

    asked         calls, or kills
    lost          acknowledged and gone, or learned twice
    leaked        texts of another owner
    unsound       sentences of `verify`
    undocumented  errors that are none of `sleepmem.errors`
    documented    errors that are
    """

    name: str
    asked: int = 0
    lost: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)
    documented: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call, timed; what it raises is counted."""
        self.asked += 1
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # which of them is what is counted
            self.failed(error)
        self.seconds.append(time.perf_counter() - started)

    def failed(self, error: Exception) -> None:
        told = self.documented if isinstance(error, SleepmemError) else self.undocumented
        told.append(f"{type(error).__name__}: {error}")

    @property
    def locked(self) -> int:
        """Errors, of either sort, that tell of a locked ledger."""
        errors = [*self.documented, *self.undocumented]
        return sum("locked" in error.lower() for error in errors)

    @property
    def is_clean(self) -> bool:
        faults = [*self.lost, *self.leaked, *self.unsound, *self.undocumented]
        return not faults and not self.locked

    @property
    def numbers(self) -> tuple[int, ...]:
        """One for each of the columns."""
        counted = (self.lost, self.leaked, self.unsound, self.undocumented, self.documented)
        return (self.asked, *map(len, counted), self.locked)


def table(tallies: Sequence[Tally]) -> str:
    """Markdown: counts, and the median and the slowest in milliseconds."""
    lines = [
        "| | " + " | ".join(COLUMNS) + " | median, ms | slowest, ms |",
        "|---" + "|---:" * (len(COLUMNS) + 2) + "|",
    ]
    for tally in tallies:
        times = [1000 * one for one in tally.seconds] or [0.0]
        counts = " | ".join(map(str, tally.numbers))
        lines.append(
            f"| {tally.name} | {counts} | {statistics.median(times):.0f} | {max(times):.0f} |"
        )
    return "\n".join(lines)


def examples(tallies: Sequence[Tally], *, each: int = 3) -> list[str]:
    """What was found, a few of each kind."""
    found = []
    for tally in tallies:
        for what in ("lost", "leaked", "unsound", "undocumented", "documented"):
            for text in list(dict.fromkeys(getattr(tally, what)))[:each]:
                found.append(f"{tally.name}, {what}: {text}")
    return found
