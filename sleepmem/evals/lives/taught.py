"""What a night taught, so that others can be taught the same: its pairs, and its steps."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from sleepmem.memory import SleepMemory
from sleepmem.night.lessons import own_rows
from sleepmem.night.rows import Row, RowKind
from sleepmem.records import Namespace, NightReport

_FILE = "taught.json"


class Taught(NamedTuple):
    """Pairs with what their teacher read, and how many steps they were trained for."""

    rows: list[Row]
    steps: int

    @classmethod
    def by(cls, memory: SleepMemory, owner: Namespace, *, report: NightReport) -> Taught:
        """What this night taught of its own day; nothing when it had nothing to learn."""
        rows = own_rows(
            memory.ledger,
            owner,
            night_id=report.night_id,
            completed=memory.config.sleep.seeding.completed,
            policy=memory.config.policy,
        )
        facts = [row for row in rows if row.kind is RowKind.FACT]
        steps = [int(point["step"]) for point in report.curve if "step" in point]
        return cls(facts, max(steps, default=0))

    @classmethod
    def read(cls, folder: Path) -> Taught:
        """What `write` has written there."""
        written = json.loads((folder / _FILE).read_text())
        rows = []
        for row in written["rows"]:
            chats = {view: tuple(row[view]) for view in ("student", "teacher")}
            rows.append(Row(**{**row, **chats, "kind": RowKind(row["kind"])}))
        return cls(rows, written["steps"])

    def write(self, folder: Path) -> None:
        written = {"steps": self.steps, "rows": [asdict(row) for row in self.rows]}
        (folder / _FILE).write_text(json.dumps(written, indent=1))
