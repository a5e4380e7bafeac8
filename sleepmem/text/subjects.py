"""Whom a question is about, by how rare its words are: in any script, however they are written."""

from __future__ import annotations

import itertools
import re

from sleepmem.text.rarity import commonness
from sleepmem.text.terms import is_unspaced, terms

# Share of texts at large that have a rare term: most names, some other words.
RARE = 1e-4
_WORD = re.compile(r"[^\W_]+")
_BETWEEN = re.compile(r"[\s-]+")


def rare(text: str) -> set[str]:
    """The terms of a text that few texts have."""
    return {term for term in terms(text) if commonness(term) < RARE}


def subject(question: str, memory: str) -> str:
    """Whom a question about a memory is about, as the question writes it.

    The rarest word that both have, with the rare ones that stand beside it in both. Empty where
    they share no rare one, or where the script sets no words apart.
    """
    told = terms(memory)
    beside = set(itertools.pairwise(told))
    spans = [match.span() for match in _WORD.finditer(question)]
    read = [_term(question[start:end]) for start, end in spans]
    shared = [place for place, term in enumerate(read) if term in told and term in rare(term)]
    if not shared:
        return ""
    first = last = min(shared, key=lambda place: (commonness(read[place]), place))
    while first - 1 in shared and _joined(question, spans, first - 1, read, beside):
        first -= 1
    while last + 1 in shared and _joined(question, spans, last, read, beside):
        last += 1
    return question[spans[first][0] : spans[last][1]]


def about_another(question: str, who: str, *, memory: str) -> str:
    """The question asked of `who` instead; empty when it is about nobody."""
    name = subject(question, memory)
    return question.replace(name, who) if name else ""


def _term(word: str) -> str:
    """The word as a term; empty where its script sets no words apart."""
    found = terms(word)
    return found[0] if len(found) == 1 and not any(map(is_unspaced, word)) else ""


def _joined(
    question: str,
    spans: list[tuple[int, int]],
    place: int,
    read: list[str],
    beside: set[tuple[str, str]],
) -> bool:
    """Whether the word at a place and the next stand side by side here and in the memory."""
    between = question[spans[place][1] : spans[place + 1][0]]
    return (read[place], read[place + 1]) in beside and bool(_BETWEEN.fullmatch(between))
