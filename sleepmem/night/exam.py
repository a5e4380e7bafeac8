"""The exam of a night, asked of the probes in the ledger.

What the model knows, admits and reads with some experts on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sleepmem.night import measures
from sleepmem.night.replay import evenly
from sleepmem.night.state import (
    Examined,
    NightContext,
    Scores,
    State,
    corrected_of,
    namespace_of,
    night_id_of,
)
from sleepmem.records import Kind, Note, Probe, Role, Score


class Sitting(NamedTuple):
    """One exam: its scores, the ids of tonight's probes that were passed, recall by night."""

    scores: dict[str, Score]
    passed: set[str]
    recall_by_night: list[dict[str, Any]]

    def as_state(self) -> Examined:
        return {
            "exam": as_lists(self.scores),
            "passed": sorted(self.passed),
            "recall_by_night": self.recall_by_night,
        }


def examine(
    night: NightContext, state: State, *, experts: Sequence[str], dreamt: Sequence[Probe] = ()
) -> Sitting:
    """Examine the model with these experts on.

    Args:
        night: model and stores.
        state: which night it is.
        experts: those that are on.
        dreamt: probes beside those of the ledger.
    """
    local, most = night.local, night.config.exam.most
    probes = [*night.ledger.nights.probes(night_id_of(state)), *dreamt]
    tonight = _of(probes, Kind.FACT, Role.EXAM)
    earlier = _earlier_facts(night, state)
    unsaid = [probe.question for probe in _of(probes, Kind.NEVER_SAID, Role.EXAM)][:most]
    readings = _of(probes, Kind.READING, Role.EXAM)[:most]

    # 1. What does it know?
    earlier_score, earlier_passed = measures.recall(local, earlier, experts=experts)
    tonight_score, passed = measures.recall(local, tonight, experts=experts)
    right = earlier_passed | passed
    by_night = _by_night([*earlier, *tonight], right, night.ledger.nights.numbers())
    dreams = _of(probes, Kind.DREAM, Role.EXAM)
    dream_score, dreams_passed = measures.recall(local, dreams, experts=experts)

    # The gate may trust the wordings that were taught, too, when they are answered.
    taught = []
    for probe in probes:
        if probe.role is Role.TRAIN and probe.kind in (Kind.FACT, Kind.DREAM):
            taught.append(probe)
    _, taught_passed = measures.recall(local, taught, experts=experts)

    # 2. What does it admit, and what does it read?
    scores = {
        "dreams": dream_score,
        "recall": tonight_score,
        "old_nights": earlier_score,
        "abstention": measures.abstention(local, unsaid, experts=experts),
        "superseded": measures.superseded(local, tonight, experts=experts),
        "reading": measures.reading(local, readings, experts=experts),
        "general_kl": measures.general_kl(local, experts),
    }

    # 3. The base itself is asked once, in the evening.
    if "expanded" not in state:
        scores["base_abstention"] = measures.abstention(local, unsaid, experts=())
        scores["base_reading"] = measures.reading(local, readings, experts=())
    return Sitting(scores, passed | dreams_passed | taught_passed, by_night)


def bounds(state: State) -> dict[str, Score]:
    """What tonight is held against: the evening's model, or the base where it is the better."""
    before = as_scores(state["expanded"]["exam"])
    return {
        **before,
        "abstention": before["base_abstention"],
        "reading": before["base_reading"],
    }


def proven_episodes(
    probes: Sequence[Probe], passed: set[str], *, notes: Iterable[Note] = ()
) -> list[str]:
    """Episodes all of whose exam probes were passed closed-book, and all of whose notes are held.

    `notes`: those of tonight's episodes, with what experts that stay hold of them.
    """
    facts = _of(probes, Kind.FACT, Role.EXAM)
    failed = {probe.episode_id for probe in facts if probe.id not in passed}
    examined = {probe.note_id for probe in facts}
    for note in notes:
        if not note.replaced_by and not note.learned_in and note.id not in examined:
            failed.add(note.episode_id)
    return sorted({probe.episode_id for probe in facts} - failed)


def proven_notes(probes: Sequence[Probe], passed: set[str]) -> list[str]:
    """Notes all of whose exam probes were passed closed-book."""
    facts = [probe for probe in _of(probes, Kind.FACT, Role.EXAM) if probe.note_id]
    failed = {probe.note_id for probe in facts if probe.id not in passed}
    return sorted({probe.note_id for probe in facts} - failed)


def as_lists(scores: Mapping[str, Score]) -> Scores:
    return {measure: [score.right, score.total] for measure, score in scores.items()}


def as_scores(lists: Scores) -> dict[str, Score]:
    return {measure: Score(right, int(total)) for measure, (right, total) in lists.items()}


def _of(probes: Sequence[Probe], kind: Kind, role: Role) -> list[Probe]:
    return [probe for probe in probes if probe.kind is kind and probe.role is role]


def _earlier_facts(night: NightContext, state: State) -> list[Probe]:
    """A sample of what earlier nights asked and tonight does not correct."""
    corrected = corrected_of(state)
    learned = night.ledger.nights.learned_probes(namespace_of(state))
    standing = []
    for probe in _of(learned, Kind.FACT, Role.EXAM):
        if corrected.isdisjoint((probe.episode_id, probe.note_id)):
            standing.append(probe)
    return evenly(standing, night.config.exam.most, seed=night_id_of(state))


def _by_night(
    probes: Sequence[Probe], right: set[str], numbers: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Share of the probes that were answered right, by the night a fact was learned in."""
    answered: dict[int, list[bool]] = {}
    for probe in probes:
        answered.setdefault(numbers[probe.night_id], []).append(probe.id in right)
    by_night = []
    for number, results in sorted(answered.items()):
        by_night.append({"night": number, "rate": sum(results) / len(results)})
    return by_night
