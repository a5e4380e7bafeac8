"""The `sleepmem` command. The folder comes first; `--json` prints what a script would read.

Exit codes: 0 done, 1 a fault (one sentence on stderr), 2 a wrong command line, 3 the night was rejected, 4 the night failed, 130 interrupted: the folder
is consistent, an interrupted night goes on at the next `sleep`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sleepmem.config import read_config
from sleepmem.errors import EpisodeError, FolderLocked, SleepmemError
from sleepmem.memory import SleepMemory
from sleepmem.records import USER, Episode, Namespace, NightReport, Verdict, check_namespace

app = typer.Typer(
    help="Memory for LLM agents that moves, while the agent sleeps, out of the vector store and into the agent's own weights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)

Folder = Annotated[Path, typer.Argument(help="The memory folder.", show_default=False)]
Owner = Annotated[
    str, typer.Option("--namespace", "-n", help="Whose memory; parts are separated by '/'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[
    str | None,
    typer.Option(help="Hub id or folder of a causal language model; the embedded one by default."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings that differ from the defaults, such as rounds = 2 under [sleep.dream]."
    ),
]
_TURNS = 8  # messages that `chat` keeps in the context; what was told before is in the memory
_EXIT = {Verdict.PROMOTED: 0, Verdict.SKIPPED: 0, Verdict.REJECTED: 3, Verdict.FAILED: 4}


def _namespace(text: str) -> Namespace:
    return check_namespace(tuple(text.split("/")))


def _fail(sentence: str) -> NoReturn:
    err.print("[red]error:[/red]", end=" ")
    err.print(sentence, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1) from None


@contextmanager
def _sentences() -> Iterator[None]:
    """One sentence instead of a traceback."""
    try:
        yield
    except SleepmemError as e:
        _fail(str(e))
    except OSError as e:
        _fail(
            f"{e.filename or 'a file'} could not be used ({e.strerror or e}). Make it writable, make room, or choose another place."
        )
    except KeyboardInterrupt:
        err.print(
            "interrupted; the folder is consistent, and an interrupted night goes on at the next `sleepmem sleep`"
        )
        raise typer.Exit(130) from None


@contextmanager
def _open(
    folder: Path, must_exist: bool = True, config: Path | None = None, **kwargs: Any
) -> Iterator[SleepMemory]:
    with _sentences():
        settings = read_config(config) if config else None
        if must_exist and not (folder / "ledger.db").exists():
            _fail(
                f"there is no memory in {folder}. Create one with `sleepmem observe {folder} TEXT`."
            )
        with SleepMemory.open(folder, config=settings, **kwargs) as memory:
            yield memory


def _quieten() -> None:
    """Keep the libraries' bars and notes off the screen; ours are enough."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


@app.command()
def observe(
    folder: Folder,
    text: Annotated[str, typer.Argument(help="What was said.", show_default=False)],
    namespace: Owner = "default",
    source: Annotated[
        str, typer.Option(help="Who said it; only 'user' may teach the weights by default.")
    ] = USER,
    as_json: Json = False,
) -> None:
    """Store an episode; creates the folder when it is new."""
    _quieten()
    with _sentences():
        owner = _namespace(namespace)
        Episode(owner, text, source)  # refused before a folder is made for it
    try:
        with SleepMemory.open(folder, check_experts=False) as memory:
            episode = memory.observe(owner, text, source)
    except FolderLocked:  # another process is the writer: append beside it
        with _open(folder, append_only=True) as memory:
            episode = memory.observe(owner, text, source)
    except SleepmemError:
        with _sentences():
            raise
    if as_json:
        _print_json({"id": episode.id, "namespace": list(owner), "created_at": episode.created_at})
    else:
        err.print(f"remembered {episode.id}")


