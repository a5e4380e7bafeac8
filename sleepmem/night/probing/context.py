"""Which memories the teacher reads to a question."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

from sleepmem.model.local import LocalModel
from sleepmem.records import Episode
from sleepmem.text.prompts import line_of, open_book
from sleepmem.text.rarity import commonness
from sleepmem.text.subjects import rare
from sleepmem.text.terms import terms

# Finds episodes of the same owner that may answer a question.
Archive = Callable[[str], Sequence[Episode]]


def book(
    local: LocalModel, question: str, *, episodes: Sequence[Episode], own: Episode | None = None
) -> tuple[dict[str, str], ...]:
    """The question over `own` and as many of the episodes as fit; told oldest first."""
    return open_book(question, fitting_lines(local, episodes, own=own))


def fitting_lines(
    local: LocalModel, episodes: Sequence[Episode], *, own: Episode | None = None
) -> list[str]:
    """Memory lines of `own` and of the first episodes that a quarter of the context holds."""
    chosen = {own.id: own} if own else {}
    room = local.context_length // 4
    for episode in episodes:
        room -= local.count_tokens(line_of(episode))
        if room < 0:
            break
        chosen[episode.id] = episode
    oldest_first = sorted(chosen.values(), key=lambda episode: episode.age_key)
    return [line_of(episode) for episode in oldest_first]


def about_the_same(question: str, episodes: Iterable[Episode], *, own: Episode) -> list[Episode]:
    """Those that have the rarest of the terms that question and own episode share.

    That tells whom it is about. All of them where the two share none.
    """
    shared = set(terms(question)) & set(terms(own.whole))
    if not shared:
        return list(episodes)
    rarest = min(shared, key=lambda term: (commonness(term), term))
    return [episode for episode in episodes if rarest in terms(episode.whole)]


def nearest(question: str, episodes: Sequence[Episode], *, most: int) -> Sequence[Episode]:
    """So many of them, those first that share the rarest terms with the question."""
    if len(episodes) <= most:
        return episodes
    asked = set(terms(question))

    def weight(episode: Episode) -> float:
        shared = asked & set(terms(episode.whole))
        return sum(-math.log(max(commonness(term), 1e-12)) for term in shared)

    return sorted(episodes, key=weight, reverse=True)[:most]


def older(than: Episode, episodes: Iterable[Episode]) -> list[Episode]:
    return [episode for episode in episodes if episode.age_key[:2] < than.age_key[:2]]


def newer(than: Episode, episodes: Iterable[Episode]) -> list[Episode]:
    return [episode for episode in episodes if episode.age_key[:2] > than.age_key[:2]]


def distractors(
    rng: random.Random, episodes: Sequence[Episode], *, count: int, own: Episode
) -> list[Episode]:
    """Others that cannot answer in its place: they share no rare term with it."""
    own_terms, others = rare(own.whole), []
    for episode in episodes:
        if episode.id != own.id and own_terms.isdisjoint(terms(episode.whole)):
            others.append(episode)
    return rng.sample(others, min(len(others), count))
