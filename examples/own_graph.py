"""A graph of one's own: recall before the model, observe after it, sleep when tired.

Run it: `python examples/own_graph.py [FOLDER]`.
"""

import sys
import tempfile
from typing import Annotated

from langchain_core.messages import AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from typing_extensions import TypedDict

from sleepmem import MemoryConfig, SleepConfig, SleepMemory
from sleepmem.graph import (
    is_tired,
    is_unsure,
    look_again_node,
    observe_node,
    recall_node,
    sleep_branch,
)


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    mood: str  # the nodes leave a graph's other keys alone


def build(memory: SleepMemory) -> CompiledStateGraph:
    model = memory.chat_model()
    builder = StateGraph(State)
    builder.add_node("recall", recall_node(memory))
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("observe", observe_node(memory))
    builder.add_node("sleep", sleep_branch(memory))
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "model")
    # An answer that does not know, or comes unsure from the weights, is asked for once more.
    builder.add_node("look_again", look_again_node(memory))
    routes = {True: "look_again", False: "observe"}
    builder.add_conditional_edges("model", is_unsure(memory), routes)
    builder.add_edge("look_again", "model")
    builder.add_conditional_edges("observe", is_tired(memory), {True: "sleep", False: END})
    builder.add_edge("sleep", END)
    return builder.compile()


SAID = (
    "Mara lives in Brenport.",
    "The boss of Mara is Tolvan.",
    "Where does Mara live?",
    "The port of Karo is 8045.",
    "Where does Mara live?",
)


def main(folder: str) -> None:
    config = MemoryConfig(sleep=SleepConfig(tired_at=3))
    with SleepMemory.open(folder, config=config) as memory:
        graph = build(memory)
        for said in SAID:
            turn = {"messages": [("user", said)], "mood": "calm"}
            values: dict = {}
            config_ = {"configurable": {"namespace": ("alice",)}}
            for inside, mode, event in graph.stream(
                turn, config_, stream_mode=["values", "custom"], subgraphs=True
            ):
                if mode == "values":
                    values = values if inside else event
                elif event.get("state") == "finished":
                    print("   night:", event["step"], f"{event['seconds']} s")
            print("user:", said, "-> agent:", values["messages"][-1].text)
        print(memory.status())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sleepmem-"))
