"""A Llama with the embedded model's tokenizer as a GGUF file, in whole numbers.

llama.cpp splits numbers otherwise than that tokenizer, so only texts without any are read alike.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

# The template of the tokenizer, which sets a space before every text by itself.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}<|system|> {{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<|assistant|> {{ m['content'] }}<|end|>"
    "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_base(folder: Path, file: Path, *, architecture: str = "llama") -> Path:
    """The model in a folder as a file; its name for what it is may be another."""
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder, size=config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in load_file(folder / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weight = in_pairs(weight, heads)
        if name != "lm_head.weight":
            writer.add_tensor(names.get_name(name, (".weight",)), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def in_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head taken in turn from its first and from its second half."""
    rows = []
    for head in np.split(weight, heads):
        first, second = np.split(head, 2)
        for one, other in zip(first, second, strict=True):
            rows += [one, other]
    return np.stack(rows)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, *, size: int) -> None:
    written = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"]: token["id"] for token in written["added_tokens"]}
    by_id = {number: text for text, number in {**written["model"]["vocab"], **special}.items()}
    tokens = [by_id.get(number, f"<|unused {number}|>") for number in range(size)]
    kinds = [gguf.TokenType.CONTROL if one in special else gguf.TokenType.NORMAL for one in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in written["model"]["merges"]])
    writer.add_bos_token_id(special["<|bos|>"])
    writer.add_eos_token_id(special["<|end|>"])
    writer.add_pad_token_id(special["<|pad|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
