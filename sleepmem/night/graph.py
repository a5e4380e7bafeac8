"""The night as a LangGraph graph: the steps, with a SQLite checkpoint after each.

A night that was killed is resumed from its checkpoint at the step it had reached; a step that fails
ends the night with the reason in the ledger. Progress goes out as LangGraph custom stream events.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from sleepmem.errors import ConfigError
from sleepmem.model.freed import give_back
from sleepmem.night import checkpoints, steps
from sleepmem.night.reviewing import Review, check
from sleepmem.night.state import (
    Decided,
    NightContext,
    State,
    Tonight,
    as_state,
    namespace_of,
    night_id_of,
)
from sleepmem.night.summary import report_of
from sleepmem.records import ExpertName, Namespace, NightReport, Verdict
from sleepmem.stores.nights import promoted

# Steps after which there may be nothing to learn.
MAY_END = ("select", "probe")


def build(
    night: NightContext, checkpointer: SqliteSaver | None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """audit -> select -> draw -> review -> revise -> probe -> expand -> seed -> exam -> dream ->
    decide -> promote -> calibrate -> prune -> report; straight to report when nothing is to be
    learned. It stops before revise, where a review may be waited for."""
    graph = StateGraph(State)
    names = list(steps.STEPS)
    for name in names:
        graph.add_node(name, _node(night, name))
    graph.add_edge(START, names[0])
    for name, following in itertools.pairwise(names):
        if name in MAY_END:
            graph.add_conditional_edges(name, _or_report(following), [following, "report"])
        else:
            graph.add_edge(name, following)
    graph.add_edge(names[-1], END)
    return graph.compile(checkpointer=checkpointer, interrupt_before=["revise"])


def run_night(
    night: NightContext,
    namespace: Namespace,
    *,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    level: str | None = None,
    review: Review | None = None,
) -> NightReport:
    """Sleep once, going on with an unfinished night if there is one.

    Args:
        night: stores, model, settings.
        namespace: whose episodes.
        on_event: receives every progress event.
        level: whose expert is born; the fastest by default. A slower one absorbs the live experts
            of the level before it.
        review: changes what the night is about to learn; whatever it raises leaves the night where
            it is, waiting for the review.

    Returns:
        The report; its verdict says whether anything changed. A step that broke gives the verdict
        `failed` and the reason, and raises nothing.
    """
    interrupted = night.ledger.nights.unfinished(namespace)

    def tell(name: str) -> None:
        night.ledger.turns.log_event("checkpoints set aside", file=name)

    with checkpoints.opened(night.folder.path, interrupted, set_aside=tell) as saver:
        first = _begin(night, namespace, saver=saver, level=level)
        return _run(night, first, saver=saver, on_event=on_event, review=review)


class _Begun(NamedTuple):
    """A night: its graph, what is known of it, and what the graph is given first.

    Without a state to go on with, LangGraph begins; with one, None resumes.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    tonight: State
    first: State | None


def _begin(
    night: NightContext, namespace: Namespace, *, saver: SqliteSaver, level: str | None
) -> _Begun:
    """Begin a night, or go on with the interrupted one."""
    graph = build(night, saver)
    state = _interrupted(night, namespace, graph, saver)
    if state is not None:
        return _Begun(graph, state, None)
    first = _first(night, namespace, level=level, saver=saver)
    return _Begun(graph, first, first)


def _run(
    night: NightContext,
    begun: _Begun,
    *,
    saver: SqliteSaver,
    on_event: Callable[[dict[str, Any]], None] | None,
    review: Review | None,
) -> NightReport:
    """Live a night to its end."""
    graph, night_id = begun.graph, night_id_of(begun.tonight)
    thread: RunnableConfig = {"configurable": {"thread_id": night_id}}
    # It may run within a node of another graph, which its stop before a review is not meant for.
    apart = contextvars.copy_context()
    apart.run(var_child_runnable_config.set, None)
    given: Any = begun.first
    while True:
        draft = None if given else _draft(graph, thread)
        if draft is not None:
            if review is None:
                raise ConfigError(
                    f"{night_id} waits for a review of what it is about to learn; review it with "
                    "`sleepmem review`, or pass review=... to sleep."
                )
            answered = {"answered": {"texts": check(draft, review(draft))}}
            graph.update_state(thread, answered, as_node="review")
        try:
            events = apart.run(graph.stream, given, thread, stream_mode="custom", durability="sync")
            while event := apart.run(next, events, None):
                if on_event:
                    on_event(event)
            reached = graph.get_state(thread)
        except Exception as error:
            state: Any = {**begun.tonight, **checkpoints.reached(graph, night_id)}
            checkpoints.forget(saver, night_id)
            return _failed(night, state, error)
        if not reached.next:
            finished: Any = reached.values
            checkpoints.forget(saver, night_id)
            return report_of(finished)
        given = None


