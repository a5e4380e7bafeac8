"""Seven days in the life of an agent: talk by day, sleep by night, on the embedded model.

Three agents live the same days, on the same model, and are asked the same questions: one without
memory, one that retrieves and never sleeps, one that sleeps. Facts reach them through a LangChain
agent in conversation; names and values were never seen in training; half of the questions are in
wordings that the base was not trained on (a night may have learned one that a user asked by day).
`sleepmem demo` runs one seed, `make bench-nights` three.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from langchain.agents import create_agent

from sleepmem.config import GateConfig, MemoryConfig
from sleepmem.embedded import relations, world
from sleepmem.embedded.misses import near_misses
from sleepmem.embedded.world import Fact, Key, Subject
from sleepmem.evals.questions import Question, about_fact, ask_all, is_right, reading_questions
from sleepmem.evals.week_figures import mean, summary
from sleepmem.memory import SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.model.local import LocalModel
from sleepmem.records import NightReport, View, now
from sleepmem.report.data import cost
from sleepmem.report.draw import write
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.prompts import closed_book

OWNER = ("demo",)
# A reader of 0.9 M parameters takes one memory for another where there are more (docs/lab).
OF_THE_WEEK = MemoryConfig(gate=GateConfig(memories_per_question=3))
Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Week:
    """How long, how much.

    days           that are lived, with a night after each
    facts          new ones a day
    corrections    of them, from the second day on, new values for older facts
    asked_earlier  questions a day about facts of earlier days, at most
    never_said     questions a day about things never said
    reading        unseen facts read from the context after each night
    near_misses    facts a day about which near misses are asked, at most
    """

    days: int = 7
    facts: int = 20
    corrections: int = 2
    asked_earlier: int = 60
    never_said: int = 20
    reading: int = 200
    near_misses: int = 20


@dataclass
class Life:
    """What was said so far.

    rng       of every choice
    by_day    the facts of each day
    current   what holds now
    stale     the values that were corrected
    subjects  whom the facts are about
    """

    rng: random.Random
    by_day: list[list[Fact]] = field(default_factory=list)
    current: dict[tuple[str, str], Fact] = field(default_factory=dict)
    stale: dict[tuple[str, str], str] = field(default_factory=dict)
    subjects: list[Subject] = field(default_factory=list)

    def new_day(self, week: Week) -> list[Fact]:
        """The facts of one more day: corrections first, then news about subjects of that day."""
        today = self._corrections(week.corrections)
        fresh = [world.subject(self.rng, True) for _ in range(week.facts // 4)]
        self.subjects += fresh
        told = {fact.key for fact in today}
        while len(today) < week.facts:
            fact = world.fact(self.rng, self.rng.choice(fresh), test=True)
            if fact.key not in self.current and fact.key not in told:
                told.add(fact.key)
                today.append(fact)

        for fact in today:
            self.current[fact.key] = fact
        self.by_day.append(today)
        return today

    def _corrections(self, count: int) -> list[Fact]:
        """New values for older facts; none on the first day."""
        corrections: list[Fact] = []
        earlier = list(self.current.values())
        if earlier:
            for old in self.rng.sample(earlier, count):
                self.stale[old.key] = old.value
                corrections.append(world.corrected(self.rng, old, test=True))
        return corrections

    def holding(self, day: int) -> list[Fact]:
        """Facts of that day that were not corrected since."""
        return [fact for fact in self.by_day[day] if self.current[fact.key] == fact]

    def unsaid(self, count: int) -> list[Key]:
        """Half about strangers, half about relations of known subjects that were never told."""
        keys: list[Key] = []
        while len(keys) < count:
            is_known = len(keys) % 2
            about = self.rng.choice(self.subjects) if is_known else world.subject(self.rng, True)
            key = Key(about.name, self.rng.choice(relations.KINDS[about.kind].relations))
            if key not in self.current:
                keys.append(key)
        return keys

    def question(self, key: Key) -> str:
        """A question for the key, half of the time in a held-out wording."""
        return world.ask(self.rng, key, held_out=self.rng.random() < 0.5)


class Asked(NamedTuple):
    """A question of the user; `wanted` is None where nobody told the answer."""

    question: str
    wanted: str | None
    is_earlier: bool = False


class Turn(NamedTuple):
    """What came of a question; the memory tokens are those that were put into the prompt.

    `is_from_weights`: what was answered came from the weights, with no second look.
    """

    is_right: bool
    is_retrieved: bool
    memory_tokens: int
    is_from_weights: bool = False


class Arm(NamedTuple):
    """One of the agents, with its memory if it has one."""

    agent: Any
    memory: SleepMemory | None


def seeded(config: MemoryConfig, seed: int) -> MemoryConfig:
    """These settings, with the seed of every choice of a night."""
    seeding = replace(config.sleep.seeding, seed=seed)
    return replace(config, sleep=replace(config.sleep, seeding=seeding))


def live(
    week: Week,
    seed: int,
    *,
    model: str | Path = EMBEDDED,
    config: MemoryConfig | None = None,
    say: Say = lambda event: None,
    finished: Callable[[SleepMemory], None] = lambda memory: None,
) -> dict[str, Any]:
    """Live the week once; returns what `report.json` holds.

    Args:
        week: how long, how much.
        seed: of the facts, the questions and the nights.
        model: hub id or folder; the world's figures are made for the embedded model.
        config: of the sleeping memory.
        say: receives progress events.
        finished: receives the sleeping memory after the last night.
    """
    # The embedded model's matrices are small: a second thread costs more than it saves (docs/lab).
    torch.set_num_threads(1)
    settings = seeded(config or OF_THE_WEEK, seed)
    embeddings = default_embeddings()
    is_embedded = Path(model) == EMBEDDED
    report: dict[str, Any] = {
        "seed": seed,
        "model": "embedded" if is_embedded else Path(model).name,
        "days": [],
        "nights": [],
    }

    def opened(name: str) -> SleepMemory:
        return SleepMemory.open(Path(folder) / name, model, embeddings=embeddings, config=settings)

    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-week-") as folder,
        opened("retrieval") as awake,
        opened("sleepmem") as asleep,
    ):
        base = LocalModel(model)
        lived = _Days(week, Life(random.Random(seed)), _arms(awake, asleep), say)
        for day in range(week.days):
            report["days"].append(lived.day(day))
            night = _Night(asleep, base, lived.life, random.Random(day))
            report["nights"].append(night.sleep(day, reading=week.reading, say=say))
        finished(asleep)

    # A night saves what the sleeping memory puts into the prompt less on the day after.
    saved: list[float | None] = []
    for entry in report["days"][1:]:
        retrieval, ours = entry["retrieval"], entry["sleepmem"]
        saved.append(retrieval["memory_tokens_per_turn"] - ours["memory_tokens_per_turn"])
    report["cost"] = cost(report["nights"], [*saved, None])
    report["summary"] = summary(report)
    return report


def _arms(awake: SleepMemory, asleep: SleepMemory) -> dict[str, Arm]:
    """The three agents, in the order in which they are asked."""
    arms = {"none": Arm(create_agent(awake.chat_model()), None)}
    for name, memory in (("retrieval", awake), ("sleepmem", asleep)):
        middleware = SleepMemoryMiddleware(memory, OWNER)
        agent = create_agent(memory.chat_model(), middleware=[middleware])
        arms[name] = Arm(agent, memory)
    return arms


@dataclass(frozen=True)
class _Days:
    """What is said and asked by day."""

    week: Week
    life: Life
    arms: Mapping[str, Arm]
    say: Say

    def day(self, day: int) -> dict[str, Any]:
        """Tell the facts of one more day, then ask every agent; what each got right."""
        today = self.life.new_day(self.week)
        self._talk(day, today)
        questions = self._questions(day, today)
        entry: dict[str, Any] = {
            "day": day + 1,
            "facts_new": len(today),
            "facts_total": len(self.life.current),
        }
        turns: dict[str, list[Turn]] = {}
        for name, arm in self.arms.items():
            turns[name] = [_ask(arm, asked) for asked in questions]
            entry[name] = _figures(questions, turns[name])
            self.say({"day": day + 1, "step": "ask", "arm": name, **entry[name]})
        entry["gate"] = {
            **_risk(turns["sleepmem"], turns["retrieval"]),
            **self._near_misses(day, today),
        }
        self.say({"day": day + 1, "step": "gate", **entry["gate"]})
        return entry

    def _near_misses(self, day: int, today: Sequence[Fact]) -> dict[str, Any]:
        """What the gate and the weights make of questions that only sound like known ones.

        They are asked beside the day: nothing is logged, so no night learns from them.
        """
        life, memory = self.life, self.arms["sleepmem"].memory
        assert memory is not None
        held = [fact for number in range(day) for fact in life.holding(number)]
        # A source of its own: the week is the same with and without them.
        rng = random.Random(f"near misses {day}")
        some = rng.sample(held, min(len(held), self.week.near_misses))
        corrected = [fact for fact in today if fact.key in life.stale]
        by_kind: dict[str, list[int]] = {}
        for miss in near_misses(rng, some, told=_told(life), corrected=corrected):
            counts = by_kind.setdefault(miss.kind.value, [0, 0, 0])
            from_weights, answered = _look_at(memory, miss.question)
            counts[0] += 1
            counts[1] += from_weights
            counts[2] += answered
        return {"near_misses": by_kind}

    def _talk(self, day: int, today: Sequence[Fact]) -> None:
        rng = self.life.rng
        for index, fact in enumerate(today):
            text = world.say(rng, fact, held_out=rng.random() < 0.5)
            for arm in self.arms.values():
                if arm.memory is not None:
                    _reply(arm.agent, text)
            self.say({"day": day + 1, "step": "talk", "done": index + 1, "of": len(today)})

    def _questions(self, day: int, today: Sequence[Fact]) -> list[Asked]:
        """About today, about some of what holds of earlier days, and about what nobody said."""
        life, earlier = self.life, []
        for number in range(day):
            earlier += life.holding(number)
        earlier = life.rng.sample(earlier, min(len(earlier), self.week.asked_earlier))

        questions = []
        for fact in [*today, *earlier]:
            questions.append(Asked(life.question(fact.key), fact.answer, fact in earlier))
        for key in life.unsaid(self.week.never_said):
            questions.append(Asked(life.question(key), None))
        return questions


def _told(life: Life) -> set[Key]:
    return {fact.key for fact in life.current.values()}


def _figures(questions: Sequence[Asked], turns: Sequence[Turn]) -> dict[str, float]:
    """What an agent got right; a turn retrieves when any of its decisions did."""
    facts: list[Turn] = []
    earlier: list[Turn] = []
    unsaid: list[Turn] = []
    for asked, turn in zip(questions, turns, strict=True):
        if asked.wanted is None:
            unsaid.append(turn)
            continue
        facts.append(turn)
        if asked.is_earlier:
            earlier.append(turn)

    return {
        "accuracy": _share_right(facts),
        "abstention": _share_right(unsaid),
        "retrieval_rate": _share_retrieved(facts),
        "memory_tokens_per_turn": _tokens_per_turn(facts),
        "accuracy_earlier": _share_right(earlier),
        "retrieval_rate_earlier": _share_retrieved(earlier),
        "memory_tokens_per_turn_earlier": _tokens_per_turn(earlier),
    }


def _risk(ours: Sequence[Turn], retrieval: Sequence[Turn]) -> dict[str, int]:
    """How many turns the weights answered wrongly where retrieval alone got them right."""
    lost = 0
    for turn, other in zip(ours, retrieval, strict=True):
        lost += turn.is_from_weights and not turn.is_right and other.is_right
    return {"turns": len(ours), "lost": lost}


def _ask(arm: Arm, asked: Asked) -> Turn:
    """Ask one question; what the memory decided about it stands in its ledger."""
    since = now()
    text = _reply(arm.agent, asked.question)
    decisions = arm.memory.ledger.turns.retrievals(OWNER, since) if arm.memory else []
    is_retrieved, memory_tokens = False, 0
    for decision in decisions:
        is_retrieved = is_retrieved or decision["view"] == View.RETRIEVAL.value
        memory_tokens += decision["tokens"]
    is_from_weights = bool(decisions) and decisions[-1]["view"] == View.WEIGHTS.value
    return Turn(is_right(text, asked.wanted), is_retrieved, memory_tokens, is_from_weights)


def _look_at(memory: SleepMemory, question: str) -> tuple[bool, bool]:
    """Whether the gate chose the weights, and whether their answer was given, no abstention."""
    first = memory.recall(OWNER, question, log=False)
    if first.view is not View.WEIGHTS:
        return False, False
    model = memory.chat_model(OWNER)
    reply = model.invoke(list(closed_book(question)), view=View.WEIGHTS.value)
    again = memory.second_look(OWNER, question, first=first, reply=reply, log=False)
    return True, again is None and not is_right(reply.text, None)


def _reply(agent: Any, text: str) -> str:
    state = agent.invoke({"messages": [{"role": "user", "content": text}]})
    return str(state["messages"][-1].text)


def _share_right(turns: Sequence[Turn]) -> float:
    return mean(turn.is_right for turn in turns)


def _share_retrieved(turns: Sequence[Turn]) -> float:
    return mean((turn.is_retrieved for turn in turns), empty=0.0)


def _tokens_per_turn(turns: Sequence[Turn]) -> float:
    return mean((turn.memory_tokens for turn in turns), empty=0.0)


@dataclass(frozen=True)
class _Night:
    """Sleeps, and measures closed-book with questions of its own, not with the night's.

    memory  that sleeps
    base    another copy of the model, without experts
    life    what was said
    rng     of the questions
    """

    memory: SleepMemory
    base: LocalModel
    life: Life
    rng: random.Random

    def sleep(self, day: int, *, reading: int, say: Say) -> dict[str, Any]:
        """The night after a day; what `report.json` holds of it.

        Args:
            day: its number, from 0.
            reading: how many unseen facts are read from the context.
            say: receives progress events.
        """
        # 1. What is known of today before the night, and after it of every day?
        today = self.life.holding(day)
        before = self._recall(today)
        report = self.memory.sleep(OWNER, lambda event: say({"day": day + 1, **event}))
        recall_by_day, old_right, old_total = [], 0.0, 0
        for number in range(day + 1):
            holding = self.life.holding(number)
            recall_by_day.append(self._recall(holding))
            if number < day:
                old_right += recall_by_day[-1] * len(holding)
                old_total += len(holding)

        # 2. What is still said that was corrected, and how well is read?
        superseded = self._superseded()
        figures = self._read(reading)
        recall_by_night = []
        for number, rate in enumerate(recall_by_day):
            recall_by_night.append({"night": number + 1, "rate": rate})
        return {
            "number": day + 1,
            **_verdict(report),
            "facts": len(today),
            "evicted": report.evicted,
            "audited": report.audited,
            "returned": report.returned,
            "dreams": report.dreams,
            "closed_book_before": before,
            "closed_book_after": recall_by_day[-1],
            "old_nights_accuracy": old_right / old_total if old_total else 1.0,
            "recall_by_night": recall_by_night,
            "superseded_rate": superseded,
            **figures,
            "gate": report.gate,
            **_spent(report),
            "exam": {stage: _rates(report, stage) for stage in ("before", "after")},
            "curve": list(report.curve),
        }

    def _recall(self, facts: Sequence[Fact]) -> float:
        """Share of these facts that is answered, half of them in a held-out wording."""
        questions = []
        for fact in facts:
            questions.append(about_fact(self.rng, fact, held_out=self.rng.random() < 0.5))
        return mean(ask_all(self.memory.local, questions, experts=self._live()))

    def _superseded(self) -> float:
        """Share of the corrected facts that still give the old value."""
        questions = []
        for key in self._corrected():
            stale = self.life.stale[key]
            questions.append(Question(closed_book(world.ask(self.rng, key)), stale))
        return mean(ask_all(self.memory.local, questions, experts=self._live()), empty=0.0)

    def _corrected(self) -> list[Key]:
        """What was corrected at least once."""
        facts = self.life.current.values()
        return [fact.key for fact in facts if fact.key in self.life.stale]

    def _read(self, count: int) -> dict[str, float]:
        """Share that is right when read from the context, with the experts on and without any."""
        questions = reading_questions(self.rng, count)
        ours = ask_all(self.memory.local, questions, experts=self._live())
        return {
            "reading_accuracy": mean(ours),
            "reading_accuracy_base": mean(ask_all(self.base, questions)),
        }

    def _live(self) -> tuple[str, ...]:
        return self.memory.live_experts(OWNER)


def _verdict(report: NightReport) -> dict[str, Any]:
    """How the night ended, and the slower ones that were due after it."""
    seconds, slower = report.seconds, []
    for night in report.slower:
        seconds += night.seconds
        ended = {"level": night.level, "verdict": night.verdict.value, "reason": night.reason}
        slower.append({**ended, "returned": night.returned})
    return {
        "verdict": report.verdict.value,
        "reason": report.reason,
        "seconds": round(seconds, 1),
        "slower": slower,
    }


def _spent(report: NightReport) -> dict[str, Any]:
    """What the night and the slower ones after it cost."""
    nights = (report, *report.slower)
    step_seconds = dict(report.step_seconds)
    for night in report.slower:
        step_seconds[night.level] = night.seconds
    return {
        "tokens_trained": sum(night.tokens_trained for night in nights),
        "peak_bytes": max(night.peak_bytes for night in nights),
        "tokens_generated": sum(night.tokens_generated for night in nights),
        "step_seconds": step_seconds,
    }


def _rates(report: NightReport, stage: str) -> dict[str, float]:
    """What the exam of a stage gave, by measure."""
    scores = report.exam.get(stage, {})
    return {measure: score["rate"] for measure, score in scores.items()}


def main(
    seeds: Annotated[int, typer.Option(help="How many weeks, with seeds 0, 1, ...", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("runs/bench-nights"),
    *,
    days: Annotated[int, typer.Option(min=1)] = Week.days,
    facts: Annotated[int, typer.Option(min=1)] = Week.facts,
) -> None:
    """Live the week with several seeds and print the mean of every figure."""
    summaries = []
    for seed in range(seeds):
        began = time.time()
        report = live(Week(days=days, facts=facts), seed)
        write(report, out / f"seed-{seed}")
        figures = report["summary"]
        summaries.append(figures)
        seconds = time.time() - began
        print(f"seed {seed}: {json.dumps(figures)} in {seconds:.0f} s", flush=True)

    means = {}
    for name in summaries[0]:
        means[name] = round(statistics.mean(figures[name] for figures in summaries), 4)
    (out / "summary.json").write_text(json.dumps({"seeds": summaries, "mean": means}, indent=1))
    print("mean:", json.dumps(means))


if __name__ == "__main__":
    typer.run(main)
