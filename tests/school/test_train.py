"""A school trains, stops, goes on, and what it wrote is then part of the base."""

import dataclasses
import gzip
import json
import shutil

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from sleepmem.config import ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model import habits
from sleepmem.model.encoding import Encoding
from sleepmem.model.local import LocalModel
from sleepmem.model.profiles import Profile
from sleepmem.school import train
from sleepmem.school.lessons import Lesson
from sleepmem.text.prompts import beside_question, closed_book, memory_prompt, open_book

RECIPE = {"tokens": 2048, "longest": 1000, "rank": 4, "measured_every": 2, "cases": 2, "warmup": 1}


@pytest.fixture
def quickly(monkeypatch):
    """What is measured on the way is not looked at here; few answers are kept."""
    general = {"small_talk": ["Hi."], "general": ["Name a fruit."], "facts": []}
    monkeypatch.setattr(train.topics, "general", lambda: general)
    monkeypatch.setattr(train, "_measured", lambda *given: {"eval_fit": 0.5})


def model(tiny, habits="none"):
    return LocalModel(tiny, ModelConfig(device="cpu", habits=str(habits)))


def school(tiny, out, steps):
    train.school(model(tiny), out, recipe=train.Recipe(steps=steps, **RECIPE))


def test_habits_are_part_of_the_base_from_then_on(tiny, tmp_path, quickly):
    school(tiny, tmp_path / "habits", 2)
    before, after = model(tiny), model(tiny, tmp_path / "habits")
    assert after.profile.memories == "user"
    assert after.peft is None
    asked = [before.prompt_ids(closed_book("Where is it?"))]
    assert not before.logits(asked, [[5, 6]]).allclose(after.logits(asked, [[5, 6]]))
    beside = after.tokenizer.decode(after.prompt_ids(open_book("Where?", ["It is here."])))
    assert beside.index("It is here.") > beside.index("user")
    # Readings, and what it says at length of itself.
    assert len(after.rehearsal) == 200
    chat, answer = after.rehearsal[0]
    assert [one["role"] for one in chat] == ["system", "user"]
    assert answer
    assert before.rehearsal == ()
    assert json.loads((tmp_path / "habits" / "card.json").read_text())["bases"] == [str(tiny)]


def test_a_school_goes_on_where_it_stopped(tiny, tmp_path, quickly):
    out = tmp_path / "habits"
    school(tiny, out, 2)
    assert (out / "checkpoints" / "checkpoint-2").is_dir()
    school(tiny, out, 3)
    card = json.loads((out / "card.json").read_text())
    assert card["steps"] == 3
    assert card["recipe"]["steps"] == 3


def test_a_folder_takes_one_run_alone(tiny, tmp_path, quickly):
    """Another model, start, data or recipe would go on from weights that it did not learn."""
    other, out, recipe = tmp_path / "other", tmp_path / "habits", train.Recipe(steps=2, **RECIPE)
    shutil.copytree(tiny, other)
    school(tiny, out, 2)
    written = (out / "adapter_model.safetensors").read_bytes()
    sets = tmp_path / "sets"
    sets.mkdir()
    for name in ("fairytaleqa", "babi_en10k", "memorybank_en"):
        (sets / f"{name}.jsonl.gz").write_bytes(gzip.compress(b""))
    for differing, (local, options) in {
        "model": (model(other), {}),
        "start": (model(tiny), {"start": out}),
        "data": (model(tiny), {"data": sets}),
        "recipe": (model(tiny), {"recipe": dataclasses.replace(recipe, lr=1e-3)}),
    }.items():
        with pytest.raises(ModelError, match=f"begun with other {differing} "):
            train.school(local, out, **{"recipe": recipe, **options})
    assert (out / "adapter_model.safetensors").read_bytes() == written


def test_what_measured_best_is_written(tiny, tmp_path, quickly, monkeypatch):
    """The last step is measured, too, and a run that goes on knows what was best before."""
    rates, seen = [0.4, 0.9, 0.2, 0.7, 0.3], []

    def measured(local, schooled, recipe):
        seen.append(get_peft_model_state_dict(schooled))
        seen[-1] = {name: weight.clone() for name, weight in seen[-1].items()}
        return {"eval_fit": rates[len(seen) - 1]}

    def written(out):
        return load_file(out / "adapter_model.safetensors")

    monkeypatch.setattr(train, "_measured", measured)
    school(tiny, tmp_path, 5)
    assert len(seen) == 3
    school(tiny, tmp_path, 7)
    assert len(seen) == 5
    best, (_, second, third, *_) = written(tmp_path), seen
    assert all(weight.equal(second[name].half()) for name, weight in best.items())
    assert not all(weight.equal(third[name].half()) for name, weight in best.items())
    assert json.loads((tmp_path / "card.json").read_text())["best_step"] == 4


