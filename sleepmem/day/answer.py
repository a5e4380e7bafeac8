"""One answering policy: the gate, what a model without our experts gets, the second look.

`SleepMemory.ask`, the middleware, and the nodes of a graph all answer by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sleepmem.day.recall import context_message, recall, search_archive
from sleepmem.day.state import DayContext
from sleepmem.records import Look, Namespace, Recall, View
from sleepmem.text.language import abstains
from sleepmem.text.prompts import closed_book

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from sleepmem.day.chat import SleepChatModel


class Answer(NamedTuple):
    """What was answered, and how it was found."""

    text: str
    recall: Recall


def first_look(
    day: DayContext,
    namespace: Namespace,
    *,
    question: str,
    holds_experts: bool = True,
    log: bool = True,
) -> Recall:
    """What the model gets to answer a question with.

    Args:
        day: the open folder.
        namespace: whose memory.
        question: what the user asks.
        holds_experts: whether the model that answers is the memory's own. Any other holds none of
            the experts: what the weights would have answered, it reads from the archive.
        log: keep the decision.
    """
    found = recall(day, namespace, question=question, log=log)
    if found.view is View.WEIGHTS and not holds_experts:
        return search_archive(day, namespace, question=question)
    return found


def second_look(
    day: DayContext,
    namespace: Namespace,
    *,
    question: str,
    first: Recall,
    answer: AIMessage,
    log: bool = True,
) -> Recall | None:
    """What the archive holds, when the answer did not do; None when the answer stands.

    It did not do when it admits not knowing, or comes unsure from the weights. The archive is
    searched once: not after a look that went there already.
    """
    confidence = answer.response_metadata.get("confidence", 1.0)
    is_unsure = first.view is View.WEIGHTS and confidence < day.gate.sure
    if first.look is not Look.BUFFER or not (is_unsure or abstains(answer.text)):
        return None
    found = search_archive(day, namespace, question=question, log=log)
    return found if found.episodes else None


def ask(day: DayContext, namespace: Namespace, *, question: str, model: SleepChatModel) -> Answer:
    """Answer with the memory's own model. Stores nothing but the gate's log."""
    found = first_look(day, namespace, question=question)
    reply = _reply(model, question, found)
    again = second_look(day, namespace, question=question, first=found, answer=reply)
    if again is not None:
        found, reply = again, _reply(model, question, again)
    return Answer(reply.text, found)


def _reply(model: SleepChatModel, question: str, recalled: Recall) -> AIMessage:
    system = context_message(recalled)
    messages = [{"role": "system", "content": system}] if system else []
    return model.invoke([*messages, *closed_book(question)], view=recalled.view.value)
