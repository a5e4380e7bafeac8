"""Gateways that run: processes on free ports, on folders of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from sleepmem_openai.keys import Keys
from sleepmem_openai.processes import Server, free_port


@dataclass
class Gateway:
    """A gateway in a process, with its folder and its keys."""

    server: Server
    folder: Path
    keys: Keys

    @property
    def url(self) -> str:
        return self.server.url

    def key(self, *owner: str, many: bool = False) -> str:
        return self.keys.add(owner, many=many)[1]

    def client(self, *owner: str, key: str = "") -> openai.OpenAI:
        """A client of OpenAI with a new key of this owner, or with a given one."""
        secret = key or self.key(*owner)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=secret, max_retries=0, timeout=120)


Start = Callable[..., Gateway]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts gateways: `start(name, *options)`."""
    servers: list[Server] = []

    def begin(name: str, *options: str, with_keys: bool = True, ready: str = "/readyz") -> Gateway:
        folder, port = tmp_path_factory.mktemp(name), free_port()
        keys = Keys(folder / "keys.json")
        keys.add(("nobody",))
        command = ["python", "-m", "sleepmem_openai", "serve", str(folder / "memory")]
        command += ["--port", str(port), *options]
        command += ["--keys", str(keys.path)] if with_keys else []
        server = Server(command, port, ready=ready, log=folder / "gateway.log")
        servers.append(server)
        server.start()
        return Gateway(server, folder, keys)

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def own(start: Start) -> Gateway:
    """A gateway whose memory's embedded model answers."""
    return start("own", "--chat")


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks OpenAI's API and answers from what stands before it."""
    port = free_port()
    log = tmp_path_factory.mktemp("parrot") / "log"
    command = ["python", "-m", "sleepmem_openai.parrot", str(port)]
    server = Server(command, port, ready="/v1/models", log=log)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def behind(start: Start, parrot: Server) -> Gateway:
    """A gateway in front of the parrot."""
    return start("behind", "--upstream", f"{parrot.url}/v1")
