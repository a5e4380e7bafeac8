"""Which messages of a conversation become episodes. Pure.

What the user said, with what surrounds it; what tools returned; what the agent carried out. Never
what was recalled or said by the model itself: that would feed the memory with itself. Frameworks
and other agents write "human" messages, too; those are not the user's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from sleepmem.day.farewell import asks_about, proposed, told_beside
from sleepmem.records import AGENT, PASTED, USER, one_line, readable
from sleepmem.text.kinds import greets, is_memory_tool, is_small_talk, pasted, without_pasted
from sleepmem.text.prompts import HEADER
from sleepmem.text.replies import needed, question_in
from sleepmem.text.terms import terms

# Id of the system message that carries recalled memories.
RECALL_ID = "sleepmem-recall"
# Characters of what surrounds an episode: of the agent's words before it, of a result or an answer.
_SHORT = 300
# What is longer is no word, but written without spaces.
_WORD = 40
# A reply of fewer terms tells nothing beside.
_REPLY = 6
# As many messages in a row may be one turn: a gateway waits for what else is typed.
_BATCH = 5
# How frameworks mark a tool, or a message, that hands over to another agent.
HAND_OVER = frozenset({"__handoff_destination", "__is_handoff_back"})
# Kinds of media in the names that providers give their blocks and in mime types, and ours.
_MEDIA = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "file": "file",
    "document": "file",
    "media": "file",
}
# How `create_agent` begins the tool message that stands for a structured answer.
_STRUCTURED = "Returning structured response"


class Said(NamedTuple):
    """One thing to remember.

    `now` is false for what stands before the last messages that the user sent in one go: a client
    may send the same history with every turn. `answers` is what the agent had said before, `began`
    the id of the user's message that it came of, where it is not that itself.
    """

    text: str
    source: str
    message_id: str | None
    now: bool
    speaker: str | None = None
    answers: str | None = None
    began: str | None = None


def said(messages: Sequence[BaseMessage]) -> list[Said]:
    """What the users said, in order; greetings and empty turns aside.

    What they pasted in marks stands by itself: nobody knows who wrote it. That something shall be
    forgotten is no memory, nor is the reply to whether it shall.
    """
    users = _of_users(messages)
    row = _row(messages, users)
    found = []
    for place in users:
        message = messages[place]
        text = told_beside(_own_words(message))
        before = _before(messages, place)
        if proposed(messages[: place + 1]):
            # What the agent asked about names what may be gone now.
            before = ""
            if len(terms(text)) <= _REPLY:
                continue
        if text and not _is_nothing(text, before):
            answers = needed(before, text) or None
            found.append(Said(text, USER, message.id, place in row, message.name, answers))
        for part in pasted(text_of(message)):
            found.append(Said(part, PASTED, message.id, place in row))
    return found


def done(
    messages: Sequence[BaseMessage],
    *,
    tools: Collection[str] | None = None,
    ended: bool = False,
    is_memory: Callable[[Said, str], bool] = lambda result, asked: False,
) -> list[Said]:
    """What tools returned, and what the agent carried out in each turn, in order.

    Args:
        messages: the conversation.
        tools: names of the agent's tools, when they are known: what others returned is a
            framework's own bookkeeping.
        ended: whether the last turn is over, whatever it ended with.
        is_memory: whether a tool only gave back what is stored, and not what it was asked with; no
            task tells it again.
    """
    users = _of_users(messages)
    starts = users or [0]
    found: list[Said] = []
    for start, end in zip(starts, [*starts[1:], len(messages)], strict=True):
        turn, now = messages[start:end], start == starts[-1]
        began = turn[0].id if turn and users else None
        arguments = _arguments(turn)
        results: dict[str, str] = {}
        for one in turn:
            if not isinstance(one, ToolMessage) or not _is_of_work(one, tools):
                continue
            returned = text_of(one)
            if one.status == "error":
                results[one.tool_call_id] = "failed"
            elif not returned:
                results[one.tool_call_id] = "done"
            else:
                result = Said(returned, f"tool:{one.name or 'unknown'}", one.id, now, began=began)
                asked = f"{text_of(turn[0])}\n{arguments.get(one.tool_call_id, '')}"
                if not is_memory(result, asked):
                    found.append(result)
                    results[one.tool_call_id] = _short(returned)
        task = _task(turn, results, arguments, ended=ended and end == len(messages))
        if task:
            last = turn[-1].id
            found.append(Said(task, AGENT, f"task-{last}" if last else None, now, began=began))
    return found


def question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user says now: the last message, when it is the user's and needs an answer."""
    users = _of_users(messages)
    is_last = bool(users) and users[-1] == len(messages) - 1
    return last_question(messages) if is_last else None


