"""Every code block of the README is executed: Python in one namespace, the shell lines with the installed command."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_python_blocks_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    assert len(blocks("python")) >= 2
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["report"].night_id == "night-0001"
    assert (tmp_path / "agent-memory" / "ledger.db").exists()


def test_shell_blocks_run_as_they_stand(tmp_path: Path) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert {shlex.split(line)[1] for line in lines} >= {
        "observe",
        "ask",
        "sleep",
        "status",
        "report",
        "verify",
        "rollback",
    }
    answers = {}
    for line in lines:
        command = [str(Path(sys.executable).with_name("sleepmem")), *shlex.split(line)[1:]]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "120"},
            timeout=600,
        )
        assert done.returncode in ((0, 3) if "sleep" in command else (0,)), (
            f"{line}\n{done.stdout}\n{done.stderr}"
        )
        answers[shlex.split(line)[1]] = done.stdout
    assert "Brenport" in answers["ask"]


def test_every_command_is_in_the_readme() -> None:
    from sleepmem.cli import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert f"sleepmem {command.callback.__name__}" in README
