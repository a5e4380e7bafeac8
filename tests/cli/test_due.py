"""nights: whose is due, what holds up nothing else, what a scheduler is told."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sleepmem import ModelError, NightReport, SleepMemory, Verdict
from sleepmem.cli import app
from sleepmem.model import local as models

run = CliRunner().invoke
ALICE = ("alice",)
SHORT = """
[sleep.seeding]
steps = 1
batch = 4

[sleep.probe]
samples = 2
wordings = 2
rewordings = 0
inventions = 1
unsaid = 1
checks = 1
"""


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A second folder, of two owners."""
    path = str(tmp_path / "other")
    for owner in ("bob", "carol/work"):
        run(app, ["observe", path, "The boss of Jon is Tolvan.", "-n", owner])
    return path


def told(verdicts: dict[str, Verdict]) -> Any:
    """Nights that end so, by the first part of the owner; promoted by default."""

    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        with memory._opened.night(owner):
            verdict = verdicts.get(owner[0], Verdict.PROMOTED)
            return NightReport("night-0001", owner, verdict, "r")

    return sleep


def lines(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_nights_of_all_folders_and_owners_are_run(
    folder: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepMemory, "sleep", told({}))
    done = run(app, ["nights", folder, other, folder, "--least", "1", "--json"])
    assert done.exit_code == 0
    ran = [(Path(line["folder"]).name, line["namespace"]) for line in lines(done.stdout)]
    assert ran == [("memory", ["alice"]), ("other", ["bob"]), ("other", ["carol", "work"])]
    assert {line["verdict"] for line in lines(done.stdout)} == {"promoted"}
    shown = run(app, ["nights", other, "--least", "1"]).stdout
    assert "carol/work" in shown


def test_nothing_is_due_before_enough_came_in(folder: str, tmp_path: Path) -> None:
    done = run(app, ["nights", folder])
    assert (done.exit_code, done.stdout) == (0, "nothing is due\n")
    assert run(app, ["nights", folder, "--json"]).stdout == ""
    settings = tmp_path / "settings.toml"
    settings.write_text("[sleep]\ntired_at = 2")
    assert "nothing is due" in run(app, ["nights", folder, "--config", str(settings)]).stdout


def test_an_interrupted_night_is_due_whatever_came_in(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepMemory, "sleep", told({}))
    with SleepMemory.open(folder) as memory:
        memory.ledger.nights.start(ALICE)
    assert [line["namespace"] for line in lines(run(app, ["nights", folder, "--json"]).stdout)] == [
        ["alice"]
    ]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({"alice": Verdict.SKIPPED}, 0),
        ({"alice": Verdict.REJECTED}, 3),
        ({"alice": Verdict.REJECTED, "bob": Verdict.FAILED}, 4),
    ],
)
def test_the_exit_code_tells_rejected_from_failed(
    folder: str,
    other: str,
    monkeypatch: pytest.MonkeyPatch,
    verdicts: dict[str, Verdict],
    code: int,
) -> None:
    monkeypatch.setattr(SleepMemory, "sleep", told(verdicts))
    assert run(app, ["nights", folder, other, "--least", "1"]).exit_code == code


def test_a_night_that_runs_elsewhere_is_told_and_holds_up_no_other(
    folder: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepMemory, "sleep", told({}))
    with SleepMemory.open(other) as memory, memory._opened.night(("bob",)):
        done = run(app, ["nights", other, folder, "--least", "1", "--json"])
    assert done.exit_code == 4
    bob, carol, alice = lines(done.stdout)
    assert "running already" in bob["error"]
    assert (bob["namespace"], "verdict" in bob) == (["bob"], False)
    assert {carol["verdict"], alice["verdict"]} == {"promoted"}


def test_a_folder_that_cannot_be_used_holds_up_no_other(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepMemory, "sleep", told({}))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "ledger.db").write_text("no database, but long enough to be looked at" * 9)
    missing = str(tmp_path / "missing")
    done = run(app, ["nights", missing, str(foreign), folder, "--least", "1", "--json"])
    assert done.exit_code == 4
    first, second, third = lines(done.stdout)
    assert "there is no memory in" in first["error"]
    assert str(foreign) in second["error"]
    assert third["verdict"] == "promoted"
    assert not Path(missing).exists()


def test_a_model_that_cannot_be_loaded_ends_its_folder_alone(
    folder: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = told({})

    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        if memory.folder.name == "other":
            raise ModelError("it cannot be loaded")
        report: NightReport = good(memory, owner, **more)
        return report

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    done = run(app, ["nights", other, folder, "--least", "1", "--json"])
    assert done.exit_code == 4
    assert [line.get("error") for line in lines(done.stdout)] == ["it cannot be loaded", None]


def test_a_scheduler_that_stops_it_leaves_the_night_to_the_next(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert more["stop"].wait(5)

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    before = signal.getsignal(signal.SIGTERM)
    done = run(app, ["nights", folder, "--least", "1"])
    assert done.exit_code == 130
    assert "goes on at the next" in " ".join(done.stderr.split())
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_scheduler_stops_it_between_two_nights_as_well(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def due(memory: SleepMemory, **how: Any) -> list[tuple[str, ...]]:
        # As of the first process of a container, which the kernel spares what it does not handle.
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    monkeypatch.setattr(SleepMemory, "due_nights", due)
    spared = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        done = run(app, ["nights", folder])
        assert done.exit_code == 130
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, spared)


def test_two_folders_share_one_loaded_base(
    folder: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], models.load_base

    def counted(*given: Any, **how: Any) -> Any:
        loaded.append(given[0])
        return load(*given, **how)

    monkeypatch.setattr(models, "load_base", counted)
    settings = tmp_path / "settings.toml"
    settings.write_text(SHORT)
    how = ["--least", "1", "--json", "--config", str(settings)]
    done = run(app, ["nights", folder, other, *how])
    assert done.exit_code in (0, 3)
    # What a scheduler would mail.
    assert done.stderr == ""
    nights = lines(done.stdout)
    assert len(nights) == 3
    assert all(night["tokens_trained"] for night in nights)
    assert len(loaded) == 1
    # What came in before a night that was rejected, too, makes no other due.
    assert run(app, ["nights", folder, other, *how]).stdout == ""
