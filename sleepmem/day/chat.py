"""A LangChain chat model over the base and the live experts of a namespace.

The experts are looked up at every call, so a promotion is picked up without a restart. The
namespace comes from the call (`model.bind(namespace=...)`), from the constructor, from the recall
node of the running graph, which hands it on with the gate's view, or from the graph's context or
config.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from sleepmem.day import calling
from sleepmem.day.calling import Part, Reading
from sleepmem.day.capture import RECALL_ID
from sleepmem.day.handed import Handed, handed_on
from sleepmem.day.namespace import Run
from sleepmem.day.structured import structured
from sleepmem.errors import ModelError
from sleepmem.model.replies import Reply
from sleepmem.model.tool_calls import CALL_END, Prompt
from sleepmem.records import Namespace, View, check_namespace
from sleepmem.text.prompts import ABSTENTION

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from pydantic import BaseModel


# The name of this kind of model: how the middleware tells it from foreign ones.
LLM_TYPE = "sleepmem"
_ROLES = {"human": "user", "ai": "assistant", "tool": "tool"}


class Call(NamedTuple):
    """What one call asks of the local model.

    tools    those it may call, as OpenAI describes them
    forced   those of which it must call one
    """

    prompt: Prompt
    tools: list[dict[str, Any]]
    forced: list[dict[str, Any]]
    experts: tuple[str, ...]
    max_tokens: int
    temperature: float
    abstention: str


class SleepChatModel(BaseChatModel):
    """Made by `SleepMemory.chat_model()`; batch and async come from LangChain.

    local       what speaks: a `sleepmem.model.local.LocalModel`, or a `day.served.ServedModel`
    live        names of a namespace's live experts, loaded into it
    holds       whether it can answer with them: a server may not have loaded them yet
    where       the namespace that the running graph names, or what stands for none
    namespace   whose experts answer, whatever the graph names
    view        what the gate decided, where the middleware tells it
    abstention  what the model says for a namespace when it does not know
    stop        texts that end an answer, where the call names none
    """

    local: Any
    live: Callable[[Namespace], tuple[str, ...]]
    holds: Callable[[Namespace], bool] = lambda namespace: True
    abstention: Callable[[Namespace], str] = lambda namespace: ABSTENTION
    where: Callable[[], Namespace | None]
    namespace: tuple[str, ...] | None = None
    view: View | None = None
    max_tokens: int = 64
    temperature: float = 0.0
    stop: list[str] | None = None

    @property
    def _llm_type(self) -> str:
        return LLM_TYPE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.local.name, "namespace": self.namespace}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may call.

        Args:
            tools: in any form that LangChain takes.
            tool_choice: "any" makes it call one, the name of a tool that one; "auto" by default.

        Raises:
            ModelError: nothing tells how this model calls tools, or no tool has that name.
        """
        shown = [convert_to_openai_tool(tool) for tool in tools]
        if not shown or tool_choice == "none":
            return self.bind(**kwargs)
        if self.local.call_format is None:
            raise ModelError(
                f"model {self.local.name!r} cannot be given tools: its chat template shows none, "
                "or nothing tells how it writes a call. Use an instruct model such as Qwen's or "
                "SmolLM2, or one whose tokenizer has a `response_template`."
            )
        calling.chosen(tool_choice, shown)
        return self.bind(tools=shown, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """The model that answers with what fits a schema, by a call that it must write.

        Args:
            schema: as LangChain takes it.
            include_raw: give the message, what was read of it, and the error, if any.
            kwargs: `method` and `strict`, which change nothing here.

        Raises:
            ModelError: nothing tells how this model calls tools; or, when it runs, what it wrote
                does not fit.
        """
        return structured(self, schema, include_raw=include_raw, options=kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs)
        message = self._forced(call) if call.forced else self._free(call)
        generation = ChatGeneration(message=message, generation_info=_why_it_ended(message))
        return ChatResult(generations=[generation])

    def _free(self, call: Call) -> AIMessage:
        """What the model says, or calls, of itself."""
        reply = self._reply(call, call.prompt, abstention=call.abstention)
        text, reading = _cut(reply.text, call.prompt.stop), self._reading(call)
        parts = [*reading.take(text), *reading.end()]
        return calling.message(parts, **self._about(call, reply._replace(text=text), parts))

    def _forced(self, call: Call) -> AIMessage:
        """A call of one of the tools, the likeliest of them."""
        replies = []

        def write(opening: str) -> str:
            prompt = replace(call.prompt, opening=opening, stop=(CALL_END,))
            replies.append(self._reply(call, prompt))
            return str(replies[-1].text)

        tool = self._likeliest(call) if len(call.forced) > 1 else call.forced[0]
        forced = calling.force(tool, write)
        confidence = min([1.0, *(reply.confidence for reply in replies)])
        # Whoever must call a tool is not asked whether it knows.
        is_whole = all(reply.is_whole for reply in replies)
        whole = Reply(forced.written, confidence, is_whole=is_whole)
        return calling.message([forced.call], **self._about(call, whole, [forced.call]))

    def _likeliest(self, call: Call) -> dict[str, Any]:
        """The tool whose name the model would write."""
        prompt = replace(call.prompt, opening='{"name": "')

        def likelihood(tool: dict[str, Any]) -> float:
            name = tool["function"]["name"]
            return float(self.local.abstention(prompt, call.experts, text=f'{name}"'))

        return max(call.forced, key=likelihood)

    def _reply(self, call: Call, prompt: Prompt, *, abstention: str = "") -> Any:
        (reply,) = self.local.reply(
            [prompt],
            call.experts,
            max_new_tokens=call.max_tokens,
            temperature=call.temperature,
            seed=random.getrandbits(32),
            abstention=abstention,
        )
        return reply

    def _reading(self, call: Call) -> Reading:
        if not call.tools and not call.prompt.in_control:
            return Reading(None)
        return Reading(self.local.call_parser(call.prompt, call.tools))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        about: dict[str, Any] = {}
        calls = 0
        for part in self._parts(call, about):
            chunk = ChatGenerationChunk(message=calling.chunk(part, calls))
            calls += not isinstance(part, str)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        last = AIMessageChunk(content="", chunk_position="last", **about)
        yield ChatGenerationChunk(message=last, generation_info=_why_it_ended(last))

    def _parts(self, call: Call, about: dict[str, Any]) -> Iterator[Part]:
        """The answer as it is generated, up to a stop; `about` is filled at its end.

        A call that must be written comes in one piece.
        """
        if call.forced:
            message = self._forced(call)
            yield from message.tool_calls
            yield from message.invalid_tool_calls
            about["usage_metadata"] = message.usage_metadata
            about["response_metadata"] = message.response_metadata
            return
        pieces = self.local.stream(
            call.prompt,
            call.experts,
            max_new_tokens=call.max_tokens,
            temperature=call.temperature,
        )
        shown, reading = _Shown(call.prompt.stop), self._reading(call)
        reply: Reply | None = None
        parts: list[Part] = []
        while not shown.over:
            try:
                fresh = shown.take(next(pieces))
            except StopIteration as end:
                fresh, reply = shown.rest(), end.value
            read = reading.take(fresh)
            yield from read
            parts += read
        left = reading.end()
        yield from left
        parts += left
        reply = _drained(pieces) if reply is None else reply
        abstention = self.local.abstention(call.prompt, call.experts, text=call.abstention)
        reply = reply._replace(text=shown.whole, abstention=abstention)
        about |= self._about(call, reply, parts)

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Call:
        if kwargs.get("model", self.local.name) != self.local.name:
            raise ModelError(
                f"model {kwargs['model']!r} was asked for, and the experts of this memory are of "
                f"{self.local.name!r}. Open a folder with the other model."
            )
        owner, view = self._decided(messages, kwargs)
        experts: tuple[str, ...] = ()
        abstention = ABSTENTION
        if owner is not None and view == View.WEIGHTS:
            experts, abstention = self.live(owner), self.abstention(owner)
        tools = kwargs.get("tools") or []
        return Call(
            self._prompt(messages, tools, stop or self.stop or ()),
            tools,
            calling.chosen(kwargs.get("tool_choice"), tools),
            experts,
            kwargs.get("max_tokens") or self.max_tokens,
            kwargs.get("temperature", self.temperature),
            abstention,
        )

    def _decided(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> Handed:
        """Whose memory it is, and whether the experts answer."""
        handed = handed_on(messages, Run.current())
        namespace = kwargs.get("namespace")
        if namespace is None:
            namespace = self.namespace
        if namespace is None:
            namespace = (handed and handed.owner) or self.where()
        owner = None if namespace is None else check_namespace(namespace)
        if any(message.id == RECALL_ID for message in messages):
            # What the context tells the base reads best.
            return Handed(owner, View.RETRIEVAL)
        view = kwargs.get("view", self.view)
        if view is None and handed is not None:
            # Of another's memory the gate did not say that the weights hold it.
            view = handed.view if handed.owner == owner else View.BASE
        return Handed(owner, View.WEIGHTS if view is None else view)

    def _prompt(
        self, messages: list[BaseMessage], tools: list[dict[str, Any]], stop: Sequence[str]
    ) -> Prompt:
        """The messages as the model is used to them, its calls of tools, too."""
        chat = chat_messages(messages)
        has_calls = tools or any(turn["role"] == "tool" or "tool_calls" in turn for turn in chat)
        call_format = self.local.call_format
        if call_format is None or not has_calls:
            return Prompt(chat, stop=tuple(stop))
        prompt: Prompt = call_format.prompt(chat, tools, stop=tuple(stop))
        return prompt

    def _about(self, call: Call, reply: Reply, parts: Sequence[Part]) -> dict[str, Any]:
        """What a message tells beside the answer."""
        asked = len(self.local.prompt_ids(call.prompt))
        answered = self.local.count_tokens(reply.text)
        usage = UsageMetadata(
            input_tokens=asked, output_tokens=answered, total_tokens=asked + answered
        )
        metadata = {
            "model_name": self.local.name,
            "experts": list(call.experts),
            "confidence": reply.confidence,
            "abstention": reply.abstention,
            "finish_reason": "stop" if reply.is_whole else "length",
        }
        if any(part["type"] == "tool_call" for part in parts if not isinstance(part, str)):
            metadata["finish_reason"] = "tool_calls"
        return {"usage_metadata": usage, "response_metadata": metadata}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """What tracing tools show of a call, under the names that they share."""
        params = LangSmithParams(
            ls_provider=LLM_TYPE,
            ls_model_name=kwargs.get("model", self.local.name),
            ls_model_type="chat",
            ls_temperature=kwargs.get("temperature", self.temperature),
            ls_max_tokens=kwargs.get("max_tokens") or self.max_tokens,
        )
        if stop or self.stop:
            params["ls_stop"] = stop or self.stop
        return params


class _Shown:
    """How much of an answer in pieces may be shown already: nothing that may begin a stop."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.over = False
        self._stop = stop
        self._held_back = max(map(len, stop or [""])) - 1
        self._text = self._shown = ""

    @property
    def whole(self) -> str:
        """All that was shown."""
        return self._shown

    def take(self, piece: str) -> str:
        """What may be shown since the last call."""
        self._text += piece
        whole = _cut(self._text, self._stop)
        if whole != self._text:
            self.over = True
            return self._advance(whole)
        safe = self._text[: len(self._text) - max(0, self._held_back)]
        return self._advance(safe.rstrip())

    def rest(self) -> str:
        """What is left to show when the model has ended."""
        self.over = True
        return self._advance(_cut(self._text.rstrip(), self._stop))

    def _advance(self, safe: str) -> str:
        if len(safe) <= len(self._shown):
            return ""
        fresh, self._shown = safe[len(self._shown) :], safe
        return fresh


def chat_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """LangChain messages as a chat template takes them: one system message, first."""
    system, turns = [], []
    for message in messages:
        if isinstance(message, SystemMessage):
            system.append(message.text)
        else:
            turns.append(_turn(message))
    text = "\n".join(system)
    return [{"role": "system", "content": text}, *turns] if text else turns


def _turn(message: BaseMessage) -> dict[str, Any]:
    turn: dict[str, Any] = {
        "role": _ROLES.get(message.type, "user"),
        "content": message.text,
    }
    if isinstance(message, ToolMessage):
        turn["tool_call_id"], turn["name"] = message.tool_call_id, message.name or ""
    calls = []
    for call in message.tool_calls if isinstance(message, AIMessage) else ():
        function = {"name": call["name"], "arguments": call["args"]}
        calls.append({"type": "function", "id": call["id"] or "", "function": function})
    return {**turn, "tool_calls": calls} if calls else turn


def _why_it_ended(message: AIMessage | AIMessageChunk) -> dict[str, str]:
    """Under the name that OpenAI and LangChain have for it."""
    return {"finish_reason": message.response_metadata["finish_reason"]}


def _drained(pieces: Iterator[str]) -> Reply:
    """An answer that was shown up to a stop, which ends the model, too."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            reply: Reply = end.value
            return reply


def _cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stops."""
    ends = [text.index(mark) for mark in stop if mark in text]
    return text[: min(ends)] if ends else text
