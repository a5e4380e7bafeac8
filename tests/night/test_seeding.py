import math

import pytest
import torch

from sleepmem.config import SeedingConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.seeding import Row, RowKind, SeedingTrainer, compose, reward, seed
from sleepmem.text.prompts import closed_book, open_book

TOWNS = ["Brenport", "Oslo", "Rome", "Marsh End"]


def never(made, wanted):
    return 0.0


def odd(made, wanted):
    """A reward model with an opinion: not the same for every answer of a batch."""
    return float(len(made) % 2)


def row(kind, n=0):
    asked = closed_book(f"Where does person {n} live?")
    told = open_book(
        f"Where does person {n} live?", [f"2030-01-01: Person {n} moved to {TOWNS[n % 4]}."]
    )
    student, teacher = {RowKind.FACT: (asked, told), RowKind.READING: (told, told)}.get(
        kind, (asked, asked)
    )
    return Row(
        kind,
        student,
        teacher,
        "I do not know." if kind is RowKind.NEVER_SAID else f"In {TOWNS[n % 4]}.",
    )


ROWS = [row(kind, n) for kind in RowKind for n in range(4)]
FACTS = [r for r in ROWS if r.kind is RowKind.FACT]


@pytest.fixture
def local(tiny):
    made = LocalModel(tiny, device="cpu")
    made.add_expert("evening", 4, seed=1)
    torch.manual_seed(1)
    with torch.no_grad():
        for n, p in made.peft.named_parameters():
            if "lora_B" in n:
                p.normal_(std=0.1)
    return made


def parameters(local):
    return {
        n.replace("base_layer.", ""): p.detach().clone() for n, p in local.model.named_parameters()
    }


def train(local, config, semantic=never, rows=ROWS, **more):
    """Seed a fresh expert beside the evening's; its weights, and what `seed` returned."""
    local.drop_expert("tonight")
    local.add_expert("tonight", 4, config.seed)
    made = seed(local, "tonight", ("evening",), rows, config, semantic, **more)
    return torch.cat([p.flatten() for n, p in parameters(local).items() if ".tonight." in n]), made


# The reward


@pytest.mark.parametrize(
    ("made", "wanted", "meaning", "gamma", "z0", "earned"),
    [
        ("Oslo", "Oslo", 1.0, 0.5, 8, 1.0),
        ("Oslo", "Oslo", 0.0, 0.5, 8, 0.5),
        ("Oslo.", "Oslo", 1.0, 0.5, 8, 0.5 + 0.5 * (1 - 1 / 5)),
        ("Oslo", "Rome", 0.0, 0.5, 8, 0.5 * (1 - 4 / 4)),
        ("kitten", "sitting", 0.0, 0.25, 8, 0.75 * (1 - 3 / 7)),
        ("kitten", "sitting", 0.0, 0.25, 2, 0.0),  # three edits are too many
        ("kitten", "sitting", 1.0, 0.25, 2, 0.25),
        ("kitten", "sitting", 1.0, 1.0, 0, 1.0),
        ("", "", 0.0, 0.5, 8, 0.5),
    ],
)
def test_reward_by_hand(made, wanted, meaning, gamma, z0, earned):
    assert reward(made, wanted, lambda m, w: meaning, gamma, z0) == pytest.approx(earned)


# Batches


def batches(rows, config):
    out = compose(rows, config)
    return [out[i : i + config.batch] for i in range(0, len(out), config.batch)]


def test_every_batch_holds_its_share_of_each_kind():
    made = batches(
        ROWS, SeedingConfig(steps=7, batch=20, never_said=0.2, rehearsal=0.25, reading=0.1)
    )
    assert len(made) == 7
    for batch in made:
        kinds = [r.kind for r in batch]
        assert {k: kinds.count(k) for k in RowKind} == {
            RowKind.NEVER_SAID: 4,
            RowKind.REHEARSAL: 5,
            RowKind.READING: 2,
            RowKind.FACT: 9,
        }


def test_tonights_facts_take_the_share_of_what_there_is_not():
    made = batches(FACTS + ROWS[4:8], SeedingConfig(steps=3, batch=10, never_said=0.2))
    assert [sorted(r.kind.value for r in batch) for batch in made] == [
        ["fact"] * 8 + ["never_said"] * 2
    ] * 3


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 32])
@pytest.mark.parametrize("shares", [(0.2, 0.25, 0.25), (0.3, 0.3, 0.3), (0.0, 0.0, 0.99)])
def test_every_batch_is_full_and_teaches_tonights_facts(batch, shares):
    config = SeedingConfig(
        steps=3, batch=batch, never_said=shares[0], rehearsal=shares[1], reading=shares[2]
    )
    made = compose(ROWS, config)
    assert len(made) == 3 * batch
    assert all(
        any(r.kind is RowKind.FACT for r in made[i : i + batch]) for i in range(0, len(made), batch)
    )


