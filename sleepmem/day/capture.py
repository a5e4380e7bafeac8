"""Which messages of a conversation become episodes. Pure.

What the user stated, and what tools returned, with their source. Never what was recalled, asked, or
said by the model itself: those would feed the memory with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from sleepmem.records import USER
from sleepmem.text.language import is_question, sentences, words

# Id of the system message that carries recalled memories.
RECALL_ID = "sleepmem-recall"
# A sentence with fewer words tells nothing worth an episode.
_FEWEST_WORDS = 3


class Said(NamedTuple):
    """`now` is false for what stands before the last message of the user.

    A client may send the same history with every turn.
    """

    text: str
    source: str
    message_id: str | None
    now: bool


def is_statement(text: str) -> bool:
    """Whether a user's message tells something: a sentence of some words that is no question."""
    for sentence in sentences(text):
        if len(words(sentence)) >= _FEWEST_WORDS and not is_question(sentence):
            return True
    return False


def said(messages: Sequence[BaseMessage]) -> list[Said]:
    """What is to be remembered of these messages, in order."""
    users = [index for index, one in enumerate(messages) if isinstance(one, HumanMessage)]
    last = max(users, default=0)
    statements = []
    for index, message in enumerate(messages):
        if isinstance(message, HumanMessage) and is_statement(message.text):
            source = USER
        elif isinstance(message, ToolMessage) and message.text.strip():
            source = f"tool:{message.name or 'unknown'}"
        else:
            continue
        statements.append(Said(message.text, source, message.id, index >= last))
    return statements


def asks(text: str) -> bool:
    """Whether a user's message asks something, if only in one of its sentences."""
    return any(map(is_question, sentences(text)))


def question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user asks: the text of the last message, when it is the user's and asks."""
    last = messages[-1] if messages else None
    return last.text if isinstance(last, HumanMessage) and asks(last.text) else None


def last_question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user asked in this turn, though tools or the model may have spoken since."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message.text if asks(message.text) else None
    return None
