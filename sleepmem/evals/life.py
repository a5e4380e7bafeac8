"""Sixty nights in the life of an agent: does what was learned early still hold, and what does it
cost? `make bench-life`.

Every day brings new facts, some of them corrections; a few facts are asked often, most never. Five
ways to remember live the same life, on the same model:

    sleepmem   this project, all levels
    retrieval  the same memory that never sleeps
    sft        one LoRA, trained on by plain SFT every night
    sdft       one LoRA, trained on by TRL's SDFT every night
    scratch    one LoRA, retrained by SFT from scratch on everything that holds, when it is measured

The LoRAs get question/answer pairs in the world's own wordings, as many steps as a night of
sleepmem, and answer closed-book. Every arm writes its own file. A memory whose life was interrupted
goes on where it was; a LoRA lives it again; what was measured is not measured again.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from sleepmem.config import LEVELS, MemoryConfig, SeedingConfig
from sleepmem.embedded import world
from sleepmem.embedded.world import Fact, Key
from sleepmem.evals.perplexity import perplexity
from sleepmem.evals.questions import ask_all, is_right, reading_questions
from sleepmem.evals.trainers import EXPERT, by_sdft, by_sft, fact_rows
from sleepmem.evals.week import Life, Week, seeded
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.night import measures
from sleepmem.night.rows import Row
from sleepmem.records import View
from sleepmem.report.draw import draw_life
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.prompts import closed_book, memory_line

OWNER = ("life",)
# Nights since a fact was told: youngest and oldest of a group.
AGES = ((0, 0), (1, 6), (7, 20), (21, 40), (41, 999))
KEPT = ("verdict", "seconds", "evicted", "audited", "returned", "tokens_trained")
# Share of the facts that are asked often, and questions about them a day.
POPULAR, ASKED = 0.1, 20
TIMED = 20


class Said(NamedTuple):
    """A fact, and the words in which it was told."""

    fact: Fact
    text: str


class Replies(NamedTuple):
    """What was answered, and whether each was retrieved for."""

    texts: list[str]
    retrieved: list[bool]


@dataclass(frozen=True)
class Plan:
    """How long a life is, how much it brings, and how it is measured.

    every  nights between two measurements
    each   questions for each age of facts
    out    folder for memories and numbers
    """

    seed: int
    nights: int
    facts: int
    every: int
    each: int
    out: Path


class Remembering:
    """One arm: hears a day, answers, tells what its weights cost. The plain model forgets."""

    live: tuple[str, ...] = ()

    def __init__(self, folder: Path, seed: int, *, facts: int) -> None:
        self.folder, self.seed = folder, seed
        self.local = LocalModel(EMBEDDED)

    def day(self, number: int, said: Sequence[Said], *, asked: Sequence[str]) -> dict[str, Any]:
        """Hear a day and spend the night; what there is to say of it."""
        return {}

    def ready(self, holding: Sequence[Fact]) -> None:
        """Called before it is measured."""

    def answer(self, questions: Sequence[str]) -> Replies:
        texts = self.local.answer([closed_book(text) for text in questions], self.live)
        return Replies(texts, [False] * len(questions))

    def close(self) -> None:
        """Called at the end."""


class Sleeping(Remembering):
    """A memory of this project; `sleeps` is false for the one that only retrieves."""

    sleeps = True

    def __init__(self, folder: Path, seed: int, *, facts: int) -> None:
        self.memory = SleepMemory.open(
            folder / "memory",
            "embedded",
            embeddings=default_embeddings(),
            config=seeded(MemoryConfig(), seed),
        )
        self.local, self.folder = self.memory.local, folder

    def day(self, number: int, said: Sequence[Said], *, asked: Sequence[str]) -> dict[str, Any]:
        date = f"{2030 + number // 336}-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
        for index, (_, text) in enumerate(said):
            told_at = f"{date}T08:00:{index % 60:02d}+00:00"
            self.memory.observe(OWNER, text, created_at=told_at)
        if self._fast_nights() > number:  # lived before the interruption
            return {}
        for question in asked:
            self.memory.ask(OWNER, question)
        if not self.sleeps:
            return {}
        report = self.memory.sleep(OWNER)
        if report.level != LEVELS[0].name:  # a slow night that an interruption had left
            report = self.memory.sleep(OWNER)
        fields = report.as_dict()
        return {name: fields[name] for name in KEPT}

    def answer(self, questions: Sequence[str]) -> Replies:
        replies = Replies([], [])
        for question in questions:
            answer = self.memory.ask(OWNER, question, log=False)
            replies.texts.append(answer.text)
            replies.retrieved.append(answer.recall.view is View.RETRIEVAL)
        return replies

    @property
    def live(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.memory.live_experts(OWNER)

    def close(self) -> None:
        self.memory.close()

    def _fast_nights(self) -> int:
        levels = [night.report.get("level") for night in self.memory.ledger.nights.finished(OWNER)]
        return levels.count(LEVELS[0].name)


class Awake(Sleeping):
    """The same memory that never sleeps."""

    sleeps = False


class Tuning(Remembering):
    """One LoRA that is trained on, night after night."""

    live = (EXPERT,)
    train = staticmethod(by_sft)

    def __init__(self, folder: Path, seed: int, *, facts: int) -> None:
        super().__init__(folder, seed, facts=facts)
        self.local.add_expert(EXPERT, LEVELS[0].rank, seed=seed)
        self.steps = max(SeedingConfig().steps, round(LEVELS[0].steps_per_episode * facts))

    def day(self, number: int, said: Sequence[Said], *, asked: Sequence[str]) -> dict[str, Any]:
        started = time.time()
        rows = _rows(said, random.Random(f"{self.seed}/{number}/pairs"))
        self.train(self.local, rows, config=SeedingConfig(steps=self.steps, seed=self.seed))
        return {"seconds": round(time.time() - started, 1)}


class TuningOnPolicy(Tuning):
    """The same by SDFT."""

    train = staticmethod(by_sdft)


class Retraining(Tuning):
    """From scratch on everything.

    What came before leaves no trace, so it is done only when it is looked at.
    """

    def day(self, number: int, said: Sequence[Said], *, asked: Sequence[str]) -> dict[str, Any]:
        return {}

    def ready(self, holding: Sequence[Fact]) -> None:
        rng = random.Random(f"{self.seed}/scratch")
        self.local.drop_expert(EXPERT)
        self.local.add_expert(EXPERT, LEVELS[0].rank, seed=self.seed)
        steps = max(self.steps, round(LEVELS[-1].steps_per_episode * len(holding)))
        said = [Said(fact, world.say(rng, fact)) for fact in holding]
        config = SeedingConfig(steps=steps, seed=self.seed)
        self.train(self.local, _rows(said, rng), config=config)


ARMS: dict[str, type[Remembering]] = {
    "sleepmem": Sleeping,
    "retrieval": Awake,
    "sft": Tuning,
    "sdft": TuningOnPolicy,
    "scratch": Retraining,
}


def _rows(said: Sequence[Said], rng: random.Random) -> list[Row]:
    """Six pairs a fact, in the world's wordings."""
    rows = []
    for fact, text in said:
        rows += fact_rows(rng, fact, line=memory_line("2030-01-01", text))
    return rows