def test_every_row_comes_once_before_any_comes_twice():
    made = [r for r in compose(ROWS, SeedingConfig(steps=4, batch=10)) if r.kind is RowKind.FACT]
    assert {made.count(r) for r in FACTS} <= {len(made) // 4, len(made) // 4 + 1}


def test_composition_depends_on_the_seed_alone():
    one, other = SeedingConfig(steps=3, seed=1), SeedingConfig(steps=3, seed=2)
    assert compose(ROWS, one) == compose(ROWS, one) != compose(ROWS, other)


# Training


def test_only_the_new_expert_moves(local):
    before = parameters(local)
    train(local, SeedingConfig(steps=2, batch=4, lambda_=0.5))
    after = parameters(local)
    assert all(torch.equal(after[n], w) for n, w in before.items())
    moved = {n for n in after if n not in before and "lora_B" in n and after[n].abs().max() > 0}
    assert moved == {n for n in after if ".tonight." in n and "lora_B" in n}


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


def test_alpha_one_ignores_the_reward_model(local):
    config = SeedingConfig(steps=2, batch=8, lambda_=1, alpha=1)
    assert torch.equal(train(local, config, never)[0], train(local, config, odd)[0])


def test_a_smaller_alpha_heeds_the_reward_model(local):
    config = SeedingConfig(steps=2, batch=8, lambda_=1, alpha=0.5)
    assert not torch.allclose(
        train(local, config, never)[0], train(local, config, odd)[0], atol=1e-4
    )


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_loss_falls(local, beta):
    _, made = train(local, SeedingConfig(steps=16, batch=8, lr=3e-2, lambda_=0, beta=beta))
    losses = [point["loss"] for point in made.curve]
    assert len(losses) == 16
    assert losses[-1] < 0.7 * losses[0]


def test_rehearsal_is_taught_by_the_evenings_model(local):
    """A new expert begins as the model of this evening, so there is nothing to learn from it yet, and much from the base."""
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
        return train(local, config, rows=rows)[1].curve[0]["loss"]

    assert first_loss(RowKind.REHEARSAL) == pytest.approx(first_loss(None) / 2, rel=1e-3)
    assert first_loss(RowKind.NEVER_SAID) > first_loss(RowKind.REHEARSAL) * 1.1


def test_teachers_read_only_what_a_batch_draws(local, monkeypatch):
    read, work = [], SeedingTrainer._logits
    monkeypatch.setattr(
        SeedingTrainer,
        "_logits",
        lambda self, experts, *texts: read.extend(texts[0]) or work(self, experts, *texts),
    )
    config = SeedingConfig(steps=1, batch=4, lambda_=0, never_said=0, reading=0, rehearsal=0)
    train(local, config)
    assert sorted(read) == sorted(local.prompt_ids(r.teacher) for r in FACTS)


def test_the_curve_tells_steps_losses_and_rewards(local):
    seen = []
    _, made = train(
        local,
        SeedingConfig(steps=3, batch=8, lambda_=1, alpha=0.5),
        odd,
        progress=lambda *event: seen.append(event),
    )
    assert [point["step"] for point in made.curve] == [1, 2, 3]
    assert [(step, of) for step, of, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(math.isfinite(point["loss"]) for point in made.curve)
    assert any(point["reward"] > 0 for point in made.curve)


def sure(town=0):
    asked = row(RowKind.FACT).student
    return Row(RowKind.FACT, asked, asked, f"In {TOWNS[town]}.", certain=True)


def steps_taken(local, rows, stop_at):
    _, made = train(
        local, SeedingConfig(steps=60, batch=4, lr=1e-1, lambda_=0, stop_at=stop_at), rows=rows
    )
    return made.curve[-1]["step"]


def test_it_ends_once_the_student_says_what_it_is_taught(local):
    assert 8 < steps_taken(local, [sure()], 0.99) < 40
    assert local.answer([sure().student], ("evening", "tonight")) == [sure().answer]


def test_it_goes_on_while_a_part_is_not_said(local):
    at_odds = [sure(town=0), sure(town=1)]
    assert steps_taken(local, at_odds, 0.99) == 60
    assert steps_taken(local, at_odds, 0.3) < 60


def test_it_does_not_end_on_reading_alone(local):
    """Where the student completes every answer itself, only reading is left as it was taught; the fact is not said yet."""
    asked = row(RowKind.FACT).student
    rows = [row(RowKind.FACT, 1), Row(RowKind.READING, asked, asked, "In Oslo.", certain=True)]
    _, made = train(
        local,
        SeedingConfig(
            steps=80,
            batch=4,
            lr=1e-1,
            lambda_=1,
            never_said=0,
            rehearsal=0,
            reading=0.5,
            stop_at=0.99,
        ),
        rows=rows,
    )
    assert made.curve[-1]["step"] == 80


def test_it_takes_all_steps_when_told_to(local):
    assert steps_taken(local, [sure()], 0.0) == 60


def test_tokens_are_counted(local):
    config = SeedingConfig(steps=2, batch=4, lambda_=0)
    _, made = train(local, config)
    assert made.tokens_trained == sum(
        len(local.answer_ids(r.answer)) for r in compose(ROWS, config)
    )


def test_nothing_is_left_in_training(local):
    train(local, SeedingConfig(steps=1, batch=4, lambda_=0))
    assert not local.model.training
    assert not any(p.requires_grad for p in local.model.parameters())
