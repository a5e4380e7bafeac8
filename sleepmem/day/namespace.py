"""Whose memory a running LangGraph graph means: one resolver, used by everything that asks.

In this order: the developer's own callable or template; who is authenticated; the namespace that
the run names; the developer's fixed namespace; the user that the run names. A caller who names
another namespace than one of the first two gives is refused, and so is a run that names a thread or
a context but no owner: two people must never share a memory because somebody forgot to say whose it
is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sleepmem.errors import NamespaceError
from sleepmem.records import Namespace, check_namespace

# Of scripts that name nothing at all.
DEFAULT_NAMESPACE: Namespace = ("default",)
# A fixed owner, a template such as ("app", "{user_id}"), or a function of the runtime.
Owner = Iterable[str] | Callable[[Any], Any] | None

# Where LangGraph's server keeps who was authenticated: in `configurable`, never in a context.
_AUTH = "langgraph_auth_"
# Where a caller names the user.
_USER_KEYS = ("langgraph_user_id", "user_id")
# What LangGraph itself puts into `configurable`, and what tells where the user is.
_OF_LANGGRAPH = ("checkpoint_id", "checkpoint_ns", "checkpoint_map", "timezone")
# How tracing tools call a conversation in the metadata (docs of LangSmith, Langfuse).
_TRACED = ("thread_id", "session_id", "conversation_id")
# The node of LangGraph's ToolNode, unless a graph calls it otherwise.
_TOOLS = "tools"
# A place of a template: a name, and what is picked out of what it names.
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d_]\w*|\[[^\[\]]+\])*")


class Run(NamedTuple):
    """What a running graph tells: its context, its `configurable` and its metadata, by name."""

    context: Mapping[str, Any]
    configurable: Mapping[str, Any]
    metadata: Mapping[str, Any]
    runtime: Any

    @classmethod
    def current(cls, runtime: Any = None) -> Run:
        """Of the graph that runs now; empty outside of one."""
        from langgraph.config import get_config
        from langgraph.runtime import get_runtime

        try:
            config = get_config()
        except RuntimeError:
            config = {}
        configurable = dict(config.get("configurable") or {})
        metadata = dict(config.get("metadata") or {})
        if runtime is None:
            try:
                runtime = get_runtime()
            except (RuntimeError, KeyError):
                runtime = None
        return cls(_as_mapping(getattr(runtime, "context", None)), configurable, metadata, runtime)

    def get(self, key: str) -> Any:
        """What context or configurable hold under a key; the context comes first."""
        value = self.context.get(key)
        return self.configurable.get(key) if value is None else value

    @property
    def told(self) -> dict[str, Any]:
        """All that is told, for a template. Who is authenticated no context says."""
        told = {key: value for key, value in self.context.items() if not str(key).startswith(_AUTH)}
        values = [*self.configurable.items(), *told.items()]
        return {key: value for key, value in values if value not in (None, "")}

    @property
    def thread(self) -> str | None:
        thread = self.get("thread_id")
        return None if thread is None else str(thread)

    @property
    def authenticated(self) -> str | None:
        """Who LangGraph's server authenticated; nothing that a caller's context says."""
        server = getattr(self.runtime, "server_info", None)
        for user in (getattr(server, "user", None), self.configurable.get(f"{_AUTH}user")):
            identity = _as_mapping(user).get("identity") or getattr(user, "identity", None)
            if identity:
                return str(identity)
        identity = self.configurable.get(f"{_AUTH}user_id")
        return None if identity in (None, "") else str(identity)

    @property
    def user(self) -> str | None:
        """The authenticated user, else the one that the caller names."""
        if self.authenticated is not None:
            return self.authenticated
        values = [self.get(key) for key in _USER_KEYS]
        values += [self.metadata.get(key) for key in _USER_KEYS]
        return next((str(value) for value in values if value not in (None, "")), None)

    @property
    def names_nothing(self) -> bool:
        """Whether it runs for nobody in particular: nothing in context or configurable.

        Nor a user or a conversation in the metadata, as tracing tools want them.
        """
        told = [key for key in self.configurable if key not in _OF_LANGGRAPH]
        told = [key for key in told if not key.startswith("__")]
        traced = [key for key in self.metadata if "user" in key or key.endswith(_TRACED)]
        return not self.context and not told and not traced

    @property
    def is_of_agent(self) -> bool:
        """Whether a tool of another agent runs this graph, so that no user speaks in it."""
        around = str(self.configurable.get("checkpoint_ns") or "").split("|")[:-1]
        return any(node.partition(":")[0] == _TOOLS for node in around)

    @property
    def agent(self) -> str | None:
        """What `create_agent` was told to call itself."""
        name = self.metadata.get("lc_agent_name")
        return str(name) if name else None

    @property
    def zone(self) -> ZoneInfo | None:
        """Where the speaker is, by their `timezone`, such as "Asia/Tokyo"; None when unknown."""
        try:
            return ZoneInfo(str(self.get("timezone") or ""))
        except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, such as "Europe"
            return None


def current_namespace(runtime: Any = None) -> Namespace | None:
    """The namespace or the user that the running graph names; the default of a run for nobody.

    None when it names a thread or a context, but no owner.
    """
    run = Run.current(runtime)
    return _named(run, None) or (DEFAULT_NAMESPACE if run.names_nothing else None)


def check_owner(given: Owner) -> None:
    """That a template fills in somebody, and is not one owner for all by a slip of the pen.

    Raises:
        NamespaceError: it names nobody, or has a brace that is no place to fill in.
    """
    if given is not None and not callable(given):
        for part in check_namespace(given):
            _fields(part)


def owner_of(
    run: Run, given: Owner = None, *, remembered: Callable[[], Namespace | None] = lambda: None
) -> Namespace:
    """Whose memory a run means.

    Args:
        run: the running graph.
        given: the developer's: a namespace, a template or a function of the runtime.
        remembered: whose the turn is that goes on, when the run itself names nobody.

    Raises:
        NamespaceError: it names a thread, a user or a context, but no owner, or somebody else's.
    """
    try:
        owner = _named(run, given)
    except Unfilled:
        owner = remembered() if run.user is None else None
        if owner is None:
            raise
    owner = owner or remembered()
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


class Unfilled(NamespaceError):
    """A template asks for what the run does not tell."""


def _named(run: Run, given: Owner) -> Namespace | None:
    """The owner that the developer, the server or the caller names, in this order.

    Raises:
        NamespaceError: the caller names another owner than the developer or the server does.
    """
    said = run.get("namespace")
    asked = None if said is None else check_namespace(said)
    own = _given(run, given)
    is_default = own is None or _is_fixed(given)
    if is_default and run.authenticated is None:
        return asked or own or (None if run.user is None else check_namespace((run.user,)))
    owner = own or check_namespace((str(run.authenticated),))
    if asked not in (None, owner):
        raise NamespaceError(
            f"this run asks for the memory of {asked}, but it is {owner} by who is authenticated "
            "or by the namespace= of the middleware or node. Leave `namespace` out of the run, or "
            "let a namespace=function of the runtime decide."
        )
    return owner


def _given(run: Run, given: Owner) -> Namespace | None:
    """The developer's; None when they give none, or leave it to the run."""
    if callable(given):
        made = given(run.runtime)
        return None if made is None else check_namespace((made,) if isinstance(made, str) else made)
    return None if given is None else _filled(check_namespace(given), run)


