"""A user of `create_agent` with the middleware and a foreign model, and what the model is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from sleepmem import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.records import Episode

NOBODY = ("default",)

# What else a user told: a memory that holds two sentences only is no one's.
LIFE = (
    "The bakery at the corner closes on Mondays.",
    "Our printer only takes A4 paper.",
    "I finished reading a novel about lighthouses.",
    "Der Zug nach Hamburg hatte eine Stunde Verspätung.",
    "Le nouveau canapé arrive la semaine prochaine.",
    "El partido terminó tres a uno.",
    "The quarterly report is written by Petra.",
    "I paid the electricity bill.",
)


class Scripted(GenericFakeChatModel):
    """Says its lines in order, takes tools, and keeps what it was shown."""

    shown: list

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.shown.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:
        return self


def scripted(*lines: str | AIMessage) -> Scripted:
    return Scripted(messages=iter(lines), shown=[])


def system_of(messages: Iterable[BaseMessage]) -> str:
    """What stands in the system messages that a model got."""
    return "\n".join(message.text for message in messages if message.type == "system")


class User:
    """Talks to a new agent each time: nothing but the memory goes on."""

    def __init__(self, memory: SleepMemory) -> None:
        self.memory = memory

    def says(self, *history: str | BaseMessage, reply: str = "Noted.", **named: Any) -> str:
        """One turn; what the model was shown in its system message. Texts are the user's."""
        model = scripted(reply)
        agent = create_agent(model, middleware=[SleepMemoryMiddleware(self.memory)])
        messages = [HumanMessage(one) if isinstance(one, str) else one for one in history]
        agent.invoke({"messages": messages}, **named)
        return system_of(model.shown[0])

    def told(self, *texts: str) -> None:
        """Says each in a turn of its own."""
        for text in texts:
            self.says(text)

    def stored(self, owner: tuple[str, ...] = NOBODY) -> list[Episode]:
        return self.memory.ledger.episodes.all(owner)

    def texts(self, owner: tuple[str, ...] = NOBODY) -> list[str]:
        return [episode.text for episode in self.stored(owner)]

    def teaches(self, owner: tuple[str, ...] = NOBODY) -> list[str]:
        """What a night may learn."""
        return [one.text for one in self.memory.ledger.episodes.telling(owner) if one.trusted]
