"""A memory of the embedded model with two owners, and a llama-server for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _gguf import write_base
from _llamacpp_seeded import ALICE, ALICES, BOB, BOBS, EMBEDDED, THREADS, teach
from _values import HashedWords
from sleepmem_llamacpp import LiveServer, find_server

from sleepmem import ModelError, SleepMemory


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """The binary."""
    try:
        return find_server()
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as a GGUF file."""
    return write_base(EMBEDDED, tmp_path_factory.mktemp("base") / "embedded.gguf")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the weights hold what alice and bob told."""
    folder = tmp_path_factory.mktemp("made") / "m"
    with SleepMemory.open(folder, embeddings=HashedWords()) as memory:
        teach(memory, ALICE, ALICES, strangers=["Where does Una live?", "What does Per play?"])
        teach(memory, BOB, BOBS, strangers=["Where does Una live?", "What does Per play?"])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of a test's own."""
    return Path(shutil.copytree(made, tmp_path / "m"))


@pytest.fixture(scope="session")
def running(made: Path, base: Path, llama_server: Path) -> Iterator[LiveServer]:
    """A server with what is live in the folder that no test changes."""
    with (
        SleepMemory.open(made, embeddings=HashedWords(), read_only=True) as memory,
        LiveServer(memory, base, options=THREADS) as server,
    ):
        yield server


@pytest.fixture
def served(made: Path, running: LiveServer) -> Iterator[SleepMemory]:
    """The memory, answering by that server."""
    with SleepMemory.open(
        made, embeddings=HashedWords(), read_only=True, chat_model=running.address
    ) as memory:
        yield memory
