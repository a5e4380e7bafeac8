"""What measures forgetting says so when there is nothing to forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from sleepmem.evals.forgetting import main

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_never_slept_has_nothing_to_forget(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(typer.BadParameter, match=r"taught anything.*--namespace"):
        main(empty, model="embedded", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
