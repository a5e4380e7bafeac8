"""The folders of the experts: written whole or not at all, checked before they are loaded.

    folder/pending/NAME   tonight's expert, until it is promoted
    folder/experts/NAME   promoted ones; never overwritten

Knows no torch, so the day can ask whether an expert is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from sleepmem.errors import ExpertError, FolderError
from sleepmem.records import ExpertName

CHECKSUMS = "sha256.json"


class Loader(Protocol):
    """A model that can hold experts."""

    @property
    def experts(self) -> tuple[str, ...]: ...

    def load_expert(self, name: str, folder: Path) -> None: ...


class ExpertFolders:
    """Where the experts of one memory folder lie."""

    def __init__(self, folder: Path) -> None:
        self._pending, self._promoted = folder / "pending", folder / "experts"

    def at(self, name: str) -> Path:
        """The folder of an expert: of the promoted one, unless it is pending."""
        pending = self._pending / name
        return pending if pending.exists() else self._promoted / name

    def load(self, model: Loader, names: Iterable[str]) -> None:
        """Bring experts into the model's memory that are not there yet.

        Raises:
            ExpertError: the files of one are missing or damaged.
        """
        for name in names:
            if name not in model.experts:
                folder = self.at(name)
                check_expert(folder)
                model.load_expert(name, folder)

    def write(self, name: str, save: Callable[[Path], None]) -> None:
        """Write tonight's expert in place of what a killed run of the night has left of it."""
        self._pending.mkdir(exist_ok=True)
        shutil.rmtree(self._pending / name, ignore_errors=True)
        write_expert(self._pending / name, save)

    def promote(self, name: str) -> None:
        """Rename its folder; harmless when that was done already."""
        promoted = self._promoted / name
        if not promoted.exists():
            self._promoted.mkdir(exist_ok=True)
            (self._pending / name).rename(promoted)

    def clear_pending(self, night_id: str) -> None:
        """Remove what is still pending of a night."""
        for folder, name in _folders(self._pending):
            if name is not None and name.night_id == night_id:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, promoted: set[str], finished: set[str]) -> list[str]:
        """Remove folders of finished nights that were half written or never promoted.

        Another process may be writing those of a night that has not finished.

        Args:
            promoted: names of the experts that the ledger knows.
            finished: ids of the nights that have ended.

        Returns:
            What was removed.
        """
        removed = []
        for parent in (self._pending, self._promoted):
            for folder, name in _folders(parent):
                over = name is not None and name.night_id in finished
                if over and (_is_temporary(folder) or folder.name not in promoted):
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder.name)
        return removed

    def check(self, name: str) -> None:
        """Raise ExpertError unless the promoted expert is whole."""
        check_expert(self._promoted / name)

    def size(self, name: str) -> int:
        """Bytes on disk."""
        files = self._promoted / name
        return sum(file.stat().st_size for file in files.iterdir() if file.is_file())


def write_expert(folder: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write into a temporary folder beside `folder`, then rename it.

    There is a whole expert with checksums, synced to the disk, or none.

    Raises:
        FolderError: it could not be written; nothing is left behind.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save(temporary)
        write_checksums(temporary)
        for file in temporary.iterdir():
            _sync(file)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise FolderError(
            f"expert {folder.name} could not be written to {folder} ({error.strerror or error}); "
            "make room or make the folder writable."
        ) from error


def write_checksums(folder: Path) -> None:
    (folder / CHECKSUMS).write_text(json.dumps(_checksums(folder)))


def check_expert(folder: Path) -> None:
    """Raise ExpertError unless the folder holds the expert that was written there."""
    remedy = (
        "Restore it from a backup, or give up what it held with `sleepmem rollback`: "
        "its episodes then go back to the buffer."
    )
    try:
        written = json.loads((folder / CHECKSUMS).read_text())
    except (OSError, ValueError):
        missing = f"the expert folder {folder} is missing or incomplete."
        raise ExpertError(f"{missing} {remedy}") from None
    if _checksums(folder) != written:
        raise ExpertError(
            f"the expert folder {folder} is damaged: its files are not the ones that were "
            f"written. {remedy}"
        )


def _checksums(folder: Path) -> dict[str, str]:
    checksums = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != CHECKSUMS:
            checksums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return checksums


def _sync(file: Path) -> None:
    """To the disk. Opened for writing: Windows refuses to sync a handle that only reads."""
    with open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def _folders(parent: Path) -> Iterator[tuple[Path, ExpertName | None]]:
    """Each folder below, hidden ones too, with the expert that it is of."""
    for folder in sorted(parent.glob("*")):
        yield folder, ExpertName.parse(folder.name.removeprefix(".").removesuffix(".tmp"))


def _is_temporary(folder: Path) -> bool:
    return folder.name.startswith(".")
