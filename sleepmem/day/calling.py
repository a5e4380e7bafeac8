"""Calls of tools, as LangChain knows them: read from an answer, or asked of the model outright.

A model that must call a tool is given the beginning of the call, and writes on from there; so even
a small one keeps to the form. Knows no torch: what a model writes comes as text.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from sleepmem.errors import ModelError

Part = str | ToolCall | InvalidToolCall
# A line break within a string is one.
_JSON = json.JSONDecoder(strict=False)
# Every tool that is bound, whichever.
ANY = ("any", "required")


class Reading:
    """An answer as it comes, in parts: texts, calls, and calls that cannot be read.

    Args:
        parser: transformers' parser of the answer; None where it can be nothing but text.
    """

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._has_text = self._is_over = False
        # What is written of a call so far.
        self._written = ""

    def take(self, piece: str) -> list[Part]:
        """What is there since the last piece."""
        if self._parser is None:
            return [piece] if piece else []
        return self._parts(lambda: self._parser.feed(piece))

    def end(self) -> list[Part]:
        """What is left when the model has ended."""
        if self._parser is None:
            return []
        return self._parts(lambda: self._parser.finalize()[1])

    def _parts(self, events: Callable[[], list[dict[str, Any]]]) -> list[Part]:
        if self._is_over:
            return []
        try:
            return [part for event in events() for part in self._part(event)]
        except (ValueError, KeyError) as error:
            # Where a call is no JSON the parser stops.
            self._is_over = True
            return [_unreadable(self._written, str(error).splitlines()[0])]

    def _part(self, event: dict[str, Any]) -> Iterator[Part]:
        kind, text = event["type"], event.get("text", "")
        if kind == "region_open":
            self._written = ""
        elif kind == "region_chunk" and event["field"] == "content":
            shown = text if self._has_text else text.lstrip()
            self._has_text = self._has_text or bool(shown)
            if shown:
                yield shown
        elif kind == "region_chunk":
            self._written += text
        elif event["field"] == "tool_calls":
            yield from _calls(event["value"], self._written)


def message(parts: Sequence[Part], **about: Any) -> AIMessage:
    """The whole answer."""
    calls = [part for part in parts if not isinstance(part, str)]
    return AIMessage(
        "".join(part for part in parts if isinstance(part, str)),
        tool_calls=[call for call in calls if call["type"] == "tool_call"],
        invalid_tool_calls=[call for call in calls if call["type"] == "invalid_tool_call"],
        **about,
    )


def chunk(part: Part, index: int) -> AIMessageChunk:
    """One part of a streamed answer; `index` counts its calls."""
    if isinstance(part, str):
        return AIMessageChunk(content=part)
    args = part["args"]
    written = args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)
    piece = tool_call_chunk(name=part["name"], args=written, id=part["id"], index=index)
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def chosen(tool_choice: Any, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools of which one must be called; none where the model is free.

    Raises:
        ModelError: the choice names no tool that is bound.
    """
    if isinstance(tool_choice, dict):
        tool_choice = tool_choice.get("name") or tool_choice.get("function", {}).get("name")
    if tool_choice is True or tool_choice in ANY:
        return list(tools)
    if tool_choice in (None, False, "auto", "none"):
        return []
    named = [tool for tool in tools if tool["function"]["name"] == tool_choice]
    if not named:
        names = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise ModelError(
            f"tool_choice is {tool_choice!r}, and no tool of that name is bound ({names}). "
            'Name one that is, or pass "any", "auto" or "none".'
        )
    return named


class Forced(NamedTuple):
    """A call that was asked for outright.

    call     what came of it
    written  its text
    """

    call: ToolCall | InvalidToolCall
    written: str


def force(tool: dict[str, Any], write: Callable[[str], str]) -> Forced:
    """Have the model call this tool.

    Each pass writes on from what is there, and is asked for the next argument that must be there
    and is not; what the tool does not know is left out.

    Args:
        tool: its JSON schema, as OpenAI's.
        write: gives what the model writes after the JSON that it gets.
    """
    function = tool["function"]
    name, schema = function["name"], function.get("parameters") or {}
    begin = f'{{"name": {json.dumps(name)}, "arguments": '
    arguments: dict[str, Any] = {}
    is_first = bool(schema.get("properties") or schema.get("additionalProperties"))
    while is_first or _missing(schema, arguments):
        is_first = False
        wanted = _missing(schema, arguments)
        before = _opened(schema, arguments, wanted)
        text = write(begin + before)
        found = _found(before + text, wanted)
        fitting = {key: value for key, value in found.items() if _fits(schema, key, value)}
        if wanted is not None and wanted not in fitting:
            why = f"no {wanted!r} of {name} that fits its schema"
            return Forced(_unreadable(begin + before + text, why), begin + before + text)
        arguments = {**fitting, **arguments}
    written = f"{begin}{json.dumps(arguments, ensure_ascii=False)}}}"
    return Forced(tool_call(name=name, args=arguments, id=_id()), written)


def _missing(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """The next argument that must be there and is not."""
    return next((name for name in schema.get("required", ()) if name not in arguments), None)


def _opened(schema: dict[str, Any], arguments: dict[str, Any], wanted: str | None) -> str:
    """The arguments so far, up to where the value of the wanted one stands."""
    before = json.dumps(arguments, ensure_ascii=False).removesuffix("}")
    if wanted is None:
        return before
    separator = ", " if arguments else ""
    is_text = schema["properties"].get(wanted, {}).get("type") == "string"
    return f"{before}{separator}{json.dumps(wanted)}: " + ('"' if is_text else "")


def _found(written: str, wanted: str | None) -> dict[str, Any]:
    """The arguments in what was written; the wanted one alone where the rest is no JSON."""
    try:
        found, _ = _JSON.raw_decode(written)
        return dict(found)
    except ValueError:
        pass
    mark = f"{json.dumps(wanted)}: "
    if wanted is None or mark not in written:
        return {}
    try:
        value, _ = _JSON.raw_decode(written, written.index(mark) + len(mark))
    except ValueError:
        return {}
    return {wanted: value}


def _fits(schema: dict[str, Any], name: str, value: Any) -> bool:
    """Whether the tool knows an argument of this name, and takes the value."""
    from jsonschema import Draft202012Validator

    if name not in schema.get("properties", {}) and not schema.get("additionalProperties"):
        return False
    alone = {**schema, "required": []}
    return bool(Draft202012Validator(alone).is_valid({name: value}))


def _calls(value: Any, written: str) -> Iterator[ToolCall | InvalidToolCall]:
    """The calls in what the parser gives: one, or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        function = one.get("function", one) if isinstance(one, dict) else None
        read = function if isinstance(function, dict) else {}
        name, arguments = read.get("name"), read.get("arguments", {})
        if name and isinstance(name, str) and isinstance(arguments, dict):
            yield tool_call(name=name, args=arguments, id=_id())
        else:
            yield _unreadable(written, "no name and arguments in JSON")


def _unreadable(written: str, why: str) -> InvalidToolCall:
    # Begun with a tag, so that nobody who joins pieces takes it for half a call.
    return invalid_tool_call(name=None, args=f"<tool_call>{written}", id=_id(), error=why)


def _id() -> str:
    # Nine letters and digits: Mistral's templates take no other.
    return uuid.uuid4().hex[:9]
