"""The night, step by step. Each step takes the state, does one thing, returns what it adds to the state.

The state is plain JSON: it is what the LangGraph checkpointer keeps between two steps, so a night that was killed goes on where it was. Only this module
writes to the ledger and the buffer at night. Nothing the agent uses changes before `promote`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.embeddings import Embeddings

from sleepmem import dreaming, exams, lessons, probing, promotion, replay, seeding
from sleepmem.answers import words
from sleepmem.buffer import Buffer
from sleepmem.config import Level, SleepConfig
from sleepmem.embeddings import cosine
from sleepmem.errors import ConfigError
from sleepmem.experts import LocalModel
from sleepmem.index import reconcile_index
from sleepmem.ledger import Ledger
from sleepmem.prompts import memory_line
from sleepmem.records import Episode, Expert, Kind, Namespace, NightReport, Probe, Role, Score, Verdict, View, now
from sleepmem.running import peak_bytes

_SAME_MEANING = 0.9  # cosine of MiniLM above which two short answers mean the same; paraphrases lie above, other names below


class State(TypedDict, total=False):
    night_id: str
    namespace: list[str]
    level: str
    absorbed: list[str]  # experts whose place tonight's takes: of the level before, for a slower night
    held: list[str]  # episodes that those hold
    seconds: dict[str, float]  # per step
    episodes: list[str]
    before: list[str]  # experts live this evening
    superseded: dict[str, str]  # older episode -> its correction
    by_night: dict[str, float]  # closed-book recall after tonight, by the night a fact was learned
    expert: str
    curve: list[dict[str, float]]
    tokens_trained: int
    tokens_generated: int
    peak_bytes: int
    exam_before: dict[str, list[float]]
    exam_after: dict[str, list[float]]
    passed: list[str]
    dreams: dict[str, Any]  # what became of them
    verdict: str
    reason: str
    evicted: int
    audited: int  # questions of earlier nights that were asked again before tonight
    returned: int


@dataclass(frozen=True)
class Night:
    """What the steps work with. `emit` receives progress: plain dicts with a `step`."""

    ledger: Ledger
    buffer: Buffer
    local: LocalModel
    folder: Path
    config: SleepConfig
    semantic: seeding.Semantic  # the frozen judge of the imitation reward
    emit: Callable[[dict[str, Any]], None] = lambda event: None
    stop: threading.Event | None = None

    def tell(self, **event: Any) -> None:
        """Report progress; a night that was told to stop stops here."""
        self.emit(event)
        if self.stop and self.stop.is_set():
            raise KeyboardInterrupt

    @property
    def experts_folder(self) -> Path:
        return self.folder / "experts"

    def pending(self, name: str) -> Path:
        """Where an expert lies until it is promoted."""
        return self.folder / "pending" / name

    def load(self, state: State, tonight: bool = False) -> tuple[str, ...]:
        """Bring the evening's experts into memory, and tonight's when asked, which replaces those it absorbs; returns the view."""
        before = tuple(state["before"])
        for name in before:
            self.local.load_expert(name, self.experts_folder / name)
        if not tonight:
            return before
        at = self.pending(state["expert"])
        self.local.load_expert(state["expert"], at if at.exists() else self.experts_folder / state["expert"])
        return (*(name for name in before if name not in state["absorbed"]), state["expert"])

    def level(self, state: State) -> Level:
        """The level of tonight's expert.

        Raises:
            ConfigError: the night was begun with other levels.
        """
        for level in self.config.levels:
            if level.name == state["level"]:
                return level
        raise ConfigError(
            f"level {state['level']!r} of the interrupted night is not in SleepConfig.levels; sleep once with the levels it began with."
        )

    def steps(self, state: State) -> int:
        """Of tonight's seeding."""
        return max(self.config.seeding.steps, round(self.level(state).steps_per_episode * len(state["episodes"])))


Step = Callable[[Night, State], State]


