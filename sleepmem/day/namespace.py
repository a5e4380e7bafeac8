"""Whose memory a running LangGraph graph means: one resolver, used by everything that asks.

In this order: the namespace that the run names; the developer's own callable or template; the user
as LangGraph carries them. A run that names a thread or a context but no owner is refused: two
people must never share a memory because somebody forgot to say whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from string import Formatter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sleepmem.errors import NamespaceError
from sleepmem.records import Namespace, check_namespace, local_now

# Of scripts that name nothing at all.
DEFAULT_NAMESPACE: Namespace = ("default",)
# A fixed owner, a template such as ("app", "{user_id}"), or a function of the runtime.
Owner = Iterable[str] | Callable[[Any], Any] | None

# Where LangGraph and its server carry the user; who was authenticated comes first.
_USER_KEYS = ("langgraph_auth_user_id", "langgraph_user_id", "user_id")


class Run(NamedTuple):
    """What a running graph tells: its context and its `configurable`, each as a mapping."""

    context: Mapping[str, Any]
    configurable: Mapping[str, Any]
    runtime: Any

    @classmethod
    def current(cls, runtime: Any = None) -> Run:
        """Of the graph that runs now; empty outside of one."""
        from langgraph.config import get_config
        from langgraph.runtime import get_runtime

        try:
            configurable = dict(get_config().get("configurable") or {})
        except RuntimeError:
            configurable = {}
        if runtime is None:
            try:
                runtime = get_runtime()
            except (RuntimeError, KeyError):
                runtime = None
        return cls(_as_mapping(getattr(runtime, "context", None)), configurable, runtime)

    def get(self, key: str) -> Any:
        """What context or configurable hold under a key; the context comes first."""
        value = self.context.get(key)
        return self.configurable.get(key) if value is None else value

    @property
    def thread(self) -> str | None:
        thread = self.get("thread_id")
        return None if thread is None else str(thread)

    @property
    def user(self) -> str | None:
        """The authenticated user, else the one that the caller names."""
        authenticated = self.get("langgraph_auth_user")
        server = getattr(self.runtime, "server_info", None)
        for user in (authenticated, getattr(server, "user", None)):
            identity = _as_mapping(user).get("identity") or getattr(user, "identity", None)
            if identity:
                return str(identity)
        values = (self.get(key) for key in _USER_KEYS)
        return next((str(value) for value in values if value not in (None, "")), None)

    @property
    def names_nothing(self) -> bool:
        """Whether it runs for nobody in particular: no thread, no user, no context."""
        is_about_user = any("user" in key for key in self.configurable if not key.startswith("__"))
        return not self.context and self.thread is None and not is_about_user

    def now(self) -> str:
        """The time where the speaker is: in their `timezone`, such as "Asia/Tokyo"."""
        zone = self.get("timezone")
        if not zone:
            return local_now()
        try:
            return datetime.now(ZoneInfo(str(zone))).isoformat(timespec="microseconds")
        except (ZoneInfoNotFoundError, ValueError):
            return local_now()


def current_namespace(runtime: Any = None) -> Namespace | None:
    """The namespace or the user that the running graph names, or None."""
    return _named(Run.current(runtime), None)


def owner_of(
    run: Run, given: Owner = None, *, remembered: Callable[[], Namespace | None] = lambda: None
) -> Namespace:
    """Whose memory a run means.

    Args:
        run: the running graph.
        given: the developer's: a namespace, a template or a function of the runtime.
        remembered: whose the turn is that goes on, when the run itself names nobody.

    Raises:
        NamespaceError: it names a thread, a user or a context, but no owner.
    """
    owner = _named(run, given) or remembered()
    if owner is not None:
        return owner
    if run.names_nothing:
        return DEFAULT_NAMESPACE
    raise NamespaceError(
        "this run names a thread or a context, but not whose memory it is, and a memory is never "
        "shared by default. Pass context={'namespace': ('alice',)} or "
        "config={'configurable': {'user_id': 'alice'}}, or give the middleware or node a "
        "namespace=('app', '{user_id}')."
    )


def _named(run: Run, given: Owner) -> Namespace | None:
    namespace = run.get("namespace")
    if namespace is not None:
        return check_namespace(namespace)
    if callable(given):
        made = given(run.runtime)
        return None if made is None else check_namespace((made,) if isinstance(made, str) else made)
    if given is not None:
        return _filled(check_namespace(given), run)
    return None if run.user is None else check_namespace((run.user,))


def _filled(template: Namespace, run: Run) -> Namespace:
    """The template with what the run tells in its places.

    Raises:
        NamespaceError: the run does not tell what it asks for.
    """
    values = {}
    for told in (run.configurable, run.context):
        values.update({key: value for key, value in told.items() if value not in (None, "")})
    if run.user is not None:
        values["user_id"] = run.user
    parts = []
    for part in template:
        try:
            fields = [name for _, name, _, _ in Formatter().parse(part) if name]
        except ValueError:
            fields = []  # a brace of an owner's own name
        try:
            parts.append(part.format_map(values) if fields else part)
        except (KeyError, AttributeError, IndexError, ValueError):
            raise NamespaceError(
                f"the namespace {template} asks for {', '.join(fields)}, which this run does not "
                "name. Pass it in config={'configurable': {...}} or in context."
            ) from None
    return check_namespace(parts)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """A context of any kind, a dict, a dataclass or a model, by name."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", None)
    if names is None:
        names = getattr(value, "__dict__", {})
    return {name: getattr(value, name, None) for name in names}
