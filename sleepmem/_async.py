"""Async twins of sync functions: the same body, in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def async_twin(sync: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The async twin of `sync`: takes what it takes, and awaiting it gives what it gives."""

    @functools.wraps(sync)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(sync, *args, **kwargs)

    return twin
