"""One turn: LangChain's agent with sleepmem's middleware, around the model that answers.

What is stored, recalled and traced is the middleware's. Here is only what a client of OpenAI
leaves out: it sends the whole conversation with each turn, and of what the agent said the bare
words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage

from sleepmem import Phrases, SleepMemory
from sleepmem.graph import forget_node, is_to_forget
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.records import Namespace
from sleepmem_openai.protocol import Answered, ChatRequest, Conversation, deltas
from sleepmem_openai.upstream import Backend

_PHRASES = Phrases()
# Under which an answer tells what the memory did, as `response_metadata` has it.
_OURS = "sleepmem"


class _Choice(AgentMiddleware):  # type: ignore[type-arg]
    """Tells the model which tool it must call; an agent has no other way to say it."""

    def __init__(self, tool_choice: Any) -> None:
        super().__init__()
        self._tool_choice = tool_choice

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        if request.tools:
            request = request.override(tool_choice=self._tool_choice)
        return await handler(request)


@dataclass(frozen=True)
class Turn:
    """What a client asks, of whose memory.

    owner    whose memory; nothing in the request changes it any more
    thread   what the client calls the conversation
    """

    memory: SleepMemory
    backend: Backend
    owner: Namespace
    request: ChatRequest
    thread: str | None = None

    async def answer(self) -> Answered:
        """The whole answer."""
        found: list[Answered] = []
        async for _, answered in self.pieces():
            if answered is not None:
                found.append(answered)
        return found[-1]

    async def pieces(self) -> AsyncIterator[tuple[dict[str, Any], Answered | None]]:
        """What the stream gets, one by one: pieces of the answer, then how it ended.

        Raises:
            GatewayError: it cannot be asked so.
            Exception: whatever the model raises.
        """
        agent, messages = await self._agent()
        is_structured = self.backend.schema(self.request) is not None
        state: dict[str, Any] = {}
        configurable = {} if self.thread is None else {"thread_id": self.thread}
        stream = agent.astream(
            {"messages": messages},
            {"configurable": configurable},
            stream_mode=["messages", "values"],
        )
        async for mode, value in stream:
            if mode == "values":
                state = value
            elif isinstance(value[0], AIMessage) and not is_structured:
                for delta in deltas(value[0]):
                    yield delta, None
        last = next(one for one in reversed(state["messages"]) if isinstance(one, AIMessage))
        answered = Answered.of(last, most_tokens=self.backend.most_tokens(self.request))
        if is_structured and state.get("structured_response") is not None:
            answered = answered.with_text(
                json.dumps(state["structured_response"], ensure_ascii=False)
            )
            yield {"content": answered.text}, None
        yield {}, answered

    async def _agent(self) -> tuple[Any, list[BaseMessage]]:
        request = self.request
        conversation = Conversation.read(request.messages, self.thread)
        messages = await asyncio.to_thread(self._with_question, conversation.messages)

        def whose(_: Any) -> Namespace:
            return self.owner

        schema = self.backend.schema(request)
        # An answer in a schema is a call that must be made; then it is the only one.
        is_alone = schema is not None and request.tool_choice == "none"
        agent: Any = create_agent(
            self.backend.model(request),
            tools=[] if is_alone else request.tools or [],
            system_prompt=conversation.system,
            middleware=[SleepMemoryMiddleware(self.memory, whose), _Choice(request.tool_choice)],
            response_format=schema,
        )
        return agent, messages

    def _with_question(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The messages; where the agent had asked whether to forget something, what that was.

        Clients send its words alone. It is asked anew, which changes nothing; only where it asks
        the same does a yes count.
        """
        found = list(messages)
        for place in range(1, len(found) - 1):
            said, reply = found[place], found[place + 1]
            if not isinstance(said, AIMessage) or not said.text.startswith(_PHRASES.asks):
                continue
            # Of an earlier one nothing is known but that it was asked.
            asked: dict[str, Any] = {"forget": [""], "of": reply.name}
            if place == len(found) - 2:
                asked = self._asked_again(found[:place], said) or asked
            found[place] = said.model_copy(update={"response_metadata": {_OURS: asked}})
        return found

    def _asked_again(self, before: list[BaseMessage], said: AIMessage) -> dict[str, Any] | None:
        """What is asked of these messages, when it is in the same words."""

        def whose(_: Any) -> Namespace:
            return self.owner

        state = {"messages": before}
        if not is_to_forget(self.memory, whose)(state):
            return None
        told = forget_node(self.memory, whose).invoke(state)["messages"]
        if len(told) != 1 or told[0].text != said.text:
            return None
        asked: dict[str, Any] = told[0].response_metadata.get(_OURS) or {}
        return asked
