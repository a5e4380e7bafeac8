"""The dreaming of a night: about what was learned tonight, with a copy of its expert.

The copy takes the expert's place only when the exam says that it answers more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sleepmem.night import exam as exams
from sleepmem.night import promotion, seeding, teachable
from sleepmem.night.dreaming import rounds
from sleepmem.night.dreaming.dream import Context, Dream, Dreamer, Fate, Material, MemoryLines
from sleepmem.night.dreaming.lessons import dream_rows
from sleepmem.night.lessons import related, tonights_rows
from sleepmem.night.rows import Row
from sleepmem.night.state import (
    Examined,
    NightContext,
    State,
    evening_of,
    examined_of,
    expert_of,
    namespace_of,
    night_id_of,
)
from sleepmem.records import (
    Episode,
    ExpertName,
    Kind,
    Namespace,
    Probe,
    Role,
    Score,
    Verdict,
)
from sleepmem.text.prompts import line_of
from sleepmem.text.subjects import rare, subject
from sleepmem.text.terms import terms

# Rewarded dreams are rehearsed by later nights; held-out ones examine.
_ROLES = {Fate.REWARDED: Role.TRAIN, Fate.HELD_OUT: Role.EXAM}


def dream(night: NightContext, state: State) -> State:
    """Dream about what was learned tonight, with a copy of its expert, and examine the copy."""
    steps = round(night.config.dream.share * night.seeding_steps(state))
    config = replace(night.config.dream, rounds=min(night.config.dream.rounds, steps))
    if not config.rounds or not night.is_fast(state):
        return {}

    # 1. Who dreams, and about what?
    view = night.load_tonight(state)
    dreamer = _copy_of_tonights(night, state, beside=view[:-1])
    probes = _own_probes(night, state)
    proven = set(
        exams.proven_episodes(probes, set(examined_of(state)["passed"]), notes=night.notes(state))
    )
    material = _material(night, state, probes=probes, proven=proven)

    # 2. The rounds
    school = _School(
        night,
        state,
        dreamer.expert,
        waking=_waking_rows(night, state),
        strangers=material.strangers,
        steps=steps // config.rounds,
    )
    seed = night.config.seeding.seed
    dreams = rounds.dream(dreamer, material, learn=school.teach, config=config, seed=seed)
    rows = [_dream_row(dream) for dream in dreams]
    night.ledger.nights.add_dreams(namespace_of(state), night_id_of(state), dreams=rows)

    # 3. Does the dreamer answer more than the expert that it is a copy of?
    dreamt = _dream_probes(dreams, night_id_of(state), proven=proven)
    outcome = _examine(night, state, dreamer=dreamer, dreamt=dreamt)
    return {
        "dreamt": {
            "summary": {"rounds": _fates_by_round(dreams), **outcome.summary},
            "tokens_trained": school.tokens_trained,
            "dropped": school.dropped,
            "expert": dreamer.expert if outcome.examined else None,
            "examined": outcome.examined,
        }
    }


class _Outcome(NamedTuple):
    """What the exam of the dreamer says; `examined` is None when the expert keeps its place."""

    summary: dict[str, Any]
    examined: Examined | None


@dataclass
class _School:
    """Teaches the dreamer what was rewarded; counts the tokens, and the rows that a rule drops.

    waking     what tonight taught
    strangers  names of nobody
    steps      of seeding, each time
    """

    night: NightContext
    state: State
    expert: str
    waking: Sequence[Row]
    strangers: Sequence[str]
    steps: int
    tokens_trained: int = field(default=0, init=False)
    dropped: dict[str, int] = field(default_factory=dict, init=False)

    def teach(self, rewarded: list[Dream]) -> None:
        """Seed the dreamer with the rewarded dreams of all rounds so far."""
        night, settings = self.night, self.night.config.dream
        rows = dream_rows(
            night.local,
            rewarded,
            waking=self.waking,
            strangers=self.strangers,
            config=settings,
            seed=night.config.seeding.seed,
        )
        selected = self.state["selected"]
        # Every time all so far are taught.
        rows, self.dropped = teachable.safe(rows, night.policy)
        seeded = seeding.seed(
            night.local,
            seeding.Lesson(
                self.expert,
                before=tuple(selected["before"]),
                rows=rows,
                absorbed=selected["absorbed"],
            ),
            config=replace(
                night.config.seeding,
                steps=self.steps,
                lr=settings.lesson_lr,
                never_said=settings.others,
                rehearsal=settings.others,
                reading=settings.others,
            ),
            semantic=night.semantic,
            progress=self._progress,
        )
        self.tokens_trained += seeded.tokens_trained

    def _progress(self, step: int, steps: int, loss: float) -> None:
        self.night.tell(step="dream", done=step, of=steps, loss=round(loss, 4))


def _copy_of_tonights(night: NightContext, state: State, *, beside: Sequence[str]) -> Dreamer:
    """A copy of tonight's expert, under a name of its own."""
    name = str(ExpertName.new(night_id_of(state), namespace_of(state)))
    night.local.load_expert(name, night.experts.checked(expert_of(state)))
    return Dreamer(night.local, name, beside)


