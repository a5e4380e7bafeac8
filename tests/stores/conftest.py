"""A ledger in a file of its own, and a folder with all that a memory leaves."""

import pytest
from _damage import used_folder

from sleepmem.stores.ledger import Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def folder(tmp_path):
    return used_folder(tmp_path / "m")


@pytest.fixture
def ledger(path):
    opened = Ledger(path)
    yield opened
    opened.close()
