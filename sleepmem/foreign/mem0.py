"""Memories of mem0.

`Memory.get_all()` and the platform's `MemoryClient.get_all()` and `get_memory_export()` give
{"results": [...]} or the bare list; an entry has "id", "memory" (the text), "created_at",
"updated_at", its owners, of which "user_id" is read, and hash and metadata, which are not. The
TypeScript library writes "createdAt", "updatedAt" and "userId". Documented at docs.mem0.ai,
"Export Stored Memories" and the reference of "Get memories".

A memory was last written at "updated_at": what it says now was not known before. It holds through
the day of its "expiration_date" (YYYY-MM-DD, of UTC; docs.mem0.ai, "Memory Expiration"); one that
is no date is none there, either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sleepmem.foreign.record import Record
from sleepmem.foreign.values import Form, Told


def owns(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("memory"), str)


def told(entry: Record) -> Iterator[Told]:
    """It, unless its text is empty, as mem0 gives a memory whose text is gone.

    Raises:
        EpisodeError: it is no memory.
    """
    text = entry.text("memory")
    if text is None:
        raise entry.wrong("has no memory, the field that holds the text")
    at = entry.moment("updated_at", "updatedAt", "created_at", "createdAt")
    if text.strip():
        user = entry.name("user_id", "userId")
        yield Told(text.strip(), at, entry.name("id"), Form.MEM0.value, user, _end(entry))


def _end(entry: Record) -> str:
    """The first moment at which it holds no more; empty where there is none."""
    try:
        day = date.fromisoformat(entry.name("expiration_date", "expirationDate") or "")
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
    except (ValueError, OverflowError):
        return ""
    return end.isoformat(timespec="microseconds")
