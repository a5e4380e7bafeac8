"""`python -m sleepmem_llamacpp FOLDER`: a llama-server that follows a memory folder."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from sleepmem import SleepmemError, SleepMemory
from sleepmem.config import read_config
from sleepmem_llamacpp.live import LiveServer

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def main(  # noqa: PLR0913 - the options of a command
    folder: Annotated[Path, typer.Argument(help="The memory folder.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Further options of llama-server, after --.")
    ] = None,
    *,
    base: Annotated[
        Path | None, typer.Option(help="GGUF file of its model; that of the folder by default.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    config: Annotated[Path | None, typer.Option(help="TOML file of the memory's settings.")] = None,
) -> None:
    """Answer with what is live in a memory folder, and go on so after every night."""
    for number in _STOPPING:
        signal.signal(number, _stop)
    try:
        settings = read_config(config) if config else None
        with (
            SleepMemory.open(folder, config=settings, read_only=True) as memory,
            LiveServer(memory, base, host=host, port=port, options=options or ()) as server,
        ):
            typer.echo(f"SleepMemory.open({str(folder)!r}, chat_model={server.address!r})")
            server.watch(every, until=threading.Event())
    except KeyboardInterrupt:
        return
    except SleepmemError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _stop(*_: object) -> None:
    """End it, also while it starts; a second signal does not keep it from clearing up."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run() -> None:
    """As the command `sleepmem-llamacpp`."""
    typer.run(main)


if __name__ == "__main__":
    run()
