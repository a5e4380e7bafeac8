"""Experts on the disk: what the model writes, through the stores that make it whole or nothing."""

import json
import pickle
import resource
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from _weights import logits, shake
from safetensors.torch import load_file, save_file

from sleepmem.config import ModelConfig
from sleepmem.errors import ExpertError, FolderError
from sleepmem.model.local import LocalModel
from sleepmem.stores.expert_folder import (
    ExpertFolders,
    check_expert,
    write_checksums,
    write_expert,
)

FILES = {"adapter_config.json", "adapter_model.safetensors"}


@pytest.fixture
def local(tiny):
    return LocalModel(tiny, ModelConfig(device="cpu"))


@pytest.fixture
def fresh(tiny):
    """The same model without experts."""
    return LocalModel(tiny, ModelConfig(device="cpu"))


@pytest.fixture
def folders(tmp_path):
    return ExpertFolders(tmp_path)


@pytest.fixture
def saved(local, tmp_path, folders):
    """The folder of the promoted expert "e"."""
    local.add_expert("e", 4)
    shake(local, "e")
    folders.write("e", partial(local.save_expert, "e"))
    folders.promote("e")
    return tmp_path / "experts" / "e"


def weights(local, expert):
    return {
        name: weight.detach().clone()
        for name, weight in local.peft.named_parameters()
        if f".{expert}." in name
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


# There and back


def test_save_and_load_are_equal(local, fresh, folders, saved):
    folders.load(fresh, ["e"])
    assert same(weights(fresh, "e"), weights(local, "e"))
    assert torch.equal(logits(fresh, ["e"]), logits(local, ["e"]))
    assert torch.equal(logits(fresh), logits(local))


def test_a_second_expert_is_loaded_beside_the_first(local, fresh, saved):
    fresh.add_expert("other", 2)
    fresh.load_expert("e", saved)
    fresh.load_expert("e", saved)  # in memory already: nothing to do
    assert fresh.experts == ("other", "e")
    assert torch.equal(logits(fresh, ["e"]), logits(local, ["e"]))


def test_a_new_expert_is_born_beside_a_loaded_one(local, fresh, saved):
    """The second night: what earlier nights taught is loaded, tonight's is new."""
    fresh.load_expert("e", saved)
    fresh.add_expert("tonight", 4)
    renamed = [name.replace(".e.", ".tonight.") for name in weights(fresh, "e")]
    assert renamed == list(weights(fresh, "tonight"))
    assert torch.allclose(logits(fresh, ["e", "tonight"]), logits(local, ["e"]), atol=1e-5)


def test_the_model_writes_plain_files_into_a_new_folder(local, tmp_path):
    local.add_expert("e", 4)
    local.add_expert("other", 4)
    local.save_expert("e", tmp_path / "e")
    assert set(names(tmp_path / "e")) == FILES
    assert names(tmp_path) == ["e"]
    with pytest.raises(FileExistsError):
        local.save_expert("other", tmp_path / "e")


def test_a_saved_expert_is_safetensors_and_its_checksums(saved):
    assert set(names(saved)) == {*FILES, "sha256.json"}
    check_expert(saved)
    assert names(saved.parent) == ["e"]


# What is not whole


@pytest.mark.parametrize("broken", [*sorted(FILES), "sha256.json"])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_damaged_expert_is_refused(fresh, folders, saved, broken, how):
    file = saved / broken
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ExpertError, match=str(saved)):
        folders.load(fresh, ["e"])
    assert fresh.experts == ()


def test_a_missing_expert_is_refused(local, folders):
    with pytest.raises(ExpertError, match="missing"):
        folders.load(local, ["nowhere"])
    assert local.experts == ()
    assert isinstance(ExpertError("x"), LookupError)


@pytest.mark.parametrize("beside", [(), ("other",)])
def test_an_expert_of_another_model_is_refused(fresh, saved, beside):
    for name in beside:
        fresh.add_expert(name, 2)
    settings = json.loads((saved / "adapter_config.json").read_text())
    (saved / "adapter_config.json").write_text(json.dumps({**settings, "r": 3}))
    with pytest.raises(ExpertError, match="does not fit"):
        fresh.load_expert("e", saved)
    assert fresh.experts == beside


