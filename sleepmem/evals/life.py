"""Sixty nights in the life of an agent: does what was learned early still hold, and what does it cost? `make bench-life`.

Every day brings new facts, some of them corrections; a few facts are asked often, most never. Five ways to remember live the same life, on the same model:

    sleepmem   this project, all levels
    retrieval  the same memory that never sleeps
    sft        one LoRA, trained on by plain SFT every night
    sdft       one LoRA, trained on by TRL's SDFT every night
    scratch    one LoRA, retrained by SFT from scratch on everything that holds, when it is measured

The LoRAs get question/answer pairs in the world's own wordings, as many steps as a night of sleepmem, and answer closed-book. Every arm writes its
own file. A memory whose life was interrupted goes on where it was; a LoRA lives it again; what was measured is not measured again.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from sleepmem.config import LEVELS, MemoryConfig, SeedingConfig
from sleepmem.embedded import world
from sleepmem.embedded.world import Fact, Key
from sleepmem.evals.questions import reading_questions
from sleepmem.evals.trainers import EXPERT, by_sdft, by_sft
from sleepmem.evals.week import Life, Week
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.night import measures as exams
from sleepmem.night.rows import Row, RowKind
from sleepmem.records import View
from sleepmem.report.draw import draw_life
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book, memory_line, open_book

OWNER = ("life",)
AGES = ((0, 0), (1, 6), (7, 20), (21, 40), (41, 999))  # nights since a fact was told
Said = Sequence[tuple[Fact, str]]


class Remembering:
    """One arm: hears a day, answers, tells what its weights cost."""

    live: tuple[str, ...] = ()

    def __init__(self, folder: Path, seed: int, facts: int) -> None:
        self.folder, self.seed = folder, seed
        self.local = LocalModel(EMBEDDED)

    def day(self, number: int, said: Said, asked: Sequence[str]) -> dict[str, Any]:
        """Hear a day and spend the night; what there is to say of it. The plain model remembers nothing."""
        return {}

    def ready(self, holding: Sequence[Fact]) -> None:
        """Called before it is measured."""

    def answer(self, questions: Sequence[str]) -> tuple[list[str], list[bool]]:
        """The answers, and whether each was retrieved for."""
        return self.local.answer([closed_book(q) for q in questions], self.live), [False] * len(
            questions
        )

    def close(self) -> None:
        pass


class Sleeping(Remembering):
    def __init__(self, folder: Path, seed: int, facts: int, sleeps: bool = True) -> None:
        settings = MemoryConfig()
        seeding = replace(settings.sleep.seeding, seed=seed)
        self.memory = SleepMemory.open(
            folder / "memory",
            "embedded",
            embeddings=MiniLMEmbeddings(),
            config=replace(settings, sleep=replace(settings.sleep, seeding=seeding)),
        )
        self.local, self.sleeps, self.folder = self.memory.local, sleeps, folder

    def day(self, number: int, said: Said, asked: Sequence[str]) -> dict[str, Any]:
        at = f"{2030 + number // 336}-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
        for n, (_, text) in enumerate(said):
            self.memory.observe(OWNER, text, created_at=f"{at}T08:00:{n % 60:02d}+00:00")
        nights = [
            n
            for n in self.memory.ledger.nights.finished(OWNER)
            if n.report.get("level") == LEVELS[0].name
        ]
        if len(nights) > number:  # lived before the interruption
            return {}
        for question in asked:
            self.memory.ask(OWNER, question)
        if not self.sleeps:
            return {}
        report = self.memory.sleep(OWNER)
        if report.level != LEVELS[0].name:  # it was a slow night that an interruption had left
            report = self.memory.sleep(OWNER)
        return {
            k: v
            for k, v in report.as_dict().items()
            if k in ("verdict", "seconds", "evicted", "audited", "returned", "tokens_trained")
        }

    def answer(self, questions: Sequence[str]) -> tuple[list[str], list[bool]]:
        made = [self.memory.ask(OWNER, q) for q in questions]
        return [a.text for a in made], [a.recall.view is View.RETRIEVAL for a in made]

    @property
    def live(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.memory.live_experts(OWNER)

    def close(self) -> None:
        self.memory.close()


class Awake(Sleeping):
    def __init__(self, folder: Path, seed: int, facts: int) -> None:
        super().__init__(folder, seed, facts, sleeps=False)


class Tuning(Remembering):
    """One LoRA that is trained on, night after night."""

    live = (EXPERT,)
    train = staticmethod(by_sft)

    def __init__(self, folder: Path, seed: int, facts: int) -> None:
        super().__init__(folder, seed, facts)
        self.local.add_expert(EXPERT, LEVELS[0].rank, seed=seed)
        self.steps = max(SeedingConfig().steps, round(LEVELS[0].steps_per_episode * facts))

    def day(self, number: int, said: Said, asked: Sequence[str]) -> dict[str, Any]:
        began = time.time()
        self.train(
            self.local,
            _rows(said, random.Random(f"{self.seed}/{number}/pairs")),
            SeedingConfig(steps=self.steps, seed=self.seed),
        )
        return {"seconds": round(time.time() - began, 1)}


class TuningOnPolicy(Tuning):
    train = staticmethod(by_sdft)


class Retraining(Tuning):
    """From scratch on everything: what came before leaves no trace, so it is done only when it is looked at."""

    def day(self, number: int, said: Said, asked: Sequence[str]) -> dict[str, Any]:
        return {}

    def ready(self, holding: Sequence[Fact]) -> None:
        rng = random.Random(f"{self.seed}/scratch")
        self.local.drop_expert(EXPERT)
        self.local.add_expert(EXPERT, LEVELS[0].rank, seed=self.seed)
        steps = max(self.steps, round(LEVELS[-1].steps_per_episode * len(holding)))
        self.train(
            self.local,
            _rows([(f, world.say(rng, f)) for f in holding], rng),
            SeedingConfig(steps=steps, seed=self.seed),
        )


ARMS: dict[str, Callable[[Path, int, int], Remembering]] = {
    "sleepmem": Sleeping,
    "retrieval": Awake,
    "sft": Tuning,
    "sdft": TuningOnPolicy,
    "scratch": Retraining,
}


def _rows(said: Said, rng: random.Random) -> list[Row]:
    """Six pairs a fact, in the world's wordings."""
    rows = []
    for f, text in said:
        for q in {world.ask(rng, f.key, framed=False) for _ in range(6)}:
            rows.append(
                Row(
                    RowKind.FACT,
                    closed_book(q),
                    open_book(q, [memory_line("2030-01-01", text)]),
                    f.answer,
                )
            )
    return rows


