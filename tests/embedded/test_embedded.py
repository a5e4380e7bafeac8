"""The embedded model's world keeps training and testing apart.

Its recipe trains what the chat template says.
"""

import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from sleepmem.embedded import links, relations, words, world
from sleepmem.embedded.train import POOL, Muon, Recipe, batches, build, optimizers, restore, save
from sleepmem.text.prompts import ABSTENTION, DREAM

MODEL = Path(world.__file__).parent / "model"


def split(wordings: Iterable[tuple[str, ...]]) -> tuple[set[str], set[str]]:
    """The wordings that training may say, and those that are held out."""
    trained: set[str] = set()
    held_out: set[str] = set()
    for options in wordings:
        trained.update(options[: -relations.HELD_OUT])
        held_out.update(options[-relations.HELD_OUT :])
    return trained, held_out


def contents(conversations: Iterable[world.Conversation], *roles: str) -> list[str]:
    """What these roles say in the conversations."""
    texts: list[str] = []
    for conversation in conversations:
        texts += [each["content"] for each in conversation.messages if each["role"] in roles]
    return texts


def test_training_never_says_a_test_word_or_a_held_out_wording() -> None:
    wordings: list[tuple[str, ...]] = []
    for relation in relations.RELATIONS.values():
        wordings += [relation.statements, relation.questions]
    trained, held_out = split(wordings)
    assert not held_out & trained

    rng = random.Random(0)
    for _ in range(300):
        for fact in world.scene(rng, 4).told:
            assert not words.is_test(fact.subject)
            assert not words.is_test(fact.value)


@pytest.mark.parametrize("name", relations.RELATIONS)
def test_every_relation_has_test_values_and_distinct_wordings(name: str) -> None:
    rng, relation = random.Random(1), relations.RELATIONS[name]
    assert words.is_test(relation.make(rng, True))
    assert not words.is_test(relation.make(rng, False))
    assert len(set(relation.statements)) == len(relation.statements) >= 10
    assert len(set(relation.questions)) == len(relation.questions) >= 10
    for statement in relation.statements:
        assert "{s}" in statement
        assert "{v}" in statement
    for question in relation.questions:
        assert "{s}" in question
        assert "{v}" not in question


def test_a_scene_holds_the_newest_value() -> None:
    rng, updated = random.Random(2), 0
    for _ in range(200):
        scene = world.scene(rng, 4, test=True)
        for key in scene.stale:
            updated += 1
            values = [fact for fact in scene.told if fact.key == key]
            assert values[-1] == scene.current[key]
        assert world.unanswerable(rng, scene, test=True) not in scene.current
    assert updated > 20


def test_training_rows_are_what_the_chat_template_renders(tokenizer) -> None:
    recipe, rng = Recipe(batch=4), random.Random("0/0")
    masks: dict[tuple[int, ...], list[int]] = {}
    for _ in range(recipe.batch * POOL):
        talk = world.conversation(rng, recipe.most(0))
        rendered = tokenizer.apply_chat_template(
            talk.messages, return_dict=True, return_assistant_tokens_mask=True
        )
        masks[tuple(rendered["input_ids"])] = rendered["assistant_masks"]

    batch = next(batches(recipe, tokenizer, start=0))
    for row, label_row in zip(batch.ids_B_T, batch.labels_B_T, strict=True):
        length = int((row != tokenizer.pad_token_id).sum())
        ids, labels = row[:length], label_row[:length]
        taught = labels != -100
        assert taught.int().tolist() == masks[tuple(ids.tolist())]
        assert torch.equal(labels[taught], ids[taught])
        assert (label_row[length:] == -100).all()


def test_a_resumed_run_equals_an_uninterrupted_one(tokenizer, tmp_path: Path) -> None:
    recipe = Recipe(batch=4, width=32, layers=2, heads=2, steps=4)

    def steps(model, scheduled, first: int, last: int) -> None:
        stream = batches(recipe, tokenizer, start=first)
        for _ in range(first, last):
            batch = next(stream)
            model(input_ids=batch.ids_B_T, labels=batch.labels_B_T).loss.backward()
            for optimizer, _ in scheduled:
                optimizer.step()
                optimizer.zero_grad()

    whole = build(recipe, tokenizer)
    scheduled = optimizers(recipe, whole)
    assert isinstance(scheduled[0].optimizer, Muon)
    steps(whole, scheduled, 0, 3)

    half = build(recipe, tokenizer)
    scheduled = optimizers(recipe, half)
    steps(half, scheduled, 0, 2)
    save(tmp_path, 2, model=half, scheduled=scheduled)

    again = build(recipe, tokenizer)
    scheduled = optimizers(recipe, again)
    assert restore(tmp_path, again, scheduled=scheduled) == 2
    steps(again, scheduled, 2, 3)
    for expected, resumed in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(expected, resumed, atol=1e-5)


