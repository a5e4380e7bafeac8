"""Figures that were saved, and night reports made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sleepmem.records import NightReport, Verdict
from sleepmem.report import draw

Night = Callable[..., dict[str, Any]]


@pytest.fixture
def night() -> Night:
    """A report of the shape that the ledger gives, by the number of the night."""

    def report(number: int, verdict: str = "promoted", **changed: Any) -> dict[str, Any]:
        values = {"level": "fast", "seconds": 1.0, "number": number, **changed}
        night_id = f"night-{number:04d}"
        return NightReport(night_id, ("alice",), Verdict(verdict), "r", **values).as_dict()

    return report


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved."""
    figures: list[Any] = []
    save = draw.Figure.savefig

    def keep(figure: Any, *path: Any, **how: Any) -> None:
        figures.append(figure)
        save(figure, *path, **how)

    monkeypatch.setattr(draw.Figure, "savefig", keep)
    return figures
