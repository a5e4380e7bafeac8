"""Draw a report: `report.json`, a self-contained `report.html`, and PNGs. Knows matplotlib and plain data (see `data`), no store and no model.

The data is what `report.json` holds: `nights` (list of night reports), and for a run with days `days` (see evals.week). Every plot is drawn
only when its data is there.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sleepmem.report.data import cost, sizes

_ARMS = {
    "none": ("no memory", "#999999"),
    "retrieval": ("retrieval only", "#d95f02"),
    "sleepmem": ("sleepmem", "#1b6ca8"),
}
Data = Mapping[str, Any]


def write(data: Data, out: Path) -> list[Path]:
    """Write report.json, report.html and one PNG per plot into `out`; returns the paths."""
    out.mkdir(parents=True, exist_ok=True)
    pages, paths = [], []
    for name, (title, draw) in _PLOTS.items():
        figure = draw(data)
        if figure is None:
            continue
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
        (out / f"{name}.png").write_bytes(image.getvalue())
        paths.append(out / f"{name}.png")
        pages.append(
            f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}">'
        )
    (out / "report.json").write_text(json.dumps(data, indent=1))
    (out / "report.html").write_text(_page(data, pages))
    return [out / "report.json", out / "report.html", *paths]


def _retrieval_load(data: Data) -> Figure | None:
    if days := data.get("days"):
        return _two(
            lambda a: _arms(
                a, days, "memory_tokens_per_turn", "memory tokens in the prompt, per turn"
            ),
            lambda a: _arms(a, days, "retrieval_rate", "share of turns that retrieve"),
        )
    load = [(i, x) for i, x in enumerate(data.get("load", [])) if x["questions"]]
    if not load:
        return None

    def draw(key: str, label: str) -> Callable[[Axes], None]:
        def on(a: Axes) -> None:
            a.plot(
                [i for i, _ in load],
                [x[key] for _, x in load],
                marker="o",
                color=_ARMS["sleepmem"][1],
            )
            a.set(xlabel="nights slept", ylabel=label)
            a.set_ylim(bottom=0)

        return on

    return _two(
        draw("memory_tokens_per_turn", "memory tokens in the prompt, per turn"),
        draw("retrieval_rate", "share of turns that retrieve"),
    )


def _accuracy(data: Data) -> Figure | None:
    if not (days := data.get("days")):
        return None
    return _two(
        lambda a: _arms(a, days, "accuracy", "answers right"),
        lambda a: _arms(a, days, "abstention", "honest about what was never said"),
    )


def _by_age(data: Data) -> Figure | None:
    found = [
        _right_by_night(n)
        for n in data.get("nights", [])
        if n.get("verdict", "promoted") == "promoted"
    ]
    if not any(found):
        return None
    figure = Figure(figsize=(6, 3.4))
    a = figure.subplots()
    last = [f for f in found if f][-1]
    a.bar(list(last), list(last.values()), color=_ARMS["sleepmem"][1])
    a.set(
        xlabel="night in which a fact was learned",
        ylabel="closed-book accuracy after the last night",
        ylim=(0, 1.02),
    )
    return figure


def _right_by_night(night: Data) -> dict[str, float]:
    """By the number of the night a fact was learned in; what a slow night took over counts once, as those who taught it."""
    if found := night.get("by_night"):
        return {str(i + 1): right for i, right in enumerate(found)}
    found = night.get("exam", {}).get("by_night", {})
    again = night.get("absorbed", 0) > 1
    return {
        _number(i, 0): right
        for i, right in found.items()
        if not (again and i == night.get("night_id") and len(found) > 1)
    }


def _number(night_id: str | None, place: int) -> str:
    """8 of night-0008; the place in the list, from 0, where a night has no id."""
    return str(int(night_id.rsplit("-", 1)[-1])) if night_id else str(place + 1)


def _having(nights: Sequence[Data], has: Callable[[Data], Any]) -> dict[str, Data]:
    """The nights that have it, by their number."""
    return {_number(n.get("night_id"), i): n for i, n in enumerate(nights) if has(n)}


def _curves(data: Data) -> Figure | None:
    nights = _having(data.get("nights", []), lambda n: n.get("curve"))
    if not nights:
        return None

    def draw(key: str, label: str, log: bool) -> Callable[[Axes], None]:
        def on(a: Axes) -> None:
            for number, n in nights.items():
                points = [p for p in n["curve"] if key in p]
                a.plot(
                    [p["step"] for p in points],
                    [p[key] for p in points],
                    alpha=0.8,
                    label=f"night {number}",
                )
            a.set(xlabel="step", ylabel=label)
            if log:
                a.set_yscale("log")
            a.legend(fontsize=7)

        return on

    rewarded = any(
        "reward" in p for n in nights.values() for p in n["curve"]
    )  # else no batch was on-policy
    draws = [
        draw("loss", "divergence from the teacher, nats per token", True),
        draw("reward", "imitation reward", False),
    ]
    return _two(*draws[: 1 + rewarded])


def _cost(data: Data) -> Figure | None:
    nights = _having(
        data.get("nights", []), lambda n: n.get("step_seconds") or n.get("exam", {}).get("seconds")
    )
    if not nights:
        return None
    spent = {number: n.get("step_seconds") or n["exam"]["seconds"] for number, n in nights.items()}
    figure = Figure(figsize=(6, 3.4))
    _stacked(figure.subplots(), spent, "seconds")
    return figure


def _dreams(data: Data) -> Figure | None:
    nights = _having(
        data.get("nights", []), lambda n: n.get("exam", {}).get("dreams", {}).get("rounds")
    )
    if not nights:
        return None
    told = {number: n["exam"]["dreams"] for number, n in nights.items()}
    fates = {number: sum(map(Counter, d["rounds"]), Counter[str]()) for number, d in told.items()}

    def answered(a: Axes) -> None:
        asked = [(number, d) for number, d in told.items() if d["before"]["total"]]
        for when in ("before", "after"):
            a.plot(
                [i for i, _ in asked],
                [d[when]["rate"] for _, d in asked],
                marker="o",
                label=f"{when} dreaming",
            )
        a.set(xlabel="dreaming night", ylabel="held-out dreams answered", ylim=(0, 1.02))
        a.legend(fontsize=7)

    return _two(lambda a: _stacked(a, fates, "dreams, by what became of them", 0.0), answered)


def _stacked(
    a: Axes, by_night: Mapping[str, Mapping[str, float]], label: str, least: float = 0.02
) -> None:
    """A bar a night, a colour a part; parts that are nowhere more than `least` of the tallest bar are left out."""
    base, tallest = [0.0] * len(by_night), max(sum(x.values()) for x in by_night.values())
    for part in dict.fromkeys(p for x in by_night.values() for p in x):
        heights = [x.get(part, 0.0) for x in by_night.values()]
        if max(heights) > least * tallest:
            a.bar(list(by_night), heights, bottom=base, label=part.replace("_", " "))
            base = [b + h for b, h in zip(base, heights, strict=True)]
    a.set(xlabel="night", ylabel=label)
    a.legend(fontsize=7)


_PLOTS: dict[str, tuple[str, Callable[[Data], Figure | None]]] = {
    "retrieval-load": ("Retrieval load", _retrieval_load),
    "accuracy": ("Accuracy and honesty", _accuracy),
    "by-night": ("Accuracy by the night a fact was learned", _by_age),
    "seeding": ("Seeding curves", _curves),
    "dreams": ("Dreams", _dreams),
    "cost": ("Cost of the nights", _cost),
}


def draw_life(measured: Mapping[str, Sequence[Data]], to: Path) -> None:
    """Accuracy by the age of a fact after the last night, and honesty over the nights, a line for each way to remember (evals.life)."""

    def ages(a: Axes) -> None:
        for arm, found in measured.items():
            right = found[-1]["right_by_age"]
            a.plot(list(right), list(right.values()), marker="o", label=arm)
        a.set(
            xlabel=f"age of a fact, nights, after night {max(f[-1]['night'] for f in measured.values())}",
            ylabel="answers right",
            ylim=(-0.02, 1.05),
        )
        a.legend(fontsize=8, loc="center right")

    def honesty(a: Axes) -> None:
        for arm, found in measured.items():
            a.plot(
                [f["night"] for f in found], [f["abstention"] for f in found], marker="o", label=arm
            )
        a.set(xlabel="night", ylabel="honest about what was never said", ylim=(-0.02, 1.05))

    _two(ages, honesty).savefig(to, format="png", dpi=120, bbox_inches="tight")


def draw_arms(found: Mapping[str, Sequence[Data]], figures: Sequence[str], to: Path) -> None:
    """The mean of each figure, an arm a row, with its range over the runs (evals.ablations)."""
    drawing = Figure(figsize=(3 * len(figures), 0.4 * len(found) + 1))
    for a, figure in zip(
        drawing.subplots(1, len(figures), sharey=True, squeeze=False)[0], figures, strict=True
    ):
        for row, runs in enumerate(found.values()):
            values = [r[figure] for r in runs]
            a.barh(row, sum(values) / len(values), color=_ARMS["sleepmem"][1])
            a.plot([min(values), max(values)], [row, row], color="black")
        a.set(
            title=figure,
            xlim=(0, 1.02),
            ylim=(len(found) - 0.5, -0.5),
            yticks=range(len(found)),
            yticklabels=list(found),
        )
        a.spines[["top", "right"]].set_visible(False)
    drawing.savefig(to, format="png", dpi=120, bbox_inches="tight")


def _two(*draws: Callable[[Axes], None]) -> Figure:
    figure = Figure(figsize=(9, 3.4))
    for a, draw in zip(figure.subplots(1, len(draws), squeeze=False)[0], draws, strict=True):
        draw(a)
        a.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _arms(a: Axes, days: Sequence[Data], key: str, label: str) -> None:
    for arm, (name, colour) in _ARMS.items():
        a.plot(
            range(1, len(days) + 1),
            [d[arm][key] for d in days],
            marker="o",
            label=name,
            color=colour,
        )
    a.set(xlabel="day", ylabel=label)
    a.set_ylim(bottom=0)
    a.legend(fontsize=8)


def _page(data: Data, pages: Sequence[str]) -> str:
    nights = data.get("nights", [])
    costs = data.get("cost") or cost(nights, [None] * len(nights))
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(x))}</td>' for x in (n.get('night_id', i + 1), n.get('level', ''), n.get('verdict'), n.get('reason')))}"
        f"<td>{n.get('seconds', 0):.0f}</td>"
        f"<td>{c['tokens_generated']:,}</td><td>{c['tokens_trained']:,}</td><td>{c['peak_bytes'] / 2**20:,.0f}</td>"
        f"<td>{_or_dash(c['tokens_saved_per_turn'])}</td><td>{_or_dash(c['break_even_turns'])}</td>"
        f"<td>{_audited(n)}</td><td>{_dreamt(n.get('exam', {}).get('dreams') or {})}</td></tr>"
        for i, (n, c) in enumerate(zip(nights, costs, strict=True))
    )
    return (
        '<!doctype html><meta charset="utf-8"><title>sleepmem report</title>'
        "<style>body{font:15px system-ui;max-width:70em;margin:2em auto;padding:0 1em}img{max-width:100%}"
        "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}</style><h1>sleepmem report</h1>"
        f"{''.join(pages)}<h2>Nights</h2><table><tr><th>night<th>level<th>verdict<th>reason<th>seconds<th>tokens generated<th>tokens trained"
        "<th>peak memory of the process, MiB<th>memory tokens saved per turn<th>paid back after turns<th>forgotten, of those asked again<th>dreams</tr>"
        f"{rows}</table><p>{sizes(nights)}</p>"
    )


def _audited(night: Data) -> str:
    return (
        f"{night.get('returned', 0)} of {night['audited']}" if night.get("audited") else "&ndash;"
    )


def _dreamt(dreams: Data) -> str:
    if not dreams:
        return "&ndash;"
    return "kept" if dreams["kept"] else f"not kept: {html.escape(dreams['reason'])}"


def _or_dash(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:,}"
