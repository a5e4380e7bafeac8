"""The folders of the experts: written whole or not at all, checked before they are loaded.

    folder/pending/NAME   tonight's expert, until it is promoted
    folder/experts/NAME   promoted ones; never overwritten

What an expert's files must be the ledger says: the checksums beside them tell which one is damaged,
and another expert's folder brings its own along.

Knows no torch, so the day can ask whether an expert is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sleepmem.errors import ExpertError, FolderError
from sleepmem.records import ExpertName

CHECKSUMS = "sha256.json"
_REMEDY = (
    "Restore it from a backup, or give up what it held with `sleepmem rollback`: "
    "its episodes then go back to the buffer."
)


class Loader(Protocol):
    """A model that can hold experts."""

    @property
    def experts(self) -> tuple[str, ...]: ...

    def load_expert(self, name: str, folder: Path) -> None: ...


class Seals(Protocol):
    """The hash of each expert's files, by the expert's name; the ledger keeps them."""

    def get(self, name: str, /) -> str | None: ...

    def __setitem__(self, name: str, seal: str, /) -> None: ...


class ExpertFolders:
    """Where the experts of one memory folder lie.

    Args:
        folder: the memory folder.
        seals: what the files of each expert must be; in memory by default.
    """

    def __init__(self, folder: Path, seals: Seals | None = None) -> None:
        self._pending, self._promoted = folder / "pending", folder / "experts"
        self._seals: Seals = {} if seals is None else seals

    def at(self, name: str) -> Path:
        """The folder of an expert: of the promoted one, unless it is pending."""
        pending = inside(self._pending, name)
        return pending if pending.exists() else inside(self._promoted, name)

    def load(self, model: Loader, names: Iterable[str]) -> None:
        """Bring experts into the model's memory that are not there yet.

        Raises:
            ExpertError: the files of one are missing or damaged.
        """
        for name in names:
            if name not in model.experts:
                model.load_expert(name, self.checked(name))

    def write(self, name: str, save: Callable[[Path], None]) -> None:
        """Write tonight's expert in place of what a killed run of the night has left of it."""
        folder = inside(self._pending, name)
        self._pending.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        write_expert(folder, save, seal=lambda seal: self._seals.__setitem__(name, seal))

    def promote(self, name: str) -> None:
        """Rename its folder; harmless when that was done already."""
        promoted = inside(self._promoted, name)
        if not promoted.exists():
            self._promoted.mkdir(exist_ok=True)
            inside(self._pending, name).rename(promoted)

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
                if over and (_is_temporary(folder, name) or folder.name not in promoted):
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder.name)
        return removed

    def check(self, name: str) -> None:
        """Raise ExpertError unless the promoted expert is whole, and the one that was promoted."""
        self._check(name, inside(self._promoted, name))

    def checked(self, name: str) -> Path:
        """The folder of an expert, pending or promoted.

        Raises:
            ExpertError: its files are missing, damaged or another expert's.
        """
        folder = self.at(name)
        self._check(name, folder)
        return folder

    def seal_old(self, names: Iterable[str]) -> None:
        """Take the files of experts from before there were seals for what was written.

        One that is missing or damaged is left as it is.
        """
        for name in names:
            with suppress(ExpertError):
                folder = inside(self._promoted, name)
                check_expert(folder)
                self._seals[name] = seal_of(folder)

    def _check(self, name: str, folder: Path) -> None:
        check_expert(folder)
        if seal_of(folder) != self._seals.get(name):
            raise ExpertError(
                f"the expert folder {folder} is not what the ledger says: another expert's files "
                f"lie there. {_REMEDY}"
            )

    def size(self, name: str) -> int:
        """Bytes on disk."""
        files = inside(self._promoted, name)
        return sum(file.stat().st_size for file in files.iterdir() if file.is_file())


def write_expert(
    folder: Path,
    save: Callable[[Path], None],
    *,
    seal: Callable[[str], None] = lambda seal: None,
) -> None:
    """Let `save` write into a temporary folder beside `folder`, then rename it.

    There is a whole expert with checksums, synced to the disk, or none. `seal` keeps the hash of
    its files before it has its name.

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
        seal(seal_of(temporary))
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise FolderError(
            f"expert {folder.name} could not be written to {folder} ({error.strerror or error}); "
            "make room or make the folder writable."
        ) from error


def write_checksums(folder: Path) -> None:
    """Of all files that lie there now; what comes to lie beside them later is no part of it."""
    files = [file.name for file in sorted(folder.iterdir()) if file.is_file()]
    written = _checksums(folder, [name for name in files if name != CHECKSUMS])
    (folder / CHECKSUMS).write_text(json.dumps(written))


def check_expert(folder: Path) -> None:
    """Raise ExpertError unless the files that its checksums name are there, and as written."""
    written = _written(folder)
    try:
        is_sound = _checksums(folder, written) == written
    except OSError:
        is_sound = False
    if not is_sound:
        raise ExpertError(
            f"the expert folder {folder} is damaged: its files are not the ones that were "
            f"written. {_REMEDY}"
        )


def seal_of(folder: Path) -> str:
    """One hash of the names and contents of an expert's files, which are sound."""
    return hashlib.sha256(json.dumps(_written(folder)).encode()).hexdigest()


def _written(folder: Path) -> dict[str, str]:
    """The checksums beside the files, by name.

    Raises:
        ExpertError: there are none that can be read.
    """
    try:
        return dict(json.loads((folder / CHECKSUMS).read_text()).items())
    except (OSError, ValueError, AttributeError, RecursionError):
        missing = f"the expert folder {folder} is missing or incomplete."
        raise ExpertError(f"{missing} {_REMEDY}") from None


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    checksums = {}
    for name in names:
        content = inside(folder, name).read_bytes()
        checksums[name] = hashlib.sha256(content).hexdigest()
    return checksums


def _sync(file: Path) -> None:
    """To the disk. Opened for writing: Windows refuses to sync a handle that only reads."""
    with open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def _folders(parent: Path) -> Iterator[tuple[Path, ExpertName | None]]:
    """Each folder below, hidden ones too, with the expert that it is of."""
    for folder in sorted(parent.glob("*")):
        yield folder, ExpertName.parse(folder.name.removeprefix(".").removesuffix(".tmp"))


def _is_temporary(folder: Path, name: ExpertName | None) -> bool:
    """Whether it is what `write_expert` writes into; another hidden folder is somebody else's."""
    return name is not None and folder.name == f".{name}.tmp"


def inside(parent: Path, name: str) -> Path:
    """The folder of this name, which must be no way out of `parent`.

    Raises:
        ExpertError: it is one.
    """
    if name in ("", ".", "..") or {"/", "\\"} & set(name):
        raise ExpertError(f"{name!r} is no name of an expert's folder. {_REMEDY}")
    return parent / name
