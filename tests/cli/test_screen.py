"""No stored text and no model's answer steers the terminal, whichever command prints it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from rich.table import Table
from typer.testing import CliRunner, Result

from sleepmem import ConfigError, NightReport, SleepMemory, Verdict
from sleepmem.cli import app, demo
from sleepmem.cli.app import progress
from sleepmem.cli.screen import Screen, shown
from sleepmem.day.answer import Answer
from sleepmem.records import Recall, View, as_path

run = CliRunner().invoke
# Clears the screen, sets its title, turns what follows, hides, forges a line, names a style.
EVIL = (
    "Mara\x1b[2J \x1b]0;pwned\x07\x9b31m \u202eolsO\u202c\u2066\u200b\u2028\r\x08\x7f[red]x[/red]"
)
STEERING = set("\x1b\x07\x9b\u202e\u202c\u2066\u200b\u2028\r\x08\x7f")
TAME = (
    "Mara\\x1b[2J \\x1b]0;pwned\\x07\\x9b31m \\u202eolsO\\u202c\\u2066\\u200b\\u2028\\r\\x08\\x7f"
    "[red]x[/red]"
)


def tame(done: Result) -> str:
    """What was printed, in one line; nothing of it steers."""
    printed = done.stdout + done.stderr
    assert not STEERING & set(printed), printed
    return " ".join(printed.split())


@pytest.mark.parametrize(
    "text",
    [
        "Mara lives in Łódź,\n\tnot in São Paulo.",
        "می‌خواهم",  # spelt with a joiner
        "क्‍ष",
        "👩‍👩‍👧 ❤️",
        "שלום, أهلا",
        "٪ ؀ 中文，日本語",
        "[bold]:smile:[/bold] \\x1b",
    ],
)
def test_texts_of_every_script_are_shown_as_they_are(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    "character",
    [
        *map(chr, [*range(9), *range(11, 32), 127, *range(128, 160)]),
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
        *"\u200b\u2060\ufeff\u2028\u2029\U000e0041\ud800",
    ],
)
def test_what_steers_is_shown_as_an_escape(character: str) -> None:
    escape = character.encode("unicode_escape").decode()
    assert shown(f"a{character}b") == f"a{escape}b"


def test_line_ends_of_windows_are_line_ends() -> None:
    assert shown("a\r\nb\rc") == "a\nb\\rc"


def test_a_screen_shows_tables_and_lines_alike(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[red]name", title=":smile:")
    table.add_row(EVIL)
    Screen(width=200).print(table, EVIL)
    printed = capsys.readouterr().out
    assert printed.count(TAME) == 2
    assert "[red]name" in printed
    assert ":smile:" in printed


@pytest.fixture
def evil(tmp_path: Path) -> str:
    """A folder, the owner and the texts of which steer a terminal."""
    path = tmp_path / "memory"
    with SleepMemory.open(path) as memory:
        memory.observe((EVIL,), EVIL)
        memory.observe(("alice",), EVIL)
    return str(path)


def test_observe(tmp_path: Path) -> None:
    done = run(app, ["observe", str(tmp_path / "m"), EVIL, "-n", as_path((EVIL,))])
    assert "remembered" in tame(done)
    assert "names no owner" in tame(run(app, ["observe", str(tmp_path / "m"), EVIL, "-n", "a//b"]))


def test_ask(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recall = Recall(View.RETRIEVAL, EVIL)
    monkeypatch.setattr(SleepMemory, "ask", lambda memory, owner, asked: Answer(EVIL, recall))
    assert tame(run(app, ["ask", evil, "Who?", "-n", "alice"])) == TAME
    done = run(app, ["ask", evil, "Who?", "-n", "alice", "--json"])
    assert json.loads(done.stdout)["answer"] == EVIL
    tame(done)


def test_chat(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def chat_model(memory: SleepMemory) -> Any:
        return GenericFakeChatModel(messages=iter([AIMessage(EVIL)] * 2))

    def fails(*given: Any, **more: Any) -> None:
        raise OSError(EVIL)

    monkeypatch.setattr(SleepMemory, "chat_model", chat_model)
    done = run(app, ["chat", evil, "-n", "alice"], input="Who is Mara?\n")
    assert tame(done) == TAME
    monkeypatch.setattr(SleepMemory, "recall", fails)
    done = run(app, ["chat", evil, "-n", "alice"], input="Who is Mara?\n")
    assert f"recalling failed: {TAME}" in tame(done)


def test_the_lines_of_a_night(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> NightReport:
        more["on_event"]({"step": EVIL, "done": 1, "of": 2, "arm": EVIL})
        return NightReport("night-0001", owner, Verdict.SKIPPED, EVIL)

    def fails(memory: SleepMemory, owner: tuple[str, ...], **more: Any) -> None:
        raise ConfigError(EVIL)

    monkeypatch.setattr(SleepMemory, "sleep", sleep)
    printed = tame(run(app, ["sleep", evil]))
    assert f"night-0001 of {TAME.replace('/', '%2F')}: skipped, {TAME}" in printed
    assert json.loads(run(app, ["sleep", evil, "--json"]).stdout)[0]["reason"] == EVIL
    monkeypatch.setattr(SleepMemory, "sleep", fails)
    assert tame(run(app, ["sleep", evil])).split("error: ")[1:] == [TAME + " ", TAME]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sleep", "{folder}", "-n", EVIL.replace("[/red]", "")],
        ["report", "{folder}", "-n", "nobody"],
        ["rollback", "{folder}", "--to", "", "-n", "nobody"],
        ["rollback", "{folder}", "--to", EVIL, "-n", "alice"],
        ["ask", "{folder}" + EVIL.replace("/", ""), "Where?"],
        ["ask", "{folder}", "Where?", "--model", "/" + EVIL],
        ["ask", "{folder}", "Where?", "--config", "/" + EVIL],
    ],
)
def test_errors(evil: str, arguments: list[str]) -> None:
    done = run(app, [argument.replace("{folder}", evil) for argument in arguments])
    assert done.exit_code == 1
    assert "\\x1b" in tame(done)


def test_status_and_its_table(evil: str) -> None:
    done = run(app, ["status", evil], env={"COLUMNS": "400"}, terminal_width=400)
    assert "\\x1b[2J" in tame(done)
    assert json.loads(run(app, ["status", evil, "--json"]).stdout)[0]["namespace"] == [EVIL]


def test_verify_and_reindex(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "made anew" in tame(run(app, ["reindex", evil]))
    monkeypatch.setattr(SleepMemory, "verify", lambda memory: [EVIL])
    assert tame(run(app, ["verify", evil])) == TAME
    assert json.loads(run(app, ["verify", evil, "--json"]).stdout)["faults"] == [EVIL]


def test_report(evil: str, tmp_path: Path) -> None:
    out = tmp_path / EVIL.replace("/", "")
    done = run(app, ["report", evil, "-n", "alice", "--out", str(out)])
    assert "\\x1b[2J" in tame(done)
    assert done.exit_code == 0


def test_the_table_of_a_week(capsys: pytest.CaptureFixture[str]) -> None:
    arm = {"accuracy": 1.0, "memory_tokens_per_turn": 1, "retrieval_rate": 1.0, "abstention": 1.0}
    day = {"day": 1, "facts_total": 8, "none": arm, "retrieval": arm, "sleepmem": arm}
    table = demo._table({"days": [day], "nights": [{"verdict": EVIL}]})
    Screen(width=300).print(table)
    assert TAME in capsys.readouterr().out


def test_warnings_of_others(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(memory: SleepMemory) -> list[str]:
        logging.getLogger("chromadb.client").warning("found %s", EVIL)
        with progress() as show:
            show({"step": EVIL})
        return []

    monkeypatch.setattr(SleepMemory, "verify", verify)
    assert f"found {TAME}" in tame(run(app, ["verify", evil]))
