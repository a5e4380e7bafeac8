"""A tiny random model with a real tokenizer, embeddings of hashed words, a memory over both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported: one thread gives the same bits on every machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from _nights import brief, by_hand, opened  # noqa: F401
from _values import HashedWords

from sleepmem import SleepMemory


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of 2 layers.

    It speaks gibberish through the embedded model's tokenizer and chat template.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sleepmem.embedded.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(seed=0, conversations=300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.2,  # with the usual 0.02 every prompt gets nearly the same distribution
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="session")
def embeddings() -> HashedWords:
    return HashedWords()


@pytest.fixture
def memory(tmp_path: Path, tiny: Path, embeddings: HashedWords) -> Iterator[SleepMemory]:
    with SleepMemory.open(tmp_path / "m", model=tiny, embeddings=embeddings) as one:
        yield one
