"""The packages are found without being installed; slow tests are run when they are asked for."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGES = [str(HERE.parent), str(HERE.parents[2])]
sys.path[:0] = PACKAGES
known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
# Workers and commands are processes of their own.
os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*PACKAGES, *filter(None, known)]))
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: minutes; run with -m slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with -m slow"))
