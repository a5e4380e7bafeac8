"""What is done to the layers of experts: read, several summed, routed, or copied side by side.

An expert is a product B A of two low-rank matrices that is added to a layer's own. Knows torch and
PEFT; a layer is one of PEFT's, and so is `peft`.

| letter | dimension |
|---|---|
| R | rows of a batch |
| T | tokens of a row |
| K | copies |
| G | groups of rows, each of one copy |
| N | tokens of a group |
| E | experts |
| r | rank |
| D | width of what goes in or comes out |
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file

from sleepmem.errors import ExpertError

# Sums at the same time: that of an owner's evening and that of the night.
_SUMS = 2


def layers_of(peft: PeftModel, adapter: str) -> list[Any]:
    """The layers that an adapter changes, in the order of the model."""
    return [
        module
        for module in peft.modules()
        if isinstance(module, LoraLayer) and adapter in module.lora_A
    ]


def delete_adapter(peft: PeftModel, adapter: str) -> None:
    """Delete an adapter that is not the only one. Which one is active then is left open."""
    tuner: Any = peft.base_model
    # PEFT warns when the active one goes.
    another = next(name for name in peft.peft_config if name != adapter)
    tuner.set_adapter(another, inference_mode=True)
    peft.delete_adapter(adapter)


@dataclass(frozen=True)
class Saved:
    """What is read of an expert's files: two numbers and tensors, nothing that names a class.

    PEFT's own way takes a pickle where the safetensors are missing, and from the settings what
    else there is to import.
    """

    rank: int
    alpha: int
    weights: Mapping[str, torch.Tensor]

    @classmethod
    def read(cls, folder: Path) -> Saved:
        """The expert in this folder.

        Raises:
            ExpertError: it is not one that `save_expert` wrote.
        """
        try:
            settings = json.loads((folder / "adapter_config.json").read_text())
            rank, alpha = int(settings["r"]), int(settings["lora_alpha"])
            weights = load_file(folder / "adapter_model.safetensors")
        except (OSError, ValueError, TypeError, LookupError, SafetensorError) as error:
            raise ExpertError(
                f"the expert in {folder} has no adapter_config.json and adapter_model.safetensors "
                f"that can be read ({str(error).splitlines()[0]}); weights of another form, such "
                "as a pickle, are never loaded. Restore the folder from a backup, or roll back."
            ) from error
        return cls(rank, alpha, weights)

    def fill(self, peft: PeftModel, adapter: str) -> None:
        """Give the adapter these weights.

        Raises:
            RuntimeError: they have other shapes.
            ValueError: they are of other layers.
        """
        loaded: Any = set_peft_model_state_dict(peft, dict(self.weights), adapter)
        missing = [name for name in loaded.missing_keys if f".{adapter}." in name]
        other = [*missing, *loaded.unexpected_keys]
        if other:
            raise ValueError(f"it changes other layers, such as {other[0]}")


class Sums:
    """The sums of several frozen experts: one low-rank product instead of one an expert.

    Each is an adapter of its own. The last few are kept, so that views may take turns.

    Args:
        experts_per_token: how many of the experts each token goes through; 0: all of them.
    """

    def __init__(self, experts_per_token: int) -> None:
        self._experts_per_token = experts_per_token
        # The newest last.
        self._adapters: dict[tuple[str, ...], str] = {}
        self._numbers = itertools.count(1)

    def adapter(self, peft: PeftModel, experts: tuple[str, ...]) -> str:
        """Name of the adapter that does what these do together; added where there is none."""
        adapter = self._adapters.pop(experts, None)
        if adapter is None:
            while len(self._adapters) >= _SUMS:
                oldest = next(iter(self._adapters))
                delete_adapter(peft, self._adapters.pop(oldest))
            adapter = self._add(peft, experts)
        self._adapters[experts] = adapter
        return adapter

    def forget(self, peft: PeftModel, expert: str) -> None:
        """Delete every sum that the expert is part of."""
        for experts in list(self._adapters):
            if expert in experts:
                delete_adapter(peft, self._adapters.pop(experts))

    def _add(self, peft: PeftModel, experts: tuple[str, ...]) -> str:
        tuner: Any = peft.base_model
        adapter = f"sum-{next(self._numbers)}"
        try:
            # Concatenated: the matrices stand side by side, so the product is the sum, exactly.
            tuner.add_weighted_adapter(
                list(experts), [1.0] * len(experts), adapter, combination_type="cat"
            )
            for layer in layers_of(peft, adapter):
                if 0 < self._experts_per_token < len(experts):
                    self._route(layer, adapter, experts)
                else:
                    multiply_out(layer, adapter)
        except BaseException:
            # Half a sum must not pass for a whole one.
            if adapter in peft.peft_config:
                delete_adapter(peft, adapter)
            raise
        return adapter

    def _route(self, layer: Any, adapter: str, experts: tuple[str, ...]) -> None:
        """Put a router into the layer; it goes when the adapter goes."""
        ranks = [layer.r[expert] for expert in experts]
        b_by_expert = layer.lora_B[adapter].weight.split(ranks, dim=1)
        hook = routing(b_by_expert, self._experts_per_token)
        layer.lora_A[adapter].register_forward_hook(hook)


def routing(
    b_by_expert: Sequence[torch.Tensor], experts_per_token: int
) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
    """A hook behind the A matrices of summed experts.

    Per token, it leaves the experts whose B adds the longest vectors and silences the others.

    Args:
        b_by_expert: the B of each expert, of shape (D, r) with a rank of its own.
        experts_per_token: how many are left.
    """
    # The squared length of B v is v' (B' B) v, so the wide B v itself is not needed.
    gram_by_expert = [b_D_r.detach().mT @ b_D_r.detach() for b_D_r in b_by_expert]
    ranks = [len(gram_r_r) for gram_r_r in gram_by_expert]

    def route(layer: Any, inputs: Any, low_R_T_r: torch.Tensor) -> torch.Tensor:
        low_by_expert = low_R_T_r.split(ranks, -1)
        lengths = []
        for part_R_T_r, gram_r_r in zip(low_by_expert, gram_by_expert, strict=True):
            part_R_T_r = part_R_T_r.detach()
            lengths.append(((part_R_T_r @ gram_r_r) * part_R_T_r).sum(-1))
        length_R_T_E = torch.stack(lengths, -1)

        longest = length_R_T_E.topk(experts_per_token, -1).indices
        is_on_R_T_E = torch.zeros_like(length_R_T_E).scatter_(-1, longest, 1.0)
        routed = []
        for expert, part_R_T_r in enumerate(low_by_expert):
            routed.append(part_R_T_r * is_on_R_T_E[..., expert, None])
        return torch.cat(routed, -1)

    return route


def multiply_out(layer: Any, adapter: str) -> None:
    """Put the product of A and B in their place where it is smaller.

    Many experts then cost an answer no more than one matrix of the layer's size.
    """
    a_r_D, b_D_r = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    width_in, width_out = a_r_D.shape[1], b_D_r.shape[0]
    if a_r_D.numel() + b_D_r.numel() > width_out * width_in:
        product = torch.nn.Linear(
            width_in, width_out, bias=False, device=a_r_D.device, dtype=a_r_D.dtype
        )
        product.weight = torch.nn.Parameter((b_D_r @ a_r_D).detach(), requires_grad=False)
        layer.lora_A[adapter], layer.lora_B[adapter] = product, torch.nn.Identity()


class Copies:
    """Copies of one expert: what a row of a batch teaches moves its own copy alone.

    `parameters`: the A_K_r_D and the B_K_D_r of each layer, stacked, one behind the other.

    Args:
        layers: those that the expert changes; they add the copies' output until `remove`.
        expert: what each copy begins as.
        count: how many.
    """

    def __init__(self, layers: Sequence[Any], expert: str, *, count: int) -> None:
        self.parameters: list[torch.Tensor] = []
        # The copy of each group of rows in the next pass.
        self._copy_by_group: list[int] = []
        self._hooks = []
        for layer in layers:
            a_K_r_D = _stack(layer.lora_A[expert].weight, count)
            b_K_D_r = _stack(layer.lora_B[expert].weight, count)
            self.parameters += [a_K_r_D, b_K_D_r]
            add = self._adding(a_K_r_D, b_K_D_r, scaling=layer.scaling[expert])
            self._hooks.append(layer.register_forward_hook(add))

    def take(self, copies: Sequence[int]) -> None:
        """The next pass has a row for each of these, ascending.

        Where every copy has as many rows, they go through it together, else row by row.
        """
        counts = Counter(copies)
        is_even = len(set(counts.values())) == 1
        self._copy_by_group = list(counts) if is_even else list(copies)

    def remove(self) -> None:
        """Take the copies out of the layers."""
        for hook in self._hooks:
            hook.remove()

    def _adding(self, a_K_r_D: torch.Tensor, b_K_D_r: torch.Tensor, *, scaling: float) -> Any:
        """A hook behind one layer that adds what the copies of the next pass say."""

        def add(layer: Any, inputs: Any, out_R_T_D: torch.Tensor) -> torch.Tensor:
            groups, (in_R_T_D, *_) = self._copy_by_group, inputs
            in_G_N_D = in_R_T_D.reshape(len(groups), -1, in_R_T_D.shape[-1])
            out_G_N_D = out_R_T_D.reshape(len(groups), -1, out_R_T_D.shape[-1])

            # All copies in order is the usual case; to take them out one by one costs a tenth of
            # a lesson.
            a_G_r_D, b_G_D_r = a_K_r_D, b_K_D_r
            if groups != list(range(len(a_K_r_D))):
                a_G_r_D, b_G_D_r = a_K_r_D[groups], b_K_D_r[groups]
            low_G_N_r = scaling * (in_G_N_D @ a_G_r_D.mT.to(in_G_N_D.dtype))
            sum_G_N_D = torch.baddbmm(out_G_N_D, low_G_N_r, b_G_D_r.mT.to(in_G_N_D.dtype))
            return sum_G_N_D.reshape(out_R_T_D.shape)

        return add


def _stack(weight: torch.Tensor, count: int) -> torch.Tensor:
    """So many copies of a matrix, to be trained."""
    return weight.detach().expand(count, -1, -1).clone().requires_grad_()
