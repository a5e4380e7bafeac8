"""A day as an agent lives it: what is said reaches the memory turn by turn, as hosts pass it on.

Departs from a running agent in two ways: the clock is that of the life, and what the agent says is
what the life tells of it, so that every memory hears the same. Where it tells nothing, the agent
says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from sleepmem.day.capture import question, text_of
from sleepmem.evals.lives.data import Day, Life, Turn
from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace

# When a day begins, and the time from one turn to the next.
_MORNING, _PAUSE = time(8), timedelta(minutes=3)


def play(memory: SleepMemory, owner: Namespace, *, life: Life, day: int) -> None:
    """Let the memory hear a day of this life, and recall at every turn what it needs."""
    today = life.days[day - 1]
    names = {turn.tool.name for one in life.days for turn in one.turns if turn.tool}
    thread = f"{life.name}-{today.date}"
    messages: list[BaseMessage] = []
    for number, (asked, answered) in enumerate(_turns(today)):
        said_at = datetime.combine(today.date, _MORNING) + number * _PAUSE
        seen = [text_of(one) for one in messages if isinstance(one, HumanMessage)]
        messages += asked
        memory.observe_messages(owner, messages, thread=thread, said_at=said_at, tools=names)
        text = question(messages)
        if text is not None:
            message_id = messages[-1].id
            memory.recall(owner, text, today=today.date, seen=seen, message_id=message_id)
        messages += answered
        memory.observe_messages(
            owner, messages, thread=thread, said_at=said_at, tools=names, ended=True
        )


def _turns(day: Day) -> Iterator[tuple[list[BaseMessage], list[BaseMessage]]]:
    """Of each turn, what is there when the user has spoken, and what the agent does then."""
    for number, turn in enumerate(day.turns):
        message_id = f"{day.date}-{number}"
        asked: list[BaseMessage] = [HumanMessage(turn.say, id=message_id, name=turn.speaker)]
        if not number and turn.agent:
            asked.insert(0, AIMessage(turn.agent, id=f"{message_id}-before"))
        # What the agent says before the next turn ends this one.
        following = day.turns[number + 1].agent if number + 1 < len(day.turns) else None
        words = " ".join(text for text in (turn.reply, following) if text)
        yield asked, [*_called(turn, message_id), AIMessage(words, id=f"{message_id}-answer")]


def _called(turn: Turn, message_id: str) -> list[BaseMessage]:
    """The tool's call and its result, if any was called."""
    tool, call_id = turn.tool, f"{message_id}-call"
    if tool is None:
        return []
    call = {"name": tool.name, "args": tool.args, "id": call_id}
    result_id = f"{message_id}-result"
    return [
        AIMessage("", id=f"{message_id}-tool", tool_calls=[call]),
        ToolMessage(tool.result, name=tool.name, tool_call_id=call_id, id=result_id),
    ]
