"""The night, step by step. Each takes the state, does one thing, and adds its group to the state.

A night that was killed goes on where it was. Only the steps and `graph` write to the stores at
night; before it `schedule` forgets what has expired and embeds what waits. Nothing the agent uses
changes before `promote`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from sleepmem.night import (
    calibration,
    evening,
    evidence,
    measures,
    promotion,
    replay,
    reviewing,
    seeding,
    teachable,
)
from sleepmem.night import exam as exams
from sleepmem.night.dreaming.step import dream
from sleepmem.night.lessons import related, tonights_rows
from sleepmem.night.probing import notes as drawing
from sleepmem.night.probing import probe as probing
from sleepmem.night.probing.context import nearest
from sleepmem.night.probing.notes import Units
from sleepmem.night.probing.pairs import Pair, Source
from sleepmem.night.probing.teacher import Teacher
from sleepmem.night.replay import evenly
from sleepmem.night.state import (
    NightContext,
    Pruned,
    Selected,
    Spent,
    State,
    corrected_of,
    evening_of,
    examined_of,
    expert_of,
    namespace_of,
    night_id_of,
)
from sleepmem.night.summary import peak_bytes, report_of
from sleepmem.records import (
    Episode,
    Expert,
    ExpertName,
    Kind,
    Namespace,
    Note,
    Role,
    Verdict,
    now,
)
from sleepmem.stores.lineage import Proof
from sleepmem.text.pieces import sentences
from sleepmem.text.policy import held

Step = Callable[[NightContext, State], State]


def audit(night: NightContext, state: State) -> State:
    """Examine again what the weights are believed to hold, a sample of it.

    A fact that fails goes back to the buffer, at once and for tonight to learn anew; a dream that
    fails is no longer answered from the weights.
    """
    namespace, ledger = namespace_of(state), night.ledger
    held = ledger.nights.learned_probes(namespace, passed=True)
    facts = [probe for probe in held if probe.kind is Kind.FACT and probe.role is Role.EXAM]
    dreams = [probe for probe in held if probe.kind is Kind.DREAM]
    facts = evenly(facts, night.config.audit, seed=night_id_of(state))
    dreams = evenly(dreams, night.config.audit, seed=night_id_of(state))
    if not night.is_fast(state) or not facts:
        return {"audited": {"audited": 0, "returned": []}}

    live = tuple(expert.name for expert in ledger.lineage.experts(namespace))
    night.experts.load(night.local, live)
    _, passed = measures.recall(night.local, [*facts, *dreams], experts=live)
    if night.is_dry:
        return {"audited": {"audited": len(facts), "returned": []}}
    ledger.nights.distrust(probe.id for probe in dreams if probe.id not in passed)
    failed = [probe for probe in facts if probe.id not in passed]
    lost = sorted({probe.episode_id for probe in failed})
    ledger.episodes.take_back(lost, notes={probe.note_id for probe in failed})
    return {"audited": {"audited": len(facts), "returned": lost}}


def select(night: NightContext, state: State) -> State:
    """Choose tonight's episodes: of the buffer, or those of the experts that it takes over."""
    namespace, ledger = namespace_of(state), night.ledger
    live = ledger.lineage.experts(namespace)
    absorbed = evening.absorbed(night, state, live=live)
    nights = {expert.night_id for expert in absorbed}
    held = set()
    for probe in ledger.nights.learned_probes(namespace):
        if probe.night_id in nights:
            held.add(probe.episode_id)
    selected: Selected = {
        "expert": str(ExpertName.new(night_id_of(state), namespace)),
        "before": [expert.name for expert in live],
        "absorbed": [expert.name for expert in absorbed],
        "held": sorted(held),
        "episodes": sorted(held),
        "kept_back": [],
    }
    if not night.is_fast(state):
        return {"selected": selected}

    buffered = ledger.episodes.telling(namespace)
    demand = evening.demand(night, namespace, episodes=buffered)
    questions = evening.users_questions(night, namespace, episodes=buffered)
    again = {*questions, *state["audited"]["returned"]}
    waiting = evening.untried(night, buffered, again=again)
    sorted_out = teachable.sort(waiting, night.policy, untrusted=night.config.untrusted)
    selected["kept_back"] = [asdict(one) for one in sorted_out.held]
    telling = evening.telling(night, namespace, episodes=sorted_out.episodes)
    tried, budget = ledger.nights.tried(namespace), night.config.replay_budget
    plan = replay.select(telling, demand, tried=tried, budget=budget)
    selected["episodes"] += [pick.episode_id for pick in plan]
    demanded = sum(pick.reason is replay.Reason.DEMANDED for pick in plan)
    night.emit({"step": "select", "episodes": len(plan), "demanded": demanded})
    if plan:
        if not night.is_dry:
            ledger.nights.take(night_id_of(state), selected["episodes"])
        return {"selected": selected}
    reason = "nothing to learn"
    for rule, count in teachable.counted(selected["kept_back"]).items():
        reason += f"; {count} held back by the rule {rule}"
    if len(buffered) > len(waiting):
        reason += f"; {len(buffered) - len(waiting)} that did not stick wait until asked for"
    return {"selected": selected, "decided": {"verdict": Verdict.SKIPPED.value, "reason": reason}}


