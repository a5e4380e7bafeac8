"""What the day works with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sleepmem.config import GateConfig, MemoryConfig
from sleepmem.stores.folder import Folder
from sleepmem.text.tokens import context_length, count_tokens

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

log = logging.getLogger("sleepmem")


@dataclass(frozen=True)
class DayContext:
    """The open folder, the embeddings of its index, settings, and the model's name."""

    folder: Folder
    embeddings: Embeddings
    config: MemoryConfig
    model: str

    @property
    def gate(self) -> GateConfig:
        return self.config.gate

    @property
    def most_tokens(self) -> int:
        """Half of what the model takes, for memories; 0 when that is not known."""
        return context_length(self.model) // 2

    def count_tokens(self, text: str) -> int:
        return count_tokens(self.model, text)
