"""The night as a LangGraph graph: the steps of `sleep`, with a SQLite checkpoint after each.

A night that was killed is resumed from its checkpoint at the step it had reached; a step that fails ends the night with the reason in the ledger.
Progress goes out as LangGraph custom stream events.
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

from sleepmem.night import steps as sleep
from sleepmem.night.state import Night, State
from sleepmem.records import Namespace, NightReport, Verdict

CHECKPOINTS = "nights.db"


def build(night: Night, checkpointer: SqliteSaver | None) -> CompiledStateGraph[Any, Any, Any, Any]:
    """audit -> select -> probe -> expand -> seed -> exam -> dream -> decide -> promote -> prune -> report; to report when nothing is to be learned."""
    graph = StateGraph(State)
    names = list(sleep.STEPS)

    def node(name: str) -> Any:
        return lambda state: sleep.run(name, replace(night, emit=get_stream_writer()), state)

    for name in names:
        graph.add_node(name, node(name))
    graph.add_edge(START, names[0])
    for name, following in itertools.pairwise(names):
        if name in ("select", "probe"):
            graph.add_conditional_edges(
                name,
                lambda state, following=following: "report" if state.get("verdict") else following,
                [following, "report"],
            )
        else:
            graph.add_edge(name, following)
    graph.add_edge(names[-1], END)
    return graph.compile(checkpointer=checkpointer)


def run(
    night: Night,
    namespace: Namespace,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    level: str | None = None,
) -> NightReport:
    """Sleep once, going on with an unfinished night if there is one.

    Args:
        night: stores, model, settings.
        namespace: whose episodes.
        on_event: receives every progress event.
        level: whose expert is born; the fastest by default. A slower one absorbs the live experts of the level before it.

    Returns:
        The report; its verdict says whether anything changed. A step that broke gives the verdict `failed` and the reason, and raises nothing.
    """
    connection = sqlite3.connect(night.folder / CHECKPOINTS, check_same_thread=False)
    try:
        saver = SqliteSaver(connection)
        graph = build(night, saver)
        night_id = night.ledger.unfinished_night(namespace) or ""
        values = (
            graph.get_state({"configurable": {"thread_id": night_id}}).values if night_id else {}
        )
        if values and _moved_on(night, night_id, namespace, values):
            saver.delete_thread(night_id)
            night_id, values = "", {}
        night_id = night_id or night.ledger.start_night(namespace)
        config: RunnableConfig = {"configurable": {"thread_id": night_id}}
        first: State = {
            "night_id": night_id,
            "namespace": list(namespace),
            "level": level or night.config.levels[0].name,
        }
        start = None if values else first  # None resumes
        try:
            for event in graph.stream(start, config, stream_mode="custom", durability="sync"):
                if on_event:
                    on_event(event)
        except Exception as e:
            reached: Any = {**first, **graph.get_state(config).values}
            saver.delete_thread(night_id)
            return _failed(night, reached, e)
        state: Any = graph.get_state(config).values
        saver.delete_thread(night_id)
        return sleep.report_of(state)
    finally:
        connection.close()


def _moved_on(night: Night, night_id: str, namespace: Namespace, values: dict[str, Any]) -> bool:
    """Whether other experts are live than when this night began (a rollback came between): then it ends here, without effect."""
    live = night.ledger.experts(namespace)
    if (
        "before" not in values
        or values["before"] == [e.name for e in live]
        or night_id in {e.night_id for e in live}
    ):  # the last: it was promoted
        return False
    reason = "the live experts were changed while the night was interrupted; its episodes wait for the next one"
    report = NightReport(night_id, namespace, Verdict.FAILED, reason)
    night.ledger.finish_night(night_id, report.verdict, reason, report.as_dict())
    return True


def _failed(night: Night, state: State, error: Exception) -> NightReport:
    """End the night with its reason. What was promoted before the fault stays so: that transaction was whole."""
    live = [
        e.name
        for e in night.ledger.experts(tuple(state["namespace"]))
        if e.night_id == state["night_id"]
    ]
    reason = f"{type(error).__name__}: {error}"
    if live:
        reason = f"promoted, but the index could not be brought in line ({reason}); reopening the folder mends it"
    verdict = Verdict.PROMOTED if live else Verdict.FAILED
    report = replace(
        sleep.report_of({**state, "verdict": verdict, "reason": reason}),
        expert=live[0] if live else None,
    )
    night.ledger.finish_night(report.night_id, report.verdict, reason, report.as_dict())
    return report
