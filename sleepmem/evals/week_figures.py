"""What a week comes to: its figures after the last day, and what the gate let through."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def summary(report: dict[str, Any]) -> dict[str, float]:
    """The figures after the last day."""
    day, nights = report["days"][-1], report["nights"]
    retrieval, ours = day["retrieval"], day["sleepmem"]
    first_night, last_night = nights[0], nights[-1]
    kept, learned = last_night["recall_by_night"][0], first_night["recall_by_night"][0]
    tokens, our_tokens = (arm["memory_tokens_per_turn_earlier"] for arm in (retrieval, ours))
    reading, base_reading = last_night["reading_accuracy"], last_night["reading_accuracy_base"]
    return {
        "accuracy_ratio": _ratio(ours["accuracy"], retrieval["accuracy"]),
        "earlier_tokens_ratio": _ratio(our_tokens, tokens),
        "abstention_difference": ours["abstention"] - retrieval["abstention"],
        "night_1_kept": _ratio(kept["rate"], learned["rate"]),
        "superseded_rate": last_night["superseded_rate"],
        "reading_ratio": _ratio(reading, base_reading),
        "accuracy": ours["accuracy"],
        "accuracy_retrieval": retrieval["accuracy"],
        "accuracy_none": day["none"]["accuracy"],
        "night_seconds": statistics.median(night["seconds"] for night in nights),
        "promoted": float(sum(night["verdict"] == "promoted" for night in nights)),
        "skipped": 1 - ours["retrieval_rate_earlier"],
        **gate_figures(report["days"]),
    }


def gate_figures(days: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of all days: the risk, and which share of near misses the weights were asked and answered.

    The risk is the share of turns that the weights got wrong where retrieval alone was right.
    """
    turns = lost = misses = from_weights = answered = 0
    for day in days:
        turns += day["gate"]["turns"]
        lost += day["gate"]["lost"]
        for count, asked, given in day["gate"]["near_misses"].values():
            misses += count
            from_weights += asked
            answered += given
    return {
        "risk": _ratio(lost, turns),
        "near_misses": float(misses),
        "near_misses_to_weights": _ratio(from_weights, misses),
        "near_misses_answered": _ratio(answered, misses),
    }


def mean(values: Iterable[float], *, empty: float = 1.0) -> float:
    """Rounded; `empty` of none."""
    numbers = [float(value) for value in values]
    return round(sum(numbers) / len(numbers), 4) if numbers else empty


def _ratio(value: float, other: float) -> float:
    return round(value / other, 4) if other else 0.0
