"""A memory with the default embeddings, and a user who talks to an agent that has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cases._user import User

from sleepmem import SleepMemory


@pytest.fixture
def memory(new_folder: Path) -> Iterator[SleepMemory]:
    with SleepMemory.open(new_folder) as one:
        yield one


@pytest.fixture
def user(memory: SleepMemory) -> User:
    return User(memory)
