"""Is an answer right? By the words that it must have and must not have. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable

from sleepmem.evals.lives.data import Life, Question
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches

_POSSESSIVE = re.compile(r"['’]s\b")
_PLURAL = re.compile(r"(?<=[a-z]{3})s\b")
# A date as memories are dated, which a model may repeat.
_ISO = re.compile(r"\b\d{4}-(\d{2})-(\d{2})\b")
# Signs of paths and names of branches: where one stands, it is what matters.
_SIGN = re.compile(r"[/_#@=\\]")


def gives(answer: str, value: str) -> bool:
    """Whether the answer has the value: its words in a row, of one or of many.

    Letter by letter where it has signs.
    """
    if _SIGN.search(value):
        return value.lower() in answer.lower()
    return matches(_singular(_spoken(answer)), _singular(value))


def _singular(text: str) -> str:
    """Without the endings that a number or an owner adds: "on Mondays", "at Beryl's"."""
    return _PLURAL.sub("", _POSSESSIVE.sub("", text))


def _spoken(text: str) -> str:
    """With dates as they are said, and gold has them: "13 December" for 2026-12-13."""

    def said(found: re.Match[str]) -> str:
        month = int(found[1])
        return f"{int(found[2])} {calendar.month_name[month]}" if 1 <= month <= 12 else found[0]

    return _ISO.sub(said, text)


def gives_any(answer: str, values: Iterable[str]) -> bool:
    return any(gives(answer, value) for value in values)


def is_right(question: Question, answer: str) -> bool:
    """Any of its gold and nothing wrong; where nothing tells it, that it is not known."""
    if question.kind == "never" or abstains(answer):
        return question.kind == "never" and abstains(answer)
    return gives_any(answer, question.gold) and not gives_any(answer, question.wrong)


def old_values(life: Life, question: Question) -> list[str]:
    """What was right for the same before it was corrected, and is not now."""
    replaced = {fact.id for fact in life.replaced(question)}
    old: list[str] = []
    for earlier in life.questions:
        if earlier.kind == "changed" and earlier.facts and replaced.issuperset(earlier.facts):
            old += earlier.gold
    return [value for value in old if not gives_any(value, question.gold)]
