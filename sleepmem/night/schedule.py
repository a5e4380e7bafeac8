"""When a night is due, and which level's.

Imports no torch until somebody sleeps.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sleepmem._extras import from_extra
from sleepmem.config import MemoryConfig
from sleepmem.records import Namespace, NightReport, Verdict
from sleepmem.stores.folder import Folder

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from sleepmem.model.local import LocalModel
    from sleepmem.night.rewards import Semantic


class Schedule:
    """The nights of one memory folder.

    Args:
        folder: the open folder.
        model: loads the model that answers by day; a night trains a twin of it.
        config: settings of the nights, and of the gate that they calibrate.
        embeddings: judge whether two answers mean the same, unless `semantic` does.
        semantic: (answer, wanted) -> 1.0 when they mean the same, else 0.0.
    """

    def __init__(
        self,
        folder: Folder,
        model: Callable[[], LocalModel],
        *,
        config: MemoryConfig,
        embeddings: Embeddings,
        semantic: Semantic | None = None,
    ) -> None:
        self.folder, self.model = folder, model
        self.config, self.gate = config.sleep, config.gate
        self.embeddings, self.semantic = embeddings, semantic

    def is_tired(self, namespace: Namespace) -> bool:
        """Whether enough came in since the last night began that may teach the weights."""
        untrusted = self.config.untrusted
        waiting = self.folder.ledger.episodes.waiting(namespace, untrusted=untrusted)
        return waiting >= self.config.tired_at

    def sleep(
        self,
        namespace: Namespace,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> NightReport:
        """One night, then those of slower levels that are due after it."""
        self.folder.check_writable()
        with from_extra("night", "sleeping"):
            from sleepmem.night import graph
            from sleepmem.night.rewards import near_in_meaning
            from sleepmem.night.state import NightContext

        self.folder.catch_up(namespace)
        night = NightContext(
            self.folder,
            self.model().twin(),
            config=self.config,
            semantic=self.semantic
            or near_in_meaning(self.embeddings, least=self.config.seeding.same_meaning),
            stop=stop,
            gate=self.gate,
        )
        report = last = graph.run_night(night, namespace, on_event=on_event)
        while last.verdict in (Verdict.PROMOTED, Verdict.SKIPPED):
            level = self.due(namespace)
            if level is None:
                break
            last = graph.run_night(night, namespace, on_event=on_event, level=level)
            report = replace(report, slower=(*report.slower, last))
        self.folder.catch_up(namespace)
        return report

    def due(self, namespace: Namespace) -> str | None:
        """The slower level whose turn it is.

        The one before it has made as many experts as it takes in, and it was not tried since.
        """
        ledger = self.folder.ledger
        numbers = ledger.nights.numbers()
        nights = ledger.nights.finished(namespace)
        experts = ledger.lineage.experts(namespace)
        for faster, slower in itertools.pairwise(self.config.levels):
            born = [numbers[expert.night_id] for expert in experts if expert.level == faster.name]
            tried = [night.number for night in nights if night.report.get("level") == slower.name]
            is_complete = born and len(born) % (slower.every // faster.every) == 0
            if is_complete and max(tried, default=0) < max(born):
                return slower.name
        return None