def test_hard_conversations_ask_more_that_only_a_name_makes_unanswerable() -> None:
    def silent(hard: bool) -> float:
        rng = random.Random(4)
        talks = [world.conversation(rng, 8, hard=hard) for _ in range(400)]
        answers = contents(talks, "assistant")
        return answers.count(ABSTENTION) / len(answers)

    assert silent(True) > silent(False) + 0.02
    rng = random.Random(5)
    for _ in range(100):
        scene = world.scene(rng, 4)
        key = world.mistakable(rng, scene)
        assert key not in scene.current
        assert key.relation in {fact.relation for fact in scene.told}


def test_the_learning_rate_rises_falls_and_falls_again() -> None:
    recipe = Recipe()
    rates = [recipe.rate(step) for step in range(recipe.steps + recipe.polish)]
    assert rates[0] < rates[recipe.warmup] == 1.0
    assert rates[recipe.steps - 1] < 0.06
    assert 0.45 < rates[recipe.steps] <= 0.5
    assert rates[-1] < 0.01


def test_the_shipped_weights_are_small_and_safe() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 16 * 1024 * 1024
    for file in MODEL.iterdir():
        assert file.suffix not in {".bin", ".pt", ".pkl"}


def test_chains_follow_the_newest_value_and_inverses_have_one_answer() -> None:
    led = world.Fact("Karo", "leader", "Mara")
    moved = world.Fact("Mara", "city", "Brenport")
    other = world.Fact("Jon", "city", "Brenport")
    facts = world.newest([led, moved, other])
    assert links.chains(facts) == [(led, moved)]
    assert links.chains(world.newest([led, moved, world.Fact("Karo", "leader", "Pia")])) == []
    assert links.invertible(facts) == [led]

    rng = random.Random(6)
    question = links.chain(rng, led.key, second="city")
    assert "Karo" in question
    assert "Mara" not in question
    assert "Brenport" in links.inverse(rng, moved)


def test_linked_scenes_hold_chains_and_what_is_unknown_is_not_in_them() -> None:
    rng, with_chains = random.Random(7), 0
    for _ in range(100):
        scene = links.scene(rng, 4, test=True)
        chains = links.chains(scene.current)
        with_chains += bool(chains)
        for fact in scene.told:
            assert words.is_test(fact.subject)
            assert words.is_test(fact.value)

        unknown = links.unknown_chain(rng, scene.current, test=True)
        assert unknown not in {(first.key, second.relation) for first, second in chains}
        turned = links.unknown_inverse(rng, scene.current, test=True)
        told = {(fact.relation, fact.value) for fact in scene.current.values()}
        assert (turned.relation, turned.value) not in told
    assert with_chains > 80


def test_the_last_wordings_of_chains_and_inverses_are_never_trained_on() -> None:
    descriptions = [description.wordings for description in links.DESCRIPTIONS.values()]
    trained, held_out = split([*links.INVERSE.values(), *descriptions])
    assert not held_out & trained
    for relation in relations.RELATIONS.values():
        assert not held_out & set(relation.questions)

    patterns: list[str] = []
    for text in held_out:
        pattern = re.escape(text).replace(r"\{s\}", r"\w+").replace(r"\{v\}", r"\S+")
        patterns.append(pattern)
    any_held_out = re.compile("|".join(patterns))
    rng = random.Random(8)
    talks = [links.conversation(rng, 8) for _ in range(400)]
    for text in contents(talks, "user", "assistant"):
        assert not any_held_out.search(text)


def test_what_is_taught_closed_book_leads_on_and_is_apart_from_the_rest() -> None:
    facts = links.known()
    names = {name for name, _ in facts}
    assert len(links.chains(facts)) > 100
    assert not names & {entity.name for entity in world.known().entities}
    assert not any(words.is_test(name) for name in names)


def test_the_recipe_ends_with_links() -> None:
    recipe = Recipe(steps=4, polish=2, link=3)
    assert recipe.last == 9
    assert 0.4 < recipe.rate(6) <= 0.5
    assert recipe.rate(8) < 0.2

    def dreams(step: int) -> int:
        rng = random.Random(9)
        talks = [recipe.talk(rng, step) for _ in range(100)]
        return contents(talks, "user").count(DREAM)

    assert dreams(5) == 0 < dreams(6)
