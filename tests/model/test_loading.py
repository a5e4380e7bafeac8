"""Which models are taken, and what is found out about them."""

import json
import shutil

import pytest
import torch

from sleepmem.errors import ModelError
from sleepmem.model.loading import load_base
from sleepmem.model.local import LocalModel


def copied(tiny, tmp_path, **settings):
    """The tiny model with other generation settings."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def test_no_model_no_chat(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel(tmp_path)


def test_a_model_without_a_chat_template_is_refused(tiny, tmp_path):
    folder = copied(tiny, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        LocalModel(folder)


def test_the_base_is_frozen(tiny):
    base = load_base(str(tiny), device="cpu")
    assert not any(weight.requires_grad for weight in base.model.parameters())
    assert not base.model.training
    assert {weight.device for weight in base.model.parameters()} == {torch.device("cpu")}


def test_what_is_known_about_a_model(tiny):
    local = LocalModel(tiny, device="cpu")
    assert (local.name, local.device) == (str(tiny), "cpu")
    assert (local.context_length, local.vocabulary) == (1024, 1024)
    assert load_base(str(tiny), device="cpu").mlp_layers == ["down_proj", "gate_proj", "up_proj"]


@pytest.mark.parametrize("own", [7, [7, 8]])
def test_the_ends_of_the_model_and_of_its_tokenizer_count(tiny, tmp_path, own):
    base = load_base(str(copied(tiny, tmp_path, eos_token_id=own)), device="cpu")
    expected = {base.tokenizer.eos_token_id, base.tokenizer.pad_token_id, 7}
    assert expected <= set(base.ends)
    assert (8 in base.ends) == (own == [7, 8])