def measure(arm: Remembering, life: Life, *, seed: int, each: int) -> dict[str, Any]:
    """Everything that a checkpoint tells; the same questions for every arm."""
    nights = len(life.by_day)
    rng = random.Random(f"{seed}/{nights}")
    right, retrieved = _by_age(arm, life, rng, each)
    unsaid = []
    for key in _unsaid(life, rng, each):
        unsaid.append(world.ask(rng, key, held_out=rng.random() < 0.5))
    reading = reading_questions(rng, 2 * each)
    read = ask_all(arm.local, reading, experts=arm.live)
    by_base = ask_all(arm.local, reading)
    seconds = _latency(arm, life, rng)
    honest = [is_right(text, None) for text in arm.answer(unsaid).texts]
    return {
        "night": nights,
        "facts": len(life.current),
        "right_by_age": right,
        "retrieval_rate_earlier": round(statistics.mean(retrieved), 4) if retrieved else None,
        "abstention": round(statistics.mean(honest), 4),
        "reading_ratio": round(sum(read) / sum(by_base), 4),
        "general_kl": round(measures.general_kl(arm.local, arm.live).right, 4),
        "perplexity_ratio": _perplexity_ratio(arm),
        "latency_ms": round(1000 * seconds, 1),
        "experts": len(arm.live),
        "expert_bytes": _expert_bytes(arm),
        "text_bytes": _text_bytes(life),
    }


def _by_age(
    arm: Remembering, life: Life, rng: random.Random, each: int
) -> tuple[dict[str, float], list[bool]]:
    """Share right, by the age of the facts; and which questions about earlier ones retrieved."""
    today = len(life.by_day) - 1
    right: dict[str, float] = {}
    retrieved: list[bool] = []
    for youngest, oldest in AGES:
        facts: list[Fact] = []
        for day in range(max(0, today - oldest), today - youngest + 1):
            facts += life.holding(day)
        sample = rng.sample(facts, min(len(facts), each))
        if not sample:
            continue
        questions = []
        for fact in sample:
            questions.append(world.ask(rng, fact.key, held_out=rng.random() < 0.5))
        replies = arm.answer(questions)
        results = []
        for text, fact in zip(replies.texts, sample, strict=True):
            results.append(is_right(text, fact.answer))
        right[f"{youngest}-{min(oldest, today)}"] = round(statistics.mean(results), 4)
        if youngest:
            retrieved += replies.retrieved
    return right, retrieved


def _unsaid(life: Life, rng: random.Random, count: int) -> list[Key]:
    """What nobody told, drawn without a trace in the life."""
    return Life(rng, life.by_day, life.current, life.stale, life.subjects).unsaid(count)


