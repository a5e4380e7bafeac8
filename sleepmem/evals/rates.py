"""What share of the machine a night reaches: of its matmul rate in training, of its memory's rate
in writing. `python -m sleepmem.evals.rates --model FILE`.

Of one thread, in CPU seconds of this process, so that others on the machine count little; medians
of three. Useful work alone counts: no padding, no attention, no cache; of writing at many rows the
multiplications are what limits, so both shares stand there.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from sleepmem.config import AUTO, ModelConfig, SeedingConfig
from sleepmem.evals.fit import people
from sleepmem.model.local import LocalModel
from sleepmem.night.rows import Row, RowKind, compose
from sleepmem.night.seeding import Lesson, seed
from sleepmem.text.prompts import closed_book, memory_line, open_book

_EXPERT, _RANK = "rates", 16
_REPEATS = 3
# Rows and bytes of what the machine itself is measured with: larger than its caches.
_ROWS, _BYTES = 1024, 1 << 28
# Rows that are written at once: a question by day, and a night's.
_AT_ONCE = (1, 64)
_WRITTEN, _READ = 16, 8
_MEMORIES = 4


class Machine(NamedTuple):
    """Multiplications and additions a second in the model's dtype; bytes read a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Rate:
    """Tokens a second of something, and the shares of the machine's rates that this is."""

    name: str
    tokens: float
    matmul: float
    memory: float | None = None


class Weights(NamedTuple):
    """Numbers in the linear layers: of the trunk, of the head, of an expert."""

    trunk: int
    head: int
    expert: int

    @classmethod
    def of(cls, local: LocalModel) -> Weights:
        """Those of a model with one expert."""
        head = local.base.get_output_embeddings()
        trunk = expert = 0
        for name, module in local.base.named_modules():
            if isinstance(module, torch.nn.Linear) and module is not head:
                if "lora_" in name:
                    expert += module.weight.numel()
                else:
                    trunk += module.weight.numel()
        return cls(trunk, head.weight.numel(), expert)


