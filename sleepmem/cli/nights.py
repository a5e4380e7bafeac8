"""The commands of the night: sleep, rollback."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from sleepmem.cli.app import (
    NIGHT,
    SERVE,
    Config,
    Folder,
    Json,
    Model,
    Owner,
    complain,
    err,
    fail,
    known_namespace,
    opened,
    out,
    print_json,
    progress,
    ready,
)
from sleepmem.errors import ConfigError, ModelError, SleepmemError
from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace, NightReport, Verdict, as_path

EXIT_CODES = {
    Verdict.PROMOTED: 0,
    Verdict.SKIPPED: 0,
    Verdict.TRIED: 0,
    Verdict.REJECTED: 3,
    Verdict.FAILED: 4,
}

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def sleep(
    folder: Folder,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Whose night; every namespace with something buffered or an interrupted night "
            "by default.",
        ),
    ] = None,
    *,
    model: Model = None,
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but change what is answered from.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Consolidate the buffer into the weights; goes on with an interrupted night.
    An owner whose night cannot be run holds up no other. JSON: a list of reports."""
    with opened(folder, NIGHT, model=model, config=config) as memory:
        owners = _waiting(memory) if namespace is None else [known_namespace(memory, namespace)]
        reports: list[NightReport] = []
        has_faults = False
        for owner in owners:
            try:
                reports.append(one_night(memory, owner, dry_run=dry_run))
            except ModelError:  # everybody's
                raise
            except SleepmemError as error:
                has_faults = True
                complain(str(error))
    if as_json:
        print_json([report.as_dict() for report in reports])
    else:
        for report in reports:
            print_night(report)
        if not owners:
            out.say("nothing is buffered")
    codes = [EXIT_CODES[report.verdict] for report in reports]
    raise typer.Exit(1 if has_faults else max(codes, default=0))


def rollback(
    folder: Folder,
    to: Annotated[
        str,
        typer.Option(
            help="Keep the experts up to this night, such as night-0002; '' keeps none.",
            show_default=False,
        ),
    ],
    *,
    namespace: Owner = "default",
    as_json: Json = False,
) -> None:
    """Make an earlier version of the weights live;
    what later nights taught goes back to the buffer."""
    with opened(folder, SERVE, check_experts=False) as memory:
        owner = known_namespace(memory, namespace)
        nights = _nights_of_experts(memory, owner, live=False)
        if to and to not in nights:
            fail(f"{to} made no expert for {namespace}; it has {', '.join(nights) or 'none'}.")
        back = memory.rollback(owner, nights[: nights.index(to) + 1] if to else [])
        live = _nights_of_experts(memory, owner, live=True)
    if as_json:
        print_json({"live": live, "back_in_buffer": back})
    else:
        experts = ", ".join(live) or "no expert"
        out.say(f"live: {experts}; {len(back)} episodes are back in the buffer")


