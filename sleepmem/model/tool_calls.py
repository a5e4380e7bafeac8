"""How a model is shown tools, and how it writes that it calls one.

By its own chat template where that takes tools, and read with transformers' parser; else, in
ChatML, by the convention that Hermes, Qwen and SmolLM2 share: JSON between tags, the tools in the
system message, what they return in a turn of the user. Knows no LangChain.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers.utils.chat_parsing import ResponseParser

Messages = Sequence[dict[str, Any]]
Tools = Sequence[dict[str, Any]]

CALL, CALL_END = "<tool_call>", "</tool_call>"
_CHATML = "<|im_start|>"
# Calls that are no JSON.
_XML = "<function="
# Calls as transformers' parser is told of them; what is no JSON comes as text.
_JSON_CALLS = {
    "start_anchor": f"{_CHATML}assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": rf"\s*{CALL}",
            "close": CALL_END,
            "repeats": True,
            "content": "json",
            "content_args": {"allow_non_json": True},
        },
        "content": {"content": "text"},
    },
}
_BEFORE_TOOLS = "You have these tools:\n<tools>"
_AFTER_TOOLS = f"""\
</tools>

To use a tool, answer with nothing but its name and its arguments as JSON:
{CALL}
{{"name": "...", "arguments": {{...}}}}
{CALL_END}"""
# A tag that some text spells.
_TAG = re.compile(r"<(?=/?(?:tools|tool_call|tool_response)>)")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat, and what is asked of the answer to it.

    messages    as a chat template takes them
    tools       their JSON schemas, as a chat template takes them
    opening     what the answer begins with
    stop        texts that end it
    in_control  whether control tokens of the answer are kept, since calls are written in them
    """

    messages: Messages
    tools: Tools = ()
    opening: str = ""
    stop: tuple[str, ...] = ()
    in_control: bool = False


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How one model is shown tools and writes calls.

    takes_tools  whether its chat template shows them; else they are told in the system message
    response     transformers' description of its answers
    """

    takes_tools: bool
    response: dict[str, Any]

    @classmethod
    def of(cls, tokenizer: Any, model: Any) -> CallFormat | None:
        """The one of this model; None where nothing tells how it calls tools."""
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = tokenizer.get_chat_template(tools=[{}])
        if re.search(r"\btools\b", template):
            response = _response(tokenizer, model)
            if response is None and CALL in template and _XML not in template:
                response = _JSON_CALLS
            return cls(True, response) if response else None
        return cls(False, _JSON_CALLS) if _CHATML in template else None

    @property
    def opening(self) -> str:
        """What stands before the JSON of a call that the model is made to write."""
        response = str(self.response)
        return f"{CALL}\n" if CALL in response and _XML not in response else ""

    def prompt(self, messages: Messages, tools: Tools, *, stop: tuple[str, ...] = ()) -> Prompt:
        """The chat as the model is used to it."""
        in_control = self.response is not _JSON_CALLS
        if self.takes_tools:
            return Prompt(messages, tools, stop=stop, in_control=in_control)
        return Prompt(_told(messages, tools), stop=stop, in_control=in_control)

    def parser(self, tools: Tools, prefix: str) -> ResponseParser:
        """Reads an answer, in pieces; `prefix` is the text of the prompt before it."""
        from transformers.utils.chat_parsing import ResponseParser

        return ResponseParser(self.response, prefix=prefix, tools=list(tools))


def _response(tokenizer: Any, model: Any) -> dict[str, Any] | None:
    """How answers look: by the tokenizer, or by what transformers serves this family with."""
    from transformers.cli.serving.utils import get_response_template

    found = copy.deepcopy(get_response_template(tokenizer, model))
    calls = found["fields"].get("tool_calls", {}) if found else {}
    if calls.get("content") == "json":
        # What is no JSON comes as text, and does not end the reading.
        calls["content_args"] = {**calls.get("content_args", {}), "allow_non_json": True}
    return found


def _told(messages: Messages, tools: Tools) -> list[dict[str, str]]:
    """The chat in texts alone, its tools in the system message."""
    chat: list[dict[str, str]] = []
    returned = False
    for message in messages:
        role, text = message["role"], _as_text(message["content"])
        if role == "tool":
            response = f"<tool_response>\n{text}\n</tool_response>"
            if returned:
                chat[-1]["content"] += f"\n{response}"
            else:
                chat.append({"role": "user", "content": response})
        else:
            called = [_written(call["function"]) for call in message.get("tool_calls", ())]
            chat.append({"role": role, "content": "\n".join([*filter(None, [text]), *called])})
        returned = role == "tool"
    if tools:
        shown = [_as_text(json.dumps(tool, ensure_ascii=False)) for tool in tools]
        block = "\n".join([_BEFORE_TOOLS, *shown, _AFTER_TOOLS])
        if chat and chat[0]["role"] == "system":
            chat[0]["content"] += f"\n\n{block}"
        else:
            chat.insert(0, {"role": "system", "content": block})
    return chat


def _written(function: dict[str, Any]) -> str:
    call = {"name": function["name"], "arguments": function["arguments"]}
    return f"{CALL}\n{_as_text(json.dumps(call, ensure_ascii=False))}\n{CALL_END}"


def _as_text(text: str) -> str:
    """The text, no tag in it: only the format writes these."""
    return _TAG.sub("< ", text)
