"""What is finished of a run, on disk: a folder for each life, arm and day, there whole or not.

OUT/run.json                    what the run was begun with
OUT/LIFE/ARM/day-01/record.json what was answered, and what the day cost
OUT/LIFE/ARM/day-01/...         what the arm needs to go on from there
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from sleepmem.config import MemoryConfig
from sleepmem.evals.lives.data import Life

RECORD, RUN = "record.json", "run.json"


def begun_with(model: str, config: MemoryConfig, *, lives: Sequence[Life]) -> dict[str, Any]:
    """What a run depends on: the model, all settings, and each life as it is told, by its hash.

    Of the lives only those that both runs have must be the same.
    """
    told = {}
    for life in lives:
        text = json.dumps(asdict(life), default=str, sort_keys=True)
        told[life.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    settings = json.loads(json.dumps(asdict(config), default=str))
    return {"model": model, "settings": settings, "lives": told}


def check_same(diary: Diary, asked: dict[str, Any]) -> None:
    """That the folder is of a run like this one: its days are not measured again.

    Raises:
        typer.BadParameter: it was begun with something else; says with what.
    """
    begun = diary.begin(asked)
    differing = [key for key in asked if key != "lives" and begun.get(key) != asked[key]]
    known = begun.get("lives", {})
    differing += [name for name, told in asked["lives"].items() if known.get(name, told) != told]
    if differing:
        raise typer.BadParameter(
            f"{diary.out} was begun with other {', '.join(differing)} (its {RUN} tells them). "
            "Choose another folder."
        )
    diary.add_lives(asked["lives"])


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

    def add_lives(self, told: dict[str, str]) -> None:
        """Keep those that were told later with what the run was begun with."""
        file = self.out / RUN
        begun = json.loads(file.read_text())
        begun["lives"] = {**begun.get("lives", {}), **told}
        file.write_text(json.dumps(begun, indent=1))

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