def measure(arm: Remembering, life: Life, seed: int, each: int) -> dict[str, Any]:
    """Everything that a checkpoint tells; the same questions for every arm."""
    rng, day = random.Random(f"{seed}/{len(life.by_day)}"), len(life.by_day) - 1
    right: dict[str, float] = {}
    retrieved: list[bool] = []
    for youngest, oldest in AGES:
        of_age = [
            f for d in range(max(0, day - oldest), day - youngest + 1) for f in life.holding(d)
        ]
        some = rng.sample(of_age, min(len(of_age), each))
        if not some:
            continue
        texts, fetched = arm.answer(
            [world.ask(rng, f.key, held_out=rng.random() < 0.5) for f in some]
        )
        right[f"{youngest}-{min(oldest, day)}"] = round(
            statistics.mean(matches(t, f.answer) for t, f in zip(texts, some, strict=True)), 4
        )
        if youngest:
            retrieved += fetched
    unsaid = [world.ask(rng, key, held_out=rng.random() < 0.5) for key in _unsaid(life, rng, each)]
    reading = reading_questions(rng, 2 * each)
    chats, answers = [q.chat for q in reading], [str(q.wanted) for q in reading]
    read = [matches(t, a) for t, a in zip(arm.local.answer(chats, arm.live), answers, strict=True)]
    base = [matches(t, a) for t, a in zip(arm.local.answer(chats), answers, strict=True)]
    seconds = []
    for q in [
        world.ask(rng, f.key)
        for f in rng.sample(list(life.current.values()), min(20, len(life.current)))
    ]:
        began = time.perf_counter()
        arm.local.answer([closed_book(q)], arm.live)
        seconds.append(time.perf_counter() - began)
    folder = arm.folder / "memory" / "experts"
    return {
        "night": day + 1,
        "facts": len(life.current),
        "right_by_age": right,
        "retrieval_rate_earlier": round(statistics.mean(retrieved), 4) if retrieved else None,
        "abstention": round(statistics.mean(map(abstains, arm.answer(unsaid)[0])), 4),
        "reading_ratio": round(sum(read) / sum(base), 4),
        "general_kl": round(exams.general_kl(arm.local, arm.live).right, 4),
        "perplexity_ratio": round(_perplexity(arm.local, arm.live) / _perplexity(arm.local, ()), 4)
        if arm.live
        else 1.0,
        "latency_ms": round(1000 * statistics.median(seconds), 1),
        "experts": len(arm.live),
        "expert_bytes": sum(
            f.stat().st_size for name in arm.live for f in (folder / name).glob("*.safetensors")
        ),
        "text_bytes": sum(
            len(f"{f.subject} {f.relation} {f.value}") for f in life.current.values()
        ),
    }


