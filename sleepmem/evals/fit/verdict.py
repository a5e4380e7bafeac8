"""All measures of one model, with intervals and what to do; for people and for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sleepmem.config import MemoryConfig, SleepConfig
from sleepmem.evals.fit import measures
from sleepmem.evals.fit.measures import Measure, Speeds
from sleepmem.model.local import LocalModel
from sleepmem.night.promotion import wilson
from sleepmem.records import Score

# Cases of each measure: ten minutes on two cores for a model of 135 M parameters.
COUNT = 30
_NIGHTS = (20, 100)
# Of the intervals (Wilson 1927).
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Fit:
    """What a model can do.

    memories    the turn that carried memories
    placements  what it reads of two memories, by the turn that carries them
    seconds     that the measuring took
    sleep       settings of its nights
    """

    model: str
    measures: tuple[Measure, ...]
    memories: str
    placements: dict[str, Score]
    speeds: Speeds
    seconds: float
    sleep: SleepConfig = field(default_factory=SleepConfig)

    @property
    def is_good(self) -> bool:
        """Whether it can be its own teacher as it is."""
        return all(one.is_reached for one in self.measures)

    @property
    def better(self) -> str:
        """The turn in which it surely reads more than in that of its profile, if there is one."""
        own = self.placements[self.memories].rate
        for turn, score in self.placements.items():
            if wilson(score, CONFIDENCE)[0] > own:
                return turn
        return ""

    @property
    def nights(self) -> dict[int, float]:
        """Seconds that a night of so many notes will take, about."""
        return {notes: self.speeds.night(notes, self.sleep) for notes in _NIGHTS}

    def as_dict(self) -> dict[str, Any]:
        lines = []
        for one in self.measures:
            low, high = wilson(one.score, CONFIDENCE)
            lines.append(
                {
                    "measure": one.name,
                    **one.score.as_dict(),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "least": one.least,
                    "reached": one.is_reached,
                    "advice": "" if one.is_reached else one.advice,
                }
            )
        return {
            "model": self.model,
            "good": self.is_good,
            "measures": lines,
            "memories": {
                "turn": self.memories,
                "better": self.better,
                **{turn: score.as_dict() for turn, score in self.placements.items()},
            },
            "tokens_per_second": {
                name: round(value, 1) for name, value in vars(self.speeds).items()
            },
            "night_seconds": {str(notes): round(value) for notes, value in self.nights.items()},
            "seconds": round(self.seconds, 1),
        }


def fit(
    local: LocalModel,
    *,
    count: int = COUNT,
    config: MemoryConfig | None = None,
    say: Callable[[Measure], None] = lambda measure: None,
) -> Fit:
    """Measure what a model can do.

    Args:
        local: the model; nothing of it is changed.
        count: cases of each measure.
        config: of the memory that it is to serve: what is recalled, and how its nights teach.
        say: receives each measure when it is made.
    """
    start, made = time.perf_counter(), []
    config = config or MemoryConfig()
    for one in _all(local, count, config):
        made.append(one)
        say(one)
    placements = measures.placements(local, count)
    speeds = measures.speeds(local)
    seconds = time.perf_counter() - start
    turn = local.profile.memories
    return Fit(local.name, tuple(made), turn, placements, speeds, seconds, config.sleep)


def _all(local: LocalModel, count: int, config: MemoryConfig) -> Iterator[Measure]:
    yield from measures.read(local, count, recalled=config.gate.memories_per_question)
    yield from measures.write(local, count)
    yield from measures.learn(local, config.sleep)
