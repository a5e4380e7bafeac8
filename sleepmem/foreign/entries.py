"""The entries of a JSON file: of a list, of an object around one, or one a line (JSONL)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sleepmem.errors import EpisodeError

# Around the list of entries: mem0's `get_all`, exports of a schema with a list of memories, chats
# in archives, LangGraph's SDK.
_AROUND = ("results", "memories", "conversations", "items")


class Entry(NamedTuple):
    """Any JSON value, and where it stands, for the sentence that may refuse it."""

    content: Any
    where: str


def entries(text: str, shown: str) -> list[Entry]:
    """Each entry of the text of a file.

    Raises:
        EpisodeError: it is no JSON.
    """
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = _lines(text, shown)
        if lines is None:
            raise _broken(shown, error) from None
        return lines
    found = []
    for number, one in enumerate(_listed(loaded), start=1):
        found.append(Entry(one, f"entry {number} of {shown}"))
    return found


def looks_like_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))


def _listed(loaded: Any) -> list[Any]:
    if isinstance(loaded, dict):
        for field in _AROUND:
            if isinstance(loaded.get(field), list):
                around: list[Any] = loaded[field]
                return around
        return [loaded]
    return loaded if isinstance(loaded, list) else [loaded]


def _lines(text: str, shown: str) -> list[Entry] | None:
    """One a line, or None when already the first line is no whole value: it is no JSONL.

    Only a line feed ends a line: text in JSON may hold the other marks that end one.
    """
    found: list[Entry] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            loaded = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not found:
                return None
            raise _broken(f"line {number} of {shown}", error) from None
        found.append(Entry(loaded, f"line {number} of {shown}"))
    return found if len(found) > 1 else None


def _broken(shown: str, error: Exception) -> EpisodeError:
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return EpisodeError(f"{shown} is no JSON ({reason:.120}); export it again, or mend it.")
