"""The night, step by step. Each step takes the state, does one thing, returns what it adds to the state.

The state is plain JSON: it is what the LangGraph checkpointer keeps between two steps, so a night that was killed goes on where it was. Only this module
writes to the ledger and the buffer at night. Nothing the agent uses changes before `promote`.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.embeddings import Embeddings

from sleepmem import exams, probing, promotion, replay, seeding
from sleepmem.buffer import Buffer
from sleepmem.config import Level, SleepConfig
from sleepmem.embeddings import cosine
from sleepmem.errors import ConfigError
from sleepmem.experts import LocalModel
from sleepmem.index import reconcile_index
from sleepmem.ledger import Ledger
from sleepmem.prompts import GENERAL, closed_book, memory_line, open_book
from sleepmem.records import Episode, Expert, Kind, Namespace, NightReport, Probe, Role, Score, Verdict, View, now

_GENERAL_TIMES = 3  # weight of the general prompts among the never-said questions
_SAME_MEANING = 0.9  # cosine of MiniLM above which two short answers mean the same; paraphrases lie above, other names below


class State(TypedDict, total=False):
    night_id: str
    namespace: list[str]
    level: str
    absorbed: list[str]  # experts of the level before, which a slower night replaces
    seconds: dict[str, float]  # per step
    episodes: list[str]
    before: list[str]  # experts live this evening
    superseded: dict[str, str]  # older episode -> its correction
    by_night: dict[str, float]  # closed-book recall after tonight, by the night a fact was learned
    expert: str
    curve: list[dict[str, float]]
    tokens_trained: int
    tokens_generated: int
    exam_before: dict[str, list[float]]
    exam_after: dict[str, list[float]]
    passed: list[str]
    verdict: str
    reason: str
    evicted: int
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


Step = Callable[[Night, State], State]


def select(night: Night, state: State) -> State:
    namespace = tuple(state["namespace"])
    live = night.ledger.experts(namespace)
    evening: State = {"before": [e.name for e in live], "expert": _expert_name(state["night_id"], namespace), "absorbed": []}
    levels = [x.name for x in night.config.levels]
    if at := levels.index(night.level(state).name):
        absorbed = [e for e in live if e.level == levels[at - 1]]
        nights = {e.night_id for e in absorbed}
        held = sorted({p.episode_id for p in night.ledger.learned_probes(namespace) if p.night_id in nights})
        return {**evening, "episodes": held, "absorbed": [e.name for e in absorbed]}
    buffered = night.ledger.buffered(namespace)
    demand: dict[str, int] = {}
    for r in night.ledger.retrievals(namespace, night.ledger.last_promotion(namespace)):
        for i in r["episodes"]:
            demand[i] = demand.get(i, 0) + 1
    plan = replay.select(buffered, demand, night.config.replay_budget, night.config.untrusted)
    added: State = {**evening, "episodes": [r.episode_id for r in plan]}
    night.emit({"step": "select", "episodes": len(plan), "demanded": sum(r.reason is replay.Reason.DEMANDED for r in plan)})
    if not plan:
        left = f"; {len(buffered)} from untrusted sources stay in the buffer" if buffered else ""
        added |= {"verdict": Verdict.SKIPPED.value, "reason": f"nothing to learn{left}"}
    return added


def probe(night: Night, state: State) -> State:
    """Question tonight's episodes; a slower night asks again what the faster nights asked."""
    namespace = tuple(state["namespace"])
    if state["absorbed"]:
        asked = [p for p in night.ledger.learned_probes(namespace) if p.episode_id in set(state["episodes"])]
        some = replay.evenly([p for p in asked if p.kind is Kind.NEVER_SAID], 2 * night.config.rehearse, night.config.seeding.seed)
        unsaid = {p.id for p in probing.unsaid_still(night.local, some, _related(night, namespace))}
        kept = [p for p in asked if p.kind is not Kind.NEVER_SAID or p.id in unsaid]
        again = [replace(p, id=f"{state['night_id']}-{n:05d}", night_id=state["night_id"]) for n, p in enumerate(kept)]
        night.ledger.add_probes(namespace, again)
        return {"superseded": {}, "tokens_generated": 0}
    episodes = _episodes(night, state)
    users: dict[str, list[str]] = {}
    for r in night.ledger.retrievals(namespace, night.ledger.last_promotion(namespace)):
        if r["view"] == View.RETRIEVAL.value:
            for i in r["episodes"]:
                users.setdefault(i, []).append(r["question"])
    made = probing.question(
        night.local, state["night_id"], episodes, _related(night, namespace), users, night.config.probe, night.config.seeding.seed
    )
    night.ledger.add_probes(namespace, made.probes)
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
    night.local.add_expert(state["expert"], night.level(state).rank, night.config.seeding.seed)
    return {"exam_before": _as_lists(_exam(night, state, before)[0])}


