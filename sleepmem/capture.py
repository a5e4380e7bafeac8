"""Which messages of a conversation become episodes. Pure.

What the user stated, and what tools returned, with their source. Never what was recalled, asked, or said by the model itself: those would feed the memory
with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from sleepmem.answers import is_question, words
from sleepmem.records import USER

RECALL_ID = "sleepmem-recall"  # id of the system message that carries recalled memories


class Said(NamedTuple):
    text: str
    source: str
    message_id: str | None


def is_statement(text: str) -> bool:
    """Whether a user's message tells something worth an episode: three words or more, and no question."""
    return len(words(text)) >= 3 and not is_question(text)


def said(messages: Sequence[BaseMessage]) -> list[Said]:
    """What is to be remembered of these messages, in order."""
    out = []
    for m in messages:
        if isinstance(m, HumanMessage) and is_statement(m.text):
            out.append(Said(m.text, USER, m.id))
        elif isinstance(m, ToolMessage) and m.text.strip():
            out.append(Said(m.text, f"tool:{m.name or 'unknown'}", m.id))
    return out


def question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user asks: the text of the last message, when it is the user's and asks something."""
    last = messages[-1] if messages else None
    return last.text if isinstance(last, HumanMessage) and is_question(last.text) else None