def audit(night: Night, state: State) -> State:
    """Examine again what the weights are believed to hold, a sample of it. What fails goes back to the buffer, at once and for tonight to learn anew."""
    namespace = tuple(state["namespace"])
    held = [p for p in night.ledger.learned_probes(namespace, passed=True) if p.kind is Kind.FACT and p.role is Role.EXAM]
    asked = replay.evenly(held, night.config.audit, state["night_id"])
    if state["level"] != night.config.levels[0].name or not asked:
        return {"audited": 0, "returned": 0}
    live = tuple(e.name for e in night.ledger.experts(namespace))
    for name in live:
        night.local.load_expert(name, night.experts_folder / name)
    _, passed = exams.recall(night.local, asked, live)
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
        "expert": _expert_name(state["night_id"], namespace),
        "absorbed": [e.name for e in absorbed],
        "held": sorted({p.episode_id for p in night.ledger.learned_probes(namespace) if p.night_id in nights}),
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
    night.emit({"step": "select", "episodes": len(plan), "demanded": sum(r.reason is replay.Reason.DEMANDED for r in plan)})
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
        some = replay.evenly([p for p in asked if p.kind is Kind.NEVER_SAID], 2 * night.config.rehearse, night.config.seeding.seed)
        unsaid = {p.id for p in probing.unsaid_still(night.local, some, lessons.related(night.ledger, namespace))}
        kept = [p for p in asked if p.kind is not Kind.NEVER_SAID or p.id in unsaid]
        again = [replace(p, id=f"{state['night_id']}-again-{n:05d}", night_id=state["night_id"]) for n, p in enumerate(kept)]
    episodes = [e for e in _episodes(night, state) if e.id not in held]
    if not episodes:
        night.ledger.add_probes(namespace, again)
        return {"superseded": {}, "tokens_generated": 0}
    users: dict[str, list[str]] = {}
    for r in night.ledger.retrievals(namespace, night.ledger.last_promotion(namespace)):
        if r["view"] == View.RETRIEVAL.value:
            for i in r["episodes"]:
                users.setdefault(i, []).append(r["question"])
    made = probing.question(
        night.local, state["night_id"], episodes, lessons.related(night.ledger, namespace), users, night.config.probe, night.config.seeding.seed
    )
    night.ledger.add_probes(namespace, [*(p for p in again if p.episode_id not in made.superseded), *made.probes])
    added: State = {
        "superseded": dict(made.superseded),
        "tokens_generated": made.tokens_generated,
    }
    if not any(p.kind is Kind.FACT for p in made.probes):
        added |= {
            "verdict": Verdict.SKIPPED.value,
            "reason": f"the model could not write one checked question in two wordings about any of {len(episodes)} episodes",
        }
    return added


def expand(night: Night, state: State) -> State:
    before = night.load(state)
    night.local.drop_expert(state["expert"])
    _born(night, state)
    return {"exam_before": _as_lists(_exam(night, state, before)[0])}


