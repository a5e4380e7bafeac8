"""Memories that LangMem, or an agent of one's own, keeps in a LangGraph store.

`Item.dict()` gives {"namespace", "key", "value", "created_at", "updated_at"}, documented in
LangGraph's reference of `langgraph.store.base`; LangGraph's SDK puts {"items": [...]} around them.
LangMem's memory manager writes {"kind": schema, "content": fields} as value, its `manage_memory`
tool {"content": text} (github.com/langchain-ai/langmem, src/langmem/knowledge). Of other values the
text under "content", "text", "memory" or "data" is read, else all fields with their names.

Whose an item is says its namespace: the whole of it, since no place in it is known to be the user.

A store may hold other things, such as counters: values without any text are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sleepmem.foreign.record import Record
from sleepmem.foreign.values import Form, Told
from sleepmem.records import readable

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

_TEXTS = ("content", "text", "memory", "data")
# The schema of LangMem that has nothing but text.
_PLAIN = "Memory"
# Items that are asked for at once.
_PAGE = 100


def owns(entry: Mapping[str, Any]) -> bool:
    return "key" in entry and "value" in entry


def told(entry: Record) -> Iterator[Told]:
    """Its text, unless its value has none.

    Raises:
        EpisodeError: it is no item.
    """
    key, value = entry.required("key"), entry.record("value")
    if value is None:
        raise entry.wrong("has no value")
    try:
        text = _text(value)
    except RecursionError:
        raise entry.wrong("has a value that is nested too deeply") from None
    at = entry.moment("updated_at", "updatedAt", "created_at", "createdAt")
    owner = _namespace(entry)
    if text.strip():
        yield Told(text.strip(), at, "/".join([*owner, key]), Form.LANGMEM.value, _user(owner))


def from_store(store: BaseStore, prefix: tuple[str, ...]) -> Iterator[Told]:
    """The memories of a live store whose namespaces begin so; () for all of them.

    Reading leaves the items as old as they are (`refresh_ttl`).

    Raises:
        EpisodeError: an item cannot be read.
    """
    seen: set[tuple[tuple[str, ...], str]] = set()
    offset = 0
    while page := store.search(prefix, limit=_PAGE, offset=offset, refresh_ttl=False):
        offset += len(page)
        for item in page:
            # What others write meanwhile may move an item to a later page.
            if (item.namespace, item.key) not in seen:
                seen.add((item.namespace, item.key))
                where = f"item {item.key!r} of {'/'.join(item.namespace)}"
                yield from told(Record(item.dict(), where))


def _namespace(entry: Record) -> list[str]:
    parts = entry.content.get("namespace") or []
    if not isinstance(parts, list):
        raise entry.wrong("has a namespace that is no list")
    found = []
    for part in parts:
        if not isinstance(part, str):
            raise entry.wrong("has a namespace with something other than text in it")
        found.append(readable(part))
    return found


def _user(namespace: list[str]) -> str | None:
    """It in one text, like no other's: a slash within a part is written out."""
    parts = [part.replace("%", "%25").replace("/", "%2F") for part in namespace]
    return "/".join(parts) or None


def _text(value: Record) -> str:
    kind, content = value.content.get("kind"), value.content.get("content")
    if isinstance(kind, str) and isinstance(content, dict):
        named = kind not in (_PLAIN, "")
        text = _main(content) or _fields(content)
        return readable(f"{kind}: {text}" if named and text else text)
    return readable(_main(value.content) or _fields(value.content))


def _main(content: Any) -> str:
    """The one field that is the text, or nothing."""
    for field in _TEXTS:
        if isinstance(content.get(field), str):
            return str(content[field])
    return ""


def _fields(content: Any) -> str:
    """All fields with their names, or nothing when none of them is text."""
    return _written(content) if _has_text(content) else ""


def _written(value: Any) -> str:
    if isinstance(value, dict):
        named = []
        for name, one in value.items():
            written = _written(one)
            if written:
                named.append(f"{str(name).replace('_', ' ')}: {written}")
        return "; ".join(named)
    if isinstance(value, list):
        return ", ".join(filter(None, map(_written, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value).strip()


def _has_text(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    held = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and any(map(_has_text, held))