def _unsaid(life: Life, rng: random.Random, count: int) -> list[Key]:
    return Life(rng, life.by_day, life.current, life.stale, life.subjects).unsaid(count)


@torch.no_grad()
def _perplexity(local: LocalModel, experts: Sequence[str]) -> float:
    """Of held-out conversations' answers, on names that nobody ever learned."""
    asked = reading_questions(random.Random(0), 200)
    with local.view(experts):
        answers = [local.answer_ids(str(q.wanted)) for q in asked]
        log_N_V = (
            local.logits([local.prompt_ids(q.chat) for q in asked], answers).float().log_softmax(-1)
        )
    said_N = torch.tensor([t for a in answers for t in a])
    return float(log_N_V.gather(-1, said_N[:, None]).mean().neg().exp())


def live(
    name: str,
    seed: int,
    nights: int,
    facts: int,
    every: int,
    each: int,
    out: Path,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """One arm's life; writes its file at every checkpoint."""
    torch.set_num_threads(1)
    folder = out / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    arm = ARMS[name](folder, seed, facts)
    life, week = Life(random.Random(seed)), Week(facts=facts, corrections=max(1, facts // 10))
    file = out / f"{name}-{seed}.json"
    found: dict[str, Any] = (
        json.loads(file.read_text())
        if file.exists()
        else {"arm": name, "seed": seed, "nights": [], "checkpoints": []}
    )
    measured = {c["night"] for c in found["checkpoints"]}
    try:
        for number in range(nights):
            today, rng = life.new_day(week), random.Random(f"{seed}/{number}")
            said = [(f, world.say(rng, f, held_out=rng.random() < 0.5)) for f in today]
            popular = [
                f for f in life.current.values() if random.Random(f"{seed}/{f.key}").random() < 0.1
            ]
            asked = [
                world.ask(rng, f.key, held_out=rng.random() < 0.5)
                for f in rng.sample(popular, min(len(popular), 20))
            ]
            lived = arm.day(number, said, asked)
            if number >= len(found["nights"]):
                found["nights"].append(lived)
            say(f"{name} {seed} night {number + 1}: {json.dumps(found['nights'][number])}")
            if number + 1 not in measured and (
                number + 1 in (1, nights) or (number + 1) % every == 0
            ):
                holding = list(life.current.values())
                arm.ready(holding)
                found["checkpoints"].append(measure(arm, life, seed, each))
                say(f"{name} {seed} {json.dumps(found['checkpoints'][-1])}")
            file.write_text(json.dumps(found, indent=1))
    finally:
        arm.close()
    return found


def main(
    arms: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(ARMS),
    seed: int = 0,
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
    if strange := set(arms.split(",")) - set(ARMS):
        raise typer.BadParameter(
            f"no arm is called {', '.join(sorted(strange))}; there are {', '.join(ARMS)}."
        )
    for name in arms.split(","):
        live(name, seed, nights, facts, every, each, out, lambda text: print(text, flush=True))
    found = [json.loads(p.read_text()) for p in sorted(out.glob(f"*-{seed}.json"))]
    for f in found:
        print(f["arm"], json.dumps(f["checkpoints"][-1]))
    draw_life({f["arm"]: f["checkpoints"] for f in found}, out / "life.png")


if __name__ == "__main__":
    typer.run(main)
