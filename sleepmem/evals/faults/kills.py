"""Kills: a process that works on a memory gets SIGKILL at a random moment, then all must be there.

What it had acknowledged is in the ledger, `verify` says sound, an interrupted night goes on or ends
in a reason, and nothing is learned twice.
"""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from sleepmem.evals.faults import children
from sleepmem.evals.faults.children import Child, Say
from sleepmem.evals.faults.nights import CONFIG, by_hand
from sleepmem.evals.faults.tally import Tally
from sleepmem.memory import SleepMemory

OWNER = ("alice",)
READY = "ready"
# What the server of the children imports once.
IMPORTED = ("sleepmem.evals.faults.kills", "sleepmem.night.schedule", "sleepmem.text.embeddings")
IMPORTED_AT_NIGHT = ("sleepmem.night.graph", "sleepmem.night.seeding", "sleepmem.model.local")
# Seconds of work after which a process is killed, at most.
_LONGEST = 1.5
# So many are indexed: more than wait to be searched exactly.
_INDEXED = 300
_FACTS = ("Mara lives in Brenport.", "The boss of Mara is Tolvan.", "Jon owns a red boat.")


def opened(folder: Path) -> SleepMemory:
    return SleepMemory.open(folder, config=CONFIG)


# What is killed


def observes(say: Say, folder: Path) -> None:
    with opened(folder) as memory:
        say(READY)
        while True:
            said = f"The number of Mara's boat is {uuid.uuid4().hex}."
            say(memory.observe(OWNER, said).id)


def sleeps(say: Say, folder: Path) -> None:
    by_hand()
    with opened(folder) as memory:
        say(READY)
        memory.sleep(OWNER, on_event=lambda event: say((event.get("step"), event.get("state"))))


def rolls_back(say: Say, folder: Path) -> None:
    with opened(folder) as memory:
        nights = [expert.night_id for expert in memory.ledger.lineage.experts(OWNER)]
        say(READY)
        while True:
            memory.rollback(OWNER, [])
            memory.rollback(OWNER, nights)


def backs_up(say: Say, folder: Path) -> None:
    with opened(folder) as memory:
        say(READY)
        while True:
            to = folder.with_name(f"{folder.name}-copy-{uuid.uuid4().hex[:8]}")
            memory.backup(to)
            say(to)


def reindexes(say: Say, folder: Path) -> None:
    with opened(folder) as memory:
        say(READY)
        while True:
            memory.reindex()


# Killing


class Kills:
    """Kills of every kind, each on a copy of a prepared folder."""

    def __init__(self, scratch: Path, *, seed: int = 0) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch, self._rng = scratch, random.Random(seed)
        self._number = 0

    def prepared(self, name: str, texts: Iterable[str]) -> Path:
        """A folder in which this was observed."""
        folder = self._scratch / name
        with opened(folder) as memory:
            for text in texts:
                memory.observe(OWNER, text)
            memory.reconcile()
        return folder

    def _copy(self, folder: Path) -> Path:
        self._number += 1
        return Path(shutil.copytree(folder, self._scratch / f"{folder.name}-{self._number}"))

    def _moment(self, longest: float = _LONGEST) -> None:
        time.sleep(self._rng.uniform(0, longest))

    def at_work(
        self,
        name: str,
        count: int,
        *,
        folder: Path,
        action: Callable[[Say, Path], None],
        longest: float = _LONGEST,
    ) -> Tally:
        """Kill a process that does one thing again and again."""
        tally = Tally(name)
        for _ in range(count):
            copy = self._copy(folder)
            child = Child(action, copy)
            child.wait_for(READY)
            self._moment(longest)
            said = child.kill()
            _check_end(child, tally)
            with tally.call():
                _look(copy, said, tally=tally)
            _remove(copy)
        return tally

    def nights(self, each: int, *, folder: Path) -> list[Tally]:
        """Kill nights in every step of theirs."""
        by_hand()
        lasting = self._durations(folder)
        tallies = []
        for step, seconds in lasting.items():
            tally = Tally(f"night, {step}")
            for _ in range(each):
                copy = self._copy(folder)
                child = Child(sleeps, copy)
                child.wait_for((step, "started"))
                self._moment(seconds)
                child.kill()
                _check_end(child, tally)
                with tally.call():
                    _go_on(copy, tally)
                _remove(copy)
            tallies.append(tally)
        return tallies

    def _durations(self, folder: Path) -> dict[str, float]:
        """Seconds of each step, of a night that nobody kills."""
        copy = self._copy(folder)
        lasting: dict[str, float] = {}
        name, began = "", 0.0
        for at, said in [*children.timed(Child(sleeps, copy))]:
            if said != READY and said[1] == "started":
                name, began = said[0], at
            if name:
                lasting[name] = at - began
        _remove(copy)
        return lasting

    def promoted(self, folder: Path) -> Path:
        """A copy of a folder after a night."""
        by_hand()
        copy = self._copy(folder)
        with opened(copy) as memory:
            memory.sleep(OWNER)
        return copy

    def indexes(self, count: int, *, texts: int = _INDEXED) -> Tally:
        """Kill the process that keeps the index, while this one observes and recalls."""
        tally = Tally("index's process")
        folder = self.prepared("indexed", (f"Boat {n} belongs to Mara." for n in range(texts)))
        for _ in range(count):
            copy = self._copy(folder)
            with opened(copy) as memory, tally.call():
                memory.reconcile()
                killer = threading.Thread(target=self._kill_index)
                killer.start()
                told = []
                while killer.is_alive():
                    told.append(memory.observe(OWNER, f"Jon saw {uuid.uuid4().hex}.").id)
                    if not memory.search(OWNER, "Which boat belongs to Mara?").episodes:
                        tally.lost.append("a recall found nothing")
                killer.join()
            _look(copy, told, tally=tally)
            _remove(copy)
        return tally

    def _kill_index(self) -> None:
        """At a random moment; then what asks it has a second to notice."""
        self._moment()
        for child in psutil.Process().children():
            if any("index_files" in word for word in child.cmdline()):
                child.kill()
        time.sleep(1)