def review(  # noqa: PLR0913 - the options of a command
    folder: Folder,
    namespace: Owner = "default",
    *,
    model: Model = None,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Learn it as it is.")] = False,
    answer: Annotated[
        Path | None,
        typer.Option(
            help="File: the texts to be learned in JSON, by the ids that --json prints; or what "
            "was edited."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at what the next night is about to learn, in your editor, and change it.
    What is deleted there is never learned and stays in the buffer. `sleepmem sleep` goes on with
    the night. JSON: what it is about to learn; the night waits for --answer."""
    stop = threading.Event()

    def ask(draft: dict[str, Any]) -> dict[str, str]:
        if as_json and answer is None and not yes:
            print_json(draft)
            raise _Waits
        if answer is not None:
            texts = _written(answer, draft)
        elif yes:
            texts = {line["id"]: line["text"] for line in draft["lines"]}
        else:
            texts = _edited(draft)
        out.say(f"{len(texts)} of {len(draft['lines'])} are to be learned")
        # Decided is decided: the night goes on when it is told to.
        stop.set()
        return texts

    def halt(event: dict[str, Any]) -> None:
        # Also where it was answered before: it goes on with `sleep`.
        if event.get("step") == "probe":
            stop.set()

    with opened(folder, NIGHT, model=model, config=config) as memory:
        owner = known_namespace(memory, namespace)
        report = _until_it_waits(lambda: memory.sleep(owner, halt, review=ask, stop=stop), stop)
    if report is not None:
        print_night(report)


def _written(answer: Path, draft: dict[str, Any]) -> dict[str, str]:
    """The texts of a file: JSON, or what was edited."""
    from sleepmem.night import reviewing

    try:
        return reviewing.check(draft, reviewing.from_file(answer.read_text("utf-8")))
    except (OSError, ValueError) as error:
        fail(f"{answer} is no answer to a review ({error}); the night waits for one.")


def _edited(draft: dict[str, Any]) -> dict[str, str]:
    """The texts as they come out of the editor; kept in a file where they cannot be taken."""
    from sleepmem.night import reviewing

    edited = click.edit(reviewing.as_patch(draft), extension=".diff")
    if edited is None:
        fail("nothing was saved in the editor; the night waits for a review.")
    try:
        return reviewing.check(draft, reviewing.from_patch(edited))
    except ConfigError as error:
        number, path = tempfile.mkstemp(prefix="sleepmem-review-", suffix=".diff")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(f"# {error}\n{edited}")
        fail(
            f"{error} What was written is kept in {path}: mend it there, and pass it with --answer."
        )


def _until_it_waits(
    sleeping: Callable[[], NightReport], stop: threading.Event
) -> NightReport | None:
    """None when the night waits, for its answer or for `sleep`; a Ctrl-C before that is one."""
    try:
        return sleeping()
    except _Waits:
        return None
    except KeyboardInterrupt:
        if not stop.is_set():
            raise
        return None


class _Waits(Exception):
    """The night waits for an answer that comes later."""


def one_night(memory: SleepMemory, owner: Namespace, *, dry_run: bool = False) -> NightReport:
    """Sleep, with a bar; a Ctrl-C, or a scheduler's SIGTERM, ends the night where it can go on."""
    ready(NIGHT)
    stop = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        # The night runs in a thread of its own, which this ends soon.
        stop.set()
        err.print("stopping ...")
        raise KeyboardInterrupt

    with handled(interrupt), progress() as show:
        return memory.sleep(owner, on_event=show, stop=stop, dry_run=dry_run)


@contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """What a Ctrl-C and a SIGTERM do meanwhile."""
    before = {number: signal.signal(number, handler) for number in _STOPPING}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def print_night(report: NightReport) -> None:
    """Two lines a night: the verdict with its reason, and what it did."""
    owner = as_path(report.namespace)
    out.say(f"{report.night_id} of {owner}: {report.verdict.value}, {report.reason}")
    if report.held_back:
        rules = ", ".join(f"{count} by {rule}" for rule, count in report.held_back.items())
        out.say(f"kept from being learned: {rules}")
    seconds, tokens = f"{report.seconds:.0f} s", f"{report.tokens_trained:,} tokens trained"
    out.say(f"{_outcome(report)}, {seconds}, {tokens}")
    for slower in report.slower:
        print_night(slower)


def _outcome(report: NightReport) -> str:
    if report.verdict is not Verdict.PROMOTED:
        return "nothing left the buffer"
    if report.absorbed > 1:
        return (
            f"{report.absorbed} experts became one ({report.level}), "
            f"{report.returned} of {report.episodes} episodes went back to the buffer"
        )
    left = f"{report.evicted} of {report.episodes} episodes left the buffer"
    if report.returned:
        left += f", {report.returned} of them learned before and forgotten"
    return left


def _waiting(memory: SleepMemory) -> list[Namespace]:
    """Who has something buffered, or a night that was interrupted."""
    owners, ledger = [], memory.ledger
    for owner in ledger.episodes.namespaces():
        if ledger.episodes.telling(owner) or ledger.nights.unfinished(owner):
            owners.append(owner)
    return owners


def _nights_of_experts(memory: SleepMemory, owner: Namespace, *, live: bool) -> list[str]:
    experts = memory.ledger.lineage.experts(owner, live=live)
    return [expert.night_id for expert in experts]
