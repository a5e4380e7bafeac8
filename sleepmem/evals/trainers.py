"""The same facts into one new expert by four trainers, side by side: `make bench-trainers`.

seeding        this project's, on TRL's DistillationTrainer
facts only     the same with tonight's facts as the only rows: context distillation without the other three kinds
SDFT           trl.experimental.sdft.SDFTTrainer: on-policy self-distillation, teacher = the base with the episode in its context
SFT            trl.SFTTrainer on the same question/answer pairs

All get the same pairs, the same LoRA, the same number of steps and sequences a step. Measured in wordings that none of them was trained on.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from datasets import Dataset

from sleepmem.config import LEVELS, SeedingConfig
from sleepmem.embedded import relations, world
from sleepmem.model.local import LocalModel
from sleepmem.night import seeding
from sleepmem.night.rewards import near_in_meaning
from sleepmem.night.rows import Row, RowKind
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book, memory_line, open_book

EXPERT = "tonight"
MEANING = near_in_meaning(MiniLMEmbeddings(), least=SeedingConfig().same_meaning)
Train = Callable[
    [LocalModel, list[Row], SeedingConfig, tuple[str, ...]], None
]  # the last: experts beside; SFT and SDFT have none


def by_seeding(
    local: LocalModel, rows: list[Row], config: SeedingConfig, before: tuple[str, ...] = ()
) -> None:
    lesson = seeding.Lesson(EXPERT, before=before, rows=rows)
    seeding.seed(local, lesson, config=config, semantic=MEANING)


def by_facts_only(
    local: LocalModel, rows: list[Row], config: SeedingConfig, before: tuple[str, ...] = ()
) -> None:
    by_seeding(local, [r for r in rows if r.kind is RowKind.FACT], config, before)


def by_sdft(
    local: LocalModel, rows: list[Row], config: SeedingConfig, before: tuple[str, ...] = ()
) -> None:
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    def render(messages: Sequence[dict[str, str]]) -> str:
        return str(
            local.tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=False
            )
        )

    facts = [r for r in rows if r.kind is RowKind.FACT]
    data = Dataset.from_list(
        [{"prompt": render(r.student), "privileged_context": render(r.teacher)} for r in facts]
    )
    with tempfile.TemporaryDirectory() as scratch, local.view((EXPERT,), training=EXPERT):
        args = SDFTConfig(
            num_generations=2,
            distillation_mode="full_logits",
            max_completion_length=config.max_new_tokens,
            **_common(scratch, config),
        )
        args.teacher_prompt_template = "{privileged_context}"  # the whole chat: the student's prompt must not follow the teacher's
        SDFTTrainer(
            model=local.model, processing_class=local.tokenizer, train_dataset=data, args=args
        ).train()
    local.model.eval()


def by_sft(
    local: LocalModel, rows: list[Row], config: SeedingConfig, before: tuple[str, ...] = ()
) -> None:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    facts = [r for r in rows if r.kind is RowKind.FACT]
    data = Dataset.from_list(
        [
            {"prompt": list(r.student), "completion": [{"role": "assistant", "content": r.answer}]}
            for r in facts
        ]
    )
    with tempfile.TemporaryDirectory() as scratch, local.view((EXPERT,), training=EXPERT):
        SFTTrainer(
            model=local.model,
            processing_class=local.tokenizer,
            train_dataset=data,
            args=SFTConfig(max_length=256, **_common(scratch, config)),
        ).train()
    local.model.eval()


def _common(scratch: str, config: SeedingConfig) -> dict[str, Any]:
    return {
        "output_dir": scratch,
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch,
        "learning_rate": config.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": 10,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
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


def teach(rng: random.Random, facts: int) -> tuple[list[world.Fact], list[Row]]:
    """Facts about a few subjects, and rows of the kinds that a first night has, straight from the world (no probing)."""
    subjects = [world.subject(rng, True) for _ in range(facts // 4)]
    told: dict[tuple[str, str], world.Fact] = {}
    while len(told) < facts:
        f = world.fact(rng, rng.choice(subjects), test=True)
        told.setdefault(f.key, f)
    rows = []
    for f in told.values():
        line = memory_line("2026-01-01", world.say(rng, f))
        for q in {world.ask(rng, f.key, framed=False) for _ in range(6)}:
            rows.append(Row(RowKind.FACT, closed_book(q), open_book(q, [line]), f.answer))
    for _ in range(facts * 3):
        of = rng.choice(subjects) if rng.random() < 0.5 else world.subject(rng)
        key = (of[0], rng.choice(relations.KINDS[of[1]][0]))
        if key not in told:
            unsaid = closed_book(world.ask(rng, key))
            rows.append(Row(RowKind.NEVER_SAID, unsaid, unsaid, "I do not know."))
    for _ in range(facts * 4):
        scene = world.scene(rng, rng.randint(1, 4))
        asked = open_book(
            world.ask(rng, (f := rng.choice(list(scene.current.values()))).key),
            world.memories(rng, scene),
        )
        rows.append(Row(RowKind.READING, asked, asked, f.answer))
    return list(told.values()), rows


def examine(
    local: LocalModel,
    told: Sequence[world.Fact],
    rng: random.Random,
    experts: Sequence[str] = (EXPERT,),
) -> dict[str, float]:
    made = local.answer([closed_book(world.ask(rng, f.key, held_out=True)) for f in told], experts)
    known = {f.key for f in told}
    unsaid = [
        (s, r)
        for s, k in {(f.subject, relations.RELATIONS[f.relation].kind) for f in told}
        for r in relations.KINDS[k][0]
        if (s, r) not in known
    ][:100]
    honest = local.answer([closed_book(world.ask(rng, k)) for k in unsaid], experts)
    reading = []
    for _ in range(100):
        scene = world.scene(rng, 3, test=True)
        f = rng.choice(list(scene.current.values()))
        reading.append((open_book(world.ask(rng, f.key), world.memories(rng, scene)), f.answer))
    read = local.answer([c for c, _ in reading], experts)
    base = local.answer([c for c, _ in reading])
    return {
        "recall": sum(matches(m, f.answer) for m, f in zip(made, told, strict=True)) / len(told),
        "abstention": sum(map(abstains, honest)) / len(honest),
        "reading / base": sum(matches(m, a) for m, (_, a) in zip(read, reading, strict=True))
        / max(1, sum(matches(m, a) for m, (_, a) in zip(base, reading, strict=True))),
    }


def main(
    facts: Annotated[int, typer.Option(help="Facts to teach.", min=1)] = 20,
    steps: Annotated[int, typer.Option(help="Optimizer steps for each trainer.", min=1)] = 60,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TRAINERS}
    for seed in range(seeds):
        told, rows = teach(random.Random(seed), facts)
        for name, train in TRAINERS.items():
            local = LocalModel(EMBEDDED)
            config = SeedingConfig(steps=steps, seed=seed)
            local.add_expert(EXPERT, LEVELS[0].rank, seed=seed)
            began = time.time()
            train(local, rows, config, ())
            seconds = time.time() - began
            found[name].append({**examine(local, told, random.Random(99)), "seconds": seconds})
            print(
                seed,
                name,
                json.dumps({k: round(v, 3) for k, v in found[name][-1].items()}),
                flush=True,
            )
    for name, runs in found.items():
        print(f"{name:>10}", {k: round(statistics.mean(r[k] for r in runs), 3) for k in runs[0]})


if __name__ == "__main__":
    typer.run(main)
