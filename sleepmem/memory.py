"""SleepMemory: one memory folder, by day and by night. Decides nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepmem._async import async_twin
from sleepmem._extras import from_extra
from sleepmem.config import MemoryConfig
from sleepmem.day import answer
from sleepmem.day import observe as observing
from sleepmem.day import recall as recalling
from sleepmem.day.answer import Answer
from sleepmem.day.namespace import current_namespace
from sleepmem.day.state import DayContext
from sleepmem.errors import ConfigError
from sleepmem.night.schedule import Schedule
from sleepmem.records import (
    USER,
    Episode,
    Namespace,
    NightReport,
    Recall,
    check_namespace,
    check_text,
    now,
)
from sleepmem.report.data import status
from sleepmem.stores.folder import Folder

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.messages import AIMessage, BaseMessage

    from sleepmem.day.chat import SleepChatModel
    from sleepmem.model.local import LocalModel
    from sleepmem.night.rewards import Semantic
    from sleepmem.stores.buffer import Buffer
    from sleepmem.stores.expert_folder import ExpertFolders
    from sleepmem.stores.ledger import Ledger

DEFAULT_NAMESPACE: Namespace = ("default",)


class SleepMemory:
    """One agent's memory in one folder: answers by day, learns by night.

        with SleepMemory.open("agent-memory") as memory:
            memory.observe(("alice",), "Mara lives in Brenport.")
            memory.ask(("alice",), "Where does Mara live?").text    # "Brenport."
            memory.sleep(("alice",)).verdict                        # Verdict.PROMOTED

    Day      observe, observe_messages, recall, second_look, last_look, search_archive, context,
             ask, is_tired
    Night    sleep, rollback
    Care     verify, reconcile, status, close
    Model    local, chat_model, live_experts

    No torch until `ask`, `chat_model` or `sleep`, and until the first text for the default
    embeddings. What takes time has an `a...` twin.
    """

    def __init__(
        self,
        opened: Folder,
        day: DayContext,
        *,
        config: MemoryConfig,
        semantic: Semantic | None = None,
    ) -> None:
        self.config = config
        self._opened, self._day = opened, day
        self._schedule = Schedule(
            opened,
            day.model,
            config=config.sleep,
            embeddings=day.embeddings,
            semantic=semantic,
        )
        self._local: LocalModel | None = None
        self._loading, self._sleeping = threading.Lock(), threading.Lock()

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
        check_experts: bool = True,
        reconcile: bool = True,
        semantic: Semantic | None = None,
    ) -> SleepMemory:
        """Open the memory in `folder`, creating it when new; ledger, index and experts agree then.

        Args:
            folder: the memory folder.
            model: hub id or folder of any causal language model with a chat template, or
                "embedded"; by default the one this folder was last used with, at first the
                embedded model.
            embeddings: any LangChain embeddings; all-MiniLM-L6-v2 by default.
            config: settings of gate and night.
            chroma_client: a client of your own Chroma server, instead of files in the folder.
            append_only: only `observe`, beside another process that has the folder open.
            check_experts: refuse to open when an expert is missing or damaged; `rollback` needs
                it off.
            reconcile: bring ledger, index and experts to agree; off for a look at what does not.
            semantic: frozen judge of the imitation reward, (answer, wanted) -> 1.0 when they mean
                the same, else 0.0; the embeddings by default.

        Raises:
            ConfigError: `config` is the settings of one phase, not of the memory.
            FolderError: the folder cannot be created, read or written.
            FolderLocked: another process has it open for writing.
            LedgerError: the ledger is foreign, damaged or newer.
            ModelError: there is no such model folder.
            ExpertError: a live expert is missing or damaged, or was trained on another model.
        """
        if not isinstance(config, MemoryConfig | None):
            raise ConfigError(
                f"config is a {type(config).__name__}; it must be a MemoryConfig, such as "
                "MemoryConfig(sleep=SleepConfig())."
            )
        vectors = embeddings or _default_embeddings()
        settings = config or MemoryConfig()
        opened = Folder(Path(folder), vectors, chroma_client=chroma_client, append_only=append_only)
        try:
            day = DayContext(opened, vectors, settings.gate, opened.model_to_use(model))
            memory = cls(opened, day, config=settings, semantic=semantic)
            if reconcile and not append_only:
                opened.reconcile(check_experts=check_experts)
        except BaseException:
            opened.close()
            raise
        return memory

    def close(self) -> None:
        """Close ledger and index, and let others open the folder."""
        self._opened.close()

    def __enter__(self) -> SleepMemory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        return self._opened.path

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
        """Hub id or folder of the model."""
        return self._day.model

    # The day

    def observe(
        self,
        namespace: Iterable[str],
        text: str,
        *,
        source: str = USER,
        created_at: str | None = None,
        message_id: str | None = None,
    ) -> Episode:
        """Store what was said; it is on the disk when this returns. The same is stored once.

        Args:
            namespace: whose memory.
            text: what was said.
            source: "user", or "tool:<name>" and the like; only what the user said may teach the
                weights by default.
            created_at: when it was said, ISO 8601; now by default.
            message_id: of the message it came in; without one, saying the same again is one
                episode until something newer is said about it.

        Raises:
            NamespaceError: the namespace is unsafe.
            EpisodeError: the text is empty, no text or too long.
            FolderError: the disk is full.
        """
        owner = check_namespace(namespace)
        episode = Episode(owner, text.strip(), source, created_at or now(), message_id)
        return observing.observe(self._day, episode)

    def observe_messages(self, namespace: Iterable[str], messages: Sequence[BaseMessage]) -> None:
        """Store what was said in a conversation and is not stored yet.

        Statements of the user, and what tools returned. What cannot be stored (too long, see
        `observe`) is left out and logged in the ledger, so that the turn goes on.
        """
        owner = check_namespace(namespace)
        observing.observe_messages(self._day, owner, messages=messages)

    def recall(
        self,
        namespace: Iterable[str],
        question: str,
        *,
        holds_experts: bool = True,
        log: bool = True,
    ) -> Recall:
        """Let the gate choose how `question` is answered, and fetch what it needs.

        Args:
            namespace: whose memory.
            question: what the user asks.
            holds_experts: whether the model that answers is `chat_model()`; any other gets all
                that the weights would have answered as memories.
            log: keep the decision and its reason: the retrieval-load curve is drawn from them.

        Raises:
            EpisodeError: the question is empty or no text.
        """
        owner = check_namespace(namespace)
        check_text(question, "question")
        return answer.first_look(
            self._day, owner, question=question, holds_experts=holds_experts, log=log
        )

    def second_look(
        self,
        namespace: Iterable[str],
        question: str,
        *,
        first: Recall,
        reply: AIMessage,
        log: bool = True,
    ) -> Recall | None:
        """What the archive holds, when `reply` did not do; None when it stands.

        It did not do when it admits not knowing, or comes unsure from the weights, although the
        archive was not searched yet.

        Args:
            namespace: whose memory.
            question: what the user asked.
            first: what `recall` gave.
            reply: what the model answered with it.
            log: keep the decision.
        """
        owner = check_namespace(namespace)
        return answer.second_look(
            self._day, owner, question=question, first=first, answer=reply, log=log
        )

    def last_look(self, namespace: Iterable[str], question: str) -> Recall | None:
        """The newest logged decision about this question, without its memories."""
        return self.ledger.turns.last_look(check_namespace(namespace), question)

    def search_archive(
        self, namespace: Iterable[str], question: str, *, log: bool = True
    ) -> Recall:
        """Full-text search over everything ever stored: the last resort."""
        owner = check_namespace(namespace)
        return recalling.search_archive(self._day, owner, question=question, log=log)

    def context(self, recall: Recall, system: str = "") -> str:
        """The system message that carries what was recalled, after the agent's own `system`.

        Just `system` when nothing was.
        """
        return recalling.context_message(recall, system)

    def ask(self, namespace: Iterable[str], question: str) -> Answer:
        """Gate, answer, and the archive when the model does not know.

        Stores nothing but the gate's log.
        """
        owner = check_namespace(namespace)
        check_text(question, "question")
        return answer.ask(self._day, owner, question=question, model=self.chat_model(owner))

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
    ) -> NightReport:
        """Consolidate the buffer of `namespace` into a new expert, if the exam says so.

        Then, when a slower level is due (`SleepConfig.levels`), the experts of the faster one into
        one of its own. Goes on with an interrupted night. The agent keeps answering meanwhile,
        with the experts it had: the night trains a copy of the model of its own.

        Args:
            namespace: whose night.
            on_event: receives progress events, dicts with a `step`.
            stop: when set, the night is interrupted at the next step of seeding or of the night,
                with KeyboardInterrupt; the next `sleep` goes on.
        """
        owner = check_namespace(namespace)
        with self._sleeping:
            retired = self._retired()
            report = self._schedule.sleep(owner, on_event=on_event, stop=stop)
            # Retired since before this night: no answer under way still needs them.
            for name in retired & self._retired():
                self.local.drop_expert(name)
        return report

    def rollback(self, namespace: Iterable[str], nights: Iterable[str]) -> list[str]:
        """Make exactly the experts of these nights live.

        What other nights taught goes back to the buffer; returns those episode ids.

        Raises:
            ExpertError: a night made no expert, or its files are missing or damaged.
        """
        return self._opened.rollback(check_namespace(namespace), list(nights))

    # Care

    def reconcile(self, *, check_experts: bool = True) -> None:
        """Bring index and expert folders to what the ledger says.

        What a killed process left half done is taken back or finished.
        """
        self._opened.reconcile(check_experts=check_experts)

    def verify(self) -> list[str]:
        """What does not agree, one sentence each; empty when all is sound."""
        return self._opened.verify()

    def status(self) -> list[dict[str, Any]]:
        """Per namespace: episodes, buffered, learned, experts, nights, share that retrieved."""
        return status(self.ledger)

    # The model

    @property
    def local(self) -> LocalModel:
        """The model that answers by day, loaded when first used."""
        with self._loading:
            if self._local is None:
                with from_extra("serve", "answering with the memory's own model"):
                    from sleepmem.model.local import LocalModel

                experts_per_token = self.config.sleep.experts_per_token
                self._local = LocalModel(self.model, experts_per_token=experts_per_token)
                self._opened.remember_model(self.model)
            return self._local

    def chat_model(self, namespace: Iterable[str] | None = None) -> SleepChatModel:
        """A LangChain chat model over the base and the live experts of `namespace`.

        Or of the namespace that the running graph names.
        """
        from sleepmem.day.chat import SleepChatModel

        return SleepChatModel(
            local=self.local,
            live=self.live_experts,
            where=current_namespace,
            namespace=None if namespace is None else check_namespace(namespace),
            max_new_tokens=self.config.max_new_tokens,
        )

    def live_experts(self, namespace: Iterable[str]) -> tuple[str, ...]:
        """Names of the experts that answer for `namespace`, oldest first, loaded by day."""
        experts = self.ledger.lineage.experts(check_namespace(namespace))
        names = tuple(expert.name for expert in experts)
        self.experts.load(self.local, names)
        return names

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
    asearch_archive = async_twin(search_archive)
    aask = async_twin(ask)
    asleep = async_twin(sleep)
    ais_tired = async_twin(is_tired)
    arollback = async_twin(rollback)


def _default_embeddings() -> Embeddings:
    """Imported when nobody brings their own: LangChain's embeddings take their time."""
    from sleepmem.text.embeddings import MiniLMEmbeddings

    return MiniLMEmbeddings()
