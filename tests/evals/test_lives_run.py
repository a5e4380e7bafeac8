"""A run lives every day with every arm, goes on where it was stopped, or says why it cannot."""

import json

import pytest
import typer
from _lives import SETTINGS, written

from sleepmem import SleepMemory
from sleepmem.evals.lives import __main__ as command
from sleepmem.evals.lives import report
from sleepmem.evals.lives.arms import ARMS
from sleepmem.evals.lives.diary import Diary

OWNER = ("life",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tiny lives and the settings of their nights."""
    folder = tmp_path_factory.mktemp("lives")
    (folder / "mara.json").write_text(json.dumps(written()))
    jon = written("Jon", "Haldby", "Ferrow", "old mill")
    (folder / "jon.json").write_text(json.dumps(jon))
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """The folder of a run with every arm."""
    lived(folder)
    return folder / "run"


def lived(folder, **options):
    lives = [str(folder / "mara.json"), str(folder / "jon.json")]
    settings = {"config": folder / "settings.toml", "reading": 2, "threads": 1}
    command.main(
        **{"out": folder / "run", "life": lives, "seed": 0, **settings, **options},
    )


def test_every_arm_lives_every_day_and_is_asked_the_same(finished):
    records = report.records(Diary(finished))
    assert len(records) == len(ARMS) * 2 * 2
    texts = {}
    for record in records:
        assert bool(record["weights"]) is ARMS[record["arm"]].has_experts
        key = (record["life"], record["day"])
        texts.setdefault(key, []).append([row["asked"] for row in record["answers"]])
    for asked_of_arms in texts.values():
        assert all(texts_of_arm == asked_of_arms[0] for texts_of_arm in asked_of_arms)
    nights = {(one["arm"], one["life"], one["day"]): one["night"] for one in records}
    for (arm, life, day), night in nights.items():
        if arm in ("sft", "sdft"):
            ours = nights["sleepmem", life, day]
            assert (night["pairs"], night["steps"]) == (ours["pairs"], ours["steps"])
    assert nights["sleepmem", "mara", 1]["verdict"] == "promoted"
    assert nights["control", "mara", 1]["experts_of"] == "jon"
    lines = (finished / "answers.jsonl").read_text().splitlines()
    assert len(lines) == sum(len(record["answers"]) for record in records)
    assert set(json.loads((finished / "report.json").read_text())["right"]) == set(ARMS)
    for name in ("mara", "jon"):
        assert (finished / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_no_night_learns_from_what_is_asked_but_where_its_user_asks(finished):
    looks = {}
    for arm in ("sleepmem", "asked"):
        folder = finished / "mara" / arm / "day-02/memory"
        with SleepMemory.open(folder, read_only=True) as memory:
            looks[arm] = {look["question"] for look in memory.ledger.turns.retrievals(OWNER)}
    asks = {text for question in written()["questions"] for text in question["asks"]}
    assert looks["sleepmem"].isdisjoint(asks)
    assert looks["asked"] & asks


def test_a_run_goes_on_at_the_first_day_that_is_missing(finished, folder):
    def answers(arm):
        return Diary(finished).read("mara", arm, number=2)["answers"]

    arms = ("retrieval", "sleepmem", "sft", "control")
    before = {arm: answers(arm) for arm in arms}
    first = {arm: (finished / "mara" / arm / "day-01/record.json").stat() for arm in arms}
    for arm in arms:
        (finished / "mara" / arm / "day-02/record.json").unlink()
    # What a killed run leaves.
    (finished / "mara/sft/.day-02.tmp/expert").mkdir(parents=True)
    lived(folder)
    for arm in arms:
        assert (finished / "mara" / arm / "day-01/record.json").stat() == first[arm]
        assert answers(arm) == before[arm]


def test_each_day_is_drawn_when_it_is_over(folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "draw_lived", lambda days, out: drawn.append(len(days["none"])))
    lived(folder, arm=["none"], out=tmp_path)
    # Two lives of two days, and all of both at the end.
    assert drawn == [1, 2, 1, 2, 2, 2]


def test_a_life_may_be_cut_after_some_days(folder, tmp_path):
    lived(folder, arm=["none"], days=1, out=tmp_path)
    records = report.records(Diary(tmp_path))
    assert [(record["day"], record["days"]) for record in records] == [(1, 1), (1, 1)]


def test_what_cannot_be_run_is_refused_in_a_sentence(folder, finished, tmp_path):
    with pytest.raises(typer.BadParameter, match="typo"):
        lived(folder, arm=["none", "typo"], out=tmp_path / "a")
    with pytest.raises(typer.BadParameter, match="begun with"):
        lived(folder, seed=1)
    with pytest.raises(typer.BadParameter, match="no life is called nobody"):
        lived(folder, life=["nobody"], out=tmp_path / "b")
    with pytest.raises(typer.BadParameter, match="Run the arm sleepmem first"):
        lived(folder, arm=["sft"], out=tmp_path / "c")
    with pytest.raises(typer.BadParameter, match="nights of another life"):
        lived(folder, arm=["control"], out=tmp_path / "d")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**written(), "days": []}))
    with pytest.raises(typer.BadParameter, match="home is never told"):
        lived(folder, life=[str(broken)], out=tmp_path / "e")


def test_plain_sft_trains_at_the_rate_that_suits_it(finished, folder, monkeypatch):
    configs = []

    def train(local, rows, *, config):
        configs.append(config)

    (finished / "mara/sft/day-02/record.json").unlink()
    monkeypatch.setattr(ARMS["sft"], "_train", staticmethod(train))
    lived(folder)
    assert [config.lr for config in configs] == [ARMS["sft"].lr]
