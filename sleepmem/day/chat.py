"""A LangChain chat model over the base and the live experts of a namespace.

The experts are looked up at every call, so a promotion is picked up without a restart. The
namespace comes from the call (`model.bind(namespace=...)`, which the middleware does, with the
gate's view), from the running graph's context or config, or from the constructor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from sleepmem.day.capture import RECALL_ID
from sleepmem.errors import ModelError
from sleepmem.records import Namespace, View, check_namespace
from sleepmem.text.prompts import ABSTENTION

# The name of this kind of model: how the middleware tells it from foreign ones.
LLM_TYPE = "sleepmem"
_ROLES = {"human": "user", "ai": "assistant", "tool": "tool"}


class Call(NamedTuple):
    """What one call asks of the local model."""

    chat: list[dict[str, str]]
    experts: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    abstention: str


class SleepChatModel(BaseChatModel):
    """Made by `SleepMemory.chat_model()`; batch, stream and async come from LangChain.

    local       the `sleepmem.model.local.LocalModel` that speaks
    live        names of a namespace's live experts, loaded into it
    where       the namespace that the running graph names
    namespace   the one to use when neither the call nor the graph names any
    abstention  what the model says for a namespace when it does not know
    """

    local: Any
    live: Callable[[Namespace], tuple[str, ...]]
    abstention: Callable[[Namespace], str] = lambda namespace: ABSTENTION
    where: Callable[[], Namespace | None]
    namespace: tuple[str, ...] | None = None
    max_new_tokens: int = 64
    temperature: float = 0.0

    @property
    def _llm_type(self) -> str:
        return LLM_TYPE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.local.name, "namespace": self.namespace}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        raise ModelError(
            "the chat model of a memory calls no tools yet, so it cannot be given any. Give the "
            "tools to an agent with a model of your own and the middleware, or call them in your "
            "graph and pass their results on as tool messages."
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, kwargs)
        (reply,) = self.local.reply(
            [call.chat],
            call.experts,
            max_new_tokens=call.max_new_tokens,
            temperature=call.temperature,
            seed=random.getrandbits(32),
            abstention=call.abstention,
        )
        text = _cut(reply.text, stop)
        metadata = self._metadata(call.experts, reply.confidence, reply.abstention)
        usage = self._usage(call, text)
        message = AIMessage(text, usage_metadata=usage, response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, kwargs)
        pieces = self.local.stream(
            call.chat,
            call.experts,
            max_new_tokens=call.max_new_tokens,
            temperature=call.temperature,
        )
        shown = _Shown(stop)
        confidence = yield from self._show(pieces, shown, run_manager)
        abstention = self.local.abstention(call.chat, call.experts, text=call.abstention)
        metadata = self._metadata(call.experts, confidence, abstention)
        last = AIMessageChunk(
            content="",
            chunk_position="last",
            usage_metadata=self._usage(call, shown.whole),
            response_metadata=metadata,
        )
        yield ChatGenerationChunk(message=last)

    def _show(
        self,
        pieces: Generator[str, None, float],
        shown: _Shown,
        run_manager: CallbackManagerForLLMRun | None,
    ) -> Generator[ChatGenerationChunk, None, float]:
        """The pieces as chunks, up to a stop; returns how sure the model was."""
        confidence = 1.0
        while not shown.over:
            try:
                fresh = shown.take(next(pieces))
            except StopIteration as end:
                fresh, confidence = shown.rest(), end.value
            if fresh:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=fresh))
                if run_manager:
                    run_manager.on_llm_new_token(fresh, chunk=chunk)
                yield chunk
        return confidence

    def _call(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> Call:
        namespace = kwargs.get("namespace")
        if namespace is None:
            namespace = self.where()
        if namespace is None:
            namespace = self.namespace
        # What the context tells, by the gate or by `recall_node`, the base reads best.
        recalled = any(message.id == RECALL_ID for message in messages)
        from_weights = kwargs.get("view", View.WEIGHTS) == View.WEIGHTS and not recalled
        experts: tuple[str, ...] = ()
        abstention = ABSTENTION
        if namespace is not None and from_weights:
            owner = check_namespace(namespace)
            experts, abstention = self.live(owner), self.abstention(owner)
        return Call(
            chat_messages(messages),
            experts,
            kwargs.get("max_tokens") or self.max_new_tokens,
            kwargs.get("temperature", self.temperature),
            abstention,
        )

    def _usage(self, call: Call, text: str) -> UsageMetadata:
        asked, answered = len(self.local.prompt_ids(call.chat)), self.local.count_tokens(text)
        return UsageMetadata(
            input_tokens=asked, output_tokens=answered, total_tokens=asked + answered
        )

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """What tracing tools show of a call, under the names that they share."""
        params = LangSmithParams(
            ls_provider=LLM_TYPE,
            ls_model_name=self.local.name,
            ls_model_type="chat",
            ls_temperature=kwargs.get("temperature", self.temperature),
            ls_max_tokens=kwargs.get("max_tokens") or self.max_new_tokens,
        )
        if stop:
            params["ls_stop"] = stop
        return params

    def _metadata(
        self, experts: tuple[str, ...], confidence: float, abstention: float
    ) -> dict[str, Any]:
        return {
            "model_name": self.local.name,
            "experts": list(experts),
            "confidence": confidence,
            "abstention": abstention,
        }


class _Shown:
    """How much of an answer in pieces may be shown already: nothing that may begin a stop."""

    def __init__(self, stop: list[str] | None) -> None:
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


def chat_messages(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """LangChain messages as a chat template takes them: one system message, first."""
    system, turns = [], []
    for message in messages:
        if isinstance(message, SystemMessage):
            system.append(message.text)
        else:
            turns.append({"role": _ROLES.get(message.type, "user"), "content": message.text})
    text = "\n".join(system)
    return [{"role": "system", "content": text}, *turns] if text else turns


def _cut(text: str, stop: list[str] | None) -> str:
    """The text up to the first of the stops."""
    ends = [text.index(mark) for mark in stop or [] if mark in text]
    return text[: min(ends)] if ends else text
