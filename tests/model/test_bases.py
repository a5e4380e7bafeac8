"""Base models that several memories of a process share."""

from pathlib import Path

import pytest
from _values import HashedWords

from sleepmem import Bases, ConfigError, MemoryConfig, ModelConfig, SleepMemory


def test_memories_share_the_weights_and_no_expert(
    tiny: Path, tmp_path: Path, embeddings: HashedWords
) -> None:
    bases = Bases()
    one = SleepMemory.open(tmp_path / "a", tiny, embeddings=embeddings, bases=bases)
    other = SleepMemory.open(tmp_path / "b", tiny, embeddings=embeddings, bases=bases)
    with one, other:
        assert one.local is not other.local
        assert len(bases) == 1
        weights = next(one.local.base.parameters())
        assert weights is next(other.local.base.parameters())
        one.local.add_expert("night-0001-abc", 2)
        assert other.local.experts == ()
        assert (one.ledger.model, other.ledger.model) == (str(tiny), str(tiny))


def test_other_settings_are_another_base(
    tiny: Path, tmp_path: Path, embeddings: HashedWords
) -> None:
    bases = Bases()
    for number, dtype in enumerate(("float32", "bfloat16")):
        config = MemoryConfig(model=ModelConfig(device="cpu", dtype=dtype))
        folder = tmp_path / str(number)
        how = {"embeddings": embeddings, "config": config, "bases": bases}
        with SleepMemory.open(folder, tiny, **how) as memory:
            assert dtype in str(next(memory.local.base.parameters()).dtype)
    assert len(bases) == 2


def test_bases_are_bases(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bases is a str"):
        SleepMemory.open(tmp_path / "m", bases="base")
