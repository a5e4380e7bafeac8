"""What of a memory may answer a question: candidates of several searches, ranked.

Dense search (Chroma) and full-text search (FTS5), fused by reciprocal rank; what happened on a day
that the question names. Each candidate is then judged by all that speaks for it (`ranking`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sleepmem.day.ranking import CANDIDATES, Features, Question, features, score
from sleepmem.day.state import DayContext
from sleepmem.records import USER, Episode, Namespace, Neighbour
from sleepmem.stores.vectors import Place
from sleepmem.text.dates import Days, days_named
from sleepmem.text.pieces import pieces
from sleepmem.text.similarity import Vector, cosines, fused
from sleepmem.text.terms import terms

# Log-odds from which what means the question is taken for the same question, asked before.
_ASKS = 2.5
# Candidates that each search gives.
_EACH = 20


class Found(NamedTuple):
    """An episode that may be needed, the piece of it that is nearest, and what speaks for it."""

    episode: Episode
    text: str
    features: Features
    score: float
    cosine: float


def search(
    day: DayContext,
    namespace: Namespace,
    *,
    question: str,
    vector: Vector | None,
    today: date,
) -> list[Found]:
    """Everything that still holds and may be needed, the likeliest first.

    Args:
        day: the open folder.
        namespace: whose memory.
        question: what the user says.
        vector: its embedding; None: words and days alone are searched.
        today: where the user is.
    """
    ledger, buffer = day.folder.ledger, day.folder.buffer
    near: list[Neighbour] = []
    if vector is not None:
        for place in (Place.EPISODES, Place.ASKED, Place.ARCHIVE):
            near += buffer.near(namespace, vector, count=_EACH, place=place)
    by_words, by_pieces = ledger.words.search(namespace, question, limit=_EACH)
    near.sort(key=lambda one: -one.similarity)
    similarities = _without_echoes(day, {one.id: one.similarity for one in near})
    days = days_named(question, today)
    dated = _on_days(day, namespace, days)
    candidates = fused([list(similarities), by_words, by_pieces, dated])[:CANDIDATES]
    if not all(one.trusted for one in ledger.episodes.get(namespace, candidates)):
        # However much others told, it crowds out nothing of what the user did.
        own = ledger.words.search(namespace, question, limit=CANDIDATES, source=USER)
        candidates = list(dict.fromkeys([*candidates, *fused(own)[:CANDIDATES]]))
    asked = Question(ledger.words.rarity(namespace, terms(question)), days)
    # What was said again later is found by its own day alone.
    holding = ledger.episodes.holding(namespace, candidates, repeated=bool(days))
    return _judged(day, holding, asked=asked, vector=vector, similarities=similarities)


def _without_echoes(day: DayContext, similarities: Mapping[str, float]) -> dict[str, float]:
    """The nearest that may tell something: a question that means this one tells nothing of it."""
    near = [one for one, similarity in similarities.items() if _means_the_same(day, similarity)]
    asking = day.folder.ledger.episodes.asking(near) if near else {}
    left = {}
    for episode_id, similarity in similarities.items():
        if asking.get(episode_id, 0.0) < _ASKS:
            left[episode_id] = similarity
        if len(left) == _EACH:
            break
    return left


def _means_the_same(day: DayContext, similarity: float) -> bool:
    """Whether an episode that asks and is so near is the question itself, asked before."""
    return similarity >= day.folder.relatedness.related


def _on_days(day: DayContext, namespace: Namespace, days: Sequence[Days]) -> list[str]:
    """Ids of what happened on these days, newest first."""
    found = []
    for span in days:
        first, last = span.first.isoformat(), span.last.isoformat()
        happened = day.folder.ledger.episodes.on_days(namespace, first, last=last, limit=_EACH)
        found += [episode.id for episode in happened]
    return list(dict.fromkeys(found))[:_EACH]


def _judged(
    day: DayContext,
    holding: Mapping[str, tuple[Episode, float]],
    *,
    asked: Question,
    vector: Vector | None,
    similarities: Mapping[str, float],
) -> list[Found]:
    """The episodes with what speaks for them, the likeliest first, of equal ones the newest."""
    texts = {episode_id: pieces(episode.whole) for episode_id, (episode, _) in holding.items()}
    lacking = [episode for one, (episode, _) in holding.items() if one not in similarities]
    similarities = {**similarities, **similarities_of(day, lacking, vector=vector)}
    found = []
    for episode_id, (episode, asks) in holding.items():
        if asks >= _ASKS and _means_the_same(day, similarities[episode_id]):
            continue
        evidence = day.folder.relatedness.evidence(similarities[episode_id])
        judged = []
        for text in texts[episode_id]:
            speaking = features(asked, text, day=episode.date, evidence=evidence, asks=asks)
            judged.append(Found(episode, text, speaking, score(speaking), similarities[episode_id]))
        found.append(max(judged, key=lambda one: one.score))
    return sorted(found, key=lambda one: (one.score, one.episode.age_key), reverse=True)


def stored(day: DayContext, namespace: Namespace, *, vector: Vector) -> list[tuple[Episode, float]]:
    """Everything that was ever stored, with its cosine; without what only asks the same.

    Nor what has no vector: nobody can tell what it is about.
    """
    episodes = day.folder.ledger.episodes
    every = episodes.all(namespace)
    asking = episodes.asking(one.id for one in every)
    near = _nearest(day, every, vector=vector)
    found = []
    for one in every:
        cosine = near.get(one.id)
        if cosine is None:
            continue
        if asking[one.id] < _ASKS or not _means_the_same(day, cosine):
            found.append((one, cosine))
    return found


def similarities_of(
    day: DayContext, episodes: Sequence[Episode], *, vector: Vector | None
) -> dict[str, float]:
    """Cosines of episodes that no search by meaning has found, each of its nearest piece.

    Where there is no vector, the cosine speaks neither for it nor against it.
    """
    undecided = day.folder.relatedness.undecided
    near = {} if vector is None else _nearest(day, episodes, vector=vector)
    return {one.id: near.get(one.id, undecided) for one in episodes}


def _nearest(day: DayContext, episodes: Sequence[Episode], *, vector: Vector) -> dict[str, float]:
    """Cosines of the nearest piece of each that has a vector."""
    vectors = day.folder.buffer.vectors(episodes[0].namespace, episodes) if episodes else {}
    if not vectors:
        return {}
    near = dict(zip(vectors, cosines(vector, list(vectors.values())), strict=True))
    found = {}
    for one in episodes:
        known = [near[text] for text in pieces(one.whole) if text in near]
        if known:
            found[one.id] = max(known)
    return found
