"""Count tokens without loading a model: from the tokenizer's file in a model folder.

Knows no torch.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tokenizers import Tokenizer

# Per token: the usual estimate for English where the tokenizer is not at hand.
_CHARACTERS = 4


@functools.cache
def _tokenizer(model: str) -> Tokenizer | None:
    file = Path(model) / "tokenizer.json"
    if not file.exists():
        return None
    tokenizer = Tokenizer.from_file(str(file))
    # What a text spells like a special token is text.
    tokenizer.encode_special_tokens = True
    return tokenizer


@functools.lru_cache(maxsize=20_000)
def count_tokens(model: str, text: str) -> int:
    """Tokens of `text` for the model in this folder; for a hub id an estimate."""
    tokenizer = _tokenizer(model)
    if tokenizer is None:
        return -(-len(text) // _CHARACTERS)
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


@functools.cache
def context_length(model: str) -> int:
    """Most tokens that the model in this folder takes; 0 when its config is not at hand."""
    try:
        config = json.loads((Path(model) / "config.json").read_text())
        return int(config.get("max_position_embeddings", 0))
    except (OSError, ValueError):
        return 0