def seed(night: Night, state: State) -> State:
    before = night.load(state)
    if state["expert"] not in night.local.experts:  # a resumed night
        night.local.add_expert(state["expert"], night.level(state).rank, night.config.seeding.seed)
    config = night.config.seeding
    made = seeding.seed(
        night.local,
        state["expert"],
        before,
        rows(night, state, before),
        replace(config, steps=max(config.steps, round(night.level(state).steps_per_episode * len(state["episodes"])))),
        night.semantic,
        lambda step, steps, loss: night.tell(step="seed", done=step, of=steps, loss=round(loss, 4)),
        absorbed=state["absorbed"],
    )
    at = night.pending(state["expert"])
    at.parent.mkdir(exist_ok=True)
    shutil.rmtree(at, ignore_errors=True)
    night.local.save_expert(state["expert"], at)
    return {"curve": list(made.curve), "tokens_trained": made.tokens_trained}


def exam(night: Night, state: State) -> State:
    scores, passed, by_night = _exam(night, state, night.load(state, tonight=True))
    night.ledger.write_exam(state["night_id"], "before", {m: (s[0], int(s[1])) for m, s in state["exam_before"].items()})
    night.ledger.write_exam(state["night_id"], "after", {m: (s.right, s.total) for m, s in scores.items()})
    return {"exam_after": _as_lists(scores), "passed": sorted(passed), "by_night": by_night}


def decide(night: Night, state: State) -> State:
    before, after = _as_scores(state["exam_before"]), _as_scores(state["exam_after"])
    base = {**before, "abstention": before["base_abstention"], "reading": before["base_reading"]}
    verdict, reason = promotion.decide(base, after, night.config.exam)
    return {"verdict": verdict.value, "reason": reason}


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
        shutil.rmtree(night.pending(state["expert"]), ignore_errors=True)
        return {"evicted": 0}
    namespace = tuple(state["namespace"])
    reconcile_index(night.ledger, night.buffer, namespace)
    left = set(state["episodes"]) & {e.id for e in night.ledger.buffered(namespace)}
    if state["absorbed"]:
        return {"evicted": 0, "returned": len(left)}
    return {"evicted": len(state["episodes"]) - len(left), "returned": 0}


def report(night: Night, state: State) -> State:
    made = report_of(state)
    night.ledger.finish_night(state["night_id"], made.verdict, made.reason, made.as_dict())
    night.emit({"step": "report", "verdict": made.verdict.value, "reason": made.reason})
    return {}


