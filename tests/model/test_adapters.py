"""Sums of experts and the router, on the tiny model. Isolated copies are in test_dreaming.py."""

import pytest
import torch
from _weights import ASKED, logits, shake

from sleepmem.model.local import LocalModel

TWO = ["first", "second"]


@pytest.fixture
def local(tiny):
    return LocalModel(tiny, device="cpu")


# Sums


def test_experts_of_many_ranks_are_one_matrix(tiny, monkeypatch):
    names = [f"night-{n}" for n in range(3)]
    factors, product = (LocalModel(tiny, device="cpu") for _ in range(2))
    for local in (factors, product):
        for n, name in enumerate(names):
            local.add_expert(name, 48, n)
            shake(local, name, n)
    made = logits(product, names)
    with monkeypatch.context() as patch:
        patch.setattr("sleepmem.model.local.multiply_out", lambda layer, adapter: None)
        assert torch.allclose(logits(factors, names), made, atol=1e-4)

    def held(local):
        return sum(
            p.numel() for n, p in local.peft.named_parameters() if ".night-0+night-1+night-2." in n
        )

    assert held(product) < held(factors)
    product.drop_expert("night-1")  # the sum goes with it
    assert not held(product)
    assert torch.allclose(
        logits(product, ["night-0", "night-2"]), logits(factors, ["night-0", "night-2"]), atol=1e-4
    )


def test_half_a_sum_is_no_sum(local, monkeypatch):
    for n, name in enumerate(TWO):
        local.add_expert(name, 4)
        shake(local, name, n)

    def full(layer, adapter):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("sleepmem.model.local.multiply_out", full)
        with pytest.raises(MemoryError):
            logits(local, TWO)
    assert local.experts == tuple(TWO)
    assert torch.allclose(logits(local, TWO), logits(local, TWO[::-1]), atol=1e-4)


# The router


def routed(tiny, experts_per_token, names):
    local = LocalModel(tiny, device="cpu", experts_per_token=experts_per_token)
    for n, name in enumerate(names):
        local.add_expert(name, 2, n)
        shake(local, name, n)
    return local


def test_a_router_over_all_experts_is_their_sum(tiny):
    names = ["first", "second", "third"]
    assert torch.allclose(
        logits(routed(tiny, 3, names), names), logits(routed(tiny, 0, names), names), atol=1e-5
    )


def test_a_token_goes_through_the_experts_that_add_most(tiny):
    names = ["first", "second", "third"]
    local = routed(tiny, 1, names)
    with torch.no_grad():
        for n, p in local.peft.named_parameters():
            if ".second." in n and "lora_B" in n:
                p.mul_(100.0)
            if ".third." in n and "lora_B" in n:
                p.mul_(0.01)
    alone = logits(local, ["second"])
    assert torch.allclose(logits(local, names), alone, atol=1e-4)
    assert not torch.allclose(
        logits(local, ["first", "third"]), logits(local, ["third"]), atol=1e-4
    )  # without the second
    assert torch.allclose(logits(local, ["first", "third"]), logits(local, ["first"]), atol=1e-4)


def test_the_router_leaves_what_trains_alone(tiny):
    local = routed(tiny, 1, ["first", "second", "third"])
    with local.view(["first", "second", "third"], training="third") as model:
        ids = torch.tensor([local.prompt_ids(ASKED[0])])
        model(input_ids=ids).logits.sum().backward()
    grown = {n for n, p in local.peft.named_parameters() if p.grad is not None}
    assert grown
    assert all(".third." in n for n in grown)
