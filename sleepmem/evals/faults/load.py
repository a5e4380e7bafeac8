"""Load: web workers, a Chroma server and a night from cron on one folder, and a kill of each.

Every worker observes and recalls for several owners through the server; `sleepmem sleep` comes
beside them. What was killed is started again.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepmem.errors import SleepmemError
from sleepmem.evals.faults import owners
from sleepmem.evals.faults.children import Child, Say
from sleepmem.evals.faults.tally import Tally
from sleepmem.memory import SleepMemory

IMPORTED = ("sleepmem.evals.faults.load", "sleepmem.text.embeddings", "chromadb")
# What a night of the bench does: little, but all of its steps.
SETTINGS = """
[sleep]
replay_budget = 3
levels = [{name = "fast", every = 1, rank = 2, steps_per_episode = 0}]
[sleep.probe]
samples = 2
inventions = 1
unsaid = 1
[sleep.seeding]
steps = 2
batch = 4
[sleep.dream]
rounds = 0
"""
# Seconds that the server, or what it is started with, has to come up.
_STARTING = 60.0
# Seconds between two calls of a worker.
_PAUSE = 0.02
_READY, _OBSERVE, _RECALL = "ready", "observe", "recall"


@dataclass
class Load:
    """How much of it.

    folder   the memory folder
    workers  processes that observe and recall
    owners   whom each of them serves
    seconds  for which
    nights   seconds between two; 0: none
    kills    of a worker, of the server and of a night each
    earlier  episodes that the first owner has: so many are searched by the server
    """

    folder: Path
    workers: int = 4
    owners: int = 6
    seconds: float = 60.0
    nights: float = 20.0
    kills: int = 1
    earlier: int = 300
    seed: int = 0


# The workers


def works(say: Say, folder: Path, *, port: int, number_of_owners: int, seed: int) -> None:
    """Observe and recall until the end of this process; says what came of each call."""
    rng = random.Random(seed)
    with SleepMemory.open(folder, chroma_client=_client(port)) as memory:
        memory.recall(owners.owner(0), owners.question(rng))
        say((_READY, None))
        while True:
            number = rng.randrange(number_of_owners)
            owner, told = owners.owner(number), owners.text(number, rng)
            asked = owners.question(rng, about=rng.choice([None, rng.randrange(number_of_owners)]))
            with _call(say, _OBSERVE):
                say(("told", memory.observe(owner, told).id))
            with _call(say, _RECALL):
                found = memory.recall(owner, asked)
                texts = [episode.text for episode in found.episodes]
                for leak in owners.strangers([*texts, memory.context(found)], number):
                    say(("leaked", leak))
            time.sleep(_PAUSE)


@contextlib.contextmanager
def _call(say: Say, what: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except Exception as error:  # which of them is what is counted
        is_ours = isinstance(error, SleepmemError)
        say(("documented" if is_ours else "undocumented", f"{type(error).__name__}: {error}"))
    say((what, time.perf_counter() - started))


def _client(port: int) -> Any:
    """A client of the server, once it is there."""
    import chromadb
    from chromadb.config import Settings

    until = time.monotonic() + _STARTING
    while True:
        try:
            return chromadb.HttpClient(
                "127.0.0.1", port, settings=Settings(anonymized_telemetry=False)
            )
        except Exception:  # chromadb raises bare errors of its client while there is no server
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def checks(say: Say, folder: Path, *, port: int) -> None:
    """Says which episodes there are, what `verify` says, and why the index failed."""
    with SleepMemory.open(folder, chroma_client=_client(port)) as memory:
        say([episode.id for episode in memory.ledger.episodes.all()])
        memory.reconcile()
        say(memory.verify())
        say([event["reason"] for event in memory.ledger.turns.events("index failed")])


# What runs beside them


class Server:
    """`chroma run`, on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = Path(sys.executable).with_name("chroma")
        self.process = subprocess.Popen(
            [command, "run", "--path", self._folder, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Nights:
    """`sleepmem sleep` of one owner after the other, as cron would."""

    load: Load
    settings: Path
    tally: Tally = field(default_factory=lambda: Tally("sleepmem sleep"))
    _process: subprocess.Popen[bytes] | None = None
    _next: float = 0.0

    @property
    def _told(self) -> Path:
        return self.settings.with_name("night.txt")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def go_on(self) -> None:
        """Start the next one when it is due; see how the last one ended."""
        if self.is_running or not self.load.nights:
            return
        self.ended()
        if time.monotonic() >= self._next:
            owner = "/".join(owners.owner(self.tally.asked % self.load.owners))
            command = [sys.executable, "-m", "sleepmem", "sleep", str(self.load.folder)]
            command += ["--namespace", owner, "--config", str(self.settings)]
            # Into a file: a pipe that nobody reads is full one day.
            with self._told.open("w") as told:
                self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
            self.tally.asked += 1
            self._began = time.monotonic()
            self._next = self._began + self.load.nights

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def ended(self) -> None:
        """Read what a night that has ended says; a killed one says nothing."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.wait()
        told = self._told.read_text()
        if process.returncode >= 0:
            self.tally.seconds.append(time.monotonic() - self._began)
        if "Traceback" in told:
            self.tally.undocumented.append(told[-300:])
        elif process.returncode not in (0, 3, 4) and process.returncode > 0:
            self.tally.documented.append(told[-300:])


# All of it


def run(load: Load) -> list[Tally]:
    """Run it; then all that was acknowledged must be there, and sound."""
    load.folder.parent.mkdir(parents=True, exist_ok=True)
    settings = load.folder.with_name("settings.toml")
    settings.write_text(SETTINGS)
    owners.fill(load.folder, range(load.owners), each=1)
    owners.fill(load.folder, [0], each=load.earlier, seed=1)
    server = Server(load.folder.with_name("server"))
    nights = Nights(load, settings)
    crowd = Crowd(load, server.port)
    try:
        crowd.gather()
        until = time.monotonic() + load.seconds
        kills = _kills(load)
        while time.monotonic() < until:
            crowd.listen()
            nights.go_on()
            is_due = kills and until - time.monotonic() < kills[0][0]
            if is_due and (kills[0][1] != "night" or nights.is_running):
                _kill(kills.pop(0)[1], crowd=crowd, server=server, nights=nights)
            time.sleep(0.05)
        crowd.end()
        nights.kill()
        nights.ended()
        crowd.check()
    finally:
        nights.kill()
        crowd.end()
        server.kill()
    return [crowd.observed, crowd.recalled, nights.tally]


def _kills(load: Load) -> list[tuple[float, str]]:
    """When, in seconds before the end, and what; earliest first."""
    rng = random.Random(load.seed)
    kinds = ["worker", "server", *(["night"] if load.nights else [])]
    drawn = []
    for kind in kinds * load.kills:
        drawn.append((rng.uniform(0.1, 0.8) * load.seconds, kind))
    return sorted(drawn, reverse=True)


def _kill(what: str, *, crowd: Crowd, server: Server, nights: Nights) -> None:
    if what == "worker":
        crowd.kill_one()
    elif what == "server":
        server.kill()
        time.sleep(1)
        server.start()
    else:
        nights.kill()


class Crowd:
    """The workers, and what they say."""

    def __init__(self, load: Load, port: int) -> None:
        self._load, self._port, self._started = load, port, 0
        self._told: set[str] = set()
        self.observed, self.recalled = Tally("observe under load"), Tally("recall under load")
        self._workers = [self._worker() for _ in range(load.workers)]

    def _worker(self) -> Child:
        self._started += 1
        load = self._load
        seed = load.seed + self._started
        return Child(works, load.folder, port=self._port, number_of_owners=load.owners, seed=seed)

    def gather(self) -> None:
        """Wait until all are at work."""
        for worker in self._workers:
            for said in worker.wait_for((_READY, None)):
                self._count(*said)

    def kill_one(self) -> None:
        worker = self._workers.pop(0)
        for said in worker.kill():
            self._count(*said)
        self._workers.append(self._worker())

    def listen(self) -> None:
        for worker in list(self._workers):
            for said in worker.said():
                self._count(*said)
            if not worker.process.is_alive():
                self.observed.undocumented.append(f"a worker ended: {worker.process.exitcode}")
                self._workers.remove(worker)
                self._workers.append(self._worker())

    def _count(self, what: str, value: Any) -> None:
        tally = self.recalled if what in (_RECALL, "leaked") else self.observed
        if what == "told":
            self._told.add(value)
        elif what in (_OBSERVE, _RECALL):
            tally.asked += 1
            tally.seconds.append(value)
        elif what != _READY:
            getattr(tally, what).append(value)

    def end(self) -> None:
        while self._workers:
            for said in self._workers.pop().kill():
                self._count(*said)

    def check(self) -> None:
        """What was acknowledged is in the ledger, which is sound."""
        child = Child(checks, self._load.folder, port=self._port)
        there, unsound, failures = child.wait_for()
        child.process.join()
        self.observed.lost += [f"episode {one}" for one in self._told - set(there)]
        self.observed.unsound += unsound
        for reason in failures:
            print("index failed:", reason, flush=True)
