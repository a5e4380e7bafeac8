"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("example", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_example_runs(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / example))["main"](str(tmp_path / "memory"))
    printed = capsys.readouterr().out
    assert "Where does Mara live? -> agent: Brenport." in printed
    assert "night: report" in printed