def seed(night: Night, state: State) -> State:
    before = night.load(state)
    if state["expert"] not in night.local.experts:  # a resumed night
        _born(night, state)
    config = night.config.seeding
    made = seeding.seed(
        night.local,
        state["expert"],
        before,
        _rows(night, state),
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


def _rows(night: Night, state: State) -> list[seeding.Row]:
    namespace, before = tuple(state["namespace"]), tuple(state["before"])
    return lessons.rows(night.local, night.ledger, namespace, state["night_id"], before, state["superseded"], night.config)


def exam(night: Night, state: State) -> State:
    scores, passed, by_night = _exam(night, state, night.load(state, tonight=True))
    night.ledger.write_exam(state["night_id"], "before", {m: (s[0], int(s[1])) for m, s in state["exam_before"].items()})
    night.ledger.write_exam(state["night_id"], "after", {m: (s.right, s.total) for m, s in scores.items()})
    return {"exam_after": _as_lists(scores), "passed": sorted(passed), "by_night": by_night}


def dream(night: Night, state: State) -> State:
    """Dream about what was learned tonight, with a copy of its expert. The copy takes its place only when the exam says that it answers more."""
    config, namespace, salt = night.config.dream, tuple(state["namespace"]), night.config.seeding.seed
    if not config.rounds or state["level"] != night.config.levels[0].name:
        return {}
    view, dreamer = night.load(state, tonight=True), _expert_name(state["night_id"], namespace)
    night.local.load_expert(dreamer, night.pending(state["expert"]))
    probes = [p for p in night.ledger.probes(state["night_id"]) if not p.id.startswith(_dreamt_id(state["night_id"]))]
    night.ledger.add_probes(namespace, probes)  # without what a killed run of this step has left
    proven = set(proven_episodes(probes, set(state["passed"])))
    facts = [p for p in probes if p.kind is Kind.FACT and p.role is Role.TRAIN]
    related, waking = lessons.related(night.ledger, namespace), _rows(night, state)
    strangers = _strangers(night, namespace, probes)
    tokens = 0

    def told(question: str, context: dreaming.Context) -> list[str]:
        found = {e.id: e for e in (*related(question), *context)}
        return [memory_line(e.date, e.text) for e in sorted(found.values(), key=lambda e: (e.created_at, e.id))]

    def learn(rewarded: list[dreaming.Dream]) -> None:
        nonlocal tokens
        tokens += seeding.seed(
            night.local,
            dreamer,
            tuple(state["before"]),
            [*waking, *lessons.of_dreams(night.local, rewarded, strangers, salt)],
            replace(
                night.config.seeding,
                steps=max(1, round(config.share * night.steps(state) / config.rounds)),
                never_said=config.others,
                rehearsal=config.others,
                reading=config.others,
            ),
            night.semantic,
            lambda step, of, loss: night.tell(step="dream", done=step, of=of, loss=round(loss, 4)),
            absorbed=state["absorbed"],
        ).tokens_trained

    dreams = dreaming.dream(
        night.local,
        dreamer,
        view[:-1],
        [e for e in _episodes(night, state) if e.id in proven],
        [e for e in night.ledger.learned(namespace) if e.id not in state["superseded"]],
        [(p.question, p.answer) for p in replay.evenly(facts, config.examined, salt)],
        {p.question for p in (*probes, *night.ledger.learned_probes(namespace))},
        told,
        learn,
        config,
        salt,
    )
    night.ledger.add_dreams(namespace, state["night_id"], [_dream_row(d) for d in dreams])
    kept = _keep_dreams(night, state, view, dreamer, _dream_probes(state["night_id"], dreams, proven))
    fates = [Counter(d.fate.name.lower() for d in dreams if d.round == n + 1) for n in range(dreams[-1].round if dreams else 0)]
    return {**kept, "dreams": {"rounds": [dict(f) for f in fates], **kept["dreams"]}, "tokens_trained": state["tokens_trained"] + tokens}


def decide(night: Night, state: State) -> State:
    verdict, reason = promotion.decide(_bounds(state), _as_scores(state["exam_after"]), night.config.exam)
    return {"verdict": verdict.value, "reason": reason}


def _bounds(state: State) -> dict[str, Score]:
    """What tonight is held against: the evening's model, and the base itself where that is the better one."""
    before = _as_scores(state["exam_before"])
    return {**before, "abstention": before["base_abstention"], "reading": before["base_reading"]}


def promote(night: Night, state: State) -> State:
    """Rename the folder, then one transaction. Runs again harmlessly."""
    if state["verdict"] != Verdict.PROMOTED:
        return {}
    at, target = night.pending(state["expert"]), night.experts_folder / state["expert"]
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        at.rename(target)
    proven = proven_episodes(night.ledger.probes(state["night_id"]), set(state["passed"]))
    level, lineage = night.level(state), state["absorbed"] or state["episodes"]
    expert = Expert(state["expert"], tuple(state["namespace"]), state["night_id"], level.name, level.rank, now(), tuple(lineage), True)
    night.ledger.promote(expert, proven, _replaced(state, proven), state["passed"], state["absorbed"])
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
    return {"evicted": len(set(state["episodes"]) - held - left), "returned": state["returned"] + len(held & left)}


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
    "dream": dream,
    "decide": decide,
    "promote": promote,
    "prune": prune,
    "report": report,
}


