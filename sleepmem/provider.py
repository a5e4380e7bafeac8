"""`init_chat_model("sleepmem:FOLDER")`: the chat model of a memory, by name.

LangChain looks its providers up in one table and has no other way in, so this module, which
`sleepmem.middleware` imports, adds a row to it. A test fails when LangChain changes the table.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from langchain.chat_models import base

from sleepmem.day.chat import SleepChatModel
from sleepmem.memory import SleepMemory

PROVIDER = "sleepmem"


@functools.cache
def _opened(folder: Path) -> SleepMemory:
    """The memory in this folder; it stays open, since a model may be asked for at every call."""
    return SleepMemory.open(folder)


def _chat_model(cls: type[SleepMemory], model: str, **settings: Any) -> SleepChatModel:
    """As LangChain calls it: `model` is what stands after the colon, a memory folder."""
    return _opened(Path(model).resolve()).chat_model(**settings)


base._BUILTIN_PROVIDERS[PROVIDER] = ("sleepmem.memory", "SleepMemory", _chat_model)
