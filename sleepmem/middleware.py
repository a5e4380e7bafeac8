"""A middleware for LangChain's `create_agent`: recall before the model, observe after the turn.

The request is never changed in place. With a model of `SleepMemory.chat_model()` the gate may answer from the weights; any other model does not hold them,
so with it every question retrieves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from sleepmem.day.capture import asks, question
from sleepmem.day.namespace import current_namespace
from sleepmem.memory import DEFAULT_NAMESPACE, SleepMemory
from sleepmem.records import Namespace, Recall, View


class SleepMemoryMiddleware(AgentMiddleware):  # type: ignore[type-arg]
    """Gives an agent a memory.

    Args:
        memory: the open memory.
        namespace: whose memory, when the agent is invoked without `context={"namespace": (...)}`.
    """

    def __init__(self, memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
        super().__init__()
        self.memory, self.namespace = memory, namespace

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> Any:
        owner, asked = self._prepare(request)
        found = self._recall(request, owner, asked)
        response = handler(self._with(request, owner, found))
        if (again := self._archive(owner, asked, found, response)) is not None:
            response = handler(self._with(request, owner, again))
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Any:
        owner, asked = self._prepare(request)
        found = await asyncio.to_thread(self._recall, request, owner, asked)
        response = await handler(self._with(request, owner, found))
        if (
            again := await asyncio.to_thread(self._archive, owner, asked, found, response)
        ) is not None:
            response = await handler(self._with(request, owner, again))
        return response

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        self.memory.observe_messages(
            current_namespace(runtime) or self.namespace, state["messages"]
        )

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        await asyncio.to_thread(self.after_agent, state, runtime)

    def _prepare(self, request: ModelRequest[Any]) -> tuple[Namespace, str | None]:
        """The owner, and what the user asked in this turn (tools may have answered since)."""
        asked = next(
            (m.text for m in reversed(request.messages) if isinstance(m, HumanMessage)), ""
        )
        return current_namespace(request.runtime) or self.namespace, asked if asks(asked) else None

    def _recall(
        self, request: ModelRequest[Any], owner: Namespace, asked: str | None
    ) -> Recall | None:
        if asked is None:
            return None
        found = self.memory.recall(owner, asked, log=question(request.messages) is not None)
        if found.view is View.WEIGHTS and not _ours(request):
            found = self.memory.search_archive(owner, asked)
        return found

    def _archive(
        self,
        owner: Namespace,
        asked: str | None,
        found: Recall | None,
        response: ModelResponse[Any],
    ) -> Recall | None:
        """What the archive holds, when the model admits that it does not know or is not sure."""
        last = response.result[-1] if response.result else None
        if (
            asked is None
            or found is None
            or not isinstance(last, AIMessage)
            or not self.memory.should_search_archive(found, last)
        ):
            return None
        again = self.memory.search_archive(owner, asked)
        return again if again.episodes else None

    def _with(
        self, request: ModelRequest[Any], owner: Namespace, found: Recall | None
    ) -> ModelRequest[Any]:
        view = {"view": found.view.value} if found else {}
        changed = (
            request.override(model_settings={**request.model_settings, "namespace": owner, **view})
            if _ours(request)
            else request
        )
        if found is None or not found.episodes:
            return changed
        return changed.override(
            system_message=SystemMessage(self.memory.context(found, request.system_prompt or ""))
        )


def _ours(request: ModelRequest[Any]) -> bool:
    return getattr(request.model, "_llm_type", "") == "sleepmem"
