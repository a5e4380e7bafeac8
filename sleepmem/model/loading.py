"""A base model and its tokenizer, from the hub or a folder: checked, frozen, on a device."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from sleepmem.errors import ModelError

# What the MLP blocks of a model are called, by its family.
_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe")


class Base(NamedTuple):
    """A frozen model, and what is known about it.

    `ends`: ids of the tokens that end an answer.
    `mlp_layers`: names of the linear layers that experts change, as PEFT wants them.
    `context_length`: the most tokens that it takes.
    `vocabulary`: the width of its logits.
    """

    model: Any
    tokenizer: Any
    device: str
    ends: list[int]
    mlp_layers: list[str] | str
    context_length: int
    vocabulary: int


def load_base(name: str, *, device: str | None = None) -> Base:
    """Load a model that can chat.

    Args:
        name: hub id or folder.
        device: the first GPU by default, else the CPU.

    Raises:
        ModelError: it cannot be loaded, or its tokenizer has no chat template.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model, tokenizer = _load(name)
    if not tokenizer.chat_template:
        raise ModelError(
            f"model {name!r} has no chat template, so it cannot be talked to. "
            "Use an instruct model, or save a chat template with its tokenizer."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = model.to(device).eval().requires_grad_(False)

    # A model may name no end, one or several; the tokenizer's own always count.
    ends = model.generation_config.eos_token_id or []
    if not isinstance(ends, list):
        ends = [ends]
    length = getattr(model.config.get_text_config(), "max_position_embeddings", 0)
    return Base(
        model,
        tokenizer,
        device,
        ends=[tokenizer.eos_token_id, tokenizer.pad_token_id, *ends],
        mlp_layers=_mlp_layers(model),
        context_length=int(length or tokenizer.model_max_length),
        vocabulary=int(model.get_output_embeddings().weight.shape[0]),
    )


def _load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer, without running code that came with them."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, padding_side="left", trust_remote_code=False
        )
        model = AutoModelForCausalLM.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, dtype="auto"
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"model {name!r} could not be loaded ({str(error).splitlines()[0]}). Pass a hub id, or "
            "a folder made by save_pretrained that holds safetensors weights and a tokenizer."
        ) from error
    return model, tokenizer


def _mlp_layers(model: torch.nn.Module) -> list[str] | str:
    """The linear layers of the MLP blocks; all of the model where no name tells a block."""
    layers = set()
    for path, module in model.named_modules():
        names = path.split(".")
        if isinstance(module, torch.nn.Linear) and not set(names).isdisjoint(_MLP):
            layers.add(names[-1])
    return sorted(layers) or "all-linear"
