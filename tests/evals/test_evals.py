"""The measurements ask what they say: facts that lead on to each other, the same for every arm,
one part of the method left out at a time.
"""

import json
import random
from dataclasses import fields

import pytest
import typer

from sleepmem.embedded import links, words
from sleepmem.evals import ablations, cost, dreams, habits, imports, life, rates
from sleepmem.evals.week import Life, Week
from sleepmem.stores.folder import EMBEDDED


def test_the_facts_of_the_dream_bench_lead_on_and_are_told_once():
    by_night = dreams.told(random.Random(0), 3, each=24)
    facts = [f for tonight in by_night for f in tonight]
    assert [len(tonight) for tonight in by_night] == [24] * 3
    assert len({f.key for f in facts}) == len(facts)
    assert all(words.is_test(f.value) for f in facts)
    assert len(links.chains({f.key: f for f in facts})) > 10
    assert by_night == dreams.told(random.Random(0), 3, each=24)


def test_an_ablation_leaves_one_part_out():
    def differing(one, other):
        return {f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}

    full = ablations.ARMS["full"]
    changed = {
        name: differing(config, full) for name, config in ablations.ARMS.items() if name != "full"
    }
    assert len(changed) == 9
    for name, parts in changed.items():
        assert parts, name
        for part in parts & {"seeding", "dream"}:
            assert len(differing(getattr(ablations.ARMS[name], part), getattr(full, part))) == 1


def test_an_arm_that_there_is_not_is_refused_before_the_others_are_run(tmp_path):
    with pytest.raises(typer.BadParameter, match="typo"):
        life.main(arms="retrieval,typo", out=tmp_path)
    with pytest.raises(typer.BadParameter, match="typo"):
        ablations.main(only="full,typo", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_life_is_the_same_for_every_arm_and_corrects_itself():
    lives = [Life(random.Random(3)) for _ in range(2)]
    for each in lives:
        for _ in range(4):
            each.new_day(Week(facts=10, corrections=1))
    assert lives[0].by_day == lives[1].by_day
    assert len(lives[0].stale) == 3
    assert len(lives[0].current) == 4 * 10 - 3


def test_a_race_takes_the_fastest_run_that_reaches_the_aim(monkeypatch):
    """Recall is what the run before says: it grows with steps, faster at the higher rate."""
    tried = []

    def train(local, rows, *, config, before=()):
        tried.append((config.lr or 0.003, config.steps))

    monkeypatch.setattr(
        cost,
        "examine",
        lambda *args, **more: {
            "recall": min(1.0, tried[-1][0] * tried[-1][1] * 2),
            "abstention": 0.0,
            "reading / base": 1.0,
        },
    )
    monkeypatch.setattr(
        cost.time, "perf_counter", lambda: float(sum(steps for _, steps in tried))
    )  # a second a step
    facts = cost.teach(random.Random(0), 4)
    found = cost.race(cost.Arm(train), facts, new=facts, seed=0, limit=120)
    assert (found["rate"], found["steps"], found["seconds"]) == (0.008, 75, 75)
    assert tried[1:] == [
        (0.008, 40),
        (0.008, 55),
        (0.008, 75),
        (0.003, 40),
        (0.003, 55),
        (0.003, 75),
        (0.003, 100),
    ]  # then it is too slow
    monkeypatch.setattr(
        cost,
        "examine",
        lambda *args, **more: {"recall": 0.5, "abstention": 0.0, "reading / base": 1.0},
    )
    assert cost.race(cost.Arm(train), facts, new=facts, seed=0, limit=60)["recall"] == 0.5


@pytest.mark.parametrize("case", [case for case in imports.CASES if "default" not in case])
def test_the_weight_of_the_day_is_measured_and_holds_no_torch(case):
    run = imports.measure(imports.CASES[case])
    assert run.seconds > 0
    assert run.peak > 2**20
    assert run.loaded == []


def test_the_peak_of_a_process_is_not_that_of_the_one_that_starts_it():
    held = bytearray(400 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])  # every page of it
    assert imports.measure(imports.CASES["import sleepmem"]).peak < 200 * 2**20


def test_rates_are_shares_of_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rates, "_BYTES", 1 << 20)
    monkeypatch.setattr(rates, "_AT_ONCE", (1, 3))
    rates.main(str(EMBEDDED), batch=4, out=tmp_path)
    written = json.loads((tmp_path / "rates.json").read_text())
    names = [rate["name"] for rate in written["rates"]]
    assert names == ["writing, 1 at once", "writing, 3 at once", "reading", "training"]
    assert all(0 < rate["matmul"] < 1 for rate in written["rates"])
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in names)


def test_what_habits_cost_is_nothing_where_there_are_none(tiny, capsys):
    habits.main(str(tiny), habits="none", threads=1)
    found = json.loads(capsys.readouterr().out)
    assert found["general_kl"] == 0.0
    assert found["ratio"] == 1.0