def run(step: str, night: Night, state: State) -> State:
    """One step, timed and announced."""
    began = time.time()
    night.tell(step=step, state="started")
    added = STEPS[step](night, state)
    seconds = round(time.time() - began, 2)
    night.emit({"step": step, "state": "finished", "seconds": seconds})
    return {**added, "seconds": {**state.get("seconds", {}), step: seconds}, "peak_bytes": max(peak_bytes(), state.get("peak_bytes", 0))}


def semantic(embeddings: Embeddings) -> seeding.Semantic:
    """The semantic reward by default: 1 when the embeddings of two answers are near."""

    def judge(made: str, wanted: str) -> float:
        if made == wanted:
            return 1.0
        a, b = embeddings.embed_documents([made or "nothing", wanted])
        return float(cosine(a, b) >= _SAME_MEANING)

    return judge


def proven_episodes(probes: Sequence[Probe], passed: set[str]) -> list[str]:
    """Episodes all of whose exam probes were passed closed-book."""
    facts = [p for p in probes if p.kind is Kind.FACT and p.role is Role.EXAM]
    failed = {p.episode_id for p in facts if p.id not in passed}
    return sorted({p.episode_id for p in facts} - failed)


def _keep_dreams(night: Night, state: State, view: tuple[str, ...], dreamer: str, dreamt: Sequence[Probe]) -> State:
    """The dreamer takes the expert's place when it answers more of the held-out dreams, and no bound of the exam is broken by it."""
    before = _exam(night, state, view, dreamt)[0]
    after, passed, by_night = _exam(night, state, (*view[:-1], dreamer), dreamt)
    night.ledger.write_exam(state["night_id"], "dreamt", {m: (s.right, s.total) for m, s in after.items()})
    least = max(0.0, before["recall"].rate - night.config.exam.old_nights)
    verdict, reason = promotion.decide(_bounds(state), after, replace(night.config.exam, recall=least))
    told = {"before": before["dreams"].as_dict(), "after": after["dreams"].as_dict(), "kept": True}
    if after["dreams"].right <= before["dreams"].right or verdict is not Verdict.PROMOTED:
        night.local.drop_expert(dreamer)
        reason = reason if verdict is not Verdict.PROMOTED else "it does not answer more of the held-out dreams"
        return {"dreams": {**told, "kept": False, "reason": reason}}
    night.ledger.add_probes(tuple(state["namespace"]), [*night.ledger.probes(state["night_id"]), *dreamt])
    night.local.save_expert(dreamer, night.pending(dreamer))
    return {"dreams": told, "expert": dreamer, "exam_after": _as_lists(after), "passed": sorted(passed), "by_night": by_night}


def _strangers(night: Night, namespace: Namespace, probes: Sequence[Probe]) -> list[str]:
    """Whom tonight's readings made up: nothing in the ledger names them."""
    named = {w for e in night.ledger.episodes(namespace) for w in words(e.text)}
    subjects = {probing.subject(p.question) for p in probes if p.kind is Kind.READING}
    return sorted(s for s in subjects if s and not set(words(s)) & named)


def _dream_row(d: dreaming.Dream) -> dict[str, Any]:
    """As the ledger keeps it."""
    kept = ("round", "expert", "text", "question", "answer", "importance", "gain")
    return {**{k: getattr(d, k) for k in kept}, "fate": d.fate.value, "episodes": json.dumps([e.id for e in d.context])}


def _dreamt_id(night_id: str) -> str:
    """How the ids of a night's own dreams begin."""
    return f"{night_id}-dream-"


