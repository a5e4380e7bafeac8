"""Choose which episodes tonight's consolidation replays, and say why.

Pure: takes what the ledger knows, returns a plan; touches no store and no model.
Departs from the paper: it has no notion of demand, we replay first what made retrieval fire.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sleepmem.errors import ConfigError
from sleepmem.records import Episode, Probe


class Reason(StrEnum):
    DEMANDED = "retrieved since the last night"
    BUFFERED = "in the buffer"


@dataclass(frozen=True, slots=True)
class Replay:
    """One episode picked for tonight. `reason` is shown to the user; `weight` > 0 is relative."""

    episode_id: str
    reason: Reason
    weight: float


def select(buffered: Sequence[Episode], demand: Mapping[str, int], budget: int, untrusted: bool = False) -> list[Replay]:
    """Pick at most `budget` episodes, most demanded first, then oldest first.

    Args:
        buffered: episodes not yet in the weights, any order.
        demand: how often each episode id was retrieved since the last night.
        budget: most episodes one night may replay; at least 1.
        untrusted: whether episodes that the user did not say may be picked.

    Raises:
        ConfigError: `budget` is below 1.
    """
    if budget < 1:
        raise ConfigError(f"replay budget is {budget}; a night must replay at least 1 episode. Set SleepConfig.replay_budget.")
    allowed = [e for e in buffered if e.trusted or untrusted]
    ranked = sorted(allowed, key=lambda e: (-demand.get(e.id, 0), e.created_at, e.id))
    return [Replay(e.id, Reason.DEMANDED if demand.get(e.id) else Reason.BUFFERED, 1.0 + demand.get(e.id, 0)) for e in ranked[:budget]]


def evenly(probes: Sequence[Probe], most: int, seed: int) -> list[Probe]:
    """A sample of at most `most` probes, drawn evenly over the nights."""
    rng = random.Random(seed)
    nights: dict[str, list[Probe]] = {}
    for p in probes:
        nights.setdefault(p.night_id, []).append(p)
    for drawn in nights.values():
        rng.shuffle(drawn)
    picked: list[Probe] = []
    while len(picked) < most and any(nights.values()):
        picked += [drawn.pop() for drawn in nights.values() if drawn]
    return picked[:most]
