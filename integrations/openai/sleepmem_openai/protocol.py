"""OpenAI's chat completions: what clients send as LangChain's messages, and answers as OpenAI's.

Knows no memory. The shapes of answers are checked by the models of OpenAI's own package.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.messages.tool import invalid_tool_call
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sleepmem_openai.errors import GatewayError

Parsed = TypeVar("Parsed", bound=BaseModel)
_ROLES = ("system", "developer", "user", "assistant", "tool")
# Of a message, all that OpenAI knows and models read. Whatever else a client sends stays out:
# LangChain would take its own marks (metadata, ids, removals) from anybody.
_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id")
# Why OpenAI's answers end, beside `stop`; other servers say more, such as `model_length`.
_FINISHES = ("length", "tool_calls", "content_filter")
# What cannot be handed through, and what to do instead.
_REFUSED = {
    "logprobs": "the gateway hands no log-probabilities on; leave `logprobs` out",
    "functions": "`functions` are no longer taken; send them as `tools`",
    "function_call": "`function_call` is no longer taken; send it as `tool_choice`",
    "audio": "the gateway hands no audio on; leave `audio` out",
}


class ChatRequest(BaseModel):
    """What a client asks; what is not named here is in `model_extra`."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1)
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    user: str | None = None
    stop: str | list[str] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: dict[str, Any] | None = None

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """The request in a body.

        Raises:
            GatewayError: it is none, or asks for what the gateway cannot hand through.
        """
        request = parsed(cls, body)
        if request.n not in (None, 1):
            said = "a turn of a conversation has one answer; leave `n` out, or set it to 1."
            raise GatewayError(said, param="n")
        for name, sentence in _REFUSED.items():
            if (request.model_extra or {}).get(name):
                raise GatewayError(f"{sentence}.", param=name, code="unsupported_parameter")
        for place, tool in enumerate(request.tools or ()):
            _check_tool(tool, f"tools.{place}")
        return request

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return bool((self.stream_options or {}).get("include_usage"))

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        """Where the answer ends; an empty text, as forms send it, would end it before it begins."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return list(filter(None, stops))

    def for_upstream(self) -> dict[str, Any]:
        """All that shapes the answer, as it was sent; what the agent sends itself aside."""
        mine = {"model", "messages", "stream", "stream_options", "n", "tools", "user"}
        return self.model_dump(exclude=mine, exclude_none=True)


class EmbeddingsRequest(BaseModel):
    """What a client of the memory's own embeddings asks."""

    model_config = ConfigDict(extra="ignore")

    model: str
    # LangChain's client sends tokens of OpenAI's unless it is told not to.
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        """What is to be embedded.

        Raises:
            GatewayError: it is tokens.
        """
        texts: list[str] = []
        for text in [self.input] if isinstance(self.input, str) else self.input:
            if not isinstance(text, str):
                raise GatewayError(
                    "`input` holds tokens, and these embeddings read text; send strings (with "
                    "LangChain's OpenAIEmbeddings, `check_embedding_ctx_length=False`).",
                    param="input",
                )
            texts.append(text)
        return texts


def _check_tool(tool: dict[str, Any], where: str) -> None:
    """Raises: GatewayError: it is no function with a name."""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if tool.get("type") != "function" or not isinstance(name, str) or not name:
        raise GatewayError(
            f"`{where}` is no function with a name; write it as "
            '{"type": "function", "function": {"name": ..., "parameters": ...}}.',
            param=where,
        )


