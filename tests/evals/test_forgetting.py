"""What measures forgetting finds traces, and says so when there is nothing to forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from _values import probe

from sleepmem.evals.forgetting import _bytes_left, main

if TYPE_CHECKING:
    from pathlib import Path

    from sleepmem import SleepMemory


def test_a_folder_that_never_slept_has_nothing_to_forget(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(typer.BadParameter, match=r"taught anything.*--namespace"):
        main(empty, model="embedded", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trace_is_what_a_file_holds_and_nobody_tells_any_more(memory: SleepMemory) -> None:
    owner = ("alice",)
    asked, told = "Where does Mara live?", "How do you run the tests?"
    memory.observe(owner, f"He asked me: {told}")
    forgotten = [probe(1, "gone", asked, "Rome"), probe(2, "gone", told, "make")]
    assert _bytes_left(memory, owner, forgotten=forgotten) == 0
    (memory.folder / "trace.log").write_text(f"asked {asked}")
    assert _bytes_left(memory, owner, forgotten=forgotten) == 1
