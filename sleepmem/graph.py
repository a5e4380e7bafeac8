"""LangGraph nodes for a graph of one's own: recall before the model, observe after it, sleep when
tired.

The nodes read and write `messages` (LangGraph's convention) and leave every other key of the state
alone. Whose memory it is comes from the node's argument, when it is a template or a function; else
from who is authenticated, from the graph's context or config (`context={"namespace": ("alice",)}`,
or a `user_id`), or from the argument. All of them run sync and async, and none ends a turn: what
fails is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt

from sleepmem._async import async_twin
from sleepmem.day.capture import RECALL_ID
from sleepmem.day.farewell import Phrases
from sleepmem.day.handed import hand_on, handed_on
from sleepmem.day.namespace import Owner, Run
from sleepmem.errors import GraphError
from sleepmem.host import Host
from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace, Recall, View

Update = dict[str, list[BaseMessage]]


def recall_node(
    memory: SleepMemory, namespace: Owner = None, *, weights: bool = True, store: bool = True
) -> Runnable[Any, Update]:
    """Put what the user's words need into `messages`, and store these words.

    It is one system message, after those that lead the conversation, which every turn replaces.
    The message that asks tells `memory.chat_model()` whose memory it is and what the gate decided.

    Args:
        memory: the open memory.
        namespace: whose memory: a template such as `("app", "{user_id}")`, a function of the
            runtime, or a tuple for runs that name none themselves.
        weights: False when the graph's model is not `memory.chat_model()`: it holds no experts, so
            every turn retrieves.
        store: whether the words are stored now, when the turn begins, and so survive it.
    """

    def recall(state: Mapping[str, Any]) -> Update:
        messages = _messages_of(state)
        host = Host.of(memory, messages, namespace=namespace)
        if store:
            host.observe()
        else:
            host.keep_owner()
        recalled = host.recall(holds_experts=weights) if host.is_asked_now else None
        marked = _marked(host, messages, recalled) if weights else None
        return {"messages": _placed(messages, host.context(recalled), marked=marked)}

    return _node(recall, "recall")


def _messages_of(state: Any) -> list[BaseMessage]:
    """The conversation, in any form that LangChain takes.

    Raises:
        GraphError: the state has none, or does not keep it as LangGraph does: what the nodes return
            would take its place, and everything that was said would be gone.
    """
    kept = state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", None)
    if not isinstance(kept, list):
        raise GraphError(
            f"the state holds {type(kept).__name__} under 'messages'; sleepmem's nodes read and "
            "write a list of messages there. Build the graph on MessagesState."
        )
    messages = convert_to_messages(kept)
    # `add_messages` gives every message an id, and carries removals out.
    is_kept = all(one.id and not isinstance(one, RemoveMessage) for one in messages)
    if not is_kept and "langgraph_node" in Run.current().metadata:
        raise GraphError(
            "the state does not keep 'messages' as LangGraph does, so what a node returns would "
            "replace the conversation. Build the graph on MessagesState, or declare them as "
            "Annotated[list, add_messages]."
        )
    return messages


def _marked(
    host: Host, messages: Sequence[BaseMessage], recalled: Recall | None
) -> BaseMessage | None:
    """The message that asks, with what the gate decided about it; None when it tells already."""
    asks = next((one for one in reversed(messages) if isinstance(one, HumanMessage)), None)
    # Without an id it has no place that it could take.
    if asks is None or not asks.id:
        return None
    # After a tool has answered, what was decided about the question holds.
    if asks is not messages[-1] and handed_on([asks], host.run) is not None:
        return None
    view = View.BASE if recalled is None else recalled.view
    return hand_on(asks, host.run, owner=host.owner, view=view)


def _placed(
    messages: list[BaseMessage], context: str, *, marked: BaseMessage | None = None
) -> list[BaseMessage]:
    """The change that puts the memories after the system messages that lead the conversation.

    Strict providers take system messages nowhere else. `marked` takes the place of the one whose
    id it has.
    """
    changed = [] if marked is None else [marked]
    messages = [one if marked is None or one.id != marked.id else marked for one in messages]
    is_stale = any(message.id == RECALL_ID for message in messages)
    if not context:
        return [*changed, RemoveMessage(RECALL_ID)] if is_stale else changed
    memories = SystemMessage(context, id=RECALL_ID)
    if is_stale:
        return [*changed, memories]
    leading = 0
    while leading < len(messages) and messages[leading].type == "system":
        leading += 1
    everything = RemoveMessage(REMOVE_ALL_MESSAGES)
    return [everything, *messages[:leading], memories, *messages[leading:]]


def is_unsure(memory: SleepMemory, namespace: Owner = None) -> Callable[[Any], bool]:
    """For `add_conditional_edges` after the model: whether `look_again_node` should follow.

    The answer came from the weights and admits not knowing, or is unsure, and what holds has
    something about the question.
    """

    def unsure(state: Mapping[str, Any]) -> bool:
        host = Host.of(memory, _messages_of(state), namespace=namespace)
        return _look_again(host) is not None

    return unsure


def look_again_node(memory: SleepMemory, namespace: Owner = None) -> Runnable[Any, Update]:
    """Take an unsure answer back, and put what holds about the question into `messages`.

    Lead from here to the model again. It looks no third time.
    """

    def look_again(state: Mapping[str, Any]) -> Update:
        messages = _messages_of(state)
        host = Host.of(memory, messages, namespace=namespace)
        again = _look_again(host, log=True)
        if again is None:
            return {"messages": []}
        kept = messages[:-1]
        placed = _placed(kept, host.context(again))
        is_rebuilt = any(one.id == REMOVE_ALL_MESSAGES for one in placed)
        answer = [] if is_rebuilt else [RemoveMessage(messages[-1].id or "")]
        return {"messages": [*answer, *placed]}

    return _node(look_again, "look_again")


def observe_node(memory: SleepMemory, namespace: Owner = None) -> Runnable[Any, Update]:
    """Store what happened in `messages` and is not stored yet.

    Changes nothing in the state, but that the answer tells where it came from
    (`response_metadata["sleepmem"]`).
    """

    def observe(state: Mapping[str, Any]) -> Update:
        messages = _messages_of(state)
        host = Host.of(memory, messages, namespace=namespace)
        host.observe()
        return {"messages": _traced(host, messages[-1] if messages else None)}

    return _node(observe, "observe")


def sleep_branch(
    memory: SleepMemory, namespace: Owner = None, *, review: bool = False
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A compiled subgraph that sleeps once.

    It streams the night's progress as custom events and keeps its own checkpoints, so a night that
    was killed goes on when the branch runs again.

    Args:
        memory: the open memory.
        namespace: whose memory, as in `recall_node`.
        review: interrupt the graph with what the night is about to learn (see
            `SleepMemory.sleep`); resume it with the texts to be learned, by id.
    """

    ask = interrupt if review else None

    def owner_of(state: Mapping[str, Any]) -> Namespace:
        return Host.of(memory, _messages_of(state), namespace=namespace).owner

    def sleep(state: Mapping[str, Any]) -> Update:
        memory.sleep(owner_of(state), on_event=get_stream_writer(), review=ask)
        return {"messages": []}

    async def asleep(state: Mapping[str, Any]) -> Update:
        owner = await asyncio.to_thread(owner_of, state)
        # Where nights wait for each other, not among the turns.
        await memory.asleep(owner, on_event=get_stream_writer(), review=ask)
        return {"messages": []}

    branch = StateGraph(MessagesState)
    night: Runnable[Any, Update] = RunnableLambda(sleep, afunc=asleep, name="night")
    branch.add_node("night", night)
    branch.add_edge(START, "night")
    branch.add_edge("night", END)
    return branch.compile()