@app.command()
def ask(
    folder: Folder,
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    namespace: Owner = "default",
    model: Model = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Answer from the weights or from the buffer; prints the answer alone."""
    _quieten()
    with _open(folder, model=model, config=config) as memory:
        answer = memory.ask(_namespace(namespace), question)
        if as_json:
            found = answer.recall
            _print_json(
                {
                    "answer": answer.text,
                    "view": found.view.value,
                    "reason": found.reason,
                    "similarity": round(found.similarity, 3),
                    "episodes": [e.text for e in found.episodes],
                }
            )
        else:
            print(answer.text)


@app.command()
def chat(
    folder: Folder, namespace: Owner = "default", model: Model = None, config: Config = None
) -> None:
    """Talk to an agent with this memory. `/sleep` consolidates, `/quit` or end of input leaves."""
    from langchain.agents import create_agent

    from sleepmem.middleware import SleepMemoryMiddleware

    _quieten()
    with _sentences():
        owner = _namespace(namespace)
    with _open(folder, must_exist=False, model=model, config=config) as memory:
        agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory, owner)])
        messages: list[Any] = []
        while (line := _read()) not in (None, "/quit"):
            if line == "/sleep":
                _tell(_sleep(memory, owner))
            elif line:
                try:
                    messages = agent.invoke(
                        {"messages": [*messages[-_TURNS:], {"role": "user", "content": line}]}
                    )["messages"]
                except EpisodeError as e:  # the talk goes on
                    err.print(str(e), markup=False, highlight=False, soft_wrap=True)
                else:
                    out.print(messages[-1].text, markup=False, highlight=False)


def _read() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


@app.command()
def sleep(
    folder: Folder,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Whose night; every namespace with something buffered or an interrupted night by default.",
        ),
    ] = None,
    model: Model = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Consolidate the buffer into the weights; goes on with an interrupted night. JSON: a list of reports."""
    _quieten()
    with _open(folder, model=model, config=config) as memory:
        waiting = [
            n
            for n in memory.ledger.namespaces()
            if memory.ledger.buffered(n) or memory.ledger.unfinished_night(n)
        ]
        owners = waiting if namespace is None else [_known(memory, namespace)]
        reports = [_sleep(memory, owner) for owner in owners]
    if as_json:
        _print_json([r.as_dict() for r in reports])
    else:
        for r in reports:
            _tell(r)
        if not reports:
            print("nothing is buffered")
    raise typer.Exit(max((_EXIT[r.verdict] for r in reports), default=0))


def _known(memory: SleepMemory, namespace: str) -> Namespace:
    """The namespace, when something was ever said to it: a mistyped one is no empty one."""
    owners = memory.ledger.namespaces()
    if (owner := _namespace(namespace)) not in owners:
        _fail(
            f"nothing was ever said to {namespace} in {memory.folder}; it knows {', '.join(map('/'.join, owners)) or 'nobody'}."
        )
    return owner


def _sleep(memory: SleepMemory, owner: Namespace) -> NightReport:
    stop, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: Any) -> None:
        stop.set()  # the night runs in a thread of its own, which this ends soon
        err.print("stopping ...")
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        with _progress() as show:
            return memory.sleep(owner, on_event=show, stop=stop)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar on stderr for the events of a night or a week."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("night", total=None)

        def show(event: dict[str, Any]) -> None:
            day = f"day {event['day']} " if "day" in event else ""
            detail = (
                f" {event['arm']}"
                if "arm" in event
                else f" loss {event['loss']}"
                if "loss" in event
                else ""
            )
            bars.update(
                bar,
                description=f"{day}{event['step']}{detail}",
                total=event.get("of"),
                completed=event.get("done", 0),
            )

        yield show