def machine(local: LocalModel) -> Machine:
    """Measured with matrices of the model's width."""
    config = local.base.config.get_text_config()
    widths = config.hidden_size, config.intermediate_size
    in_R_D = torch.randn(_ROWS, widths[0]).to(local.base.dtype)
    weight_D_D = torch.randn(widths[1], widths[0]).to(local.base.dtype)
    multiplying = _seconds(lambda: torch.nn.functional.linear(in_R_D, weight_D_D))
    many = torch.ones(_BYTES // 4)
    return Machine(2 * _ROWS * widths[0] * widths[1] / multiplying, _BYTES / _seconds(many.sum))


def training(local: LocalModel, weights: Weights, *, on: Machine, batch: int) -> Rate:
    """A step of seeding, with all kinds of rows."""
    config = replace(SeedingConfig(), steps=_REPEATS + 1, batch=batch)
    rows = _rows(batch)
    # The first step ends what is only done once: TRL's beginnings, the teachers' reading.
    ends: list[float] = []
    seed(
        local,
        Lesson(_EXPERT, (), rows),
        config=config,
        semantic=lambda answer, wanted: 0.0,
        progress=lambda *event: ends.append(time.process_time()),
    )
    drawn = compose(rows, config)[batch:]
    answers = sum(len(local.answer_ids(row.answer)) for row in drawn)
    tokens = sum(len(local.prompt_ids(row.student)) for row in drawn) + answers
    # Forward and back through what is frozen; an expert's own gradients are a third pass.
    work = tokens * (4 * weights.trunk + 6 * weights.expert) + answers * 4 * weights.head
    seconds = _REPEATS * _between(ends)
    return Rate("training", tokens / seconds, work / seconds / on.flops)


def reading(local: LocalModel, weights: Weights, *, on: Machine) -> Rate:
    """Prompts with memories, each another."""
    chats = [row.teacher for row in _rows(_READ) if row.kind is RowKind.READING]
    tokens = sum(len(local.prompt_ids(chat)) for chat in chats)
    seconds = _seconds(lambda: local.answer(chats, max_new_tokens=1))
    return Rate("reading", tokens / seconds, 2 * tokens * weights.trunk / seconds / on.flops)


def writing(local: LocalModel, weights: Weights, *, on: Machine, rows: int) -> Rate:
    """Questions about one memory, sampled as many at once."""
    chat = open_book("Ask about it.", _lines(people.reading(random.Random(0), 1)))
    with _passes(local) as ends:
        local.answer([chat] * rows, max_new_tokens=_WRITTEN, temperature=1.0)
    # The first two passes read the prompt.
    steps = ends[2:] if rows > 1 else ends
    seconds = _between(steps)
    numbers = weights.trunk + weights.head
    return Rate(
        f"writing, {rows} at once",
        rows / seconds,
        2 * rows * numbers / seconds / on.flops,
        numbers * local.base.dtype.itemsize / seconds / on.bytes,
    )


@contextmanager
def _passes(local: LocalModel) -> Iterator[list[float]]:
    """When each pass through the model ended."""
    ends: list[float] = []
    hook = local.base.get_output_embeddings().register_forward_hook(
        lambda *call: ends.append(time.process_time())
    )
    try:
        yield ends
    finally:
        hook.remove()


def _between(ends: Sequence[float]) -> float:
    """The median step."""
    return statistics.median(end - start for start, end in itertools.pairwise(ends))


def _seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of it, once it is warm."""
    work()
    taken = []
    for _ in range(_REPEATS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def _rows(count: int) -> list[Row]:
    """So many of each kind, about people."""
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        case = people.reading(rng, _MEMORIES)
        asked, told = closed_book(case.question), open_book(case.question, _lines(case))
        rows += [
            Row(RowKind.FACT, asked, told, case.answer),
            Row(RowKind.NEVER_SAID, asked, asked, case.answer),
            Row(RowKind.REHEARSAL, asked, asked, case.answer),
            Row(RowKind.READING, told, told, case.answer),
        ]
    return rows


def _lines(case: people.Case) -> list[str]:
    return [memory_line("2026-05-04", text) for text in case.texts]


def table(rates: Sequence[Rate], on: Machine, *, dtype: torch.dtype) -> str:
    """Markdown."""
    name = str(dtype).removeprefix("torch.")
    lines = [
        f"One thread: {on.flops / 1e9:.0f} GFLOPS in {name}, {on.bytes / 1e9:.1f} GB/s.",
        "",
        "| | tokens a second | of the matmul rate | of the memory's rate |",
        "|---|---:|---:|---:|",
    ]
    for rate in rates:
        memory = "" if rate.memory is None else f"{rate.memory:.0%}"
        lines.append(f"| {rate.name} | {rate.tokens:.0f} | {rate.matmul:.0%} | {memory} |")
    return "\n".join(lines)


def main(
    model: Annotated[str, typer.Option(help="Hub id, folder or GGUF file.")],
    *,
    dtype: Annotated[str, typer.Option(help="Of the base.")] = AUTO,
    batch: Annotated[int, typer.Option(help="Rows of a step.", min=4)] = SeedingConfig.batch,
    out: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("runs/bench-rates"),
) -> None:
    """Measure the machine, then what training, reading and writing reach of it."""
    torch.set_num_threads(1)
    local = LocalModel(model, ModelConfig(device="cpu", dtype=dtype))  # type: ignore[arg-type]
    on = machine(local)
    local.add_expert(_EXPERT, _RANK)
    weights = Weights.of(local)
    rates = [writing(local, weights, on=on, rows=rows) for rows in _AT_ONCE]
    rates.append(reading(local, weights, on=on))
    rates.append(training(local, weights, on=on, batch=batch))
    print(table(rates, on, dtype=local.base.dtype))
    out.mkdir(parents=True, exist_ok=True)
    numbers = {"machine": on._asdict(), "rates": [vars(rate) for rate in rates]}
    (out / "rates.json").write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    typer.run(main)
