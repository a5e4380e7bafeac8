"""Messages one after the other, put into turns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage

from sleepmem.foreign.values import Turn


class Said(NamedTuple):
    """A message, and when it was said."""

    at: str | None
    message: BaseMessage


def turns(said: Iterable[Said], began: str | None) -> tuple[Turn, ...]:
    """Each begins where the user speaks; what was said before belongs to the first.

    A message without a time has that of the one before, the first that of the
    conversation. Without any word of the user there is no turn.
    """
    found: list[Turn] = []
    before: list[BaseMessage] = []
    at = began
    for own, message in said:
        at = own or at
        if isinstance(message, HumanMessage):
            found.append(Turn(at, (*before, message)))
            before = []
        elif found:
            found[-1] = Turn(found[-1].said_at, (*found[-1].messages, message))
        else:
            before.append(message)
    return tuple(found)
