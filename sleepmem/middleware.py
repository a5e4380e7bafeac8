"""A middleware for LangChain's `create_agent`: recall before the model, observe as the turn goes.

The request is never changed in place. With a model of `SleepMemory.chat_model()` the gate may
answer from the weights; any other model does not hold them, so with it every turn retrieves. A turn
never dies of its memory: what fails is logged, and the turn goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
)
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.constants import TAG_NOSTREAM
from langgraph.runtime import Runtime
from langgraph.types import Command

import sleepmem.provider  # noqa: F401 - from here on LangChain knows it
from sleepmem.day.capture import HAND_OVER, turn_id
from sleepmem.day.chat import LLM_TYPE
from sleepmem.day.farewell import Phrases
from sleepmem.day.namespace import Owner, check_owner
from sleepmem.host import Host, with_memory
from sleepmem.memory import SleepMemory
from sleepmem.records import Recall, View

Handler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
AsyncHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


def _newest(_: str, newest: str) -> str:
    return newest


class _MemoryState(AgentState[Any]):
    """The agent's state, and the id of the last turn that reached the model."""

    sleepmem_heard: NotRequired[Annotated[str, PrivateStateAttr, _newest]]


class SleepMemoryMiddleware(AgentMiddleware):  # type: ignore[type-arg]
    """Gives an agent a memory.

    Args:
        memory: the open memory.
        namespace: whose memory: a template such as `("app", "{user_id}")` or a function of the
            runtime, which a run cannot change; or a tuple, for runs that name none themselves
            (`context={"namespace": (...)}`). By default who is authenticated, else the user that
            the run names (`user_id` in context or configurable).
        phrases: what the agent says when it is asked to forget something: that is answered without
            the model, and done only after a clear yes.

    Raises:
        NamespaceError: a brace of the template names nothing to fill in.
    """

    state_schema = _MemoryState

    def __init__(
        self, memory: SleepMemory, namespace: Owner = None, *, phrases: Phrases | None = None
    ) -> None:
        super().__init__()
        check_owner(namespace)
        self.memory, self.namespace = memory, namespace
        self.phrases = phrases or Phrases()
        # Not known before the model is first called with any.
        self._tools: set[str] | None = None

    def wrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> Any:
        self._observe(request)
        said = self._forgetting(request)
        if said is not None:
            return self._heard(request, ModelResponse(result=[said]))
        recalled = self._recall(request)
        response = handler(self._with(request, recalled))
        again = self._look_again(request, recalled, response)
        if again is not None:
            response = handler(self._with(request, again))
        return self._heard(request, self._traced(request, again or recalled, response))

    async def awrap_model_call(self, request: ModelRequest[Any], handler: AsyncHandler) -> Any:
        await asyncio.to_thread(self._observe, request)
        said = await asyncio.to_thread(self._forgetting, request)
        if said is not None:
            return self._heard(request, ModelResponse(result=[said]))
        recalled = await asyncio.to_thread(self._recall, request)
        response = await handler(self._with(request, recalled))
        again = await asyncio.to_thread(self._look_again, request, recalled, response)
        if again is not None:
            response = await handler(self._with(request, again))
        traced = await asyncio.to_thread(self._traced, request, again or recalled, response)
        return self._heard(request, traced)

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        """Store what came of the turn; nothing of one that was blocked before the model."""
        host = self._host(state["messages"], runtime)
        if state.get("sleepmem_heard") == _turn_of(state["messages"]):
            host.observe(self._tools, ended=True)
        else:
            host.leave_out()

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        await asyncio.to_thread(self.after_agent, state, runtime)

    def _heard(
        self, request: ModelRequest[Any], response: ModelResponse[Any]
    ) -> ExtendedModelResponse[Any]:
        """The response, and for the end of the turn that it reached the model."""
        heard = {"sleepmem_heard": _turn_of(request.state.get("messages") or request.messages)}
        return ExtendedModelResponse(response, Command(update=heard))

    def _host(self, messages: Sequence[BaseMessage], runtime: Any) -> Host:
        return Host.of(self.memory, messages, namespace=self.namespace, runtime=runtime)

    def _observe(self, request: ModelRequest[Any]) -> None:
        """Store what the user said before the model can fail on it.

        Not sooner: what other middlewares redact or block is not to be kept.
        """
        if request.tools:
            self._tools = (self._tools or set()).union(_names_of(request.tools))
        messages = request.state.get("messages") or request.messages
        if messages and isinstance(messages[-1], HumanMessage):
            self._host(messages, request.runtime).observe(self._tools or ())

    def _forgetting(self, request: ModelRequest[Any]) -> AIMessage | None:
        """What is said about forgetting, instead of what the model would say."""
        return self._host(request.messages, request.runtime).forgetting(self.phrases)

    def _recall(self, request: ModelRequest[Any]) -> Recall | None:
        """What the model gets; None when the user says nothing that needs any."""
        host = self._host(request.messages, request.runtime)
        # Once a turn: after a tool has answered, the same question is no new one.
        return host.recall(holds_experts=_is_ours(request), log=host.is_asked_now)

    def _look_again(
        self, request: ModelRequest[Any], recalled: Recall | None, response: ModelResponse[Any]
    ) -> Recall | None:
        """What everything that holds has, when the weights do not know or are not sure."""
        reply = _answer(response)
        if recalled is None or reply is None:
            return None
        if not _may_be_of(recalled, reply) and not reply.tool_calls:
            # What the weights hold another model does not know, whatever it says.
            reply = AIMessage("", response_metadata={"abstention": 0.0})
        return self._host(request.messages, request.runtime).look_again(recalled, reply)

    def _traced(
        self, request: ModelRequest[Any], recalled: Recall | None, response: ModelResponse[Any]
    ) -> ModelResponse[Any]:
        """The response, its answer with where it came from."""
        if recalled is None:
            return response
        host = self._host(request.messages, request.runtime)
        result: list[BaseMessage] = []
        for message in response.result:
            if isinstance(message, AIMessage) and _may_be_of(recalled, message):
                message = host.traced(message, recalled)
            result.append(message)
        return replace(response, result=result)

    def _with(self, request: ModelRequest[Any], recalled: Recall | None) -> ModelRequest[Any]:
        """The request with what was recalled; ours also learns whose it is, and the view."""
        host = self._host(request.messages, request.runtime)
        if _is_ours(request):
            view = View.BASE if recalled is None else recalled.view
            told: dict[str, Any] = {"namespace": host.owner, "view": view}
            if view is View.WEIGHTS:
                # It may be taken back: what is streamed must be the one answer that stands.
                told["tags"] = [*(request.model.tags or []), TAG_NOSTREAM]
            # No setting of the call: a model that steps in for it would be given it, too.
            request = request.override(model=request.model.model_copy(update=told))
        block = host.context(recalled)
        if not block:
            return request
        return request.override(system_message=with_memory(request.system_message, block))


