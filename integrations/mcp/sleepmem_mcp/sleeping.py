"""A night in a thread of its own: its progress is told to the client, a cancelled call ends it."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from sleepmem import NightReport, SleepmemError
from sleepmem.records import Namespace
from sleepmem_mcp.room import Room

# How often progress is told, at most.
_SECONDS = 0.2


async def slept(call: Context[Room], room: Room, *, dry_run: bool) -> NightReport:
    """One night of the call's owner; when the call is cancelled it stops where it can go on.

    Raises:
        SleepmemError: the night cannot be run.
        ToolError: one of this owner runs already, or it was interrupted.
    """
    owner = room.owner()
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    begun: list[threading.Event] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_tell, call, events)
        try:
            ended = await anyio.to_thread.run_sync(
                _night, room, owner, events, begun, dry_run, abandon_on_cancel=True
            )
        finally:
            # The thread is not waited for; what it has begun goes on with the next night.
            for stop in begun:
                stop.set()
        group.cancel_scope.cancel()
    if isinstance(ended, Exception):
        raise ended
    return ended


def _night(
    room: Room,
    owner: Namespace,
    events: queue.SimpleQueue[dict[str, Any]],
    begun: list[threading.Event],
    dry_run: bool,
) -> NightReport | Exception:
    """The report, or why there is none: raised among tasks, it would come as one of a group."""
    try:
        with room.night(owner) as stop:
            begun.append(stop)
            # Only put there: a client that is gone must not make a step of the night fail.
            return room.memory.sleep(owner, events.put, stop=stop, dry_run=dry_run)
    except (SleepmemError, ToolError) as error:
        return error
    except KeyboardInterrupt:
        return ToolError("the night was interrupted; the next one goes on with it.")


async def _tell(call: Context[Room], events: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Tell the newest of what happened, as steps begun and the share of the last that is done."""
    begun, told = 0, 0.0
    while True:
        await anyio.sleep(_SECONDS)
        newest: dict[str, Any] = {}
        with suppress(queue.Empty):
            while True:
                newest = events.get_nowait()
                begun += newest.get("state") == "started"
        if not newest:
            continue
        share = newest.get("done", 0) / newest["of"] if newest.get("of") else 0.0
        # It must rise, and a step may tell of several things that it does.
        told = max(told, begun + min(share, 0.99))
        with suppress(Exception):  # whatever the transport raises for a client that is gone
            await call.report_progress(told, message=_words(newest))


def _words(event: dict[str, Any]) -> str:
    """Of an event, such as "seed 12 of 120"."""
    if event.get("of"):
        return f"{event['step']} {event.get('done', 0)} of {event['of']}"
    return str(event["step"])