def _check_end(child: Child, tally: Tally) -> None:
    """A process that no kill ended must have ended well."""
    if child.process.exitcode not in (0, -signal.SIGKILL):
        tally.undocumented.append(f"the process ended with {child.process.exitcode}")


def _look(folder: Path, acknowledged: Iterable[object], *, tally: Tally) -> None:
    """Open what was left: all that was acknowledged is there, and sound."""
    said = list(acknowledged)
    with opened(folder) as memory:
        memory.reconcile()
        tally.unsound += memory.verify()
        there = {episode.id for episode in memory.ledger.episodes.all(OWNER)}
        for one in said:
            if isinstance(one, str) and one != READY and one not in there:
                tally.lost.append(f"episode {one}")
        if not memory.search(OWNER, "Where is Mara's boat?").episodes:
            tally.lost.append("a recall found nothing")
    for copy in [one for one in said if isinstance(one, Path)]:
        with opened(copy) as memory:
            tally.unsound += memory.verify()
            if {episode.id for episode in memory.ledger.episodes.all(OWNER)} != there:
                tally.lost.append(f"episodes of the backup {copy.name}")


def _go_on(folder: Path, tally: Tally) -> None:
    """Open what a night left and sleep: it goes on, or says why not."""
    with opened(folder) as memory:
        tally.unsound += memory.verify()
        before = {episode.id for episode in memory.ledger.episodes.all(OWNER)}
        night = memory.ledger.nights.unfinished(OWNER)
        if night is not None:
            report = memory.sleep(OWNER)
            if report.night_id != night or not report.reason:
                tally.lost.append(f"night {night} went on as {report.night_id}: {report.reason!r}")
        if memory.ledger.nights.unfinished(OWNER) is not None:
            tally.lost.append(f"night {night} has no end")
        nights = [expert.night_id for expert in memory.ledger.lineage.experts(live=False)]
        if len(nights) != len(set(nights)):
            tally.lost.append(f"learned twice: {nights}")
        buffered = {episode.id for episode in memory.ledger.episodes.buffered(OWNER)}
        learned = {episode.id for episode in memory.ledger.episodes.learned(OWNER)}
        if buffered & learned or buffered | learned != before:
            tally.lost.append("episodes are neither buffered nor learned, or both")
        tally.unsound += memory.verify()


def _remove(folder: Path) -> None:
    for one in folder.parent.glob(f"*{folder.name}*"):
        shutil.rmtree(one, ignore_errors=True)


def run(kills: int, scratch: Path) -> list[Tally]:
    """So many kills, spread over all that can be killed: two of five at night."""
    killer = Kills(scratch)
    told = killer.prepared("told", _FACTS)
    nights = killer.nights(max(1, round(0.4 * kills / 12)), folder=told)
    left = kills - sum(tally.asked for tally in nights)
    fifth = max(1, left // 5)
    learned = killer.promoted(told)
    return [
        killer.at_work("observe", left - 4 * fifth, folder=told, action=observes),
        *nights,
        killer.at_work("rollback", fifth, folder=learned, action=rolls_back),
        killer.at_work("backup", fifth, folder=learned, action=backs_up),
        killer.at_work("reindex", fifth, folder=told, action=reindexes),
        killer.indexes(fifth),
    ]
