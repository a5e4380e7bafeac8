"""Every promise of the page names a test that there is, and the numbers of the code."""

import ast
import re
from functools import cache

import pytest
from _pages import ROOT, WRITTEN

from sleepmem.stores.database import BUSY_SECONDS

PAGE = WRITTEN["docs/promises.md"]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_promise_has_its_test(file: str, name: str) -> None:
    assert name in names_in(file)


def test_every_line_names_one() -> None:
    table = PAGE.partition("## What sleepmem promises")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(rows) == len(NAMED) > 20


def test_the_page_tells_how_long_is_waited() -> None:
    assert f"a change waits {BUSY_SECONDS} s, then one sentence" in PAGE
