"""Conversations and memories of Claude, from Settings, Privacy, Export data.

The archive holds conversations.json, a list; a conversation has "uuid", "created_at" and
"chat_messages", and whose it is ("uuid" of "account"); a message has "uuid", "sender" ("human" or
"assistant"), "created_at", "content" (blocks of type "text", "thinking", "tool_use", "tool_result")
and "text", which is all that old exports have. Newer ones have "parent_message_uuid", too, and keep
every edit and every second answer. Anthropic publishes no schema: what the fields mean is known
from those who read exports, such as github.com/Sinity/polylogue, docs/providers/claude-ai.md.

Where branches part, the one that ends at the newest message is read. "text" is read only where
there are no blocks, and without the sentence that stands for what an old app cannot show. Left out
are thoughts, calls of tools, and files: what is in an attachment ("extracted_content") the user did
not say. What tools return becomes a ToolMessage.

Beside it memories.json holds what Claude itself keeps of its user: {"conversations_memory":
Markdown, "project_memories": {uuid: Markdown}, "account_uuid"}, as those who read exports know it.
What stands alone in bold is a heading there; nothing of it is dated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from sleepmem.foreign import markdown
from sleepmem.foreign.branch import branch
from sleepmem.foreign.files import Document
from sleepmem.foreign.record import Record
from sleepmem.foreign.turns import Said, turns
from sleepmem.foreign.values import Conversation, Form, Told
from sleepmem.records import check_time, readable

_SPEAKERS = {"human": HumanMessage, "user": HumanMessage, "assistant": AIMessage}
# What memories.json holds.
_MEMORIES = ("conversations_memory", "project_memories")
_BOLD = re.compile(r"^\*\*([^*\n]+)\*\*[ \t]*$", re.MULTILINE)
# What exports put where a block was.
_UNSHOWN = re.compile(r"```\s*This block is not supported on your current device yet\.\s*```\s*")


def owns(entry: Mapping[str, Any]) -> bool:
    return _is_chat(entry) or any(field in entry for field in _MEMORIES)


def values(entry: Record) -> Iterator[Conversation] | Iterator[Told]:
    """The conversation that it is, or the memories that it holds.

    Raises:
        EpisodeError: it is neither.
    """
    is_memory = owns(entry.content) and not _is_chat(entry.content)
    return memories(entry) if is_memory else conversations(entry)


def memories(entry: Record) -> Iterator[Told]:
    """What Claude keeps of its user, a paragraph or an item of a list each."""
    user = entry.name("account_uuid")
    texts = {_MEMORIES[0]: entry.text(_MEMORIES[0])}
    projects = entry.record(_MEMORIES[1])
    if projects:
        texts |= {name: projects.text(name) for name in projects.content}
    for name, text in texts.items():
        document = Document(entry.where, name, "", bytes)
        for one in markdown.told(document, _BOLD.sub(r"## \1", text or "")):
            yield replace(one, at=None, source=Form.CLAUDE.value, user=user)


def _is_chat(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("chat_messages"), list)


def conversations(entry: Record) -> Iterator[Conversation]:
    """It, unless the user said nothing in it.

    Raises:
        EpisodeError: it is no conversation.
    """
    if not _is_chat(entry.content):
        raise entry.wrong("has no chat_messages, the field that holds the messages")
    name = entry.required("uuid")
    began = entry.moment("created_at")
    said = []
    for message in _live(entry):
        at = message.moment("created_at")
        for one in _messages(message):
            said.append(Said(at, one))
    found = turns(said, began)
    if found:
        account = entry.record("account")
        yield Conversation(name, found, None if account is None else account.name("uuid"))


def _live(entry: Record) -> list[Record]:
    """Without the branches that were left: the messages below a fork that the newest is not below.

    Whatever hangs on a message that was deleted is no branch, so it stays.
    """
    messages: dict[str, Record] = {}
    parents: dict[str, str | None] = {}
    for message in entry.records("chat_messages"):
        own = message.required("uuid")
        messages[own], parents[own] = message, message.name("parent_message_uuid")
    if not any(parents.values()):
        return list(messages.values())
    leaf = entry.name("current_leaf_message_uuid")
    if leaf not in messages:
        leaf = _newest(messages, parents)
    try:
        path = branch(parents, leaf)
        left = _left(parents, path)
    except ValueError:
        raise entry.wrong("has messages whose parents go in a circle") from None
    return [message for own, message in messages.items() if own not in left]


def _left(parents: dict[str, str | None], path: list[str]) -> set[str]:
    """The messages that part from the path, at its beginning or on the way."""
    live, left = set(path), set()
    for own in parents:
        if own in live:
            continue
        for one in branch(parents, own):
            if one not in live:
                if parents[one] in live or parents[one] == parents[path[0]]:
                    left.add(own)
                break
    return left


def _newest(messages: dict[str, Record], parents: dict[str, str | None]) -> str:
    """Of those that nothing follows; of equal times the later in the list."""
    answered = set(parents.values())
    newest, found = -math.inf, ""
    for own, message in messages.items():
        at = message.moment("created_at")
        seconds = check_time(at, "created_at").timestamp() if at else newest
        if own not in answered and seconds >= newest:
            newest, found = seconds, own
    return found or next(iter(messages))


def _messages(message: Record) -> Iterator[BaseMessage]:
    """What the message says and what tools returned meanwhile, in order.

    The first has the id of the export, the next ones that with a number.
    """
    sender, own = message.text("sender"), message.required("uuid")
    if sender not in _SPEAKERS:
        raise message.wrong(f"was sent by {sender!r:.60}, and only human and assistant are known")
    blocks = list(message.records("content"))
    if not blocks:
        text = _UNSHOWN.sub("", message.text("text") or "").strip()
        if text:
            yield _SPEAKERS[sender](text, id=own)
        return
    for number, (kind, text, block) in enumerate(_runs(blocks), start=1):
        name = own if number == 1 else f"{own}-{number}"
        if kind == "text":
            yield _SPEAKERS[sender](text, id=name)
        else:
            call = block.name("tool_use_id") or name
            tool = block.text("name") or "unknown"
            yield ToolMessage(text, id=name, name=tool, tool_call_id=call)


def _runs(blocks: list[Record]) -> Iterator[tuple[str, str, Record]]:
    """Kind, text and last block of each: texts that follow each other are one."""
    texts: list[str] = []
    for block in blocks:
        kind = block.text("type")
        if kind == "text":
            text = (block.text("text") or "").strip()
            texts += [text] if text else []
        elif kind == "tool_result":
            if texts:
                yield "text", "\n".join(texts), block
                texts = []
            returned = _returned(block.content.get("content"))
            if returned:
                yield "tool_result", returned, block
    if texts:
        yield "text", "\n".join(texts), blocks[-1]


def _returned(content: Any) -> str:
    """The text of what a tool returned, which is text or a list of blocks."""
    if isinstance(content, str):
        return readable(content).strip()
    texts = []
    for block in content if isinstance(content, list) else ():
        text = block.get("text") if isinstance(block, dict) else None
        if isinstance(text, str) and text.strip():
            texts.append(readable(text).strip())
    return "\n".join(texts)
