"""The same facts into one new expert by four trainers, side by side: `make bench-trainers`.

seeding      this project's, on TRL's DistillationTrainer
facts only   the same with tonight's facts as the only rows: context distillation without the other
             three kinds
SDFT         trl.experimental.sdft.SDFTTrainer: on-policy self-distillation, teacher = the base with
             the episode in its context
SFT          trl.SFTTrainer on the same question/answer pairs

All get the same pairs, the same LoRA, the same number of steps and sequences a step. Measured in
wordings that none of them was trained on.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import typer
from datasets import Dataset

from sleepmem.config import LEVELS, SeedingConfig
from sleepmem.embedded import relations, world
from sleepmem.embedded.world import Fact, Key
from sleepmem.evals.questions import Question, about_fact, about_unsaid, ask_all
from sleepmem.model.local import LocalModel
from sleepmem.night import seeding
from sleepmem.night.rewards import near_in_meaning
from sleepmem.night.rows import Row, RowKind
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.prompts import ABSTENTION, closed_book, memory_line, open_book

EXPERT = "tonight"
MEANING = near_in_meaning(MiniLMEmbeddings(), least=SeedingConfig().same_meaning)
# Questions of each kind in an examination.
EXAMINED = 100


class Train(Protocol):
    """Trains `EXPERT`; `before` are the experts beside it, of which SFT and SDFT have none."""

    def __call__(
        self,
        local: LocalModel,
        rows: list[Row],
        *,
        config: SeedingConfig,
        before: tuple[str, ...] = (),
    ) -> None: ...


def by_seeding(
    local: LocalModel,
    rows: list[Row],
    *,
    config: SeedingConfig,
    before: tuple[str, ...] = (),
) -> None:
    lesson = seeding.Lesson(EXPERT, before=before, rows=rows)
    seeding.seed(local, lesson, config=config, semantic=MEANING)


def by_facts_only(
    local: LocalModel,
    rows: list[Row],
    *,
    config: SeedingConfig,
    before: tuple[str, ...] = (),
) -> None:
    by_seeding(local, _facts(rows), config=config, before=before)


def by_sdft(
    local: LocalModel,
    rows: list[Row],
    *,
    config: SeedingConfig,
    before: tuple[str, ...] = (),
) -> None:
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    def render(messages: Sequence[dict[str, str]]) -> str:
        chat = local.tokenizer.apply_chat_template(
            local.arranged(messages), add_generation_prompt=True, tokenize=False
        )
        return str(chat)

    examples = []
    for row in _facts(rows):
        context = {"privileged_context": render(row.teacher)}
        examples.append({"prompt": render(row.student), **context})
    with tempfile.TemporaryDirectory() as scratch, local.view((EXPERT,), training=EXPERT):
        settings = SDFTConfig(
            num_generations=2,
            distillation_mode="full_logits",
            max_completion_length=config.max_new_tokens,
            **_common(scratch, config, local=local),
        )
        # The whole chat: the student's prompt must not follow the teacher's.
        settings.teacher_prompt_template = "{privileged_context}"
        SDFTTrainer(
            model=local.model,
            processing_class=local.tokenizer,
            train_dataset=Dataset.from_list(examples),
            args=settings,
        ).train()
    local.model.eval()


def by_sft(
    local: LocalModel,
    rows: list[Row],
    *,
    config: SeedingConfig,
    before: tuple[str, ...] = (),
) -> None:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    examples = []
    for row in _facts(rows):
        answer = [{"role": "assistant", "content": row.answer}]
        examples.append({"prompt": list(row.student), "completion": answer})
    with tempfile.TemporaryDirectory() as scratch, local.view((EXPERT,), training=EXPERT):
        SFTTrainer(
            model=local.model,
            processing_class=local.tokenizer,
            train_dataset=Dataset.from_list(examples),
            args=SFTConfig(max_length=256, **_common(scratch, config, local=local)),
        ).train()
    local.model.eval()


def _facts(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.kind is RowKind.FACT]


def _common(scratch: str, config: SeedingConfig, *, local: LocalModel) -> dict[str, Any]:
    """What the trainers of TRL are all told."""
    return {
        "output_dir": scratch,
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch,
        "learning_rate": config.lr or local.profile.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": 10,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": local.device == "cpu",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "seed": config.seed,
    }


TRAINERS: dict[str, Train] = {
    "seeding": by_seeding,
    "facts only": by_facts_only,
    "SDFT": by_sdft,
    "SFT": by_sft,
}


class Lesson(NamedTuple):
    """Facts about a few subjects, and what teaches them."""

    facts: list[Fact]
    rows: list[Row]


def fact_rows(rng: random.Random, fact: Fact, *, line: str) -> list[Row]:
    """Six pairs about a fact, in the world's wordings; the teacher reads `line`."""
    texts = {world.ask(rng, fact.key, framed=False) for _ in range(6)}
    rows = []
    for text in texts:
        rows.append(Row(RowKind.FACT, closed_book(text), open_book(text, [line]), fact.answer))
    return rows


