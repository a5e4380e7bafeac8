"""A ledger in a file of its own."""

import pytest

from sleepmem.stores.ledger import Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    opened = Ledger(path)
    yield opened
    opened.close()
