"""sleepmem: memory for LLM agents that moves, while the agent sleeps, out of the vector store and into the agent's own weights.

Implements knowledge seeding of arXiv 2606.03979 as a LangGraph node, a LangChain middleware and a command.
"""

from sleepmem.config import (
    DreamConfig,
    ExamConfig,
    GateConfig,
    Level,
    MemoryConfig,
    ProbeConfig,
    SeedingConfig,
    SleepConfig,
)
from sleepmem.errors import (
    ConfigError,
    EpisodeError,
    ExpertError,
    FolderError,
    FolderLocked,
    LedgerError,
    ModelError,
    NamespaceError,
    SleepmemError,
)
from sleepmem.memory import Answer, SleepMemory
from sleepmem.records import Episode, NightReport, Recall, Verdict, View

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "ConfigError",
    "DreamConfig",
    "Episode",
    "EpisodeError",
    "ExamConfig",
    "ExpertError",
    "FolderError",
    "FolderLocked",
    "GateConfig",
    "LedgerError",
    "Level",
    "MemoryConfig",
    "ModelError",
    "NamespaceError",
    "NightReport",
    "ProbeConfig",
    "Recall",
    "SeedingConfig",
    "SleepConfig",
    "SleepMemory",
    "SleepmemError",
    "Verdict",
    "View",
]
