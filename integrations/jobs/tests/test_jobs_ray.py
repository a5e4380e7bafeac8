"""Nights on a real Ray, of whose workers one is killed: each goes on, and none is lived twice."""

import contextlib
import functools
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sleepmem_jobs import Done, nights, ray_nights
from sleepmem_jobs.command import _beside
from sleepmem_jobs.ray_nights import _fitting
from sleepmem_jobs.worker import Worker

from sleepmem import ConfigError, SleepMemory, Verdict

psutil = pytest.importorskip("psutil")

# A night of seconds, whose exam lets anything pass.
NIGHT = """
[sleep.seeding]
steps = 10
batch = 4

[sleep.probe]
samples = 2
wordings = 2
rewordings = 1
inventions = 1
unsaid = 1
checks = 1

[sleep.exam]
recall = 0.0
old_nights = 1.0
abstention = 1.0
superseded = 1.0
reading = 1.0
general_kl = 99.0
"""
# Steps after which a night is in the middle: it has asked its questions.
_MIDDLE = 7


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "night.toml"
    file.write_text(NIGHT)
    return file


def told(place: Path, *, folders: int, owners: int) -> dict[Path, dict[tuple[str, ...], str]]:
    """Folders of owners who each said one thing; its id."""
    said: dict[Path, dict[tuple[str, ...], str]] = {}
    for number in range(folders):
        folder = place / f"folder-{number}"
        with SleepMemory.open(folder, append_only=True) as memory:
            said[folder] = {}
            for owner in ((f"owner-{n}",) for n in range(owners)):
                episode = memory.observe(owner, "The boss of Mara is Tolvan.")
                said[folder][owner] = episode.id
    return said


class Killer(threading.Thread):
    """Kills a worker in the middle of this owner's night, so often."""

    def __init__(self, folder: Path, owner: tuple[str, ...], times: int = 1) -> None:
        super().__init__(daemon=True)
        self.folder, self.owner, self.times = folder, owner, times
        self.killed: list[int] = []
        self.at: list[float] = []
        self.checkpoints: list[int] = []
        key = hashlib.sha256(json.dumps(list(owner)).encode()).hexdigest()[:32]
        self._lock = str(folder / "nights" / f"{key}.lock")

    def run(self) -> None:
        while len(self.killed) < self.times:
            reached = self._reached()
            if reached >= _MIDDLE and (worker := self._worker()):
                os.kill(worker, signal.SIGKILL)
                self.killed.append(worker)
                self.at.append(time.time())
                self.checkpoints.append(reached)
            time.sleep(0.05)

    def _reached(self) -> int:
        """Checkpoints of the owner's unfinished night."""
        with contextlib.suppress(sqlite3.Error):
            sql = "SELECT id FROM nights WHERE namespace = ? AND verdict IS NULL"
            key = json.dumps(list(self.owner))
            found = self._rows("ledger.db", sql, key)
            sql = "SELECT count(*) FROM checkpoints WHERE thread_id = ?"
            return int(self._rows("nights.db", sql, found[0][0])[0][0]) if found else 0
        return 0

    def _rows(self, file: str, sql: str, value: str) -> list[tuple]:
        address = f"file:{self.folder / file}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute(sql, [value]).fetchall()

    def _worker(self) -> int | None:
        """The process that holds the lock of the owner's night."""
        for process in psutil.process_iter(["cmdline"]):
            if not "".join(process.info["cmdline"] or []).startswith("ray::"):
                continue
            with contextlib.suppress(psutil.Error):
                if process.pid not in self.killed and self._lock in {
                    file.path for file in process.open_files()
                }:
                    return int(process.pid)
        return None


def prove(said: dict[Path, dict[tuple[str, ...], str]]) -> int:
    """From the ledgers: each owner had one night, and what was told is in one expert; how many."""
    proven = 0
    for folder, owners in said.items():
        with SleepMemory.open(folder) as memory:
            assert memory.verify() == []
            assert len(memory.ledger.nights.numbers()) == len(owners)
            for owner, episode in owners.items():
                (report,) = memory.nights(owner)
                assert report["verdict"] == "promoted"
                experts = memory.ledger.lineage.experts(owner, live=False)
                assert [expert.lineage for expert in experts] == [(episode,)]
                assert experts[0].night_id == report["night_id"]
                proven += 1
    return proven


def run_and_kill(tmp_path: Path, settings: Path, *, folders: int, owners: int) -> Killer:
    pytest.importorskip("ray")
    said = told(tmp_path, folders=folders, owners=owners)
    victim = tmp_path / "folder-0", ("owner-1",)
    killer = Killer(*victim)
    killer.start()
    began, done = time.monotonic(), []
    for one in nights(said, workers=2, config=settings, least=1):
        done.append(one)
        print(f"{time.monotonic() - began:.0f} s: {one.folder[-8:]}, {one.namespace[0]}")
    killer.join(1)
    assert [one.error for one in done] == [""] * folders * owners
    assert {one.verdict for one in done} == {Verdict.PROMOTED}
    assert len(killer.killed) == 1
    assert prove(said) == folders * owners
    # It began before its worker was killed, and ended after.
    with SleepMemory.open(victim[0], read_only=True) as memory:
        sql = "SELECT started_at, finished_at FROM nights WHERE namespace = ?"
        ((opened, ended),) = memory.ledger.database.rows(sql, json.dumps(list(victim[1])))
    killed_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(killer.at[0]))
    assert opened[:19] <= killed_at <= ended[:19]
    # Nothing is left to do, so nothing is learned twice.
    assert list(nights(said, workers=2, config=settings, least=1)) == []
    return killer


