"""A middleware for LangChain's `create_agent`: recall before the model, observe after the turn.

The request is never changed in place. With a model of `SleepMemory.chat_model()` the gate may
answer from the weights; any other model does not hold them, so with it every question retrieves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, SystemMessage
from langgraph.runtime import Runtime

from sleepmem.day.capture import last_question, question
from sleepmem.day.chat import LLM_TYPE
from sleepmem.day.namespace import current_namespace
from sleepmem.memory import DEFAULT_NAMESPACE, SleepMemory
from sleepmem.records import Namespace, Recall

Handler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
AsyncHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


class SleepMemoryMiddleware(AgentMiddleware):  # type: ignore[type-arg]
    """Gives an agent a memory.

    Args:
        memory: the open memory.
        namespace: whose memory, when the agent is invoked without
            `context={"namespace": (...)}`.
    """

    def __init__(self, memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
        super().__init__()
        self.memory, self.namespace = memory, namespace

    def wrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> Any:
        recalled = self._recall(request)
        response = handler(self._with(request, recalled))
        again = self._look_again(request, recalled, response)
        return response if again is None else handler(self._with(request, again))

    async def awrap_model_call(self, request: ModelRequest[Any], handler: AsyncHandler) -> Any:
        recalled = await asyncio.to_thread(self._recall, request)
        response = await handler(self._with(request, recalled))
        again = await asyncio.to_thread(self._look_again, request, recalled, response)
        return response if again is None else await handler(self._with(request, again))

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        owner = current_namespace(runtime) or self.namespace
        self.memory.observe_messages(owner, state["messages"])

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        await asyncio.to_thread(self.after_agent, state, runtime)

    def _owner(self, request: ModelRequest[Any]) -> Namespace:
        return current_namespace(request.runtime) or self.namespace

    def _recall(self, request: ModelRequest[Any]) -> Recall | None:
        """What the model gets; None when the user asks nothing in this turn."""
        asked = last_question(request.messages)
        if asked is None:
            return None
        # Once a turn: after a tool has answered, the same question is no new one.
        is_first_call = question(request.messages) is not None
        return self.memory.recall(
            self._owner(request), asked, holds_experts=_is_ours(request), log=is_first_call
        )

    def _look_again(
        self, request: ModelRequest[Any], recalled: Recall | None, response: ModelResponse[Any]
    ) -> Recall | None:
        """What the archive holds, when the model does not know or is not sure."""
        asked = last_question(request.messages)
        reply = response.result[-1] if response.result else None
        if asked is None or recalled is None or not isinstance(reply, AIMessage):
            return None
        return self.memory.second_look(self._owner(request), asked, first=recalled, reply=reply)

    def _with(self, request: ModelRequest[Any], recalled: Recall | None) -> ModelRequest[Any]:
        """The request with what was recalled; ours also learns whose it is, and the view."""
        if _is_ours(request):
            settings = {**request.model_settings, "namespace": self._owner(request)}
            if recalled is not None:
                settings["view"] = recalled.view.value
            request = request.override(model_settings=settings)
        if recalled is None or not recalled.episodes:
            return request
        system = self.memory.context(recalled, request.system_prompt or "")
        return request.override(system_message=SystemMessage(system))


def _is_ours(request: ModelRequest[Any]) -> bool:
    return getattr(request.model, "_llm_type", "") == LLM_TYPE
