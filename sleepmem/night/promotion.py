"""Decide whether tonight's expert goes live, from the exam alone.

Pure. A bound counts as broken only when the whole exact interval (Clopper and Pearson 1934) lies
beyond it, so that a small exam does not throw away a good night; Wilson's is too narrow there: by
it one miss of four breaks a bound of .95, and every fifth model that keeps the bound has one. A
measure nobody could ask counts as passed, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from scipy.stats import binomtest

from sleepmem.config import ExamConfig
from sleepmem.records import Score, Verdict


def wilson(score: Score, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a rate: (low, high); (0, 1) when nothing was asked."""
    return _interval(score, confidence, "wilson")


def exact(score: Score, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate: (low, high); (0, 1) when nothing was asked."""
    return _interval(score, confidence, "exact")


def _interval(
    score: Score, confidence: float, method: Literal["wilson", "exact"]
) -> tuple[float, float]:
    if score.total == 0:
        return 0.0, 1.0
    found = binomtest(round(score.right), score.total).proportion_ci(confidence, method)
    return float(found.low), float(found.high)


def decide(
    before: Mapping[str, Score], after: Mapping[str, Score], *, config: ExamConfig
) -> tuple[Verdict, str]:
    """Compare the exam after seeding with the one before.

    Args:
        before: scores of the model before tonight: recall (what a slow night takes over is known
            already), old_nights, abstention, reading.
        after: the same of the new model, and recall, superseded (share that still gives the old
            value), general_kl (`right` is nats per token).
        config: the bounds.

    Returns:
        The verdict, and the reason that the user is shown.
    """
    faults = []

    # 1. What must not fall below its bound
    held = before["recall"].rate - config.old_nights
    least = {
        "recall": (max(config.recall, held), "closed-book recall of tonight's facts"),
        "old_nights": (before["old_nights"].rate - config.old_nights, "recall of earlier nights"),
        "abstention": (before["abstention"].rate - config.abstention, "abstention"),
        "reading": (before["reading"].rate - config.reading, "reading from the context"),
    }
    for measure, (bound, name) in least.items():
        score = after[measure]
        _, high = exact(score, config.confidence)
        if high < bound:
            rate = f"{score.rate:.3f} of {score.total}"
            faults.append(f"{name} is {rate}, must reach {bound:.3f}")

    # 2. What must not rise above it
    stale = after["superseded"]
    low, _ = exact(stale, config.confidence)
    if low > config.superseded:
        faults.append(
            f"{stale.rate:.3f} of corrected facts still give the old value, "
            f"at most {config.superseded:.3f} may"
        )
    moved = after["general_kl"].right
    # Asked this way round, a broken model's nan fails.
    if not moved <= config.general_kl:
        faults.append(
            f"the model moved {moved:.3f} nats per token from the base on neutral prompts, "
            f"at most {config.general_kl:.3f} allowed"
        )

    # 3. What must have been asked at all
    if not after["recall"].total:
        faults.append("no held-out question about tonight's facts could be asked")
    if faults:
        return Verdict.REJECTED, "; ".join(faults)
    recall = f"recall {after['recall'].rate:.3f} of {after['recall'].total} held-out questions"
    return Verdict.PROMOTED, f"{recall}, every bound kept{_not_asked(after)}"


def _not_asked(after: Mapping[str, Score]) -> str:
    """A note on the measures that no question could be asked for."""
    silent = []
    for measure in ("old_nights", "abstention", "superseded", "reading"):
        if not after[measure].total:
            silent.append(measure.replace("_", " "))
    return f" (not asked: {', '.join(silent)})" if silent else ""
