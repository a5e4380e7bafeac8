"""Plots of measurements that compare several ways to remember: data in, figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sleepmem.report import plots
from sleepmem.report.data import Data
from sleepmem.report.plots import column, side_by_side

# Beside those of a week.
ARMS = {
    **plots.ARMS,
    "asked": plots.Arm("sleepmem, asked every evening", "#1f78b4"),
    "sft": plots.Arm("SFT every night", "#e7298a"),
    "sdft": plots.Arm("SDFT every night", "#66a61e"),
    "control": plots.Arm("another life's experts", "#7570b3"),
}


def life(checkpoints: Mapping[str, Sequence[Data]]) -> Figure:
    """Accuracy by the age of a fact after the last night, and honesty over the nights.

    A line for each way to remember: its measurements, oldest first (evals.life).
    """
    return side_by_side(
        partial(_by_age, checkpoints=checkpoints), partial(_honesty, checkpoints=checkpoints)
    )


def lived(days: Mapping[str, Sequence[Data]]) -> Figure:
    """What was right, and the memory tokens of a turn, by day (evals.lives).

    A line for each way to remember: its days, oldest first.
    """
    right = partial(_by_day, days=days, key="accuracy", label="answers right")
    tokens = partial(_by_day, days=days, key="memory_tokens", label=plots.MEMORY_TOKENS)
    return side_by_side(right, tokens)


def arms(runs: Mapping[str, Sequence[Data]], measures: Sequence[str]) -> Figure:
    """The mean of each measure, an arm a row, with its range over the runs (evals.ablations)."""
    figure = Figure(figsize=(3 * len(measures), 0.4 * len(runs) + 1))
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for row, results in enumerate(runs.values()):
            values = column(results, measure)
            axes.barh(row, sum(values) / len(values), color=plots.OURS)
            axes.plot([min(values), max(values)], [row, row], color="black")
        axes.set(
            title=measure,
            xlim=plots.SHARE,
            ylim=(len(runs) - 0.5, -0.5),
            yticks=range(len(runs)),
            yticklabels=list(runs),
        )
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def fits(found: Mapping[str, Data]) -> Figure:
    """What models can do, a measure a row, with the interval and what is enough (evals.fit)."""
    names = list(dict.fromkeys(one["measure"] for fit in found.values() for one in fit["measures"]))
    figure = Figure(figsize=(8, 0.4 * len(names) + 1))
    axes = figure.subplots()
    for place, (model, fit) in enumerate(found.items()):
        shift = 0.6 * ((place + 1) / (len(found) + 1) - 0.5)
        drawn = [one for one in fit["measures"] if one["total"]]
        rows = [names.index(one["measure"]) for one in drawn]
        for row, one in zip(rows, drawn, strict=True):
            axes.plot([one["low"], one["high"]], [row + shift] * 2, color=f"C{place}")
            axes.plot([one["least"]] * 2, [row - 0.4, row + 0.4], color="black", linestyle=":")
        shares = column(drawn, "rate")
        axes.plot(shares, [row + shift for row in rows], "o", color=f"C{place}", label=model)
    axes.set(
        xlim=plots.SHARE,
        xlabel="share, with its 90 % interval; dotted: enough",
        ylim=(len(names) - 0.5, -0.5),
        yticks=range(len(names)),
        yticklabels=names,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize=8)
    return figure


def _by_age(axes: Axes, checkpoints: Mapping[str, Sequence[Data]]) -> None:
    last = 0
    for arm, measured in checkpoints.items():
        right = measured[-1]["right_by_age"]
        axes.plot(list(right), list(right.values()), marker="o", label=arm)
        last = max(last, measured[-1]["night"])
    axes.set(
        xlabel=f"age of a fact, nights, after night {last}",
        ylabel="answers right",
        ylim=(-0.02, 1.05),
    )
    axes.legend(fontsize=8, loc="center right")


def _honesty(axes: Axes, checkpoints: Mapping[str, Sequence[Data]]) -> None:
    for arm, measured in checkpoints.items():
        nights, honest = column(measured, "night"), column(measured, "abstention")
        axes.plot(nights, honest, marker="o", label=arm)
    axes.set(xlabel="night", ylabel="honest about what was never said", ylim=(-0.02, 1.05))


def _by_day(axes: Axes, days: Mapping[str, Sequence[Data]], *, key: str, label: str) -> None:
    for name, own in days.items():
        arm = ARMS[name]
        numbers, values = column(own, "day"), column(own, key)
        axes.plot(numbers, values, marker="o", label=arm.label, color=arm.colour)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="day", ylabel=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
