"""Conversations of ChatGPT, from Settings, Data controls, Export data.

The archive holds conversations.json, a list, or parts of it: conversations-000.json and so on. A
conversation has "conversation_id" or "id", "create_time", "mapping" and "current_node"; the mapping
is a tree of {"message", "parent", "children"} that keeps every edit and every second answer. Times
are seconds since 1970, UTC. How to get it is said in help.openai.com/articles/7260999; OpenAI
publishes no schema, and what the fields mean is known from those who read exports, such as
github.com/mitkury/chatgpt-export-parser, docs/chatgpt-data-export-format.md.

Only the branch that ends at "current_node" is read; without one, that of the newest message. Left
out are system messages, hidden ones, custom instructions, reasoning, and what the assistant writes
to its tools; what tools return becomes a ToolMessage. Of images, files and sound only text is read:
the transcript of what was spoken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from sleepmem.foreign.branch import branch
from sleepmem.foreign.record import Record
from sleepmem.foreign.turns import Said, turns
from sleepmem.foreign.values import Conversation
from sleepmem.records import readable

_SPOKEN = ("text", "multimodal_text")
# Content of tools, and the field of it that holds the text; None is for the parts.
_RETURNED = {
    "text": None,
    "multimodal_text": None,
    "execution_output": "text",
    "tether_quote": "text",
    "sonic_webpage": "text",
    "tether_browsing_display": "result",
}
# Parts of a message that are text beside the plain strings.
_TEXT_PARTS = ("text", "audio_transcription")
_HIDDEN = ("is_visually_hidden_from_conversation", "is_user_system_message")
# Where the assistant thinks instead of answering.
_THINKING = "analysis"
# Whom a message is meant for that people see.
_EVERYONE = "all"


def owns(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("mapping"), dict)


def conversations(entry: Record) -> Iterator[Conversation]:
    """It, unless the user said nothing in it.

    Raises:
        EpisodeError: it is no conversation.
    """
    name = entry.required("conversation_id", "id")
    began = entry.moment("create_time")
    said = []
    caller = None
    for node, message in _live(entry):
        author = message.record("author")
        if author is None:
            raise message.wrong("has no author")
        own = message.name("id") or node
        spoken = _message(message, author, own, caller or own)
        if author.text("role") == "assistant":
            caller = own
        if spoken is not None:
            said.append(Said(message.moment("create_time"), spoken))
    found = turns(said, began)
    if found:
        yield Conversation(name, found)


def _live(entry: Record) -> Iterator[tuple[str, Record]]:
    """The messages of the live branch, with the names of their nodes; deleted ones are null."""
    mapping = entry.record("mapping")
    if mapping is None:
        raise entry.wrong("has no mapping, the field that holds the messages")
    nodes: dict[str, Record] = {}
    parents: dict[str, str | None] = {}
    for name, content in mapping.content.items():
        nodes[name] = Record(content, f"node {name!r:.60} of {entry.where}")
        parents[name] = nodes[name].name("parent")
    leaf = entry.name("current_node") or _newest(nodes)
    if leaf is None:
        return
    if leaf not in nodes:
        raise entry.wrong(f"ends at node {leaf!r:.60}, which its mapping does not hold")
    try:
        path = branch(parents, leaf)
    except ValueError:
        raise entry.wrong("has messages whose parents go in a circle") from None
    for name in path:
        message = nodes[name].record("message")
        if message is not None:
            yield readable(name), message


def _newest(nodes: dict[str, Record]) -> str | None:
    newest, found = "", None
    for name, node in nodes.items():
        message = node.record("message")
        at = (message and message.moment("create_time")) or ""
        if at >= newest:
            newest, found = at, name
    return found


def _message(message: Record, author: Record, own: str, caller: str) -> BaseMessage | None:
    """It as LangChain has it, or None when it is none of the conversation."""
    role, content = author.text("role"), message.record("content")
    if content is None or _is_hidden(message):
        return None
    kind = content.text("content_type") or "text"
    if role == "tool" and kind in _RETURNED:
        field = _RETURNED[kind]
        returned = content.text(field) if field else _parts(content)
        if returned and returned.strip():
            name = author.text("name") or "unknown"
            return ToolMessage(returned.strip(), id=own, name=name, tool_call_id=caller)
    if role not in ("user", "assistant") or kind not in _SPOKEN:
        return None
    text = _parts(content)
    if not text:
        return None
    if role == "user":
        return HumanMessage(text, id=own)
    is_answer = (message.text("recipient") or _EVERYONE) == _EVERYONE
    return AIMessage(text, id=own) if is_answer else None


def _is_hidden(message: Record) -> bool:
    metadata = message.record("metadata")
    if metadata is not None:
        for mark in _HIDDEN:
            if metadata.content.get(mark):
                return True
    return message.text("channel") == _THINKING


def _parts(content: Record) -> str:
    parts = content.content.get("parts")
    if parts is None:
        return (content.text("text") or "").strip()
    if not isinstance(parts, list):
        raise content.wrong("has parts that are no list")
    texts = []
    for part in parts:
        text = part
        if isinstance(part, dict):
            text = part.get("text") if part.get("content_type") in _TEXT_PARTS else None
        if isinstance(text, str) and text.strip():
            texts.append(readable(text).strip())
    return "\n".join(texts)