def test_a_killed_workers_night_goes_on_and_nothing_is_learned_twice(
    tmp_path: Path, settings: Path
) -> None:
    run_and_kill(tmp_path, settings, folders=2, owners=2)


@pytest.mark.slow
def test_twenty_owners_with_two_workers_of_which_one_is_killed(
    tmp_path: Path, settings: Path
) -> None:
    killer = run_and_kill(tmp_path, settings, folders=4, owners=5)
    print(f"killed after {killer.checkpoints[0]} checkpoints of a night")


@pytest.mark.slow
def test_a_night_that_kills_its_worker_every_time_is_given_up_alone(
    tmp_path: Path, settings: Path
) -> None:
    pytest.importorskip("ray")
    said = told(tmp_path, folders=1, owners=3)
    (folder,) = said
    killer = Killer(folder, ("owner-1",), times=3)
    killer.start()
    done = {one.namespace: one for one in nights(said, workers=1, config=settings, least=1)}
    assert len(killer.killed) == 3
    assert "ended 3 workers" in done["owner-1",].error
    assert {done[f"owner-{n}",].verdict for n in (0, 2)} == {Verdict.PROMOTED}
    # By hand it goes on.
    assert Worker(str(settings), 1).night(str(folder), ("owner-1",)).verdict is Verdict.PROMOTED
    assert prove(said) == 3


class Faulty(Worker):
    """A worker with a fault of its own, which it tells in several lines."""

    def night(self, folder: str, namespace: tuple[str, ...]) -> Done:
        raise RuntimeError("out of memory\nof the GPU")


def test_a_night_that_fails_by_a_fault_is_told_with_the_faults_own_words(
    tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_nights, "Worker", Faulty)
    said = told(tmp_path, folders=1, owners=1)
    (done,) = nights(said, config=settings, least=1)
    assert "the night of owner-0 in" in done.error
    assert "failed (RuntimeError: out of memory of the GPU); run it alone" in done.error
    assert "workers" not in done.error


def test_of_two_workers_one_runs_an_owners_night(tmp_path: Path, settings: Path) -> None:
    (folder,) = told(tmp_path, folders=1, owners=1)
    owner = ("owner-0",)
    worker = Worker(str(settings), 1)
    with SleepMemory.open(folder) as memory, memory._opened.night(owner):
        second = worker.night(str(folder), owner)
    assert (second.verdict, second.report) == (Verdict.FAILED, None)
    assert "running already" in second.error
    first = worker.night(str(folder), owner)
    assert first.verdict is Verdict.PROMOTED
    # Asked again, since nobody heard of it, it tells what was done.
    again = worker.night(str(folder), owner)
    assert again.report
    assert first.report
    assert again.report["night_id"] == first.report["night_id"] == "night-0001"


def test_what_was_forgotten_since_it_was_due_is_no_night(tmp_path: Path, settings: Path) -> None:
    (folder,) = told(tmp_path, folders=1, owners=1)
    owner = ("owner-0",)
    with SleepMemory.open(folder) as memory:
        memory.forget(owner, everything=True)
    done = Worker(str(settings), 1).night(str(folder), owner)
    assert done.verdict is Verdict.SKIPPED
    assert done.as_dict()["reason"] == "nothing is due"


@pytest.mark.parametrize(
    ("resources", "gpus", "fit"),
    [
        ({"CPU": 2.0, "GPU": 1.0}, 1, 1),
        ({"CPU": 2.0, "GPU": 1.0}, 0.5, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 0.6, 2),
        ({"CPU": 8.0, "GPU": 4.0}, 2, 2),
        ({"CPU": 2.0}, 1, 0),
        ({"CPU": 2.0}, 0, 2),
    ],
)
def test_as_many_workers_fit_as_have_a_core_and_a_gpu(
    resources: dict[str, float], gpus: float, fit: int
) -> None:
    assert _fitting(resources, gpus) == fit


def test_workers_that_would_wait_for_ever_are_refused(
    tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    # It counts on what it is told that there is.
    monkeypatch.setattr(ray, "init", functools.partial(ray.init, num_gpus=1))
    said = told(tmp_path, folders=1, owners=2)
    with pytest.raises(ConfigError, match=r"2 workers with 1 GPUs .* room for 1 "):
        list(nights(said, workers=2, gpus=1, config=settings, least=1))


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (done,) = nights([tmp_path / "none"])
    assert isinstance(done, Done)
    assert (done.verdict, done.namespace) == (Verdict.FAILED, ())
    with pytest.raises(ConfigError, match="TOML"):
        list(nights([tmp_path], config=__file__))


def test_the_command_says_it_with_its_exit_code(tmp_path: Path) -> None:
    (folder,) = told(tmp_path, folders=1, owners=1)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sleepmem_jobs.command", *options]
        return subprocess.run(command, capture_output=True, text=True)

    nothing = run(str(folder))
    assert (nothing.returncode, nothing.stdout) == (0, "")
    missing = run(str(folder), str(tmp_path / "none"))
    assert missing.returncode == 4
    assert json.loads(missing.stdout)["folder"] == str(tmp_path / "none")
    assert run(str(folder), "--config", "none.toml").returncode == 1


def test_what_ray_prints_meanwhile_is_no_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    def ran() -> Iterator[Done]:
        print("a worker died")
        yield Done("folder", error="told")

    assert len(list(_beside(sys.stdout, ran()))) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"] == "told"
    assert "a worker died" in printed.err
