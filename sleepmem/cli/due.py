"""The command for schedulers: nights. Every night that is due, in all folders, one after the other.

What cannot be done, a folder that cannot be opened, a night that another process runs, is told and
holds up nothing else.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sleepmem.cli.app import (
    NIGHT,
    Config,
    check_there,
    complain,
    out,
    print_json,
    ready,
    sentences,
)
from sleepmem.cli.nights import EXIT_CODES, handled, one_night, print_night
from sleepmem.config import MemoryConfig, read_config
from sleepmem.errors import ModelError, SleepmemError
from sleepmem.memory import SleepMemory
from sleepmem.model.bases import Bases
from sleepmem.records import Namespace, NightReport, Verdict, as_path

_FAILED = EXIT_CODES[Verdict.FAILED]


@dataclass(frozen=True, slots=True)
class _Night:
    """A night that was due: its report, or the sentence that says why there is none.

    A folder that cannot be opened is one of nobody.
    """

    folder: Path
    namespace: Namespace = ()
    report: NightReport | None = None
    error: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.report.verdict] if self.report else _FAILED

    def as_dict(self) -> dict[str, Any]:
        told = self.report.as_dict() if self.report else {"error": self.error}
        return {"folder": str(self.folder), "namespace": list(self.namespace), **told}


def nights(
    folders: Annotated[list[Path], typer.Argument(help="The memory folders.", show_default=False)],
    *,
    least: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Statements since an owner's last night that make another one due; "
            "`tired_at` of the settings by default.",
        ),
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a night.")] = False,
) -> None:
    """Run every night that is due, of all owners in all folders, one after the other: for cron and
    other schedulers. A base model is loaded once. Goes on with interrupted nights. Exit code 0: all
    done, or nothing is due; 3: a night was rejected; 4: one failed, another process runs it, or a
    folder cannot be used; the others were done all the same."""
    codes: list[int] = []
    # Between nights, too: the first process of a container gets no signal that it does not handle.
    with sentences(), handled(signal.default_int_handler):
        ready(NIGHT)
        settings = read_config(config) if config else None
        bases = Bases()
        places = list(dict.fromkeys(folder.resolve() for folder in folders))
        for folder in places:
            for night in _of_folder(folder, bases, settings=settings, least=least):
                _tell(night, as_json=as_json)
                codes.append(night.exit_code)
    if not codes and not as_json:
        out.say("nothing is due")
    raise typer.Exit(max(codes, default=0))


def _of_folder(
    folder: Path, bases: Bases, *, settings: MemoryConfig | None, least: int | None
) -> Iterator[_Night]:
    """The nights of one folder, each as it ends."""
    try:
        check_there(folder)
        with SleepMemory.open(folder, config=settings, bases=bases) as memory:
            for owner in memory.due_nights(least=least):
                yield _of_owner(folder, owner, memory=memory)
    except (SleepmemError, OSError) as error:
        yield _Night(folder, error=str(error))


def _of_owner(folder: Path, owner: Namespace, *, memory: SleepMemory) -> _Night:
    try:
        return _Night(folder, owner, one_night(memory, owner))
    except ModelError:  # everybody's of this folder
        raise
    except SleepmemError as error:
        return _Night(folder, owner, error=str(error))


def _tell(night: _Night, *, as_json: bool) -> None:
    if night.error:
        complain(night.error)
    if as_json:
        print_json(night.as_dict(), indent=None)
    elif night.report:
        out.say(f"{night.folder}, {as_path(night.namespace)}:")
        print_night(night.report)
