"""One answering policy: the gate, what a model without our experts gets, the second look.

`SleepMemory.ask`, the middleware, and the nodes of a graph all answer by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sleepmem.day.gate import PERFECT, Certainty
from sleepmem.day.provenance import provenance
from sleepmem.day.recall import Asked, calibrated, context_message, look_again, recall
from sleepmem.day.safely import safely
from sleepmem.day.state import DayContext
from sleepmem.records import Look, Namespace, Provenance, Recall, View
from sleepmem.text.kinds import abstains
from sleepmem.text.prompts import closed_book

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from sleepmem.day.chat import SleepChatModel


class Answer(NamedTuple):
    """What was answered, how it was found, and where it came from; None: from no memory."""

    text: str
    recall: Recall
    provenance: Provenance | None = None


def may_look_again(
    day: DayContext, namespace: Namespace, *, first: Recall, answer: AIMessage
) -> bool:
    """Whether an answer does not do, although not everything was searched.

    It comes from the weights and admits not knowing, or the model was not so certain of it that
    the gate's whole score passes. What was answered from memories had all of them; a call of a tool
    is no answer yet.
    """
    if first.look is Look.AGAIN or first.view is not View.WEIGHTS or answer.tool_calls:
        return False
    reported = answer.response_metadata
    certainty = Certainty(
        reported.get("confidence", PERFECT.confidence),
        reported.get("abstention", PERFECT.abstention),
    )
    # What the text says is a hint beside what the model would rather have said.
    if certainty.abstains or abstains(answer.text):
        return True
    gate = calibrated(day, namespace)
    return gate is None or gate.cost(certainty) > first.margin


def second_look(
    day: DayContext,
    namespace: Namespace,
    *,
    asked: Asked,
    first: Recall,
    answer: AIMessage,
    log: bool = True,
) -> Recall | None:
    """What everything that holds has to the question; None when the answer stands."""
    if not may_look_again(day, namespace, first=first, answer=answer):
        return None
    found = look_again(day, namespace, asked=asked, log=log)
    return found if found.episodes else None


def ask(
    day: DayContext,
    namespace: Namespace,
    *,
    asked: Asked,
    model: SleepChatModel,
    log: bool = True,
) -> Answer:
    """Answer with the memory's own model. Stores nothing but the gate's log."""
    found = recall(day, namespace, asked=asked, holds_experts=model.holds(namespace), log=log)
    reply = reply_to(model, asked, recalled=found)
    again = second_look(day, namespace, asked=asked, first=found, answer=reply, log=log)
    if again is not None:
        found, reply = again, reply_to(model, asked, recalled=again)

    def trace() -> Provenance | None:
        return provenance(day.folder.ledger, namespace, recalled=found)

    what = "tracing an answer"
    traced = safely(day, what, call=trace, otherwise=None, namespace=namespace)
    return Answer(reply.text, found, traced)


def reply_to(model: SleepChatModel, asked: Asked, *, recalled: Recall) -> AIMessage:
    """What the model says with what was recalled, and nothing else."""
    system = context_message(recalled, today=asked.today, speaker=asked.speaker)
    messages = [{"role": "system", "content": system}] if system else []
    return model.invoke([*messages, *closed_book(asked.text)], view=recalled.view.value)