def parsed(kind: type[Parsed], body: bytes) -> Parsed:
    """A body as a model of pydantic.

    Raises:
        GatewayError: it does not fit; the first fault is told.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))
        at = f"`{where}` of the request" if where else "the request"
        raise GatewayError(
            f"{at} is not what OpenAI's API takes: {fault['msg']}.", param=where or None
        ) from error


@dataclass(frozen=True)
class Conversation:
    """What was said so far.

    system    the system messages that lead it, as one; models with strict templates take no two
    messages  all that follows
    """

    system: SystemMessage | None
    messages: tuple[BaseMessage, ...]

    @classmethod
    def read(cls, sent: Sequence[dict[str, Any]], thread: str | None) -> Conversation:
        """The messages that a client sent.

        Args:
            sent: as they came.
            thread: what the client calls this conversation. Then a message is known by where it
                stands in it, however often and from wherever it is sent again.

        Raises:
            GatewayError: they cannot be read.
        """
        messages = _named(_converted(sent))
        leading = 0
        while leading < len(messages) and isinstance(messages[leading], SystemMessage):
            leading += 1
        rest = messages[leading:]
        if not rest:
            said = "the messages hold nothing but instructions; add one of the user."
            raise GatewayError(said, param="messages")
        rest = _placed_results(rest) if thread is None else _placed(rest, thread)
        return cls(_joined(messages[:leading]), tuple(rest))


def _converted(sent: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    plain: list[dict[str, Any]] = []
    for place, message in enumerate(sent):
        role = message.get("role")
        if role not in _ROLES:
            said = f"messages.{place} has the role {role!r:.40}; use one of {', '.join(_ROLES)}."
            raise GatewayError(said, param=f"messages.{place}.role")
        told = {name: message[name] for name in _FIELDS if message.get(name) is not None}
        plain.append({"content": "", **told})
    try:
        broken = list(map(_without_broken_calls, plain))
        converted = convert_to_messages(plain)
        for one, calls in zip(converted, broken, strict=True):
            if isinstance(one, AIMessage):
                one.invalid_tool_calls = calls
        return converted
    except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError) as error:
        raise GatewayError(
            "the messages cannot be read; each needs a role and a content, each call an id, a name "
            "and arguments in JSON, each result of a tool the id of its call.",
            param="messages",
        ) from error


def _without_broken_calls(message: dict[str, Any]) -> list[InvalidToolCall]:
    """Take the calls out of a message whose arguments are no JSON object; models write such, too.

    No arguments at all are an empty object.
    """
    whole: list[dict[str, Any]] = []
    broken: list[InvalidToolCall] = []
    for call in message.get("tool_calls") or ():
        function = {**call["function"]}
        function["arguments"] = written = function["arguments"] or "{}"
        if _is_object(written):
            whole.append({**call, "function": function})
        else:
            broken.append(
                invalid_tool_call(
                    name=function["name"], args=str(written), id=call["id"], error=None
                )
            )
    if "tool_calls" in message:
        message["tool_calls"] = whole
    return broken


def _is_object(written: Any) -> bool:
    try:
        return isinstance(json.loads(written, strict=False), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _named(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages, each result of a tool with the tool's name, which OpenAI's do not carry."""
    names: dict[str | None, str] = {}
    found: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            for call in [*message.tool_calls, *message.invalid_tool_calls]:
                names[call["id"]] = call["name"] or ""
        if isinstance(message, ToolMessage) and not message.name:
            message = message.model_copy(update={"name": names.get(message.tool_call_id)})
        found.append(message)
    return found


def _joined(leading: Sequence[BaseMessage]) -> SystemMessage | None:
    if not leading:
        return None
    if len(leading) == 1 and isinstance(leading[0], SystemMessage):
        return leading[0]
    return SystemMessage("\n".join(message.text for message in leading))


def _placed(messages: Sequence[BaseMessage], thread: str) -> list[BaseMessage]:
    """The messages with ids made of the conversation, and of all that was said up to them."""
    so_far = hashlib.sha256(thread.encode(errors="replace"))
    placed: list[BaseMessage] = []
    for message in messages:
        said = json.dumps([message.type, message.name, message.content], ensure_ascii=True)
        so_far.update(said.encode())
        placed.append(message.model_copy(update={"id": f"msg-{so_far.hexdigest()[:32]}"}))
    return placed


