"""The manifest of an export: what it is of, and what every file of it must be.

OUT/manifest.json    format, version, owner, base model, counts, SHA-256 of every file
OUT/*.jsonl          a row a line: episodes, notes, nights, probes, exams, corrected, gates,
                     experts, forgotten
OUT/experts/NAME/    plain PEFT adapters: adapter_config.json, adapter_model.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.errors import FolderError

FILE, FORMAT, VERSION = "manifest.json", "sleepmem-export", 2
TABLES = (
    "episodes",
    "notes",
    "nights",
    "probes",
    "exams",
    "corrected",
    "gates",
    "experts",
    "forgotten",
)
EXPERTS = "experts"
HABITS = "habits"
_REMEDY = "Export it anew, or take it from where it is whole."


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was exported.

    namespace   whose
    base        the model that the experts belong to: see `base_of`
    habits      what its habits are known by; empty where it has none
    counts      rows, by table
    files       SHA-256 of each, by its path
    """

    namespace: Sequence[str]
    base: str
    habits: str
    counts: Mapping[str, int]
    files: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """The last file that is written: without it there is no export."""
        written = {
            "format": FORMAT,
            "version": VERSION,
            "namespace": list(self.namespace),
            "base": self.base,
            "habits": self.habits,
            "counts": dict(self.counts),
            "files": dict(self.files),
        }
        text = json.dumps(written, indent=1, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The one of an export that is whole.

        Raises:
            FolderError: it is of a newer version, or a file is missing, changed, not named, or a
                link.
        """
        try:
            written = json.loads((folder / FILE).read_text("utf-8"))
            if written["format"] != FORMAT:
                raise ValueError(f"its format is {written['format']!r:.40}")
            if written["version"] > VERSION:
                raise FolderError(
                    f"{folder} was exported by a newer sleepmem (version {written['version']}, "
                    f"this one reads {VERSION}). Update sleepmem."
                )
            manifest = cls(
                tuple(map(str, written["namespace"])),
                str(written["base"]),
                str(written["habits"]),
                {str(name): int(count) for name, count in written["counts"].items()},
                {str(name): str(digest) for name, digest in written["files"].items()},
            )
        except FolderError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise FolderError(
                f"{folder / FILE} is no manifest of an export ({error}). {_REMEDY}"
            ) from error
        manifest._check(folder)
        return manifest

    def _check(self, folder: Path) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_symlink():
                raise FolderError(f"{file} is a link, which no export has. {_REMEDY}")
        there = digests(folder)
        for name in sorted({*there, *self.files}):
            if there.get(name) != self.files.get(name):
                told = "missing" if name not in there else "not the one that was exported"
                raise FolderError(f"{folder / name} is {told}. {_REMEDY}")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of an export but its manifest, by its path."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != FILE:
            found[name] = _digest(file)
    return found


def is_export(path: Path) -> bool:
    return (path / FILE).is_file()


def rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """Of a table.

    Raises:
        FolderError: a line is no row.
    """
    file = folder / f"{table}.jsonl"
    # JSON leaves other ends of lines than this one within texts.
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"it is a {type(row).__name__}")
        except ValueError as error:
            raise FolderError(f"{file}, line {number}, is no row ({error}). {_REMEDY}") from error
        yield row


def base_of(model: str) -> str:
    """What a base model is known by on any machine: its hub id, or a hash of its files."""
    path = Path(model)
    if not path.exists():
        return model
    if path.is_file():
        return _digest(path)
    whole = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")) or sorted(path.glob("*")):
        if file.is_file():
            whole.update(f"{file.name}\n{_digest(file)}\n".encode())
    return whole.hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