STEPS: dict[str, Step] = {
    "select": select,
    "probe": probe,
    "expand": expand,
    "seed": seed,
    "exam": exam,
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
    return {**added, "seconds": {**state.get("seconds", {}), step: seconds}}


def rows(night: Night, state: State, before: tuple[str, ...]) -> list[seeding.Row]:
    """Tonight's teaching rows, of the four kinds. What an earlier night taught and the evening's model has forgotten is taught again, like tonight's."""
    namespace = tuple(state["namespace"])
    episodes = {e.id: e for e in night.ledger.episodes(namespace)}
    made: list[seeding.Row] = []

    def fact(p: Probe) -> seeding.Row:
        e = episodes[p.episode_id]
        return seeding.Row(seeding.RowKind.FACT, closed_book(p.question), open_book(p.question, [memory_line(e.date, e.text)]), p.answer)

    def reading(p: Probe) -> seeding.Row:
        return _same(seeding.RowKind.READING, open_book(p.question, p.context), p.answer)

    for p in night.ledger.probes(state["night_id"]):
        if p.role is Role.EXAM:
            continue
        if p.kind is Kind.FACT:
            made.append(fact(p))
        elif p.kind is Kind.READING:
            made.append(reading(p))
        else:
            made.append(_same(seeding.RowKind.NEVER_SAID, closed_book(p.question), p.answer))
    earlier = [p for p in night.ledger.learned_probes(namespace) if p.role is Role.TRAIN and p.episode_id not in state["superseded"]]
    most, salt = night.config.rehearse, night.config.seeding.seed
    rehearsed = replay.evenly([p for p in earlier if p.kind is Kind.FACT], most, salt)
    _, remembered = exams.recall(night.local, rehearsed, before)
    made += [_same(seeding.RowKind.REHEARSAL, closed_book(p.question), p.answer) if p.id in remembered else fact(p) for p in rehearsed]
    for p in replay.evenly([p for p in earlier if p.kind is Kind.READING], most, salt):
        made.append(reading(p))
    unsaid = replay.evenly([p for p in earlier if p.kind is Kind.NEVER_SAID], most, salt)
    for p in probing.unsaid_still(night.local, unsaid, _related(night, namespace)):
        made.append(_same(seeding.RowKind.NEVER_SAID, closed_book(p.question), p.answer))
    general = [closed_book(q) for q in GENERAL]
    for chat, answer in zip(general, night.local.answer(general, (), night.config.seeding.max_new_tokens), strict=True):
        made += [_same(seeding.RowKind.NEVER_SAID, chat, answer)] * _GENERAL_TIMES
    return made


def _same(kind: seeding.RowKind, chat: tuple[dict[str, str], ...], answer: str) -> seeding.Row:
    """A row that both views are asked alike."""
    return seeding.Row(kind, chat, chat, answer)


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
        returned=state.get("returned", 0),
        seconds=round(sum(seconds.values()), 1),
        tokens_trained=state.get("tokens_trained", 0),
        exam={
            "before": {m: s.as_dict() for m, s in _as_scores(before).items()},
            "after": {m: s.as_dict() for m, s in _as_scores(after).items()},
            "seconds": seconds,
            "tokens_generated": state.get("tokens_generated", 0),
            "by_night": state.get("by_night", {}),
        },
        curve=tuple(state.get("curve", [])),
    )


def _exam(night: Night, state: State, experts: Sequence[str]) -> tuple[dict[str, Score], set[str], dict[str, float]]:
    """The scores, the ids of tonight's probes that were passed, and recall by night."""
    most, local = night.config.exam.most, night.local
    probes = night.ledger.probes(state["night_id"])
    facts = [p for p in probes if p.kind is Kind.FACT]
    tonight = [p for p in facts if p.role is Role.EXAM]
    learned = [p for p in night.ledger.learned_probes(tuple(state["namespace"])) if p.kind is Kind.FACT and p.role is Role.EXAM]
    earlier = replay.evenly([p for p in learned if p.episode_id not in state["superseded"]], most, night.config.seeding.seed)
    unsaid = [p.question for p in probes if p.kind is Kind.NEVER_SAID and p.role is Role.EXAM][:most]
    readings = [p for p in probes if p.kind is Kind.READING and p.role is Role.EXAM][:most]
    kept, still = exams.recall(local, earlier, experts)
    recalled, passed = exams.recall(local, tonight, experts)
    by_night = _by_night([*earlier, *tonight], still | passed)
    passed |= exams.recall(local, [p for p in facts if p.role is Role.TRAIN], experts)[1]  # the gate may trust these wordings too
    scores = {
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


def _related(night: Night, namespace: Namespace) -> Callable[[str], Sequence[Episode]]:
    """What the archive holds about a question, for the teacher's context."""
    return functools.cache(lambda q: night.ledger.search(namespace, q, 8))


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
