"""What is read from elsewhere: single memories, and conversations in turns. Frozen, no storage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from langchain_core.messages import BaseMessage


class Form(StrEnum):
    """What an export may be; each has a module of its name that says where it is documented."""

    MEM0 = "mem0"
    LANGMEM = "langmem"
    MARKDOWN = "markdown"
    CHATGPT = "chatgpt"
    CLAUDE = "claude"


@dataclass(frozen=True, slots=True)
class Told:
    """One memory.

    text    what is remembered, as it stands there
    at      when it was last written, ISO 8601 as the export has it: with its offset, or without any
    id      what it is called there; stays the same from export to export
    source  where it comes from: the name of its form
    user    whose it is there; None where the export does not say
    lasts   until when it holds, as `Episode.lasts`; empty: the export does not say
    """

    text: str
    at: str | None
    id: str | None
    source: str
    user: str | None = None
    lasts: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user said, and all that followed until they spoke again.

    The messages are in order and carry the ids of the export. Only in the first turn may something
    stand before the human message: what the assistant said before the user ever spoke.
    """

    said_at: str | None
    messages: tuple[BaseMessage, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; `id` is what it is called there, `user` whose it is, where that is said."""

    id: str
    turns: tuple[Turn, ...]
    user: str | None = None
