"""Leaks: many threads ask for many owners through every door, half of the time about others' words.

Every owner's texts carry a word of its own (`owners`): whatever comes back holds no other's.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph

from sleepmem.evals.faults import owners
from sleepmem.evals.faults.tally import Tally
from sleepmem.graph import observe_node, recall_node
from sleepmem.memory import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.records import Namespace, Recall

Door = Callable[[Namespace, str], Sequence[str]]
# Of a hundred questions, so many are answered by the memory's own model, which takes its time.
_ASKED = 4
# So many may bring nothing back: an owner need not have said anything about what is asked.
_EMPTY = 0.05


class Echo(BaseChatModel):
    """Answers with all that it was given."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> ChatResult:
        given = [message.text for message in messages if message.type == "system"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("\n".join(given)))])


class Doors:
    """Every way in: a question of an owner in, all texts that come back."""

    def __init__(self, memory: SleepMemory) -> None:
        self._memory, self._model = memory, threading.Lock()
        self._agent: Any = create_agent(Echo(), middleware=[SleepMemoryMiddleware(memory)])
        builder = StateGraph(MessagesState)
        builder.add_node("recall", recall_node(memory, weights=False))
        builder.add_node("observe", observe_node(memory))
        builder.add_edge(START, "recall")
        builder.add_edge("recall", "observe")
        builder.add_edge("observe", END)
        self._graph: Any = builder.compile()

    def all(self) -> dict[str, Door]:
        return {
            "recall": self.recall,
            "search": self.search,
            "middleware": self.middleware,
            "graph": self.graph,
            "ask": self.ask,
        }

    def recall(self, owner: Namespace, question: str) -> Sequence[str]:
        return self._texts(self._memory.recall(owner, question))

    def search(self, owner: Namespace, question: str) -> Sequence[str]:
        return self._texts(self._memory.search(owner, question))

    def middleware(self, owner: Namespace, question: str) -> Sequence[str]:
        said = {"messages": [("user", question)]}
        return self._of(self._agent.invoke(said, context={"namespace": owner}))

    def graph(self, owner: Namespace, question: str) -> Sequence[str]:
        said = {"messages": [("user", question)]}
        who = {"configurable": {"namespace": owner}}
        return self._of(self._graph.invoke(said, who))

    def ask(self, owner: Namespace, question: str) -> Sequence[str]:
        with self._model:
            answer = self._memory.ask(owner, question)
        return [answer.text, *self._texts(answer.recall)]

    def _texts(self, found: Recall) -> list[str]:
        texts = [episode.text for episode in found.episodes]
        return [*texts, *found.excerpts.values(), self._memory.context(found)]

    def _of(self, state: Any) -> list[str]:
        """What the graph says and shows, but for the question itself."""
        return [message.text for message in state["messages"] if message.type != "human"]


def run(
    folder: Path,
    *,
    questions: int = 10_000,
    number: int = 200,
    threads: int = 20,
    each: int = 12,
    asked: int = _ASKED,
) -> list[Tally]:
    """So many questions of so many owners, from so many threads at once; of a hundred, `asked`
    go to the model.
    """
    owners.fill(folder, range(number), each=each)
    with SleepMemory.open(folder) as memory:
        doors = Doors(memory).all()
        tallies = {name: Tally(f"leaks, {name}") for name in doors}
        counting, empty = threading.Lock(), list[str]()

        def ask(turn: int) -> None:
            rng = random.Random(turn)
            asker, other = rng.randrange(number), rng.randrange(number)
            name = _door(turn, doors, asked=asked)
            # What a model says need not come from a memory: it may repeat the question.
            about = None if name == "ask" or turn % 2 else other
            question = owners.question(rng, about=about)
            started, told = time.perf_counter(), Tally(name)
            with told.call():
                found = doors[name](owners.owner(asker), question)
                told.leaked += owners.strangers(found, asker)
                if about is None and not any(owners.marker(asker) in one for one in found):
                    empty.append(question)
            with counting:
                _add(tallies[name], told, time.perf_counter() - started)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(ask, range(questions)))
        tallies["recall"].unsound += memory.verify()
    if len(empty) > _EMPTY * questions:
        tallies["recall"].lost.append(f"{len(empty)} questions that brought nothing back")
    return list(tallies.values())


def _door(turn: int, doors: dict[str, Door], *, asked: int) -> str:
    if turn % 100 < asked:
        return "ask"
    cheap = [name for name in doors if name != "ask"]
    return cheap[turn // 2 % len(cheap)]


def _add(tally: Tally, one: Tally, seconds: float) -> None:
    tally.asked += 1
    tally.lost += one.lost
    tally.leaked += one.leaked
    tally.documented += one.documented
    tally.undocumented += one.undocumented
    tally.seconds.append(seconds)
