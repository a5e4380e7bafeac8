"""The `sleepmem-gateway` command: serve a memory folder, add, list and revoke keys.

Exit codes: 0 done, 1 a fault (one sentence on stderr), 2 a wrong command line.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from fastapi import FastAPI

from sleepmem import ConfigError, SleepmemError, SleepMemory
from sleepmem.config import read_config
from sleepmem_openai.app import create_app
from sleepmem_openai.keys import Keys, parsed_owner, shown_owner
from sleepmem_openai.limits import Limits
from sleepmem_openai.upstream import Upstream

# Where the key of the upstream stands: a command line is seen by everybody on a machine.
UPSTREAM_KEY = "SLEEPMEM_UPSTREAM_KEY"
_LIMITS = Limits()
# Seconds that answers under way get when the gateway is told to end.
_GRACE = 30

app = typer.Typer(
    help="A gateway that speaks OpenAI's API in front of a memory folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys: whose memory each opens.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

KeysFile = Annotated[Path, typer.Argument(help="The file of keys.", show_default=False)]


@contextmanager
def _sentences() -> Iterator[None]:
    """One sentence instead of a traceback."""
    try:
        yield
    except (SleepmemError, OSError) as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(1) from None


@app.command()
def serve(  # noqa: PLR0913 - the options of the command
    folder: Annotated[Path, typer.Argument(help="The memory folder.", show_default=False)],
    *,
    model: Annotated[
        str | None, typer.Option(help="The memory's own model, when it shall answer.")
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="Base URL of a server that speaks OpenAI's API and answers instead, such as "
            f"http://127.0.0.1:8080/v1; the key that it wants is read from {UPSTREAM_KEY}."
        ),
    ] = None,
    chat_model: Annotated[
        str | None,
        typer.Option(
            help="Address of a llama-server with the memory's weights, as sleepmem-llamacpp runs "
            "it, that answers in place of the memory's own model."
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of keys; without, `user` says whose memory.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8642,
    chat: Annotated[bool, typer.Option("--chat", help="Serve a page to chat at /.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings of the memory.")
    ] = None,
    per_minute: Annotated[
        int, typer.Option(min=1, help="Requests of an owner a minute.")
    ] = _LIMITS.per_minute,
    at_once: Annotated[
        int, typer.Option(min=1, help="Requests that are answered at once.")
    ] = _LIMITS.at_once,
    at_once_per_owner: Annotated[
        int, typer.Option(min=1, help="And of one owner.")
    ] = _LIMITS.at_once_per_owner,
    most_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes of a request.")
    ] = _LIMITS.most_bytes,
) -> None:
    """Serve a memory folder to clients of OpenAI's API."""
    with _sentences(), _closed_first():
        _check(keys, host)
        for name, own in (("--model", model), ("--chat-model", chat_model)):
            if upstream is not None and own is not None:
                raise ConfigError(
                    f"{name} and --upstream are both given, and one answers; pass one."
                )
        settings = None if config is None else read_config(config)
        limits = Limits(most_bytes, per_minute, at_once, at_once_per_owner)
        behind = None if upstream is None else Upstream(upstream, os.environ.get(UPSTREAM_KEY))
        # Without keys nobody but this machine may ask, a web page under another name neither.
        hosts = ["127.0.0.1", "localhost", "[::1]", host] if keys is None else ["*"]
        # What cannot be listened on leaves no folder behind.
        with (
            _listening(host, port) as listening,
            SleepMemory.open(folder, model, config=settings, chat_model=chat_model) as memory,
        ):
            gateway = create_app(
                memory,
                None if keys is None else Keys(keys),
                upstream=behind,
                limits=limits,
                chat=chat,
                hosts=hosts,
            )
            _run(gateway, listening)


class _Terminated(BaseException):
    """The process is to end by SIGTERM, when all is closed."""


@contextmanager
def _closed_first() -> Iterator[None]:
    """A SIGTERM ends the process once what was opened is closed.

    When it has ended by a signal uvicorn raises that anew, which would leave the memory open.
    """

    def terminate(number: int, frame: Any) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(keys: Path | None, host: str) -> None:
    """Raises: ConfigError: strangers could read, or there is no file of keys."""
    if keys is None and not _is_loopback(host):
        raise ConfigError(
            f"without keys, {host} would give every memory to whoever reaches it; give --keys, or "
            "listen on 127.0.0.1."
        )
    if keys is not None and not keys.exists():
        raise ConfigError(
            f"there are no keys at {keys}; make one with `sleepmem-gateway keys add {keys} OWNER`."
        )


def _listening(host: str, port: int) -> socket.socket:
    """Raises: ConfigError: somebody else listens there, or nobody can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{_where(host)}:{port} cannot be listened on ({why}); choose another --port or --host."
        ) from error


def _where(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _run(gateway: FastAPI, listening: socket.socket) -> None:
    """Serve until it is told to end."""
    host, port, *_ = listening.getsockname()
    # A Ctrl-C ends it; that is no fault.
    with suppress(KeyboardInterrupt):
        typer.echo(f"serving at http://{_where(host)}:{port}/v1")
        settings = uvicorn.Config(
            gateway,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
            server_header=False,
        )
        uvicorn.Server(settings).run(sockets=[listening])


@keys_app.command()
def add(
    file: KeysFile,
    owner: Annotated[
        str, typer.Argument(help="Whose memory; parts between '/', a '/' of a part as %2F.")
    ],
    *,
    many: Annotated[
        bool,
        typer.Option("--many", help="A service's: the `user` of each request is added to it."),
    ] = False,
) -> None:
    """Make a key and print it, this once."""
    with _sentences():
        key, secret = Keys(file).add(parsed_owner(owner), many=many)
        typer.echo(f"{key.id} opens the memory of {_shown(key.owner, many)}", err=True)
        typer.echo(secret)


@keys_app.command("list")
def list_(file: KeysFile) -> None:
    """Show the keys, without what opens anything."""
    with _sentences():
        for key in Keys(file).all():
            typer.echo(f"{key.id}  {key.created}  {_shown(key.owner, key.many)}")


@keys_app.command()
def revoke(
    file: KeysFile, key_id: Annotated[str, typer.Argument(help="As `list` shows it.")]
) -> None:
    """Take a key away; running gateways refuse it at once."""
    with _sentences():
        gone = Keys(file).revoke(key_id)
        typer.echo(f"{gone.id} opens nothing any more")


def _shown(owner: tuple[str, ...], many: bool) -> str:
    return f"{shown_owner(owner)}/USER" if many else shown_owner(owner)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