def test_checksums_cover_every_file(tmp_path):
    (tmp_path / "a").write_text("1")
    write_checksums(tmp_path)
    assert list(json.loads((tmp_path / "sha256.json").read_text())) == ["a"]


# What cannot be written


@pytest.mark.parametrize("where", ["/proc/sleepmem/e", "{tmp}/file/e"])
def test_an_unwritable_place_is_a_folder_error(local, tmp_path, where):
    (tmp_path / "file").write_text("in the way")
    local.add_expert("e", 4)
    with pytest.raises(FolderError, match="could not be written"):
        write_expert(Path(where.format(tmp=tmp_path)), partial(local.save_expert, "e"))
    assert names(tmp_path) == ["file"]


@contextmanager
def full_disk(left):
    """No file can grow beyond `left` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Of the two files, the settings have about 1100 bytes and the weights about 10700.
@pytest.mark.parametrize("left", [1000, 8000])
def test_a_full_disk_is_a_folder_error_and_leaves_nothing(local, tmp_path, left):
    local.add_expert("e", 4)
    with pytest.raises(FolderError, match="could not be written"), full_disk(left):
        write_expert(tmp_path / "e", partial(local.save_expert, "e"))
    assert names(tmp_path) == []


def test_an_expert_is_never_overwritten(local, saved):
    kept = (saved / "sha256.json").read_text()
    shake(local, "e", 2)
    with pytest.raises(FolderError):
        write_expert(saved, partial(local.save_expert, "e"))
    assert (saved / "sha256.json").read_text() == kept
    assert names(saved.parent) == ["e"]


# What is no expert


class Runs:
    """A pickle that makes a folder."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        import os

        return os.mkdir, (self.ran,)


@pytest.mark.parametrize("beside", [(), ("other",)])
@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_a_pickle_is_never_loaded(fresh, saved, tmp_path, name, beside):
    for other in beside:
        fresh.add_expert(other, 2)
    (saved / "adapter_model.safetensors").unlink()
    (saved / name).write_bytes(pickle.dumps(Runs(str(tmp_path / "ran"))))
    with pytest.raises(ExpertError, match=r"safetensors .*a pickle.*never loaded"):
        fresh.load_expert("e", saved)
    assert not (tmp_path / "ran").exists()
    assert fresh.experts == beside


def test_sound_weights_in_a_pickle_are_not_loaded_either(fresh, saved):
    weights = saved / "adapter_model.safetensors"
    torch.save(load_file(weights), saved / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(ExpertError, match="safetensors"):
        fresh.load_expert("e", saved)


@pytest.mark.parametrize(
    "changed",
    [
        {
            "auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"},
            "base_model_name_or_path": "evil/evil",
            "task_type": None,
        },
        {"megatron_config": {}, "megatron_core": "evil"},
        {"peft_type": "XLORA", "adapters": {"0": "evil"}},
        {"modules_to_save": ["lm_head"], "trainable_token_indices": [1], "use_dora": True},
    ],
)
def test_settings_name_nothing_to_import(fresh, local, saved, tmp_path, monkeypatch, changed):
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(ran)!r})\nclass Evil: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = saved / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    fresh.load_expert("e", saved)
    assert torch.equal(logits(fresh, ["e"]), logits(local, ["e"]))
    assert not ran.exists()


@pytest.mark.parametrize("settings", ["", "[]", "{}", '{"r": "x"}', '{"r": 4}', "\xff"])
def test_broken_settings_are_told_in_a_sentence(fresh, saved, settings):
    (saved / "adapter_config.json").write_text(settings, encoding="latin-1")
    with pytest.raises(ExpertError, match=r"adapter_config\.json"):
        fresh.load_expert("e", saved)
    assert fresh.experts == ()


@pytest.mark.parametrize("change", ["another layer", "a layer less"])
def test_weights_of_other_layers_do_not_fit(fresh, saved, change):
    file = saved / "adapter_model.safetensors"
    weights = load_file(file)
    first = next(iter(weights))
    kept = weights.pop(first)
    if change == "another layer":
        weights[first.replace("layers.0", "layers.9")] = kept
    save_file(weights, file)
    with pytest.raises(ExpertError, match="does not fit"):
        fresh.load_expert("e", saved)
    assert fresh.experts == ()
    assert fresh.peft is None