def _turn_of(messages: Sequence[BaseMessage]) -> str:
    return turn_id(messages) or ""


def _answer(response: ModelResponse[Any]) -> AIMessage | None:
    """What the model answered: the call that it may write a structured answer as is an answer."""
    if response.structured_response is None:
        last = response.result[-1] if response.result else None
        return last if isinstance(last, AIMessage) else None
    for message in reversed(response.result):
        if isinstance(message, AIMessage):
            return message.model_copy(update={"tool_calls": []})
    return None


def _may_be_of(recalled: Recall, reply: AIMessage) -> bool:
    """Whether the reply may come of what was recalled: from the weights none of another model."""
    return recalled.view is not View.WEIGHTS or "experts" in reply.response_metadata


def _is_ours(request: ModelRequest[Any]) -> bool:
    return getattr(request.model, "_llm_type", "") == LLM_TYPE


def _names_of(tools: Any) -> list[str]:
    """Names of the agent's own tools, of objects and of providers' descriptions.

    Not of those that lead the graph: plans, hand-overs.
    """
    names = []
    for one in tools:
        if isinstance(one, dict):
            # As OpenAI describes them, or as providers name their own.
            name = (one.get("function") or one).get("name")
        else:
            name = getattr(one, "name", None)
        if name and not _leads_graph(one):
            names.append(str(name))
    return names


def _leads_graph(tool: Any) -> bool:
    """Whether a tool returns nothing but a `Command`, or hands over to another agent."""
    functions = (getattr(tool, name, None) for name in ("func", "coroutine", "_run"))
    function = next((one for one in functions if one is not None), None)
    returned = getattr(function, "__annotations__", {}).get("return")
    # Written as text, or as it is; of any state.
    name = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
    plain = name.partition("[")[0].rpartition(".")[2]
    is_command = plain == Command.__name__ and "|" not in name
    return is_command or not HAND_OVER.isdisjoint(getattr(tool, "metadata", None) or {})
