"""Seven days in the life of an agent: talk by day, sleep by night, on the embedded model.

Three agents live the same days, on the same model, and are asked the same questions: one without memory, one that retrieves and never sleeps, one that
sleeps. Facts reach them through a LangChain agent in conversation; names and values were never seen in training; half of the questions are in wordings
that neither the base nor the night was trained on. `sleepmem demo` runs one seed, `make bench-nights` three.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from langchain.agents import create_agent

from sleepmem.config import MemoryConfig
from sleepmem.embedded import relations, world
from sleepmem.memory import EMBEDDED, SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.model.local import LocalModel
from sleepmem.records import View, now
from sleepmem.report.data import cost
from sleepmem.report.draw import write
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book, memory_line, open_book

OWNER = ("demo",)
ARMS = ("none", "retrieval", "sleepmem")
Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Week:
    """How long, how much."""

    days: int = 7
    facts: int = 20  # new ones a day
    corrections: int = 2  # of them, from the second day on, new values for older facts
    asked_earlier: int = 60  # questions a day about facts of earlier days, at most
    never_said: int = 20  # questions a day about things never said
    reading: int = 200  # unseen facts read from the context after each night


@dataclass
class Life:
    """What was said so far: by day, what holds now, and what was corrected."""

    rng: random.Random
    by_day: list[list[world.Fact]] = field(default_factory=list)
    current: dict[tuple[str, str], world.Fact] = field(default_factory=dict)
    stale: dict[tuple[str, str], str] = field(default_factory=dict)
    subjects: list[tuple[str, str]] = field(default_factory=list)

    def new_day(self, week: Week) -> list[world.Fact]:
        today: list[world.Fact] = []
        earlier = list(self.current.values())
        if earlier:
            for old in self.rng.sample(earlier, week.corrections):
                while (
                    f := world.fact(
                        self.rng,
                        (old.subject, relations.RELATIONS[old.relation].kind),
                        True,
                        old.relation,
                    )
                ).value == old.value:
                    pass
                self.stale[f.key] = old.value
                today.append(f)
        fresh = [world.subject(self.rng, True) for _ in range(week.facts // 4)]
        self.subjects += fresh
        while len(today) < week.facts:
            f = world.fact(self.rng, self.rng.choice(fresh), True)
            if f.key not in self.current and f.key not in {t.key for t in today}:
                today.append(f)
        self.current |= {f.key: f for f in today}
        self.by_day.append(today)
        return today

    def holding(self, day: int) -> list[world.Fact]:
        """Facts of that day that were not corrected since."""
        return [f for f in self.by_day[day] if self.current[f.key] == f]

    def unsaid(self, count: int) -> list[tuple[str, str]]:
        """Half about strangers, half about relations of known subjects that were never told."""
        keys: list[tuple[str, str]] = []
        while len(keys) < count:
            of = self.rng.choice(self.subjects) if len(keys) % 2 else world.subject(self.rng, True)
            key = (of[0], self.rng.choice(relations.KINDS[of[1]][0]))
            if key not in self.current:
                keys.append(key)
        return keys

    def question(self, key: tuple[str, str]) -> str:
        return world.ask(self.rng, key, held_out=self.rng.random() < 0.5)


def live(
    week: Week,
    seed: int,
    model: str | Path = EMBEDDED,
    config: MemoryConfig | None = None,
    say: Say = lambda event: None,
) -> dict[str, Any]:
    """Live the week once; returns what `report.json` holds.

    Args:
        week: how long, how much.
        seed: of the facts, the questions and the nights.
        model: hub id or folder; the world's figures are made for the embedded model.
        config: of the sleeping memory.
        say: receives progress events.
    """
    torch.set_num_threads(
        1
    )  # the embedded model's matrices are small: a second thread costs more than it saves (LAB.md)
    settings = config or MemoryConfig()
    settings = replace(
        settings, sleep=replace(settings.sleep, seeding=replace(settings.sleep.seeding, seed=seed))
    )
    life, embeddings = Life(random.Random(seed)), MiniLMEmbeddings()
    report: dict[str, Any] = {
        "seed": seed,
        "model": Path(model).name if Path(model) != EMBEDDED else "embedded",
        "days": [],
        "nights": [],
    }
    with (
        tempfile.TemporaryDirectory(prefix="sleepmem-week-") as folder,
        SleepMemory.open(Path(folder) / "retrieval", model, embeddings, settings) as awake,
        SleepMemory.open(Path(folder) / "sleepmem", model, embeddings, settings) as asleep,
    ):
        base = LocalModel(model)
        agents = {
            "none": create_agent(awake.chat_model()),
            "retrieval": create_agent(
                awake.chat_model(), middleware=[SleepMemoryMiddleware(awake, OWNER)]
            ),
            "sleepmem": create_agent(
                asleep.chat_model(), middleware=[SleepMemoryMiddleware(asleep, OWNER)]
            ),
        }
        for day in range(week.days):
            today = life.new_day(week)
            for n, f in enumerate(today):
                text = world.say(life.rng, f, held_out=life.rng.random() < 0.5)
                for arm in ("retrieval", "sleepmem"):
                    agents[arm].invoke({"messages": [{"role": "user", "content": text}]})
                say({"day": day + 1, "step": "talk", "done": n + 1, "of": len(today)})
            earlier = [f for d in range(day) for f in life.holding(d)]
            earlier = life.rng.sample(earlier, min(len(earlier), week.asked_earlier))
            asked = [(life.question(f.key), f.answer, f in earlier) for f in [*today, *earlier]]
            unsaid = [life.question(key) for key in life.unsaid(week.never_said)]
            entry: dict[str, Any] = {
                "day": day + 1,
                "facts_new": len(today),
                "facts_total": len(life.current),
            }
            memories = {"none": None, "retrieval": awake, "sleepmem": asleep}
            for arm in ARMS:
                entry[arm] = _examine(agents[arm], memories[arm], asked, unsaid)
                say({"day": day + 1, "step": "ask", "arm": arm, **entry[arm]})
            report["days"].append(entry)
            report["nights"].append(_night(asleep, base, life, day, week, say))
    less = [
        d["retrieval"]["memory_tokens_per_turn"] - d["sleepmem"]["memory_tokens_per_turn"]
        for d in report["days"][1:]
    ]
    report["cost"] = cost(report["nights"], [*less, None])
    report["summary"] = summary(report)
    return report


def _examine(
    agent: Any,
    memory: SleepMemory | None,
    asked: Sequence[tuple[str, str, bool]],
    unsaid: Sequence[str],
) -> dict[str, float]:
    """Ask everything; a turn retrieves when any of its decisions did."""
    turns: list[dict[str, Any]] = []
    for question, answer, is_earlier in [*asked, *((q, None, False) for q in unsaid)]:
        since = now()
        text = agent.invoke({"messages": [{"role": "user", "content": question}]})["messages"][
            -1
        ].text
        decisions = memory.ledger.retrievals(OWNER, since) if memory else []
        turns.append(
            {
                "right": abstains(text) if answer is None else matches(text, answer),
                "unsaid": answer is None,
                "earlier": is_earlier,
                "retrieved": any(d["view"] == View.RETRIEVAL.value for d in decisions),
                "tokens": sum(d["tokens"] for d in decisions),
            }
        )
    facts = [t for t in turns if not t["unsaid"]]
    earlier = [t for t in facts if t["earlier"]]
    return {
        "accuracy": _mean(t["right"] for t in facts),
        "abstention": _mean(t["right"] for t in turns if t["unsaid"]),
        "retrieval_rate": _mean((t["retrieved"] for t in facts), 0.0),
        "memory_tokens_per_turn": _mean((t["tokens"] for t in facts), 0.0),
        "accuracy_earlier": _mean(t["right"] for t in earlier),
        "retrieval_rate_earlier": _mean((t["retrieved"] for t in earlier), 0.0),
        "memory_tokens_per_turn_earlier": _mean((t["tokens"] for t in earlier), 0.0),
    }


def _night(
    memory: SleepMemory, base: LocalModel, life: Life, day: int, week: Week, say: Say
) -> dict[str, Any]:
    """Sleep, and measure closed-book with questions of our own, not with the night's."""
    rng = random.Random(day)
    today = life.holding(day)
    before = _closed_book(memory, today, rng)
    report = memory.sleep(OWNER, on_event=lambda e: say({"day": day + 1, **e}))
    reports = (report, *report.slower)
    by_night = [_closed_book(memory, life.holding(d), rng) for d in range(day + 1)]
    corrected = [f for f in life.current.values() if f.key in life.stale]
    made = _answers(memory, [closed_book(world.ask(rng, f.key)) for f in corrected])
    reading = reading_questions(rng, week.reading)
    read = {
        "reading_accuracy": _mean(
            matches(t, a)
            for t, (_, a) in zip(_answers(memory, [c for c, _ in reading]), reading, strict=True)
        ),
        "reading_accuracy_base": _mean(
            matches(t, a)
            for t, (_, a) in zip(base.answer([c for c, _ in reading]), reading, strict=True)
        ),
    }
    earlier = [(rate, len(life.holding(d))) for d, rate in enumerate(by_night[:-1])]
    return {
        "night": day + 1,
        "verdict": report.verdict.value,
        "reason": report.reason,
        "seconds": round(sum(r.seconds for r in reports), 1),
        "slower": [
            {
                "level": r.level,
                "verdict": r.verdict.value,
                "reason": r.reason,
                "returned": r.returned,
            }
            for r in report.slower
        ],
        "facts": len(today),
        "evicted": report.evicted,
        "audited": report.audited,
        "returned": report.returned,
        "dreams": report.exam.get("dreams", {}),
        "closed_book_before": before,
        "closed_book_after": by_night[-1],
        "old_nights_accuracy": sum(r * n for r, n in earlier) / sum(n for _, n in earlier)
        if earlier
        else 1.0,
        "by_night": by_night,
        "superseded_rate": _mean(
            (matches(t, life.stale[f.key]) for f, t in zip(corrected, made, strict=True)), 0.0
        ),
        **read,
        "tokens_trained": sum(r.tokens_trained for r in reports),
        "peak_bytes": max(r.exam.get("peak_bytes", 0) for r in reports),
        "tokens_generated": sum(r.exam.get("tokens_generated", 0) for r in reports),
        "step_seconds": {
            **report.exam.get("seconds", {}),
            **{r.level: r.seconds for r in report.slower},
        },
        "exam": {
            k: {m: s["rate"] for m, s in report.exam.get(k, {}).items()}
            for k in ("before", "after")
        },
        "curve": list(report.curve),
    }


