"""What generating text in batches needs: rows made equally long, and how sure the model was. Knows torch and transformers, no experts.

Letters: R rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import LogitsProcessor


class Reply(NamedTuple):
    """An answer, and how sure the model was: the probability of the likeliest token where it was lowest, in (0, 1]."""

    text: str
    confidence: float


class Watch(LogitsProcessor):  # type: ignore[misc]
    """Changes no score; keeps the probability of the likeliest token at every step."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.float().softmax(-1).amax(-1))
        return scores

    def confidence(self, made_R_T: torch.Tensor, ends: Sequence[int]) -> list[float]:
        """Per row, the least of these up to the end of its answer."""
        end_R_T = torch.isin(made_R_T, torch.tensor(ends, device=made_R_T.device)).int()
        over_R_T = end_R_T.cumsum(-1) - end_R_T > 0  # after the first end
        return [float(x) for x in torch.stack(self.steps, -1).masked_fill(over_R_T, 1.0).amin(-1)]


def pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids_R_T, mask_R_T)"""
    width = max(map(len, rows))
    ids, mask = (
        torch.full((len(rows), width), value),
        torch.zeros(len(rows), width, dtype=torch.long),
    )
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, at] = torch.tensor(row, dtype=torch.long)
        mask[i, at] = 1
    return ids, mask


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers in groups of like length, so that a long row does not make short ones expensive."""
    groups: list[list[int]] = []
    for r in sorted(range(len(lengths)), key=lambda r: lengths[r]):
        if groups and lengths[r] <= 1.5 * lengths[groups[-1][0]] + 16:
            groups[-1].append(r)
        else:
            groups.append([r])
    return groups