def _tell(report: NightReport) -> None:
    out.print(
        f"{report.night_id} of {'/'.join(report.namespace)}: {report.verdict.value}, {report.reason}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    took = f"{report.seconds:.0f} s, {report.tokens_trained:,} tokens trained"
    if report.verdict is not Verdict.PROMOTED:
        done = "nothing left the buffer"
    elif report.absorbed > 1:
        done = f"{report.absorbed} experts became one ({report.level}), {report.returned} of {report.episodes} episodes went back to the buffer"
    else:
        again = (
            f", {report.returned} of them learned before and forgotten" if report.returned else ""
        )
        done = f"{report.evicted} of {report.episodes} episodes left the buffer{again}"
    out.print(f"{done}, {took}", soft_wrap=True)
    for slower in report.slower:
        _tell(slower)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Per namespace: what is stored, what is buffered, what the weights hold, how often it retrieves."""
    with _open(folder, append_only=True) as memory:
        found = memory.status()
    if as_json:
        _print_json(found)
        return
    table = Table(
        "namespace", "stored", "buffer", "weights", "experts", "nights", "asked", "retrieved"
    )
    for s in found:
        rate = "-" if s["retrieval_rate"] is None else f"{s['retrieval_rate']:.2f}"
        counts = [str(s[k]) for k in ("episodes", "buffered", "learned")]
        table.add_row(
            "/".join(s["namespace"]),
            *counts,
            str(len(s["experts"])),
            str(s["nights"]),
            str(s["questions"]),
            rate,
        )
    out.print(table)


@app.command()
def report(
    folder: Folder,
    namespace: Owner = "default",
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; FOLDER/report by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.json, report.html and the plots of one namespace."""
    from sleepmem.report import data as figures
    from sleepmem.report import draw

    with _open(folder, append_only=True) as memory:
        data = figures.from_ledger(memory.ledger, _known(memory, namespace))
        paths = draw.write(data, to or folder / "report")
    if as_json:
        _print_json(data)
    else:
        for path in paths:
            print(path)


@app.command()
def verify(folder: Folder, as_json: Json = False) -> None:
    """Prove that ledger, index and experts agree; exit code 1 when they do not."""
    with _open(folder, reconcile=False) as memory:
        faults = memory.verify()
    if as_json:
        _print_json({"sound": not faults, "faults": faults})
    else:
        for fault in faults or [
            "sound: every episode matches its hash, every expert its checksum, the index the ledger"
        ]:
            print(fault)
    raise typer.Exit(1 if faults else 0)


@app.command()
def rollback(
    folder: Folder,
    to: Annotated[
        str,
        typer.Option(
            help="Keep the experts up to this night, such as night-0002; '' keeps none.",
            show_default=False,
        ),
    ],
    namespace: Owner = "default",
    as_json: Json = False,
) -> None:
    """Make an earlier version of the weights live; what later nights taught goes back to the buffer."""
    _quieten()
    with _open(folder, check_experts=False) as memory:
        owner = _known(memory, namespace)
        nights = [e.night_id for e in memory.ledger.experts(owner, live=False)]
        if to and to not in nights:
            _fail(f"{to} made no expert for {namespace}; it has {', '.join(nights) or 'none'}.")
        kept = nights[: nights.index(to) + 1] if to else []
        back = memory.rollback(owner, kept)
        live = [e.night_id for e in memory.ledger.experts(owner)]
    if as_json:
        _print_json({"live": live, "back_in_buffer": back})
    else:
        print(
            f"live: {', '.join(live) or 'no expert'}; {len(back)} episodes are back in the buffer"
        )


@app.command()
def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("runs/demo"),
    days: Annotated[int, typer.Option(help="Days to live.", min=1)] = 7,
    facts: Annotated[int, typer.Option(help="New facts a day.", min=8)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the week.")] = 0,
    as_json: Json = False,
) -> None:
    """Seven days in the life of an agent, on the embedded model: talk, questions, sleep."""
    _quieten()
    from sleepmem.evals.week import Week, live
    from sleepmem.report import draw

    with _sentences():
        with _progress() as show:
            data = live(Week(days=days, facts=facts), seed, say=show)
        paths = draw.write(data, to)
    if as_json:
        _print_json(data)
        return
    table = Table(title="Answers right / memory tokens per turn, before each night")
    for column in (
        "day",
        "facts",
        "no memory",
        "retrieval only",
        "sleepmem",
        "retrieves",
        "honest",
        "night",
    ):
        table.add_column(column)
    for d, n in zip(data["days"], data["nights"], strict=True):
        cells = [
            f"{d[a]['accuracy']:.2f} / {d[a]['memory_tokens_per_turn']:.0f}"
            for a in ("none", "retrieval", "sleepmem")
        ]
        ours = d["sleepmem"]
        table.add_row(
            str(d["day"]),
            str(d["facts_total"]),
            *cells,
            f"{ours['retrieval_rate']:.2f}",
            f"{ours['abstention']:.2f}",
            n["verdict"],
        )
    out.print(table)
    for key, value in data["summary"].items():
        out.print(f"{key}: {value:g}")
    for path in paths:
        out.print(str(path), highlight=False)