def draw(night: NightContext, state: State) -> State:
    """Write down what tonight's new episodes tell, a statement at a time."""
    namespace, ledger = namespace_of(state), night.ledger
    new = _told(night, state)
    if night.is_dry:
        ledger.notes.lend(night_id_of(state), [episode.id for episode in new])
    drawn = {note.episode_id for note in ledger.notes.of(namespace, [one.id for one in new])}
    new = [episode for episode in new if episode.id not in drawn]
    is_whole = night.local.profile.notes == "whole"
    kept_back = teachable.waiting_notes(new, night.policy, whole=is_whole)
    taught = [teachable.taught_of(episode, night.policy) for episode in new]
    ledger.notes.add(namespace, [*kept_back, *drawing.draw(_teacher(night), taught)])
    return {}


def review(night: NightContext, state: State) -> State:
    """Write down what is about to be learned, where somebody is to look at it."""
    tonight = state["tonight"]
    lines: list[dict[str, str]] = []
    if tonight["reviewed"]:
        units = _units(night, state)
        for line in reviewing.lines(units.all, source=units.source, note=units.note):
            lines.append(asdict(line))
    kept_back = state["selected"]["kept_back"]
    return {
        "drafted": {
            "night": tonight["night_id"],
            "namespace": tonight["namespace"],
            "lines": lines,
            "held": kept_back,
        }
    }


def revise(night: NightContext, state: State) -> State:
    """Change it as it was answered, and say what of the notes a rule holds."""
    if "answered" in state:
        lines = [reviewing.Line(**line) for line in state["drafted"]["lines"]]
        for line, note in reviewing.changed(lines, state["answered"]["texts"]):
            night.ledger.notes.replace(namespace_of(state), line.id, by=note)
    kept_back = teachable.kept_back(_units(night, state).held)
    return {"revised": {"kept_back": [asdict(one) for one in kept_back]}}


def probe(night: NightContext, state: State) -> State:
    """Question tonight's episodes.

    What tonight's expert takes over from others is asked again as those were asked.
    """
    namespace, ledger = namespace_of(state), night.ledger
    taken_over = evening.asked_before(night, state) if state["selected"]["held"] else []
    episodes = _told(night, state)
    if not episodes:
        ledger.nights.add_probes(namespace, taken_over)
        return {"probed": {"superseded": {}, "replaced": {}}}
    search = related(ledger, namespace, config=night.config, policy=night.policy)
    units, most = _units(night, state), night.config.probe.related

    def archive(question: str) -> Sequence[Episode]:
        return nearest(question, units.of(search(question)), most=most)

    questions = probing.question(
        _teacher(night),
        units.all,
        archive=archive,
        asked=units.asked(evening.users_questions(night, namespace, episodes=episodes)),
        ids=probing.ProbeIds(night_id_of(state)),
        source=Source(units.source, _asked(night, state, units)),
    )
    superseded = units.superseded(questions.superseded, alone=_alone(night, namespace))
    about_episodes = [units.probe(one) for one in questions.probes]
    replaced = units.replaced(questions.superseded)
    added: State = {"probed": {"superseded": superseded, "replaced": replaced}}
    corrected, still_holding = corrected_of(added), []
    for one in taken_over:
        if corrected.isdisjoint((one.episode_id, one.note_id)):
            still_holding.append(one)
    ledger.nights.add_probes(namespace, [*still_holding, *about_episodes])
    if not any(one.kind is Kind.FACT for one in questions.probes):
        reason = (
            "the model could not write one checked question in two wordings about any of "
            f"{len(episodes)} episodes"
        )
        if superseded.keys() >= {episode.id for episode in episodes}:
            reason = "nothing to learn; newer episodes say otherwise than those in the buffer"
        added["decided"] = {"verdict": Verdict.SKIPPED.value, "reason": reason}
    return added