def _is_fixed(given: Owner) -> bool:
    """Whether it is one namespace for every run: it counts when the run says nothing else."""
    return not callable(given) and not any(_fields(part) for part in check_namespace(given or ()))


def _fields(part: str) -> list[str]:
    """What a part of a template asks for.

    Raises:
        NamespaceError: a brace in it is no place to fill in.
    """
    fields = []
    try:
        for _, name, form, conversion in Formatter().parse(part):
            if name is not None:
                is_plain = _PLACE.fullmatch(name) and not form and not conversion
                fields.append(name if is_plain else "")
    except ValueError:
        fields = [""]
    if not all(fields):
        raise NamespaceError(
            f"the namespace part {part!r} has a brace that names nothing to fill in as it is, so "
            "several people could share one memory. Write '{user_id}', '{user.name}' or "
            "'{orgs[0]}', and a brace of a name itself twice: '{{'."
        )
    return fields


def _filled(template: Namespace, run: Run) -> Namespace:
    """The template with what the run tells in its places.

    Raises:
        Unfilled: the run does not tell what it asks for.
    """
    values = run.told
    if run.user is not None:
        values["user_id"] = run.user
    parts = []
    for part in template:
        fields = _fields(part)
        try:
            told = [Formatter().get_field(name, (), values)[0] for name in fields]
            if not all(map(_names_somebody, told)):
                raise LookupError
            parts.append(part.format_map(values))
        except (LookupError, AttributeError, TypeError, ValueError):
            raise Unfilled(
                f"the namespace {template} asks for {', '.join(fields)}, which this run does not "
                "name. Pass it in config={'configurable': {...}} or in context."
            ) from None
    return check_namespace(parts)


def _names_somebody(value: Any) -> bool:
    """Whether it reads the same in every process: no object that shows where it lies."""
    if isinstance(value, str | int):
        return value != ""
    return "__str__" in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}


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