def last_question(messages: Sequence[BaseMessage]) -> str | None:
    """What the user said in this turn, though tools or the model may have spoken since.

    Of several messages in a row, all that say something.
    """
    users = _of_users(messages)
    texts: list[str] = []
    for place in users[-1 : -_BATCH - 1 : -1]:
        between = messages[place + 1 : users[-1]]
        if any(isinstance(message, AIMessage) for message in between):
            break
        text = _own_words(messages[place])
        if not _is_nothing(text, _before(messages, place)):
            texts.insert(0, text)
    return "\n".join(texts) or None


def latest(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The last turn, with what the user said unanswered before it, and all the agent had said.

    The rest a host without a thread hands over anew each time: it was observed when it was new.
    """
    users = _of_users(messages) or [0]
    start = users.pop()
    while users and not any(_answers(one) for one in messages[users[-1] : start]):
        start = users.pop()
    agents = [one for one in messages[:start] if isinstance(one, AIMessage)]
    return [*agents, *messages[start:]]


def _answers(message: BaseMessage) -> bool:
    """Whether the agent ended a turn with it: a call of a tool is no answer yet."""
    return isinstance(message, AIMessage) and not message.tool_calls


def turn_id(messages: Sequence[BaseMessage]) -> str | None:
    """Id of the message that began this turn."""
    users = _of_users(messages)
    message_id = messages[users[-1]].id if users else None
    return None if message_id is None else readable(message_id)


def turn_ids(messages: Sequence[BaseMessage]) -> list[str]:
    """Ids of the messages that the user sent in one go and that began this turn."""
    ids = [messages[place].id for place in _row(messages, _of_users(messages))]
    return [readable(one) for one in ids if one is not None]


def speaker(messages: Sequence[BaseMessage]) -> str | None:
    """Who of several people speaks in this turn."""
    users = _of_users(messages)
    name = messages[users[-1]].name if users else None
    return None if name is None else one_line(name)


def answer(messages: Sequence[BaseMessage], *, ended: bool = False) -> str | None:
    """What this turn ended with; None while the agent has not answered.

    `ended` says that it is over: a tool's result may be its answer.
    """
    last = messages[-1] if messages else None
    if last is not None and asks_about(last):
        return None  # it quotes what may be gone soon
    if isinstance(last, ToolMessage) and not _hands_over(last):
        text = text_of(last)
        is_structured = text.startswith(_STRUCTURED)
        text = text.removeprefix(_STRUCTURED).lstrip(": ")
        return _short(text) if ended or is_structured else None
    is_over = isinstance(last, AIMessage) and not last.tool_calls
    return _short(text_of(last)) if last is not None and is_over else None


def _own_words(message: BaseMessage) -> str:
    """What the user says without what was pasted; all of it when that is all there is."""
    text = text_of(message)
    return without_pasted(text) or text


def _is_nothing(text: str, before: str) -> bool:
    """Whether it greets, thanks or is empty; what agrees may answer a question."""
    if not is_small_talk(text):
        return False
    may_answer = bool(terms(text)) and not greets(text)
    return not (may_answer and question_in(before))


def text_of(message: BaseMessage) -> str:
    """The text of a message; images and files in it are named."""
    if isinstance(message.content, str):
        return readable(message.content).strip()
    parts = [_part(block) for block in _blocks(message)]
    return readable("\n".join(part for part in parts if part.strip())).strip()


def _blocks(message: BaseMessage) -> Sequence[Any]:
    """The blocks of a message in LangChain's form; as they came, where it cannot read them."""
    try:
        return message.content_blocks
    except Exception:  # a host's own mistake costs that block, not the others
        return message.content


def _part(block: Any) -> str:
    """The text of a content block, or what else it is; nothing where it is malformed."""
    if isinstance(block, str):
        return block
    if block.get("type") == "text":
        return str(block.get("text") or "")
    return _named(block)


def _named(block: Any) -> str:
    """A content block that is no text, by its kind and name; nothing for a model's own."""
    kind = block.get("type")
    if kind not in ("image", "audio", "video", "file", "text-plain"):
        return _foreign(block.get("value") if kind == "non_standard" else block)
    extras = block.get("extras") or {}
    names = [block.get(key) or extras.get(key) for key in ("filename", "name", "title")]
    url = str(block.get("url") or "")
    if not url.startswith("data:"):
        names.append(_file_of(url))
    names.append(block.get("mime_type"))
    name = next((str(name) for name in names if name), "")
    kind = "file" if kind == "text-plain" else kind
    return f"[{kind}: {name}]" if name else f"[{kind}]"


def _foreign(block: Any) -> str:
    """A provider's own block that carries a medium, by its mime type or a part of its type's name.

    A model's own blocks, thoughts and calls, carry none.
    """
    if not isinstance(block, Mapping):
        return ""
    mime_type = str(block.get("mime_type") or block.get("media_type") or "")
    parts = [mime_type.partition("/")[0], *str(block.get("type") or "").split("_")]
    kind = next((_MEDIA[part] for part in parts if part in _MEDIA), "")
    if not kind or "call" in parts:
        return ""
    url = next((one for one in map(_url_in, block.values()) if one), "")
    return _named({**block, "type": kind, "url": url, "mime_type": mime_type})


def _url_in(value: Any) -> str:
    """The URL that a field of a block is, or holds."""
    value = value.get("url") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) and "://" in value else ""


