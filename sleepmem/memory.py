"""SleepMemory: one memory folder, by day and by night. Decides nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sleepmem._async import async_twin
from sleepmem._extras import from_extra
from sleepmem.arguments import (
    check,
    check_has,
    check_id,
    check_opening,
    check_path,
    check_setting,
    texts,
)
from sleepmem.config import MemoryConfig
from sleepmem.day import answer, importing
from sleepmem.day import observe as observing
from sleepmem.day import recall as recalling
from sleepmem.day.adapters import Adapters
from sleepmem.day.answer import Answer
from sleepmem.day.looks import Looks
from sleepmem.day.namespace import DEFAULT_NAMESPACE, current_namespace
from sleepmem.day.recall import Asked
from sleepmem.day.safely import safely
from sleepmem.day.state import DayContext
from sleepmem.day.why import Why, why
from sleepmem.errors import ConfigError, EpisodeError, ExpertError, ModelError, SleepmemError
from sleepmem.foreign.reading import as_form
from sleepmem.model.bases import Bases
from sleepmem.model.habits import own as own_habits
from sleepmem.night.schedule import Schedule
from sleepmem.records import (
    USER,
    Episode,
    Namespace,
    NightReport,
    Note,
    Recall,
    Receipt,
    check_day,
    check_end,
    check_namespace,
    check_text,
    check_time,
    local_now,
    readable,
)
from sleepmem.report.data import status
from sleepmem.stores.arriving import Export, Imported
from sleepmem.stores.backup import backup
from sleepmem.stores.erasure import Choice, Erasure, Forgotten, chosen, planned
from sleepmem.stores.folder import Folder
from sleepmem.stores.leaving import leave
from sleepmem.stores.manifest import Manifest, is_export
from sleepmem.text.terms import terms

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.messages import AIMessage, BaseMessage
    from langgraph.store.base import BaseStore

    from sleepmem.day.chat import SleepChatModel
    from sleepmem.day.served import ServedModel
    from sleepmem.model.local import LocalModel
    from sleepmem.night.reviewing import Review
    from sleepmem.night.rewards import Semantic
    from sleepmem.stores.buffer import Buffer
    from sleepmem.stores.expert_folder import ExpertFolders
    from sleepmem.stores.ledger import Ledger

T = TypeVar("T")


class SleepMemory:
    """One agent's memory in one folder: answers by day, learns by night.

        with SleepMemory.open("agent-memory") as memory:
            memory.observe(("alice",), "Mara lives in Brenport.")
            memory.ask(("alice",), "Where does Mara live?").text    # "Brenport."
            memory.sleep(("alice",)).verdict                        # Verdict.PROMOTED

    Day      observe, observe_messages, recall, may_look_again, second_look, last_look, search,
             context, ask, safely, is_tired
    Night    sleep, due_nights, nights, notes, episodes, rollback
    Trust    why, forget, receipts
    Move     export_to, export_gguf, import_from
    Care     verify, reconcile, reindex, backup, status, decisions, close
    Model    local, chat_model, live_experts, learners, adapter_name

    No torch until `ask`, `chat_model` or `sleep`. What takes time has an `a...` twin.
    """

    def __init__(
        self,
        opened: Folder,
        day: DayContext,
        *,
        config: MemoryConfig,
        semantic: Semantic | None = None,
        bases: Bases | None = None,
    ) -> None:
        self.config = config
        self._bases = Bases() if bases is None else bases
        self._opened, self._day = opened, day
        self._adapters = Adapters(opened, day.model, config)
        self._schedule = Schedule(
            opened,
            lambda: self.local,
            config=config,
            embeddings=day.embeddings,
            semantic=semantic,
        )
        self._local: LocalModel | None = None
        self._served: ServedModel | None = None
        self._loading, self._sleeping = threading.Lock(), threading.Lock()
        self.looks = Looks()
        # Nights that wait for each other must not take the threads that turns need.
        self._nights = ThreadPoolExecutor(1, thread_name_prefix="sleepmem-night")

    @classmethod
    def open(  # noqa: PLR0913 - the front door: nearly all of it are keywords
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        *,
        embeddings: Embeddings | None = None,
        config: MemoryConfig | None = None,
        chroma_client: Any = None,
        append_only: bool = False,
        read_only: bool = False,
        check_experts: bool = True,
        reconcile: bool = True,
        semantic: Semantic | None = None,
        bases: Bases | None = None,
        chat_model: str | None = None,
    ) -> SleepMemory:
        """Open the memory in `folder`, creating it when new; ledger and experts agree then.

        Any number of processes may have it open; a night runs in any of them while others answer.

        Args:
            folder: the memory folder.
            model: hub id, folder or GGUF file of any causal language model with a chat template, or
                "embedded"; by default what this folder was last used with, at first the latter.
            embeddings: any of LangChain; the Universal Sentence Encoder by default.
            config: settings of gate and night.
            chroma_client: of your own Chroma server, instead of files in the folder: who opens the
                folder without one from then on searches without an index, until `reindex`.
            append_only: `observe` stores alone and embeds nothing: who recalls does.
            read_only: change not a byte and log nothing; what would change it raises FolderError.
            check_experts: refuse to open when one is missing or damaged; `rollback` needs it off.
            reconcile: bring ledger and experts to agree; off for a look at what does not.
            semantic: judges the imitation reward, (answer, wanted) -> 1.0 if they mean the same.
            bases: base models that other memories of this process use, too.
            chat_model: address of a llama-server that answers by day, with what `export_gguf`
                wrote, such as "http://127.0.0.1:8080"; where it lacks experts memories are read.

        Raises:
            ConfigError: an argument is of the wrong type, or two ways to open are given.
            FolderError: the folder cannot be created, read or written.
            LedgerError: the ledger is gone, foreign, damaged or newer.
            ModelError: there is no such model folder.
            ExpertError: a live expert is missing, damaged, or was trained on another model.
        """
        mode = {"append_only": append_only, "read_only": read_only}
        settings = _settings(config, **mode)
        check_opening(folder, model, embeddings=embeddings, semantic=semantic, bases=bases)
        vectors = embeddings or _default_embeddings()
        opened = Folder(Path(folder), vectors, chroma_client=chroma_client, **mode)
        try:
            day = DayContext(opened, vectors, settings, opened.model_to_use(model))
            memory = cls(opened, day, config=settings, semantic=semantic, bases=bases)
            memory._serve_by(chat_model)
            if reconcile and not read_only:
                opened.reconcile(check_experts=check_experts)
        except BaseException:
            opened.close()
            raise
        return memory

    def _serve_by(self, address: str | None) -> None:
        if address is not None:
            from sleepmem.day.served import ServedModel

            self._served = ServedModel(
                address, adapter=self._adapters.name, profile=lambda: self._adapters.known.profile
            )

    def close(self) -> None:
        """Close ledger and index."""
        if self._served is not None:
            self._served.close()
        self._opened.close()

    def __enter__(self) -> SleepMemory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        return self._opened.path

    @property
    def read_only(self) -> bool:
        return self._opened.read_only

    @property
    def ledger(self) -> Ledger:
        return self._opened.ledger

    @property
    def buffer(self) -> Buffer:
        return self._opened.buffer

    @property
    def experts(self) -> ExpertFolders:
        return self._opened.experts

    @property
    def embeddings(self) -> Embeddings:
        return self._day.embeddings

    @property
    def model(self) -> str:
        """Hub id, folder or GGUF file of the model."""
        return self._day.model

    # The day

    def observe(  # noqa: PLR0913 - what surrounds an episode: all of them keywords
        self,
        namespace: Iterable[str],
        text: str,
        *,
        source: str = USER,
        created_at: str | datetime | None = None,
        message_id: str | None = None,
        speaker: str | None = None,
        thread: str | None = None,
        answers: str | None = None,
        lasts: timedelta | None = None,
    ) -> Episode:
        """Store what was said; it is on the disk when this returns.

        Args:
            namespace: whose memory.
            text: what was said, of any length.
            source: "user", or "agent", "tool:<name>" and the like; only what the user said may
                teach the weights by default.
            created_at: when it was said, ISO 8601 or a datetime, with the offset of the speaker.
                By default now: then it is newer than all that was said so before, even when the
                clock was set back since.
            message_id: of the message it came in; without one, saying the same again at once, on
                the same day in the same thread, is one episode.
            speaker: who of several people said it.
            thread: of the conversation.
            answers: what the agent had said before: the question that this answers.
            lasts: how long it holds, such as a price: it is never learned, not recalled any more
                afterwards, and forgotten by the next night.

        Raises:
            NamespaceError: the namespace names no owner.
            EpisodeError: the text is empty or no text, `created_at` is no time, `lasts` is no
                duration, or a rule of `PolicyConfig` refuses it.
            FolderError: the ledger cannot be written, such as on a full disk; nothing is stored
                then. What cannot be embedded is stored.
        """
        check_text(text, "episode")
        by_clock = created_at is None or created_at == ""
        episode = Episode(
            check_namespace(namespace),
            text.strip(),
            source,
            local_now() if by_clock else check_time(created_at, "created_at").isoformat(),
            message_id,
            speaker,
            thread,
            answers,
        )
        if lasts is not None:
            episode = replace(episode, lasts=check_end(lasts, episode.created_at))
        return observing.observe(self._day, episode, by_clock=by_clock)

    def observe_messages(  # noqa: PLR0913 - nearly all of it are keywords
        self,
        namespace: Iterable[str],
        messages: Sequence[BaseMessage],
        *,
        thread: str | None = None,
        said_at: str | datetime | None = None,
        zone: tzinfo | None = None,
        tools: Collection[str] | None = None,
        by_agent: bool = False,
        ended: bool = False,
    ) -> None:
        """Store what happened in a conversation and is not stored yet.

        What users said, what tools returned, what the agent carried out. What cannot be stored is
        left out and logged in the ledger, so that the turn goes on.

        Args:
            namespace: whose memory.
            messages: the conversation so far, in any form that LangChain takes.
            thread: of the conversation.
            said_at: the time where the speaker is, ISO 8601 or a datetime; now by default, as
                in `observe`.
            zone: where the speaker is, for now; where this process runs by default.
            tools: names of the agent's tools, when they are known.
            by_agent: whether an agent wrote its human messages, one that calls another; they are
                not stored.
            ended: whether it is over, so that a tool's result that is its last message is the
                answer.
        """
        owner = check_namespace(namespace)
        if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
            check(messages, (), what="messages", expected="a list of LangChain messages")
        check_id(thread, "thread")
        check(zone, (tzinfo, type(None)), what="zone", expected="a tzinfo, or nothing")
        if tools is not None:
            texts(tools, "tools")
        when = None if said_at == "" else said_at
        turn = observing.Turn(
            owner, thread, when, zone, tools=tools, by_agent=by_agent, ended=ended
        )
        observing.observe_messages(self._day, turn, messages=messages)

    def recall(  # noqa: PLR0913 - what is asked, and how: nearly all of them keywords
        self,
        namespace: Iterable[str],
        question: str,
        *,
        holds_experts: bool = True,
        today: str | date | None = None,
        seen: Iterable[str] = (),
        message_id: str | None = None,
        speaker: str | None = None,
        log: bool = True,
    ) -> Recall:
        """Let the gate choose how `question` is answered, and fetch what it needs.

        Args:
            namespace: whose memory.
            question: what the user says: a question, a request, half a sentence.
            holds_experts: whether the model that answers is `chat_model()`; any other reads all
                that the weights would have answered.
            today: the date where the user is, for "yesterday"; this machine's by default.
            seen: what the model has before it anyway, and need not be recalled.
            message_id: of the message that asks, which is no memory of itself.
            speaker: who of several people asks: what another told, the weights do not answer.
            log: keep the decision and its reason: the retrieval-load curve is drawn from them.

        Raises:
            EpisodeError: the question is empty or no text, or `today` is no date.
            FolderError: the index was made with other embeddings.
        """
        owner = check_namespace(namespace)
        asked = _asked(question, today, seen, message_id, speaker=speaker)
        holds = holds_experts and self._holds(owner)
        return recalling.recall(self._day, owner, asked=asked, holds_experts=holds, log=log)

    def may_look_again(self, namespace: Iterable[str], first: Recall, *, reply: AIMessage) -> bool:
        """Whether `reply`, given after `first`, does not do although not everything was searched.

        It admits not knowing, or comes unsure, from the weights.
        """
        owner = check_namespace(namespace)
        _check_first(first, reply)
        return answer.may_look_again(self._day, owner, first=first, answer=reply)

    def second_look(  # noqa: PLR0913 - as `recall`: nearly all of them keywords
        self,
        namespace: Iterable[str],
        question: str,
        *,
        first: Recall,
        reply: AIMessage,
        today: str | date | None = None,
        seen: Iterable[str] = (),
        message_id: str | None = None,
        speaker: str | None = None,
        log: bool = True,
    ) -> Recall | None:
        """What everything that holds has to the question, when `reply` did not do; else None.

        Args:
            namespace: whose memory.
            question: what the user asked.
            first: what `recall` gave.
            reply: what the model answered with it.
            today: the date where the user is.
            seen: what the model has before it anyway.
            message_id: of the message that asks.
            speaker: who of several people asks.
            log: keep the decision.
        """
        owner = check_namespace(namespace)
        _check_first(first, reply)
        asked = _asked(question, today, seen, message_id, speaker=speaker)
        return answer.second_look(self._day, owner, asked=asked, first=first, answer=reply, log=log)

    def last_look(self, namespace: Iterable[str], question: str) -> Recall | None:
        """The newest logged decision about this question, without its memories."""
        check_text(question, "question")
        return self.ledger.turns.last_look(check_namespace(namespace), question)

    def search(self, namespace: Iterable[str], question: str, *, log: bool = True) -> Recall:
        """Search everything that holds, learned or not, whatever the gate says."""
        owner = check_namespace(namespace)
        return recalling.look_again(self._day, owner, asked=_asked(question), log=log)

    def context(
        self,
        recall: Recall,
        system: str = "",
        *,
        today: str | date | None = None,
        speaker: str | None = None,
    ) -> str:
        """The system message that carries what was recalled, after the agent's own `system`.

        Just `system` when nothing was. `today`, the date where the user is, and who of several
        speaks are told, too.
        """
        check(recall, Recall, what="recall", expected="what memory.recall gave")
        check(system, str, what="system", expected="text")
        check(speaker, (str, type(None)), what="speaker", expected="text, or nothing")
        day = None if today is None else check_day(today)
        return recalling.context_message(recall, system, today=day, speaker=speaker)

    def ask(
        self,
        namespace: Iterable[str],
        question: str,
        *,
        today: str | date | None = None,
        speaker: str | None = None,
        log: bool = True,
    ) -> Answer:
        """Gate, answer, and everything that holds when the weights do not know.

        Stores nothing but the gate's log, and that only with `log`. `today` is the date where the
        user is, `speaker` who of several people asks.
        """
        owner, asked = check_namespace(namespace), _asked(question, today, speaker=speaker)
        return answer.ask(self._day, owner, asked=asked, model=self.chat_model(owner), log=log)

    def safely(
        self, what: str, call: Callable[[], T], *, otherwise: T, namespace: Iterable[str] = ()
    ) -> T:
        """Do it, or go on without: what a host calls within a turn, which the memory must not end.

        A failure is logged, as an event of the ledger, too, and counted in `status`. That a run
        does not say whose memory it means is no failure of the memory: it raises.
        """
        owner = check_namespace(namespace) if namespace else ()
        return safely(self._day, what, call=call, otherwise=otherwise, namespace=owner)

    def is_tired(self, namespace: Iterable[str]) -> bool:
        """Whether enough came in since the last night (`SleepConfig.tired_at`) to learn from."""
        return self._schedule.is_tired(check_namespace(namespace))

    # The night

    def sleep(
        self,
        namespace: Iterable[str] = DEFAULT_NAMESPACE,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        *,
        stop: threading.Event | None = None,
        dry_run: bool = False,
        review: Review | None = None,
    ) -> NightReport:
        """Consolidate the buffer of `namespace` into a new expert, if the exam says so.

        Then, when a slower level is due (`SleepConfig.levels`), the experts of the faster one into
        one of its own. Goes on with an interrupted night. The agent keeps answering meanwhile,
        with the experts it had: the night trains a model of its own on the same base in memory.

        Args:
            namespace: whose night.
            on_event: receives progress events, dicts with a `step`.
            stop: when set, the night is interrupted at the next step of seeding or of the night,
                with KeyboardInterrupt; the next `sleep` goes on.
            dry_run: do everything but change what is answered from: the report says what the night
                would come to.
            review: gets what the night is about to learn, as plain JSON: its "lines", each with an
                "id", the "text", and the words that "told" it; returns the texts to be learned, by
                id. What is left out is never learned and stays in the buffer. Whatever it raises,
                as LangGraph's `interrupt` does, leaves the night waiting there.

        Raises:
            ConfigError: the night waits for a review and there is none, or it was answered with
                something else.
            FolderLocked: another process has a night of this owner.
        """
        owner = check_namespace(namespace)
        check_setting(on_event, (Callable, type(None)), what="on_event", expected="a function")
        check_setting(review, (Callable, type(None)), what="review", expected="a function")
        check_setting(
            stop, (threading.Event, type(None)), what="stop", expected="a threading.Event"
        )
        with self._sleeping, self._opened.night(owner):
            retired = self._retired()
            report = self._schedule.sleep(
                owner, on_event=on_event, stop=stop, is_dry=dry_run, review=review
            )
            # Retired since before this night: no answer under way still needs them.
            for name in retired & self._retired():
                self.local.drop_expert(name)
        return report

    def due_nights(self, *, least: int | None = None) -> list[Namespace]:
        """Whose night is due: enough came in since the last one, or it was interrupted.

        Args:
            least: how much is enough; `SleepConfig.tired_at` by default.

        Raises:
            ConfigError: `least` is no number above 0.
        """
        if least is not None:
            check_setting(least, int, what="least", expected="a whole number above 0")
            if least < 1:
                raise ConfigError(
                    f"least is {least}; a night with nothing to learn from is never due. "
                    "Pass a whole number above 0, or nothing."
                )
        return self._schedule.due_nights(least)

    def episodes(self, namespace: Iterable[str], ids: Iterable[str]) -> list[Episode]:
        """The owner's of these that still hold, in any order: not outdated, not said again."""
        chosen_ids = texts(ids, "ids", error=EpisodeError)
        return self.ledger.episodes.get(check_namespace(namespace), chosen_ids)

    def nights(self, namespace: Iterable[str]) -> list[dict[str, Any]]:
        """Reports of the owner's nights that have ended, oldest first, as plain JSON."""
        finished = self.ledger.nights.finished(check_namespace(namespace))
        return [night.report for night in finished]

    def notes(self, namespace: Iterable[str]) -> list[Note]:
        """What nights drew from the owner's episodes, a statement each, as it was drawn."""
        owner = check_namespace(namespace)
        return self.ledger.notes.of(owner, self.ledger.episodes.ids(owner))

    def rollback(self, namespace: Iterable[str], nights: Iterable[str]) -> list[str]:
        """Make exactly the experts of these nights live.

        What other nights taught goes back to the buffer; returns those episode ids.

        Raises:
            ExpertError: a night made no expert, or its files are missing or damaged.
            FolderLocked: a night of this owner runs.
        """
        owner, wanted = check_namespace(namespace), texts(nights, "nights", error=ExpertError)
        with self._opened.night(owner):
            return self._opened.rollback(owner, wanted)

    # Trust

    def why(
        self, namespace: Iterable[str], question: str, *, today: str | date | None = None
    ) -> Why:
        """Why `question` is answered as it is, and the proof: what is answered without that.

        From the weights: with each live expert switched off in turn. From memories: without them.
        Stores nothing, logs nothing.

        Raises:
            ModelError: a server answers by day, which has the experts together only.
        """
        owner, asked = check_namespace(namespace), _asked(question, today)
        if self._served is not None:
            raise ModelError(
                f"the server {self._served.name} has the experts together only, and none can be "
                "switched off alone. Open the folder without `chat_model` to ask why."
            )
        return why(self._day, owner, asked=asked, model=self.chat_model(owner))

    def forget(  # noqa: PLR0913 - the ways to choose what is forgotten
        self,
        namespace: Iterable[str],
        *,
        episodes: Iterable[str] = (),
        notes: Iterable[str] = (),
        about: str = "",
        before: str = "",
        everything: bool = False,
        confirmed: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> Forgotten:
        """Forget what was told, all that was made of it, and every expert that may have seen it.

        Down to the bytes of the folder's files; backups are yours. What else these experts held is
        answered by retrieval at once, and learned again by the next nights.

        Args:
            namespace: whose.
            episodes: their ids.
            notes: ids of notes; each goes with the episode that tells it.
            about: in words; all that is about as near to them as the nearest, outdated or not.
            before: an ISO date; all that happened before that day.
            everything: all of this namespace.
            confirmed: `erasure.ids` of a dry run of the same choice: these go, whatever was told
                since, and the receipt says how they were chosen.
            dry_run: change nothing, and tell what would go.

        Raises:
            EpisodeError: nothing chosen, or no such episode, note or day.
            FolderLocked: a night of this owner runs.
            FolderError: the folder is read only, another process has a file open that must be
                written anew, or the embeddings fail, which `about` needs.
        """
        owner = check_namespace(namespace)
        self._opened.check_writable()
        choice = Choice(
            texts(episodes, "episodes", error=EpisodeError),
            texts(notes, "notes", error=EpisodeError),
            about,
            before,
            everything,
        )
        if confirmed is not None:
            choice = choice._replace(confirmed=texts(confirmed, "confirmed", error=EpisodeError))
        elif about:
            found = recalling.about(self._day, owner, asked=_asked(about))
            choice = choice._replace(found=[one.id for one in found])
        if dry_run:
            _, ids = chosen(self.ledger, owner, choice=choice)
            return Forgotten(planned(self.ledger, owner, episode_ids=ids), None)
        # What a night is learning now would not be in the plan.
        with self._opened.night(owner):
            asked, ids = chosen(self.ledger, owner, choice=choice)
            erasure = planned(self.ledger, owner, episode_ids=ids)
            proof = self._proof(erasure)
            receipt = self._opened.forget(erasure, asked=asked, proof=proof)
            self.looks.drop(owner)
        return Forgotten(erasure, receipt)

    def _proof(self, erasure: Erasure) -> dict[str, int]:
        """What is answered about it closed-book, for the receipt; nothing where no expert goes."""
        if erasure.experts:
            # What is damaged, or not installed, keeps nothing from being forgotten.
            with suppress(SleepmemError), from_extra("serve", "asking what is forgotten"):
                from sleepmem.night.forgetting import proven

                return proven(self.local, self.ledger, experts=self.experts, erasure=erasure)
        return {}

    def receipts(self) -> list[Receipt]:
        """Of all that was forgotten, oldest first; `verify` checks that none was changed."""
        return self.ledger.receipts.all()

    # Leave and move

    def export_to(self, namespace: Iterable[str], path: str | Path) -> Manifest:
        """Write all of an owner's memory into a new folder, as plain files.

        Episodes, notes, questions and nights as JSON lines, live experts as PEFT adapters, habits
        that `ModelConfig.habits` names, and a manifest with hashes.

        Args:
            namespace: whose.
            path: the new folder.

        Raises:
            FolderError: it exists or cannot be written.
            ExpertError: a live expert is missing or damaged.
            ModelError: `ModelConfig.habits` names a folder that holds none.
        """
        check_path(path, what="path", expected="the path of a new folder")
        owner = check_namespace(namespace)
        habits = own_habits(self.config.model, sha256=self.ledger.habits)
        return leave(self.ledger, self.experts, namespace=owner, to=Path(path), habits=habits)

    def export_gguf(
        self,
        namespace: Iterable[str],
        path: str | Path,
        *,
        base: str | Path | None = None,
        quantised: str | None = None,
    ) -> tuple[Path, ...]:
        """Write the live experts of `namespace` for llama.cpp and Ollama, into a new folder.

        One LoRA with the model's habits in it, named by `adapter_name`, and a Modelfile; beside it
        the habits alone, with which memories are read.

        Args:
            namespace: whose experts.
            path: the new folder.
            base: GGUF file of the model; that of this memory by default, when it is one.
            quantised: "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1" or "Q4_0": instead, a whole model with
                them merged into its weights, in this form.

        Returns:
            The files: of the experts, and of the habits if there are any.

        Raises:
            ConfigError: there is no such form.
            ExpertError: nothing is live and there are no habits, or an expert is missing, damaged
                or of other habits.
            FolderError: the folder exists or cannot be written.
            ModelError: the base is no GGUF file, or not that of the model, or llama.cpp's layout of
                it is not known.
        """
        check_path(path, what="path", expected="the path of a new folder")
        owner = check_namespace(namespace)
        return self._adapters.write(owner, Path(path), base=base, quantised=quantised)

    def import_from(
        self,
        namespace: Iterable[str],
        path: str | Path | BaseStore,
        *,
        form: str | None = None,
        trusted: bool | None = None,
        user: str | None = None,
    ) -> Imported:
        """Take in an export: our own, or one of another memory or chat.

        Our own comes back as it was where the owner has nothing here and the base model is the
        same; else its episodes are learned by the next nights. What is there already is not stored
        twice.

        Args:
            namespace: whose it becomes.
            path: what `export_to` wrote; or a file, a folder or a .zip of mem0, LangMem, Markdown,
                ChatGPT or Claude; or a store of LangGraph itself.
            form: "mem0", "langmem", "markdown", "chatgpt" or "claude"; recognised by default.
            trusted: whether it may teach the weights. By default an export of our own may, for its
                hashes are its sender's, and so do its experts; memories that another model wrote
                may not. What is there already stays as it came in first.
            user: whose of an export that holds several users', as it calls them: `user_id` of
                mem0, the namespace of a LangGraph store with slashes between its parts, the
                account of Claude; "" for what it gives to nobody.

        Raises:
            ConfigError: the form is none, or `user` is given for an export of our own.
            NamespaceError: it holds several users' and none is chosen, or nothing of this one.
            FolderError: it is not there, not whole, or the folder is read only.
            EpisodeError: it is of no known form, or an entry is not what it must be.
            FolderLocked: a night of this owner runs.
        """
        check(user, (str, type(None)), what="user", expected="text, or nothing")
        owner, wanted = check_namespace(namespace), as_form(form)
        source = _source(path)
        ours = source if wanted is None and isinstance(source, Path) and is_export(source) else None
        if ours and user is not None:
            raise ConfigError(
                f"user={user!r:.60} is given, and {ours} is an export of sleepmem, which holds "
                "one owner's alone; leave it out."
            )
        with self._opened.night(owner):
            if ours:
                imported = self._opened.take_in(
                    owner,
                    Export(ours, trusted is not False),
                    model=self.model,
                    policy=self.config.policy,
                )
            else:
                imported = importing.take_in(
                    self._day, owner, path=source, form=wanted, trusted=bool(trusted), user=user
                )
        self._opened.catch_up(owner)
        return imported

    # Care

    def reindex(self) -> None:
        """Make the index anew, with the embeddings that the folder is open with."""
        self._opened.reindex()

    def reconcile(self, *, check_experts: bool = True) -> None:
        """Bring experts, vectors and index to what the ledger says.

        What a killed process left half done is taken back or finished.
        """
        self._opened.reconcile(check_experts=check_experts)
        self._opened.reconcile_index()

    def backup(self, path: str | Path) -> None:
        """Copy ledger and live experts into a new folder, while this and others go on.

        The copy is a memory folder; its index is made anew when it is opened.

        Raises:
            FolderError: `path` exists or cannot be written.
            ExpertError: a live expert is missing or damaged.
        """
        check_path(path, what="path", expected="the path of a new folder")
        backup(self.ledger.database, Path(path))

    def verify(self) -> list[str]:
        """What does not agree, one sentence each; empty when all is sound.

        Beside the process that has the index, and read only, it is not looked at:
        `memory.buffer.sees_index()` tells.
        """
        return [*self._opened.verify(), *recalling.faults(self._day)]

    def status(self) -> list[dict[str, Any]]:
        """Per namespace: episodes, buffered, learned, experts, nights, share that retrieved."""
        return status(self.ledger)

    def decisions(self) -> list[dict[str, Any]]:
        """Of all owners together, for a meter: per view and look, decisions and memory tokens."""
        return self.ledger.turns.totals()

    # The model

    @property
    def local(self) -> LocalModel:
        """The model that answers by day, loaded when first used."""
        with self._loading:
            if self._local is None:
                local = self._bases.local(
                    self.model,
                    self.config.model,
                    experts_per_token=self.config.sleep.experts_per_token,
                    cache=self._opened.models,
                )
                self._opened.remember_model(self.model, local.habits)
                self._local = local
            return self._local

    def chat_model(self, namespace: Iterable[str] | None = None, **settings: Any) -> SleepChatModel:
        """A LangChain chat model over the base and the live experts of `namespace`.

        Or of the namespace that the recall node of a graph means, or the running graph names.

        Args:
            namespace: whose experts answer, whatever a graph names.
            settings: LangChain's of a chat model, such as `max_tokens`, `temperature`, `stop`.
        """
        from sleepmem.day.chat import SleepChatModel

        return SleepChatModel(
            local=self._served or self.local,
            live=self.live_experts,
            holds=self._holds,
            where=current_namespace,
            abstention=lambda owner: recalling.abstention(self._day, owner),
            namespace=None if namespace is None else check_namespace(namespace),
            **{"max_tokens": self.config.max_new_tokens, **settings},
        )

    def live_experts(self, namespace: Iterable[str]) -> tuple[str, ...]:
        """Names of the experts that answer for `namespace`, oldest first, loaded by day.

        A server loads its own.
        """
        names = self._adapters.live(check_namespace(namespace))
        if self._served is None:
            self.experts.load(self.local, names)
        return names

    def learners(self) -> list[Namespace]:
        """Whose experts are live, in the order of their nights."""
        return list(dict.fromkeys(one.namespace for one in self.ledger.lineage.experts()))

    def adapter_name(self, namespace: Iterable[str] | None = None) -> str:
        """What `export_gguf` calls the experts that are live for `namespace`; empty of nothing.

        Without one, the habits alone. Other experts, or other habits, have another name, and none
        is used again.
        """
        live = () if namespace is None else self._adapters.live(check_namespace(namespace))
        return self._adapters.name(live)

    def _holds(self, owner: Namespace) -> bool:
        """Whether the model that answers by day has the live experts, or may load them."""
        return self._served is None or self._served.has(self._adapters.live(owner))

    def _retired(self) -> set[str]:
        """Experts in the day's model that answer for nobody any more."""
        if self._local is None:
            return set()
        live = {expert.name for expert in self.ledger.lineage.experts()}
        return set(self._local.experts) - live

    aobserve = async_twin(observe)
    aobserve_messages = async_twin(observe_messages)
    arecall = async_twin(recall)
    asecond_look = async_twin(second_look)
    asearch = async_twin(search)
    areindex = async_twin(reindex)
    abackup = async_twin(backup)
    aask = async_twin(ask)
    asleep = async_twin(sleep, executor=lambda memory: memory._nights)
    ais_tired = async_twin(is_tired)
    arollback = async_twin(rollback)
    aforget = async_twin(forget)
    aexport_to = async_twin(export_to)
    aexport_gguf = async_twin(export_gguf)
    aimport_from = async_twin(import_from)
    awhy = async_twin(why)


def _settings(config: MemoryConfig | None, *, append_only: bool, read_only: bool) -> MemoryConfig:
    if not isinstance(config, MemoryConfig | None):
        raise ConfigError(
            f"config is a {type(config).__name__}; it must be a MemoryConfig, such as "
            "MemoryConfig(sleep=SleepConfig())."
        )
    if append_only and read_only:
        raise ConfigError(
            "append_only=True and read_only=True are both given; what is only read cannot be "
            "appended to. Pass one of them."
        )
    return config or MemoryConfig()


def _asked(
    question: str,
    today: str | date | None = None,
    seen: Iterable[str] = (),
    message_id: str | None = None,
    *,
    speaker: str | None = None,
) -> Asked:
    check_text(question, "question")
    check(speaker, (str, type(None)), what="speaker", expected="text, or nothing")
    check_id(message_id, "message_id")
    day = check_day(local_now() if today is None else today)
    asks = None if message_id is None else readable(message_id)
    return Asked(question, day, frozenset(map(terms, texts(seen, "seen"))), asks, speaker)


def _source(given: str | Path | BaseStore) -> Path | BaseStore:
    """What is imported: a store of LangGraph as it is, anything else as a path."""
    from langgraph.store.base import BaseStore

    if isinstance(given, BaseStore):
        return given
    check_path(given, what="path", expected="the path of an export, or a store of LangGraph")
    return Path(given)


def _check_first(first: Recall, reply: AIMessage) -> None:
    check(first, Recall, what="first", expected="what memory.recall gave")
    check_has(reply, "response_metadata", what="reply", expected="the AIMessage that was answered")


def _default_embeddings() -> Embeddings:
    """Imported when nobody brings their own: LangChain's embeddings take their time."""
    from sleepmem.text.embeddings import default_embeddings

    return default_embeddings()
