"""What a memory's experts are outside this process: named for a server, written for llama.cpp."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleepmem._extras import from_extra
from sleepmem.config import MemoryConfig
from sleepmem.errors import ConfigError, ExpertError, ModelError
from sleepmem.records import Namespace
from sleepmem.stores.folder import Folder

if TYPE_CHECKING:
    from sleepmem.model.habits import Known


class Adapters:
    """The live experts of a memory with the habits of its model, by the names they go under.

    Args:
        folder: the memory's.
        model: hub id, folder or GGUF file.
        config: of the memory.
    """

    def __init__(self, folder: Folder, model: str, config: MemoryConfig) -> None:
        self._folder, self._model, self._config = folder, model, config

    @functools.cached_property
    def known(self) -> Known:
        """What is known of the model before it is loaded."""
        from sleepmem.model.habits import known

        return known(self._model, self._config.model)

    def live(self, owner: Namespace) -> tuple[str, ...]:
        """Names of the experts that answer for the owner, oldest first."""
        return tuple(expert.name for expert in self._folder.ledger.lineage.experts(owner))

    def name(self, experts: Sequence[str]) -> str:
        """What these experts are called with the habits; empty of nothing.

        Other experts, or other habits, have another name, and none is used again.
        """
        habits = self.known.habits
        sealed = self._folder.ledger.lineage.seals.digest(experts)
        parts = [habits.sha256 if habits else "", sealed]
        if not any(parts):
            return ""
        return "sleepmem-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def write(
        self, owner: Namespace, path: Path, *, base: str | Path | None, quantised: str | None
    ) -> tuple[Path, ...]:
        """Write them for llama.cpp and Ollama, as `SleepMemory.export_gguf` says."""
        with from_extra("gguf", "writing a GGUF file"):
            from sleepmem.model import llamacpp

        if quantised is not None and quantised not in llamacpp.QUANTISED:
            raise ConfigError(
                f"quantised is {quantised!r:.20}; pass one of {', '.join(llamacpp.QUANTISED)}."
            )
        if self._config.sleep.experts_per_token:
            raise ConfigError(
                f"experts_per_token is {self._config.sleep.experts_per_token}: which experts a "
                "token goes through is decided as it runs, and no file holds that. Set it to 0."
            )
        adapters = self._folders(owner)
        file = Path(base or self._model)
        if file.suffix.lower() != ".gguf":
            raise ModelError(
                f"{file} is no GGUF file, and llama.cpp takes no other. Convert the model with "
                "llama.cpp's convert_hf_to_gguf.py, and pass the file as `base`."
            )
        return llamacpp.write(path, file, adapters=adapters, quantised=quantised)

    def _folders(self, owner: Namespace) -> dict[str, list[Path]]:
        """The folders of the live experts with the habits, and of these alone, by their names."""
        habits = self.known.habits
        self._folder.remember_model(self._model, habits.sha256 if habits else "")
        shared = [habits.folder] if habits else []
        adapters = {}
        for experts in (self.live(owner), ()):
            folders = [*shared, *map(self._folder.experts.checked, experts)]
            if folders:
                adapters[self.name(experts)] = folders
        if not adapters:
            raise ExpertError(
                f"{'/'.join(owner)} has no live expert, and the model no habits: there is nothing "
                "to write. Let it sleep first."
            )
        return adapters
