"""What the middleware and the nodes of a graph do alike: whose memory, what is said, what is put
before the model. Nothing of it ends a turn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

from sleepmem.day.capture import (
    last_question,
    latest,
    question,
    speaker,
    text_of,
    turn_id,
    turn_ids,
)
from sleepmem.day.farewell import OURS, Phrases, agrees, is_asked, proposed, wish
from sleepmem.day.farewell import question as question_about
from sleepmem.day.namespace import Owner, Run, owner_of
from sleepmem.day.provenance import provenance
from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace, Recall, View, check_day, local_now
from sleepmem.stores.episodes import BEGAN
from sleepmem.stores.erasure import Erasure, Forgotten


@dataclass(frozen=True)
class Host:
    """One turn of a running graph.

    memory      the open memory
    messages    the conversation so far
    run         what the graph tells
    owner       whose memory it is
    """

    memory: SleepMemory
    messages: Sequence[BaseMessage]
    run: Run
    owner: Namespace

    @classmethod
    def of(
        cls,
        memory: SleepMemory,
        messages: Sequence[BaseMessage],
        *,
        namespace: Owner,
        runtime: Any = None,
    ) -> Host:
        """The turn that runs now.

        Raises:
            NamespaceError: it does not say whose memory is meant.
        """
        run = Run.current(runtime)
        messages = _as_the_answerer(messages, run.agent)

        def remembered() -> Namespace | None:
            """Whose a turn is that goes on after it was interrupted."""
            began = turn_id(messages)
            if not began or not run.thread:
                return None
            thread = run.thread
            return memory.safely(
                "finding the owner of a turn",
                lambda: memory.ledger.episodes.owner(thread, began),
                otherwise=None,
            )

        return cls(memory, messages, run, owner_of(run, namespace, remembered=remembered))

    def keep_owner(self) -> None:
        """Keep whose this turn is, when it begins and no episode of it tells.

        It may be interrupted, and go on with nothing but its thread.
        """
        began, thread = turn_id(self.messages), self.run.thread
        if not began or not thread or self.messages[-1].id != began:
            return

        def keep() -> None:
            ledger, ids = self.memory.ledger, turn_ids(self.messages)
            owners = ledger.episodes.owners(thread, ids)
            for message_id in ids:
                if message_id not in owners:
                    ledger.turns.log_event(
                        BEGAN, namespace=list(self.owner), thread=thread, message_id=message_id
                    )

        self.memory.safely(
            "keeping the owner of a turn", keep, otherwise=None, namespace=self.owner
        )

    @property
    def is_asked_now(self) -> bool:
        """Whether the user has just spoken, and nobody since."""
        return self.memory.safely(
            "reading a message",
            lambda: question(self.messages) is not None,
            otherwise=False,
            namespace=self.owner,
        )

    @property
    def today(self) -> date:
        return check_day(local_now(self.run.zone))

    def observe(self, tools: Collection[str] | None = None, *, ended: bool = False) -> None:
        """Store what happened so far, and whose it is; `ended` says that the turn is over.

        Without a thread, what is sent again cannot be told from what was forgotten since: then
        nothing older than the turn is stored.
        """

        def store() -> None:
            self.memory.observe_messages(
                self.owner,
                self.messages if self.run.thread else latest(self.messages),
                thread=self.run.thread,
                zone=self.run.zone,
                tools=tools,
                by_agent=self.run.is_of_agent,
                ended=ended,
            )

        self.memory.safely("observing a turn", store, otherwise=None, namespace=self.owner)
        self.keep_owner()

    def leave_out(self) -> None:
        """Never store what begins this turn: it was blocked, and stays in the conversation."""
        thread = self.run.thread
        if thread is None:
            return  # it is not handed over again, but by whoever blocks it again

        def leave() -> None:
            ids = turn_ids(self.messages)
            self.memory.ledger.episodes.leave_out(self.owner, thread, message_ids=ids)

        self.memory.safely(
            "leaving out a blocked turn", leave, otherwise=None, namespace=self.owner
        )

    def recall(self, *, holds_experts: bool, log: bool = True) -> Recall | None:
        """What the model gets; None when the user says nothing that needs any.

        When the memory fails the base answers: nobody knows what the weights hold.
        """

        def look() -> Recall | None:
            asked = last_question(self.messages)
            if asked is None:
                return None
            return self.memory.recall(
                self.owner, asked, holds_experts=holds_experts, log=log, **self._turn
            )

        failed: Recall | None = Recall(View.BASE, "recalling failed")
        return self._kept(
            self.memory.safely("recalling", look, otherwise=failed, namespace=self.owner)
        )

    def look_again(self, first: Recall, reply: AIMessage, *, log: bool = True) -> Recall | None:
        """What everything that holds has, when the weights do not know or are not sure."""

        def look() -> Recall | None:
            asked = last_question(self.messages)
            if asked is None:
                return None
            return self.memory.second_look(
                self.owner, asked, first=first, reply=reply, log=log, **self._turn
            )

        again = self.memory.safely("looking again", look, otherwise=None, namespace=self.owner)
        # Without a log it is only asked whether there is anything.
        return self._kept(again) if log else again

    def _kept(self, recalled: Recall | None) -> Recall | None:
        """What was decided, kept for the nodes that follow."""

        def keep() -> None:
            message, asked = turn_id(self.messages), last_question(self.messages)
            if recalled is not None and message and asked:
                thread, looks = self.run.thread, self.memory.looks
                looks.keep(self.owner, recalled, thread=thread, message=message, asked=asked)

        self.memory.safely("keeping a decision", keep, otherwise=None, namespace=self.owner)
        return recalled

    @property
    def is_about_forgetting(self) -> bool:
        """Whether the user asks to forget something, or agrees to it; changes nothing."""

        def is_about() -> bool:
            said = last_question(self.messages) or text_of(self.messages[-1])
            return is_asked(said) or (bool(proposed(self.messages)) and agrees(said))

        if not self.messages or self.messages[-1].type != "human":
            return False
        return self.memory.safely(
            "reading a message", is_about, otherwise=False, namespace=self.owner
        )

    def forgetting(self, phrases: Phrases) -> AIMessage | None:
        """What the agent says where the user asks to forget something, or has agreed to it.

        None where neither is so. Nothing is forgotten without a clear yes to what is named.
        """

        def answer() -> AIMessage | None:
            said = last_question(self.messages) or text_of(self.messages[-1])
            ids = proposed(self.messages)
            if ids and agrees(said):
                return self._forget(ids, phrases)
            if not is_asked(said):
                return None
            return self._ask_about(said, phrases)

        if not self.messages or self.messages[-1].type != "human":
            return None
        return self.memory.safely("forgetting", answer, otherwise=None, namespace=self.owner)

    def _ask_about(self, said: str, phrases: Phrases) -> AIMessage:
        def plan() -> Erasure:
            return self.memory.forget(self.owner, about=wish(said), dry_run=True).erasure

        planned = self.memory.safely("forgetting", plan, otherwise=None, namespace=self.owner)
        if planned is None:
            return AIMessage(phrases.later)
        # What it tells beside is not what it is about.
        found = [one for one in planned.episodes if one.text not in said]
        told = [one for one in planned.telling if one.text not in said]
        return question_about(found, phrases, of=self.messages[-1].name, telling=told)

    def _forget(self, ids: Sequence[str], phrases: Phrases) -> AIMessage:
        def forget() -> Forgotten:
            there = set(self.memory.ledger.episodes.ids(self.owner)).intersection(ids)
            how = {"about": self._wished} if self._wished else {"episodes": there}
            return self.memory.forget(self.owner, confirmed=there, **how)

        # Why it cannot be done is for who runs this, not for the user.
        done = self.memory.safely("forgetting", forget, otherwise=None, namespace=self.owner)
        if done is None:
            return AIMessage(phrases.later)
        receipt = done.receipt
        if receipt is None:
            return AIMessage(phrases.nothing)
        count, number = receipt.removed["episodes"], receipt.number
        return AIMessage(
            phrases.done.format(count=count, receipt=number),
            response_metadata={OURS: {"receipt": number}},
        )

    @property
    def _wished(self) -> str:
        """What the user asked to forget before the newest message; empty where that is not told."""
        for message in reversed(self.messages[:-1]):
            if message.type == "human":
                return wish(text_of(message))
        return ""

    @property
    def _turn(self) -> dict[str, Any]:
        """The day where the user is, what was said earlier, the message that asks, and who does.

        What people said earlier the model has before it. A message without an id cannot be told
        from its memory but by its words.
        """
        began = turn_id(self.messages)
        earlier = []
        for message in self.messages:
            if message.type == "human" and (message.id is None or message.id != began):
                earlier.append(text_of(message))
        name = speaker(self.messages)
        return {"today": self.today, "seen": earlier, "message_id": began, "speaker": name}

    def traced(self, answer: AIMessage, recalled: Recall | None) -> AIMessage:
        """The answer with where it came from; as it is when no memory was used."""

        def trace() -> AIMessage:
            memory = self.memory
            found = recalled and provenance(memory.ledger, self.owner, recalled=recalled)
            if not found or OURS in answer.response_metadata:
                return answer
            metadata = {**answer.response_metadata, OURS: found.as_dict()}
            return answer.model_copy(update={"response_metadata": metadata})

        return self.memory.safely(
            "tracing an answer", trace, otherwise=answer, namespace=self.owner
        )

    def last_recall(self) -> Recall | None:
        """The newest decision about what is asked, with the memories that were read."""

        def look() -> Recall | None:
            asked, message = last_question(self.messages), turn_id(self.messages)
            if asked is None:
                return None
            thread, looks = self.run.thread, self.memory.looks
            kept = looks.newest(self.owner, thread=thread, message=message or "", asked=asked)
            if kept is not None or self.memory.read_only:
                # What is logged in a folder that is only read another process decided.
                return kept
            return self._logged(asked)

        return self.memory.safely("reading a decision", look, otherwise=None, namespace=self.owner)

    def _logged(self, asked: str) -> Recall | None:
        """The newest decision that the log has."""
        last = self.memory.last_look(self.owner, asked)
        if last is None or last.view is View.WEIGHTS:
            return last
        ledger = self.memory.ledger
        ids = ledger.turns.last_read(self.owner, asked)
        return replace(last, episodes=tuple(ledger.episodes.get(self.owner, ids)))

    @property
    def is_tired(self) -> bool:
        """Whether enough came in for a night."""
        return self.memory.safely(
            "asking whether a night is due",
            lambda: self.memory.is_tired(self.owner),
            otherwise=False,
            namespace=self.owner,
        )

    def context(self, recalled: Recall | None) -> str:
        """The block of memories for the model; empty without any."""
        if recalled is None:
            return ""
        name = speaker(self.messages)
        return self.memory.context(recalled, today=self.today, speaker=name)


def _as_the_answerer(messages: Sequence[BaseMessage], agent: str | None) -> Sequence[BaseMessage]:
    """The messages, those of the agent that runs without its name: it is no other agent."""
    if agent is None:
        return messages
    own: list[BaseMessage] = []
    for message in messages:
        is_own = isinstance(message, AIMessage) and message.name == agent
        own.append(message.model_copy(update={"name": None}) if is_own else message)
    return own


def with_memory(system: SystemMessage | None, block: str) -> SystemMessage:
    """The agent's system message with the memories after it; its blocks stay as they are.

    So a provider's cache of them stays good, too.
    """
    if system is None:
        return SystemMessage(block)
    if isinstance(system.content, str):
        return system.model_copy(update={"content": f"{system.content}\n{block}"})
    blocks = [*system.content, {"type": "text", "text": block}]
    return system.model_copy(update={"content": blocks})
