"""The command: `sleepmem-mcp FOLDER`, over stdio for one owner, or over HTTP for those with tokens.

On stdio stdout is the protocol's; what people read goes to stderr.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from sleepmem import SleepmemError, SleepMemory
from sleepmem.config import read_config
from sleepmem.records import parse_namespace
from sleepmem_mcp.room import Room, UserWords
from sleepmem_mcp.server import MemoryServer
from sleepmem_mcp.tokens import Tokens, new_token

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
# How long a night may take to its next checkpoint when the server ends.
_LAST_SECONDS = 1.5

Words = Annotated[
    UserWords,
    typer.Option(
        help="What becomes of a text that the agent says is the user's: 'held' as the agent's "
        "quotation, never learned; 'asked': the client asks the user; 'trusted': believed, and may "
        "be learned."
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(help="A name that clients may call it by, such as that of a proxy."),
]


@app.command()
def main(  # noqa: PLR0913 - the options of a command
    folder: Annotated[
        Path, typer.Argument(help="The memory folder; made when it is new.", show_default=False)
    ],
    *,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Whose memory, over stdio; parts are separated by '/'. 'default' by default.",
        ),
    ] = None,
    user_words: Words = UserWords.HELD,
    model: Annotated[
        str | None,
        typer.Option(help="As `sleepmem` takes it; what was used last by default."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP at /mcp.")] = False,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    tokens: Annotated[
        Path | None, typer.Option(help="File with the owners' tokens, hashed; needed for HTTP.")
    ] = None,
    allow_host: Names = None,
    new_token_for: Annotated[
        str | None,
        typer.Option("--new-token", help="Make a token for this owner, print it once, and end."),
    ] = None,
) -> None:
    """Serve a memory folder to MCP clients."""
    try:
        if new_token_for is not None:
            typer.echo(new_token(_needed(tokens), new_token_for))
            return
        if http and namespace is not None:
            fail("over HTTP the token says whose memory it is; leave --namespace out.")
        owner = None if http else parse_namespace("default" if namespace is None else namespace)
        verifier = Tokens(_needed(tokens)) if http else None
        settings = read_config(config) if config else None
        with SleepMemory.open(folder, model, config=settings) as memory:
            room = Room(memory, owner, words=user_words)
            server = MemoryServer(room, verifier)
            with _ending(room):
                if verifier is None:
                    _over_stdio(server, room)
                else:
                    _over_http(server, host=host, port=port, names=allow_host or [])
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    except SleepmemError as error:
        fail(str(error))
    except OSError as error:
        what = error.filename or f"{host}:{port}"
        fail(f"{what} could not be used ({error.strerror or error}); choose another.")


def fail(sentence: str) -> NoReturn:
    """End with one sentence on stderr."""
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(1)


def _needed(tokens: Path | None) -> Path:
    if tokens is None:
        fail(
            "over HTTP every owner needs a token; name their file with --tokens FILE, and make one "
            "with --tokens FILE --new-token OWNER."
        )
    return tokens


def _end(room: Room, code: int = 0, *, at_once: bool = False) -> None:
    """End the nights where they can go on; those that do not in time end with the process."""
    if not room.stop_nights(_LAST_SECONDS) or at_once:
        # The ledger is not closed under a night: ended at any moment, it goes on next time.
        os._exit(code)


@contextmanager
def _ending(room: Room) -> Iterator[None]:
    """Whatever ends the server, its nights end before the memory is closed."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
    except _Terminated:
        _end(room, 128 + signal.SIGTERM)
        raise
    finally:
        _end(room)


class _Terminated(BaseException):
    """The process is to end by SIGTERM, when all is closed."""


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


def _over_stdio(server: MemoryServer, room: Room) -> None:
    def leave(number: int, frame: Any) -> None:
        # The thread that reads stdin cannot be interrupted: who waited for it would wait for ever.
        _end(room, 128 + number, at_once=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    server.run("stdio")


def _over_http(server: MemoryServer, *, host: str, port: int, names: list[str]) -> None:
    hosts, origins = [], []
    for name in [*_LOCAL, *names]:
        hosts += [name, f"{name}:*"]
        origins += [f"{scheme}://{name}{end}" for scheme in ("http", "https") for end in ("", ":*")]
    # Else a page in the user's browser could reach their server under a name of its own.
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)
    served = server.streamable_http_app(host=host, transport_security=security)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        typer.echo(f"listening on http://{host}:{port}/mcp", err=True)
        settings = uvicorn.Config(
            served, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2
        )
        # Once it has ended by a signal uvicorn raises that anew, which would leave the memory open.
        signal.signal(signal.SIGTERM, _terminate)
        uvicorn.Server(settings).run(sockets=[listening])


if __name__ == "__main__":
    app()
