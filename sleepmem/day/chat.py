"""A LangChain chat model over the base and the live experts of a namespace.

The experts are looked up at every call, so a promotion is picked up without a restart. The namespace comes from the call
(`model.bind(namespace=...)`, which the middleware does, with the gate's view), from the running graph's context or config, or from the constructor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from sleepmem.day.capture import RECALL_ID
from sleepmem.errors import ModelError
from sleepmem.records import Namespace, View, check_namespace

_ROLES = {"human": "user", "ai": "assistant", "tool": "tool"}


class SleepChatModel(BaseChatModel):
    """Made by `SleepMemory.chat_model()`; batch, stream and async come from LangChain."""

    local: Any  # sleepmem.model.local.LocalModel
    live: Callable[[Namespace], tuple[str, ...]]
    where: Callable[[], Namespace | None]
    namespace: tuple[str, ...] | None = None
    max_new_tokens: int = 64
    temperature: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "sleepmem"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.local.name, "namespace": self.namespace}

    def _call(
        self, messages: list[BaseMessage], kwargs: dict[str, Any]
    ) -> tuple[list[dict[str, str]], tuple[str, ...], int, float]:
        namespace = next(
            (n for n in (kwargs.get("namespace"), self.where(), self.namespace) if n is not None),
            None,
        )
        recalled = any(m.id == RECALL_ID for m in messages)  # by `recall_node`
        proven = (
            kwargs.get("view", View.WEIGHTS) == View.WEIGHTS and not recalled
        )  # what the context tells, the base reads best
        experts = self.live(check_namespace(namespace)) if namespace is not None and proven else ()
        return (
            chat_messages(messages),
            experts,
            kwargs.get("max_tokens") or self.max_new_tokens,
            kwargs.get("temperature", self.temperature),
        )

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        raise ModelError(
            "the chat model of a memory calls no tools yet, so it cannot be given any. Give the tools to an agent with a model of your own "
            "and the middleware, or call them in your graph and pass their results on as tool messages."
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chat, experts, most, temperature = self._call(messages, kwargs)
        made = self.local.reply([chat], experts, most, temperature, random.getrandbits(32))[0]
        text = _cut(made.text, stop)
        asked, said = len(self.local.prompt_ids(chat)), self.local.count_tokens(text)
        usage = UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)
        message = AIMessage(
            text, usage_metadata=usage, response_metadata=self._metadata(experts, made.confidence)
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chat, experts, most, temperature = self._call(messages, kwargs)
        held = max(map(len, stop or [""])) - 1  # characters that may be the beginning of a stop
        said = shown = ""

        def show(safe: str) -> Iterator[ChatGenerationChunk]:
            nonlocal shown
            if len(safe) > len(shown):
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=safe[len(shown) :]))
                shown = safe
                if run_manager:
                    run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                yield chunk

        pieces, confidence = self.local.stream(chat, experts, most, temperature), 1.0
        while True:
            try:
                said += next(pieces)
            except StopIteration as end:
                whole, confidence = _cut(said.rstrip(), stop), end.value
                break
            if (whole := _cut(said, stop)) != said:
                break
            yield from show(said[: len(said) - max(0, held)].rstrip())
        yield from show(whole)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                chunk_position="last",
                response_metadata=self._metadata(experts, confidence),
            )
        )

    def _metadata(self, experts: tuple[str, ...], confidence: float) -> dict[str, Any]:
        return {"model_name": self.local.name, "experts": list(experts), "confidence": confidence}


def chat_messages(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """LangChain messages as a chat template takes them: one system message, first."""
    system = "\n".join(m.text for m in messages if isinstance(m, SystemMessage))
    rest = [
        {"role": _ROLES.get(m.type, "user"), "content": m.text}
        for m in messages
        if not isinstance(m, SystemMessage)
    ]
    return [{"role": "system", "content": system}, *rest] if system else rest


def _cut(text: str, stop: list[str] | None) -> str:
    ends = [text.index(s) for s in stop or [] if s in text]
    return text[: min(ends)] if ends else text
