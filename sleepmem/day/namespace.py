"""Whose memory a running LangGraph graph means."""

from __future__ import annotations

from typing import Any

from sleepmem.records import Namespace, check_namespace


def current_namespace(runtime: Any = None) -> Namespace | None:
    """The namespace that the running LangGraph graph was invoked with: `context["namespace"]`, or `config["configurable"]["namespace"]`."""
    from langgraph.config import get_config
    from langgraph.runtime import get_runtime

    try:
        context = (runtime or get_runtime()).context
        found = (
            context.get("namespace")
            if isinstance(context, dict)
            else getattr(context, "namespace", None)
        )
        found = get_config().get("configurable", {}).get("namespace") if found is None else found
    except (RuntimeError, KeyError, AttributeError):
        return None
    return None if found is None else check_namespace(found)