def expand(night: NightContext, state: State) -> State:
    """Add tonight's expert, which changes nothing yet, and examine the evening's model."""
    before = night.load_evening(state)
    night.local.drop_expert(state["selected"]["expert"])
    _bear(night, state)
    sitting = exams.examine(night, state, experts=before)
    return {"expanded": {"exam": exams.as_lists(sitting.scores)}}


def seed(night: NightContext, state: State) -> State:
    """Teach tonight's expert, and write it beside the promoted ones."""
    before, expert = night.load_evening(state), state["selected"]["expert"]
    if expert not in night.local.experts:  # a resumed night
        _bear(night, state)

    def progress(step: int, steps: int, loss: float) -> None:
        night.tell(step="seed", done=step, of=steps, loss=round(loss, 4))

    rows, dropped = tonights_rows(
        night.local,
        night.ledger,
        evening=evening_of(state),
        config=night.config,
        policy=night.policy,
    )
    seeded = seeding.seed(
        night.local,
        seeding.Lesson(
            expert,
            before=before,
            rows=rows,
            absorbed=state["selected"]["absorbed"],
        ),
        config=replace(night.config.seeding, steps=night.seeding_steps(state)),
        semantic=night.semantic,
        progress=progress,
    )
    night.experts.write(expert, lambda folder: night.local.save_expert(expert, folder))
    return {
        "seeded": {
            "curve": list(seeded.curve),
            "tokens_trained": seeded.tokens_trained,
            "dropped": dropped,
        }
    }


def exam(night: NightContext, state: State) -> State:
    """Examine the model with tonight's expert on."""
    sitting = exams.examine(night, state, experts=night.load_tonight(state))
    night_id, nights = night_id_of(state), night.ledger.nights
    before = exams.as_scores(state["expanded"]["exam"])
    nights.write_exam(night_id, "before", scores=before)
    nights.write_exam(night_id, "after", scores=sitting.scores)
    return {"examined": sitting.as_state()}


def decide(night: NightContext, state: State) -> State:
    """Promotion or not, from the exam alone."""
    after = exams.as_scores(examined_of(state)["exam"])
    verdict, reason = promotion.decide(exams.bounds(state), after, config=night.config.exam)
    if night.is_dry:
        reason = f"a dry run changes nothing; it would be {verdict.value}: {reason}"
        verdict = Verdict.TRIED
    return {"decided": {"verdict": verdict.value, "reason": reason}}


def overtaken(night: NightContext, state: State) -> str | None:
    """Why a night cannot be promoted any more, as after a rollback; None when it can, or was."""
    live = night.ledger.lineage.experts(namespace_of(state))
    was_promoted = any(expert.night_id == night_id_of(state) for expert in live)
    if was_promoted or state["selected"]["before"] == [expert.name for expert in live]:
        return None
    return "the live experts were changed since the night began; its episodes wait for the next one"