def test_habits_are_taught_on(tiny, tmp_path, quickly):
    start, out = tmp_path / "habits", tmp_path / "more"
    school(tiny, start, 2)
    wider = train.Recipe(steps=2, **{**RECIPE, "rank": 8, "lr": 1e-9})
    (start / "profile.json").write_text(json.dumps({"lr": 3e-3, "notes": "sentences"}))
    train.school(model(tiny), out, start=start, recipe=wider)
    first, more = model(tiny, start), model(tiny, out)
    assert more.profile == Profile(memories="user", notes="sentences", lr=3e-3)
    asked = [first.prompt_ids(closed_book("Where is it?"))]
    torch.testing.assert_close(
        first.logits(asked, [[5, 6]]), more.logits(asked, [[5, 6]]), rtol=1e-3, atol=1e-3
    )
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 4


def test_habits_of_another_model_are_refused(tiny, smollm2, tmp_path, quickly):
    school(tiny, tmp_path / "habits", 2)
    with pytest.raises(ModelError, match="do not fit this model"):
        LocalModel(smollm2, ModelConfig(device="cpu", habits=str(tmp_path / "habits")))


def test_a_folder_without_habits_is_told_so(tiny, tmp_path):
    with pytest.raises(ModelError, match="holds no habits"):
        model(tiny, tmp_path)
    with pytest.raises(ModelError, match="is missing; a school reads"):
        train.school(model(tiny), tmp_path / "out", data=tmp_path)


def test_a_batch_is_always_the_same_at_its_place(tiny):
    def draw(rng):
        ids = [rng.randrange(9) for _ in range(rng.randint(5, 60))]
        return train.Row(ids, ids, [0] * len(ids), False)

    recipe = train.Recipe(tokens=200)
    batches, again = train.Batches(recipe, draw, 0), train.Batches(recipe, draw, 0)
    assert again[37]["input_ids"].equal(batches[37]["input_ids"])
    for place in range(40):
        assert batches[place]["input_ids"].numel() <= 200


@pytest.mark.parametrize("opening", ["", "<think></think>"])
def test_every_answer_is_taught_where_it_is_asked_for(tiny, opening):
    """Also where the template opens an answer with what it leaves out of earlier ones."""
    local = model(tiny)
    template = local.tokenizer.chat_template
    local.tokenizer.chat_template = template.replace(
        "generation_prompt %}<|assistant|>", "generation_prompt %}<|assistant|>" + opening
    )
    encoding, end = Encoding(local.tokenizer), local.tokenizer.eos_token_id
    row = train.encoded(encoding, LESSON, end=end)
    shared = row.branches.count(0)
    assert row.branches == sorted(row.branches)
    for number, (asked, answer) in enumerate(alone(encoding, end), start=1):
        own = [place for place, branch in enumerate(row.branches) if branch in (0, number)]
        assert [row.ids[place] for place in own] == [*asked, *answer]
        assert [row.labels[place] for place in own][len(asked) :] == answer
        assert {row.labels[place] for place in own[: len(asked)]} == {train._IGNORED}
    assert shared > len(encoding.text("2026-05-05: It is in Oslo."))


def test_no_question_is_read_in_sight_of_another(tiny):
    """What is predicted beside other questions, in a batch, is what is predicted alone."""
    local = model(tiny)
    encoding, end = local.encoding, local.ends[0]
    row = train.encoded(encoding, LESSON, end=end)
    short = train.encoded(encoding, Lesson(LESSON.messages[:3]), end=end)
    batch = train._padded([short, row], 0)
    schooled = habits.adapter(local.base, rank=2).eval()
    with torch.no_grad():
        logits = train._logits(schooled, batch, batch["labels"][:, 1:] != train._IGNORED)
        expected = []
        for asked, answer in [*alone(encoding, end)[:1], *alone(encoding, end)]:
            whole = schooled(torch.tensor([[*asked, *answer]])).logits[0]
            expected.append(whole[len(asked) - 1 : -1])
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-4)


LESSON = Lesson(
    (
        {"role": "system", "content": memory_prompt(["2026-05-05: It is in Oslo."])},
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "In Oslo."},
        {"role": "user", "content": "Whose boat is it?"},
        {"role": "assistant", "content": "I do not know."},
    )
)


def alone(encoding, end):
    """Each question of the lesson with its answer, as a chat of its own."""
    system, *said = LESSON.messages
    return [
        (
            encoding.chat(beside_question([system, asked])),
            [*encoding.text(answer["content"]), end],
        )
        for asked, answer in zip(said[::2], said[1::2], strict=True)
    ]


def test_what_is_held_out_is_what_fit_measures(tiny):
    local = model(tiny)
    schooled = habits.adapter(local.base, rank=2)
    found = train._measured(local, schooled, train.Recipe(cases=2))
    mean = found.pop("eval_fit")
    assert {"reads 4 memories", "abstains without any", "writes right pairs"} <= found.keys()
    assert mean == pytest.approx(sum(found.values()) / len(found))
    assert schooled.training  # as before
