"""Seeding on the tiny model: who learns, from which teacher, and when it ends."""

import math

import pytest
import torch

from sleepmem.config import ModelConfig, SeedingConfig
from sleepmem.model import loading
from sleepmem.model.local import LocalModel
from sleepmem.night.rows import Row, RowKind, compose
from sleepmem.night.seeding import Lesson, SeedingTrainer, seed
from sleepmem.text.prompts import closed_book, open_book

TOWNS = ["Brenport", "Oslo", "Rome", "Marsh End"]


def never(answer, wanted):
    return 0.0


def odd(answer, wanted):
    """A judge with an opinion: not the same for every answer of a batch."""
    return float(len(answer) % 2)


def row(kind, person=0):
    question, town = f"Where does person {person} live?", TOWNS[person % 4]
    asked = closed_book(question)
    told = open_book(question, [f"2030-01-01: Person {person} moved to {town}."])
    views = {RowKind.FACT: (asked, told), RowKind.READING: (told, told)}
    student, teacher = views.get(kind, (asked, asked))
    answer = "I do not know." if kind is RowKind.NEVER_SAID else f"In {town}."
    return Row(kind, student, teacher, answer)


def sure(town=0):
    asked = row(RowKind.FACT).student
    return Row(RowKind.FACT, asked, asked, f"In {TOWNS[town]}.", certain=True)


ROWS = [row(kind, person) for kind in RowKind for person in range(4)]
FACTS = [row for row in ROWS if row.kind is RowKind.FACT]


@pytest.fixture
def local(tiny):
    return evening(tiny)


def evening(tiny):
    """The tiny model with an expert that is live."""
    model = LocalModel(tiny, ModelConfig(device="cpu"))
    model.add_expert("evening", 4, seed=1)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


def parameters(local):
    values = {}
    for name, parameter in local.model.named_parameters():
        values[name.replace("base_layer.", "")] = parameter.detach().clone()
    return values


def train(local, config, *, semantic=never, rows=ROWS, **more):
    """Seed a fresh expert beside the evening's; its weights, and what `seed` returned."""
    local.drop_expert("tonight")
    local.add_expert("tonight", 4, seed=config.seed)
    lesson = Lesson("tonight", before=("evening",), rows=rows)
    seeded = seed(local, lesson, config=config, semantic=semantic, **more)
    weights = [value.flatten() for name, value in parameters(local).items() if ".tonight." in name]
    return torch.cat(weights), seeded


# Training


def test_the_student_goes_on_to_an_end_of_the_template(tiny, monkeypatch):
    ends = range(8, 1024, 2)
    monkeypatch.setattr(loading, "_last_control", lambda tokenizer: list(ends))
    completions, turn = [], SeedingTrainer._generate_single_turn

    def recorded(trainer, *given):
        completions.extend(turn(trainer, *given))
        return completions[-len(given[0]) :]

    monkeypatch.setattr(SeedingTrainer, "_generate_single_turn", recorded)
    train(evening(tiny), SeedingConfig(steps=2, batch=8, lambda_=1, max_new_tokens=8))
    assert any(completion[-1] in ends for completion in completions)
    for completion in completions:
        assert not set(completion[:-1]).intersection(ends)


def test_only_the_new_expert_moves(local):
    before = parameters(local)
    train(local, SeedingConfig(steps=2, batch=4, lambda_=0.5))
    after = parameters(local)
    for name, weight in before.items():
        assert torch.equal(after[name], weight)
    new = {name for name in after if name not in before and "lora_B" in name}
    moved = {name for name in new if after[name].abs().max() > 0}
    assert moved == {name for name in after if ".tonight." in name and "lora_B" in name}


def test_a_batch_in_parts_is_the_batch(local):
    config = SeedingConfig(steps=2, batch=8, lambda_=0)
    whole, _ = train(local, config)
    parts, _ = train(local, config, accumulation=8)
    assert torch.allclose(whole, parts, atol=1e-5)
    other, _ = train(local, SeedingConfig(steps=2, batch=8, lambda_=0, seed=1))
    assert not torch.allclose(whole, other, atol=1e-3)


def test_the_same_seed_gives_the_same_expert(local):
    config = SeedingConfig(steps=2, batch=4, lambda_=0.5)
    assert torch.equal(train(local, config)[0], train(local, config)[0])


def test_alpha_one_ignores_the_reward(local):
    config = SeedingConfig(steps=2, batch=8, lambda_=1, alpha=1)
    unmoved, _ = train(local, config, semantic=never)
    assert torch.equal(unmoved, train(local, config, semantic=odd)[0])


