"""The night as a LangGraph graph: the steps, with a SQLite checkpoint after each.

A night that was killed is resumed from its checkpoint at the step it had reached; a step that fails
ends the night with the reason in the ledger. Progress goes out as LangGraph custom stream events.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from sleepmem.night import steps
from sleepmem.night.state import Decided, NightContext, State, Tonight, namespace_of, night_id_of
from sleepmem.night.summary import report_of
from sleepmem.records import Namespace, NightReport, Verdict

CHECKPOINTS = "nights.db"
# Steps after which there may be nothing to learn.
MAY_END = ("select", "probe")


def build(
    night: NightContext, checkpointer: SqliteSaver | None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """audit -> select -> probe -> expand -> seed -> exam -> dream -> decide -> promote ->
    calibrate -> prune -> report; straight to report when nothing is to be learned."""
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
    return graph.compile(checkpointer=checkpointer)


def run_night(
    night: NightContext,
    namespace: Namespace,
    *,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    level: str | None = None,
) -> NightReport:
    """Sleep once, going on with an unfinished night if there is one.

    Args:
        night: stores, model, settings.
        namespace: whose episodes.
        on_event: receives every progress event.
        level: whose expert is born; the fastest by default. A slower one absorbs the live experts
            of the level before it.

    Returns:
        The report; its verdict says whether anything changed. A step that broke gives the verdict
        `failed` and the reason, and raises nothing.
    """
    connection = sqlite3.connect(night.folder.path / CHECKPOINTS, check_same_thread=False)
    try:
        saver = SqliteSaver(connection)
        graph = build(night, saver)
        state = _interrupted(night, namespace, graph, saver)
        # Without a state to go on with, LangGraph begins; with one, None resumes.
        first = None if state else _first(night, namespace, level)
        tonight = state or first
        assert tonight is not None
        thread: RunnableConfig = {"configurable": {"thread_id": night_id_of(tonight)}}
        try:
            for event in graph.stream(first, thread, stream_mode="custom", durability="sync"):
                if on_event:
                    on_event(event)
        except Exception as error:
            reached: Any = {**tonight, **graph.get_state(thread).values}
            saver.delete_thread(night_id_of(tonight))
            return _failed(night, reached, error)
        finished: Any = graph.get_state(thread).values
        saver.delete_thread(night_id_of(tonight))
        return report_of(finished)
    finally:
        connection.close()


def _node(night: NightContext, name: str) -> Any:
    def node(state: State) -> State:
        return steps.run_step(name, replace(night, emit=get_stream_writer()), state=state)

    return node


def _or_report(following: str) -> Callable[[State], str]:
    """The way on: to the report when the step decided that nothing is to be learned."""

    def route(state: State) -> str:
        return "report" if "decided" in state else following

    return route


def _first(night: NightContext, namespace: Namespace, level: str | None) -> State:
    """The state that a night begins with; one that never reached a checkpoint begins again."""
    nights = night.ledger.nights
    night_id = nights.unfinished(namespace) or nights.start(namespace)
    tonight: Tonight = {
        "night_id": night_id,
        "number": nights.numbers()[night_id],
        "namespace": list(namespace),
        "level": level or night.config.levels[0].name,
    }
    return {"tonight": tonight}


def _interrupted(
    night: NightContext, namespace: Namespace, graph: Any, saver: SqliteSaver
) -> State | None:
    """The state of a night that was interrupted and can go on."""
    night_id = night.ledger.nights.unfinished(namespace)
    if night_id is None:
        return None
    values = graph.get_state({"configurable": {"thread_id": night_id}}).values
    if "tonight" not in values:
        # It had reached no step, or another version of sleepmem had begun it: begun anew.
        saver.delete_thread(night_id)
        return None
    reason = _overtaken(night, namespace, values)
    if reason is None:
        state: State = values
        return state

    # Then it ends here, without effect.
    saver.delete_thread(night_id)
    number = night.ledger.nights.numbers()[night_id]
    report = NightReport(night_id, namespace, Verdict.FAILED, reason, number=number)
    night.ledger.nights.finish(report)
    return None


def _overtaken(night: NightContext, namespace: Namespace, values: dict[str, Any]) -> str | None:
    """Why an interrupted night cannot go on; None when it can."""
    if "selected" not in values:
        return None
    live = night.ledger.lineage.experts(namespace)
    was_promoted = any(expert.night_id == values["tonight"]["night_id"] for expert in live)
    if was_promoted or values["selected"]["before"] == [expert.name for expert in live]:
        return None
    # A rollback came between.
    return (
        "the live experts were changed while the night was interrupted; "
        "its episodes wait for the next one"
    )


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
