"""What the steps of a night work with: the state that the checkpointer keeps between two steps, plain JSON, and what stays the same all night."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from sleepmem.config import Level, SleepConfig
from sleepmem.errors import ConfigError
from sleepmem.model.local import LocalModel
from sleepmem.night import lessons, seeding
from sleepmem.records import Episode, now
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.ledger import Ledger


class State(TypedDict, total=False):
    night_id: str
    namespace: list[str]
    level: str
    absorbed: list[
        str
    ]  # experts whose place tonight's takes: of the level before, for a slower night
    held: list[str]  # episodes that those hold
    seconds: dict[str, float]  # per step
    episodes: list[str]
    before: list[str]  # experts live this evening
    superseded: dict[str, str]  # older episode -> its correction
    by_night: dict[str, float]  # closed-book recall after tonight, by the night a fact was learned
    expert: str
    curve: list[dict[str, float]]
    tokens_trained: int
    tokens_generated: int
    peak_bytes: int
    exam_before: dict[str, list[float]]
    exam_after: dict[str, list[float]]
    passed: list[str]
    dreams: dict[str, Any]  # what became of them
    verdict: str
    reason: str
    evicted: int
    expert_bytes: int  # of the live experts on disk, after tonight
    text_bytes: int  # of the episodes that they hold
    audited: int  # questions of earlier nights that were asked again before tonight
    returned: int


@dataclass(frozen=True)
class Night:
    """What the steps work with. `emit` receives progress: plain dicts with a `step`."""

    ledger: Ledger
    buffer: Buffer
    local: LocalModel
    folder: Path
    config: SleepConfig
    semantic: seeding.Semantic  # the frozen judge of the imitation reward
    emit: Callable[[dict[str, Any]], None] = lambda event: None
    stop: threading.Event | None = None

    def tell(self, **event: Any) -> None:
        """Report progress; a night that was told to stop stops here."""
        self.emit(event)
        if self.stop and self.stop.is_set():
            raise KeyboardInterrupt

    @property
    def experts_folder(self) -> Path:
        return self.folder / "experts"

    def pending(self, name: str) -> Path:
        """Where an expert lies until it is promoted."""
        return self.folder / "pending" / name

    def load(self, state: State, tonight: bool = False) -> tuple[str, ...]:
        """Bring the evening's experts into memory, and tonight's when asked, which replaces those it absorbs; returns the view."""
        before = tuple(state["before"])
        for name in before:
            self.local.load_expert(name, self.experts_folder / name)
        if not tonight:
            return before
        at = self.pending(state["expert"])
        self.local.load_expert(
            state["expert"], at if at.exists() else self.experts_folder / state["expert"]
        )
        return (*(name for name in before if name not in state["absorbed"]), state["expert"])

    def level(self, state: State) -> Level:
        """The level of tonight's expert.

        Raises:
            ConfigError: the night was begun with other levels.
        """
        for level in self.config.levels:
            if level.name == state["level"]:
                return level
        raise ConfigError(
            f"level {state['level']!r} of the interrupted night is not in SleepConfig.levels; sleep once with the levels it began with."
        )

    def steps(self, state: State) -> int:
        """Of tonight's seeding."""
        return max(
            self.config.seeding.steps,
            round(self.level(state).steps_per_episode * len(state["episodes"])),
        )

    def episodes(self, state: State) -> list[Episode]:
        """Tonight's; one that fills more than half of the context cannot be asked about and waits in the buffer."""
        chosen, most = set(state["episodes"]), self.local.context_length // 2
        return [
            e
            for e in self.ledger.episodes(tuple(state["namespace"]))
            if e.id in chosen and self.local.count_tokens(e.text) <= most
        ]

    def rows(self, state: State) -> list[seeding.Row]:
        """What tonight's expert is taught."""
        return lessons.rows(
            self.local,
            self.ledger,
            tuple(state["namespace"]),
            state["night_id"],
            tuple(state["before"]),
            state["superseded"],
            self.config,
        )


def expert_name(state: State) -> str:
    """Never used twice: the night, the owner, the moment."""
    key = repr((state["night_id"], tuple(state["namespace"]), now()))
    return f"{state['night_id']}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
