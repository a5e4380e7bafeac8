"""Perplexity of answers that somebody else wrote: does a model still speak as it did?

Letters: N tokens of all answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sleepmem.model.local import LocalModel


@torch.no_grad()
def perplexity(
    local: LocalModel,
    prompts: Sequence[Sequence[int]],
    *,
    answers: Sequence[Sequence[int]],
    experts: Sequence[str] = (),
) -> float:
    """Of the answers' tokens, each read after its prompt, with these experts on."""
    with local.view(experts):
        log_N_V = local.logits(prompts, answers).float().log_softmax(-1)
    wanted_N = torch.tensor([token for answer in answers for token in answer])
    wanted_N_1 = wanted_N[:, None].to(log_N_V.device)
    return float(log_N_V.gather(-1, wanted_N_1).mean().neg().exp())
