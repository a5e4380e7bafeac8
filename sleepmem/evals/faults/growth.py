"""Growth: what a process that serves many owners takes, beside one that only imported the same."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from sleepmem.evals.faults import owners
from sleepmem.evals.faults.children import Child, Say
from sleepmem.memory import SleepMemory
from sleepmem.text.embeddings import default_embeddings

IMPORTED = ("sleepmem.evals.faults.growth", "sleepmem.text.embeddings")
# Aims: megabytes above the bare process, seconds to open.
MEGABYTES, SECONDS = 300.0, 2.0
# The first owner has so many episodes, so that there is an index, too.
_INDEXED = 300
_MEGA = 2**20


@dataclass(frozen=True)
class Grown:
    """What a process takes that has answered all of so many owners once.

    bare         megabytes of a process that imported the same and embedded a text
    own, index   megabytes of the one that serves, and of its index's
    files        in the folder
    descriptors  open, of the one that serves
    seconds      to open the folder
    """

    owners: int
    episodes: int
    bare: float
    own: float
    index: float
    files: int
    descriptors: int
    seconds: float

    @property
    def above(self) -> float:
        return self.own + self.index - self.bare

    @property
    def is_within(self) -> bool:
        return self.above <= MEGABYTES and self.seconds <= SECONDS


def serves(say: Say, folder: Path, *, number: int) -> None:
    """Open the folder and answer every owner; says what that takes."""
    process = psutil.Process()
    default_embeddings().embed_query("Where is Mara's boat?")
    bare = process.memory_info().rss
    started, rng = time.perf_counter(), random.Random(number)
    with SleepMemory.open(folder) as memory:
        seconds = time.perf_counter() - started
        for one in range(number):
            memory.recall(owners.owner(one), owners.question(rng))
        index = sum(child.memory_info().rss for child in process.children())
        own = process.memory_info().rss
        say((bare / _MEGA, own / _MEGA, index / _MEGA, process.num_fds(), seconds))


def run(
    folder: Path,
    numbers: Sequence[int] = (10, 100, 1_000),
    *,
    each: int = 50,
    indexed: int = _INDEXED,
) -> list[Grown]:
    """At more and more owners; each number is that of a process of its own."""
    grown: list[Grown] = []
    before = 0
    owners.fill(folder, [0], each=indexed - each)
    for number in numbers:
        owners.fill(folder, range(before, number), each=each, seed=number)
        before = number
        # What was never embedded is embedded by a first process: that is no cost of opening.
        for _ in range(2):
            (said,) = Child(serves, folder, number=number).wait_for()
        bare, own, index, descriptors, seconds = said
        files = sum(path.is_file() for path in folder.rglob("*"))
        with SleepMemory.open(folder, read_only=True) as memory:
            episodes = len(memory.ledger.episodes.all())
        grown.append(Grown(number, episodes, bare, own, index, files, descriptors, seconds))
        print(grown[-1], flush=True)
    return grown


def table(grown: Sequence[Grown]) -> str:
    """Markdown."""
    lines = [
        "| owners | episodes | bare, MB | serving, MB | index, MB | above, MB | files | open files "
        "| opened in, s |",
        "|---:" * 9 + "|",
    ]
    for one in grown:
        lines.append(
            f"| {one.owners:,} | {one.episodes:,} | {one.bare:.0f} | {one.own:.0f} "
            f"| {one.index:.0f} | {one.above:.0f} | {one.files} | {one.descriptors} "
            f"| {one.seconds:.2f} |"
        )
    return "\n".join(lines)
