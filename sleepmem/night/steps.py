"""The night, step by step. Each step takes the state, does one thing, returns what it adds to the state.

A night that was killed goes on where it was (`night_state`). Only the steps write to the ledger and the buffer at night. Nothing the agent uses
changes before `promote`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from langchain_core.embeddings import Embeddings

from sleepmem.night import exam as night_exam
from sleepmem.night import lessons, promotion, replay, seeding
from sleepmem.night import measures as exams
from sleepmem.night.dreaming import step as night_dream
from sleepmem.night.probing import probe as probing
from sleepmem.night.state import Night, State, expert_name
from sleepmem.night.summary import peak_bytes
from sleepmem.records import Expert, Kind, NightReport, Probe, Role, Verdict, View, now
from sleepmem.stores import expert_folder
from sleepmem.stores.agreement import reconcile_index
from sleepmem.text.embeddings import cosine

_SAME_MEANING = 0.9  # cosine of MiniLM above which two short answers mean the same; paraphrases lie above, other names below
Step = Callable[[Night, State], State]


def audit(night: Night, state: State) -> State:
    """Examine again what the weights are believed to hold, a sample of it. A fact that fails goes back to the buffer, at once and for tonight to learn
    anew; a dream that fails is no longer answered from the weights."""
    namespace = tuple(state["namespace"])
    held = night.ledger.learned_probes(namespace, passed=True)
    asked = replay.evenly(
        [p for p in held if p.kind is Kind.FACT and p.role is Role.EXAM],
        night.config.audit,
        state["night_id"],
    )
    dreamt = replay.evenly(
        [p for p in held if p.kind is Kind.DREAM], night.config.audit, state["night_id"]
    )
    if state["level"] != night.config.levels[0].name or not asked:
        return {"audited": 0, "returned": 0}
    live = tuple(e.name for e in night.ledger.experts(namespace))
    for name in live:
        night.local.load_expert(name, night.experts_folder / name)
    _, passed = exams.recall(night.local, [*asked, *dreamt], live)
    night.ledger.distrust(p.id for p in dreamt if p.id not in passed)
    lost = sorted({p.episode_id for p in asked if p.id not in passed})
    night.ledger.take_back(lost)
    reconcile_index(night.ledger, night.buffer, namespace)
    return {"audited": len(asked), "returned": len(lost)}


def select(night: Night, state: State) -> State:
    namespace = tuple(state["namespace"])
    live = night.ledger.experts(namespace)
    levels = [x.name for x in night.config.levels]
    at = levels.index(night.level(state).name)
    absorbed = [e for e in live if (e.level == levels[at - 1] if at else not night.config.expand)]
    nights = {e.night_id for e in absorbed}
    added: State = {
        "before": [e.name for e in live],
        "expert": expert_name(state),
        "absorbed": [e.name for e in absorbed],
        "held": sorted(
            {p.episode_id for p in night.ledger.learned_probes(namespace) if p.night_id in nights}
        ),
    }
    if at:
        return {**added, "episodes": added["held"]}
    buffered = night.ledger.buffered(namespace)
    demand: dict[str, int] = {}
    for r in night.ledger.retrievals(namespace, night.ledger.last_promotion(namespace)):
        for i in r["episodes"]:
            demand[i] = demand.get(i, 0) + 1
    plan = replay.select(buffered, demand, night.config.replay_budget, night.config.untrusted)
    added["episodes"] = [*added["held"], *(r.episode_id for r in plan)]
    night.emit(
        {
            "step": "select",
            "episodes": len(plan),
            "demanded": sum(r.reason is replay.Reason.DEMANDED for r in plan),
        }
    )
    if not plan:
        left = f"; {len(buffered)} from untrusted sources stay in the buffer" if buffered else ""
        added |= {"verdict": Verdict.SKIPPED.value, "reason": f"nothing to learn{left}"}
    return added


def probe(night: Night, state: State) -> State:
    """Question tonight's episodes; what tonight's expert takes over from others is asked again as those were asked."""
    namespace = tuple(state["namespace"])
    again: list[Probe] = []
    if held := set(state["held"]):
        asked = [p for p in night.ledger.learned_probes(namespace) if p.episode_id in held]
        some = replay.evenly(
            [p for p in asked if p.kind is Kind.NEVER_SAID],
            night.config.rehearse,
            night.config.seeding.seed,
        )
        unsaid = {
            p.id
            for p in probing.unsaid_still(
                night.local, some, lessons.related(night.ledger, namespace)
            )
        }
        kept = [p for p in asked if p.kind is not Kind.NEVER_SAID or p.id in unsaid]
        again = [
            replace(p, id=f"{state['night_id']}-again-{n:05d}", night_id=state["night_id"])
            for n, p in enumerate(kept)
        ]
    episodes = [e for e in night.episodes(state) if e.id not in held]
    if not episodes:
        night.ledger.add_probes(namespace, again)
        return {"superseded": {}}
    users: dict[str, list[str]] = {}
    for r in night.ledger.retrievals(namespace, night.ledger.last_promotion(namespace)):
        if r["view"] == View.RETRIEVAL.value:
            for i in r["episodes"]:
                users.setdefault(i, []).append(r["question"])
    made = probing.question(
        night.local,
        state["night_id"],
        episodes,
        lessons.related(night.ledger, namespace),
        users,
        night.config.probe,
        night.config.seeding.seed,
    )
    night.ledger.add_probes(
        namespace, [*(p for p in again if p.episode_id not in made.superseded), *made.probes]
    )
    added: State = {"superseded": dict(made.superseded)}
    if not any(p.kind is Kind.FACT for p in made.probes):
        reason = f"the model could not write one checked question in two wordings about any of {len(episodes)} episodes"
        if made.superseded.keys() >= {e.id for e in episodes}:
            reason = "nothing to learn; newer episodes say otherwise than those in the buffer"
        added |= {"verdict": Verdict.SKIPPED.value, "reason": reason}
    return added


def expand(night: Night, state: State) -> State:
    before = night.load(state)
    night.local.drop_expert(state["expert"])
    _born(night, state)
    return {"exam_before": night_exam.as_lists(night_exam.examine(night, state, before)[0])}


def seed(night: Night, state: State) -> State:
    before = night.load(state)
    if state["expert"] not in night.local.experts:  # a resumed night
        _born(night, state)
    config = night.config.seeding
    made = seeding.seed(
        night.local,
        state["expert"],
        before,
        night.rows(state),
        replace(config, steps=night.steps(state)),
        night.semantic,
        lambda step, steps, loss: night.tell(step="seed", done=step, of=steps, loss=round(loss, 4)),
        absorbed=state["absorbed"],
    )
    at = night.pending(state["expert"])
    at.parent.mkdir(exist_ok=True)
    shutil.rmtree(at, ignore_errors=True)
    night.local.save_expert(state["expert"], at)
    return {"curve": list(made.curve), "tokens_trained": made.tokens_trained}


def _born(night: Night, state: State) -> None:
    """A new expert; without expansion it begins as the one whose place it takes."""
    if state["absorbed"] and not night.config.expand:
        night.local.load_expert(state["expert"], night.experts_folder / state["absorbed"][-1])
    else:
        night.local.add_expert(state["expert"], night.level(state).rank, night.config.seeding.seed)


def exam(night: Night, state: State) -> State:
    scores, passed, by_night = night_exam.examine(night, state, night.load(state, tonight=True))
    night.ledger.write_exam(
        state["night_id"], "before", {m: (s[0], int(s[1])) for m, s in state["exam_before"].items()}
    )
    night.ledger.write_exam(
        state["night_id"], "after", {m: (s.right, s.total) for m, s in scores.items()}
    )
    return {
        "exam_after": night_exam.as_lists(scores),
        "passed": sorted(passed),
        "by_night": by_night,
    }


def decide(night: Night, state: State) -> State:
    verdict, reason = promotion.decide(
        night_exam.bounds(state), night_exam.as_scores(state["exam_after"]), night.config.exam
    )
    return {"verdict": verdict.value, "reason": reason}


def promote(night: Night, state: State) -> State:
    """Rename the folder, then one transaction. Runs again harmlessly."""
    if state["verdict"] != Verdict.PROMOTED:
        return {}
    at, target = night.pending(state["expert"]), night.experts_folder / state["expert"]
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        at.rename(target)
    proven = night_exam.proven_episodes(
        night.ledger.probes(state["night_id"]), set(state["passed"])
    )
    namespace, level, lineage = (
        tuple(state["namespace"]),
        night.level(state),
        state["absorbed"] or state["episodes"],
    )
    ranks = {e.name: e.rank for e in night.ledger.experts(namespace, live=False)}
    rank = (
        level.rank
        if night.config.expand
        else ranks.get((state["absorbed"] or [""])[-1], level.rank)
    )  # else that of the one it began as
    expert = Expert(
        state["expert"], namespace, state["night_id"], level.name, rank, now(), tuple(lineage), True
    )
    held = {*proven, *(e.id for e in night.ledger.learned(namespace))}
    night.ledger.promote(
        expert, proven, _replaced(state["superseded"], held), state["passed"], state["absorbed"]
    )
    return {}


def prune(night: Night, state: State) -> State:
    """Bring the index in line with the ledger: the proven episodes leave, their questions become known."""
    if state["verdict"] != Verdict.PROMOTED:
        night.local.drop_expert(state["expert"])
        _clear_pending(night, state)
        return {"evicted": 0}
    namespace = tuple(state["namespace"])
    _clear_pending(night, state)
    reconcile_index(night.ledger, night.buffer, namespace)
    left, held = {e.id for e in night.ledger.buffered(namespace)}, set(state["held"])
    return {
        "evicted": len(set(state["episodes"]) - held - left),
        "returned": state["returned"] + len(held & left),
        "expert_bytes": sum(
            expert_folder.size(night.experts_folder / e.name)
            for e in night.ledger.experts(namespace)
        ),
        "text_bytes": sum(len(e.text.encode()) for e in night.ledger.learned(namespace)),
    }


def _clear_pending(night: Night, state: State) -> None:
    for path in night.pending(state["expert"]).parent.glob(f"{state['night_id']}-*"):
        shutil.rmtree(path, ignore_errors=True)


def report(night: Night, state: State) -> State:
    made = report_of(state)
    night.ledger.finish_night(state["night_id"], made.verdict, made.reason, made.as_dict())
    night.emit({"step": "report", "verdict": made.verdict.value, "reason": made.reason})
    return {}


STEPS: dict[str, Step] = {
    "audit": audit,
    "select": select,
    "probe": probe,
    "expand": expand,
    "seed": seed,
    "exam": exam,
    "dream": night_dream.dream,
    "decide": decide,
    "promote": promote,
    "prune": prune,
    "report": report,
}


def run(step: str, night: Night, state: State) -> State:
    """One step, timed and announced."""
    began, generated = time.time(), night.local.tokens_generated
    night.tell(step=step, state="started")
    added = STEPS[step](night, state)
    seconds = round(time.time() - began, 2)
    night.emit({"step": step, "state": "finished", "seconds": seconds})
    return {
        **added,
        "seconds": {**state.get("seconds", {}), step: seconds},
        "tokens_generated": state.get("tokens_generated", 0)
        + night.local.tokens_generated
        - generated,
        "peak_bytes": max(peak_bytes(), state.get("peak_bytes", 0)),
    }


def semantic(embeddings: Embeddings) -> seeding.Semantic:
    """The semantic reward by default: 1 when the embeddings of two answers are near."""

    def judge(made: str, wanted: str) -> float:
        if made == wanted:
            return 1.0
        a, b = embeddings.embed_documents([made or "nothing", wanted])
        return float(cosine(a, b) >= _SAME_MEANING)

    return judge


def _replaced(superseded: Mapping[str, str], held: Collection[str]) -> list[str]:
    """Superseded episodes (old: new) whose correction, or what corrected that in turn, is in the weights."""

    def corrections(i: str) -> Iterator[str]:
        while i in superseded:  # each is newer than the one before
            yield (i := superseded[i])

    return [old for old in superseded if any(new in held for new in corrections(old))]


def report_of(state: State) -> NightReport:
    before, after = state.get("exam_before", {}), state.get("exam_after", {})
    seconds = state.get("seconds", {})
    return NightReport(
        night_id=state["night_id"],
        namespace=tuple(state["namespace"]),
        verdict=Verdict(state["verdict"]),
        reason=state["reason"],
        expert=state.get("expert") if state["verdict"] == Verdict.PROMOTED else None,
        level=state.get("level", ""),
        absorbed=len(state.get("absorbed", [])),
        episodes=len(state.get("episodes", [])),
        evicted=state.get("evicted", 0),
        audited=state.get("audited", 0),
        returned=state.get("returned", 0),
        seconds=round(sum(seconds.values()), 1),
        tokens_trained=state.get("tokens_trained", 0),
        exam={
            "before": {m: s.as_dict() for m, s in night_exam.as_scores(before).items()},
            "after": {m: s.as_dict() for m, s in night_exam.as_scores(after).items()},
            "seconds": seconds,
            "tokens_generated": state.get("tokens_generated", 0),
            "peak_bytes": state.get("peak_bytes", 0),
            "expert_bytes": state.get("expert_bytes", 0),
            "text_bytes": state.get("text_bytes", 0),
            "by_night": state.get("by_night", {}),
            "dreams": state.get("dreams", {}),
        },
        curve=tuple(state.get("curve", [])),
    )
