"""Tonight's questions: written, checked and sorted by the teacher (the base model, experts off).

    episodes -> pairs -> confirmed pairs -> minus what was corrected -> fact probes -> requests
    episodes -> invented memories -> readings
    episodes -> unanswerable questions ----> never-said probes

Values in, values out: no store is touched.

Departs from the paper (arXiv 2606.03979): it samples data D from the teacher and does not say how a
bad sample is told from a good one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sleepmem.config import ProbeConfig
from sleepmem.night.probing.context import Archive
from sleepmem.night.probing.corrections import Corrections, find_corrections
from sleepmem.night.probing.pairs import (
    NO_SOURCE,
    Checked,
    Pair,
    Source,
    check_pairs,
    reworded,
    write_pairs,
)
from sleepmem.night.probing.requests import write_requests
from sleepmem.night.probing.teacher import Teacher
from sleepmem.night.probing.unknown import (
    NeverSaid,
    Reading,
    check_unsaid,
    invent_memories,
    write_readings,
    write_unsaid,
)
from sleepmem.records import Episode, Kind, Probe, Role


class ProbeIds:
    """Numbers the probes of a night."""

    def __init__(self, night_id: str) -> None:
        self.night_id = night_id
        self._number = itertools.count()

    def next(self) -> str:
        return f"{self.night_id}-{next(self._number):05d}"


@dataclass(frozen=True, slots=True)
class Questions:
    """What the night teaches with and is examined with.

    `superseded`: ids of episodes that hold nothing more, each with that of the newer one that
    corrects it.
    """

    probes: tuple[Probe, ...]
    superseded: Mapping[str, str]


def question(
    teacher: Teacher,
    episodes: Sequence[Episode],
    *,
    archive: Archive,
    asked: Mapping[str, Sequence[str]],
    ids: ProbeIds,
    source: Source = NO_SOURCE,
) -> Questions:
    """Write and check tonight's questions.

    Args:
        teacher: the base model with this night's sampling settings.
        episodes: what tonight replays.
        archive: finds episodes of the same owner, older and newer, that may answer a question.
        asked: episode id -> users' questions that retrieved it; used first, they are what is asked.
        ids: numbers the probes of this night.
        source: finds what is known of an episode, also of those of the archive.

    Returns:
        The probes, and which older episode each newer one corrects. A fact left with one wording
        gives no probe: it could be neither taught nor proven.
    """
    by_id = {episode.id: episode for episode in episodes}

    # 1. What do tonight's episodes say?
    checked = _told(teacher, episodes, asked=asked, source=source)

    # 2. What do they correct, and what corrects them?
    corrections = find_corrections(
        teacher, checked, by_id=by_id, archive=archive, asked=source.asked
    )
    holding = [pair for pair in checked.confirmed if corrections.holds(pair)]
    facts = _fact_probes(teacher, holding, corrections, ids)

    # 3. What must still be read, and what must stay unknown?
    invented = invent_memories(teacher, episodes)
    readings = write_readings(teacher, invented, facts=facts, by_id=by_id)
    unsaid = write_unsaid(teacher, episodes, confirmed=checked.confirmed, invented=invented)
    never_said, unread = check_unsaid(teacher, unsaid, by_id=by_id, archive=archive)

    probes = [
        *facts,
        *_request_probes(teacher, episodes, facts, ids),
        *(_never_said_probe(one, ids) for one in never_said),
        *_reading_probes(teacher, [*readings, *unread], ids),
    ]
    return Questions(tuple(probes), _superseded(corrections, holding))


def _told(
    teacher: Teacher,
    episodes: Sequence[Episode],
    *,
    asked: Mapping[str, Sequence[str]],
    source: Source,
) -> Checked:
    """What the episodes say; where notes are drawn, in several wordings and attempts."""
    has_notes = teacher.local.profile.notes != "whole"
    checked, left = Checked([], []), list(episodes)
    for attempt in range(1 + (teacher.config.retries if has_notes else 0)):
        pairs = write_pairs(teacher, left, asked=asked, attempt=attempt)
        checked = checked.joined(check_pairs(teacher, pairs, episodes=episodes, source=source))
        confirmed = {pair.episode_id for pair in checked.confirmed}
        left = [episode for episode in episodes if episode.id not in confirmed]
    if has_notes:
        more = reworded(teacher, checked.confirmed, episodes=episodes)
        checked = checked.joined(check_pairs(teacher, more, episodes=episodes, source=source))
    return checked


def _superseded(corrections: Corrections, holding: Sequence[Pair]) -> dict[str, str]:
    """Corrected episodes of which nothing is left that holds."""
    still_holding = {pair.episode_id for pair in holding}
    superseded = {}
    for old, new in corrections.newer_of.items():
        if old not in still_holding:
            superseded[old] = new
    return superseded


def _fact_probes(
    teacher: Teacher, holding: Sequence[Pair], corrections: Corrections, ids: ProbeIds
) -> list[Probe]:
    """One wording of every fact goes to the exam, the others teach."""
    facts: dict[tuple[str, ...], list[Pair]] = {}
    for pair in holding:
        facts.setdefault(pair.fact, []).append(pair)

    probes = []
    for pairs in facts.values():
        episode_id, answer = pairs[0].episode_id, pairs[0].answer
        chosen = _wordings(teacher.rng, pairs, teacher.config)
        # With a single wording it can be neither proven nor promoted.
        if len(chosen) < 2:
            continue
        stale = next((corrections.stale[p] for p in chosen if p in corrections.stale), "")
        for pair in chosen:
            role = Role.EXAM if pair is chosen[-1] else Role.TRAIN
            probe = Probe(
                ids.next(),
                episode_id,
                ids.night_id,
                Kind.FACT,
                role,
                pair.question,
                answer,
                stale,
            )
            probes.append(probe)

    # Two episodes may say the same: what one of them is examined with must not teach the other.
    examined = {probe.question for probe in probes if probe.role is Role.EXAM}
    return [p for p in probes if p.role is Role.EXAM or p.question not in examined]


def _request_probes(
    teacher: Teacher, episodes: Sequence[Episode], facts: Sequence[Probe], ids: ProbeIds
) -> list[Probe]:
    """Requests about what is taught tonight; they teach, and prove nothing."""
    if teacher.local.profile.notes == "whole":
        return []
    taught = {probe.episode_id for probe in facts}
    probes = []
    for pair in write_requests(teacher, [one for one in episodes if one.id in taught]):
        one = Probe(
            ids.next(),
            pair.episode_id,
            ids.night_id,
            Kind.REQUEST,
            Role.TRAIN,
            pair.question,
            pair.answer,
        )
        probes.append(one)
    return probes


def _wordings(rng: random.Random, pairs: Sequence[Pair], config: ProbeConfig) -> list[Pair]:
    """Those of a fact that are used, users' questions first; the last is for the exam."""
    users = [pair for pair in pairs if pair.from_user]
    written = [pair for pair in pairs if not pair.from_user]
    rng.shuffle(written)
    return [*users, *written][: config.wordings + 1]


def _never_said_probe(one: NeverSaid, ids: ProbeIds) -> Probe:
    return Probe(
        ids.next(),
        one.episode_id,
        ids.night_id,
        Kind.NEVER_SAID,
        one.role,
        one.question,
        one.abstention,
    )


def _reading_probes(teacher: Teacher, readings: Sequence[Reading], ids: ProbeIds) -> list[Probe]:
    """In any order, so that those of the exam are of every kind."""
    shuffled = list(readings)
    teacher.rng.shuffle(shuffled)
    probes = []
    for number, reading in enumerate(shuffled):
        role = Role.TRAIN if number % teacher.config.reading_examined else Role.EXAM
        probe = Probe(
            ids.next(),
            reading.episode_id,
            ids.night_id,
            Kind.READING,
            role,
            reading.question,
            reading.answer,
            context=tuple(reading.lines),
        )
        probes.append(probe)
    return probes
