"""The commands that care for a folder: status, report, verify, reindex, backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sleepmem.cli.app import (
    PLOTS,
    Folder,
    Json,
    Owner,
    known_namespace,
    opened,
    out,
    print_json,
)
from sleepmem.records import as_path

_SOUND = "sound: every episode is there and matches its hash, every expert, the index the ledger"
_SOUND_BUT_INDEX = (
    "sound: every episode is there and matches its hash, every expert; not looked at: the index, "
    "because another process has it, or the folder cannot be written"
)


def status(folder: Folder, as_json: Json = False) -> None:
    """Per namespace: what is stored, what is buffered, what the weights hold,
    how often it retrieves."""
    with opened(folder, read_only=True) as memory:
        rows = memory.status()
    if as_json:
        print_json(rows)
        return
    table = Table(
        "namespace",
        "stored",
        "buffer",
        "weights",
        "experts",
        "nights",
        "asked",
        "retrieved",
        "failed",
    )
    for row in rows:
        table.add_row(*_cells(row))
    out.print(table)


def report(
    folder: Folder,
    namespace: Owner = "default",
    *,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; FOLDER/report by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.json, report.html and the plots of one namespace."""
    with opened(folder, PLOTS, read_only=True) as memory:
        from sleepmem.report.data import from_ledger
        from sleepmem.report.draw import write

        data = from_ledger(memory.ledger, known_namespace(memory, namespace))
        paths = write(data, to or folder / "report")
    if as_json:
        print_json(data)
    else:
        for path in paths:
            out.say(path)


def verify(folder: Folder, as_json: Json = False) -> None:
    """Prove that ledger, index and experts agree; exit code 1 when they do not."""
    with opened(folder, reconcile=False, or_read=True) as memory:
        faults = memory.verify()
        is_seen = not faults and memory.buffer.sees_index()
    if as_json:
        print_json({"sound": not faults, "faults": faults, "index_looked_at": is_seen})
    else:
        for sentence in faults or [_SOUND if is_seen else _SOUND_BUT_INDEX]:
            out.say(sentence)
    raise typer.Exit(1 if faults else 0)


def reindex(folder: Folder) -> None:
    """Make the index anew with the default embeddings: after they changed, or it was lost."""
    with opened(folder, reconcile=False) as memory:
        memory.reindex()
        out.say(f"the index of {len(memory.ledger.episodes.namespaces())} namespaces is made anew")


def backup(
    folder: Folder,
    to: Annotated[
        Path, typer.Argument(help="A new folder for the copy.", show_default=False, metavar="TO")
    ],
) -> None:
    """Copy the memory into a new folder, while others use it: the ledger and the live experts."""
    with opened(folder, append_only=True) as memory:
        memory.backup(to)
        out.say(f"{to} is a memory folder; its index is made anew when it is first opened")


def _cells(row: dict[str, Any]) -> list[str]:
    rate = row["retrieval_rate"]
    return [
        as_path(row["namespace"]),
        str(row["episodes"]),
        str(row["buffered"]),
        str(row["learned"]),
        str(len(row["experts"])),
        str(row["nights"]),
        str(row["questions"]),
        "-" if rate is None else f"{rate:.2f}",
        str(row["failures"]),
    ]
