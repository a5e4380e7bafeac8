"""A base model and its tokenizer, from hub, folder or GGUF: checked, frozen, on a device."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.pytorch_utils import Conv1D

from sleepmem._extras import from_extra
from sleepmem.config import AUTO, ModelConfig
from sleepmem.errors import ModelError, SleepmemError
from sleepmem.model import gguf
from sleepmem.model.encoding import Encoding
from sleepmem.model.habits import Rehearsed, chosen
from sleepmem.model.profiles import Profile
from sleepmem.model.templates import Template, thoughts
from sleepmem.text.prompts import closed_book

# What the MLP blocks of a model are called, by its family.
_MLP = ("mlp", "shared_mlp", "feed_forward", "ffn", "block_sparse_moe")
# What Linux tells of its memory.
_MEMORY = Path("/proc/meminfo")
# How long the hub is waited for, in seconds.
_PATIENCE = 4


class Base(NamedTuple):
    """A frozen model, and what is known about it.

    `ends`: ids of the tokens that end an answer; the first is the one that the template puts there.
    `mlp_layers`: names of the linear layers that experts change, as PEFT wants them.
    `context_length`: the most tokens that it takes.
    `vocabulary`: the width of its logits.
    `profile`: how it is asked.
    `known_by`: hub id, hash of the GGUF file, or folder.
    `habits`: what its habits are known by; empty where it has none.
    `rehearsal`: what nights go over, so that these are not lost.
    `template`: what is known of its chat template, and what its answers begin with.
    """

    model: Any
    tokenizer: Any
    device: str
    ends: list[int]
    mlp_layers: list[str]
    context_length: int
    vocabulary: int
    profile: Profile
    known_by: str
    habits: str
    rehearsal: tuple[Rehearsed, ...]
    template: Template


def load_base(name: str, config: ModelConfig | None = None, *, cache: Path | None = None) -> Base:
    """Load a model that can chat.

    Args:
        name: hub id, folder, or GGUF file.
        config: device, dtype and bits.
        cache: folder that keeps what is unpacked of a GGUF file.

    Raises:
        ModelError: it cannot be loaded, or its tokenizer has no chat template.
        MissingExtra: a package that this kind of model needs is not installed.
    """
    config = config or ModelConfig()
    device = _device() if config.device == AUTO else config.device
    model, tokenizer, base = _load(name, config, device=device, cache=cache)
    habits = chosen(config.habits, base)
    profile = habits.profile if habits else Profile.read(Path(name))
    template = _template(tokenizer, name, config.chat_template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if config.bits is None:
        # What is unpacked of a GGUF file is in float16 on disk alone: some models overflow in it.
        own = torch.bfloat16 if Path(name).is_file() else model.dtype
        model = model.to(device, _dtype(model, config, device=device, own=own))
    if habits:
        model = habits.put_on(model)
    model = model.eval().requires_grad_(False)
    model.get_output_embeddings().register_forward_pre_hook(_side_by_side)

    ends, template = _ends(model, tokenizer), _without_thought(model, tokenizer, template)
    # Of its own settings nothing else: a penalty for repetition would be one for quoting memories.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    length = getattr(model.config.get_text_config(), "max_position_embeddings", 0)
    return Base(
        model,
        tokenizer,
        device,
        ends=ends,
        mlp_layers=_mlp_layers(model, profile.blocks),
        context_length=int(length or tokenizer.model_max_length),
        vocabulary=int(model.get_output_embeddings().weight.shape[0]),
        profile=profile.set_by(config),
        known_by=base,
        habits=habits.sha256 if habits else "",
        rehearsal=habits.rehearsal if habits else (),
        template=template,
    )


def _template(tokenizer: Any, name: str, file: str | None) -> Template:
    """What is known of the tokenizer's chat template, or of that in a file.

    Raises:
        ModelError: there is none, or it takes no turn of a user.
    """
    if file:
        _give_template(tokenizer, Path(file).expanduser())
    if not tokenizer.chat_template:
        raise ModelError(
            f"model {name!r} has no chat template, so it cannot be talked to. "
            "Use an instruct model, or name a file with one (ModelConfig.chat_template)."
        )
    try:
        return Template.tried(tokenizer)
    except TemplateError as error:
        raise ModelError(
            f"the chat template of model {name!r} takes no turn of a user with its answer "
            f"({error}). Name a file with another (ModelConfig.chat_template)."
        ) from error


def _give_template(tokenizer: Any, file: Path) -> None:
    """Let the tokenizer write chats as a template in a file says."""
    try:
        tokenizer.chat_template = file.read_text("utf-8")
        _last_control(tokenizer)
    except (OSError, UnicodeDecodeError, TemplateError) as error:
        raise ModelError(
            f"{file} is no chat template ({error}). Name a file with one in Jinja, such as the "
            "chat_template.jinja of a model folder."
        ) from error


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end an answer: the model's, the tokenizer's and the template's."""
    # A model may name no end, one or several.
    own = model.generation_config.eos_token_id or []
    own = own if isinstance(own, list) else [own]
    ends = [*_last_control(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, *own]
    return [end for end in dict.fromkeys(ends) if end is not None]


@torch.no_grad()
def _without_thought(model: Any, tokenizer: Any, template: Template) -> Template:
    """With an empty thought before answers, where the model begins them with one of its own."""
    found = thoughts(tokenizer)
    prompt = Encoding(tokenizer, template).chat(closed_book("Hi there.")) if found else []
    # It may begin with a line break.
    for _ in range(2 if found else 0):
        ids_R_T = torch.tensor([prompt], device=model.device)
        first = int(model(input_ids=ids_R_T, use_cache=False).logits[0, -1].argmax())
        if first in found:
            return template._replace(opening=template.opening + found[first])
        prompt = [*prompt, first]
    return template


def _last_control(tokenizer: Any) -> list[int]:
    """The control token with which the chat template ends an answer, if it does."""
    chat = [*closed_book("Hi."), {"role": "assistant", "content": "Hello."}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    added, after = tokenizer.added_tokens_decoder, list[int]()
    while ids and "Hello" not in tokenizer.decode(after := [ids[-1], *after]):
        ids = ids[:-1]
    return [one for one in after if one in added and added[one].special][-1:]


def _load(
    name: str, config: ModelConfig, *, device: str, cache: Path | None
) -> tuple[Any, Any, str]:
    """Model, tokenizer, and what it is known by; no code that came with them is run."""
    base = name
    options: dict[str, Any] = {"trust_remote_code": False}
    try:
        if Path(name).is_file():
            if not name.lower().endswith(gguf.SUFFIX):
                raise ModelError(
                    f"{name} is a file, and no GGUF. Pass a hub id, a folder made by "
                    "save_pretrained, or a file that ends in .gguf."
                )
            folder, base = gguf.unpacked(Path(name), cache)
            source = str(folder)
        else:
            source = name
            options["local_files_only"] = Path(name).exists() or not _is_online(name)
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
        if config.bits is not None:
            options |= _in_bits(config.bits, device)
        model = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, dtype="auto", **options
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if isinstance(error, SleepmemError):
            raise
        raise ModelError(
            f"model {name!r} could not be loaded ({next(iter(str(error).splitlines()), '')}). "
            "Pass a hub id, a folder made by save_pretrained that holds safetensors weights and a "
            "tokenizer, or a GGUF file."
        ) from error
    return model, tokenizer, base


def _is_online(name: str) -> bool:
    """Whether the hub gives what has this id; what is cached is used when it does not.

    Raises:
        ModelError: it does not, and nothing is cached.
    """
    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    except HFValidationError as error:
        raise _not_given(name, error) from error
    except Exception as error:  # of whichever library carries it
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False
        if isinstance(error, HfHubHTTPError):
            raise _not_given(name, error) from error
        raise ModelError(
            f"model {name!r} is no folder and no file here, is not in the hub's cache "
            f"({HF_HUB_CACHE}), and the hub could not be reached within {_PATIENCE} s ({error}). "
            f"Go online once, or pass a folder or a GGUF file."
        ) from error
    return True


def _not_given(name: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0]
    return ModelError(
        f"model {name!r} is no folder and no file here, and the hub does not give it "
        f"({reason}). Check the name; log in with `hf auth login` where it is gated."
    )


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(model: Any, config: ModelConfig, *, device: str, own: torch.dtype) -> torch.dtype:
    """The one asked for; else the model's own, as far as the device computes in it.

    A CPU that multiplies in bfloat16 takes half the time of float32. Any other is fastest in
    float32: that, where twice its weights fit into what memory is free.
    """
    if config.dtype != AUTO:
        return cast("torch.dtype", getattr(torch, config.dtype))
    if device == "cpu":
        if own == torch.float32:
            return own
        fits = 2 * 4 * model.num_parameters() <= _free_memory()
        return torch.float32 if fits and not _multiplies_in_bfloat16() else torch.bfloat16
    no_bfloat16 = device == "cuda" and not torch.cuda.is_bf16_supported()
    return torch.float16 if no_bfloat16 and own == torch.bfloat16 else own


def _multiplies_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it, whatever its maker calls them."""
    # Older releases of torch do not tell.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has_it for name, has_it in capabilities.items() if name.endswith("bf16"))


def _side_by_side(head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """A hook before the head: its rows close together in memory.

    For rows that are cut out of longer ones torch copies the weights of the head, once a row; for a
    single row too, which calls itself contiguous.
    """
    return (inputs[0].clone(memory_format=torch.contiguous_format), *inputs[1:])


def _free_memory() -> float:
    """Bytes, what caches give back among them; without end where the system does not tell."""
    with suppress(OSError):
        for line in _MEMORY.read_text().splitlines():
            name, _, size = line.partition(":")
            if name == "MemAvailable":
                return 1024 * int(size.split()[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _in_bits(bits: int, device: str) -> dict[str, Any]:
    """How transformers loads the weights in 4 or 8 bits (NF4 and LLM.int8, by bitsandbytes)."""
    with from_extra("quantized", f"a base in {bits} bits"):
        import bitsandbytes  # noqa: F401 - transformers imports it where no extra is named
    config = BitsAndBytesConfig(
        load_in_4bit=bits == 4,
        load_in_8bit=bits == 8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32 if device == "cpu" else torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _mlp_layers(model: Any, share: float) -> list[str]:
    """The linear layers that experts change: of this share of the blocks, the last ones.

    Those of the MLP; all, where no name tells one, or where it holds experts of the model's own,
    stacked in one tensor, of which PEFT cannot sum adapters. By their last names, where no other
    layer of the model has them.
    """
    every, in_mlp, is_stacked = _linear_layers(model)
    chosen = in_mlp if in_mlp and not is_stacked else [one for one in every if one not in in_mlp]
    count = int(model.config.get_text_config().num_hidden_layers)
    first = min(count - 1, round((1 - share) * count))
    chosen = [path for path in chosen if _block(path) >= first]
    last_names = {path.rpartition(".")[2] for path in chosen}
    is_told = True
    for path, _ in model.named_modules():
        is_told = is_told and (path in chosen or path.rpartition(".")[2] not in last_names)
    if not chosen:
        raise ModelError(
            f"a model of the kind {model.config.model_type!r} has no linear layer that an expert "
            "may sit on. Use one with attention or MLP blocks."
        )
    return sorted(last_names if is_told else chosen)


def _linear_layers(model: Any) -> tuple[list[str], list[str], bool]:
    """Names of all of them in the blocks, of those in an MLP, and whether one stacks experts."""
    # Of a model that sees, too, the part that speaks; kernels of a recurrent block read its
    # weights past any adapter.
    speaking, every, in_mlp, is_stacked = set(model.get_decoder().modules()), [], [], False
    for path, module in model.named_modules():
        parent = model.get_submodule(path.rpartition(".")[0])
        if module not in speaking or _block(path) < 0 or hasattr(parent, "conv1d"):
            continue
        is_mlp = not set(path.split(".")).isdisjoint(_MLP)
        if isinstance(module, torch.nn.Linear | Conv1D):
            every.append(path)
            in_mlp += [path] if is_mlp else []
        for parameter in module.parameters(recurse=False):
            is_stacked = is_stacked or (is_mlp and parameter.dim() > 2)
    return every, in_mlp, is_stacked


def _block(path: str) -> int:
    """The number of the block that a layer lies in; -1 where it lies in none."""
    return next((int(name) for name in path.split(".") if name.isdigit()), -1)
