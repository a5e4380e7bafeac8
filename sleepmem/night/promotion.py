"""Decide whether tonight's expert goes live, from the exam alone.

Pure. A bound counts as broken only when the whole Wilson interval lies beyond it, so that a small exam does not throw away a good night;
a measure nobody could ask counts as passed, and the reason says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

from sleepmem.config import ExamConfig
from sleepmem.records import Score, Verdict


def wilson(score: Score, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson 1927): (low, high); (0, 1) when nothing was asked."""
    if score.total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    n, p = score.total, score.rate
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def decide(
    before: Mapping[str, Score], after: Mapping[str, Score], config: ExamConfig
) -> tuple[Verdict, str]:
    """Compare the exam after seeding with the one before.

    Args:
        before: scores of the model before tonight: old_nights, abstention, reading.
        after: the same of the new model, and recall, superseded (share that still gives the old value), general_kl (`right` is nats per token).

    Returns:
        The verdict, and the reason that the user is shown.
    """
    faults = []

    def at_least(measure: str, bound: float, what: str) -> None:
        _, high = wilson(after[measure], config.confidence)
        if high < bound:
            faults.append(
                f"{what} is {after[measure].rate:.3f} of {after[measure].total}, must reach {bound:.3f}"
            )

    at_least("recall", config.recall, "closed-book recall of tonight's facts")
    at_least(
        "old_nights", before["old_nights"].rate - config.old_nights, "recall of earlier nights"
    )
    at_least("abstention", before["abstention"].rate - config.abstention, "abstention")
    at_least("reading", before["reading"].rate - config.reading, "reading from the context")
    low, _ = wilson(after["superseded"], config.confidence)
    if low > config.superseded:
        faults.append(
            f"{after['superseded'].rate:.3f} of corrected facts still give the old value, at most {config.superseded:.3f} may"
        )
    if not after["general_kl"].right <= config.general_kl:  # a broken model gives nan
        faults.append(
            f"the model moved {after['general_kl'].right:.3f} nats per token from the base on neutral prompts, at most {config.general_kl:.3f} allowed"
        )
    if not after["recall"].total:
        faults.append("no held-out question about tonight's facts could be asked")
    if faults:
        return Verdict.REJECTED, "; ".join(faults)
    silent = [
        m for m in ("old_nights", "abstention", "superseded", "reading") if not after[m].total
    ]
    note = f" (not asked: {', '.join(silent).replace('_', ' ')})" if silent else ""
    return (
        Verdict.PROMOTED,
        f"recall {after['recall'].rate:.3f} of {after['recall'].total} held-out questions, every bound kept{note}",
    )
