"""What can be read: reports of nights and the notes they drew, of the owner of the call alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp_types import Resource

from sleepmem.records import Note
from sleepmem_mcp.room import Room

_NIGHTS, _NOTES = "sleepmem://nights/", "sleepmem://notes/"
_JSON = "application/json"
# Notes that are listed: the newest. All of them can be read.
_LISTED = 200


def night_uri(night: str) -> str:
    """The resource with its report."""
    return f"{_NIGHTS}{night}"


def add_resources(server: MCPServer[Room]) -> None:
    """Register the templates."""
    server.resource(
        _NIGHTS + "{night}",
        name="night",
        title="Report of a night",
        description="What a night did: verdict, exam, what was learned and what was held back.",
        mime_type=_JSON,
    )(night)
    server.resource(
        _NOTES + "{note}",
        name="note",
        title="Note of a night",
        description="A statement that a night drew from a memory, and whether it is learned.",
        mime_type=_JSON,
    )(note)


def listed(room: Room) -> list[Resource]:
    """The owner's nights and newest notes, newest first."""
    owner = room.owner()
    found = []
    for report in reversed(room.memory.nights(owner)):
        found.append(
            Resource(
                uri=night_uri(report["night_id"]),
                name=report["night_id"],
                title=f"{report['night_id']}: {report['verdict']}",
                description=report["reason"],
                mime_type=_JSON,
            )
        )
    for one in _newest(room.memory.notes(owner)):
        found.append(Resource(uri=_NOTES + one.id, name=one.id, title=one.text, mime_type=_JSON))
    return found


def night(night: str, call: Context[Room]) -> str:
    """The report of a night."""
    room: Room = call.request_context.lifespan_context
    for report in room.memory.nights(room.owner()):
        if report["night_id"] == night:
            return _as_json(report)
    raise ResourceNotFoundError(f"there is no night {night!r:.60} of this owner; list them.")


def note(note: str, call: Context[Room]) -> str:
    """A note, with the memory that it was drawn from."""
    room: Room = call.request_context.lifespan_context
    for one in room.memory.notes(room.owner()):
        if one.id == note:
            told = {
                "id": one.id,
                "text": one.text,
                "memory": one.episode_id,
                "sentence": one.part,
                "learned_in": one.learned_in,
                "replaced_by": one.replaced_by,
            }
            return _as_json(told)
    raise ResourceNotFoundError(f"there is no note {note!r:.60} of this owner; list them.")


def _newest(notes: Sequence[Note]) -> list[Note]:
    """What was drawn last, first; without what could not be drawn."""
    drawn = [one for one in notes if one.text]
    return drawn[: -_LISTED - 1 : -1]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
