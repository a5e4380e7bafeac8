"""What the answers of a run come to: shares by kind and day, and the aims. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sleepmem.evals.lives.data import KINDS
from sleepmem.night.promotion import wilson
from sleepmem.records import Score

# Of the intervals (Wilson 1927).
CONFIDENCE = 0.9
_HARD = ("chained", "inverse", "implicit")

Row = Mapping[str, Any]
Keep = Callable[[Row], bool]


@dataclass(frozen=True)
class Aim:
    """A figure after the last day, and what it must be.

    value  None where nothing tells it yet
    asked  of how many questions
    """

    what: str
    value: float | None
    bound: float
    must_be: Literal["at least", "at most", "above"] = "at least"
    asked: int | None = None

    @property
    def is_reached(self) -> bool | None:
        if self.value is None:
            return None
        if self.must_be == "at most":
            return self.value <= self.bound
        return self.value > self.bound or (self.must_be == "at least" and self.value == self.bound)


class Figures:
    """Of the lives that every arm has finished.

    Args:
        records: of all days, as the diary has them.
    """

    def __init__(self, records: Sequence[Row]) -> None:
        last: dict[tuple[str, str], Row] = {}
        first: dict[tuple[str, str], Row] = {}
        for record in records:
            key = (record["arm"], record["life"])
            if record["day"] == record["days"]:
                last[key] = record
            if record["day"] == 1:
                first[key] = record
        self.arms = list(dict.fromkeys(record["arm"] for record in records))
        self.lives = []
        for life in dict.fromkeys(record["life"] for record in records):
            if all((arm, life) in last for arm in self.arms):
                self.lives.append(life)
        self._last, self._first = last, first

    def last(self, arm: str, keep: Keep = lambda row: True) -> list[Row]:
        """Its answers in the evening of the last days."""
        return self._answers(self._last, arm, keep)

    def score(self, arm: str, kinds: Iterable[str] = KINDS) -> Score:
        """What it had right after the last day, of these kinds."""
        wanted = set(kinds)
        return share(self.last(arm, lambda row: row["kind"] in wanted), "right")

    def alone(self, arm: str, kinds: Iterable[str] = KINDS) -> Score:
        """What its weights alone had right then, without any memory."""
        wanted = set(kinds)
        return share(self.last(arm, lambda row: row["kind"] in wanted), "closed_right")

    @property
    def trained(self) -> list[str]:
        """The arms whose weights are asked alone."""
        found = []
        for arm in self.arms:
            if any(row["closed"] is not None for row in self.last(arm)):
                found.append(arm)
        return found

    def weights(self, arm: str) -> list[Row]:
        """What its experts cost after each life's last day, where it had any."""
        records = [self._last[arm, life] for life in self.lives if arm in self.arms]
        weights = [record["weights"] for record in records]
        return [one for one in weights if one.get("experts")]

    def kept(self, arm: str) -> Score:
        """What its weights had right after the first night, and which of it they still have.

        Of the questions that are asked in both evenings, whatever their wording.
        """
        still = {}
        for row in self.last(arm, lambda row: row["first"]):
            still[row["life"], row["question"]] = bool(row["closed_right"])
        learned = []
        for row in self._answers(self._first, arm, lambda row: bool(row["closed_right"])):
            key = (row["life"], row["question"])
            if key in still:
                learned.append(still[key])
        return Score(sum(learned), len(learned))

    def tokens(self, arm: str) -> float | None:
        """Memory tokens of a turn about facts of earlier days."""
        rows = self.last(arm, lambda row: row["earlier"])
        return statistics.mean(row["memory_tokens"] for row in rows) if rows else None

    def _answers(self, of: Mapping[tuple[str, str], Row], arm: str, keep: Keep) -> list[Row]:
        found = []
        for life in self.lives:
            if (arm, life) in of:
                found += [row for row in of[arm, life]["answers"] if keep(row)]
        return found


def share(rows: Sequence[Row], key: str) -> Score:
    """How many of these rows have it."""
    return Score(sum(bool(row[key]) for row in rows), len(rows))


