"""Which episodes a night replays, and which earlier questions it rehearses. Pure.

Departs from the paper (arXiv 2606.03979): there all data is replayed alike; here what users asked
for, and retrieval had to fetch, comes first.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sleepmem.records import Episode, Probe


class Reason(StrEnum):
    DEMANDED = "asked for since a night took it"
    BUFFERED = "in the buffer"


@dataclass(frozen=True, slots=True)
class Replay:
    """One episode picked for tonight. `reason` is shown to the user."""

    episode_id: str
    reason: Reason


def select(
    buffered: Sequence[Episode],
    demand: Mapping[str, int],
    *,
    tried: Mapping[str, int],
    budget: int,
) -> list[Replay]:
    """Pick at most `budget` episodes: most demanded first, then least tried, then oldest.

    So what the nights cannot learn, or learned in nights that were rejected, keeps nothing new out,
    unless users ask for it again.

    Args:
        buffered: episodes not yet in the weights that may teach, any order.
        demand: how often each episode id was asked for since a night last took it.
        tried: how many nights asked about each episode id already.
        budget: most episodes one night may replay; at least 1.
    """

    def turn(one: Episode) -> tuple[int, int, str, int, str]:
        return (-demand.get(one.id, 0), tried.get(one.id, 0), *one.age_key)

    plan = []
    for episode in sorted(buffered, key=turn)[:budget]:
        reason = Reason.DEMANDED if demand.get(episode.id) else Reason.BUFFERED
        plan.append(Replay(episode.id, reason))
    return plan


def evenly(probes: Sequence[Probe], most: int, *, seed: int | str) -> list[Probe]:
    """A sample of at most `most` probes, drawn evenly over the episodes they are about."""
    rng = random.Random(seed)
    by_episode: dict[str, list[Probe]] = {}
    for probe in probes:
        by_episode.setdefault(probe.episode_id, []).append(probe)
    decks = rng.sample(list(by_episode.values()), len(by_episode))
    for deck in decks:
        rng.shuffle(deck)

    # One of every episode before a second of any.
    picked: list[Probe] = []
    while len(picked) < most and any(decks):
        picked += [deck.pop() for deck in decks if deck]
    return picked[:most]