def _draft(graph: Any, thread: RunnableConfig) -> dict[str, Any] | None:
    """What a night that stopped before it is revised waits for; None when it needs no answer."""
    reached = graph.get_state(thread)
    waits = "revise" in reached.next and "answered" not in reached.values
    drafted: dict[str, Any] | None = reached.values.get("drafted")
    return drafted if waits and drafted and drafted["lines"] else None


def _node(night: NightContext, name: str) -> Any:
    def node(state: State) -> State:
        try:
            return steps.run_step(name, replace(night, emit=get_stream_writer()), state=state)
        finally:
            give_back()

    return node


def _or_report(following: str) -> Callable[[State], str]:
    """The way on: to the report when the step decided that nothing is to be learned."""

    def route(state: State) -> str:
        return "report" if "decided" in state else following

    return route


def _first(
    night: NightContext, namespace: Namespace, *, level: str | None, saver: SqliteSaver
) -> State:
    """The state that a night begins with; one that never reached a checkpoint begins again."""
    nights = night.ledger.nights
    night_id = nights.unfinished(namespace)
    for expert in night.ledger.lineage.experts(namespace, live=False):
        if expert.night_id == night_id:
            # Begun anew it would ask anew, and what it had proved would be known no more.
            nights.finish(promoted(expert, number=nights.numbers()[expert.night_id]))
            night_id = None
    if night_id:
        nights.begin_anew(night_id)
    night_id = night_id or nights.start(namespace, is_dry=night.is_dry)
    # Those of a night with this id that a restored ledger does not know.
    checkpoints.forget(saver, night_id)
    tonight: Tonight = {
        "night_id": night_id,
        "number": nights.numbers()[night_id],
        "namespace": list(namespace),
        "level": level or night.config.levels[0].name,
        "reviewed": night.is_reviewed,
        "dry": night.is_dry,
    }
    return {"tonight": tonight}


def _interrupted(
    night: NightContext, namespace: Namespace, graph: Any, saver: SqliteSaver
) -> State | None:
    """The state of a night that was interrupted and can go on."""
    night_id = night.ledger.nights.unfinished(namespace)
    if night_id is None:
        return None
    values = as_state(checkpoints.reached(graph, night_id))
    if values is None or not _is_of(values, night, namespace, night_id):
        # It had reached no step, or another version of sleepmem had begun it: begun anew.
        checkpoints.forget(saver, night_id)
        return None
    was_dry = values["tonight"]["dry"]
    if night.is_dry and not was_dry:
        raise ConfigError(
            f"{night_id} was interrupted, and a dry run would go on with it. Let it end first, "
            "with sleep() or `sleepmem sleep`."
        )
    reason = steps.overtaken(night, values) if "selected" in values else None
    if was_dry and not night.is_dry:
        reason = "a dry run that was interrupted is given up; its episodes wait for the next night"
    if reason is None:
        return values

    # Then it ends here, without effect.
    checkpoints.forget(saver, night_id)
    number = night.ledger.nights.numbers()[night_id]
    report = NightReport(night_id, namespace, Verdict.FAILED, reason, number=number)
    night.ledger.nights.finish(report)
    return None


def _is_of(values: State, night: NightContext, namespace: Namespace, night_id: str) -> bool:
    """Whether the state is this night's, and its experts are born in it."""
    tonight = values.get("tonight")
    number = night.ledger.nights.numbers()[night_id]
    own = {"night_id": night_id, "number": number, "namespace": list(namespace)}
    if tonight is None or {**tonight, **own} != tonight:
        return False
    born = [values["selected"]["expert"]] if "selected" in values else []
    if "dreamt" in values and values["dreamt"]["expert"]:
        born.append(values["dreamt"]["expert"])
    names = [ExpertName.parse(name) for name in born]
    return all(name is not None and name.night_id == night_id for name in names)


def _failed(night: NightContext, state: State, error: Exception) -> NightReport:
    """End the night with its reason.

    What was promoted before the fault stays so: that transaction was whole.
    """
    live = []
    for expert in night.ledger.lineage.experts(namespace_of(state)):
        if expert.night_id == night_id_of(state):
            live.append(expert.name)
    reason = f"{type(error).__name__}: {error}"
    if live:
        reason = (
            f"promoted, but the index could not be brought in line ({reason}); "
            "reopening the folder mends it"
        )
    verdict = Verdict.PROMOTED if live else Verdict.FAILED
    decided: Decided = {"verdict": verdict.value, "reason": reason}
    report = replace(report_of(state, decided=decided), expert=live[0] if live else None)
    night.ledger.nights.finish(report)
    return report
