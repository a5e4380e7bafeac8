"""The tools. Each answers for the owner of the call alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp_types import ToolAnnotations
from pydantic import Field

from sleepmem import Episode, SleepmemError
from sleepmem.records import Namespace
from sleepmem_mcp.answers import (
    Corrected,
    Explained,
    Forgotten,
    Memory,
    Night,
    Recalled,
    Remembered,
    Status,
)
from sleepmem_mcp.resources import night_uri
from sleepmem_mcp.room import Room
from sleepmem_mcp.sleeping import slept
from sleepmem_mcp.trust import (
    Agreement,
    Call,
    OwnWords,
    SaidBy,
    can_ask,
    source_of,
    users_own,
)

# Memories that a question to the user names.
_SHOWN = 20
P = ParamSpec("P")
T = TypeVar("T")

Text = Annotated[str, Field(description="What was said, in whole sentences.", min_length=1)]
By = Annotated[
    SaidBy,
    Field(
        description="Who said it: 'user' for the user's own words, word for word; 'agent' for what "
        "you conclude or did yourself; 'tool' for what a tool, a page or a file told."
    ),
]
Tool = Annotated[str, Field(description="With said_by 'tool': which tool or page.", max_length=80)]
Days = Annotated[
    float | None,
    Field(
        description="For how many days it holds, such as a price; then it is recalled no more.",
        gt=0,
        le=36_500,
    ),
]
Question = Annotated[str, Field(description="The question, as the user asks it.", min_length=1)]
Confirmed = Annotated[ElicitationResult[OwnWords], Resolve(users_own)]


def room_of(call: Call) -> Room:
    return call.request_context.lifespan_context


def sentences(tool: Callable[P, T]) -> Callable[P, T]:
    """What sleepmem refuses on purpose reaches the client as its sentence."""

    @functools.wraps(tool)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return tool(*args, **kwargs)
        except SleepmemError as error:
            raise ToolError(str(error)) from error

    return told


@sentences
def remember(
    text: Text,
    call: Call,
    *,
    said_by: By = "agent",
    tool: Tool = "",
    lasts_days: Days = None,
    confirmed: Confirmed,
) -> Remembered:
    """Remember something about the user or their world for later conversations."""
    room = room_of(call)
    source = source_of(said_by, tool=tool, is_own=_is_own(confirmed))
    episode = _store(room, room.owner(), text=text, source=source, lasts_days=lasts_days)
    return Remembered(memory=Memory.of(episode), may_teach=_may_teach(room, episode))


@sentences
def recall(question: Question, call: Call) -> Recalled:
    """Look up what is remembered, before answering anything about the user or their world."""
    room = room_of(call)
    # Not logged: what users ask is asked again at night, and this is the agent's wording.
    found = room.memory.recall(room.owner(), question, holds_experts=False, log=False)
    memories = [Memory.of(episode) for episode in found.oldest_first]
    return Recalled(context=room.memory.context(found) if memories else "", memories=memories)


@sentences
def correct(
    id: Annotated[str, Field(description="Of the memory that is wrong or outdated.")],
    text: Annotated[str, Field(description="What holds instead, in sentences.", min_length=1)],
    *,
    call: Call,
    said_by: By = "agent",
    tool: Tool = "",
    confirmed: Confirmed,
) -> Corrected:
    """Say what holds now instead of a memory. Both stay stored, and the newer counts, unless an
    agent contradicts the user."""
    room = room_of(call)
    owner = room.owner()
    held = room.memory.episodes(owner, [id])
    if not held:
        raise ToolError(
            f"there is no memory {id!r:.60} that still holds; pass the id of one that recall gave."
        )
    source = source_of(said_by, tool=tool, is_own=_is_own(confirmed))
    episode = _store(room, owner, text=text, source=source)
    return Corrected(
        memory=Memory.of(episode),
        may_teach=_may_teach(room, episode),
        corrects=Memory.of(held[0]),
        wins=_counts(room, episode) or not _counts(room, held[0]),
    )


def agreed(
    about: str, *, ids: list[str], before: str, confirm: str, call: Call
) -> Elicit[Agreement] | Agreement:
    """Whether the confirmed plan may be carried out, or the question to the user."""
    room = room_of(call)
    owner = room.owner()
    try:
        plan = _plan(room, owner, about=about, ids=ids, before=before)
    except SleepmemError as error:
        raise ToolError(str(error)) from error
    if not confirm or not plan.ids:
        return Agreement(forget=False)
    _check_shown(room, owner, plan=plan, confirm=confirm)
    if not can_ask(call):
        return Agreement(forget=True)
    shown = [json.dumps(one.text, ensure_ascii=False) for one in plan.all[:_SHOWN]]
    if len(plan.ids) > len(shown):
        shown.append(f"and {len(plan.ids) - len(shown)} more")
    asked = "\n".join(shown)
    return Elicit(f"Forget {len(plan.ids)} of what was told for good?\n{asked}", Agreement)


@sentences
def forget(
    call: Call,
    about: Annotated[str, Field(description="In words: what is nearest to them.")] = "",
    *,
    ids: Annotated[list[str], Field(description="Ids of memories.", default_factory=list)],
    before: Annotated[str, Field(description="An ISO date: all from before that day.")] = "",
    confirm: Annotated[
        str,
        Field(
            description="Empty at first: then nothing is changed, and what would go is shown with "
            "a code. Pass the code, with the same choice, once the user agrees."
        ),
    ] = "",
    agreement: Annotated[ElicitationResult[Agreement], Resolve(agreed)],
) -> Forgotten:
    """Forget memories for good, with all that was learned of them. Shows first what would go;
    forgets only when called again with `confirm`."""
    room = room_of(call)
    owner = room.owner()
    plan = _plan(room, owner, about=about, ids=ids, before=before)
    is_agreed = isinstance(agreement, AcceptedElicitation) and agreement.data.forget
    receipt = None
    if is_agreed:
        # More may have been told while the user was asked.
        _check_shown(room, owner, plan=plan, confirm=confirm)
        how: dict[str, Any] = {"episodes": ids, "about": about, "before": before}
        receipt = room.memory.forget(owner, confirmed=plan.ids, **how).receipt
    elif confirm and plan.ids:
        raise ToolError("the user did not agree; nothing was forgotten.")
    is_open = bool(plan.ids) and not is_agreed
    return Forgotten(
        done=is_agreed,
        memories=list(map(Memory.of, plan.episodes)),
        quoting=list(map(Memory.of, plan.quoting)),
        telling=list(map(Memory.of, plan.telling)),
        experts=[expert.name for expert in plan.experts],
        confirm=room.code(owner, plan.ids) if is_open else "",
        receipt=receipt.as_dict() if receipt else {},
    )


@sentences
def why(question: Question, call: Call) -> Explained:
    """Why the memory's own model answers a question as it does: what it read or learned, and what
    it answers without that. Stores nothing. Takes seconds to minutes."""
    room = room_of(call)
    return Explained.of(room.memory.why(room.owner(), question))


async def sleep(
    call: Call,
    dry_run: Annotated[
        bool, Field(description="Do everything but change what is answered from.")
    ] = False,
) -> Night:
    """Run a night: the memory's model learns what may be learned, and proves it in an exam. Takes
    minutes, up to hours with a large model; reports progress. Cancelled, the next goes on."""
    room = room_of(call)
    try:
        report = await slept(call, room, dry_run=dry_run)
    except SleepmemError as error:
        raise ToolError(str(error)) from error
    with anyio.move_on_after(1):
        await call.notify_resources_changed()
    return Night.of(report, night_uri(report.night_id))


@sentences
def status(call: Call) -> Status:
    """How much is remembered and learned, and whether a night is due."""
    room = room_of(call)
    owner = room.owner()
    rows = [row for row in room.memory.status() if tuple(row["namespace"]) == owner]
    is_due = owner in room.memory.due_nights()
    return Status.of(owner, rows[0] if rows else {}, is_due=is_due)


def add_tools(server: MCPServer[Room]) -> None:
    """Register them, each with what it does to the memory."""
    reads = {"read_only_hint": True, "open_world_hint": False}
    adds = {"read_only_hint": False, "destructive_hint": False, "open_world_hint": False}
    removes = {"read_only_hint": False, "destructive_hint": True, "open_world_hint": False}
    tools: list[tuple[Callable[..., Any], str, dict[str, bool]]] = [
        (remember, "Remember", adds),
        (recall, "Recall", reads),
        (correct, "Correct a memory", adds),
        (forget, "Forget for good", {**removes, "idempotent_hint": True}),
        (why, "Why an answer is given", reads),
        (sleep, "Sleep: learn what was told", adds),
        (status, "State of the memory", reads),
    ]
    for tool, title, hints in tools:
        server.add_tool(
            tool,
            title=title,
            description=" ".join((tool.__doc__ or "").split()),
            annotations=ToolAnnotations(title=title, **hints),
            structured_output=True,
        )


def _is_own(confirmed: ElicitationResult[OwnWords]) -> bool:
    return isinstance(confirmed, AcceptedElicitation) and confirmed.data.mine


def _counts(room: Room, episode: Episode) -> bool:
    """Whether it counts as what the user said does."""
    return episode.trusted or room.memory.config.sleep.untrusted


def _may_teach(room: Room, episode: Episode) -> bool:
    # What holds for a time is never learned.
    return _counts(room, episode) and not episode.lasts


def _store(
    room: Room, owner: Namespace, *, text: str, source: str, lasts_days: float | None = None
) -> Episode:
    lasts = None if lasts_days is None else timedelta(days=lasts_days)
    return room.memory.observe(owner, text, source=source, lasts=lasts)


def _check_shown(room: Room, owner: Namespace, *, plan: Any, confirm: str) -> None:
    """Raise ToolError unless the code is of just what would go now."""
    if confirm != room.code(owner, plan.ids):
        raise ToolError(
            "this code is not of what would go now, or that has changed since it was shown, so "
            "nothing was forgotten; call forget again without `confirm`, with the same choice, and "
            "look at what it shows."
        )


def _plan(room: Room, owner: Namespace, *, about: str, ids: list[str], before: str) -> Any:
    how: dict[str, Any] = {"episodes": ids, "about": about, "before": before}
    return room.memory.forget(owner, dry_run=True, **how).erasure
