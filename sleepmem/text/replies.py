"""What of the words that stand before a reply it needs to be understood, in any language.

What was asked; all of it, where the reply tells nothing without it. A statement beside it is the
model's own, true or not, and is left out. Measured on forty pairs in eight languages.
"""

from __future__ import annotations

import unicodedata

from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import SURELY_ASKS, asks, needs_no_memory
from sleepmem.text.pieces import sentences
from sleepmem.text.similarity import cosine
from sleepmem.text.terms import terms

# Log-odds from which a sentence is taken for a question.
_ASKS = 0.5
# So many of the last sentences may hold the question: "Where do you live? The town will do."
_LAST = 3
# Log-odds from which a reply tells nothing by itself: that it needs no memory, less a quarter of
# those that it asks.
_TELLS_NOTHING = 1.1
# A longer reply can be understood alone.
_MOST_TERMS = 8
# The cosine from which a reply is about the same.
_ABOUT = 0.25


def question_in(text: str) -> str:
    """The sentences that ask, of the last ones of a text; empty when it asks nothing."""
    return " ".join(filter(_is_question, sentences(text)[-_LAST:]))


def needed(before: str, reply: str) -> str:
    """What of `before` makes the reply understood; empty for a reply that stands alone."""
    question = question_in(before)
    if len(terms(reply)) <= _MOST_TERMS:
        # "That is right." tells nothing by itself; what asks or requests does not tell at all.
        asking = asks(reply)
        tells_nothing = needs_no_memory(reply) - asking / 4 >= _TELLS_NOTHING
        tells_nothing = tells_nothing and asking < SURELY_ASKS
        nearest = question or (sentences(before) or [""])[-1]
        if _cosine(nearest, reply) >= _ABOUT or (tells_nothing and not question):
            return before
    return question


def _is_question(sentence: str) -> bool:
    mark = unicodedata.name(sentence.rstrip()[-1], "")
    return "QUESTION MARK" in mark or asks(sentence) >= _ASKS


def _cosine(text: str, other: str) -> float:
    return cosine(*default_embeddings().embed_documents([text, other]))
