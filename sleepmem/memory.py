"""SleepMemory: one memory folder, by day and by night.

    folder/ledger.db      the truth            folder/experts/   promoted experts
    folder/chroma/        an index of it       folder/pending/   tonight's expert, until it is promoted
    folder/nights.db      checkpoints          folder/lock       held by the one writer

The day (`observe`, `recall`) loads no model: torch is imported by `chat_model`, `ask` and `sleep` alone, and by the default
embeddings at their first text.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout
from langchain_core.embeddings import Embeddings

from sleepmem._async import async_twin
from sleepmem.config import MemoryConfig
from sleepmem.day.capture import said
from sleepmem.day.gate import Near, choose, leads_on, naming
from sleepmem.day.namespace import current_namespace
from sleepmem.errors import (
    ConfigError,
    EpisodeError,
    ExpertError,
    FolderError,
    FolderLocked,
    ModelError,
)
from sleepmem.records import (
    USER,
    Episode,
    Namespace,
    NightReport,
    Recall,
    Verdict,
    View,
    check_namespace,
    check_text,
    now,
)
from sleepmem.stores import agreement
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.expert_folder import check_expert
from sleepmem.stores.ledger import ARCHIVE, Ledger
from sleepmem.text.embeddings import MiniLMEmbeddings, cosine
from sleepmem.text.language import abstains
from sleepmem.text.prompts import closed_book, memory_line, memory_prompt
from sleepmem.text.tokens import context_length, count_tokens

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

    from sleepmem.day.chat import SleepChatModel
    from sleepmem.model.local import LocalModel
    from sleepmem.night.seeding import Semantic

EMBEDDED = Path(__file__).resolve().parent / "embedded" / "model"
DEFAULT_NAMESPACE: Namespace = ("default",)
_NEIGHBOURS = 5  # times top_k that are looked at before the names decide
_REPEATED = 0.3  # cosine at which a later episode is about the same thing, so that saying the earlier one again is news


class Answer(NamedTuple):
    """What was answered, and how it was found."""

    text: str
    recall: Recall


def _model_of(ledger: Ledger, asked: str | Path | None) -> str | Path:
    """The model this folder is opened with: the one asked for, or the one that was used last."""
    kept = _named(ledger.model or "embedded", kept=True)
    if not asked or (found := _named(asked)) == kept:
        return kept
    if (
        ledger.model
        and ledger.experts()
        and not (Path(kept).is_absolute() and not Path(kept).exists())
    ):  # a folder that was moved keeps its experts
        raise ExpertError(
            f"the experts in {ledger.path.parent} were trained on {ledger.model!r} and do not fit {str(asked)!r}. Open the folder with that model, "
            "or roll back to no expert first: what they hold goes back to the buffer, and the next night teaches the new model."
        )
    return found


def _named(model: str | Path, kept: bool = False) -> str:
    """A hub id, or the whole path of a folder; one that is gone since it was kept is told of when it is loaded."""
    if model == "embedded":
        return str(EMBEDDED)
    if Path(model).exists():
        return str(Path(model).resolve())
    if not kept and (isinstance(model, Path) or model.startswith((".", "/", "~"))):
        raise ModelError(
            f"there is no model folder {str(model)!r}. Pass a hub id, a folder made by save_pretrained, or 'embedded'."
        )
    return str(model)


class SleepMemory:
    """Open a memory with `SleepMemory.open`; close it, or use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        buffer: Buffer | None,
        embeddings: Embeddings,
        model: str | Path,
        config: MemoryConfig,
        lock: FileLock | None,
        semantic: Semantic | None = None,
    ) -> None:
        self.folder, self.ledger, self.embeddings, self.model, self.config = (
            folder,
            ledger,
            embeddings,
            str(model),
            config,
        )
        self._buffer, self._lock, self._loading, self._bed = (
            buffer,
            lock,
            threading.Lock(),
            threading.Lock(),
        )
        self._local: LocalModel | None = None
        self._semantic = semantic

    @classmethod
    def open(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        embeddings: Embeddings | None = None,
        config: MemoryConfig | None = None,
        chroma_client: Any = None,
        append_only: bool = False,
        check_experts: bool = True,
        reconcile: bool = True,
        semantic: Semantic | None = None,
    ) -> SleepMemory:
        """Open the memory in `folder`, creating it when new, and bring ledger, index and experts to agree.

        Args:
            folder: the memory folder.
            model: hub id or folder of any causal language model with a chat template, or "embedded"; by default the one this folder was last used
                with, at first the embedded model.
            embeddings: any LangChain embeddings; all-MiniLM-L6-v2 by default.
            config: settings of gate and night.
            chroma_client: a client of your own Chroma server, instead of files in the folder.
            append_only: only `observe`, beside another process that has the folder open.
            semantic: frozen judge of the imitation reward, (made, wanted) -> 1.0 when they mean the same, else 0.0; the embeddings by default.
            check_experts: refuse to open when an expert is missing or damaged; `rollback` needs it off.
            reconcile: bring ledger, index and experts to agree; off for a look at what does not.

        Raises:
            ConfigError: `config` is the settings of one phase, not of the memory.
            FolderError: the folder cannot be created, read or written.
            FolderLocked: another process has it open for writing.
            LedgerError: the ledger is foreign, damaged or newer.
            ModelError: there is no such model folder.
            ExpertError: a live expert is missing or damaged, or was trained on another model than `model`.
        """
        if not isinstance(config, MemoryConfig | None):
            raise ConfigError(
                f"config is a {type(config).__name__}; it must be a MemoryConfig, such as MemoryConfig(sleep=SleepConfig())."
            )
        at = Path(folder)
        try:
            at.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise FolderError(
                f"the memory folder {at} could not be created ({e.strerror}). Choose a folder you can write to."
            ) from e
        if not os.access(at, os.W_OK | os.X_OK):
            raise FolderError(
                f"the memory folder {at} is read-only; a memory must store what it is told. Make it writable or choose another."
            )
        lock = None
        if not append_only:
            lock = FileLock(at / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise FolderLocked(
                    f"the memory folder {at} is open for writing in another process; two writers would corrupt its index. "
                    "Close the other one, or open it with append_only=True to add episodes."
                ) from None
            except OSError as e:
                raise FolderError(
                    f"the memory folder {at} cannot be locked ({e.strerror}). Make it writable or choose another."
                ) from e
        ledger: Ledger | None = None
        try:
            ledger = Ledger(at / "ledger.db")
            vectors = embeddings or MiniLMEmbeddings()
            buffer = (
                None if append_only else Buffer(at / "chroma", vectors, chroma_client, ledger.id)
            )
            memory = cls(
                at,
                ledger,
                buffer,
                vectors,
                _model_of(ledger, model),
                config or MemoryConfig(),
                lock,
                semantic,
            )
            if reconcile and not append_only:
                memory.reconcile(check_experts)
            return memory
        except BaseException:
            if ledger:
                ledger.close()
            if lock:
                lock.release()
            raise

    def close(self) -> None:
        if self._buffer:
            self._buffer.close()
        self.ledger.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> SleepMemory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def buffer(self) -> Buffer:
        if self._buffer is None:
            raise FolderLocked(
                f"{self.folder} was opened with append_only=True; only observe works. Open it as the writer."
            )
        return self._buffer

    # The day

    def observe(
        self,
        namespace: Iterable[str],
        text: str,
        source: str = USER,
        created_at: str | None = None,
        message_id: str | None = None,
    ) -> Episode:
        """Store what was said; it is on the disk when this returns. The same episode is stored once.

        Args:
            namespace: whose memory.
            text: what was said.
            source: "user", or "tool:<name>" and the like; only what the user said may teach the weights by default.
            created_at: when it was said, ISO 8601; now by default.
            message_id: of the message it came in; without one, saying the same again is one episode until something newer is said about it.

        Raises:
            NamespaceError, EpisodeError, FolderError: the namespace is unsafe, the text empty, no text or too long, the disk full.
        """
        episode = Episode(
            check_namespace(namespace), text.strip(), source, created_at or now(), message_id
        )
        self._check_length(episode)
        if message_id is None and (same := self._repeat(episode)):
            return same
        self.ledger.add_episode(episode)
        if self._buffer:
            self._catch_up()
        return episode

    def observe_messages(self, namespace: Iterable[str], messages: Sequence[BaseMessage]) -> None:
        """Store what was said in a conversation and is not stored yet: statements of the user, and what tools returned.

        What cannot be stored (too long, see `observe`) is left out and logged in the ledger, so that the turn goes on.
        """
        owner = check_namespace(namespace)
        for s in said(messages):
            try:
                episode = Episode(owner, s.text.strip(), s.source)
                if self._repeat(episode) if s.now else self.ledger.repeats(episode):
                    continue  # a turn, or its history, that a client sends again
                self.observe(owner, s.text, s.source, message_id=s.message_id)
            except EpisodeError as e:
                self.ledger.log_event(
                    "not stored", namespace=list(owner), source=s.source, reason=str(e)
                )

    def recall(self, namespace: Iterable[str], question: str, log: bool = True) -> Recall:
        """Let the gate choose how `question` is answered, and fetch what it needs. Every decision is logged with its reason."""
        owner = check_namespace(namespace)
        check_text(question, "question")
        self._catch_up()
        vector = self.embeddings.embed_query(question)
        gate = self.config.gate
        forgotten = self.ledger.forgotten(owner)  # they must not crowd out what is new
        buffered = [
            Near(*n)
            for n in self.buffer.near(
                owner, vector, gate.memories_per_question * _NEIGHBOURS + len(forgotten)
            )
        ]
        known = [
            Near(*n)
            for n in self.buffer.near_known(owner, vector, gate.memories_per_question * _NEIGHBOURS)
        ]

        def similarity(text: str) -> float:
            return cosine(vector, self.embeddings.embed_documents([text])[0])

        def stale(text: str) -> set[str]:
            first = (
                min(
                    (e.created_at for e in self.ledger.learned(owner) if e.text in text), default=""
                )
                if forgotten
                else ""
            )
            return {i for i, told in forgotten.items() if told < first}

        view, reason, near, taught = choose(question, known, buffered, gate, stale, similarity)
        episodes: tuple[Episode, ...] = ()
        if view is View.RETRIEVAL:
            by_id = {e.id: e for e in self.ledger.buffered(owner)}
            near_ones = [
                n
                for n in buffered
                if n.id in by_id and (n.similarity >= gate.near or leads_on(taught, n.text))
            ]
            # Of those about equally near, the newest: it wins.
            near_ones.sort(
                key=lambda n: (round(n.similarity, 1), by_id[n.id].created_at), reverse=True
            )
            naming_it = [n for n in near_ones if leads_on(taught, n.text)] or naming(
                question, near_ones, lambda n: n.text
            )
            found = [by_id[n.id] for n in naming_it[: gate.memories_per_question]]
            episodes = self._fitting(
                [*(e for e in self.ledger.learned(owner) if taught and e.text in taught), *found]
            )
            if not episodes:
                episodes, reason = (
                    self._archived(owner, question),
                    f"{reason}, nor is the buffer about it; searched the archive",
                )
                view = View.RETRIEVAL if episodes else View.BASE
        return self._log(owner, question, Recall(view, reason, episodes, near), log)

    def search_archive(self, namespace: Iterable[str], question: str, log: bool = True) -> Recall:
        """Full-text search over everything ever stored, learned or not: the last resort before "I do not know"."""
        owner = check_namespace(namespace)
        found = Recall(View.RETRIEVAL, ARCHIVE, self._archived(owner, question))
        return self._log(owner, question, found, log)

    def context(self, recall: Recall, system: str = "") -> str:
        """The system message that carries what was recalled, after the agent's own `system`; just `system` when nothing was."""
        return memory_prompt(self._lines(recall), system) if recall.episodes else system

    def should_search_archive(self, recall: Recall, answer: AIMessage) -> bool:
        """Whether `answer` admits not knowing, or comes unsure from the weights, although the archive was not searched yet."""
        unsure = (
            recall.view is View.WEIGHTS
            and answer.response_metadata.get("confidence", 1.0) < self.config.gate.sure
        )
        return "archive" not in recall.reason and (unsure or abstains(answer.text))

    def ask(self, namespace: Iterable[str], question: str) -> Answer:
        """Gate, answer, and the archive when the model does not know. Stores nothing but the gate's log."""
        owner = check_namespace(namespace)
        model = self.chat_model(owner)
        found = self.recall(owner, question)
        said = self._reply(model, question, found)
        if self.should_search_archive(found, said):
            again = self.search_archive(owner, question)
            if again.episodes:
                found, said = again, self._reply(model, question, again)
        return Answer(said.text, found)

    def is_tired(self, namespace: Iterable[str]) -> bool:
        """Whether enough came in since the last night (`SleepConfig.tired_at`) that may teach the weights."""
        return (
            self.ledger.waiting(check_namespace(namespace), self.config.sleep.untrusted)
            >= self.config.sleep.tired_at
        )

    # The model

    @property
    def local(self) -> LocalModel:
        """The model that answers by day, loaded when first used."""
        with self._loading:
            if self._local is None:
                from sleepmem.model.local import LocalModel

                self._local = LocalModel(
                    self.model, experts_per_token=self.config.sleep.experts_per_token
                )
                self._keep_model()
            return self._local

    def chat_model(self, namespace: Iterable[str] | None = None) -> SleepChatModel:
        """A LangChain chat model over the base and the live experts of `namespace`, or of the namespace that the running graph names."""
        from sleepmem.day.chat import SleepChatModel

        return SleepChatModel(
            local=self.local,
            live=self.live_experts,
            where=current_namespace,
            namespace=None if namespace is None else check_namespace(namespace),
            max_new_tokens=self.config.max_new_tokens,
        )

    def live_experts(self, namespace: Iterable[str]) -> tuple[str, ...]:
        """Names of the experts that answer for `namespace`, oldest first, loaded into the day's model."""
        experts = tuple(e.name for e in self.ledger.experts(check_namespace(namespace)))
        for name in experts:
            self.local.load_expert(name, self.folder / "experts" / name)
        return experts

    def sleep(
        self,
        namespace: Iterable[str] = DEFAULT_NAMESPACE,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        stop: threading.Event | None = None,
    ) -> NightReport:
        """Consolidate the buffer of `namespace` into a new expert, if the exam says so; then, when a slower level is due
        (`SleepConfig.levels`), the experts of the faster one into one of its own. Goes on with an interrupted night.

        The agent keeps answering meanwhile, with the experts it had: the night trains a copy of the model of its own.

        Args:
            namespace: whose night.
            on_event: receives progress events, dicts with a `step`.
            stop: when set, the night is interrupted at the next step of seeding or of the night, with KeyboardInterrupt; the next `sleep` goes on.
        """
        from sleepmem.model.local import LocalModel
        from sleepmem.night import graph as night
        from sleepmem.night.state import Night
        from sleepmem.night.steps import semantic

        owner = check_namespace(namespace)
        self._catch_up()
        judge = self._semantic or semantic(self.embeddings)
        bedroom = Night(
            self.ledger,
            self.buffer,
            LocalModel(self.model, experts_per_token=self.config.sleep.experts_per_token),
            self.folder,
            self.config.sleep,
            judge,
            stop=stop,
        )
        self._keep_model()
        with self._bed:  # one night at a time
            retired = self._retired()
            report = last = night.run(bedroom, owner, on_event)
            while last.verdict in (Verdict.PROMOTED, Verdict.SKIPPED) and (
                level := self._due(owner)
            ):
                last = night.run(bedroom, owner, on_event, level)
                report = replace(report, slower=(*report.slower, last))
            for name in (
                retired & self._retired()
            ):  # since before this night: no answer under way still needs them
                self.local.drop_expert(name)
            return report

    def _retired(self) -> set[str]:
        """Experts in the day's model that answer for nobody any more."""
        return set(self._local.experts if self._local else ()) - {
            e.name for e in self.ledger.experts()
        }

    def rollback(self, namespace: Iterable[str], nights: Iterable[str]) -> list[str]:
        """Make exactly the experts of these nights live. What other nights taught goes back to the buffer; returns those episode ids."""
        owner, nights = check_namespace(namespace), list(nights)
        known = {e.night_id for e in self.ledger.experts(owner, live=False)}
        if strange := sorted(set(nights) - known):
            raise ExpertError(
                f"night {', '.join(strange)} made no expert for {owner}; it has {', '.join(sorted(known)) or 'none'}."
            )
        wanted = [e for e in self.ledger.experts(owner, live=False) if e.night_id in nights]
        absorbed = {name for e in wanted for name in e.lineage}
        for e in wanted:
            if e.name not in absorbed:
                check_expert(self.folder / "experts" / e.name)
        back = self.ledger.rollback(owner, nights)
        self.reconcile(check_experts=False)
        return back

    # Agreement

    def reconcile(self, check_experts: bool = True) -> None:
        """Bring index and expert folders to what the ledger says; what a killed process left half done is taken back or finished."""
        agreement.reconcile(self.folder, self.ledger, self.buffer, check_experts)

    def verify(self) -> list[str]:
        """What does not agree, one sentence each; empty when all is sound."""
        return agreement.verify(self.folder, self.ledger, self.buffer)

    def status(self) -> list[dict[str, Any]]:
        """Per namespace: episodes, buffered, learned, live experts, nights, share of turns that retrieved."""
        out = []
        for owner in self.ledger.namespaces():
            turns = self.ledger.turns(owner)
            retrieved = sum(t["retrieved"] for t in turns)
            out.append(
                {
                    "namespace": list(owner),
                    "episodes": len(self.ledger.episodes(owner)),
                    "buffered": len(self.ledger.buffered(owner)),
                    "learned": len(self.ledger.learned(owner)),
                    "experts": [e.name for e in self.ledger.experts(owner)],
                    "nights": len(self.ledger.nights(owner)),
                    "questions": len(turns),
                    "retrieval_rate": round(retrieved / len(turns), 3) if turns else None,
                }
            )
        return out

    aobserve = async_twin(observe)
    aobserve_messages = async_twin(observe_messages)
    arecall = async_twin(recall)
    asearch_archive = async_twin(search_archive)
    aask = async_twin(ask)
    asleep = async_twin(sleep)
    ais_tired = async_twin(is_tired)
    arollback = async_twin(rollback)

    # Inside

    def _keep_model(self) -> None:
        """For the next opening, now that it is known to load."""
        self.ledger.use_model("embedded" if self.model == str(EMBEDDED) else self.model)

    def _due(self, owner: Namespace) -> str | None:
        """The slower level whose turn it is: the one before it has made as many experts as it takes in, and it was not tried since."""
        nights = self.ledger.nights(owner)
        for faster, slower in itertools.pairwise(self.config.sleep.levels):
            made = [e.night_id for e in self.ledger.experts(owner) if e.level == faster.name]
            tried = max(
                (n["id"] for n in nights if n["report"].get("level") == slower.name), default=""
            )
            if made and len(made) % (slower.every // faster.every) == 0 and tried < made[-1]:
                return slower.name
        return None

    def _catch_up(self) -> None:
        """Index what other processes appended, or a crash left unindexed."""
        waiting: dict[Namespace, list[Episode]] = {}
        for e in self.ledger.unindexed():
            waiting.setdefault(e.namespace, []).append(e)
        for owner, episodes in waiting.items():
            self.buffer.add(owner, episodes)
            self.ledger.mark_indexed(e.id for e in episodes)

    def _repeat(self, episode: Episode) -> Episode | None:
        """The stored episode that this one repeats, unless something newer was said about the same."""
        same = self.ledger.repeats(episode)
        if not same:
            return None
        newer = [
            e
            for e in self.ledger.episodes(episode.namespace)
            if e.created_at > same[0].created_at and e.text != episode.text
        ]
        if newer:
            first, *others = self.embeddings.embed_documents(
                [episode.text, *(e.text for e in newer)]
            )
            if max(cosine(first, o) for o in others) >= _REPEATED:
                return None
        return same[0]

    def _check_length(self, episode: Episode) -> None:
        limit, length = context_length(self.model) // 2, self._tokens(episode.text)
        if limit and length > limit:
            raise EpisodeError(
                f"the episode has {length} tokens and half of the model's context is {limit}; it could be neither read nor learned. "
                "Split it into several."
            )

    def _tokens(self, text: str) -> int:
        return count_tokens(self.model, text)

    def _fitting(self, episodes: Iterable[Episode]) -> tuple[Episode, ...]:
        """As many, in this order, as fit half of the model's context."""
        left, kept = context_length(self.model) // 2 or 1 << 30, []
        for e in episodes:
            left -= self._tokens(e.text) + 8  # the date
            if left >= 0:
                kept.append(e)
        return tuple(kept)

    def _archived(self, owner: Namespace, question: str) -> tuple[Episode, ...]:
        found = self.ledger.search(
            owner, question, self.config.gate.memories_per_question * _NEIGHBOURS
        )
        return self._fitting(
            naming(question, found, lambda e: e.text)[: 2 * self.config.gate.memories_per_question]
        )

    def _lines(self, recall: Recall) -> list[str]:
        return [memory_line(e.date, e.text) for e in recall.oldest_first]

    def _log(self, owner: Namespace, question: str, recall: Recall, log: bool) -> Recall:
        if log:
            self.ledger.log_recall(
                owner,
                question,
                recall,
                self._tokens(self.context(recall)) if recall.episodes else 0,
            )
        return recall

    def _reply(self, model: SleepChatModel, question: str, recall: Recall) -> AIMessage:
        system = self.context(recall)
        messages = [{"role": "system", "content": system}] if system else []
        return model.invoke([*messages, *closed_book(question)], view=recall.view.value)
