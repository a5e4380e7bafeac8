"""The command, as a user types it, on the embedded model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleepmem import ConfigError, NightReport, SleepMemory, Verdict
from sleepmem.cli import app
from sleepmem.cli.app import _tell

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path: Path) -> str:
    at = str(tmp_path / "memory")
    assert (
        run(app, ["observe", at, "Mara lives in Brenport.", "--namespace", "alice"]).exit_code == 0
    )
    return at


def test_ask_prints_the_answer_alone(folder: str) -> None:
    done = run(app, ["ask", folder, "Where does Mara live?", "--namespace", "alice"])
    assert done.exit_code == 0
    assert done.stdout.strip() == "Brenport."


def test_ask_as_json_says_why(folder: str) -> None:
    found = json.loads(
        run(app, ["ask", folder, "Where does Mara live?", "-n", "alice", "--json"]).stdout
    )
    assert found["view"] == "retrieval"
    assert found["episodes"] == ["Mara lives in Brenport."]


def test_another_namespace_is_not_told(folder: str) -> None:
    assert "Brenport" not in run(app, ["ask", folder, "Where does Mara live?", "-n", "bob"]).stdout


def test_observe_prints_the_id_and_stores_once(folder: str) -> None:
    first = json.loads(
        run(app, ["observe", folder, "Mara has a cat.", "-n", "alice", "--json"]).stdout
    )
    second = json.loads(
        run(app, ["observe", folder, "Mara has a cat.", "-n", "alice", "--json"]).stdout
    )
    assert first["id"] == second["id"]
    assert json.loads(run(app, ["status", folder, "--json"]).stdout)[0]["episodes"] == 2


def test_observe_appends_beside_the_writer(folder: str) -> None:
    with SleepMemory.open(folder) as memory:
        command = [
            str(Path(sys.executable).with_name("sleepmem")),
            "observe",
            folder,
            "Tolvan is a baker by trade.",
            "-n",
            "alice",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        assert any(
            "Tolvan" in e.text
            for e in memory.recall(("alice",), "What is the trade of Tolvan?").episodes
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", "{missing}", "Where?"], "there is no memory in"),
        (["observe", "{folder}", "  "], "the episode is empty"),
        (["observe", "{folder}", "x", "-n", "../up"], "cannot name a folder"),
        (["observe", "{folder}", "word " * 2000], "Split it into several"),
        (["ask", "{folder}", "Where?", "--model", "/nowhere/at/all"], "no model folder"),
        (["rollback", "{folder}", "--to", "night-0009", "-n", "alice"], "made no expert"),
        (["rollback", "{folder}", "--to", "", "-n", "carol"], "nothing was ever said to carol"),
    ],
)
def test_a_fault_is_one_sentence_and_exit_code_1(
    folder: str, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = run(app, [a.format(folder=folder, missing=tmp_path / "nothing") for a in arguments])
    assert done.exit_code == 1
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_sleep_takes_its_settings_from_a_file(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: object) -> None:
        raise ConfigError(f"{memory.config.sleep.dream.rounds} rounds for {owner[0]}")

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    settings = tmp_path / "settings.toml"
    settings.write_text("[sleep.dream]\nrounds = 2")
    assert "2 rounds for alice" in run(app, ["sleep", folder, "--config", str(settings)]).stderr
    assert "0 rounds for alice" in run(app, ["sleep", folder]).stderr
    settings.write_text("[sleep.dream]\nrounds = -2")
    assert (
        "DreamConfig.rounds is -2" in run(app, ["sleep", folder, "--config", str(settings)]).stderr
    )
    assert (
        "could not be used"
        in run(app, ["sleep", folder, "--config", str(tmp_path / "none.toml")]).stderr
    )


def test_sleep_goes_on_with_an_interrupted_night_where_nothing_is_buffered(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: object) -> None:
        raise ConfigError(f"a night for {owner[0]}")

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    with SleepMemory.open(folder) as memory:
        memory.ledger.db.execute("UPDATE episodes SET superseded = 1, learned_in = 'night-0001'")
    assert "nothing is buffered" in run(app, ["sleep", folder]).stdout
    with SleepMemory.open(folder) as memory:
        memory.ledger.start_night(("alice",))
    assert "a night for alice" in run(app, ["sleep", folder]).stderr


def test_a_night_that_changed_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = {
        "night_id": "night-0008",
        "namespace": ("alice",),
        "reason": "r",
        "level": "slow",
        "absorbed": 7,
        "episodes": 140,
    }
    _tell(NightReport(verdict=Verdict.REJECTED, **told))
    assert "nothing left the buffer" in capsys.readouterr().out
    _tell(NightReport(verdict=Verdict.PROMOTED, **told))
    assert "7 experts became one (slow)" in capsys.readouterr().out


def test_sleep_for_somebody_unknown_says_so(folder: str) -> None:
    done = run(app, ["sleep", folder, "-n", "nobody"])
    assert (done.exit_code, "nothing was ever said to nobody" in " ".join(done.stderr.split())) == (
        1,
        True,
    )


def test_chat_goes_on_after_a_line_that_is_too_long(folder: str) -> None:
    done = run(app, ["chat", folder], input="word " * 3000 + "\nHello.\n/quit\n")
    assert done.exit_code == 0
    assert "shorten it" in " ".join(done.stderr.split())
    assert done.stdout.strip()


def test_verify_finds_a_changed_ledger(folder: str) -> None:
    assert run(app, ["verify", folder]).exit_code == 0
    with SleepMemory.open(folder) as memory:
        memory.ledger.db.execute("UPDATE episodes SET text = 'Mara lives elsewhere.'")
    done = run(app, ["verify", folder, "--json"])
    assert done.exit_code == 1
    assert not json.loads(done.stdout)["sound"]


def test_report_writes_a_self_contained_page(folder: str, tmp_path: Path) -> None:
    run(app, ["ask", folder, "Where does Mara live?", "-n", "alice"])
    assert run(app, ["report", folder, "-n", "alice", "--out", str(tmp_path / "r")]).exit_code == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert (tmp_path / "r" / "retrieval-load.png").read_bytes().startswith(b"\x89PNG")


def test_chat_remembers_within_the_folder(folder: str) -> None:
    done = run(
        app,
        ["chat", folder, "-n", "alice"],
        input="Where does Mara live?\nThe boss of Mara is Tolvan.\n/quit\n",
    )
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].strip() == "Brenport."
    with SleepMemory.open(folder) as memory:
        assert [e.text for e in memory.ledger.episodes(("alice",))] == [
            "Mara lives in Brenport.",
            "The boss of Mara is Tolvan.",
        ]


@pytest.mark.parametrize(
    "command", [c.callback.__name__ for c in app.registered_commands if c.callback]
)
def test_every_command_has_help(command: str) -> None:
    done = run(app, [command, "--help"])
    assert done.exit_code == 0
    assert len(done.stdout) > 100