def promote(night: NightContext, state: State) -> State:
    """Rename the folder, then one transaction. Runs again harmlessly."""
    if state["decided"]["verdict"] != Verdict.PROMOTED:
        return {}
    reason = overtaken(night, state)
    if reason is not None:
        return {"decided": {"verdict": Verdict.FAILED.value, "reason": reason}}
    namespace, ledger = namespace_of(state), night.ledger
    selected, passed = state["selected"], examined_of(state)["passed"]
    name = expert_of(state)
    night.experts.promote(name)
    probes = ledger.nights.probes(night_id_of(state))
    proven = exams.proven_episodes(probes, set(passed), notes=night.notes(state))
    held = {*proven, *(episode.id for episode in ledger.episodes.learned(namespace))}
    expert = Expert(
        name,
        namespace,
        night_id_of(state),
        night.level(state).name,
        _rank(night, state),
        now(),
        tuple(selected["absorbed"] or selected["episodes"]),
        live=True,
    )
    superseded = _replaced(state["probed"]["superseded"], held)
    superseded += _replaced_by_notes(night, state, held=held)
    proof = Proof(
        proven,
        superseded,
        passed,
        state["probed"]["replaced"],
        exams.proven_notes(probes, set(passed)),
    )
    ledger.lineage.promote(expert, proof, absorbed=selected["absorbed"])
    return {}


def calibrate(night: NightContext, state: State) -> State:
    """Fit the gate to what the exam measured, and set its threshold by the bound."""
    if state["decided"]["verdict"] != Verdict.PROMOTED:
        return {}
    namespace, night_id = namespace_of(state), night_id_of(state)
    gates, config = night.ledger.gates, night.gate
    sample = evidence.sample(night, state, experts=night.load_tonight(state))
    earlier = []
    for written in gates.examples(namespace, without=night_id, limit=config.kept):
        example = calibration.Example.parse(written)
        if example is not None:
            earlier.append(example)
    gate = calibration.fit(
        [*sample.examples, *earlier],
        calibration.Bound(
            config.epsilon, config.confidence, near_misses=config.epsilon_near_misses
        ),
        words=sample.words,
        abstention=sample.abstention,
    )
    examples = [example.as_dict() for example in sample.examples]
    gates.write(namespace, night_id, gate=gate.as_json(), examples=examples)
    figures = dict(gate.figures)
    night.emit({"step": "calibrate", **figures})
    return {"calibrated": {"figures": figures}}


def prune(night: NightContext, state: State) -> State:
    """Count what left the buffer; whoever searches it finds it where it belongs now."""
    namespace, ledger = namespace_of(state), night.ledger
    returned = len(state["audited"]["returned"])
    night.experts.clear_pending(night_id_of(state))
    if state["decided"]["verdict"] != Verdict.PROMOTED:
        night.local.drop_expert(expert_of(state))
        nothing: Pruned = {"evicted": 0, "returned": returned, "expert_bytes": 0, "text_bytes": 0}
        return {"pruned": nothing}

    left = {episode.id for episode in ledger.episodes.buffered(namespace)}
    held = set(state["selected"]["held"])
    evicted = set(state["selected"]["episodes"]) - held - left
    live = ledger.lineage.experts(namespace)
    learned = ledger.episodes.learned(namespace)
    return {
        "pruned": {
            "evicted": len(evicted),
            "returned": returned + len(held & left),
            "expert_bytes": sum(night.experts.size(expert.name) for expert in live),
            "text_bytes": sum(len(episode.text.encode()) for episode in learned),
        }
    }


def report(night: NightContext, state: State) -> State:
    """Close the night in the ledger."""
    finished = report_of(state)
    night.ledger.nights.finish(finished)
    night.emit({"step": "report", "verdict": finished.verdict.value, "reason": finished.reason})
    return {}


STEPS: dict[str, Step] = {
    "audit": audit,
    "select": select,
    "draw": draw,
    "review": review,
    "revise": revise,
    "probe": probe,
    "expand": expand,
    "seed": seed,
    "exam": exam,
    "dream": dream,
    "decide": decide,
    "promote": promote,
    "calibrate": calibrate,
    "prune": prune,
    "report": report,
}


def run_step(step: str, night: NightContext, *, state: State) -> State:
    """One step, timed and announced."""
    started, generated = time.time(), night.local.tokens_generated
    night.tell(step=step, state="started")
    added = STEPS[step](night, state)
    seconds = round(time.time() - started, 2)
    night.emit({"step": step, "state": "finished", "seconds": seconds})
    nothing: Spent = {"seconds": {}, "tokens_generated": 0, "peak_bytes": 0}
    before = state.get("spent", nothing)
    spent: Spent = {
        "seconds": {**before["seconds"], step: seconds},
        "tokens_generated": before["tokens_generated"] + night.local.tokens_generated - generated,
        "peak_bytes": max(peak_bytes(), before["peak_bytes"]),
    }
    return {**added, "spent": spent}


