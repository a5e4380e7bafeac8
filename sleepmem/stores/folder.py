"""A memory folder, open: its ledger, the index of it, its experts, and the lock of its one writer.

folder/ledger.db      the truth            folder/experts/   promoted experts
folder/chroma/        an index of it       folder/pending/   tonight's, until it is promoted
folder/nights.db      checkpoints          folder/lock       held by the one writer
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sleepmem.errors import ExpertError, FolderError, FolderLocked, ModelError
from sleepmem.records import Namespace
from sleepmem.stores import agreement
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger
from sleepmem.text.relatedness import Relatedness

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
        append_only: add episodes beside the process that writes; no index, no lock.

    Raises:
        FolderError: the folder cannot be created, read or written.
        FolderLocked: another process has it open for writing.
        LedgerError: the ledger is foreign, damaged or newer.
    """

    def __init__(
        self,
        path: Path,
        embeddings: Embeddings,
        *,
        chroma_client: Any = None,
        append_only: bool = False,
    ) -> None:
        self.path, self._embeddings = path, embeddings
        self._process = os.getpid()
        _create(path)
        self._lock = None if append_only else _lock(path)
        self._buffer: Buffer | None = None
        try:
            self.ledger = Ledger(path / "ledger.db")
            try:
                if not append_only:
                    owner = self.ledger.id
                    chroma = path / "chroma"
                    self._buffer = Buffer(chroma, embeddings, client=chroma_client, owner=owner)
            except BaseException:
                self.ledger.close()
                raise
        except BaseException:
            if self._lock:
                self._lock.release()
            raise
        self.experts = ExpertFolders(path)

    @property
    def buffer(self) -> Buffer:
        """The index.

        Raises:
            FolderLocked: the folder was opened to append only.
        """
        if self._buffer is None:
            raise FolderLocked(
                f"{self.path} was opened with append_only=True; only observe works. "
                "Open it as the writer."
            )
        return self._buffer

    @property
    def append_only(self) -> bool:
        return self._buffer is None

    @functools.cached_property
    def relatedness(self) -> Relatedness:
        """How cosines of the folder's embeddings are read; measured once.

        Raises:
            FolderError: the index was made with other embeddings.
        """
        if not self.buffer.agrees(self.ledger.episodes.namespaces()):
            raise FolderError(
                f"the index in {self.path} was made with other embeddings than those it is opened "
                "with; they would find the wrong memories. Open it with the same embeddings, or "
                "make the index anew: memory.reindex(), or `sleepmem reindex`."
            )
        known = self.ledger.embeddings
        if known:
            return Relatedness.read(known)
        measured = Relatedness.measure(self._embeddings)
        self.ledger.use_embeddings(measured.as_json())
        return measured

    def reindex(self) -> None:
        """Make the index anew with the embeddings that the folder is open with."""
        self.buffer.clear(self.ledger.episodes.namespaces())
        self.ledger.use_embeddings("")
        self.__dict__.pop("relatedness", None)
        for namespace in self.ledger.episodes.namespaces():
            agreement.reconcile_index(self.ledger, self.buffer, namespace=namespace)
        _ = self.relatedness

    def catch_up(self) -> None:
        """Index what was stored since, by this process or others, or before a crash.

        Raises:
            FolderError: the index was made with other embeddings.
        """
        _ = self.relatedness
        agreement.catch_up(self.ledger, self.buffer)

    def reconcile(self, *, check_experts: bool = True) -> None:
        """Bring index and expert folders to what the ledger says."""
        self.buffer.learn_width(self.ledger.episodes.namespaces())
        agreement.reconcile(
            self.ledger, self.buffer, experts=self.experts, check_experts=check_experts
        )

    def rollback(self, namespace: Namespace, nights: Sequence[str]) -> list[str]:
        """Make exactly the experts of these nights live; returns the ids of what goes back.

        Raises:
            ExpertError: a night made no expert, or its files are missing or damaged.
        """
        experts = self.ledger.lineage.experts(namespace, live=False)
        known = {expert.night_id for expert in experts}
        strange = sorted(set(nights) - known)
        if strange:
            raise ExpertError(
                f"night {', '.join(strange)} made no expert for {namespace}; "
                f"it has {', '.join(sorted(known)) or 'none'}."
            )
        wanted = [expert for expert in experts if expert.night_id in nights]
        absorbed = {name for expert in wanted for name in expert.lineage}
        for expert in wanted:
            if expert.name not in absorbed:
                self.experts.check(expert.name)
        back = self.ledger.lineage.rollback(namespace, nights)
        self.reconcile(check_experts=False)
        return back

    def verify(self) -> list[str]:
        """What does not agree, one sentence each; empty when all is sound."""
        return agreement.verify(self.ledger, self.buffer, experts=self.experts)

    def close(self) -> None:
        """Close ledger and index, and let others open the folder; in a fork, nothing."""
        if self._process != os.getpid():
            return
        with contextlib.ExitStack() as always:
            if self._lock:
                always.callback(self._lock.release)
            always.callback(self.ledger.close)
            if self._buffer:
                self._buffer.close()

    # Which model the folder is used with

    def model_to_use(self, wanted: str | Path | None) -> str:
        """The model asked for, or the one that was used last; a hub id or a folder's whole path.

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

    def remember_model(self, model: str) -> None:
        """For the next opening, now that it is known to load."""
        self.ledger.use_model(_EMBEDDED_NAME if model == str(EMBEDDED) else model)


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


def _lock(path: Path) -> FileLock:
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderLocked(
            f"the memory folder {path} is open for writing in another process; two writers would "
            "corrupt its index. Close the other one, or open it with append_only=True to add "
            "episodes."
        ) from None
    except OSError as error:
        raise FolderError(
            f"the memory folder {path} cannot be locked ({error.strerror}). "
            "Make it writable or choose another."
        ) from error
    return lock


def _model_path(model: str | Path, *, must_exist: bool = True) -> str:
    """A hub id, or the whole path of a folder.

    One that is gone since it was used is told of when it is loaded.
    """
    if model == _EMBEDDED_NAME:
        return str(EMBEDDED)
    if Path(model).exists():
        return str(Path(model).resolve())
    looks_like_a_path = isinstance(model, Path) or model.startswith((".", "/", "~"))
    if must_exist and looks_like_a_path:
        raise ModelError(
            f"there is no model folder {str(model)!r}. Pass a hub id, a folder made by "
            "save_pretrained, or 'embedded'."
        )
    return str(model)
