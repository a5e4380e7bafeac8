"""What habits cost: how far a schooled model is from what it was (`python -m ...evals.habits`).

The KL divergence on neutral prompts, over the unschooled model's own answers, and the perplexity of
a piece of prose, as a ratio.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import torch
import typer

from sleepmem.config import ModelConfig
from sleepmem.evals.lives.weights import Scale
from sleepmem.model.habits import NONE
from sleepmem.model.local import LocalModel
from sleepmem.text.prompts import closed_book
from sleepmem.text.small_talk import NEUTRAL


def main(
    model: Annotated[str, typer.Option(help="Hub id, folder or GGUF file.")],
    *,
    habits: Annotated[str, typer.Option(help="A folder of school's; 'auto': as shipped.")] = "auto",
    dtype: Annotated[str, typer.Option(help="As ModelConfig's.")] = "float32",
    threads: Annotated[int, typer.Option(help="Of torch.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Print both figures as JSON."""
    torch.set_num_threads(threads)
    before, after = (
        LocalModel(Path(model) if Path(model).exists() else model, config)
        for config in (
            ModelConfig(dtype=dtype, habits=NONE),  # type: ignore[arg-type]
            ModelConfig(dtype=dtype, habits=habits),  # type: ignore[arg-type]
        )
    )
    old, new = (Scale(local, reading=1).base.perplexity for local in (before, after))
    found = {
        "general_kl": round(apart(before, after), 4),
        "perplexity": round(new, 3),
        "perplexity_before": round(old, 3),
        "ratio": round(new / old, 4),
    }
    typer.echo(json.dumps(found, indent=1))


@torch.no_grad()
def apart(before: LocalModel, after: LocalModel) -> float:
    """KL(before || after), in nats per token, over what the first answers to neutral prompts."""
    chats = [closed_book(prompt) for prompt in NEUTRAL]
    asked = [before.prompt_ids(chat) for chat in chats]
    answers = [before.answer_ids(reply) for reply in before.answer(chats)]
    old, new = (local.logits(asked, answers).float().log_softmax(-1) for local in (before, after))
    return float((old.exp() * (old - new)).sum(-1).mean())


if __name__ == "__main__":
    typer.run(main)