def _told(night: NightContext, state: State) -> list[Episode]:
    """Tonight's episodes but for those that are taken over from other experts."""
    held = set(state["selected"]["held"])
    return [episode for episode in night.episodes(state) if episode.id not in held]


def _teacher(night: NightContext) -> Teacher:
    return Teacher(night.local, night.config.probe, seed=night.config.seeding.seed)


def _units(night: NightContext, state: State) -> Units:
    """What is to be learned of them, each statement apart, without what the policy keeps back."""
    every = [episode.id for episode in night.ledger.episodes.all(namespace_of(state))]
    notes = night.ledger.notes.of(namespace_of(state), every)
    taught = [teachable.taught_of(episode, night.policy) for episode in _told(night, state)]
    return Units(
        taught,
        notes,
        whole=night.local.profile.notes == "whole",
        rule=lambda text: next(iter(held(text, night.policy).values()), None),
    )


def _asked(night: NightContext, state: State, units: Units) -> Callable[[str], list[Pair]]:
    """Finds what earlier nights asked about a unit; the ledger is read once it is needed."""
    facts = functools.cache(lambda: evening.facts_asked(night, state))

    def asked(unit: str) -> list[Pair]:
        episode, note = units.source(unit), units.note(unit)
        about = (episode.id, note.id) if episode and note else (unit, "")
        return [Pair(unit, one.question, one.answer) for one in facts().get(about, ())]

    return asked


def _alone(night: NightContext, namespace: Namespace) -> Callable[[str], bool]:
    """Whether an episode of which there is no note tells nothing but one statement."""
    is_whole = night.local.profile.notes == "whole"

    def tells_one(episode_id: str) -> bool:
        [episode] = night.ledger.episodes.get(namespace, [episode_id])
        is_one = is_whole or len(sentences(episode.text)) == 1
        return is_one and not teachable.rules_of(episode, night.policy)

    return tells_one


def _bear(night: NightContext, state: State) -> None:
    """A new expert; without expansion it begins as the one whose place it takes."""
    selected = state["selected"]
    expert, absorbed = selected["expert"], selected["absorbed"]
    if absorbed and not night.config.expand:
        night.local.load_expert(expert, night.experts.checked(absorbed[-1]))
    else:
        seed = night.config.seeding.seed
        night.local.add_expert(expert, night.level(state).rank, seed=seed)


def _rank(night: NightContext, state: State) -> int:
    """Of tonight's expert: its level's; without expansion that of the one it began as."""
    absorbed = state["selected"]["absorbed"]
    if absorbed and not night.config.expand:
        for expert in night.ledger.lineage.experts(namespace_of(state), live=False):
            if expert.name == absorbed[-1]:
                return expert.rank
    return night.level(state).rank


def _replaced_by_notes(night: NightContext, state: State, *, held: Collection[str]) -> list[str]:
    """Buffered episodes all of whose notes were replaced, by an earlier night perhaps, by what is
    in the weights now.
    """
    namespace, ledger = namespace_of(state), night.ledger
    buffered = [episode.id for episode in ledger.episodes.buffered(namespace)]
    told_in: dict[str, str] = {}
    notes: dict[str, list[Note]] = {}
    for note in ledger.notes.of(namespace, [*buffered, *held]):
        told_in[note.id] = note.episode_id
        notes.setdefault(note.episode_id, []).append(note)
    tonight = state["probed"]["replaced"]
    found = []
    for episode_id in buffered:
        newer = [tonight.get(one.id, one.replaced_by) for one in notes.get(episode_id, ())]
        if newer and all(told_in.get(one, one) in held for one in newer):
            found.append(episode_id)
    return found


def _replaced(superseded: Mapping[str, str], held: Collection[str]) -> list[str]:
    """Superseded episodes whose correction, or what corrected that in turn, is in the weights."""

    def corrections(episode_id: str) -> Iterator[str]:
        # It ends: each is newer than the one before.
        while episode_id in superseded:
            episode_id = superseded[episode_id]
            yield episode_id

    return [old for old in superseded if any(new in held for new in corrections(old))]
