import math

import pytest
from scipy.stats import binom

from sleepmem.config import ExamConfig
from sleepmem.night.promotion import decide, exact, wilson
from sleepmem.records import Score, Verdict

BEFORE = {
    "recall": Score(0, 100),
    "old_nights": Score(100, 100),
    "abstention": Score(100, 100),
    "reading": Score(100, 100),
}
GOOD = {
    "recall": Score(95, 100),
    "old_nights": Score(100, 100),
    "abstention": Score(100, 100),
    "reading": Score(100, 100),
    "superseded": Score(0, 50),
    "general_kl": Score(0.01, 12),
}


@pytest.mark.parametrize(
    (
        "right",
        "total",
        "low",
        "high",
    ),  # statsmodels.stats.proportion.proportion_confint(..., alpha=0.05, method="wilson")
    [
        (8, 10, 0.4901625, 0.9433178),
        (50, 100, 0.4038315, 0.5961685),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
    ],
)
def test_wilson_gives_the_published_values(right, total, low, high):
    assert wilson(Score(right, total), 0.95) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize("right", [0, 1, 7, 12])
def test_wilson_bounds_solve_their_equation(right):
    """Each bound p0 lies z standard errors of p0 from the rate (Wilson 1927), z = 1.6448536."""
    p = right / 12
    for p0 in wilson(Score(right, 12), 0.9):
        assert abs(p - p0) == pytest.approx(1.6448536 * math.sqrt(p0 * (1 - p0) / 12), abs=1e-6)


def test_nothing_asked_says_nothing():
    assert wilson(Score(0, 0), 0.9) == exact(Score(0, 0), 0.9) == (0.0, 1.0)


def test_a_good_exam_promotes_and_says_how_good():
    verdict, reason = decide(BEFORE, GOOD, config=ExamConfig())
    assert verdict is Verdict.PROMOTED
    assert "0.950 of 100" in reason


@pytest.mark.parametrize(
    ("measure", "bad", "said"),
    [
        ("recall", Score(50, 100), "closed-book recall of tonight's facts is 0.500"),
        ("old_nights", Score(70, 100), "recall of earlier nights is 0.700"),
        ("abstention", Score(70, 100), "abstention is 0.700"),
        ("reading", Score(70, 100), "reading from the context is 0.700"),
        ("superseded", Score(20, 50), "0.400 of corrected facts"),
        ("general_kl", Score(0.6, 12), "the model moved 0.600 nats per token"),
    ],
)
def test_each_bound_fails_for_its_own_reason(measure, bad, said):
    verdict, reason = decide(BEFORE, {**GOOD, measure: bad}, config=ExamConfig())
    assert verdict is Verdict.REJECTED
    assert reason.startswith(said)
    assert ";" not in reason  # no other bound was blamed


def test_every_fault_is_told():
    bad = {**GOOD, "recall": Score(0, 100), "general_kl": Score(9.0, 12)}
    assert decide(BEFORE, bad, config=ExamConfig())[1].count(";") == 1


def test_a_small_exam_does_not_throw_a_night_away():
    assert (
        decide(BEFORE, {**GOOD, "recall": Score(3, 5)}, config=ExamConfig(recall=0.8))[0]
        is Verdict.PROMOTED
    )
    assert (
        decide(BEFORE, {**GOOD, "recall": Score(60, 100)}, config=ExamConfig(recall=0.8))[0]
        is Verdict.REJECTED
    )


def test_one_miss_of_four_breaks_no_bound():
    # By Wilson's interval it broke that of .95, and 18 of 100 models that keep the bound have one.
    one_missed = {**GOOD, "reading": Score(3, 4)}
    assert wilson(Score(3, 4), 0.9)[1] < 0.95 < exact(Score(3, 4), 0.9)[1]
    assert decide(BEFORE, one_missed, config=ExamConfig())[0] is Verdict.PROMOTED


@pytest.mark.parametrize("bound", [0.8, 0.9, 0.95])
def test_who_keeps_a_bound_is_seldom_found_to_break_it(bound):
    for total in range(3, 41):
        found = 0.0
        for right in range(total + 1):
            if exact(Score(right, total), 0.9)[1] < bound:
                found += float(binom.pmf(right, total, bound))
        assert found <= 0.05


def test_what_a_slow_night_takes_over_may_not_fall_with_it():
    known = {**BEFORE, "recall": Score(98, 100)}
    lost = {**GOOD, "recall": Score(80, 100)}
    assert decide(BEFORE, lost, config=ExamConfig())[0] is Verdict.PROMOTED
    verdict, reason = decide(known, lost, config=ExamConfig())
    assert verdict is Verdict.REJECTED
    assert "is 0.800 of 100, must reach 0.930" in reason


def test_bounds_are_relative_to_the_evening():
    weak = {**BEFORE, "abstention": Score(60, 100)}
    assert (
        decide(weak, {**GOOD, "abstention": Score(58, 100)}, config=ExamConfig())[0]
        is Verdict.PROMOTED
    )


def test_measures_nobody_could_ask_pass():
    none = Score(0, 0)
    verdict, reason = decide(
        BEFORE, {**dict.fromkeys(GOOD, none), "recall": GOOD["recall"]}, config=ExamConfig()
    )
    assert verdict is Verdict.PROMOTED
    assert "not asked: old nights, abstention, superseded, reading" in reason


def test_a_night_without_a_question_about_its_facts_is_no_success():
    assert (
        decide(BEFORE, {**GOOD, "recall": Score(0, 0)}, config=ExamConfig())[0] is Verdict.REJECTED
    )


def test_a_model_that_broke_is_no_small_change():
    assert (
        decide(BEFORE, {**GOOD, "general_kl": Score(math.nan, 12)}, config=ExamConfig())[0]
        is Verdict.REJECTED
    )
