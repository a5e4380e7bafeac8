"""The files of an export: one alone, those of a folder, or the members of a .zip.

Nothing is unpacked to the disk: a member is read into memory when its text is asked for.
"""

from __future__ import annotations

import codecs
import functools
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from sleepmem.errors import FolderError

# Bytes of one file or member: more is no export, and would not fit into memory as JSON.
LARGEST = 1 << 30
_ENDS = (".json", ".jsonl", ".ndjson", ".md", ".markdown")
# What macOS puts into archives beside the files.
_RESOURCES = "__MACOSX"
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True, slots=True)
class Document:
    """One file, not yet read.

    shown     its path, for people
    name      its path inside of the export, with forward slashes
    modified  when it was last written, ISO 8601
    load      its bytes; those of a member only as long as its archive is being gone through
    alone     whether it is all there is, so that it must be understood
    """

    shown: str
    name: str
    modified: str
    load: Callable[[], bytes]
    alone: bool = False

    @property
    def end(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def text(self) -> str:
        """UTF-8, or UTF-16 with a mark at its beginning.

        Raises:
            FolderError: it cannot be read, is too large, or is no text.
        """
        content = self.load()
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            return content.decode("utf-16" if is_wide else "utf-8-sig")
        except UnicodeDecodeError:
            raise FolderError(
                f"{self.shown} is no text in UTF-8, so it cannot be read. "
                "Pass an export, or store it as UTF-8."
            ) from None


def documents(path: Path) -> Iterator[Document]:
    """Those that may belong to an export, in the order of their names; hidden ones do not.

    Raises:
        FolderError: there is none, it cannot be read, or the archive is damaged.
    """
    try:
        if path.is_dir():
            yield from _of_folder(path)
        elif not path.exists():
            raise FolderError(f"there is no {path}, so nothing can be read. Choose an export.")
        elif not path.is_file():
            raise FolderError(
                f"{path} is neither a file nor a folder, so nothing can be read. Choose an export."
            )
        elif _begins(path).startswith(_ZIP_BEGINS):
            yield from _of_archive(path)
        else:
            yield _of_file(path, path.name, alone=True)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise _unreadable(path, error) from error


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_ZIP_BEGINS[0]))


def _of_folder(folder: Path) -> Iterator[Document]:
    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or folder), error) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files]
    for file in sorted(found):
        name = file.relative_to(folder).as_posix()
        # A link may lead out of what is taken in.
        if _belongs(name) and file.is_file() and not file.is_symlink():
            yield _of_file(file, name)


def _of_file(file: Path, name: str, *, alone: bool = False) -> Document:
    seconds = file.stat().st_mtime
    modified = datetime.fromtimestamp(seconds).astimezone().isoformat()
    return Document(str(file), name, modified, functools.partial(_content, file), alone)


def _content(file: Path) -> bytes:
    try:
        _check_size(file.stat().st_size, str(file))
        return file.read_bytes()
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise _unreadable(file, error) from error


def _of_archive(path: Path) -> Iterator[Document]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _damaged(str(path), error) from error
    with archive:
        for member in sorted(archive.infolist(), key=lambda one: one.filename):
            if not member.is_dir() and _belongs(member.filename):
                yield Document(
                    f"{path}/{member.filename}",
                    member.filename,
                    _written(member),
                    functools.partial(_member, archive, member),
                )


def _written(member: zipfile.ZipInfo) -> str:
    """An archive has local times without an offset, and 1980 for what it does not know."""
    try:
        return datetime(*member.date_time).isoformat()
    except ValueError:
        return datetime(1980, 1, 1).isoformat()


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """`ZipFile` reads no more of a member than it says it holds, and compares the checksum."""
    shown = f"{archive.filename}/{member.filename}"
    _check_size(member.file_size, shown)
    try:
        return archive.read(member)
    except RuntimeError as error:  # also what is packed in a way that is not known
        raise FolderError(
            f"{shown} is encrypted or packed in an unknown way ({error}). Unpack it, and pass the "
            "folder."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise _damaged(shown, error) from error


def _belongs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    for part in parts:
        if part.startswith(".") or part == _RESOURCES:
            return False
    return PurePosixPath(name).suffix.lower() in _ENDS


def _check_size(size: int, shown: str) -> None:
    if size > LARGEST:
        raise FolderError(
            f"{shown} holds {size} bytes, and more than {LARGEST} are no export. "
            "Pass it in parts, or without this file."
        )


def _damaged(shown: str, error: Exception) -> FolderError:
    return FolderError(f"{shown} is a damaged archive ({error}). Download the export again.")


def _unreadable(path: Path, error: OSError) -> FolderError:
    return FolderError(
        f"{path} cannot be read ({error.strerror or error}). Make it readable, or choose another."
    )
