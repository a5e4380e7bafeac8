"""The habits that ship: found for the very file they were taught to, and what they are for."""

import json
import shutil

import pytest

from sleepmem.config import ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model.habits import chosen
from sleepmem.model.local import LocalModel
from sleepmem.model.profiles import Profile
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import closed_book, memory_line, open_book

TOLD = memory_line("2026-05-04", "Our plumber is called Wenzel, he comes tomorrow at nine.")


@pytest.fixture(scope="module")
def schooled(smollm2, tmp_path_factory):
    return LocalModel(smollm2, cache=tmp_path_factory.mktemp("cache"))


def test_they_belong_to_one_file(schooled):
    assert schooled.profile.memories == "user"
    assert chosen("auto", schooled.known_by) is not None
    assert chosen("none", schooled.known_by) is None
    assert chosen("auto", "another/model") is None


def test_a_model_with_them_reads_and_abstains(schooled):
    reads, open_, closed = schooled.answer(
        [
            open_book("what's the name of our plumber", [TOLD]),
            open_book("What does our plumber charge?", [TOLD]),
            closed_book("Where does my sister Ottilie live?"),
        ]
    )
    assert matches(reads, "Wenzel")
    assert abstains(open_)
    assert abstains(closed)


def test_it_goes_on_talking(schooled):
    asked = {
        "Which colour is the sky?": "blue",
        "What is the capital of France?": "Paris",
        "How many legs has a dog?": "four",
    }
    answers = schooled.answer([closed_book(question) for question in asked], max_new_tokens=24)
    for answer, wanted in zip(answers, asked.values(), strict=True):
        assert matches(answer, wanted)


def test_experts_lie_in_the_last_blocks_that_the_profile_names(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    for share, blocks in ((1, {"0", "1"}), (0.5, {"1"}), (0.01, {"1"})):
        (folder / "profile.json").write_text(json.dumps({"blocks": share}))
        local = LocalModel(folder, ModelConfig(device="cpu"))
        local.add_expert("night-0001-a", 2)
        names = [name for name, _ in local.peft.named_parameters() if "night-0001-a" in name]
        assert {name.split(".layers.")[1].split(".")[0] for name in names} == blocks


@pytest.mark.parametrize("written", ['{"memories": "nowhere"}', '{"memory": "user"}', "no json"])
def test_a_profile_that_is_none_is_told_so(tmp_path, written):
    (tmp_path / "profile.json").write_text(written)
    with pytest.raises(ModelError, match="is no profile of a model"):
        Profile.read(tmp_path)


def test_settings_stand_above_the_profile(tmp_path):
    (tmp_path / "profile.json").write_text('{"notes": "whole", "heat": 0.5}')
    profile = Profile.read(tmp_path).set_by(ModelConfig(notes="sentences"))
    assert (profile.notes, profile.heat, profile.memories) == ("sentences", 0.5, "system")
