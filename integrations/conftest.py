"""Processes that the tests start find the packages beside them; slow tests run when asked for."""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_BESIDE = [str(HERE.parent), *(str(project.parent) for project in HERE.glob("*/pyproject.toml"))]
_KNOWN = os.environ.get("PYTHONPATH", "").split(os.pathsep)
os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*_BESIDE, *filter(None, _KNOWN)]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
_SLOW = 'takes minutes; `-m "slow or not slow"` runs it'


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason=_SLOW))
