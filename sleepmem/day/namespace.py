"""Whose memory a running LangGraph graph means."""

from __future__ import annotations

from typing import Any

from sleepmem.records import Namespace, check_namespace


def current_namespace(runtime: Any = None) -> Namespace | None:
    """The namespace that the running graph was invoked with, or None.

    `context["namespace"]`, else `config["configurable"]["namespace"]`.
    """
    from langgraph.config import get_config
    from langgraph.runtime import get_runtime

    try:
        context = (runtime or get_runtime()).context
        if isinstance(context, dict):
            namespace = context.get("namespace")
        else:
            namespace = getattr(context, "namespace", None)
        if namespace is None:
            namespace = get_config().get("configurable", {}).get("namespace")
    except (RuntimeError, KeyError, AttributeError):
        return None
    return None if namespace is None else check_namespace(namespace)
