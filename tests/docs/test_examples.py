"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

from sleepmem import SleepMemory

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_every_example_is_run() -> None:
    # Those that need SmolLM2 are run by tests/day/test_small_model.py.
    small = {"agent_with_tools.py", "procedure.py"}
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"deep_agents.py", "nightly_job.py", "own_graph.py", "quickstart.py", *small}


def test_own_graph_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("own_graph")["main"](str(tmp_path / "memory"))
    printed = capsys.readouterr().out
    assert "Where does Mara live? -> agent: Brenport." in printed
    assert "night: report" in printed


def test_the_quickstart_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("quickstart")["main"](str(tmp_path / "memory"))
    printed = capsys.readouterr().out
    assert "by day: Brenport." in printed
    assert "the night: promoted" in printed
    assert "after it: Brenport." in printed


def test_the_nightly_job_runs_who_is_tired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SleepMemory.open(tmp_path / "memory") as memory:
        for told in ("The boss of Mara is Tolvan.", "The port of Karo is 8045."):
            memory.observe(("bob",), told)
        memory.observe(("carol",), "Mara lives in Brenport.")
    code = example("nightly_job")["main"](str(tmp_path / "memory"), 2)
    printed = capsys.readouterr().out
    assert "carol: not tired" in printed
    assert ("bob: promoted" in printed) is (code == 0)
    assert code in (0, 3)


def test_sub_agents_share_their_users_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = example("deep_agents")["main"](str(tmp_path / "memory"))
    printed = capsys.readouterr().out
    asked = "Which train to Oslo goes from my home station?"
    assert f"alice, friday: {asked} -> From Brenport to Oslo at 8:15." in printed
    assert f"bob, friday: {asked} -> I do not know the home station." in printed
    # What the agent handed on is nobody's word.
    assert [text for source, text in told["alice"] if source == "user"] == [
        "My home station is Brenport.",
        asked,
    ]
    assert ("tool:trains", "From Brenport to Oslo at 8:15.") in told["alice"]
    assert not any("Brenport" in text for _, text in told["bob"])
