"""Which ledger a memory folder belongs to: a file beside the ledger names it.

Without it a ledger that was deleted, emptied or replaced would pass for that of a new memory, and
what the index and the experts hold would be nobody's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sleepmem.errors import LedgerError

LEDGER, MARK, CHECKPOINTS = "ledger.db", "ledger.id", "nights.db"
# What else a memory leaves in its folder: files, and folders that have something in them.
_BESIDE = (MARK, CHECKPOINTS, "chroma", "experts", "pending")


def remains(folder: Path) -> list[str]:
    """What lies in the folder that only a memory with a ledger has."""
    return [name for name in _BESIDE if _is_filled(folder / name)]


def check_ledger(folder: Path) -> None:
    """To be asked before the ledger is opened, which would make a new one.

    Raises:
        LedgerError: there is none, or an empty one, where there was one before.
    """
    beside = remains(folder)  # asked first: another process may be making the folder right now
    if beside and not _is_filled(folder / LEDGER):
        raise LedgerError(
            f"the ledger of {folder} is gone: {LEDGER} is missing or empty, but "
            f"{', '.join(beside)} of a memory lie beside it. Restore {LEDGER} from a backup "
            "(`sleepmem backup` makes them; beside a copy that was made otherwise delete "
            f"{LEDGER}-wal and {LEDGER}-shm first); or choose another folder, or delete these, "
            "too, to begin anew."
        )


def check_mark(folder: Path, ledger_id: str, *, read_only: bool = False) -> None:
    """Mark the folder as this ledger's, once; with `read_only` look alone.

    Raises:
        LedgerError: it is another ledger's.
    """
    mark = folder / MARK
    with suppress(OSError, UnicodeDecodeError):
        marked = mark.read_text().strip()
        if marked == ledger_id:
            return
        if marked:
            raise LedgerError(
                f"the ledger in {folder} is not the one that its experts and its index belong to: "
                f"{LEDGER} was replaced by another memory's, or by a new one. Restore the own one "
                f"from a backup; or, to go on with this one, delete {', '.join(_BESIDE)} beside it."
            )
    if read_only:
        return
    # A folder that cannot be written now is marked when it can be.
    with suppress(OSError):
        new = mark.with_name(f"{MARK}.tmp")
        new.write_text(ledger_id)
        new.replace(mark)


def _is_filled(path: Path) -> bool:
    try:
        return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0
    except OSError:
        return False
