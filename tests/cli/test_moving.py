"""export and import, and review, as a user types them."""

import json
import tempfile
from pathlib import Path

import click
import pytest
from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app

run = CliRunner().invoke
ALICE = ("-n", "alice")


def test_a_memory_moves_to_another_folder(folder: str, tmp_path: Path) -> None:
    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    done = run(app, ["export", folder, out, *ALICE, "--json"])
    assert json.loads(done.stdout)["counts"]["episodes"] == 1
    again = run(app, ["export", folder, out, *ALICE])
    assert again.exit_code == 1
    assert "overwrites nothing" in again.stderr
    taken = run(app, ["import", other, out, "-n", "team/bob", "--json"])
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["episodes"] == 1
    with SleepMemory.open(other) as memory:
        [episode] = memory.ledger.episodes.all(("team", "bob"))
        assert episode.text == "Mara lives in Brenport."
    assert (
        "0 new episodes, 1 were known" in run(app, ["import", other, out, "-n", "team/bob"]).stdout
    )


def test_another_memorys_export_is_recognised(folder: str, tmp_path: Path) -> None:
    export = tmp_path / "mem0.json"
    export.write_text('{"results": [{"id": "1", "memory": "Likes tea", "user_id": "a"}]}')
    done = run(app, ["import", folder, str(export), *ALICE])
    assert "1 new episodes" in done.stdout
    assert run(app, ["import", folder, str(tmp_path / "none"), *ALICE]).exit_code == 1


def test_of_several_users_one_is_said(folder: str, tmp_path: Path) -> None:
    export = tmp_path / "mem0.json"
    told = [{"id": name, "memory": f"{name} likes tea", "user_id": name} for name in ("a", "b")]
    export.write_text(json.dumps(told))
    refused = run(app, ["import", folder, str(export), *ALICE])
    assert refused.exit_code == 1
    assert "2 users, 'a', 'b'" in " ".join(refused.stderr.split())
    done = run(app, ["import", folder, str(export), *ALICE, "--user", "b"])
    assert "1 new episodes, 0 were known" in done.stdout


def test_a_review_waits_for_its_answer(folder: str, tmp_path: Path) -> None:
    shown = run(app, ["review", folder, *ALICE, "--json"])
    assert shown.exit_code == 0, shown.output
    [line] = json.loads(shown.stdout)["lines"]
    assert line["text"] == "Mara lives in Brenport."
    refused = run(app, ["sleep", folder, *ALICE])
    assert "waits for a review" in " ".join(refused.stderr.split())
    answer = tmp_path / "answer.json"
    answer.write_text("{}")
    done = run(app, ["review", folder, *ALICE, "--answer", str(answer)])
    assert done.exit_code == 0, done.output
    assert "0 of 1 are to be learned" in done.stdout
    after = run(app, ["sleep", folder, *ALICE])
    assert after.exit_code == 0, after.output
    with SleepMemory.open(folder) as memory:
        assert len(memory.ledger.episodes.buffered(("alice",))) == 1


def test_what_was_edited_amiss_is_kept_and_can_be_mended(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(click, "edit", lambda text, **named: f"{text}+ 0123 Mara has a boat.\n")
    done = run(app, ["review", folder, *ALICE])
    assert done.exit_code == 1
    [kept] = tmp_path.glob("sleepmem-review-*.diff")
    said = "".join(done.stderr.split())
    assert "'0123'" in said
    assert kept.name in said
    written = kept.read_text("utf-8")
    assert "Mara has a boat." in written
    kept.write_text(written.replace("+ 0123 Mara has a boat.\n", ""), "utf-8")
    done = run(app, ["review", folder, *ALICE, "--answer", str(kept)])
    assert done.exit_code == 0, done.output
    assert "1 of 1 are to be learned" in done.stdout


def test_what_llamacpp_takes_needs_the_models_file(folder: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    alone = run(app, ["export", folder, out, *ALICE, "--quantised", "Q8_0"])
    assert alone.exit_code == 2
    assert "belong to --gguf" in " ".join(alone.stderr.split())
    nothing = run(app, ["export", folder, out, *ALICE, "--gguf"])
    assert nothing.exit_code == 1
    assert "no live expert" in nothing.stderr
    assert not Path(out).exists()


def test_a_review_that_is_interrupted_while_it_draws_says_so(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SleepMemory, "sleep", interrupted)
    done = run(app, ["review", folder, *ALICE])
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
