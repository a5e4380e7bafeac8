"""A copy of a memory folder, made while others use it: the ledger, and the experts that are live.

The index is made anew from the ledger when the copy is opened, and an interrupted night is begun
anew. There is a whole copy or none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from sleepmem.errors import FolderError
from sleepmem.stores.database import Database
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.mark import LEDGER


def backup(database: Database, to: Path) -> None:
    """Copy the memory folder of this database to the new folder `to`.

    Raises:
        FolderError: `to` exists or cannot be written.
        ExpertError: an expert is missing or damaged.
    """
    beside: Path | None = None
    try:
        if to.exists() or to.is_symlink():
            raise FolderError(
                f"{to} exists; a backup overwrites nothing. Choose a folder that is not there yet."
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".backup-", dir=to.parent))
        copy = beside / "copy"
        copy.mkdir()
        database.copy(copy / LEDGER)
        _copy_experts(database.path.parent, copy)
        for path in (*sorted(copy.rglob("*"), reverse=True), copy):
            _sync(path)
        copy.rename(to)
        _sync(to.parent)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(
            f"the backup {to} could not be written ({error.strerror or error}); make room or "
            "choose another place."
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _copy_experts(folder: Path, copy: Path) -> None:
    """Those that are live by the copied ledger; promoted ones never change."""
    with closing(Ledger(copy / LEDGER, read_only=True)) as ledger:
        seals = ledger.lineage.seals
        here, there = ExpertFolders(folder, seals), ExpertFolders(copy, seals)
        for expert in ledger.lineage.experts():
            here.check(expert.name)
            shutil.copytree(folder / "experts" / expert.name, copy / "experts" / expert.name)
            there.check(expert.name)


def _sync(path: Path) -> None:
    """To the disk, a folder's names, too, where the system can."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
