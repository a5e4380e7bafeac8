"""The embedded model's world keeps training and testing apart, and its recipe trains what the chat template says."""

import random
import re
from pathlib import Path

import pytest
import torch

from sleepmem.embedded import links, relations, words, world
from sleepmem.embedded.train import POOL, Muon, Recipe, batches, build, optimizers, restore, save
from sleepmem.memory import EMBEDDED
from sleepmem.text.prompts import DREAM


def test_training_never_says_a_test_word_or_a_held_out_wording() -> None:
    rng = random.Random(0)
    wordings = [w for r in relations.RELATIONS.values() for w in (r.statements, r.questions)]
    held_out = {text for w in wordings for text in w[-world.HELD_OUT :]}
    trained = {text for w in wordings for text in w[: -world.HELD_OUT]}
    assert not held_out & trained
    for _ in range(300):
        s = world.scene(rng, 4)
        assert not any(words.is_test(f.subject) or words.is_test(f.value) for f in s.told)


@pytest.mark.parametrize("relation", relations.RELATIONS)
def test_every_relation_has_test_values_and_distinct_wordings(relation: str) -> None:
    rng, r = random.Random(1), relations.RELATIONS[relation]
    assert words.is_test(r.make(rng, True))
    assert not words.is_test(r.make(rng, False))
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
    recipe, rng = Recipe(batch=4), random.Random("0/0")
    talks = [world.conversation(rng, recipe.most(0)).messages for _ in range(recipe.batch * POOL)]
    rendered = [tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True) for talk in talks]
    wanted = {tuple(r["input_ids"]): r["assistant_masks"] for r in rendered}
    for ids, labels in zip(*next(batches(recipe, tokenizer, 0)), strict=True):
        whole = [i for i in ids.tolist() if i != tokenizer.pad_token_id]
        taught = [int(x != -100) for x in labels.tolist()[: len(whole)]]
        assert taught == wanted[tuple(whole)]
        assert all(x in (-100, i) for i, x in zip(ids.tolist(), labels.tolist(), strict=True))


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


def test_hard_conversations_ask_more_that_only_a_name_makes_unanswerable() -> None:
    def silent(hard: bool) -> float:
        rng = random.Random(4)
        said = [m["content"] for _ in range(400) for m in world.conversation(rng, 8, hard).messages if m["role"] == "assistant"]
        return said.count(world.ABSTENTION) / len(said)

    assert silent(True) > silent(False) + 0.02
    rng = random.Random(5)
    for _ in range(100):
        s = world.scene(rng, 4)
        name, relation = world.mistakable(rng, s)
        assert (name, relation) not in s.current
        assert relation in {f.relation for f in s.told}


def test_the_learning_rate_rises_falls_and_falls_again() -> None:
    r = Recipe()
    rates = [r.rate(step) for step in range(r.steps + r.polish)]
    assert rates[0] < rates[r.warmup] == 1.0
    assert rates[r.steps - 1] < 0.06
    assert 0.45 < rates[r.steps] <= 0.5
    assert rates[-1] < 0.01


def test_the_shipped_weights_are_small_and_safe() -> None:
    files = {f.name: f.stat().st_size for f in EMBEDDED.iterdir()}
    assert files["model.safetensors"] <= 16 * 1024 * 1024
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)


def test_chains_follow_the_newest_value_and_inverses_have_one_answer() -> None:
    led, moved = world.Fact("Karo", "leader", "Mara"), world.Fact("Mara", "city", "Brenport")
    other = world.Fact("Jon", "city", "Brenport")
    assert links.chains({f.key: f for f in (led, moved, other)}) == [(led, moved)]
    assert links.chains({led.key: world.Fact("Karo", "leader", "Pia"), moved.key: moved}) == []
    assert links.invertible({f.key: f for f in (led, moved, other)}) == [led]
    rng = random.Random(6)
    assert "Karo" in links.chain(rng, led.key, "city")
    assert "Mara" not in links.chain(rng, led.key, "city")
    assert "Brenport" in links.inverse(rng, moved)


def test_linked_scenes_hold_chains_and_what_is_unknown_is_not_in_them() -> None:
    rng, found = random.Random(7), 0
    for _ in range(100):
        s = links.scene(rng, 4, True)
        found += bool(links.chains(s.current))
        assert all(words.is_test(f.subject) and words.is_test(f.value) for f in s.told)
        key, second = links.unknown_chain(rng, s.current, True)
        assert (key, second) not in {(a.key, b.relation) for a, b in links.chains(s.current)}
        f = links.unknown_inverse(rng, s.current, True)
        assert (f.relation, f.value) not in {(g.relation, g.value) for g in s.current.values()}
    assert found > 80


def test_the_last_wordings_of_chains_and_inverses_are_never_trained_on() -> None:
    wordings = [*links.INVERSE.values(), *(w for _, w in links.DESCRIPTIONS.values())]
    held_out = {text for w in wordings for text in w[-links.HELD_OUT :]}
    patterns = {re.compile(re.escape(text).replace(r"\{s\}", r"\w+").replace(r"\{v\}", r"\S+")) for text in held_out}
    plain = {q for r in relations.RELATIONS.values() for q in r.questions}
    rng = random.Random(8)
    said = [m["content"] for _ in range(400) for m in links.conversation(rng, 8).messages if m["role"] != "system"]
    assert not held_out & {text for w in wordings for text in w[: -links.HELD_OUT]}
    assert not held_out & plain
    assert not [text for text in said for p in patterns if p.search(text)]


def test_what_is_taught_closed_book_leads_on_and_is_apart_from_the_rest() -> None:
    facts = links.known()
    assert len(links.chains(facts)) > 100
    assert not {name for name, _ in facts} & {name for name, _ in world.known()[0]}
    assert not any(words.is_test(name) for name, _ in facts)


def test_the_recipe_ends_with_links() -> None:
    r = Recipe(steps=4, polish=2, link=3)
    assert r.last == 9
    assert 0.4 < r.rate(6) <= 0.5
    assert r.rate(8) < 0.2

    def chained(step: int) -> int:
        rng = random.Random(9)
        return sum(DREAM in m["content"] for _ in range(100) for m in r.talk(rng, step).messages)

    assert chained(5) == 0 < chained(6)
