"""Sums of experts and the router, on the tiny model. Isolated copies: tests/night/dreaming."""

import pytest
import torch
from _weights import ASKED, logits, shake

from sleepmem.config import ModelConfig
from sleepmem.model.local import LocalModel

TWO = ["first", "second"]
THREE = ["first", "second", "third"]


@pytest.fixture
def local(tiny):
    return LocalModel(tiny, ModelConfig(device="cpu"))


def add(local, names, *, rank):
    """Experts that change something."""
    for number, name in enumerate(names):
        local.add_expert(name, rank, seed=number)
        shake(local, name, number)


def adapters(local):
    """Everything that PEFT holds, in order."""
    return list(local.peft.peft_config)


def multiply_nothing_out(monkeypatch, break_off=lambda layer, adapter: None):
    monkeypatch.setattr("sleepmem.model.adapters.multiply_out", break_off)


# Sums


def test_experts_of_many_ranks_are_one_matrix(tiny, monkeypatch):
    names = [f"night-{number}" for number in range(3)]
    factors, product = (LocalModel(tiny, ModelConfig(device="cpu")) for _ in range(2))
    for local in (factors, product):
        add(local, names, rank=48)
    multiplied_out = logits(product, names)
    with monkeypatch.context() as patch:
        multiply_nothing_out(patch)
        assert torch.allclose(logits(factors, names), multiplied_out, atol=1e-4)

    def held(local):
        return sum(
            weight.numel() for name, weight in local.peft.named_parameters() if ".sum-" in name
        )

    assert 0 < held(product) < held(factors)

    # The sum goes with one of its experts.
    product.drop_expert("night-1")
    assert not held(product)
    left = ["night-0", "night-2"]
    assert torch.allclose(logits(product, left), logits(factors, left), atol=1e-4)


def test_half_a_sum_is_no_sum(local, monkeypatch):
    add(local, TWO, rank=4)

    def full(layer, adapter):
        raise MemoryError

    with monkeypatch.context() as patch:
        multiply_nothing_out(patch, full)
        with pytest.raises(MemoryError):
            logits(local, TWO)
    assert local.experts == tuple(TWO)
    assert adapters(local) == TWO
    assert torch.allclose(logits(local, TWO), logits(local, TWO[::-1]), atol=1e-4)


def test_a_sum_is_no_expert_and_is_made_once(local):
    add(local, TWO, rank=4)
    both = logits(local, TWO)
    made = adapters(local)
    assert local.experts == tuple(TWO)
    assert len(made) == 3
    logits(local, ["first"])
    assert torch.equal(logits(local, TWO), both)
    assert adapters(local) == made


def test_sums_are_told_apart_by_their_experts_whatever_these_are_called(local):
    add(local, ["x", "y+z", "x+y", "z"], rank=4)
    one, other = logits(local, ["x", "y+z"]), logits(local, ["x+y", "z"])
    assert not torch.allclose(one, other, atol=1e-2)
    assert local.experts == ("x", "y+z", "x+y", "z")


def test_old_sums_make_room_for_new_ones(local):
    add(local, [*THREE, "fourth"], rank=4)
    pairs = [["first", "second"], ["second", "third"], ["third", "fourth"], ["first", "fourth"]]
    alone = []
    for pair in pairs:
        alone.append(logits(local, pair))
        assert len(adapters(local)) <= 4 + 2
    for pair, expected in zip(pairs, alone, strict=True):
        assert torch.equal(logits(local, pair), expected)


# The router


def routed(tiny, experts_per_token, names):
    local = LocalModel(tiny, ModelConfig(device="cpu"), experts_per_token=experts_per_token)
    add(local, names, rank=2)
    return local


def test_a_router_over_all_experts_is_their_sum(tiny):
    over_all, summed = routed(tiny, 3, THREE), routed(tiny, 0, THREE)
    assert torch.allclose(logits(over_all, THREE), logits(summed, THREE), atol=1e-5)


def test_a_token_goes_through_the_experts_that_add_most(tiny):
    local = routed(tiny, 1, THREE)
    with torch.no_grad():
        for name, weight in local.peft.named_parameters():
            if ".second." in name and "lora_B" in name:
                weight.mul_(100.0)
            if ".third." in name and "lora_B" in name:
                weight.mul_(0.01)
    alone = logits(local, ["second"])
    assert torch.allclose(logits(local, THREE), alone, atol=1e-4)

    # Without the second, the first adds most.
    without = logits(local, ["first", "third"])
    assert not torch.allclose(without, logits(local, ["third"]), atol=1e-4)
    assert torch.allclose(without, logits(local, ["first"]), atol=1e-4)


def test_the_router_leaves_what_trains_alone(tiny):
    local = routed(tiny, 1, THREE)
    with local.view(THREE, training="third") as model:
        ids = torch.tensor([local.prompt_ids(ASKED[0])])
        model(input_ids=ids).logits.sum().backward()
    trained = {name for name, weight in local.peft.named_parameters() if weight.grad is not None}
    assert trained
    assert all(".third." in name for name in trained)
