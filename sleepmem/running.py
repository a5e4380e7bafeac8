"""What belongs to the running program: async twins, its peak memory, and the namespace that a LangGraph graph was invoked with."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sleepmem.records import Namespace, check_namespace

P = ParamSpec("P")
T = TypeVar("T")


def async_twin(sync: Callable[P, T]) -> Callable[P, Any]:
    """The async twin: the same body, in a thread."""

    @functools.wraps(sync)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(sync, *args, **kwargs)

    return twin


def current_namespace(runtime: Any = None) -> Namespace | None:
    """The namespace that the running LangGraph graph was invoked with: `context["namespace"]`, or `config["configurable"]["namespace"]`."""
    from langgraph.config import get_config
    from langgraph.runtime import get_runtime

    try:
        context = (runtime or get_runtime()).context
        found = context.get("namespace") if isinstance(context, dict) else getattr(context, "namespace", None)
        found = get_config().get("configurable", {}).get("namespace") if found is None else found
    except (RuntimeError, KeyError, AttributeError):
        return None
    return None if found is None else check_namespace(found)


def peak_bytes() -> int:
    """Most memory that this process ever held; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