def _file_of(url: str) -> str:
    """The name of the file behind a URL; nothing where it is none."""
    with contextlib.suppress(ValueError):
        return urlsplit(url).path.rpartition("/")[2]
    return ""


def _of_users(messages: Sequence[BaseMessage]) -> list[int]:
    """Places of the messages that users wrote."""
    agents = {message.name for message in messages if not isinstance(message, HumanMessage)}
    agents |= set(_called(messages))
    places: list[int] = []
    is_open = False  # a user without a name has spoken and was not answered yet
    for place, message in enumerate(messages):
        # An agent with a name speaks to others; the one that answers the user has none.
        if isinstance(message, AIMessage) and not message.tool_calls and not message.name:
            is_open = False
        if not isinstance(message, HumanMessage) or is_ours(message):
            continue
        is_agents = bool(message.name) and (message.name in agents or is_open)
        if "lc_source" in message.additional_kwargs or is_agents:
            continue
        is_open = is_open or not message.name
        places.append(place)
    return places


def _row(messages: Sequence[BaseMessage], users: Sequence[int]) -> list[int]:
    """Places of the last messages of the user between which nobody spoke."""
    row = list(users[-1:])
    for place in users[-2 : -_BATCH - 1 : -1]:
        between = messages[place + 1 : row[0]]
        if any(isinstance(message, AIMessage | ToolMessage) for message in between):
            break
        row.insert(0, place)
    return row


def is_ours(message: BaseMessage) -> bool:
    """Whether a message carries what was recalled."""
    return (message.id or "").startswith(RECALL_ID) or HEADER in message.text


def _called(messages: Sequence[BaseMessage]) -> Iterator[str]:
    """Names of the tools, and so of the agents behind some of them, that were called."""
    for message in messages:
        if isinstance(message, AIMessage):
            yield from (call["name"] for call in message.tool_calls)


def _before(messages: Sequence[BaseMessage], place: int) -> str:
    """What the agent had said last before this message, in short; empty when it did not speak."""
    for message in reversed(messages[:place]):
        if isinstance(message, AIMessage) and message.text.strip() and not _hands_over(message):
            return _short(readable(message.text), end=True)
        is_marked = is_ours(message) or "lc_source" in message.additional_kwargs
        if isinstance(message, HumanMessage) and not is_marked:
            return ""
    return ""


def _is_of_work(message: ToolMessage, tools: Collection[str] | None) -> bool:
    """Whether a tool of the agent's own returned it: no bookkeeping, no memory."""
    if is_ours(message) or _hands_over(message) or message.text.startswith(_STRUCTURED):
        return False
    if message.name and is_memory_tool(message.name):
        return False
    return tools is None or not message.name or message.name in tools


def _hands_over(message: BaseMessage) -> bool:
    """Whether it passes the turn to another agent or back, as langgraph-supervisor marks it."""
    return not HAND_OVER.isdisjoint(message.response_metadata)


def _arguments(turn: Sequence[BaseMessage]) -> dict[str | None, str]:
    """What each tool was called with, by the id of the call."""
    found: dict[str | None, str] = {}
    for message in turn:
        for call in message.tool_calls if isinstance(message, AIMessage) else []:
            found[call["id"]] = json.dumps(call["args"], ensure_ascii=False, default=str)
    return found


def _task(
    turn: Sequence[BaseMessage],
    results: Mapping[str, str],
    arguments: Mapping[str | None, str],
    *,
    ended: bool,
) -> str:
    """What was asked, which tools were called with what, what they returned, how it ended."""
    calls = []
    for message in turn:
        for call in message.tool_calls if isinstance(message, AIMessage) else []:
            result = results.get(call["id"] or "")
            if result is not None:
                calls.append(f"{call['name']}({_short(arguments[call['id']])}) -> {result}")
    outcome = answer(turn, ended=ended)
    if not calls or not outcome:
        return ""
    goal = _short(_own_words(turn[0])) if _of_users(turn[:1]) else ""
    return readable("\n".join(line for line in (goal, *calls, outcome) if line))


def _short(text: str, *, end: bool = False) -> str:
    """The text in one line, cut: what stands first, or last; between words where it has any."""
    line = " ".join(text.split())
    if len(line) <= _SHORT:
        return line
    if end:
        word, _, rest = line[-_SHORT:].partition(" ")
        return "…" + (rest if len(word) <= _WORD else line[-_SHORT:])
    rest, _, word = line[:_SHORT].rpartition(" ")
    return (rest if len(word) <= _WORD else line[:_SHORT]) + "…"
