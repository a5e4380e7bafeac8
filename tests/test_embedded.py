"""The embedded model's world keeps training and testing apart, and its recipe trains what the chat template says."""

import random
from pathlib import Path

import pytest
import torch

from sleepmem.embedded import world
from sleepmem.embedded.train import Muon, Recipe, batches, build, optimizers, restore, save
from sleepmem.memory import EMBEDDED


def test_training_never_says_a_test_word_or_a_held_out_wording() -> None:
    rng = random.Random(0)
    wordings = [w for r in world.RELATIONS.values() for w in (r.statements, r.questions)]
    held_out = {text for w in wordings for text in w[-world.HELD_OUT :]}
    trained = {text for w in wordings for text in w[: -world.HELD_OUT]}
    assert not held_out & trained
    for _ in range(300):
        s = world.scene(rng, 4)
        assert not any(world.is_test(f.subject) or world.is_test(f.value) for f in s.told)


@pytest.mark.parametrize("relation", world.RELATIONS)
def test_every_relation_has_test_values_and_distinct_wordings(relation: str) -> None:
    rng, r = random.Random(1), world.RELATIONS[relation]
    assert world.is_test(r.make(rng, True))
    assert not world.is_test(r.make(rng, False))
    assert len(set(r.statements)) == len(r.statements) >= 10
    assert len(set(r.questions)) == len(r.questions) >= 10
    assert all("{s}" in t and "{v}" in t for t in r.statements)
    assert all("{s}" in q and "{v}" not in q for q in r.questions)


def test_a_scene_holds_the_newest_value() -> None:
    rng, updated = random.Random(2), 0
    for _ in range(200):
        s = world.scene(rng, 4, True)
        for key in s.stale:
            updated += 1
            assert [f for f in s.told if f.key == key][-1] == s.current[key]
        asked = world.unanswerable(rng, s, True)
        assert asked not in s.current
    assert updated > 20


def test_training_rows_are_what_the_chat_template_renders(tokenizer) -> None:
    ids_B_T, labels_B_T = next(batches(Recipe(batch=4), tokenizer, 0))
    talk = world.conversation(random.Random(3), 2).messages
    made = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    text = tokenizer.decode(made["input_ids"])
    assert text.count("<|end|>") == sum(m["role"] == "assistant" for m in talk)
    for ids, labels in zip(ids_B_T, labels_B_T, strict=True):
        whole = [i for i in ids.tolist() if i != tokenizer.pad_token_id]
        assert whole[0] == tokenizer.bos_token_id
        assert (labels[labels != -100] == ids[labels != -100]).all()
        assert (labels == tokenizer.eos_token_id).sum() == (ids == tokenizer.eos_token_id).sum()


def test_a_resumed_run_equals_an_uninterrupted_one(tokenizer, tmp_path: Path) -> None:
    recipe = Recipe(batch=4, width=32, layers=2, heads=2, steps=4)

    def steps(model, opts, first: int, last: int) -> None:
        stream = batches(recipe, tokenizer, first)
        for _ in range(first, last):
            ids, labels = next(stream)
            model(input_ids=ids, labels=labels).loss.backward()
            for opt, _ in opts:
                opt.step()
                opt.zero_grad()

    whole = build(recipe, tokenizer)
    opts = optimizers(recipe, whole)
    assert isinstance(opts[0][0], Muon)
    steps(whole, opts, 0, 3)
    half = build(recipe, tokenizer)
    opts = optimizers(recipe, half)
    steps(half, opts, 0, 2)
    save(tmp_path, 2, half, opts)
    again = build(recipe, tokenizer)
    opts = optimizers(recipe, again)
    assert restore(tmp_path, again, opts) == 2
    steps(again, opts, 2, 3)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_shipped_weights_are_small_and_safe() -> None:
    files = {f.name: f.stat().st_size for f in EMBEDDED.iterdir()}
    assert files["model.safetensors"] <= 16 * 1024 * 1024
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)
