"""The gate: answer from the weights, or retrieve. Pure.

From the weights only when the question is near one that the weights answered in an exam, with the same names in it, and no episode in the buffer names the
same: that one may be fresher, so both it and the episode that taught the answer are read, and the newest wins. One that the weights held and forgot, older than
what taught the answer, is no fresher, and is read only when it is nearer to the question. Everything else retrieves: a needless retrieval
costs tokens, a wrong "I know" costs the answer.

Fixed thresholds (`GateConfig`). They are read off a benchmark, not yet calibrated to a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

from sleepmem.config import GateConfig
from sleepmem.records import View
from sleepmem.text.language import names, words

T = TypeVar("T")


class Near(NamedTuple):
    """One neighbour of the question: its text, its cosine similarity, and the episode behind it (for an episode, itself)."""

    id: str
    text: str
    similarity: float
    episode: str


class Choice(NamedTuple):
    view: View
    reason: str
    similarity: float
    taught: str = ""  # the episode that taught the weights their answer (a line each for several), when something fresher may be in the buffer


def choose(
    question: str,
    known: Sequence[Near],
    buffered: Sequence[Near],
    config: GateConfig,
    stale: Callable[[str], Collection[str]] = lambda taught: (),
    similarity: Callable[[str], float] = lambda text: 1.0,
) -> Choice:
    """Choose the view that answers `question`.

    Args:
        question: what the user asks.
        known: nearest questions that were passed closed-book, nearest first.
        buffered: nearest episodes of the buffer, nearest first.
        config: the thresholds.
        stale: ids of buffered episodes that the weights held once and that are older than all that taught an answer, given its text.
        similarity: of an episode's text to the question, as those in `buffered`.
    """
    sure = next(
        (n for n in known if n.similarity >= config.known and about(question, n.text)), None
    )
    if sure is None:
        return Choice(
            View.RETRIEVAL,
            "no known question is near enough",
            known[0].similarity if known else 0.0,
        )
    forgotten = stale(sure.episode)
    news = [n for n in buffered if n.id not in forgotten]
    fresh = max((n.similarity for n in news if about(question, n.text)), default=-1.0)
    if fresh >= config.near or any(leads_on(sure.episode, n.text) for n in news):
        return Choice(
            View.RETRIEVAL, "an episode in the buffer may be fresher", fresh, sure.episode
        )
    again = max(
        (n.similarity for n in buffered if n.id in forgotten and about(question, n.text)),
        default=-1.0,
    )
    if again >= config.near and again >= similarity(sure.episode):
        return Choice(
            View.RETRIEVAL, "an episode that was forgotten is nearer", again, sure.episode
        )
    return Choice(View.WEIGHTS, "near a question passed closed-book", sure.similarity)


def leads_on(taught: str, text: str) -> bool:
    """Whether `text` names anything of what several memories together taught: who is in the middle of a chain stands in no question."""
    lines = taught.split("\n")
    shared = set.intersection(*(set(words(line)) for line in lines))
    named = names(taught) | {w for w in shared if w.capitalize() in taught}
    return len(lines) > 1 and bool(named & set(words(text)))


def naming(question: str, found: Sequence[T], text: Callable[[T], str]) -> list[T]:
    """What of `found` names all that the question names; when nothing does, what names at least one of it."""
    asked = names(question)
    if full := [f for f in found if about(question, text(f))]:
        return full
    return [f for f in found if asked & set(words(text(f)))]


def about(question: str, text: str) -> bool:
    """Whether the text names what the question names; true for a question without names."""
    return names(question) <= set(words(text))