def test_a_smaller_alpha_heeds_the_reward(local):
    config = SeedingConfig(steps=2, batch=8, lambda_=1, alpha=0.5)
    unmoved, _ = train(local, config, semantic=never)
    assert not torch.allclose(unmoved, train(local, config, semantic=odd)[0], atol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_loss_falls(local, beta):
    _, seeded = train(local, SeedingConfig(steps=16, batch=8, lr=3e-2, lambda_=0, beta=beta))
    losses = [point["loss"] for point in seeded.curve]
    assert len(losses) == 16
    assert losses[-1] < 0.7 * losses[0]


def test_nothing_is_left_in_training(local):
    train(local, SeedingConfig(steps=1, batch=4, lambda_=0))
    assert not local.model.training
    assert not any(parameter.requires_grad for parameter in local.model.parameters())


# Teachers


def test_rehearsal_is_taught_by_the_evenings_model(local):
    """A new expert begins as the model of this evening.

    So there is nothing to learn from it yet, and much from the base.
    """
    fact, asked = FACTS[0], row(RowKind.NEVER_SAID).student

    def first_loss(other):
        config = SeedingConfig(
            steps=1,
            batch=4,
            lambda_=0,
            never_said=0.5 * (other is RowKind.NEVER_SAID),
            rehearsal=0.5 * (other is RowKind.REHEARSAL),
        )
        rows = [fact, Row(other, asked, asked, fact.answer)] if other else [fact]
        _, seeded = train(local, config, rows=rows)
        return seeded.curve[0]["loss"]

    assert first_loss(RowKind.REHEARSAL) == pytest.approx(first_loss(None) / 2, rel=1e-3)
    assert first_loss(RowKind.NEVER_SAID) > first_loss(RowKind.REHEARSAL) * 1.1


def test_teachers_read_only_what_a_batch_draws(local, monkeypatch):
    prompts, work = [], SeedingTrainer._read

    def read(trainer, teacher, rows):
        prompts.extend(row.example["teacher_ids"] for row in rows)
        return work(trainer, teacher, rows)

    monkeypatch.setattr(SeedingTrainer, "_read", read)
    config = SeedingConfig(steps=1, batch=4, lambda_=0, never_said=0, reading=0, rehearsal=0)
    train(local, config)
    assert sorted(prompts) == sorted(local.prompt_ids(row.teacher) for row in FACTS)


# What is reported


def test_the_curve_tells_steps_losses_and_rewards(local):
    seen = []
    _, seeded = train(
        local,
        SeedingConfig(steps=3, batch=8, lambda_=1, alpha=0.5),
        semantic=odd,
        progress=lambda *event: seen.append(event),
    )
    assert [point["step"] for point in seeded.curve] == [1, 2, 3]
    assert [event[:2] for event in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(math.isfinite(point["loss"]) for point in seeded.curve)
    assert any(point["reward"] > 0 for point in seeded.curve)


def test_tokens_are_counted(local):
    config = SeedingConfig(steps=2, batch=4, lambda_=0)
    _, seeded = train(local, config)
    answers = [local.answer_ids(row.answer) for row in compose(ROWS, config)]
    assert seeded.tokens_trained == sum(map(len, answers))


# The end


def steps_taken(local, rows, stop_at):
    config = SeedingConfig(steps=60, batch=4, lr=1e-1, lambda_=0, stop_at=stop_at)
    _, seeded = train(local, config, rows=rows)
    return seeded.curve[-1]["step"]


def test_it_ends_once_the_student_says_what_it_is_taught(local):
    assert 8 < steps_taken(local, [sure()], 0.99) < 40
    assert local.answer([sure().student], ("evening", "tonight")) == [sure().answer]


def test_it_goes_on_while_a_part_is_not_said(local):
    at_odds = [sure(town=0), sure(town=1)]
    assert steps_taken(local, at_odds, 0.99) == 60
    assert steps_taken(local, at_odds, 0.3) < 60


def test_it_does_not_end_on_reading_alone(local):
    """The fact is not said yet.

    Where the student completes every answer itself, only reading is left as it was taught.
    """
    asked = row(RowKind.FACT).student
    rows = [row(RowKind.FACT, 1), Row(RowKind.READING, asked, asked, "In Oslo.", certain=True)]
    shares = {"never_said": 0, "rehearsal": 0, "reading": 0.5}
    config = SeedingConfig(steps=80, batch=4, lr=1e-1, lambda_=1, stop_at=0.99, **shares)
    _, seeded = train(local, config, rows=rows)
    assert seeded.curve[-1]["step"] == 80


def test_it_takes_all_steps_when_told_to(local):
    assert steps_taken(local, [sure()], 0.0) == 60
