"""The folder of an expert: is it whole, are its files the ones that were written. Knows no torch, so the day can ask."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sleepmem.errors import ExpertError

CHECKSUM = "sha256.json"


def write_checksums(folder: Path) -> None:
    (folder / CHECKSUM).write_text(json.dumps(_checksums(folder)))


def check_expert(folder: Path) -> None:
    """Raise ExpertError unless the folder holds the expert that was written there."""
    try:
        wanted = json.loads((folder / CHECKSUM).read_text())
    except (OSError, ValueError):
        raise ExpertError(
            f"the expert folder {folder} is missing or incomplete. Restore it from a backup, "
            "or give up what it held with `sleepmem rollback`: its episodes then go back to the buffer."
        ) from None
    if _checksums(folder) != wanted:
        raise ExpertError(
            f"the expert folder {folder} is damaged: its files are not the ones that were written. Restore it from a backup, "
            "or give up what it held with `sleepmem rollback`: its episodes then go back to the buffer."
        )


def size(folder: Path) -> int:
    """Bytes on disk."""
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file())


def _checksums(folder: Path) -> dict[str, str]:
    return {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.iterdir())
        if f.is_file() and f.name != CHECKSUM
    }
