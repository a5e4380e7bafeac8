"""The gate: answer from the weights, or retrieve. Pure.

From the weights only when the question is near one that the weights answered in an exam, with the
same names in it, and no episode in the buffer names the same: that one may be fresher, so both it
and the episode that taught the answer are read, and the newest wins. One that the weights held and
forgot, older than what taught the answer, is no fresher, and is read only when it is nearer to the
question. Everything else retrieves: a needless retrieval costs tokens, a wrong "I know" costs the
answer.

Fixed thresholds (`GateConfig`). They are read off a benchmark, not yet calibrated to a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

from sleepmem.config import GateConfig
from sleepmem.records import Neighbour, View
from sleepmem.text.language import names, words

T = TypeVar("T")


class Choice(NamedTuple):
    """The view that answers, and why.

    `taught` is the text of the episode that taught the weights their answer (a line each for
    several), when something fresher may be in the buffer.
    """

    view: View
    reason: str
    similarity: float
    taught: str = ""


def choose(
    question: str,
    known: Sequence[Neighbour],
    *,
    buffered: Sequence[Neighbour],
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
        stale: ids of buffered episodes that the weights held once and that are older than all that
            taught an answer, given its text.
        similarity: of an episode's text to the question, as those in `buffered`.
    """
    # 1. Was it, or nearly it, answered in an exam?
    sure = _known_question(question, known, config.known)
    if sure is None:
        nearest = known[0].similarity if known else 0.0
        return Choice(View.RETRIEVAL, "no known question is near enough", nearest)

    # 2. Does the buffer hold news about it?
    forgotten = stale(sure.taught_by)
    news = [near for near in buffered if near.id not in forgotten]
    old_news = [near for near in buffered if near.id in forgotten]
    freshest = _nearest_about(question, news)
    leading_on = any(leads_on(sure.taught_by, near.text) for near in news)
    if freshest >= config.near or leading_on:
        reason = "an episode in the buffer may be fresher"
        return Choice(View.RETRIEVAL, reason, freshest, sure.taught_by)

    # 3. Was something forgotten that is nearer to it?
    nearest = _nearest_about(question, old_news)
    if nearest >= config.near and nearest >= similarity(sure.taught_by):
        reason = "an episode that was forgotten is nearer"
        return Choice(View.RETRIEVAL, reason, nearest, sure.taught_by)
    return Choice(View.WEIGHTS, "near a question passed closed-book", sure.similarity)


def leads_on(taught: str, text: str) -> bool:
    """Whether `text` names anything of what several memories together taught.

    Who is in the middle of a chain stands in no question.
    """
    lines = taught.split("\n")
    if len(lines) < 2:
        return False
    shared = set.intersection(*(set(words(line)) for line in lines))
    capitalised = {word for word in shared if word.capitalize() in taught}
    return bool((names(taught) | capitalised) & set(words(text)))


def naming(question: str, found: Sequence[T], *, text: Callable[[T], str]) -> list[T]:
    """What of `found` names all that the question names; else what names at least one of it."""
    naming_all = [candidate for candidate in found if about(question, text(candidate))]
    if naming_all:
        return naming_all
    asked = names(question)
    return [candidate for candidate in found if asked & set(words(text(candidate)))]


def about(question: str, text: str) -> bool:
    """Whether the text names what the question names; true for a question without names."""
    return names(question) <= set(words(text))


def _known_question(
    question: str, known: Sequence[Neighbour], threshold: float
) -> Neighbour | None:
    """The nearest known question that is near enough and has the same names."""
    for near in known:
        if near.similarity >= threshold and about(question, near.text):
            return near
    return None


def _nearest_about(question: str, neighbours: Sequence[Neighbour]) -> float:
    """The similarity of the nearest that names what the question names; -1 when none does."""
    return max((near.similarity for near in neighbours if about(question, near.text)), default=-1.0)
