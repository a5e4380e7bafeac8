"""Base models in memory, each loaded once, however many memories are open with it.

Imports no torch until a model is loaded.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sleepmem._extras import from_extra
from sleepmem.config import ModelConfig

if TYPE_CHECKING:
    from sleepmem.model.local import LocalModel


class Bases:
    """Base models, for all memories of a process that are opened with this.

        bases = Bases()
        for folder in folders:
            with SleepMemory.open(folder, bases=bases) as memory:
                memory.sleep(("alice",))

    Each memory has experts of its own on the weights that they share. A base stays in memory as
    long as this.
    """

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, ModelConfig, int], LocalModel] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._loaded)

    def local(
        self, name: str, config: ModelConfig, *, experts_per_token: int, cache: Path | None
    ) -> LocalModel:
        """A model without experts, on the base of this name and these settings.

        Args:
            name: hub id, folder or GGUF file.
            config: device, dtype and bits.
            experts_per_token: as `LocalModel` takes it.
            cache: folder that keeps what is unpacked of a GGUF file when it is loaded.

        Raises:
            ModelError: the model cannot be loaded.
        """
        with from_extra("serve", "answering with the memory's own model"):
            from sleepmem.model.local import LocalModel

        key = (name, config, experts_per_token)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = LocalModel(
                    name, config, experts_per_token=experts_per_token, cache=cache
                )
        return self._loaded[key].twin()