def is_to_forget(memory: SleepMemory, namespace: Owner = None) -> Callable[[Any], bool]:
    """For `add_conditional_edges` before the model: whether `forget_node` should answer.

    The user asks to forget something, or has agreed to what it asked about.
    """

    def to_forget(state: Mapping[str, Any]) -> bool:
        return Host.of(memory, _messages_of(state), namespace=namespace).is_about_forgetting

    return to_forget


def forget_node(
    memory: SleepMemory, namespace: Owner = None, *, phrases: Phrases | None = None
) -> Runnable[Any, Update]:
    """Answer a user who asks to forget something: name it and ask, or do it after a clear yes."""

    def forget(state: Mapping[str, Any]) -> Update:
        host = Host.of(memory, _messages_of(state), namespace=namespace)
        said = host.forgetting(phrases or Phrases())
        return {"messages": [] if said is None else [said]}

    return _node(forget, "forget")


def is_tired(memory: SleepMemory, namespace: Owner = None) -> Callable[[Any], bool]:
    """For `add_conditional_edges`: whether the buffer holds enough for a night."""

    def tired(state: Mapping[str, Any]) -> bool:
        return Host.of(memory, _messages_of(state), namespace=namespace).is_tired

    return tired


def _look_again(host: Host, *, log: bool = False) -> Recall | None:
    """What a second look gives; None when the answer stands."""
    reply = host.messages[-1] if host.messages else None
    if not isinstance(reply, AIMessage):
        return None
    first = host.last_recall()
    return None if first is None else host.look_again(first, reply, log=log)


def _traced(host: Host, answer: BaseMessage | None) -> list[BaseMessage]:
    """The answer in its own place, with where it came from; none when that is told or unknown.

    Without an id it has no place that it could take.
    """
    if not isinstance(answer, AIMessage) or answer.tool_calls or not answer.id:
        return []
    traced = host.traced(answer, host.last_recall())
    return [] if traced is answer else [traced]


def _node(sync: Callable[[Mapping[str, Any]], Update], name: str) -> Runnable[Any, Update]:
    return RunnableLambda(sync, afunc=async_twin(sync), name=name)
