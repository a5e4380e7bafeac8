"""A memory folder, open: its ledger, the index of it, its experts. Any number of processes may.

folder/ledger.db      the truth            folder/experts/   promoted experts
folder/chroma/        an index of it       folder/pending/   tonight's, until it is promoted
folder/nights.db      checkpoints          folder/nights/    locks: a night of an owner at a time
folder/ledger.id      whose folder it is   folder/index.lock held by the process that has the index
                                           folder/index.server  the index is on a Chroma server
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sleepmem.config import PolicyConfig
from sleepmem.errors import ExpertError, FolderError, FolderLocked, LedgerError, ModelError
from sleepmem.records import Namespace, NightReport, Receipt, Verdict, namespace_key
from sleepmem.stores import agreement, mark
from sleepmem.stores.arriving import Export, Imported, arrive
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.database import compact_checkpoints, hurried
from sleepmem.stores.erasure import Erasure, erase
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.index import Index, ServerIndex, check_client
from sleepmem.stores.index_files import FilesIndex
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.manifest import Manifest, base_of
from sleepmem.stores.nights import promoted
from sleepmem.stores.reading import read_only as opened_read_only
from sleepmem.stores.rows import intact, unreadable
from sleepmem.stores.turns import FAILED
from sleepmem.stores.vectors import REMEDY as REINDEX
from sleepmem.stores.vectors import of_others
from sleepmem.text.relatedness import UNMEASURED, Relatedness

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded" / "model"
_EMBEDDED_NAME = "embedded"


class Folder:
    """Open, or create, a memory folder.

    Args:
        path: the folder.
        embeddings: of the index.
        chroma_client: a client of your own Chroma server, instead of files in the folder.
        append_only: what is observed is stored alone; who recalls it embeds it.
        read_only: change nothing, beside any process and on any disk.

    Raises:
        FolderError: the folder cannot be created, read or written.
        LedgerError: the ledger is gone, foreign, damaged or newer.
    """

    def __init__(
        self,
        path: Path,
        embeddings: Embeddings,
        *,
        chroma_client: Any = None,
        append_only: bool = False,
        read_only: bool = False,
    ) -> None:
        self.path, self._embeddings = path, embeddings
        self.append_only, self.read_only = append_only, read_only
        self._relatedness = UNMEASURED
        self._measured: Relatedness | None = None  # of embeddings that the ledger knows not yet
        self._process, self._has_server = os.getpid(), chroma_client is not None
        if chroma_client is not None:
            check_client(chroma_client)
        if not read_only:
            _create(path)
        mark.check_ledger(path)
        self.ledger = Ledger(path / mark.LEDGER, read_only=read_only)
        seals = self.ledger.lineage.seals
        self.experts = ExpertFolders(path, seals)
        try:
            mark.check_mark(path, self.ledger.id, read_only=read_only)
            if not read_only:
                self.experts.seal_old(seals.open())
            self.buffer = Buffer(self.ledger, embeddings, self._index(chroma_client))
        except BaseException:
            self.ledger.close()
            raise

    def _index(self, chroma_client: Any) -> Index | None:
        """None where there is none to be used: then all is searched exactly.

        One process's files beside a server would be two indexes, of which the ledger knows one.
        """
        if chroma_client is not None:
            if not self.read_only and not self._on_server.exists():
                self._lost()  # what files of an index had
                self._on_server.touch()
            lock = None if self.read_only else self.path / "index.lock"
            return ServerIndex(chroma_client, lock=lock)
        if self.read_only or self._on_server.exists():
            return None
        chroma = self.path / "chroma"
        if not chroma.exists():
            self._lost()
        return FilesIndex(chroma)

    def _lost(self) -> None:
        """The index has nothing any more; where that cannot be written, a query finds it out."""
        with contextlib.suppress(FolderError), hurried():
            self.ledger.vectors.lost()

    @property
    def _on_server(self) -> Path:
        """Stands where the index is on a Chroma server."""
        return self.path / "index.server"

    @contextlib.contextmanager
    def night(self, namespace: Namespace) -> Iterator[None]:
        """Held while a night of this owner runs, or what must not run beside one.

        Raises:
            FolderLocked: another one runs.
            FolderError: the folder was opened read only.
        """
        self.check_writable()
        locks = self.path / "nights"
        name = hashlib.sha256(namespace_key(namespace).encode()).hexdigest()[:32]
        lock = FileLock(locks / f"{name}.lock", timeout=0)
        try:
            locks.mkdir(exist_ok=True)
            lock.acquire()
        except Timeout:
            raise FolderLocked(
                f"a night of {namespace}, or what excludes one, is running already in {self.path}, "
                "in another process or thread. Wait until it has ended."
            ) from None
        except OSError as error:
            raise FolderError(
                f"{error.filename or locks} cannot be locked for a night ({error.strerror or error}"
                "). Make the folder writable, and remove what stands in its place."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def check_writable(self) -> None:
        """Raise FolderError when the folder was opened read only."""
        if self.read_only:
            raise opened_read_only(self.path)

    @property
    def relatedness(self) -> Relatedness:
        """How cosines of the folder's embeddings are read, as far as it is known."""
        return self._relatedness

    def check_embeddings(self, namespace: Namespace = ()) -> bool:
        """Whether the embeddings can be asked, and are those of the folder's vectors.

        What is known of them is kept in the ledger, measured by who asks first. Looked at again
        when another process has made the index anew. An event tells that they fail, and of whom.

        Raises:
            FolderError: the index was made with other embeddings.
        """
        kept = self.ledger.embeddings
        if kept is not None and kept == self.ledger.vectors.made_with:
            return True
        known = self._known_relatedness()
        try:
            if known is None:
                self._measured = self._measured or Relatedness.measure(self._embeddings)
            is_same = known is None or known.is_of(self._embeddings)
        except Exception as error:  # whatever the caller's embeddings raise
            reason = f"{type(error).__name__}: {error}"
            self.buffer.tell(namespace, FAILED, reason=reason, what="asking the embeddings")
            self._relatedness = known or self._relatedness
            return False
        if not is_same:
            raise of_others(self.path)
        if known is not None:
            self._use(known, kept)
            return True
        assert self._measured
        self._use(self._measured, None)
        if not self.read_only:
            with contextlib.suppress(FolderError):  # kept once the ledger can be written
                self.ledger.use_embeddings(self._measured.as_json())
                return self.check_embeddings()
        return True

    def _use(self, known: Relatedness, kept: str | None) -> None:
        self._relatedness, self.ledger.vectors.made_with = known, kept
        self.buffer.expect(len(known.known_by))

    def _known_relatedness(self) -> Relatedness | None:
        known = self.ledger.embeddings
        with intact("what the embeddings are known by", REINDEX):
            return Relatedness.read(known) if known else None

    def reindex(self) -> None:
        """Make the index anew with the embeddings and the server that the folder is open with.

        Raises:
            FolderError: the embeddings fail, or the disk is full. Then all is as it was, or what
                has no vector yet is found by its words until it gets one.
        """
        self.check_writable()
        try:
            measured = Relatedness.measure(self._embeddings)
        except Exception as error:  # whatever the caller's embeddings raise
            raise FolderError(
                f"the embeddings failed ({error}), so the index in {self.path} is left as it is. "
                "Try again once they work."
            ) from error
        self.buffer.clear(measured.as_json())
        if not self._has_server:
            self._on_server.unlink(missing_ok=True)
        self._use(measured, measured.as_json())
        for namespace in self.ledger.episodes.namespaces():
            self.buffer.catch_up(namespace)

    def catch_up(self, namespace: Namespace) -> None:
        """Embed what was stored since, by this process or others, or before a crash.

        What the embeddings refuse waits, all of it while they fail.

        Raises:
            FolderError: the vectors were made with other embeddings, or cannot be written.
        """
        if self.check_embeddings(namespace) and not self.read_only:
            self.buffer.catch_up(namespace)

    def reconcile(self, *, check_experts: bool = True) -> None:
        """Bring the folders of the experts to what the ledger says; finish what was forgotten."""
        agreement.reconcile(self.ledger, experts=self.experts, check_experts=check_experts)
        with contextlib.suppress(FolderError):  # another process has a file: `verify` tells
            self.clean()

    def reconcile_index(self) -> None:
        """Bring vectors and index to what the ledger says."""
        if self.check_embeddings():
            self.buffer.reconcile(self.ledger.episodes.namespaces())

    def rollback(self, namespace: Namespace, nights: Sequence[str]) -> list[str]:
        """Make exactly the experts of these nights live; returns the ids of what goes back.

        Raises:
            ExpertError: a night made no expert, or its files are missing or damaged.
        """
        experts = self.ledger.lineage.experts(namespace, live=False)
        known = [expert.night_id for expert in experts]
        strange = [night for night in nights if night not in known]
        if strange:
            raise ExpertError(
                f"night {', '.join(strange)} made no expert for {namespace}; "
                f"it has {', '.join(known) or 'none'}."
            )
        wanted = [expert for expert in experts if expert.night_id in nights]
        absorbed = {name for expert in wanted for name in expert.lineage}
        for expert in wanted:
            if expert.name not in absorbed:
                self.experts.check(expert.name)
        back = self.ledger.lineage.rollback(namespace, nights)
        self.reconcile(check_experts=False)
        return back

    def take_in(
        self, namespace: Namespace, export: Export, *, model: str, policy: PolicyConfig
    ) -> Imported:
        """Take in an export of another memory folder (`arriving`).

        Args:
            namespace: whose it becomes.
            export: what comes in.
            model: that this folder is open with.
            policy: what it refuses is not stored.

        Raises:
            FolderError: it is no whole export, or cannot be written.
            EpisodeError: an episode in it is none.
        """
        name = _EMBEDDED_NAME if model == str(EMBEDDED) else model
        imported = arrive(
            self.ledger,
            self.experts,
            namespace=namespace,
            export=export,
            base=base_of(name),
            policy=policy,
        )
        if imported.experts and not self.ledger.model:
            # With other habits than it turns out to have, the experts are refused.
            self.ledger.use_model(name, Manifest.read(export.folder).habits)
        agreement.reconcile(self.ledger, experts=self.experts, check_experts=False)
        return imported

    def forget(
        self,
        erasure: Erasure,
        *,
        asked: Mapping[str, Any],
        proof: Mapping[str, int],
        at_once: bool = False,
    ) -> Receipt | None:
        """Delete what is planned, with all that was made of it, down to the bytes of the files.

        What an earlier forgetting left in files, when it was cut short, goes along. To be called
        while no night of the owner runs (`night`).

        Args:
            erasure: see `planned`.
            asked: how it was chosen, for the receipt.
            proof: closed-book answers before and after, for the receipt.
            at_once: delete it from the ledger also where another process keeps files from being
                written anew: they are when it has gone (`clean`).

        Returns:
            The receipt; None when there was nothing.

        Raises:
            FolderError: another process has a file open; what it kept from being written anew is
                said; the next opening without that process, or `reconcile`, does the rest.
        """
        owner, receipt = erasure.namespace, None
        # Of whom no episode is left, questions may be.
        if erasure.ids or "everything" in asked:
            # First what another process may forbid; nothing is deleted then.
            if not at_once:
                self._erase_index()
            before = {one.id for one in self.ledger.episodes.buffered(owner)}
            with self.ledger.database.write():
                self._give_up_night(owner)
                removed = erase(self.ledger, erasure)
                if at_once:
                    # Another process's index has it still, and must not look there.
                    self.ledger.vectors.lost()
                self.ledger.episodes.index_words_anew()
                after = {one.id for one in self.ledger.episodes.buffered(owner)}
                if any(removed.values()):
                    receipt = self.ledger.receipts.add(
                        owner,
                        asked=asked,
                        removed=removed,
                        experts=tuple(expert.name for expert in erasure.experts),
                        returned=len(after - before),
                        proof=proof,
                    )
            agreement.reconcile(self.ledger, experts=self.experts, check_experts=False)
        self.clean()
        return receipt

    def _erase_index(self) -> None:
        # What was read before somebody's last episode went may have been laid since.
        self.buffer.erase(self.ledger.episodes.namespaces(emptied=True))
        if self._on_server.exists():
            # What files of an index had, before there was a server.
            for folder in self.path.glob("chroma*"):
                shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        """Write the files anew that may have bytes of what was forgotten, if there are such.

        Raises:
            FolderError: another process has one open.
        """
        if not self.ledger.is_unclean:
            return
        # Between the deletion and now somebody may have laid what was read before.
        self._erase_index()
        places = self.ledger.episodes.places()
        self.ledger.database.compact()
        # SQLite may give rows other places, by which the full-text index knows them.
        if self.ledger.episodes.places() != places:
            self.ledger.episodes.index_words_anew()
        checkpoints = self.path / mark.CHECKPOINTS
        if checkpoints.exists():
            going_on = map(self.ledger.nights.unfinished, self.ledger.nights.owners())
            compact_checkpoints(checkpoints, list(filter(None, going_on)))
        for leftover in self.path.glob("*.set-aside*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        self.ledger.set_clean()

    def _give_up_night(self, owner: Namespace) -> None:
        """End an interrupted night, which may know what is forgotten; one that was promoted and
        not reported is what it is.
        """
        nights = self.ledger.nights
        night_id = nights.unfinished(owner)
        if night_id is None:
            return
        number = nights.numbers()[night_id]
        reason = "what it was to teach was forgotten"
        report = NightReport(night_id, owner, Verdict.FAILED, reason, number=number)
        for expert in self.ledger.lineage.experts(owner, live=False):
            if expert.night_id == night_id:
                report = promoted(expert, number=number)
        nights.finish(report)

    def verify(self) -> list[str]:
        """What does not agree, one sentence each; empty when all is sound.

        The index is looked at when it can be (`Buffer.sees_index`): not in a folder that is opened
        read only, nor beside the process that has it.
        """
        faults = agreement.faults(self.ledger, experts=self.experts)
        if self.ledger.is_unclean:
            faults.append(
                "files of the folder may have bytes of what was forgotten still: it was cut short, "
                "or another process had them open. Close that, and call `memory.reconcile()`."
            )
        try:
            faults += self.buffer.faults(self.ledger.episodes.namespaces())
        except LedgerError as error:
            faults.append(f"the index cannot be compared with what the ledger holds: {error}")
        return faults + unreadable([self], Folder._known_relatedness)

    def close(self) -> None:
        """Close ledger and index; in a fork, nothing."""
        if self._process != os.getpid():
            return
        with contextlib.ExitStack() as always:
            always.callback(self.ledger.close)
            self.buffer.close()

    # Which model the folder is used with

    @property
    def models(self) -> Path | None:
        """Where what is unpacked of a GGUF file lies; elsewhere when nothing may be written."""
        return None if self.read_only else self.path / "models"

    def model_to_use(self, wanted: str | Path | None) -> str:
        """The model asked for, or the one that was used last: a hub id or a whole path.

        Raises:
            ModelError: there is no such model folder.
            ExpertError: the experts of the folder were trained on another model.
        """
        used = _model_path(self.ledger.model or _EMBEDDED_NAME, must_exist=False)
        if not wanted:
            return used
        asked = _model_path(wanted)
        moved = Path(used).is_absolute() and not Path(used).exists()  # its experts still fit
        if asked == used or moved or not self.ledger.model or not self.ledger.lineage.experts():
            return asked
        raise ExpertError(
            f"the experts in {self.path} were trained on {self.ledger.model!r} and do not fit "
            f"{str(wanted)!r}. Open the folder with that model, or roll back to no expert first: "
            "what they hold goes back to the buffer, and the next night teaches the new model."
        )

    def remember_model(self, model: str, habits: str = "") -> None:
        """For the next opening, now that it is known to load.

        Raises:
            ExpertError: the experts of the folder were trained on it with other habits.
        """
        if habits != self.ledger.habits and self.ledger.lineage.experts():
            raise ExpertError(
                f"the experts in {self.path} were trained on {model!r} with other habits than it "
                "has now, and do not fit it. Name those with ModelConfig.habits ('none' for none), "
                "or roll back to no expert first: the next night teaches what they held."
            )
        if not self.read_only:
            self.ledger.use_model(_EMBEDDED_NAME if model == str(EMBEDDED) else model, habits)


def _create(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"the memory folder {path} could not be created ({error.strerror}). "
            "Choose a folder you can write to."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FolderError(
            f"the memory folder {path} is read-only; a memory must store what it is told. "
            "Make it writable or choose another."
        )


def _model_path(model: str | Path, *, must_exist: bool = True) -> str:
    """A hub id, or the whole path of a folder or file.

    One that is gone since it was used is told of when it is loaded.
    """
    if model == _EMBEDDED_NAME:
        return str(EMBEDDED)
    if Path(model).exists():
        return str(Path(model).resolve())
    looks_like_a_path = isinstance(model, Path) or model.startswith((".", "/", "~"))
    if must_exist and looks_like_a_path:
        raise ModelError(
            f"there is no model {str(model)!r}. Pass a hub id, a folder made by save_pretrained, a "
            "GGUF file, or 'embedded'."
        )
    return str(model)
