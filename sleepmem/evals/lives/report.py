"""The results of a run: a line for each answer, tables, a picture of each life."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from sleepmem.evals.lives.arms import ARMS
from sleepmem.evals.lives.ask import rejudged
from sleepmem.evals.lives.data import KINDS, NAMES, load
from sleepmem.evals.lives.diary import Diary
from sleepmem.evals.lives.figures import CONFIDENCE, Aim, Figures, Row, aims, by_day
from sleepmem.night.promotion import wilson
from sleepmem.records import Score
from sleepmem.report.draw import draw_lived

_ALL = "what was told"
_TOLD = tuple(kind for kind in KINDS if kind != "never")


def write(diary: Diary) -> list[Path]:
    """Write `answers.jsonl`, `report.json` and a PNG for each life; returns their paths."""
    out = diary.out
    found = records(diary)
    answers = out / "answers.jsonl"
    with answers.open("w", encoding="utf-8") as file:
        for record in found:
            for row in record["answers"]:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    report = out / "report.json"
    report.write_text(json.dumps(as_dict(found), indent=1))
    paths = [answers, report]
    for life in dict.fromkeys(record["life"] for record in found):
        paths.append(draw(diary, life))
    return paths


def draw(diary: Diary, life: str) -> Path:
    """The picture of a life as far as it is lived."""
    picture = diary.out / f"{life}.png"
    draw_lived(by_day(records(diary), life), picture)
    return picture


def records(diary: Diary) -> list[dict[str, Any]]:
    """All that is finished, arms as they stand in `ARMS`, judged anew where the life is known."""
    places, lives = list(ARMS), {name: load(name) for name in NAMES}
    found = []
    for record in sorted(diary.records(), key=lambda record: places.index(record["arm"])):
        if record["life"] in lives:
            life = lives[record["life"]]
            record["answers"] = [rejudged(life, row) for row in record["answers"]]
        found.append(record)
    return found


def as_dict(days: Sequence[Row]) -> dict[str, Any]:
    """What `report.json` holds: shares after the last day, aims, days, nights."""
    figures = Figures(days)
    right: dict[str, dict[str, Any]] = {}
    for arm in figures.arms:
        right[arm] = {}
        for kind, score in _scores(figures, arm).items():
            low, high = wilson(score, CONFIDENCE)
            interval = {"low": round(low, 4), "high": round(high, 4)}
            right[arm][kind] = {**score.as_dict(), **interval}
        if arm in figures.trained:
            right[arm]["weights alone"] = figures.alone(arm, _TOLD).as_dict()
    judged = []
    for aim in aims(figures):
        judged.append({**asdict(aim), "reached": aim.is_reached})
    nights = []
    for record in days:
        own = {key: record[key] for key in ("life", "arm", "day", "night", "weights")}
        if record["night"] or record["weights"]:
            nights.append(own)
    return {"lives": figures.lives, "right": right, "aims": judged, "nights": nights}


def by_kind(days: Sequence[Row]) -> Table:
    """What each arm had right after the last day, a kind of question a row."""
    figures = Figures(days)
    lives = ", ".join(figures.lives) or "no life yet"
    table = Table(title=f"Right after the last day of {lives}, with {CONFIDENCE:.0%} intervals")
    table.add_column("questions")
    columns = {}
    for arm in figures.arms:
        table.add_column(arm)
        columns[arm] = _scores(figures, arm)
    for kind in (*KINDS, _ALL):
        scores = [columns[arm][kind] for arm in figures.arms]
        # The same questions for all of them.
        asked = f"{kind}, {scores[0].total}" if scores else kind
        table.add_row(asked, *map(_shown, scores))
    named = [((kind,), kind) for kind in KINDS]
    for kinds, name in [*named, (_TOLD, _ALL)] if figures.trained else []:
        alone = []
        for arm in figures.arms:
            is_trained = arm in figures.trained
            alone.append(_shown(figures.alone(arm, kinds)) if is_trained else "-")
        table.add_row(f"weights alone: {name}", *alone)
    return table


def by_life(days: Sequence[Row]) -> Table:
    """What each arm had right of what was told, a life a row."""
    figures = Figures(days)
    table = Table(title=f"Right of {_ALL}, by life")
    for name in ("life", *figures.arms):
        table.add_column(name)
    for life in figures.lives:
        own = Figures([record for record in days if record["life"] == life])
        table.add_row(life, *(_shown(own.score(arm, _TOLD)) for arm in figures.arms))
    return table


def by_aim(days: Sequence[Row]) -> Table:
    """Every aim, and whether it was reached."""
    table = Table(title="sleepmem after the last day")
    for name in ("what", "measured", "of", "aim", ""):
        table.add_column(name)
    for aim in aims(Figures(days)):
        table.add_row(aim.what, *_against(aim))
    return table


def by_night(days: Sequence[Row]) -> Table:
    """How sleepmem's nights ended, the slow ones of a long life among them."""
    table = Table(title="Nights")
    for name in (
        "life",
        "arm",
        "day",
        "level",
        "verdict",
        "episodes",
        "pairs",
        "seconds",
        "reason",
    ):
        table.add_column(name)
    for record in days:
        night = record["night"]
        if "slower" not in night:
            continue
        for one in (night, *night["slower"]):
            cells = (one["level"], one["verdict"], one["episodes"], one.get("pairs", ""))
            seconds = f"{one['seconds']:.0f}"
            reason = "" if one["verdict"] == "promoted" else one["reason"]
            row = (record["life"], record["arm"], record["day"], *cells, seconds, reason)
            table.add_row(*map(str, row))
    return table


def _scores(figures: Figures, arm: str) -> dict[str, Score]:
    """By kind, and of all that was told."""
    scores = {_ALL: figures.score(arm, _TOLD)}
    for kind in KINDS:
        scores[kind] = figures.score(arm, (kind,))
    return scores


def _shown(score: Score) -> str:
    if not score.total:
        return "-"
    low, high = wilson(score, CONFIDENCE)
    return f"{score.rate:.2f} ({low:.2f}-{high:.2f})"


def _against(aim: Aim) -> tuple[str, str, str, str]:
    bound, asked = f"{aim.must_be} {aim.bound:g}", "" if aim.asked is None else str(aim.asked)
    if aim.value is None:
        return "-", asked, bound, "not known"
    return f"{aim.value:.3f}", asked, bound, "reached" if aim.is_reached else "missed"