def _placed_results(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages, results of tools with ids made of their calls and of the turn up to them.

    Every step of a turn sends them again.
    """
    so_far = hashlib.sha256()
    placed: list[BaseMessage] = []
    for message in messages:
        if message.type == "human":
            so_far = hashlib.sha256()
        call = message.tool_call_id if isinstance(message, ToolMessage) else None
        said = json.dumps([message.type, message.content, call], ensure_ascii=True)
        so_far.update(said.encode())
        if call is not None:
            message = message.model_copy(update={"id": f"result-{so_far.hexdigest()[:32]}"})
        placed.append(message)
    return placed


@dataclass(frozen=True)
class Reply:
    """One answer on its way to the client.

    model    as the client knows it
    id       of the completion
    created  seconds since 1970
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answered) -> str:
        """The completion, JSON."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.calls:
            message["tool_calls"] = answer.calls
            message["content"] = answer.text or None
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": answer.finish,
            "logprobs": None,
        }
        told = {**self._about("chat.completion", answer), "choices": [choice]}
        told["usage"] = answer.usage
        return ChatCompletion.model_validate(told).model_dump_json(exclude_unset=True)

    def piece(self, delta: dict[str, Any]) -> str:
        """A chunk of a stream, JSON."""
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])

    def end(self, answer: Answered) -> str:
        """The chunk that says why it ended, and where the answer came from."""
        last = {"index": 0, "delta": {}, "finish_reason": answer.finish}
        return self._chunk([last], answer)

    def usage(self, answer: Answered) -> str:
        """The chunk that counts."""
        told = {**self._about("chat.completion.chunk"), "choices": [], "usage": answer.usage}
        return ChatCompletionChunk.model_validate(told).model_dump_json(exclude_unset=True)

    def _chunk(self, choices: list[dict[str, Any]], answer: Answered | None = None) -> str:
        told = {**self._about("chat.completion.chunk", answer), "choices": choices}
        return ChatCompletionChunk.model_validate(told).model_dump_json(exclude_unset=True)

    def _about(self, kind: str, answer: Answered | None = None) -> dict[str, Any]:
        told = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        if answer is not None and answer.provenance:
            told["sleepmem"] = answer.provenance
        return told


@dataclass(frozen=True)
class Answered:
    """What a turn ended with.

    calls       of tools, as OpenAI writes them
    finish      why it ended: stop, length, tool_calls, content_filter
    provenance  where the answer came from, as sleepmem tells it
    """

    text: str
    calls: list[dict[str, Any]]
    finish: str
    usage: dict[str, int]
    provenance: dict[str, Any]

    @classmethod
    def of(cls, message: AIMessage, *, most_tokens: int | None) -> Answered:
        """A message of the model; `most_tokens` is what it may have had."""
        counted = message.usage_metadata
        usage = {
            "prompt_tokens": counted["input_tokens"] if counted else 0,
            "completion_tokens": counted["output_tokens"] if counted else 0,
            "total_tokens": counted["total_tokens"] if counted else 0,
        }
        calls = _calls(message)
        finish = message.response_metadata.get("finish_reason")
        if finish is None:
            is_full = most_tokens is not None and usage["completion_tokens"] >= most_tokens
            finish = "length" if is_full else "stop"
        finish = next((one for one in _FINISHES if one in str(finish)), "stop")
        finish = "tool_calls" if calls and finish == "stop" else finish
        provenance = message.response_metadata.get("sleepmem") or {}
        return cls(message.text, calls, finish, usage, provenance)

    def with_text(self, text: str) -> Answered:
        """The same with this text instead of calls: an answer in a schema."""
        return replace(self, text=text, calls=[], finish="stop")


def deltas(message: AIMessage) -> list[dict[str, Any]]:
    """What a message, or a piece of one, adds to a stream."""
    found: list[dict[str, Any]] = []
    if message.text:
        found.append({"content": message.text})
    if isinstance(message, AIMessageChunk):
        calls: list[dict[str, Any]] = []
        for piece in message.tool_call_chunks:
            function = {"arguments": piece["args"] or ""}
            call: dict[str, Any] = {"index": piece["index"] or 0, "function": function}
            if piece["name"]:
                function["name"] = piece["name"]
            if piece["id"]:
                call |= {"id": piece["id"], "type": "function"}
            calls.append(call)
    else:
        calls = [{"index": index, **call} for index, call in enumerate(_calls(message))]
    if calls:
        found.append({"tool_calls": calls})
    return found


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for call in [*message.tool_calls, *message.invalid_tool_calls]:
        args = call["args"]
        written = args if isinstance(args, str) else json.dumps(args or {}, ensure_ascii=False)
        function = {"name": call["name"] or "", "arguments": written}
        calls.append({"id": call["id"] or "", "type": "function", "function": function})
    return calls
