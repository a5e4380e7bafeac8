"""status, report and verify, as a user types them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app

run = CliRunner().invoke


def test_status_counts_what_was_told_and_asked(folder: str) -> None:
    run(app, ["ask", folder, "Where does Mara live?", "-n", "alice"])
    (alice,) = json.loads(run(app, ["status", folder, "--json"]).stdout)
    assert alice == {
        "namespace": ["alice"],
        "episodes": 1,
        "buffered": 1,
        "learned": 0,
        "experts": [],
        "nights": 0,
        "questions": 1,
        "retrieval_rate": 1.0,
        "failures": 0,
        "unembedded": 0,
    }


def test_verify_finds_a_changed_ledger(folder: str) -> None:
    assert run(app, ["verify", folder]).exit_code == 0
    with SleepMemory.open(folder) as memory:
        memory.ledger.database.db.execute("UPDATE episodes SET text = 'Mara lives elsewhere.'")
    done = run(app, ["verify", folder, "--json"])
    assert done.exit_code == 1
    assert not json.loads(done.stdout)["sound"]


def test_report_writes_a_self_contained_page(folder: str, tmp_path: Path) -> None:
    run(app, ["ask", folder, "Where does Mara live?", "-n", "alice"])
    out = tmp_path / "r"
    assert run(app, ["report", folder, "-n", "alice", "--out", str(out)]).exit_code == 0
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert (out / "retrieval-load.png").read_bytes().startswith(b"\x89PNG")
