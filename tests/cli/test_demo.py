"""demo: what it tells of a week."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sleepmem.cli import app

run = CliRunner().invoke


def arm(accuracy: float) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "abstention": 0.75,
        "retrieval_rate": 0.25,
        "memory_tokens_per_turn": 40.0,
    }


WEEK = {
    "days": [
        {
            "day": 1,
            "facts_total": 20,
            "none": arm(0.0),
            "retrieval": arm(1.0),
            "sleepmem": arm(0.5),
        }
    ],
    "nights": [{"number": 1, "verdict": "promoted", "reason": "r", "seconds": 1.0}],
    "cost": [
        {
            "tokens_generated": 1,
            "tokens_trained": 2,
            "peak_bytes": 3,
            "tokens_saved_per_turn": None,
            "break_even_turns": None,
        }
    ],
    "summary": {"accuracy": 0.5},
}


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Days, facts a day and seed of every week that was lived."""
    weeks = []

    def live(week: Any, seed: int, *, say: Any) -> dict[str, Any]:
        say({"day": 1, "step": "ask", "arm": "none"})
        weeks.append((week.days, week.facts, seed))
        return WEEK

    monkeypatch.setattr("sleepmem.evals.week.live", live)
    return weeks


def test_demo_prints_a_day_a_row_and_writes_the_report(
    lived: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    sizes = ["--days", "1", "--facts", "9", "--seed", "4"]
    done = run(app, ["demo", "--out", str(tmp_path), *sizes], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert lived == [(1, 9, 4)]
    row = next(line for line in done.stdout.splitlines() if "promoted" in line)
    assert all(cell in row for cell in ("0.00 / 40", "1.00 / 40", "0.50 / 40", "0.25", "0.75"))
    assert "accuracy: 0.5" in done.stdout
    assert (tmp_path / "accuracy.png").exists()


def test_demo_as_json_is_the_report(lived: list[tuple[int, int, int]], tmp_path: Path) -> None:
    done = run(app, ["demo", "--out", str(tmp_path), "--json"])
    assert json.loads(done.stdout) == json.loads((tmp_path / "report.json").read_text()) == WEEK
