"""LangGraph nodes for a graph of one's own: recall before the model, observe after it, sleep when
tired.

The nodes read and write `messages` (LangGraph's convention) and leave every other key of the state
alone. The namespace comes from the graph's context or config (`context={"namespace": ("alice",)}`),
else from the node's argument. All of them run sync and async.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from sleepmem._async import async_twin
from sleepmem.day.capture import RECALL_ID, last_question, question
from sleepmem.day.namespace import current_namespace
from sleepmem.memory import DEFAULT_NAMESPACE, SleepMemory
from sleepmem.records import Namespace

Update = dict[str, list[BaseMessage]]


def recall_node(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE, *, weights: bool = True
) -> Runnable[Any, Update]:
    """Put what the gate recalls for the user's question into `messages`.

    It is one system message that every turn replaces.

    Args:
        memory: the open memory.
        namespace: whose memory, when the graph is invoked without one.
        weights: False when the graph's model is not `memory.chat_model()`: it holds no experts, so
            every question retrieves.
    """

    def recall(state: Mapping[str, Any]) -> Update:
        messages, context = state["messages"], ""
        asked = question(messages)
        if asked is not None:
            owner = current_namespace() or namespace
            context = memory.context(memory.recall(owner, asked, holds_experts=weights))
        if context:
            return {"messages": [SystemMessage(context, id=RECALL_ID)]}
        is_stale = any(message.id == RECALL_ID for message in messages)
        return {"messages": [RemoveMessage(RECALL_ID)] if is_stale else []}

    return _node(recall, "recall")


def is_unsure(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE
) -> Callable[[Any], bool]:
    """For `add_conditional_edges` after the model: whether `look_again_node` should follow.

    The answer admits not knowing, or comes unsure from the weights, and the archive, which was not
    searched yet, holds something about the question.
    """

    def unsure(state: Mapping[str, Any]) -> bool:
        return bool(_look_again(memory, current_namespace() or namespace, state["messages"]))

    return unsure


def look_again_node(
    memory: SleepMemory, namespace: Namespace = DEFAULT_NAMESPACE
) -> Runnable[Any, Update]:
    """Take an unsure answer back, and put what the archive holds into `messages`.

    Lead from here to the model again. It looks no third time.
    """

    def look_again(state: Mapping[str, Any]) -> Update:
        owner, messages = current_namespace() or namespace, state["messages"]
        context = _look_again(memory, owner, messages, log=True)
        if not context:
            return {"messages": []}
        answer = RemoveMessage(messages[-1].id)
        return {"messages": [answer, SystemMessage(context, id=RECALL_ID)]}

    return _node(look_again, "look_again")


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
    """A compiled subgraph that sleeps once.

    It streams the night's progress as custom events and keeps its own checkpoints, so a night that
    was killed goes on when the branch runs again.
    """

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


def _look_again(
    memory: SleepMemory, owner: Namespace, messages: list[BaseMessage], *, log: bool = False
) -> str:
    """The context that a second look would give; empty when the answer stands."""
    asked, reply = last_question(messages), messages[-1] if messages else None
    if asked is None or not isinstance(reply, AIMessage):
        return ""
    first = memory.last_look(owner, asked)
    if first is None:
        return ""
    again = memory.second_look(owner, asked, first=first, reply=reply, log=log)
    return memory.context(again) if again else ""


def _node(sync: Callable[[Mapping[str, Any]], Update], name: str) -> Runnable[Any, Update]:
    return RunnableLambda(sync, afunc=async_twin(sync), name=name)
