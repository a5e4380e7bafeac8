"""What a worker does: one night of one owner, on a base that it loads once. Knows no Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem import Bases, MemoryConfig, NightReport, SleepmemError, SleepMemory, Verdict
from sleepmem.config import read_config
from sleepmem.records import Namespace


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a night that was due.

    folder     the memory folder
    namespace  the owner; empty where the folder could not be opened
    report     as `NightReport.as_dict` gives it; empty when there is none
    error      why there is none
    """

    folder: str
    namespace: Namespace = ()
    report: dict[str, Any] | None = None
    error: str = ""

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.report["verdict"]) if self.report else Verdict.FAILED

    def as_dict(self) -> dict[str, Any]:
        told = self.report if self.report is not None else {"error": self.error}
        return {"folder": self.folder, "namespace": list(self.namespace), **told}


class Worker:
    """Runs nights one after the other; any number of workers may share a folder.

    Args:
        config: TOML file of settings.
        least: how much makes a night due; `tired_at` of the settings by default.
    """

    def __init__(self, config: str | None, least: int | None) -> None:
        self._settings: MemoryConfig | None = read_config(Path(config)) if config else None
        self._least = least
        self._bases = Bases()

    def night(self, folder: str, namespace: Namespace) -> Done:
        """Run the owner's night, or go on with it; nothing is run when it was done meanwhile.

        So it may be called again when nobody knows whether it came to its end.
        """
        owner = tuple(namespace)
        try:
            with SleepMemory.open(folder, config=self._settings, bases=self._bases) as memory:
                if owner not in memory.due_nights(least=self._least):
                    # None was done where all that there was to learn was forgotten meanwhile.
                    nothing = NightReport("", owner, Verdict.SKIPPED, "nothing is due").as_dict()
                    return Done(folder, owner, [nothing, *memory.nights(owner)][-1])
                return Done(folder, owner, memory.sleep(owner).as_dict())
        except (SleepmemError, OSError) as error:
            return Done(folder, owner, error=str(error))


def due(folder: str, *, config: str | None, least: int | None) -> list[Namespace]:
    """Whose night is due in a folder; nothing in it is changed.

    Raises:
        SleepmemError: it cannot be opened.
    """
    settings = read_config(Path(config)) if config else None
    with SleepMemory.open(folder, config=settings, read_only=True) as memory:
        return memory.due_nights(least=least)
