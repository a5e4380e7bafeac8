"""What is asked in the evening of a day, the same of every arm, and what each answer is worth."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from sleepmem.evals.lives.data import Life, Question
from sleepmem.evals.lives.judge import gives_any, is_right, old_values
from sleepmem.text.kinds import abstains


class Asked(NamedTuple):
    """A question in one of its wordings."""

    question: Question
    text: str


class Reply(NamedTuple):
    """What an arm answered.

    from_weights   no memory was put into the prompt, and experts were on
    memory_tokens  of what was put into the prompt
    closed         what its weights alone say; None of an arm that trains none
    """

    text: str
    from_weights: bool = False
    memory_tokens: int = 0
    closed: str | None = None


def asked(life: Life, day: int, *, seed: int, every_wording: bool = False) -> list[Asked]:
    """All that can be asked in the evening of this day, each in one wording or in every."""
    found = []
    for question in life.asked_on(day):
        rng = random.Random(f"{seed}/{life.name}/{day}/{question.id}")
        texts = question.asks if every_wording else (rng.choice(question.asks),)
        found += [Asked(question, text) for text in texts]
    return found


def judged(life: Life, day: int, *, one: Asked, reply: Reply) -> dict[str, Any]:
    """One line of the results."""
    question = one.question
    facts = life.needed(question)
    row = {
        "life": life.name,
        "day": day,
        "question": question.id,
        "kind": question.kind,
        "asked": one.text,
        "answer": reply.text,
        "closed": reply.closed,
        "from_weights": reply.from_weights,
        "memory_tokens": reply.memory_tokens,
        # Of earlier days alone, and of the first.
        "earlier": bool(facts) and all(fact.day < day for fact in facts),
        "first": bool(facts) and all(fact.day == 1 for fact in facts),
    }
    return rejudged(life, row)


def rejudged(life: Life, row: Mapping[str, Any]) -> dict[str, Any]:
    """The line with what its answers are worth: a better judge needs no new run."""
    [question] = [one for one in life.questions if one.id == row["question"]]
    answer, closed, old = row["answer"], row["closed"], old_values(life, question)
    return {
        **row,
        "right": is_right(question, answer),
        "abstains": abstains(answer),
        "closed_right": None if closed is None else is_right(question, closed),
        "closed_old": None if closed is None or not old else gives_any(closed, old),
        "closed_abstains": None if closed is None else abstains(closed),
    }
