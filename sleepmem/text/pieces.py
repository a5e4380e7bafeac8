"""Long texts in pieces, as they are indexed and read. Knows the splitter."""

from __future__ import annotations

import functools
import re
from typing import Any

from sleepmem.text.terms import terms

# Characters: a sentence embedding says little about more, and a prompt has room for several.
LONGEST = 1_000
_OVERLAP = 100
# Where a sentence ends, in the scripts that have marks of their own.
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？؟।])\s*|\n+")


def pieces(text: str) -> list[str]:
    """The text, in pieces of at most `LONGEST` characters that overlap where it is longer.

    At paragraphs, else at lines, sentences, words (langchain-text-splitters).
    """
    if len(text) <= LONGEST:
        return [text]
    found: list[str] = _splitter().split_text(text)
    return found or [text]


def sentences(text: str) -> list[str]:
    """The sentences of a text that say anything, in order.

    A word alone goes with what stands before it: "Dr. Roux" is no sentence's end.
    """
    found: list[str] = []
    for part in filter(terms, _SENTENCE.split(text)):
        if found and len(terms(part)) == 1:
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


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
