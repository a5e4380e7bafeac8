"""Near misses of the world are of every kind and name what they miss; the tables add up."""

import random

from sleepmem.day.gate import EVIDENCE, Certainty
from sleepmem.embedded import world
from sleepmem.embedded.misses import MissKind, near_misses
from sleepmem.evals import gate, week, week_figures
from sleepmem.night.calibration import Example


def facts(count):
    rng = random.Random(0)
    return [world.fact(rng, world.subject(rng, True), test=True) for _ in range(count)]


def test_near_misses_are_of_every_kind_and_none_is_a_known_question():
    held = facts(200)
    told = {fact.key for fact in held}
    misses = near_misses(random.Random(1), held, told=told, corrected=held[:3])
    assert {miss.kind for miss in misses} == set(MissKind)
    names = {fact.subject for fact in held}
    for miss in misses:
        if miss.kind is MissKind.SUBJECT:
            assert not any(f" {name}" in miss.question for name in names)
        if miss.kind is MissKind.NEGATED:
            assert " not " in miss.question


def test_the_risk_is_what_the_weights_lose_against_retrieval():
    right, wrong = week.Turn(True, False, 0), week.Turn(False, False, 0)
    lost = wrong._replace(is_from_weights=True)
    ours, retrieval = [lost, lost, wrong, right], [right, wrong, right, right]
    assert week._risk(ours, retrieval) == {"turns": 4, "lost": 1}
    days = [{"gate": {"turns": 4, "lost": 1, "near_misses": {"negated": [10, 2, 1]}}}] * 2
    assert week_figures.gate_figures(days) == {
        "risk": 0.25,
        "near_misses": 20.0,
        "near_misses_to_weights": 0.2,
        "near_misses_answered": 0.1,
    }


def test_the_rows_of_the_bound_open_with_epsilon():
    by_seed = []
    for seed in range(2):
        rng, examples = random.Random(seed), []
        for number in range(1200):
            right = rng.random() < 0.4
            value = min(1.0, max(0.0, rng.gauss(0.8 if right else 0.4, 0.12)))
            features = (value,) * len(EVIDENCE)
            certain = Certainty(0.9, -9.0)
            examples.append(Example(f"{seed}/{number}", features, certain, right, not right))
        by_seed.append(examples)
    rows = [gate.behaviour(by_seed, epsilon, confidence=0.9) for epsilon in gate.EPSILONS]
    for epsilon, row in zip(gate.EPSILONS, rows, strict=True):
        assert row.opened == 2
        assert row.rate <= row.bound <= epsilon
    assert [row.passing for row in rows] == sorted(row.passing for row in rows)
