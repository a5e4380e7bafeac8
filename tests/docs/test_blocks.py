"""Every Python and bash block of the documentation runs as it stands.

The blocks of a page run in order, in one namespace, one temporary folder and one process, which
spares each line of the shell the import of libraries. TOML must be settings. A console block is not
run (it installs, or lives a week), but what it names must exist.
"""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from _pages import PAGES, ROOT, blocks
from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app
from sleepmem.config import read_config

RUN = [
    name for name, page in PAGES.items() if {"python", "bash"} & {b.language for b in blocks(page)}
]
# What a page must print, in this order. A night's verdict is no part of it: other machines compute
# other bits.
PRINTS = {
    "docs/quickstart.md": [
        *("Brenport.", "of 2 episodes left the buffer", "Brenport. - ", "Brenport."),
        *("Fenwin.", "night-0002 of bob", "report.html", "sound", "live: no expert"),
    ],
    "docs/concepts.md": ["retrieval - ", "Mara lives in Brenport.", "2 rounds of dreams"],
    "docs/models.md": ["Brenport."],
}


def shell(line: str) -> str:
    """What a line of the shell prints; a night may be rejected, nothing else may fail."""
    program, *arguments = shlex.split(line)
    assert program == "sleepmem", f"only the sleepmem command is run: {line}"
    done = CliRunner().invoke(app, arguments)
    allowed = (0, 3) if arguments[0] == "sleep" else (0,)
    assert done.exit_code in allowed, f"{line}\n{done.output}"
    return done.stdout


@pytest.mark.parametrize("name", RUN)
def test_blocks_run_as_they_stand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    printed = ""
    try:
        for block in blocks(PAGES[name]):
            if block.language == "python":
                exec(compile(block.text, name, "exec"), names)
                printed += capsys.readouterr().out
            elif block.language == "bash":
                printed += "".join(shell(line) for line in block.text.splitlines())
    finally:
        if isinstance(memory := names.get("memory"), SleepMemory):
            memory.close()
    # What it prints is what the page promises.
    for expected in PRINTS.get(name, []):
        assert expected in printed
        printed = printed.partition(expected)[2]
    if name == "README.md":
        assert names["report"].night_id == "night-0001"
        assert (tmp_path / "agent-memory" / "ledger.db").exists()


@pytest.mark.parametrize("name", PAGES)
def test_toml_blocks_are_settings(name: str, tmp_path: Path) -> None:
    for block in blocks(PAGES[name]):
        if block.language == "toml":
            (tmp_path / "settings.toml").write_text(block.text, "utf-8")
            read_config(tmp_path / "settings.toml")


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_kind_that_is_checked(name: str) -> None:
    kinds = {b.language for b in blocks(PAGES[name])}
    assert kinds <= {"python", "bash", "toml", "console", "text"}
    # Code that is set off by spaces alone would be run by nobody.
    assert not re.search(r"^    (from|import|memory|sleepmem|make) ", PAGES[name], re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_what_is_not_run_is_there(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    targets = _targets()
    for target in re.findall(r"(?:`|\$ )make ([a-z][a-z0-9-]*)", PAGES[name]):
        assert target in targets
    for extra in re.findall(r"sleepmem\[(\w+)\]", PAGES[name]):
        assert extra in project["optional-dependencies"]
    for command in re.findall(r"`sleepmem ([a-z]+)", PAGES[name]):
        assert f"## `sleepmem {command}`" in PAGES["cli.md"]


def _targets() -> set[str]:
    """The targets of the Makefile; those of a pattern rule stand before its colon, too."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    rules = re.findall(r"^([a-z][a-z0-9 -]*):(?!=)", makefile, re.MULTILINE)
    return {target for rule in rules for target in rule.split()}
