"""LangGraph nodes for a graph of one's own: recall before the model, observe after it, sleep when tired.

The nodes read and write `messages` (LangGraph's convention) and leave every other key of the state alone. The namespace comes from the graph's context
or config (`context={"namespace": ("alice",)}`), else from the node's argument. All of them run sync and async.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from sleepmem.day.capture import RECALL_ID, question
from sleepmem.day.namespace import current_namespace
from sleepmem.memory import DEFAULT_NAMESPACE, SleepMemory
from sleepmem.records import Namespace, View

Update = dict[str, list[BaseMessage]]


def recall_node(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE, weights: bool = True
) -> Runnable[Any, Update]:
    """Put what the gate recalls for the user's question into `messages`, as one system message that every turn replaces.

    Args:
        memory: the open memory.
        namespace: whose memory, when the graph is invoked without one.
        weights: False when the graph's model is not `memory.chat_model()`: it holds no experts, so every question retrieves.
    """

    def recall(state: Mapping[str, Any]) -> Update:
        messages = state["messages"]
        context, owner = "", current_namespace() or namespace
        if asked := question(messages):
            found = memory.recall(owner, asked)
            context = memory.context(
                found
                if weights or found.view is not View.WEIGHTS
                else memory.search_archive(owner, asked)
            )
        if context:
            return {"messages": [SystemMessage(context, id=RECALL_ID)]}
        return {
            "messages": [RemoveMessage(RECALL_ID)]
            if any(m.id == RECALL_ID for m in messages)
            else []
        }

    return _node(recall, "recall")


def observe_node(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE
) -> Runnable[Any, Update]:
    """Store what was said in `messages` and is not stored yet. Changes nothing in the state."""

    def observe(state: Mapping[str, Any]) -> Update:
        memory.observe_messages(current_namespace() or namespace, state["messages"])
        return {"messages": []}

    return _node(observe, "observe")


def sleep_branch(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A compiled subgraph that sleeps once. It streams the night's progress as custom events and keeps its own checkpoints, so a
    night that was killed goes on when the branch runs again."""

    def sleep(state: Mapping[str, Any]) -> Update:
        memory.sleep(current_namespace() or namespace, on_event=get_stream_writer())
        return {"messages": []}

    branch = StateGraph(MessagesState)
    branch.add_node("night", _node(sleep, "night"))
    branch.add_edge(START, "night")
    branch.add_edge("night", END)
    return branch.compile()


def is_tired(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE
) -> Callable[[Any], bool]:
    """For `add_conditional_edges`: whether the buffer holds enough for a night."""

    def tired(state: Any) -> bool:
        return memory.is_tired(current_namespace() or namespace)

    return tired


def _node(sync: Callable[[Mapping[str, Any]], Update], name: str) -> Runnable[Any, Update]:
    async def twin(state: Mapping[str, Any]) -> Update:
        return await asyncio.to_thread(sync, state)

    return RunnableLambda(sync, afunc=twin, name=name)
