"""The plots of a report: data in, figure out, None where there is nothing to draw.

It knows matplotlib and plain data (see `data`), no store and no model. What compares several ways
to remember is drawn in `compared`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sleepmem.report.data import Data


class Arm(NamedTuple):
    """How one way to remember is drawn."""

    label: str
    colour: str


class Plot(NamedTuple):
    """A plot of the report and its heading."""

    title: str
    draw: Callable[[Data], Figure | None]


ARMS = {
    "none": Arm("no memory", "#999999"),
    "retrieval": Arm("retrieval only", "#d95f02"),
    "sleepmem": Arm("sleepmem", "#1b6ca8"),
}
OURS = ARMS["sleepmem"].colour
MEMORY_TOKENS = "memory tokens in the prompt, per turn"
_RETRIEVES = "share of turns that retrieve"
# Up to 1, with room for the line.
SHARE = (0, 1.02)


def retrieval_load(data: Data) -> Figure | None:
    """How much is retrieved: by day, an arm a line, or after each night of one memory."""
    if data.get("days"):
        draw = partial(_by_day, days=data["days"])
    elif any(between["questions"] for between in data.get("load", [])):
        draw = partial(_by_night_slept, load=data["load"])
    else:
        return None
    return side_by_side(
        partial(draw, key="memory_tokens_per_turn", label=MEMORY_TOKENS),
        partial(draw, key="retrieval_rate", label=_RETRIEVES),
    )


def accuracy(data: Data) -> Figure | None:
    """What was right, and honest, by day, an arm a line."""
    if not data.get("days"):
        return None
    draw = partial(_by_day, days=data["days"])
    return side_by_side(
        partial(draw, key="accuracy", label="answers right"),
        partial(draw, key="abstention", label="honest about what was never said"),
    )


def recall_by_night(data: Data) -> Figure | None:
    """Closed-book recall after the last promoted night, by the night a fact was learned in."""
    # A night that was not promoted left the weights as they were.
    shares: dict[str, float] = {}
    for night in data.get("nights", []):
        if night["verdict"] == "promoted":
            shares = _taught_by_night(night) or shares
    if not shares:
        return None
    figure = Figure(figsize=(6, 3.4))
    axes = figure.subplots()
    axes.bar(list(shares), list(shares.values()), color=OURS)
    axes.set(
        xlabel="night in which a fact was learned",
        ylabel="closed-book accuracy after the last night",
        ylim=SHARE,
    )
    return figure


def seeding(data: Data) -> Figure | None:
    """Divergence from the teacher and reward over the steps, a night a line."""
    nights = [night for night in data.get("nights", []) if night.get("curve")]
    if not nights:
        return None
    divergence = "divergence from the teacher, nats per token"
    loss = partial(_curves, nights=nights, key="loss", label=divergence, log=True)
    reward = partial(_curves, nights=nights, key="reward", label="imitation reward")
    # Without a batch on-policy nothing was rewarded.
    is_rewarded = any(_points(night, "reward")[0] for night in nights)
    return side_by_side(loss, reward) if is_rewarded else side_by_side(loss)


def cost(data: Data) -> Figure | None:
    """Seconds, a night a bar, a step a colour."""
    seconds = {}
    for night in data.get("nights", []):
        if night.get("step_seconds"):
            seconds[str(night["number"])] = night["step_seconds"]
    if not seconds:
        return None
    figure = Figure(figsize=(6, 3.4))
    _stack(figure.subplots(), seconds, label="seconds", least=0.02)
    return figure


def dreams(data: Data) -> Figure | None:
    """What became of the dreams, and held-out ones answered before and after, by night."""
    # A night that dreamt has rounds; one without held-out dreams has nothing to answer.
    fates, answered = {}, {}
    for night in data.get("nights", []):
        dreamt, number = night.get("dreams", {}), str(night["number"])
        if not dreamt.get("rounds"):
            continue
        fates[number] = Counter[str]()
        for counts in dreamt["rounds"]:
            fates[number].update(counts)
        if dreamt["before"]["total"]:
            answered[number] = dreamt
    if not fates:
        return None
    return side_by_side(
        partial(_stack, parts_by_night=fates, label="dreams, by what became of them"),
        partial(_before_and_after, dreams_by_night=answered),
    )


PLOTS = {
    "retrieval-load": Plot("Retrieval load", retrieval_load),
    "accuracy": Plot("Accuracy and honesty", accuracy),
    "by-night": Plot("Accuracy by the night a fact was learned", recall_by_night),
    "seeding": Plot("Seeding curves", seeding),
    "dreams": Plot("Dreams", dreams),
    "cost": Plot("Cost of the nights", cost),
}


def side_by_side(*draws: Callable[[Axes], None]) -> Figure:
    """One figure, each drawing in axes of its own."""
    figure = Figure(figsize=(9, 3.4))
    panels = figure.subplots(1, len(draws), squeeze=False)[0]
    for axes, draw in zip(panels, draws, strict=True):
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _by_day(axes: Axes, days: Sequence[Data], *, key: str, label: str) -> None:
    for name, arm in ARMS.items():
        values = column(column(days, name), key)
        numbers = range(1, len(days) + 1)
        axes.plot(numbers, values, marker="o", label=arm.label, color=arm.colour)
    axes.set(xlabel="day", ylabel=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _by_night_slept(axes: Axes, load: Sequence[Data], *, key: str, label: str) -> None:
    nights, values = [], []
    for slept, between in enumerate(load):
        if between["questions"]:
            nights.append(slept)
            values.append(between[key])
    axes.plot(nights, values, marker="o", color=OURS)
    axes.set(xlabel="nights slept", ylabel=label)
    axes.set_ylim(bottom=0)


def _taught_by_night(night: Data) -> dict[str, float]:
    """Share that is recalled after this night, by the number of the night a fact was learned in.

    What a slow night took over counts once, for the nights that taught it.
    """
    recall = night.get("recall_by_night", [])
    took_over = night.get("absorbed", 0) > 1 and len(recall) > 1
    shares = {}
    for learned in recall:
        if not (took_over and learned["night"] == night["number"]):
            shares[str(learned["night"])] = learned["rate"]
    return shares


def _curves(axes: Axes, nights: Sequence[Data], *, key: str, label: str, log: bool = False) -> None:
    for night in nights:
        steps, values = _points(night, key)
        axes.plot(steps, values, alpha=0.8, label=f"night {night['number']}")
    axes.set(xlabel="step", ylabel=label)
    if log:
        axes.set_yscale("log")
    axes.legend(fontsize=7)


def _points(night: Data, key: str) -> tuple[list[int], list[float]]:
    """Steps of seeding that logged it, and what they logged."""
    steps, values = [], []
    for point in night["curve"]:
        if key in point:
            steps.append(point["step"])
            values.append(point[key])
    return steps, values


def _before_and_after(axes: Axes, dreams_by_night: Mapping[str, Data]) -> None:
    for when in ("before", "after"):
        scores = column(list(dreams_by_night.values()), when)
        rates = column(scores, "rate")
        axes.plot(list(dreams_by_night), rates, marker="o", label=f"{when} dreaming")
    axes.set(xlabel="dreaming night", ylabel="held-out dreams answered", ylim=SHARE)
    axes.legend(fontsize=7)


def _stack(
    axes: Axes,
    parts_by_night: Mapping[str, Mapping[str, float]],
    *,
    label: str,
    least: float = 0.0,
) -> None:
    """A bar a night, a colour a part.

    Parts that are nowhere more than `least` of the tallest bar are left out.
    """
    nights = list(parts_by_night.values())
    tallest, names = 0.0, dict[str, None]()
    for parts in nights:
        tallest = max(tallest, sum(parts.values()))
        names |= dict.fromkeys(parts)

    # Each part stands on those before it.
    base = [0.0] * len(nights)
    for name in names:
        heights = [parts.get(name, 0.0) for parts in nights]
        if max(heights) > least * tallest:
            axes.bar(list(parts_by_night), heights, bottom=base, label=name.replace("_", " "))
            base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.set(xlabel="night", ylabel=label)
    axes.legend(fontsize=7)


def column(rows: Sequence[Data], key: str) -> list[Any]:
    return [row[key] for row in rows]
