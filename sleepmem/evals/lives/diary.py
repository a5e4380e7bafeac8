"""What is finished of a run, on disk: a folder for each life, arm and day, there whole or not.

OUT/run.json                    what the run was begun with
OUT/LIFE/ARM/day-01/record.json what was answered, and what the day cost
OUT/LIFE/ARM/day-01/...         what the arm needs to go on from there
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD, RUN = "record.json", "run.json"


class Diary:
    """The finished days of a run.

    Args:
        out: the folder of the run; made when it is new.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    def begin(self, run: dict[str, Any]) -> dict[str, Any]:
        """Keep with what the run was begun; returns what it was begun with, then or now."""
        file = self.out / RUN
        if not file.exists():
            file.write_text(json.dumps(run, indent=1))
        begun: dict[str, Any] = json.loads(file.read_text())
        return begun

    def day(self, life: str, arm: str, *, number: int) -> Path:
        """The folder of a day, finished or not; days count from 1."""
        return self.out / life / arm / f"day-{number:02d}"

    def lived(self, life: str, arm: str) -> int:
        """How many days are finished, one after the other."""
        number = 0
        while (self.day(life, arm, number=number + 1) / RECORD).exists():
            number += 1
        return number

    def read(self, life: str, arm: str, *, number: int) -> dict[str, Any]:
        """The record of a finished day."""
        text = (self.day(life, arm, number=number) / RECORD).read_text()
        record: dict[str, Any] = json.loads(text)
        return record

    def finish(
        self, record: dict[str, Any], keep: Callable[[Path], None], *, life: str, arm: str
    ) -> None:
        """Write the record of a day, after what `keep` writes into its folder."""
        folder = self.day(life, arm, number=record["day"])
        half = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        keep(half)
        (half / RECORD).write_text(json.dumps(record, indent=1))
        # A day without its record is not finished.
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)

    def records(self) -> list[dict[str, Any]]:
        """Those of all finished days."""
        files = sorted(self.out.glob(f"*/*/day-*/{RECORD}"))
        return [json.loads(file.read_text()) for file in files]
