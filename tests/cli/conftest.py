"""A memory folder with one episode, told on the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleepmem.cli import app


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = str(tmp_path / "memory")
    told = CliRunner().invoke(
        app, ["observe", path, "Mara lives in Brenport.", "--namespace", "alice"]
    )
    assert told.exit_code == 0
    return path
