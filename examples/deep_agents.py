"""A deep agent whose sub-agents share its user's memory, with the library deepagents.

Run it: `pip install deepagents`, then `python examples/deep_agents.py [FOLDER]`.

Scripted: no model that runs offline in a test plans and delegates of itself, so the agents' brain
is `Brain`, a few lines that call the tools a model would call. It knows nobody's home: that comes
from the memory. All else is real: deepagents' planner, its `task` tool and its sub-agents, and this
library's storing and recalling. With a model of your own, leave `Brain` out.
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from deepagents import create_deep_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from sleepmem import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware

HOME = re.compile(r"home station is (\w+)")
ASKED = "Which train to Oslo goes from my home station?"
HANDED_ON = "Which train to Oslo goes from the user's home station?"


@tool
def trains(start: str, to: str) -> str:
    """Trains from one station to another."""
    return f"From {start} to {to} at 8:15."


class Brain(BaseChatModel):
    """What a model would do: the agent delegates, the sub-agent looks up trains from home."""

    is_sub_agent: bool = False

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **settings: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            said = AIMessage(last.text)
        elif isinstance(last, HumanMessage) and "train" in last.text.lower():
            said = self._look_up(messages) if self.is_sub_agent else self._delegate()
        else:
            said = AIMessage("Noted.")
        return ChatResult(generations=[ChatGeneration(message=said)])

    def _delegate(self) -> AIMessage:
        args = {"subagent_type": "travel", "description": HANDED_ON}
        return AIMessage("", tool_calls=[{"name": "task", "args": args, "id": "task-1"}])

    def _look_up(self, messages: list[BaseMessage]) -> AIMessage:
        """From the home that the memory has put into the system message, if it did."""
        home = HOME.search(messages[0].text)
        if home is None:
            return AIMessage("I do not know the home station.")
        args = {"start": home.group(1), "to": "Oslo"}
        return AIMessage("", tool_calls=[{"name": "trains", "args": args, "id": "trains-1"}])


SAID = (
    ("alice", "monday", "My home station is Brenport."),
    ("alice", "friday", ASKED),
    ("bob", "friday", ASKED),
)


def main(folder: str) -> dict[str, list[tuple[str, str]]]:
    with SleepMemory.open(folder) as memory:
        # One middleware for all of them: whose memory a run means goes along to the sub-agents.
        shared = SleepMemoryMiddleware(memory)
        travel = {
            "name": "travel",
            "description": "Finds trains for the user.",
            "system_prompt": "You find trains.",
            "tools": [trains],
            "model": Brain(is_sub_agent=True),
            "middleware": [shared],
        }
        agent = create_deep_agent(
            model=Brain(),
            system_prompt="You help the user. Travel is for the sub-agent.",
            subagents=[travel],
            middleware=[shared],
            checkpointer=InMemorySaver(),
        )
        for user, day, text in SAID:
            turn = agent.invoke(
                {"messages": [("user", text)]},
                {"configurable": {"thread_id": f"{user} {day}", "user_id": user}},
            )
            print(f"{user}, {day}: {text} -> {turn['messages'][-1].text}")
        told: dict[str, list[tuple[str, str]]] = {}
        for user in ("alice", "bob"):
            own = memory.ledger.episodes.all((user,))
            told[user] = [(episode.source, episode.text) for episode in own]
            for source, text in told[user]:
                print(f"   {user} has, of {source}: {text!r}")
        return told


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
