"""What a model expects at every token: the likeliest tokens one by one, all others as one class.

Whole, the logits of a teacher with a vocabulary of 49,152 take 200 kB a token.

Letters: N tokens, V vocabulary, k tokens that are kept, C classes: k and one more; all V where as
many are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

# The least share of the others: a difference of two numbers in float32 knows no smaller one.
_LEAST = 1e-6


class Expected(NamedTuple):
    """A teacher's likeliest tokens, and the logits of the classes that they make.

    token_N_k   none where the whole vocabulary is kept
    """

    token_N_k: torch.Tensor
    logits_N_C: torch.Tensor

    @classmethod
    def of(cls, logits_N_V: torch.Tensor, kept: int) -> Expected:
        """The `kept` likeliest tokens and the rest."""
        logits_N_V = logits_N_V.float()
        if kept >= logits_N_V.shape[-1]:
            return cls(logits_N_V.new_empty(len(logits_N_V), 0, dtype=torch.int32), logits_N_V)
        token_N_k = logits_N_V.topk(kept, -1).indices.int()
        return cls(token_N_k, classes(logits_N_V, token_N_k))

    @property
    def nbytes(self) -> int:
        return self.token_N_k.nbytes + self.logits_N_C.nbytes


def classes(logits_N_V: torch.Tensor, token_N_k: torch.Tensor) -> torch.Tensor:
    """Logits_N_C of these tokens and of all others together."""
    if not token_N_k.shape[-1]:
        return logits_N_V
    log_N_k = logits_N_V.gather(-1, token_N_k.long()) - logits_N_V.logsumexp(-1, keepdim=True)
    rest_N_1 = 1 - log_N_k.exp().sum(-1, keepdim=True)
    return torch.cat([log_N_k, rest_N_1.clamp_min(_LEAST).log()], -1)