def _dream_probes(night_id: str, dreams: Sequence[dreaming.Dream], tonight: set[str]) -> list[Probe]:
    """Rewarded dreams are rehearsed by later nights; held-out ones examine."""
    roles = {dreaming.Fate.REWARDED: Role.TRAIN, dreaming.Fate.HELD_OUT: Role.EXAM}
    return [
        Probe(
            f"{_dreamt_id(night_id)}{n:05d}",
            next(e.id for e in reversed(d.context) if e.id in tonight),
            night_id,
            Kind.DREAM,
            roles[d.fate],
            d.question,
            d.answer,
            context=tuple(d.lines),
            sources=tuple(e.id for e in d.context),
        )
        for n, d in enumerate(dreams)
        if d.fate in roles
    ]


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
            "before": {m: s.as_dict() for m, s in _as_scores(before).items()},
            "after": {m: s.as_dict() for m, s in _as_scores(after).items()},
            "seconds": seconds,
            "tokens_generated": state.get("tokens_generated", 0),
            "peak_bytes": state.get("peak_bytes", 0),
            "by_night": state.get("by_night", {}),
            "dreams": state.get("dreams", {}),
        },
        curve=tuple(state.get("curve", [])),
    )


def _exam(night: Night, state: State, experts: Sequence[str], dreamt: Sequence[Probe] = ()) -> tuple[dict[str, Score], set[str], dict[str, float]]:
    """The scores, the ids of tonight's probes that were passed, and recall by night; `dreamt` are probes beside those of the ledger."""
    most, local = night.config.exam.most, night.local
    probes = [*night.ledger.probes(state["night_id"]), *dreamt]
    facts = [p for p in probes if p.kind is Kind.FACT]
    tonight = [p for p in facts if p.role is Role.EXAM]
    learned = [p for p in night.ledger.learned_probes(tuple(state["namespace"])) if p.kind is Kind.FACT and p.role is Role.EXAM]
    earlier = replay.evenly([p for p in learned if p.episode_id not in state["superseded"]], most, night.config.seeding.seed)
    unsaid = [p.question for p in probes if p.kind is Kind.NEVER_SAID and p.role is Role.EXAM][:most]
    readings = [p for p in probes if p.kind is Kind.READING and p.role is Role.EXAM][:most]
    kept, still = exams.recall(local, earlier, experts)
    recalled, passed = exams.recall(local, tonight, experts)
    by_night = _by_night([*earlier, *tonight], still | passed)
    dreams, answered = exams.recall(local, [p for p in probes if p.kind is Kind.DREAM and p.role is Role.EXAM], experts)
    more = [p for p in probes if p.role is Role.TRAIN and p.kind in (Kind.FACT, Kind.DREAM)]  # the gate may trust these wordings too
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


def _replaced(state: State, proven: Sequence[str]) -> list[str]:
    """Superseded episodes whose correction was proven tonight."""
    return [old for old, new in state["superseded"].items() if new in set(proven)]


def _episodes(night: Night, state: State) -> list[Episode]:
    """Tonight's; one that fills more than half of the context cannot be asked about and waits in the buffer."""
    chosen, most = set(state["episodes"]), night.local.context_length // 2
    return [e for e in night.ledger.episodes(tuple(state["namespace"])) if e.id in chosen and night.local.count_tokens(e.text) <= most]


def _expert_name(night_id: str, namespace: Namespace) -> str:
    """Never used twice: the night, the owner, the moment."""
    return f"{night_id}-{hashlib.sha256(repr((night_id, namespace, now())).encode()).hexdigest()[:8]}"


def _as_lists(scores: dict[str, Score]) -> dict[str, list[float]]:
    return {m: [s.right, s.total] for m, s in scores.items()}


def _as_scores(lists: dict[str, list[float]]) -> dict[str, Score]:
    return {m: Score(right, int(total)) for m, (right, total) in lists.items()}
