import dataclasses
import re

import pytest

from sleepmem import (
    ConfigError,
    DreamConfig,
    ExamConfig,
    GateConfig,
    Level,
    MemoryConfig,
    PolicyConfig,
    ProbeConfig,
    SeedingConfig,
    SleepConfig,
)
from sleepmem.config import read_config


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (GateConfig, "epsilon", 1.1),
        (GateConfig, "epsilon", -0.1),
        (GateConfig, "memories_per_question", 0),
        (ProbeConfig, "samples", 0),
        (ProbeConfig, "wordings", 1),
        (ProbeConfig, "temperature", 0.0),
        (ProbeConfig, "checks", 0),
        (ProbeConfig, "distractors", -1),
        (SeedingConfig, "beta", 1.1),
        (SeedingConfig, "lambda_", -0.1),
        (SeedingConfig, "alpha", 2),
        (SeedingConfig, "gamma", float("nan")),
        (SeedingConfig, "stop_at", 1.01),
        (SeedingConfig, "steps", 0),
        (SeedingConfig, "batch", 0),
        (SeedingConfig, "max_new_tokens", 0),
        (SeedingConfig, "lr", -0.001),
        (SeedingConfig, "z0", -1),
        (ExamConfig, "recall", 1.5),
        (ExamConfig, "old_nights", -0.1),
        (ExamConfig, "abstention", 7),
        (ExamConfig, "superseded", -1),
        (ExamConfig, "reading", 1.01),
        (ExamConfig, "confidence", 1.0),
        (ExamConfig, "general_kl", -0.1),
        (ExamConfig, "most", 0),
        (SleepConfig, "replay_budget", 0),
        (SleepConfig, "tired_at", 0),
        (SleepConfig, "rehearse", -1),
        (SleepConfig, "reread", -1),
        (DreamConfig, "samples", 1),
        (DreamConfig, "share", 10),
        (DreamConfig, "lesson_lr", 0.0),
        (MemoryConfig, "max_new_tokens", 0),
    ],
)
def test_a_setting_outside_its_range_is_named_with_its_value(config, name, value):
    with pytest.raises(ConfigError) as raised:
        config(**{name: value})
    assert name.replace("_", " ") in str(raised.value).replace("_", " ")
    assert str(value) in str(raised.value)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (DreamConfig, "rounds", 1.5),
        (DreamConfig, "rounds", "2"),
        (SleepConfig, "audit", None),
        (SleepConfig, "rehearse", 1e3),
        (DreamConfig, "share", "1"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named_with_its_value(config, name, value):
    with pytest.raises(ConfigError, match=rf"{name} is .*number"):
        config(**{name: value})


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (SleepConfig, {"untrusted": "no"}),
        (SleepConfig, {"expand": "false"}),
        (SleepConfig, {"dream": {"rounds": 2}}),
        (SleepConfig, {"seeding": None}),
        (SleepConfig, {"levels": "fast"}),
        (SleepConfig, {"levels": ({"name": "fast"},)}),
        (DreamConfig, {"random_expert": 1}),
        (MemoryConfig, {"sleep": DreamConfig()}),
        (Level, {"name": 3, "every": 1, "rank": 4, "steps_per_episode": 1.0}),
        (PolicyConfig, {"days": {"sorcery": 3}}),
        (PolicyConfig, {"days": {"volatile": 0}}),
        (Level, {"name": " ", "every": 1, "rank": 4, "steps_per_episode": 1.0}),
    ],
)
def test_a_setting_of_another_kind_is_refused(config, values):
    with pytest.raises(ConfigError, match=f"{config.__name__}.{next(iter(values))} is"):
        config(**values)


def test_tonights_facts_keep_a_share_of_the_batch():
    with pytest.raises(ConfigError, match="facts need a share"):
        SeedingConfig(never_said=0.4, rehearsal=0.3, reading=0.3)


def test_a_slower_level_takes_in_whole_experts_of_the_faster_one():
    with pytest.raises(ConfigError, match="every 10 nights after 'slow' every 7"):
        SleepConfig(
            levels=(Level("fast", 1, 4, 1), Level("slow", 7, 4, 1), Level("deep", 10, 4, 1))
        )
    with pytest.raises(ConfigError, match="every=1"):
        SleepConfig(levels=(Level("slow", 7, 4, 1),))
    with pytest.raises(ConfigError, match=r"Level\.rank is 0"):
        Level("fast", 1, 0, 1)


@pytest.mark.parametrize(
    "config", [GateConfig, ProbeConfig, SeedingConfig, ExamConfig, SleepConfig, MemoryConfig]
)
def test_defaults_hold_and_cannot_be_changed(config):
    made = config()
    assert made == config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, 1)


def test_a_file_gives_the_settings_that_differ(tmp_path):
    file = tmp_path / "settings.toml"
    levels = '[[sleep.levels]]\nname = "fast"\nevery = 1\nrank = 8\nsteps_per_episode = 2'
    file.write_text(f"[gate]\nepsilon = 0.1\n[sleep.dream]\nrounds = 2\n{levels}")
    wanted = SleepConfig(dream=DreamConfig(rounds=2), levels=(Level("fast", 1, 8, 2),))
    assert read_config(file) == MemoryConfig(gate=GateConfig(epsilon=0.1), sleep=wanted)
    file.write_text("\ufeff[gate]\nepsilon = 0.1")  # as some editors begin a file
    assert read_config(file) == MemoryConfig(gate=GateConfig(epsilon=0.1))
    file.write_text("")
    assert read_config(file) == MemoryConfig()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[sleep.dream]\nround = 2", "sleep.dream.round: Unexpected keyword argument."),
        (
            "[sleep.dream]\nrounds = -2",
            "sleep.dream.rounds: DreamConfig.rounds is -2; it must lie between",
        ),
        ("[sleep.dream]\nrounds = 2.5", "sleep.dream.rounds: Input should be a valid integer"),
        ("[gate]\nepsilon = true", "gate.epsilon: Input should be a valid number"),
        ("[gate]\nepsilon = 2026-01-01", "gate.epsilon: Input should be a valid number"),
        ("[sleep]\nlevels = 3", "sleep.levels: Input should be a valid"),
        ("rounds =", "is not TOML"),
        ("# \udcff", "is not TOML"),
        ("max_new_tokens = " + 5000 * "9", "is not TOML"),
        ("a = " + 3000 * "[", "is not TOML"),
        ("[sleep.seeding]\nseed = -1", "SeedingConfig.seed is -1"),
    ],
)
def test_a_fault_in_the_file_is_named_with_its_place(tmp_path, text, sentence):
    file = tmp_path / "settings.toml"
    file.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ConfigError, match=re.escape(sentence)) as raised:
        read_config(file)
    assert "settings.toml" in str(raised.value)
