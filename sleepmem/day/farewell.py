"""What is said about forgetting: that something shall be, and whether somebody agrees to it. Pure.

"Please forget my number" is an instruction, no memory: it asks for confirmation. In any of the
sixteen languages of the default embeddings.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.messages import AIMessage, BaseMessage

from sleepmem.records import Episode
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import asks_to_forget
from sleepmem.text.pieces import sentences
from sleepmem.text.terms import terms

# Key of an answer's metadata under which the memory tells what it did; and of what it asks about.
OURS, FORGET = "sleepmem", "forget"
# A longer message tells something beside.
_LONGEST = 40
_YES = (
    "Yes.",
    "Yes, please do.",
    "Yes, forget it.",
    "Yes, forget all of that.",
    "Okay, do it.",
    "Sure, go ahead.",
    "Sure, delete it.",
    "Absolutely.",
)
_NO = (
    "No.",
    "No, keep it.",
    "Okay, keep it.",
    "Yes, but keep it.",
    "Yes, remember it.",
    "Okay, wait.",
    "Yes, everything except the dog.",
    "Yes or no?",
    "Sure, what would happen?",
    "Don't.",
    "Stop.",
    "Never mind.",
    "Wait, not that one.",
    "Yes, but keep the first one.",
    "What do you mean?",
    "My name is Ana.",
)
# The cosine to a yes that suffices, and by how much it must be nearer than to any other answer:
# what is forgotten is gone for good.
_SURE, _NEARER = 0.45, 0.05
# Who asks back does not agree, and a clear yes is short.
_ASKS, _LONGEST_YES = frozenset("?？؟"), 8
# Memories that are listed.
_LISTED = 10


@dataclass(frozen=True)
class Phrases:
    """What the agent says about forgetting; give it your users' language.

    asks      before the memories that would go
    more      beside them, when more than ten would; {count} of them
    still     before memories that tell a sentence or a number of it, too, and stay
    nothing   when nothing of it is found
    done      afterwards; {count} memories went, {receipt} is the number of the receipt
    later     when it cannot be done now, such as while a night runs
    """

    asks: str = "Shall I forget this for good, and everything I learned from it?"
    more: str = "... and {count} more."
    still: str = "It is still told in these, which stay until you ask for them, too:"
    nothing: str = "I found nothing of that. Say in other words what it is about."
    done: str = "Forgotten for good: {count} memories (receipt {receipt})."
    later: str = "I cannot forget it right now. Please ask me again in a while."


def is_asked(text: str) -> bool:
    """Whether a message asks for something to be forgotten."""
    if len(terms(text)) > _LONGEST:
        return False
    return any(map(asks_to_forget, sentences(text)))


def told_beside(text: str) -> str:
    """What a message says but for asking that something be forgotten."""
    if not is_asked(text):
        return text
    return " ".join(part for part in sentences(text) if not asks_to_forget(part))


def agrees(text: str) -> bool:
    """Whether somebody who was asked surely agrees."""
    if not _ASKS.isdisjoint(text) or len(terms(text)) > _LONGEST_YES:
        return False
    vector = np.array(default_embeddings().embed_query(text))
    yes, no = _prototypes()
    nearest = float((yes @ vector).max())
    return nearest >= _SURE and nearest - float((no @ vector).max()) >= _NEARER


def asks_about(message: BaseMessage) -> bool:
    """Whether it is what asks for confirmation."""
    ours = message.response_metadata.get(OURS)
    return isinstance(ours, dict) and FORGET in ours


def proposed(messages: Sequence[BaseMessage]) -> list[str]:
    """Ids of what the agent has just asked about whoever speaks now; empty when it did not."""
    for message in reversed(messages[:-1]):
        if isinstance(message, AIMessage):
            ours = message.response_metadata.get(OURS)
            if not isinstance(ours, dict) or ours.get("of") != messages[-1].name:
                return []
            ids = ours.get(FORGET)
            return [str(one) for one in ids] if isinstance(ids, list) else []
        if message.type == "human":
            break
    return []


def wish(text: str) -> str:
    """Of a message, the sentences that ask to forget something."""
    return " ".join(part for part in sentences(text) if asks_to_forget(part))


def question(
    episodes: Sequence[Episode],
    phrases: Phrases,
    *,
    of: str | None,
    telling: Sequence[Episode] = (),
) -> AIMessage:
    """What asks for confirmation: the memories, their ids for the answer, and whose it must be.

    `telling` are named beside them, and stay.
    """
    if not episodes:
        return AIMessage(phrases.nothing, response_metadata={OURS: {FORGET: [], "of": of}})
    lines = [phrases.asks, *_listed(episodes, phrases)]
    if telling:
        lines += [phrases.still, *_listed(telling, phrases)]
    ids = [episode.id for episode in episodes]
    return AIMessage("\n".join(lines), response_metadata={OURS: {FORGET: ids, "of": of}})


def _listed(episodes: Sequence[Episode], phrases: Phrases) -> list[str]:
    lines = [f"- {episode.date}: {episode.text}" for episode in episodes[:_LISTED]]
    if len(episodes) > _LISTED:
        lines.append(phrases.more.format(count=len(episodes) - _LISTED))
    return lines


@functools.cache
def _prototypes() -> tuple[Any, Any]:
    embed = default_embeddings().embed_documents
    return np.array(embed(list(_YES))), np.array(embed(list(_NO)))
