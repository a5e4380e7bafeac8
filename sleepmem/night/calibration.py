"""Fit the gate to what the exam measured, and set its threshold by a bound. Pure.

A logistic model of the features, no weight below 0, is fitted to the examples. Each of them is
scored by a model that was fitted without its episode (cross-conformal prediction; Vovk 2015,
"Cross-conformal predictors"), and on these scores thresholds are tested from the highest down, each
with the exact binomial bound, until one fails (fixed-sequence Learn-then-Test; Angelopoulos et al.
2021, arXiv 2110.01052; the risk is that of conformal risk control, arXiv 2208.02814). The last that
passed lets most through. The bound is about questions like the examples: at most `epsilon` of the
turns are answered wrongly by the weights. It is exact for one model and examples drawn on their
own; here it is an approximation, since the folds' models share examples, the gate's own has a fold
more, and several examples are about one episode. Whether retrieval would have got those turns right
is not asked, so the share where it would have is smaller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import beta

from sleepmem.day.gate import FEATURES, Certainty, Gate, Words

# Of the logistic model's weights, on standardised features.
_RIDGE = 0.01
# Thresholds that are tested at most; the least is even odds.
_THRESHOLDS = 200
# Parts of the examples that are each scored by a model of the others.
_FOLDS = 10


@dataclass(frozen=True)
class Example:
    """A question with its evidence, and what became of it.

    group      examples of one group are of one episode, and of one fold
    evidence   as in EVIDENCE
    certainty  of the model's answer
    may_pass   whether the weights' answer is the right one to give
    costs      whether it is wrong, and would be given: it is no abstention
    kind       of near miss, for people; empty for a question of the exam
    """

    group: str
    evidence: tuple[float, ...]
    certainty: Certainty
    may_pass: bool
    costs: bool
    kind: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "features": dict(zip(FEATURES, self.features, strict=True)),
            "certainty": list(self.certainty),
            "may_pass": self.may_pass,
            "costs": self.costs,
            "kind": self.kind,
        }

    @classmethod
    def parse(cls, written: dict[str, Any]) -> Example | None:
        """The inverse of `as_dict`; None for one of other features."""
        features = written["features"]
        if tuple(features) != FEATURES:
            return None
        certainty = Certainty(*written["certainty"])
        evidence = tuple(features.values())[: -len(certainty.features)]
        return cls(
            written["group"],
            evidence,
            certainty,
            written["may_pass"],
            written["costs"],
            written["kind"],
        )

    @property
    def features(self) -> tuple[float, ...]:
        return (*self.evidence, *self.certainty.features)


@dataclass(frozen=True)
class Bound:
    """What the gate must keep, with this confidence.

    epsilon      most examples, as a share, that pass and cost
    near_misses  the same among near misses
    """

    epsilon: float
    confidence: float
    near_misses: float = 1.0

    def holds(self, losses: int, number: int, *, misses: int) -> bool:
        """Whether so many losses in so many examples, all near misses the most, bear it."""
        risk = upper_bound(losses, number, confidence=self.confidence)
        of_misses = upper_bound(losses, misses, confidence=self.confidence)
        return risk <= self.epsilon and of_misses <= self.near_misses


def upper_bound(losses: int, number: int, *, confidence: float) -> float:
    """Of the rate behind `losses` in `number` (Clopper and Pearson 1934, one-sided)."""
    if losses >= number:
        return 1.0
    return float(beta.ppf(confidence, losses + 1, number - losses))


def fit(
    examples: Sequence[Example],
    bound: Bound,
    *,
    words: Words,
    abstention: str,
) -> Gate:
    """The gate for these examples; it has no threshold while they do not bear the bound."""
    scored = []
    for held_out, others in folds(examples):
        if len({one.may_pass for one in others}) < 2:
            untold = [(0.0, one) for one in examples]
            figures = _figures(untold, None, bound)
            figures["reason"] = "too few episodes have both examples that may pass and that may not"
            return Gate(0.0, {}, None, words, abstention, figures)
        model = _model(others, words, abstention)
        scored += [(model.score(one.evidence, one.certainty), one) for one in held_out]

    gate = _model(examples, words, abstention)
    highest = max((score for score, _ in scored), default=0.0)
    candidates = np.linspace(max(highest, 0.0), 0.0, _THRESHOLDS).tolist()
    threshold = least_threshold(scored, candidates, bound=bound)
    return replace(gate, threshold=threshold, figures=_figures(scored, threshold, bound))


def folds(examples: Sequence[Example]) -> list[tuple[list[Example], list[Example]]]:
    """Parts of the examples, as even as whole episodes allow, each with all the others."""
    sizes = Counter(one.group for one in examples)
    parts, place = [0] * _FOLDS, {}
    for group, size in sizes.items():
        place[group] = parts.index(min(parts))
        parts[place[group]] += size

    found = []
    for part in range(_FOLDS):
        held_out = [one for one in examples if place[one.group] == part]
        others = [one for one in examples if place[one.group] != part]
        found.append((held_out, others))
    return found


def _model(examples: Sequence[Example], words: Words, abstention: str) -> Gate:
    """Without a threshold."""
    features = np.array([one.features for one in examples])
    bias, weights = logistic(features, np.array([one.may_pass for one in examples], dtype=float))
    return Gate(bias, dict(zip(FEATURES, weights, strict=True)), None, words, abstention)


def least_threshold(
    scored: Sequence[tuple[float, Example]], candidates: Sequence[float], *, bound: Bound
) -> float | None:
    """The last of the candidates, which fall, before the first that does not bear the bound.

    None when the first does not.

    Args:
        scored: the examples with their scores.
        candidates: thresholds from the highest down. Where they begin decides nothing as long as
            no example lies above: losses only grow on the way down.
        bound: what is to be kept.
    """
    misses = sum(not example.may_pass for _, example in scored)
    least = None
    for threshold in candidates:
        losses = sum(example.costs for score, example in scored if score >= threshold)
        if not bound.holds(losses, len(scored), misses=misses):
            break
        least = threshold
    return least


def logistic(
    features_N_F: np.ndarray[Any, Any], right_N: np.ndarray[Any, Any]
) -> tuple[float, list[float]]:
    """Bias and weights, none below 0, of a logistic model; both kinds of examples count alike.

    N examples, F features.
    """
    mean_F, spread_F = features_N_F.mean(0), features_N_F.std(0) + 1e-6
    scaled_N_F = (features_N_F - mean_F) / spread_F
    share = right_N.mean()
    weight_N = np.where(right_N > 0, 0.5 / share, 0.5 / (1 - share)) / len(right_N)
    sign_N = 2 * right_N - 1

    def loss(values: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        margin_N = sign_N * (values[0] + scaled_N_F @ values[1:])
        slope_N = -weight_N * sign_N / (1 + np.exp(np.clip(margin_N, -50, 50)))
        total = weight_N @ np.logaddexp(0, -margin_N) + _RIDGE * values[1:] @ values[1:] / 2
        gradient = np.concatenate([[slope_N.sum()], slope_N @ scaled_N_F + _RIDGE * values[1:]])
        return float(total), gradient

    bounds = [(None, None), *[(0, None)] * features_N_F.shape[1]]
    start = np.zeros(features_N_F.shape[1] + 1)
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = found[1:] / spread_F
    return float(found[0] - weights @ mean_F), weights.tolist()


def _figures(
    scored: Sequence[tuple[float, Example]], threshold: float | None, bound: Bound
) -> dict[str, Any]:
    """What is said of the gate, by the scores of models that had not seen the episode."""
    number = len(scored)
    asked = sum(example.may_pass for _, example in scored)
    figures: dict[str, Any] = {
        "examples": number,
        "near_misses": number - asked,
        "epsilon": bound.epsilon,
        "confidence": bound.confidence,
    }
    if threshold is None:
        return {**figures, "open": False, "reason": "too few examples bear the bound"}

    passing = [example for score, example in scored if score >= threshold]
    right = sum(example.may_pass for example in passing)
    losses = sum(example.costs for example in passing)
    return {
        **figures,
        "open": True,
        "threshold": round(threshold, 4),
        "rate": round(losses / number, 4),
        "bound": round(upper_bound(losses, number, confidence=bound.confidence), 4),
        "passing": _share(right, asked),
        "near_misses_passing": _share(len(passing) - right, number - asked),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
