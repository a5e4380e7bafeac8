"""The exam of a night: what the model knows, admits and reads with some experts on, asked of the probes in the ledger."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sleepmem.night import measures as exams
from sleepmem.night import replay
from sleepmem.night.state import Night, State
from sleepmem.records import Kind, Probe, Role, Score


def examine(
    night: Night, state: State, experts: Sequence[str], dreamt: Sequence[Probe] = ()
) -> tuple[dict[str, Score], set[str], dict[str, float]]:
    """The scores, the ids of tonight's probes that were passed, and recall by night; `dreamt` are probes beside those of the ledger."""
    most, local = night.config.exam.most, night.local
    probes = [*night.ledger.probes(state["night_id"]), *dreamt]
    facts = [p for p in probes if p.kind is Kind.FACT]
    tonight = [p for p in facts if p.role is Role.EXAM]
    learned = [
        p
        for p in night.ledger.learned_probes(tuple(state["namespace"]))
        if p.kind is Kind.FACT and p.role is Role.EXAM
    ]
    earlier = replay.evenly(
        [p for p in learned if p.episode_id not in state["superseded"]], most, state["night_id"]
    )
    unsaid = [p.question for p in probes if p.kind is Kind.NEVER_SAID and p.role is Role.EXAM][
        :most
    ]
    readings = [p for p in probes if p.kind is Kind.READING and p.role is Role.EXAM][:most]
    kept, still = exams.recall(local, earlier, experts)
    recalled, passed = exams.recall(local, tonight, experts)
    by_night = _by_night([*earlier, *tonight], still | passed)
    dreams, answered = exams.recall(
        local, [p for p in probes if p.kind is Kind.DREAM and p.role is Role.EXAM], experts
    )
    more = [
        p for p in probes if p.role is Role.TRAIN and p.kind in (Kind.FACT, Kind.DREAM)
    ]  # the gate may trust these wordings too
    passed |= answered | exams.recall(local, more, experts)[1]
    scores = {
        "dreams": dreams,
        "recall": recalled,
        "old_nights": kept,
        "abstention": exams.abstention(local, unsaid, experts),
        "superseded": exams.superseded(local, tonight, experts),
        "reading": exams.reading(local, readings, experts),
        "general_kl": exams.general_kl(local, experts),
    }
    if "exam_before" not in state:  # the base itself, once
        scores["base_abstention"] = exams.abstention(local, unsaid, ())
        scores["base_reading"] = exams.reading(local, readings, ())
    return scores, passed, by_night


def _by_night(probes: Sequence[Probe], right: set[str]) -> dict[str, float]:
    nights = sorted({p.night_id for p in probes})
    return {n: statistics.mean(p.id in right for p in probes if p.night_id == n) for n in nights}


def bounds(state: State) -> dict[str, Score]:
    """What tonight is held against: the evening's model, and the base itself where that is the better one."""
    before = as_scores(state["exam_before"])
    return {**before, "abstention": before["base_abstention"], "reading": before["base_reading"]}


def proven_episodes(probes: Sequence[Probe], passed: set[str]) -> list[str]:
    """Episodes all of whose exam probes were passed closed-book."""
    facts = [p for p in probes if p.kind is Kind.FACT and p.role is Role.EXAM]
    failed = {p.episode_id for p in facts if p.id not in passed}
    return sorted({p.episode_id for p in facts} - failed)


def as_lists(scores: dict[str, Score]) -> dict[str, list[float]]:
    return {m: [s.right, s.total] for m, s in scores.items()}


def as_scores(lists: dict[str, list[float]]) -> dict[str, Score]:
    return {m: Score(right, int(total)) for m, (right, total) in lists.items()}
