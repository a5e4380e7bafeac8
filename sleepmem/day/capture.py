"""Which messages of a conversation become episodes. Pure.

What the user stated, and what tools returned, with their source. Never what was recalled, asked, or said by the model itself: those would feed the memory
with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from sleepmem.records import USER
from sleepmem.text.language import is_question, sentences, words

RECALL_ID = "sleepmem-recall"  # id of the system message that carries recalled memories


class Said(NamedTuple):
    """`now` is false for what stands before the last message of the user: a client may send the same history with every turn."""

    text: str
    source: str
    message_id: str | None
    now: bool


def is_statement(text: str) -> bool:
    """Whether a user's message tells something worth an episode: it has a sentence of three words or more that is no question."""
    return any(len(words(s)) >= 3 and not is_question(s) for s in sentences(text))


def said(messages: Sequence[BaseMessage]) -> list[Said]:
    """What is to be remembered of these messages, in order."""
    out = []
    last = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    for i, m in enumerate(messages):
        if isinstance(m, HumanMessage) and is_statement(m.text):
            out.append(Said(m.text, USER, m.id, i >= last))
        elif isinstance(m, ToolMessage) and m.text.strip():
            out.append(Said(m.text, f"tool:{m.name or 'unknown'}", m.id, i >= last))
    return out


def asks(text: str) -> bool:
    """Whether a user's message asks something, if only in one of its sentences."""
    return any(map(is_question, sentences(text)))


def question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user asks: the text of the last message, when it is the user's and asks something."""
    last = messages[-1] if messages else None
    return last.text if isinstance(last, HumanMessage) and asks(last.text) else None
