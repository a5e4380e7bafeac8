"""Async twins of sync functions: the same body, in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def async_twin(
    sync: Callable[P, T], *, executor: Callable[[Any], Executor] | None = None
) -> Callable[P, Coroutine[Any, Any, T]]:
    """The async twin of `sync`: takes what it takes, and awaiting it gives what it gives.

    `executor` gives, of its first argument, whose threads it runs in, instead of those that all
    others share.
    """

    @functools.wraps(sync)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        if executor is None:
            return await asyncio.to_thread(sync, *args, **kwargs)
        run = functools.partial(contextvars.copy_context().run, sync, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(executor(args[0]), run)

    return twin
