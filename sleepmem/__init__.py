"""sleepmem: memory for LLM agents that moves, while the agent sleeps, out of the vector store and
into the agent's own weights.

Implements knowledge seeding and dreaming (arXiv 2606.03979) as LangGraph nodes, a LangChain
middleware and a command. What is named here is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sleepmem.config import (
        DreamConfig,
        ExamConfig,
        GateConfig,
        Level,
        MemoryConfig,
        ModelConfig,
        PolicyConfig,
        ProbeConfig,
        SeedingConfig,
        SleepConfig,
    )
    from sleepmem.day.answer import Answer
    from sleepmem.day.farewell import Phrases
    from sleepmem.day.why import Ablation, Why
    from sleepmem.errors import (
        ConfigError,
        EpisodeError,
        ExpertError,
        FolderError,
        FolderLocked,
        GraphError,
        LedgerError,
        MissingExtra,
        ModelError,
        NamespaceError,
        SleepmemError,
    )
    from sleepmem.memory import SleepMemory
    from sleepmem.model.bases import Bases
    from sleepmem.records import (
        Citation,
        Episode,
        Look,
        NightReport,
        Provenance,
        Recall,
        Verdict,
        View,
    )

__version__ = "0.1.0"
__all__ = [
    "Ablation",
    "Answer",
    "Bases",
    "Citation",
    "ConfigError",
    "DreamConfig",
    "Episode",
    "EpisodeError",
    "ExamConfig",
    "ExpertError",
    "FolderError",
    "FolderLocked",
    "GateConfig",
    "GraphError",
    "LedgerError",
    "Level",
    "Look",
    "MemoryConfig",
    "MissingExtra",
    "ModelConfig",
    "ModelError",
    "NamespaceError",
    "NightReport",
    "Phrases",
    "PolicyConfig",
    "ProbeConfig",
    "Provenance",
    "Recall",
    "SeedingConfig",
    "SleepConfig",
    "SleepMemory",
    "SleepmemError",
    "Verdict",
    "View",
    "Why",
]

# Where a name is that is not in `config` or `errors`.
_HOMES = {
    "Ablation": "day.why",
    "Answer": "day.answer",
    "Bases": "model.bases",
    "Phrases": "day.farewell",
    "Why": "day.why",
    "Citation": "records",
    "Provenance": "records",
    "SleepMemory": "memory",
    "Episode": "records",
    "Look": "records",
    "NightReport": "records",
    "Recall": "records",
    "Verdict": "records",
    "View": "records",
    "Level": "config",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sleepmem' has no attribute {name!r}")
    home = _HOMES.get(name, "config" if name.endswith("Config") else "errors")
    value = getattr(importlib.import_module(f"sleepmem.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