def _own_probes(night: NightContext, state: State) -> list[Probe]:
    """Tonight's probes, without the dreams that a killed run of this step has left."""
    probes = []
    for probe in night.ledger.nights.probes(night_id_of(state)):
        if probe.kind is not Kind.DREAM or probe.taken_over:
            probes.append(probe)
    night.ledger.nights.add_probes(namespace_of(state), probes)
    return probes


def _material(
    night: NightContext, state: State, *, probes: Sequence[Probe], proven: Collection[str]
) -> Material:
    """What may be dreamt about: what tonight proved, and what the weights held before and still do.

    Args:
        night: model and stores.
        state: which night it is.
        probes: tonight's.
        proven: ids of the episodes that tonight proved.
    """
    namespace, ledger = namespace_of(state), night.ledger
    # Of two memories that are this short, a dream leaves room for what else is said about them.
    most = night.local.context_length // 8
    superseded = state["probed"]["superseded"]

    def dreamt_about(episodes: Iterable[Episode]) -> list[Episode]:
        """What is short enough of them, and of which something may be taught by now."""
        found = []
        for episode in episodes:
            is_short = night.local.count_tokens(episode.whole) <= most
            if is_short and teachable.teaches(episode, night.policy):
                found.append(teachable.taught_of(episode, night.policy))
        return found

    tonight = dreamt_about(one for one in night.episodes(state) if one.id in proven)
    learned = ledger.episodes.learned(namespace)
    earlier = dreamt_about(one for one in learned if one.id not in superseded)

    facts, questions = [], set()
    for probe in (*probes, *ledger.nights.learned_probes(namespace)):
        questions.add(probe.question)
        if probe.kind is Kind.FACT and probe.role is Role.TRAIN:
            facts.append(probe)
    return Material(
        tonight,
        earlier,
        facts,
        questions=questions,
        memory_lines=_memory_lines(night, namespace),
        strangers=_strangers(night, namespace, probes),
    )


def _memory_lines(night: NightContext, namespace: Namespace) -> MemoryLines:
    """Looks up in the archive what may answer a question, beside the question's own context."""
    local = night.local
    archive = related(night.ledger, namespace, config=night.config, policy=night.policy)

    def look_up(question: str, context: Context) -> list[str]:
        named, room = rare(question), local.context_length // 4
        episodes = {episode.id: episode for episode in context}
        for episode in archive(question):
            room -= local.count_tokens(episode.whole)
            is_about_it = not named or not named.isdisjoint(terms(episode.whole))
            if room > 0 and is_about_it:
                episodes[episode.id] = episode
        oldest_first = sorted(episodes.values(), key=lambda episode: episode.age_key)
        return [line_of(episode) for episode in oldest_first]

    return look_up


def _strangers(night: NightContext, namespace: Namespace, probes: Sequence[Probe]) -> list[str]:
    """Whom tonight's readings made up: nothing in the ledger names them."""
    spoken: set[str] = set()
    for episode in night.ledger.episodes.all(namespace):
        spoken.update(terms(episode.whole))
    strangers = set()
    for probe in probes:
        name = subject(probe.question, "\n".join(probe.context))
        if probe.kind is Kind.READING and name and spoken.isdisjoint(terms(name)):
            strangers.add(name)
    return sorted(strangers)


