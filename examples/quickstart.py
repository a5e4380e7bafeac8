"""A memory in ten lines: an agent is told something, sleeps, and answers.

Run it: `python examples/quickstart.py [FOLDER]`; offline, on the embedded model, in half a minute.
"""

import sys
import tempfile

from langchain.agents import create_agent

from sleepmem import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware


def main(folder: str) -> None:
    with SleepMemory.open(folder) as memory:
        agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory)])
        alice = {"namespace": ("alice",)}  # whose memory; nothing crosses it
        agent.invoke({"messages": [("user", "Mara lives in Brenport.")]}, context=alice)
        turn = agent.invoke({"messages": [("user", "Where does Mara live?")]}, context=alice)
        print("by day:", turn["messages"][-1].text)
        report = memory.sleep(("alice",))
        print("the night:", report.verdict.value, "-", report.reason)
        answer = memory.ask(("alice",), "Where does Mara live?")
        print("after it:", answer.text, "- from", answer.recall.view.value)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