def _answers(memory: SleepMemory, chats: Sequence[Any]) -> list[str]:
    """Closed-book: the live experts on, nothing retrieved."""
    return memory.local.answer(chats, memory.live_experts(OWNER))


def _closed_book(memory: SleepMemory, facts: Sequence[world.Fact], rng: random.Random) -> float:
    made = _answers(
        memory, [closed_book(world.ask(rng, f.key, held_out=rng.random() < 0.5)) for f in facts]
    )
    return _mean(matches(t, f.answer) for t, f in zip(made, facts, strict=True))


def reading_questions(rng: random.Random, count: int) -> list[tuple[Any, str]]:
    """Questions about facts nobody ever learned, with 1 to 4 memories in the context."""
    out = []
    for _ in range(count):
        scene = world.scene(rng, rng.randint(1, 4), True)
        lines = [
            memory_line(d, world.say(rng, f, True))
            for d, f in zip(world.dates(rng, len(scene.told)), scene.told, strict=True)
        ]
        f = rng.choice(list(scene.current.values()))
        out.append((open_book(world.ask(rng, f.key), lines), f.answer))
    return out


def summary(report: dict[str, Any]) -> dict[str, float]:
    """The figures after the last day."""
    day, nights = report["days"][-1], report["nights"]
    retrieval, ours, last = day["retrieval"], day["sleepmem"], nights[-1]
    tokens = retrieval["memory_tokens_per_turn_earlier"]
    return {
        "accuracy_ratio": _ratio(ours["accuracy"], retrieval["accuracy"]),
        "earlier_tokens_ratio": _ratio(ours["memory_tokens_per_turn_earlier"], tokens)
        if tokens
        else 0.0,
        "abstention_difference": ours["abstention"] - retrieval["abstention"],
        "night_1_kept": _ratio(last["by_night"][0], nights[0]["by_night"][0]),
        "superseded_rate": last["superseded_rate"],
        "reading_ratio": _ratio(last["reading_accuracy"], last["reading_accuracy_base"]),
        "accuracy": ours["accuracy"],
        "accuracy_retrieval": retrieval["accuracy"],
        "accuracy_none": day["none"]["accuracy"],
        "night_seconds": statistics.median(n["seconds"] for n in nights),
        "promoted": float(sum(n["verdict"] == "promoted" for n in nights)),
    }


def _mean(values: Any, empty: float = 1.0) -> float:
    found = [float(v) for v in values]
    return round(sum(found) / len(found), 4) if found else empty


def _ratio(a: float, b: float) -> float:
    return round(a / b, 4) if b else 0.0


def main(
    seeds: Annotated[int, typer.Option(help="How many weeks, with seeds 0, 1, ...", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("runs/bench-nights"),
    days: Annotated[int, typer.Option(min=1)] = Week.days,
    facts: Annotated[int, typer.Option(min=1)] = Week.facts,
) -> None:
    """Live the week with several seeds and print the mean of every figure."""
    found = []
    for seed in range(seeds):
        began = time.time()
        report = live(Week(days=days, facts=facts), seed)
        write(report, out / f"seed-{seed}")
        found.append(report["summary"])
        print(
            f"seed {seed}: {json.dumps(report['summary'])} in {time.time() - began:.0f} s",
            flush=True,
        )
    mean = {k: round(statistics.mean(f[k] for f in found), 4) for k in found[0]}
    (out / "summary.json").write_text(json.dumps({"seeds": found, "mean": mean}, indent=1))
    print("mean:", json.dumps(mean))


if __name__ == "__main__":
    typer.run(main)
