"""What is done to the layers of experts while they work: isolated copies side by side, a router, sums made small. Knows torch alone.

Letters: R rows, T tokens, K copies, G groups of rows of one copy each, E experts, r rank, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch


def routing(b_by_expert: Sequence[torch.Tensor], top_k: int) -> Any:
    """A hook behind the A matrices of summed experts: keeps, per token, those `top_k` whose B adds the longest vector, and silences the others."""
    grams = [b_D_r.detach().mT @ b_D_r.detach() for b_D_r in b_by_expert]

    def route(layer: Any, args: Any, low_R_T_r: torch.Tensor) -> torch.Tensor:
        parts = low_R_T_r.split([len(g) for g in grams], -1)
        length_R_T_E = torch.stack(
            [((p.detach() @ g) * p.detach()).sum(-1) for p, g in zip(parts, grams, strict=True)], -1
        )
        kept_R_T_E = torch.zeros_like(length_R_T_E).scatter_(
            -1, length_R_T_E.topk(top_k, -1).indices, 1.0
        )
        return torch.cat([p * kept_R_T_E[..., e, None] for e, p in enumerate(parts)], -1)

    return route


def multiply_out(layer: Any, adapter: str) -> None:
    """Put the product of A and B in their place where it is smaller: many experts then cost an answer no more than one matrix of the layer's size."""
    a_r_D, b_D_r = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    if a_r_D.numel() + b_D_r.numel() > b_D_r.shape[0] * a_r_D.shape[1]:
        product = torch.nn.Linear(
            a_r_D.shape[1], b_D_r.shape[0], bias=False, device=a_r_D.device, dtype=a_r_D.dtype
        )
        product.weight = torch.nn.Parameter((b_D_r @ a_r_D).detach(), requires_grad=False)
        layer.lora_A[adapter], layer.lora_B[adapter] = product, torch.nn.Identity()


class Copies:
    """Copies of one expert in stacked tensors, `parameters` of shape (copies, ...): what one row of a batch teaches moves its own copy alone."""

    def __init__(self, layers: Sequence[Any], expert: str, count: int) -> None:
        self.groups: list[int] = []
        self.parameters: list[torch.Tensor] = []
        self._hooks = []
        for layer in layers:
            a_K_r_D, b_K_D_r = (
                x[expert].weight.detach().expand(count, -1, -1).clone().requires_grad_()
                for x in (layer.lora_A, layer.lora_B)
            )
            self.parameters += [a_K_r_D, b_K_D_r]
            self._hooks.append(
                layer.register_forward_hook(self._adding(a_K_r_D, b_K_D_r, layer.scaling[expert]))
            )

    def take(self, rows: Sequence[int]) -> None:
        """The next pass has these rows, each with its copy, ascending: as many a copy go through it together, else row by row."""
        counts = Counter(rows)
        self.groups = list(counts) if len(set(counts.values())) == 1 else list(rows)

    def _adding(self, a_K_r_D: torch.Tensor, b_K_D_r: torch.Tensor, scaling: float) -> Any:
        def add(
            layer: Any, args: tuple[torch.Tensor, ...], out_R_T_D: torch.Tensor
        ) -> torch.Tensor:
            x_G_N_D = args[0].reshape(len(self.groups), -1, args[0].shape[-1])
            in_order = self.groups == list(
                range(len(a_K_r_D))
            )  # the usual case; taking them out one by one costs a tenth of a lesson
            a_G_r_D, b_G_D_r = (p if in_order else p[self.groups] for p in (a_K_r_D, b_K_D_r))
            low_G_N_r = scaling * (x_G_N_D @ a_G_r_D.mT.to(x_G_N_D.dtype))
            out_G_N_D = out_R_T_D.reshape(len(self.groups), -1, out_R_T_D.shape[-1])
            return torch.baddbmm(out_G_N_D, low_G_N_r, b_G_D_r.mT.to(x_G_N_D.dtype)).reshape(
                out_R_T_D.shape
            )

        return add

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