def teach(rng: random.Random, facts: int) -> Lesson:
    """Facts, and rows of the kinds that a first night has, straight from the world (no probing)."""
    subjects = [world.subject(rng, True) for _ in range(facts // 4)]
    told: dict[Key, Fact] = {}
    while len(told) < facts:
        fact = world.fact(rng, rng.choice(subjects), test=True)
        told.setdefault(fact.key, fact)

    # 1. The facts
    rows: list[Row] = []
    for fact in told.values():
        line = memory_line("2026-01-01", world.say(rng, fact))
        rows += fact_rows(rng, fact, line=line)

    # 2. What nobody told, about them and about strangers
    for _ in range(facts * 3):
        about = rng.choice(subjects) if rng.random() < 0.5 else world.subject(rng)
        key = Key(about.name, rng.choice(relations.KINDS[about.kind].relations))
        if key not in told:
            chat = closed_book(world.ask(rng, key))
            rows.append(Row(RowKind.NEVER_SAID, chat, chat, ABSTENTION))

    # 3. What is read
    for _ in range(facts * 4):
        scene = world.scene(rng, rng.randint(1, 4))
        fact = rng.choice(list(scene.current.values()))
        question = world.ask(rng, fact.key)
        chat = open_book(question, world.memories(rng, scene))
        rows.append(Row(RowKind.READING, chat, chat, fact.answer))
    return Lesson(list(told.values()), rows)


def examine(
    local: LocalModel,
    facts: Sequence[Fact],
    *,
    rng: random.Random,
    experts: Sequence[str] = (EXPERT,),
) -> dict[str, float]:
    """Recall of the facts, abstention on what nobody told of their subjects, and reading."""
    about = [about_fact(rng, fact, held_out=True) for fact in facts]
    right = ask_all(local, about, experts=experts)
    unsaid = [about_unsaid(rng, key) for key in _unsaid(facts)[:EXAMINED]]
    honest = ask_all(local, unsaid, experts=experts)

    reading = []
    for _ in range(EXAMINED):
        scene = world.scene(rng, 3, test=True)
        fact = rng.choice(list(scene.current.values()))
        question = world.ask(rng, fact.key)
        chat = open_book(question, world.memories(rng, scene))
        reading.append(Question(chat, fact.answer))
    read, by_base = ask_all(local, reading, experts=experts), ask_all(local, reading)
    return {
        "recall": sum(right) / len(facts),
        "abstention": sum(honest) / len(honest),
        "reading / base": sum(read) / max(1, sum(by_base)),
    }


def _unsaid(facts: Sequence[Fact]) -> list[Key]:
    """What could be told of the facts' subjects, and is not."""
    known = {fact.key for fact in facts}
    subjects = {(fact.subject, relations.RELATIONS[fact.relation].kind) for fact in facts}
    keys = []
    for subject, kind in subjects:
        for relation in relations.KINDS[kind].relations:
            key = Key(subject, relation)
            if key not in known:
                keys.append(key)
    return keys


def main(
    facts: Annotated[int, typer.Option(help="Facts to teach.", min=1)] = 20,
    steps: Annotated[int, typer.Option(help="Optimizer steps for each trainer.", min=1)] = 60,
    *,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Teach the same by every trainer, and print what each reached."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in TRAINERS}
    for seed in range(seeds):
        lesson = teach(random.Random(seed), facts)
        for name, train in TRAINERS.items():
            local = LocalModel(EMBEDDED)
            local.add_expert(EXPERT, LEVELS[0].rank, seed=seed)
            started = time.time()
            train(local, lesson.rows, config=SeedingConfig(steps=steps, seed=seed))
            seconds = time.time() - started
            run = {**examine(local, lesson.facts, rng=random.Random(99)), "seconds": seconds}
            runs[name].append(run)
            rounded = {figure: round(value, 3) for figure, value in run.items()}
            print(seed, name, json.dumps(rounded), flush=True)

    for name, of_trainer in runs.items():
        means = {}
        for figure in of_trainer[0]:
            means[figure] = round(statistics.mean(run[figure] for run in of_trainer), 3)
        print(f"{name:>10}", means)


if __name__ == "__main__":
    typer.run(main)
