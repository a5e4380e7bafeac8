"""observe, ask and chat, as a user types them, on the embedded model."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app

run = CliRunner().invoke
ALICE = ("alice",)


def test_ask_prints_the_answer_alone(folder: str) -> None:
    done = run(app, ["ask", folder, "Where does Mara live?", "--namespace", "alice"])
    assert done.exit_code == 0
    assert done.stdout.strip() == "Brenport."


def test_ask_as_json_says_why(folder: str) -> None:
    done = run(app, ["ask", folder, "Where does Mara live?", "-n", "alice", "--json"])
    answer = json.loads(done.stdout)
    assert answer["view"] == "retrieval"
    assert answer["episodes"] == ["Mara lives in Brenport."]


def test_another_namespace_is_not_told(folder: str) -> None:
    done = run(app, ["ask", folder, "Where does Mara live?", "-n", "bob"])
    assert "Brenport" not in done.stdout


def test_observe_prints_the_id_and_stores_once(folder: str) -> None:
    command = ["observe", folder, "Mara has a cat.", "-n", "alice", "--json"]
    first, second = json.loads(run(app, command).stdout), json.loads(run(app, command).stdout)
    assert first["id"] == second["id"]
    assert json.loads(run(app, ["status", folder, "--json"]).stdout)[0]["episodes"] == 2


def test_observe_takes_the_days_that_it_holds(folder: str) -> None:
    assert run(app, ["observe", folder, "Petrol costs 1.79.", "--lasts", "1.5"]).exit_code == 0
    with SleepMemory.open(folder) as memory:
        [told] = memory.ledger.episodes.all(("default",))
    holds = datetime.fromisoformat(told.lasts) - datetime.fromisoformat(told.created_at)
    assert holds == timedelta(days=1.5)
    refused = run(app, ["observe", folder, "Petrol is dear.", "--lasts", "0"])
    assert refused.exit_code == 1
    assert "duration above 0" in " ".join(refused.stderr.split())


def test_observe_refuses_what_the_settings_refuse(folder: str, tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('[policy]\nsecrets = "refuse"\n')
    command = ["observe", folder, "The key is AKIAIOSFODNN7EXAMPLE.", "-n", "alice"]
    done = run(app, [*command, "--config", str(tmp_path / "strict.toml")])
    assert done.exit_code == 1
    assert "falls under the rule secrets" in " ".join(done.stderr.split())
    assert run(app, command).exit_code == 0


def test_observe_appends_beside_the_writer(folder: str) -> None:
    with SleepMemory.open(folder) as memory:
        command = str(Path(sys.executable).with_name("sleepmem"))
        told = [command, "observe", folder, "Tolvan is a baker by trade.", "-n", "alice"]
        subprocess.run(told, check=True, capture_output=True, timeout=120)
        recall = memory.recall(ALICE, "What is the trade of Tolvan?")
        assert any("Tolvan" in episode.text for episode in recall.episodes)


def test_chat_goes_on_after_a_line_that_is_too_long(folder: str) -> None:
    done = run(app, ["chat", folder], input="word " * 3000 + "\nHello.\n/quit\n")
    assert done.exit_code == 0
    assert "shorten it" in " ".join(done.stderr.split())
    assert done.stdout.strip()


def test_chat_goes_on_when_what_the_night_needs_is_not_installed(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    lines = "/sleep\nWhere does Mara live?\n/quit\n"
    done = run(app, ["chat", folder, "-n", "alice"], input=lines)
    assert done.exit_code == 0
    assert "this needs trl, which is not installed" in done.stderr
    assert done.stdout.strip() == "Brenport."


def test_chat_remembers_within_the_folder(folder: str) -> None:
    lines = "Where does Mara live?\nThe boss of Mara is Tolvan.\n/quit\n"
    done = run(app, ["chat", folder, "-n", "alice"], input=lines)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].strip() == "Brenport."
    with SleepMemory.open(folder) as memory:
        assert [episode.text for episode in memory.ledger.episodes.all(ALICE)] == [
            "Mara lives in Brenport.",
            "Where does Mara live?",
            "The boss of Mara is Tolvan.",
        ]
