"""Write a report into a folder: `report.json`, `report.html`, and a PNG for each plot.

The data is what `report.json` holds: `nights` (reports, oldest first), `cost`, and `load` for one
memory (data.from_ledger) or `days` for a week that was lived with several (evals.week). Every plot
is drawn only when its data is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sleepmem.report import compared, plots
from sleepmem.report.data import Data
from sleepmem.report.page import Image, page


def write(data: Data, out: Path) -> list[Path]:
    """Write report.json, report.html and the plots into `out`; returns the paths."""
    out.mkdir(parents=True, exist_ok=True)
    images, paths = [], [out / "report.json", out / "report.html"]
    for name, plot in plots.PLOTS.items():
        figure = plot.draw(data)
        if figure is not None:
            path = out / f"{name}.png"
            _save(figure, path)
            images.append(Image(plot.title, path.read_bytes()))
            paths.append(path)
    (out / "report.json").write_text(json.dumps(data, indent=1))
    (out / "report.html").write_text(page(data, images))
    return paths


def draw_life(checkpoints: Mapping[str, Sequence[Data]], to: Path) -> None:
    """Accuracy by the age of a fact, and honesty, as one PNG (see compared.life)."""
    _save(compared.life(checkpoints), to)


def draw_arms(runs: Mapping[str, Sequence[Data]], measures: Sequence[str], *, to: Path) -> None:
    """The mean and range of each measure, an arm a row, as one PNG (see compared.arms)."""
    _save(compared.arms(runs, measures), to)


def draw_lived(days: Mapping[str, Sequence[Data]], to: Path) -> None:
    """What was right and what it cost by day, as one PNG (see compared.lived)."""
    _save(compared.lived(days), to)


def draw_fits(found: Mapping[str, Data], to: Path) -> None:
    """What models can do, as one PNG (see compared.fits)."""
    _save(compared.fits(found), to)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", dpi=120, bbox_inches="tight")