def _waking_rows(night: NightContext, state: State) -> list[Row]:
    """What tonight taught."""
    return tonights_rows(
        night.local,
        night.ledger,
        evening=evening_of(state),
        config=night.config,
        policy=night.policy,
    ).rows


def _examine(
    night: NightContext, state: State, *, dreamer: Dreamer, dreamt: Sequence[Probe]
) -> _Outcome:
    """Examine the expert and then the dreamer in its place, which stays when it is the better.

    Args:
        night: model and stores.
        state: which night it is.
        dreamer: a copy of tonight's expert that has learned from its dreams.
        dreamt: the dreams as probes; those that are kept go into the ledger.
    """
    night_id, nights = night_id_of(state), night.ledger.nights
    beside, name = dreamer.beside, dreamer.expert
    before = exams.examine(night, state, experts=(*beside, expert_of(state)), dreamt=dreamt)
    after = exams.examine(night, state, experts=(*beside, name), dreamt=dreamt)
    nights.write_exam(night_id, "dreamt", scores=after.scores)
    summary = {
        "before": before.scores["dreams"].as_dict(),
        "after": after.scores["dreams"].as_dict(),
    }
    fault = _fault(night, state, before=before.scores, after=after.scores)
    if fault is not None:
        night.local.drop_expert(name)
        return _Outcome({**summary, "kept": False, "reason": fault}, None)

    nights.add_probes(namespace_of(state), [*nights.probes(night_id), *dreamt])
    night.experts.write(name, lambda folder: night.local.save_expert(name, folder))
    return _Outcome({**summary, "kept": True}, after.as_state())


def _fault(
    night: NightContext,
    state: State,
    *,
    before: Mapping[str, Score],
    after: Mapping[str, Score],
) -> str | None:
    """Why the dreamer may not take the expert's place; None when it may.

    It must answer more of the held-out dreams and break no bound of the exam. The bound of recall
    is the exam's, or a little below what the expert reached where that is more.

    Args:
        night: settings.
        state: what tonight is held against.
        before: scores with tonight's expert.
        after: scores with the dreamer in its place.
    """
    bounds = night.config.exam
    recall = max(bounds.recall, before["recall"].rate - bounds.old_nights)
    verdict, reason = promotion.decide(
        exams.bounds(state), after, config=replace(bounds, recall=recall)
    )
    if verdict is not Verdict.PROMOTED:
        return reason
    if after["dreams"].right > before["dreams"].right:
        return None
    if before["dreams"].total:
        return "it does not answer more of the held-out dreams"
    return "nothing was dreamt in two wordings, so no dream could examine it"


def _dream_row(dream: Dream) -> dict[str, Any]:
    """As the ledger keeps it."""
    return {
        "round": dream.round,
        "expert": dream.expert,
        "text": dream.text,
        "question": dream.question,
        "answer": dream.answer,
        "importance": dream.importance,
        "gain": dream.gain,
        "fate": dream.fate.value,
        "episodes": json.dumps(dream.episode_ids),
    }


def _dream_probes(
    dreams: Sequence[Dream], night_id: str, *, proven: Collection[str]
) -> list[Probe]:
    """The rewarded and the held-out dreams as probes, of the newest episode that tonight proved."""
    probes = []
    for number, dream in enumerate(dreams):
        if dream.fate not in _ROLES:
            continue
        newest = next(one for one in reversed(dream.episode_ids) if one in proven)
        probes.append(
            Probe(
                f"{night_id}-dream-{number:05d}",
                episode_id=newest,
                night_id=night_id,
                kind=Kind.DREAM,
                role=_ROLES[dream.fate],
                question=dream.question,
                answer=dream.answer,
                context=tuple(dream.lines),
                sources=tuple(dream.episode_ids),
            )
        )
    return probes


def _fates_by_round(dreams: Sequence[Dream]) -> list[dict[str, int]]:
    """How many dreams of each round came to what."""
    by_round: list[Counter[str]] = []
    for dream in dreams:
        while len(by_round) < dream.round:
            by_round.append(Counter())
        by_round[dream.round - 1][dream.fate.name.lower()] += 1
    return [dict(fates) for fates in by_round]
