"""Long texts in pieces, as they are indexed and read. Knows the splitter."""

from __future__ import annotations

import functools
from typing import Any

import sentencex

from sleepmem.text.terms import terms

# Characters: a sentence embedding says little about more, and a prompt has room for several.
LONGEST = 1_000
_OVERLAP = 100


def pieces(text: str) -> list[str]:
    """The text, in pieces of at most `LONGEST` characters that overlap where it is longer.

    At paragraphs, else at lines, sentences, words (langchain-text-splitters).
    """
    if len(text) <= LONGEST:
        return [text]
    found: list[str] = _splitter().split_text(text)
    return found or [text]


def sentences(text: str) -> list[str]:
    """The sentences of a text that say anything, in order (sentencex); a line ends one.

    The marks of all scripts count, the abbreviations of English: "Dr. Roux" is no sentence's end.
    """
    return [part for part in segments(text) if terms(part)]


def segments(text: str) -> list[str]:
    """The sentences of a text, and what stands between them without saying anything."""
    lines = text.splitlines()
    return [part.strip() for line in lines for part in sentencex.segment("en", line)]


@functools.cache
def _splitter() -> Any:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    # The marks that end a sentence, in the scripts that have marks of their own.
    marks = [
        "\n\n",
        "\n",
        ". ",
        "! ",
        "? ",
        "。",
        "！",
        "？",
        "؟ ",
        "। ",
        "، ",
        ", ",
        "、",
        " ",
        "",
    ]
    return RecursiveCharacterTextSplitter(
        marks, chunk_size=LONGEST, chunk_overlap=_OVERLAP, keep_separator="end"
    )
