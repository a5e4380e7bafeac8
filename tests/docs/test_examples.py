"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_run() -> None:
    # The other one needs SmolLM2: tests/day/test_small_model.py runs it.
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"agent_with_tools.py", "own_graph.py"}


def test_own_graph_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "own_graph.py"))["main"](str(tmp_path / "memory"))
    printed = capsys.readouterr().out
    assert "Where does Mara live? -> agent: Brenport." in printed
    assert "night: report" in printed
