"""What a night came to: its report, from the state that its steps left."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from sleepmem.night.exam import as_scores
from sleepmem.night.state import (
    Decided,
    Scores,
    State,
    examined_of,
    expert_of,
    namespace_of,
)
from sleepmem.night.teachable import counted
from sleepmem.records import NightReport, Verdict

# Of what was kept back, so many are listed; all are counted.
_MOST_HELD = 1_000


def report_of(state: State, *, decided: Decided | None = None) -> NightReport:
    """The report of a night; what it did not come to is empty.

    Args:
        state: what the steps wrote.
        decided: the verdict, where another than the state's is given.
    """
    tonight, outcome = state["tonight"], decided or state["decided"]
    selected, held = state.get("selected"), _held(state)
    verdict = Verdict(outcome["verdict"])
    audited, pruned = state.get("audited"), state.get("pruned")
    spent = state.get("spent")
    seconds = spent["seconds"] if spent else {}
    dreamt, seeded = state.get("dreamt"), state.get("seeded")
    # A pruning that ran has counted the audit's returns in.
    returned = pruned["returned"] if pruned else (len(audited["returned"]) if audited else 0)
    return NightReport(
        night_id=tonight["night_id"],
        namespace=namespace_of(state),
        verdict=verdict,
        reason=outcome["reason"],
        number=tonight["number"],
        expert=expert_of(state) if verdict is Verdict.PROMOTED else None,
        level=tonight["level"],
        absorbed=len(selected["absorbed"]) if selected else 0,
        episodes=len(selected["episodes"]) if selected else 0,
        evicted=pruned["evicted"] if pruned else 0,
        held=tuple(held[-_MOST_HELD:]),
        held_back=_held_back(state, held),
        audited=audited["audited"] if audited else 0,
        returned=returned,
        exam=_exams(state),
        recall_by_night=_by_night(state),
        dreams=dreamt["summary"] if dreamt else {},
        seconds=round(sum(seconds.values()), 1),
        step_seconds=seconds,
        tokens_trained=(seeded["tokens_trained"] if seeded else 0)
        + (dreamt["tokens_trained"] if dreamt else 0),
        tokens_generated=spent["tokens_generated"] if spent else 0,
        peak_bytes=spent["peak_bytes"] if spent else 0,
        expert_bytes=pruned["expert_bytes"] if pruned else 0,
        text_bytes=pruned["text_bytes"] if pruned else 0,
        curve=tuple(seeded["curve"]) if seeded else (),
        gate=_gate(state),
    )


def _held(state: State) -> list[dict[str, str]]:
    """What of episodes, and of notes of them, a rule kept back; of one a rule tells once."""
    found: list[dict[str, str]] = []
    if "selected" in state:
        found += state["selected"]["kept_back"]
    if "revised" in state:
        found += [one for one in state["revised"]["kept_back"] if one not in found]
    return found


def _held_back(state: State, held: list[dict[str, str]]) -> dict[str, int]:
    """All of it by rule, and the rows of training that a last look dropped."""
    counts = Counter(counted(held))
    if "seeded" in state:
        counts.update(state["seeded"]["dropped"])
    if "dreamt" in state:
        counts.update(state["dreamt"]["dropped"])
    return dict(counts)


def peak_bytes() -> int:
    """Most memory that this process ever held; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _exams(state: State) -> dict[str, Any]:
    before = state["expanded"]["exam"] if "expanded" in state else {}
    after = examined_of(state)["exam"] if "examined" in state else {}
    return {"before": _as_dicts(before), "after": _as_dicts(after)}


def _as_dicts(scores: Scores) -> dict[str, Any]:
    return {measure: score.as_dict() for measure, score in as_scores(scores).items()}


def _gate(state: State) -> dict[str, Any]:
    return state["calibrated"]["figures"] if "calibrated" in state else {}


def _by_night(state: State) -> tuple[dict[str, Any], ...]:
    return tuple(examined_of(state)["recall_by_night"]) if "examined" in state else ()