def _latency(arm: Remembering, life: Life, rng: random.Random) -> float:
    """Median seconds of one closed-book answer."""
    facts = rng.sample(list(life.current.values()), min(TIMED, len(life.current)))
    questions = [world.ask(rng, fact.key) for fact in facts]
    seconds = []
    for question in questions:
        started = time.perf_counter()
        arm.local.answer([closed_book(question)], arm.live)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _perplexity_ratio(arm: Remembering) -> float:
    """Against the base."""
    if not arm.live:
        return 1.0
    return round(_perplexity(arm.local, arm.live) / _perplexity(arm.local, ()), 4)


def _perplexity(local: LocalModel, experts: Sequence[str]) -> float:
    """Of held-out conversations' answers, on names that nobody ever learned."""
    prompts, answers = [], []
    for question in reading_questions(random.Random(0), 200):
        prompts.append(local.prompt_ids(question.chat))
        answers.append(local.answer_ids(str(question.wanted)))
    return perplexity(local, prompts, answers=answers, experts=experts)


def _expert_bytes(arm: Remembering) -> int:
    """Of the weights of the live experts on disk."""
    total = 0
    for name in arm.live:
        folder = arm.folder / "memory" / "experts" / name
        total += sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return total


def _text_bytes(life: Life) -> int:
    """Of what holds, as bare words."""
    facts = life.current.values()
    return sum(len(f"{fact.subject} {fact.relation} {fact.value}") for fact in facts)


def live(name: str, plan: Plan, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """One arm's life; writes its file at every checkpoint."""
    torch.set_num_threads(1)
    folder = plan.out / f"{name}-{plan.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    arm = ARMS[name](folder, plan.seed, facts=plan.facts)
    life = Life(random.Random(plan.seed))
    week = Week(facts=plan.facts, corrections=max(1, plan.facts // 10))
    file = plan.out / f"{name}-{plan.seed}.json"
    found: dict[str, Any] = {"arm": name, "seed": plan.seed, "nights": [], "checkpoints": []}
    if file.exists():
        found = json.loads(file.read_text())
    measured = {checkpoint["night"] for checkpoint in found["checkpoints"]}
    try:
        for number in range(plan.nights):
            lived = _day(arm, life, week, number, plan.seed)
            if number >= len(found["nights"]):
                found["nights"].append(lived)
            told = json.dumps(found["nights"][number])
            say(f"{name} {plan.seed} night {number + 1}: {told}")
            is_due = number + 1 in (1, plan.nights) or (number + 1) % plan.every == 0
            if is_due and number + 1 not in measured:
                arm.ready(list(life.current.values()))
                checkpoint = measure(arm, life, seed=plan.seed, each=plan.each)
                found["checkpoints"].append(checkpoint)
                say(f"{name} {plan.seed} {json.dumps(checkpoint)}")
            file.write_text(json.dumps(found, indent=1))
    finally:
        arm.close()
    return found


def _day(arm: Remembering, life: Life, week: Week, number: int, seed: int) -> dict[str, Any]:
    """One more day of a life, and its night; a few facts are asked often."""
    today, rng = life.new_day(week), random.Random(f"{seed}/{number}")
    said = []
    for fact in today:
        said.append(Said(fact, world.say(rng, fact, held_out=rng.random() < 0.5)))
    popular = []
    for fact in life.current.values():
        key = tuple(fact.key)  # seeds with it are as they were measured
        if random.Random(f"{seed}/{key}").random() < POPULAR:
            popular.append(fact)
    asked = []
    for fact in rng.sample(popular, min(len(popular), ASKED)):
        asked.append(world.ask(rng, fact.key, held_out=rng.random() < 0.5))
    return arm.day(number, said, asked=asked)


def main(  # noqa: PLR0913 - the options of a command
    arms: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(ARMS),
    seed: int = 0,
    *,
    nights: Annotated[int, typer.Option(min=1)] = 60,
    facts: Annotated[
        int, typer.Option(help="New facts a day; a tenth of them are corrections.", min=1)
    ] = 20,
    every: Annotated[int, typer.Option(help="Nights between two measurements.", min=1)] = 10,
    each: Annotated[int, typer.Option(help="Questions for each age of facts.", min=1)] = 60,
    out: Annotated[Path, typer.Option(help="Folder for memories, numbers and the plot.")] = Path(
        "runs/bench-life"
    ),
) -> None:
    """Live it with every arm; print and draw accuracy by the age of a fact."""
    names = arms.split(",")
    strange = set(names) - set(ARMS)
    if strange:
        raise typer.BadParameter(
            f"no arm is called {', '.join(sorted(strange))}; there are {', '.join(ARMS)}."
        )
    plan = Plan(seed, nights, facts, every, each, out)
    for name in names:
        live(name, plan, say=lambda text: print(text, flush=True))

    checkpoints = {}
    for file in sorted(out.glob(f"*-{seed}.json")):
        lived = json.loads(file.read_text())
        checkpoints[lived["arm"]] = lived["checkpoints"]
        print(lived["arm"], json.dumps(lived["checkpoints"][-1]))
    draw_life(checkpoints, out / "life.png")


if __name__ == "__main__":
    typer.run(main)
