"""What the stores know on the evening of a night. Reads, writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sleepmem.night.lessons import related
from sleepmem.night.probing.notes import gives_none
from sleepmem.night.probing.unknown import unsaid_still
from sleepmem.night.replay import evenly
from sleepmem.night.state import NightContext, State, namespace_of, night_id_of
from sleepmem.night.teachable import taught_of
from sleepmem.records import Episode, Expert, Kind, Namespace, Probe, View
from sleepmem.text.heads import SURELY_ASKS, asks
from sleepmem.text.policy import held


def absorbed(night: NightContext, state: State, *, live: Sequence[Expert]) -> list[Expert]:
    """The live experts whose place tonight's takes: of the level before, for a slower night."""
    levels = [level.name for level in night.config.levels]
    place = levels.index(night.level(state).name)
    if place == 0:
        return [] if night.config.expand else list(live)
    return [expert for expert in live if expert.level == levels[place - 1]]


def demand(
    night: NightContext, namespace: Namespace, *, episodes: Iterable[Episode]
) -> Mapping[str, int]:
    """How often users asked for each of these since a night last took it, however that ended."""
    taken = night.ledger.nights.last_taken(namespace)
    since = {episode.id: taken.get(episode.id, "") for episode in episodes}
    asked = _asked(night, namespace, since=since)
    return {episode_id: len(questions) for episode_id, questions in asked.items()}


def untried(
    night: NightContext, buffered: Sequence[Episode], *, again: Collection[str]
) -> list[Episode]:
    """Of what waits, all but what several nights have taught already and no exam proved.

    Only of what notes were drawn from, whose other notes are known to be held. Those of `again` are
    tried whatever came of it.
    """
    if not buffered:
        return []
    namespace, taught = buffered[0].namespace, Counter[str]()
    for expert in night.ledger.lineage.in_service(namespace):
        taught.update(expert.lineage)
    drawn = {note.episode_id for note in night.ledger.notes.of(namespace, taught)}
    left = []
    for episode in buffered:
        is_tried = episode.id in drawn and taught[episode.id] >= night.config.tries
        if episode.id in again or not is_tried:
            left.append(episode)
    return left


def telling(
    night: NightContext, namespace: Namespace, *, episodes: Sequence[Episode]
) -> list[Episode]:
    """Those that have notes, or may have some; where notes are taught, others teach nothing."""
    ids, kind = [episode.id for episode in episodes], night.local.profile.notes
    drawn = {note.episode_id for note in night.ledger.notes.of(namespace, ids)}
    found = []
    for episode in episodes:
        taught = taught_of(episode, night.policy)
        if episode.id in drawn or not gives_none(taught, kind=kind):
            found.append(episode)
    return found


def users_questions(
    night: NightContext, namespace: Namespace, *, episodes: Iterable[Episode]
) -> dict[str, list[str]]:
    """What users asked of these since the last promoted night that learned from the buffer."""
    fast = night.config.levels[0].name
    began = night.ledger.nights.last_promotion(namespace, level=fast)
    since = {episode.id: began for episode in episodes}
    return _asked(night, namespace, since=since)


def _asked(
    night: NightContext, namespace: Namespace, *, since: Mapping[str, str]
) -> dict[str, list[str]]:
    """Per episode of `since`, the questions after then to which it was the best memory.

    What users told is no question, and what else was recalled beside the best answers another.
    """
    questions: dict[str, list[str]] = {}
    for decision in night.ledger.turns.retrievals(namespace, min(since.values(), default="")):
        question = decision["question"]
        for best in decision["episodes"][:1]:
            # Whether it asks is told last: that takes the longest.
            is_new = best in since and decision["at"] > since[best]
            is_asked = is_new and decision["view"] == View.RETRIEVAL
            if is_asked and asks(question) >= SURELY_ASKS and not held(question, night.policy):
                questions.setdefault(best, []).append(question)
    return questions


def facts_asked(night: NightContext, state: State) -> dict[tuple[str, str], list[Probe]]:
    """What nights before asked about facts, by the ids of episode and note; "" without a note."""
    found: dict[tuple[str, str], list[Probe]] = {}
    for probe in night.ledger.nights.of(namespace_of(state)):
        if probe.kind is Kind.FACT and probe.night_id != night_id_of(state):
            found.setdefault((probe.episode_id, probe.note_id), []).append(probe)
    return found


def asked_before(night: NightContext, state: State) -> list[Probe]:
    """The probes of what tonight's expert takes over, as tonight's.

    What was told since is left out.
    """
    namespace, night_id = namespace_of(state), night_id_of(state)
    held, config = set(state["selected"]["held"]), night.config
    probes = []
    for probe in night.ledger.nights.learned_probes(namespace):
        if probe.episode_id in held:
            probes.append(probe)
    never_said = [probe for probe in probes if probe.kind is Kind.NEVER_SAID]
    sample = evenly(never_said, config.rehearse, seed=config.seeding.seed)
    archive = related(night.ledger, namespace, config=config, policy=night.policy)
    sure = config.probe.unsaid_sure
    still = unsaid_still(night.local, sample, related=archive, sure=sure)
    unsaid = {probe.id for probe in still}
    kept = [probe for probe in probes if probe.kind is not Kind.NEVER_SAID or probe.id in unsaid]
    taken_over = []
    for number, probe in enumerate(kept):
        probe_id = f"{night_id}-again-{number:05d}"
        taken_over.append(replace(probe, id=probe_id, night_id=night_id, taken_over=True))
    return taken_over
