"""When a night is due, and which level's.

Imports no torch until somebody sleeps.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from sleepmem._extras import from_extra
from sleepmem.config import MemoryConfig
from sleepmem.errors import FolderError
from sleepmem.night import teachable
from sleepmem.records import Namespace, NightReport, Verdict
from sleepmem.stores.erasure import expiring
from sleepmem.stores.folder import Folder
from sleepmem.stores.turns import FAILED

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from sleepmem.model.local import LocalModel
    from sleepmem.night.reviewing import Review
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
        self.config, self.gate, self.policy = config.sleep, config.gate, config.policy
        self.embeddings, self.semantic = embeddings, semantic

    def is_tired(self, namespace: Namespace) -> bool:
        """Whether enough came in since the last night began that may teach the weights."""
        return self._waiting(namespace) >= self.config.tired_at

    def due_nights(self, least: int | None = None) -> list[Namespace]:
        """Whose night is due: `least` came in since the last, or that was interrupted."""
        ledger, enough = self.folder.ledger, least or self.config.tired_at
        due = []
        for owner in ledger.episodes.namespaces():
            if ledger.nights.unfinished(owner) or self._waiting(owner) >= enough:
                due.append(owner)
        return due

    def _waiting(self, namespace: Namespace) -> int:
        return self.folder.ledger.episodes.waiting(namespace, untrusted=self.config.untrusted)

    def sleep(
        self,
        namespace: Namespace,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        *,
        stop: threading.Event | None = None,
        is_dry: bool = False,
        review: Review | None = None,
    ) -> NightReport:
        """One night, then those of slower levels that are due after it.

        Before it, what was said to last no longer is forgotten.
        """
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
            policy=self.policy,
            is_dry=is_dry,
            is_reviewed=review is not None or self.config.review,
        )
        if not is_dry:
            self._expire(namespace)
        report = last = graph.run_night(night, namespace, on_event=on_event, review=review)
        while last.verdict in (Verdict.PROMOTED, Verdict.SKIPPED):
            level = self.due(namespace)
            if level is None:
                break
            last = graph.run_night(night, namespace, on_event=on_event, level=level)
            report = replace(report, slower=(*report.slower, last))
        self.folder.catch_up(namespace)
        return report

    def _expire(self, namespace: Namespace) -> None:
        """Forget what was said to last no longer, and what a rule holds and is too old for it."""
        ledger = self.folder.ledger
        if ledger.nights.unfinished(namespace):
            return
        ids = ledger.episodes.expired(namespace)
        if self.policy.days:
            waiting = ledger.episodes.telling(namespace)
            ids += teachable.outlived(
                waiting, self.policy, today=date.today(), untrusted=self.config.untrusted
            )
        try:
            if ids:
                erasure = expiring(ledger, namespace, episode_ids=ids)
                asked = {"expired": len(ids)}
                self.folder.forget(erasure, asked=asked, proof={}, at_once=True)
            else:
                self.folder.clean()
        except FolderError as error:
            # Another process has files open, which are cleaned when it has gone; no night waits.
            what = "forgetting what is over"
            self.folder.buffer.tell(namespace, FAILED, reason=str(error), what=what)

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
            tried = []
            for night in nights:
                is_dry = night.report.get("verdict") == Verdict.TRIED
                if night.report.get("level") == slower.name and not is_dry:
                    tried.append(night.number)
            is_complete = born and len(born) % (slower.every // faster.every) == 0
            if is_complete and max(tried, default=0) < max(born):
                return slower.name
        return None