def by_day(records: Sequence[Row], life: str) -> dict[str, list[dict[str, float]]]:
    """What each arm had right of what was told, and the memory tokens of a turn, day after day."""
    days: dict[str, list[dict[str, float]]] = {}
    for record in records:
        told = [row for row in record["answers"] if row["kind"] != "never"]
        if record["life"] == life and told:
            figures = {
                "day": record["day"],
                "accuracy": share(told, "right").rate,
                "memory_tokens": statistics.mean(row["memory_tokens"] for row in told),
            }
            days.setdefault(record["arm"], []).append(figures)
    return days


def aims(figures: Figures) -> list[Aim]:
    """What was aimed at, and what came of it.

    While its gate is shut, what the memory answers is retrieval's, so what its weights alone have
    right is told beside it.
    """
    found = [_against_retrieval(figures, "plain", 0.97, "at least")]
    found += [_against_retrieval(figures, kind, 1.0, "above") for kind in _HARD]
    told = share(figures.last("sleepmem", lambda row: row["kind"] != "never"), "from_weights")
    found.append(Aim("answered by the weights", _rate(told), 0.0, "above", int(told.total)))
    ours, theirs = figures.tokens("sleepmem"), figures.tokens("retrieval")
    tokens = None if ours is None or not theirs else ours / theirs
    found.append(
        Aim("memory tokens on earlier days' facts, of retrieval's", tokens, 0.25, "at most")
    )
    honest = _both(figures, "never")
    difference = None if honest is None else honest[0].rate - honest[1].rate
    found.append(Aim("abstention, less retrieval's", difference, -0.02))
    kept = figures.kept("sleepmem")
    found.append(Aim("facts of the first night, kept", _rate(kept), 0.95, asked=int(kept.total)))
    # Of what was corrected, where the weights say anything.
    stale = []
    for row in figures.last("sleepmem", lambda row: row["kind"] == "changed"):
        if row["closed_old"] is not None and not row["closed_abstains"]:
            stale.append(row)
    old, asked = _rate(share(stale, "closed_old")), len(stale)
    found.append(Aim("old values, closed-book", old, 0.02, "at most", asked))
    weights = figures.weights("sleepmem")
    read, base = (sum(one[key] for one in weights) for key in ("read", "read_base"))
    reading = read / base if base else None
    found.append(Aim("reading with the experts on, of the base's", reading, 0.97))
    worst = max((one["perplexity"] / one["perplexity_base"] for one in weights), default=None)
    found.append(Aim("perplexity of a book, of the base's, at worst", worst, 1.03, "at most"))
    return [*found, *_control(figures)]


def _against_retrieval(
    figures: Figures, kind: str, bound: float, must_be: Literal["at least", "above"]
) -> Aim:
    scores = _both(figures, kind)
    asked = int(scores[0].total) if scores else None
    ratio = _ratio(figures, kind)
    return Aim(f"{kind} questions, of retrieval's", ratio, bound, must_be, asked)


def _control(figures: Figures) -> list[Aim]:
    """How far the whole interval of the control lies above that of no memory; and ours, of the
    weights alone, above the control's.
    """
    told = [kind for kind in KINDS if kind != "never"]
    control, none = figures.score("control", told), figures.score("none", told)
    is_known = bool(none.total and figures.weights("control"))
    low, high = wilson(control, CONFIDENCE)
    above = low - wilson(none, CONFIDENCE)[1] if is_known else None
    ours = wilson(figures.alone("sleepmem", told), CONFIDENCE)[0] - high if is_known else None
    asked = int(control.total)
    return [
        Aim("another life's experts, surely above no memory", above, 0.0, "at most", asked),
        Aim("its own, weights alone, surely above another life's", ours, 0.0, "above", asked),
    ]


def _ratio(figures: Figures, kind: str) -> float | None:
    """What we have right, of what retrieval has; nothing where it has nothing right."""
    scores = _both(figures, kind)
    return scores[0].rate / scores[1].rate if scores and scores[1].right else None


def _both(figures: Figures, kind: str) -> tuple[Score, Score] | None:
    """Ours and retrieval's, where both were asked."""
    ours, theirs = figures.score("sleepmem", (kind,)), figures.score("retrieval", (kind,))
    return (ours, theirs) if ours.total and theirs.total else None


def _rate(score: Score) -> float | None:
    return score.rate if score.total else None
