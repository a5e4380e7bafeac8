"""Who said it: what an agent hands over is its own word, unless the user themselves confirms it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field

from sleepmem.records import AGENT, USER
from sleepmem_mcp.room import Room, UserWords

SaidBy = Literal["user", "agent", "tool"]
Call = Context[Room]

# What the agent says that the user said, and nobody confirmed.
QUOTED = "agent quoting the user"


class OwnWords(BaseModel):
    """Whether the user said it: what a client asks them."""

    mine: Annotated[bool, Field(description="I said this, and it may be remembered as my words.")]


class Agreement(BaseModel):
    """Whether it may be forgotten: what a client asks the user."""

    forget: Annotated[bool, Field(description="Forget this for good.")]


def can_ask(call: Call) -> bool:
    """Whether the client can put a question to its user."""
    capabilities = call.client_capabilities
    asks = capabilities.elicitation if capabilities else None
    # An empty one, as before there were modes, is one that shows forms.
    return asks is not None and (asks.form is not None or asks.url is None)


def users_own(text: str, *, said_by: SaidBy, call: Call) -> Elicit[OwnWords] | OwnWords:
    """Whether the user said it, or the question to them."""
    words = call.request_context.lifespan_context.words
    if said_by != "user" or words is UserWords.HELD:
        return OwnWords(mine=False)
    if words is UserWords.TRUSTED:
        return OwnWords(mine=True)
    if not can_ask(call):
        return OwnWords(mine=False)
    shown = json.dumps(text, ensure_ascii=False)
    return Elicit(f"Did you say this, and may it be remembered as your words? {shown}", OwnWords)


def source_of(said_by: SaidBy, *, tool: str, is_own: bool) -> str:
    """As what it is stored; only `USER` may teach the weights by default."""
    if said_by == "tool":
        return f"tool:{tool or 'unnamed'}"
    if said_by == "agent":
        return AGENT
    return USER if is_own else QUOTED
