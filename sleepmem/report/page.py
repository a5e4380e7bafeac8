"""The page of a report: one HTML file with its plots inside, and the table of the nights."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

from sleepmem.report.data import Data, sizes

_STYLE = (
    "body{font:15px system-ui;max-width:70em;margin:2em auto;padding:0 1em}"
    "img{max-width:100%}"
    "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"
)
_COLUMNS = (
    "night",
    "level",
    "verdict",
    "reason",
    "seconds",
    "tokens generated",
    "tokens trained",
    "peak memory of the process, MiB",
    "memory tokens saved per turn",
    "paid back after turns",
    "forgotten, of those asked again",
    "dreams",
)
_NAMED = ("answered from the weights, UTC", "expert", "taught in", "told on")
_DASH = "&ndash;"


class Image(NamedTuple):
    """A plot and its heading."""

    title: str
    png: bytes


def page(data: Data, images: Sequence[Image]) -> str:
    """The page; it loads nothing from elsewhere."""
    plots = "".join(_section(image) for image in images)
    rows = ""
    for night, spent in zip(data["nights"], data["cost"], strict=True):
        cells = "".join(f"<td>{cell}</td>" for cell in _cells(night, spent))
        rows += f"<tr>{cells}</tr>"
    return (
        '<!doctype html><meta charset="utf-8"><title>sleepmem report</title>'
        f"<style>{_STYLE}</style><h1>sleepmem report</h1>"
        f"{plots}<h2>Nights</h2><table><tr><th>{'<th>'.join(_COLUMNS)}</tr>"
        f"{rows}</table><p>{sizes(data['nights'])}</p>{_sources(data.get('sources'))}"
    )


def _sources(found: Data | None) -> str:
    """What the answers came from, counted, and what the newest of the weights' named."""
    if not found or not any(found[name] for name in ("weights", "memories", "neither")):
        return ""
    told = (
        f"<h2>Where answers came from</h2><p>{found['weights']:,} from the weights, "
        f"{found['memories']:,} with memories that were read, "
        f"{found['neither']:,} with neither.</p>"
    )
    if not found["sample"]:
        return told
    rows = ""
    for one in found["sample"]:
        named = (one["at"][:16], one["expert"], one["night"], ", ".join(one["told"]))
        cells = "".join(f"<td>{html.escape(cell) or _DASH}</td>" for cell in named)
        rows += f"<tr>{cells}</tr>"
    return f"{told}<table><tr><th>{'<th>'.join(_NAMED)}</tr>{rows}</table>"


def _section(image: Image) -> str:
    source = f"data:image/png;base64,{base64.b64encode(image.png).decode()}"
    return f'<h2>{image.title}</h2><img alt="{image.title}" src="{source}">'


def _cells(night: Data, spent: Data) -> list[str]:
    """The row of a night, and of what it cost; the order is that of the columns."""
    return [
        html.escape(str(night.get("night_id", night["number"]))),
        html.escape(night.get("level", "")),
        html.escape(night["verdict"]),
        html.escape(night["reason"]),
        f"{night['seconds']:.0f}",
        f"{spent['tokens_generated']:,}",
        f"{spent['tokens_trained']:,}",
        f"{spent['peak_bytes'] / 2**20:,.0f}",
        _or_dash(spent["tokens_saved_per_turn"]),
        _or_dash(spent["break_even_turns"]),
        _forgotten(night),
        _dreamt(night.get("dreams", {})),
    ]


def _forgotten(night: Data) -> str:
    audited = night.get("audited")
    return f"{night.get('returned', 0)} of {audited}" if audited else _DASH


def _dreamt(dreams: Data) -> str:
    if not dreams:
        return _DASH
    return "kept" if dreams["kept"] else f"not kept: {html.escape(dreams['reason'])}"


def _or_dash(value: float | None) -> str:
    return _DASH if value is None else f"{value:,}"
