"""sleep and rollback: whose night it is, with which settings, and what is told of it."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sleepmem import ConfigError, ModelError, NightReport, SleepMemory, Verdict
from sleepmem.cli import app
from sleepmem.cli.nights import print_night

run = CliRunner().invoke
ALICE = ("alice",)


def test_sleep_takes_its_settings_from_a_file(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: object) -> None:
        raise ConfigError(f"{memory.config.sleep.dream.rounds} rounds for {owner[0]}")

    def told(*options: str) -> str:
        return run(app, ["sleep", folder, *options]).stderr

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    settings = tmp_path / "settings.toml"
    settings.write_text("[sleep.dream]\nrounds = 2")
    assert "2 rounds for alice" in told("--config", str(settings))
    assert "0 rounds for alice" in told()
    settings.write_text("[sleep.dream]\nrounds = -2")
    assert "DreamConfig.rounds is -2" in told("--config", str(settings))
    assert "could not be used" in told("--config", str(tmp_path / "none.toml"))


def test_sleep_goes_on_with_an_interrupted_night_where_nothing_is_buffered(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: object) -> None:
        raise ConfigError(f"a night for {owner[0]}")

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    with SleepMemory.open(folder) as memory:
        memory.ledger.database.db.execute(
            "UPDATE episodes SET superseded = 1, learned_in = 'night-0001'"
        )
    assert "nothing is buffered" in run(app, ["sleep", folder]).stdout
    with SleepMemory.open(folder) as memory:
        memory.ledger.nights.start(ALICE)
    assert "a night for alice" in run(app, ["sleep", folder]).stderr


def test_sleep_for_somebody_unknown_says_so(folder: str) -> None:
    done = run(app, ["sleep", folder, "-n", "nobody"])
    assert done.exit_code == 1
    assert "nothing was ever said to nobody" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [(["promoted", "skipped"], 0), (["rejected", "promoted"], 3), (["rejected", "failed"], 4)],
)
def test_the_exit_code_is_that_of_the_worst_night(
    folder: str, monkeypatch: pytest.MonkeyPatch, verdicts: list[str], code: int
) -> None:
    coming = iter(verdicts)

    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        more["on_event"]({"step": "seed", "done": 1, "of": 2, "loss": 0.5})
        return NightReport("night-0001", owner, Verdict(next(coming)), "r")

    run(app, ["observe", folder, "Jon owns the red boat.", "-n", "bob"])
    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    assert run(app, ["sleep", folder]).exit_code == code


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_owner_whose_night_runs_elsewhere_holds_up_no_other(
    folder: str, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        with memory._opened.night(owner):
            return NightReport("night-0001", owner, Verdict.REJECTED, "r")

    run(app, ["observe", folder, "Jon owns the red boat.", "-n", "bob"])
    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    with SleepMemory.open(folder) as memory, memory._opened.night(ALICE):
        done = run(app, ["sleep", folder, *options])
    assert done.exit_code == 1
    assert "running already" in " ".join(done.stderr.split())
    assert "bob" in done.stdout
    assert "alice" not in done.stdout
    assert "nothing is buffered" not in done.stdout


def test_a_model_that_cannot_be_loaded_is_told_once(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        raise ModelError("it cannot be loaded")

    run(app, ["observe", folder, "Jon owns the red boat.", "-n", "bob"])
    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    done = run(app, ["sleep", folder])
    assert (done.exit_code, done.stderr.count("cannot be loaded")) == (1, 1)


def test_an_interrupted_night_says_how_it_goes_on(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    done = run(app, ["sleep", folder])
    assert done.exit_code == 130
    assert "goes on at the next `sleepmem sleep`" in " ".join(done.stderr.split())


def test_a_night_that_changed_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    night: dict[str, Any] = {
        "night_id": "night-0008",
        "namespace": ALICE,
        "reason": "r",
        "level": "slow",
        "absorbed": 7,
        "episodes": 140,
    }
    print_night(NightReport(verdict=Verdict.REJECTED, **night))
    assert "nothing left the buffer" in capsys.readouterr().out
    print_night(NightReport(verdict=Verdict.PROMOTED, **night))
    assert "7 experts became one (slow)" in capsys.readouterr().out
