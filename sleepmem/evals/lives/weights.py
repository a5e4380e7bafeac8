"""What experts cost a model: how well it reads memories with them on, and how it takes a book.

Both against the same model without any. The book is a short piece of prose written for this.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sleepmem.evals.fit.measures import reads
from sleepmem.evals.perplexity import perplexity
from sleepmem.model.local import LocalModel
from sleepmem.records import Score
from sleepmem.text.prompts import closed_book

# So many memories stand in the context of each question that is read.
_MEMORIES = 2


class Weights(NamedTuple):
    """Questions read right, and the perplexity of the book, with some experts on."""

    read: Score
    perplexity: float


class Scale:
    """Weighs the experts of one model.

    Args:
        local: the model.
        reading: questions to read, at least 1.
    """

    def __init__(self, local: LocalModel, reading: int) -> None:
        self._local, self._reading = local, reading

    @functools.cached_property
    def base(self) -> Weights:
        """Without any expert; measured once."""
        return self._weigh(())

    def weigh(self, experts: Sequence[str]) -> dict[str, float]:
        """What a day's record holds of them."""
        own = self._weigh(experts) if experts else self.base
        return {
            "experts": len(experts),
            "read": own.read.right,
            "read_base": self.base.read.right,
            "reading": own.read.total,
            "perplexity": own.perplexity,
            "perplexity_base": self.base.perplexity,
        }

    def _weigh(self, experts: Sequence[str]) -> Weights:
        local = self._local
        prompts, answers = [], []
        for paragraph in _paragraphs():
            opening, _, rest = paragraph.partition(". ")
            prompts.append(local.prompt_ids(closed_book(f"Go on with this story: {opening}.")))
            answers.append(local.answer_ids(rest))
        return Weights(
            reads(local, self._reading, memories=_MEMORIES, experts=experts),
            perplexity(local, prompts, answers=answers, experts=experts),
        )


def _paragraphs() -> list[str]:
    text = Path(__file__).with_name("book.txt").read_text("utf-8")
    return [paragraph for paragraph in text.split("\n") if paragraph]
