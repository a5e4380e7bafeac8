"""A GGUF file is unpacked once, and is then a model like any other."""

import pytest

from sleepmem import SleepMemory
from sleepmem.errors import MissingExtra, ModelError
from sleepmem.model import gguf
from sleepmem.model.local import LocalModel
from sleepmem.text.prompts import closed_book


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def local(smollm2, cache):
    return LocalModel(smollm2, cache=cache)


def test_a_real_model_answers_from_its_gguf_file(local):
    assert local.vocabulary == 49_152
    [answer] = local.answer([closed_book("What is the capital of France?")])
    assert "Paris" in answer


def test_it_is_unpacked_once_and_nothing_else_is_left(local, smollm2, cache):
    [folder] = cache.iterdir()
    assert gguf.unpacked(smollm2, cache).folder == folder
    assert list(cache.iterdir()) == [folder]
    assert {file.suffix for file in folder.iterdir()} == {".json", ".jinja", ".safetensors"}


def test_another_file_of_the_same_name_is_another_model(smollm2, cache, tmp_path):
    other = tmp_path / smollm2.name
    other.write_bytes(smollm2.read_bytes()[:1_000_000])
    before = list(cache.iterdir())
    with pytest.raises(ModelError, match="could not be read as GGUF"):
        gguf.unpacked(other, cache)
    assert list(cache.iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model" * 100])
def test_what_is_no_gguf_is_told_so(tmp_path, content):
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.gguf.* could not be read as GGUF"):
        LocalModel(file, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_without_its_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(MissingExtra, match=r"sleepmem\[gguf\]"):
        LocalModel(file, cache=tmp_path / "cache")


def test_a_memory_keeps_it_beside_its_ledger(tmp_path, smollm2, embeddings):
    with SleepMemory.open(tmp_path / "m", model=smollm2, embeddings=embeddings) as memory:
        assert memory.local.name == str(smollm2)
        [folder] = (tmp_path / "m" / "models").iterdir()
        assert (folder / "model.safetensors").exists()
        assert memory.verify() == []
    with SleepMemory.open(tmp_path / "m", embeddings=embeddings) as memory:
        assert memory.model == str(smollm2)
