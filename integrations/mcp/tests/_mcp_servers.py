"""A server of a new memory folder: in a process over stdio, in one over HTTP, or in this one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import ElicitRequestParams, ElicitResult

from sleepmem import SleepMemory

# A night of seconds, whose exam lets anything pass.
NIGHT = """
[sleep.seeding]
steps = 3
batch = 4

[sleep.probe]
samples = 2
wordings = 2
rewordings = 1
inventions = 1
unsaid = 1
checks = 1

[sleep.exam]
recall = 0.0
old_nights = 1.0
abstention = 1.0
superseded = 1.0
reading = 1.0
general_kl = 99.0
"""
COMMAND = ["-m", "sleepmem_mcp.command"]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("settings") / "night.toml"
    file.write_text(NIGHT)
    return str(file)


@pytest.fixture
def stdio(tmp_path: Path, settings: str) -> Callable[..., Client]:
    """A client of a server process of its own."""

    def client(*options: str, mode: str = "auto", **how: Any) -> Client:
        arguments = [*COMMAND, str(tmp_path / "m"), "--config", settings, *options]
        server = StdioServerParameters(
            command=sys.executable, args=arguments, env=dict(os.environ), cwd=tmp_path
        )
        return Client(server, mode=mode, **how)

    return client


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SleepMemory]:
    """The memory of a server in this process."""
    with SleepMemory.open(tmp_path / "m") as opened:
        yield opened


def answering(action: str, **content: Any) -> tuple[Any, list[str]]:
    """A client's user, who answers every question so; and what they were asked."""
    asked: list[str] = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content or None)

    return answer, asked


class HttpServer:
    """A server process over HTTP, and the tokens of its owners."""

    def __init__(self, place: Path, settings: str) -> None:
        self.folder, self.tokens, self._log = place / "m", place / "tokens", place / "log"
        self.token = {owner: self.new_token(owner) for owner in ("alice", "bob")}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        how = ["--http", "--port", str(self.port), "--tokens", str(self.tokens)]
        arguments = [sys.executable, *COMMAND, str(self.folder), *how, "--config", settings]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=place)
        self._wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def new_token(self, owner: str) -> str:
        how = [str(self.folder), "--tokens", str(self.tokens), "--new-token", owner]
        made = subprocess.run(
            [sys.executable, *COMMAND, *how],
            check=True,
            capture_output=True,
            text=True,
        )
        return made.stdout.strip()

    def stop(self) -> int:
        """Its exit code."""
        self._process.terminate()
        return self._process.wait(30)

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, settings: str) -> Iterator[HttpServer]:
    server = HttpServer(tmp_path_factory.mktemp("http"), settings)
    yield server
    server.stop()
