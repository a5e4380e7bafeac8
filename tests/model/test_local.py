"""Experts and views, on the tiny model."""

import threading

import pytest
import torch
from _weights import ASKED, logits, shake

from sleepmem.config import ModelConfig, SeedingConfig
from sleepmem.errors import ExpertError
from sleepmem.model.local import LocalModel
from sleepmem.night.rows import Row, RowKind
from sleepmem.night.seeding import Lesson, seed

TWO = ["first", "second"]


@pytest.fixture
def local(tiny):
    return LocalModel(tiny, ModelConfig(device="cpu"))


def weights(local, expert):
    return {
        name: weight.detach().clone()
        for name, weight in local.peft.named_parameters()
        if f".{expert}." in name
    }


def base(local):
    """The frozen weights, by the names they have without adapters."""
    frozen = {}
    for name, weight in local.model.named_parameters():
        if "lora_" not in name:
            own_name = name.replace("base_model.model.", "").replace("base_layer.", "")
            frozen[own_name] = weight.detach().clone()
    return frozen


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def add(local, names):
    """Experts that change something."""
    for number, name in enumerate(names):
        local.add_expert(name, 4)
        shake(local, name, number)


def logits_of_the_view(local):
    """What `logits` returns, in the view that is on."""
    prompts = [local.prompt_ids(chat) for chat in ASKED]
    with torch.no_grad():
        return local.logits(prompts, [local.answer_ids("In Brenport.")] * 2)


# Twins


def test_a_twin_holds_the_same_tensors_and_experts_of_its_own(local):
    plain = logits_of_the_view(local)
    add(local, ["day"])
    twin = local.twin()
    held = {weight.data_ptr() for weight in local.base.parameters()}
    assert {weight.data_ptr() for weight in twin.base.parameters()} <= held
    assert torch.equal(logits_of_the_view(twin), plain)
    add(twin, ["night"])
    assert (local.experts, twin.experts) == (("day",), ("night",))
    with local.view([]):
        assert torch.equal(logits_of_the_view(local), plain)
    with twin.view(["night"]):
        assert not torch.equal(logits_of_the_view(twin), plain)
    twin.drop_expert("night")
    assert torch.equal(logits_of_the_view(twin), plain)


def test_twins_encode_at_once_as_each_alone(local):
    twin, text = local.twin(), "<|end|><|system|> of what? " * 20
    chats = [({"role": "user", "content": text},), ({"role": "user", "content": "Hello."},)]
    alone = [(local.prompt_ids(chat), local.answer_ids(text)) for chat in chats]
    found = []

    def encode(model):
        for _ in range(40):
            found.append([(model.prompt_ids(chat), model.answer_ids(text)) for chat in chats])

    threads = [threading.Thread(target=encode, args=[model]) for model in (local, twin) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 240


# On and off


def test_a_new_expert_changes_nothing_yet(local):
    before = logits(local)
    local.add_expert("e", 4)
    assert torch.allclose(logits(local, ["e"]), before, atol=1e-5)


def test_training_changes_the_expert_and_not_the_base(local):
    before, off = base(local), logits(local)
    local.add_expert("e", 4)
    new = weights(local, "e")
    row = Row(RowKind.FACT, ASKED[0], ASKED[1], "In Brenport.")
    config = SeedingConfig(steps=2, batch=2, lambda_=0)
    seed(local, Lesson("e", (), [row]), config=config, semantic=lambda answer, wanted: 0.0)
    assert same(base(local), before)
    for name, weight in weights(local, "e").items():
        assert "lora_B" not in name or not torch.equal(new[name], weight)
    assert torch.equal(logits(local), off)
    assert not torch.allclose(logits(local, ["e"]), off, atol=1e-4)


def test_off_is_as_before_and_so_is_dropped(local):
    before, off = base(local), logits(local)
    add(local, ["e"])
    assert not torch.allclose(logits(local, ["e"]), off, atol=1e-2)
    assert torch.equal(logits(local), off)
    local.drop_expert("e")
    assert local.experts == ()
    assert same(base(local), before)
    assert torch.equal(logits(local), off)


def test_the_seed_alone_decides_how_an_expert_begins(local):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    drawn = []
    for name, number in (("first", 3), ("second", 3), ("third", 4)):
        local.add_expert(name, 4, seed=number)
        born = weights(local, name)
        drawn.append([weight for path, weight in born.items() if "lora_A" in path])
    first, second, third = drawn
    assert all(map(torch.equal, first, second))
    assert not any(map(torch.equal, first, third))
    # The caller's own randomness is left alone.
    assert torch.equal(torch.random.get_rng_state(), state)


def test_experts_sit_on_the_mlp_alone(local):
    local.add_expert("e", 4)
    assert all(".mlp." in name for name in weights(local, "e"))


def test_order_of_experts_is_irrelevant(local):
    add(local, TWO)
    assert torch.allclose(logits(local, TWO), logits(local, TWO[::-1]), atol=1e-4)
    for one in TWO:
        assert not torch.allclose(logits(local, TWO), logits(local, [one]), atol=1e-2)


def test_dropping_one_leaves_the_other(local):
    add(local, TWO)
    kept = logits(local, ["second"])
    local.drop_expert("first")
    local.drop_expert("first")  # gone already: nothing to do
    assert local.experts == ("second",)
    assert torch.equal(logits(local, ["second"]), kept)


# Views


def test_a_view_holds_whatever_happens_inside(local):
    add(local, (*TWO, "third"))
    ids = torch.tensor([local.prompt_ids(ASKED[0])])
    with torch.no_grad(), local.view(()) as model:
        off = model(input_ids=ids).logits
        with local.view(["first"]):
            pass
        assert torch.equal(model(input_ids=ids).logits, off)
    with torch.no_grad(), local.view(TWO) as model:
        both = model(input_ids=ids).logits
        local.drop_expert("third")
        assert torch.allclose(model(input_ids=ids).logits, both, atol=1e-5)


def test_a_view_restores_on_leaving(local):
    add(local, ["e"])
    with local.view(["e"]):
        on = logits(local, ["e"])
        with local.view([]):
            pass
        inside = logits_of_the_view(local)
    assert torch.equal(inside, on)
    assert not torch.allclose(logits(local), on, atol=1e-2)


def test_a_view_restores_on_an_exception(local):
    off = logits(local)
    add(local, ["e"])

    def breaks():
        with local.view(["e"], training="e"):
            raise RuntimeError("something broke")

    with pytest.raises(RuntimeError, match="something broke"):
        breaks()
    assert torch.equal(logits_of_the_view(local), off)
    assert not any(weight.requires_grad for weight in local.model.parameters())


def test_only_the_expert_in_training_has_gradients(local):
    for name in TWO:
        local.add_expert(name, 4)
    with local.view(TWO, training="second"):
        trained = set()
        for name, weight in local.peft.named_parameters():
            if weight.requires_grad:
                trained.add(name.split(".")[-2])
        assert trained == {"second"}
    assert not any(weight.requires_grad for weight in local.model.parameters())


@pytest.mark.parametrize("loaded", [False, True])
def test_a_view_of_an_unknown_expert_is_refused_and_does_no_harm(local, loaded):
    if loaded:
        local.add_expert("e", 4)
    off = logits(local)
    with pytest.raises(ExpertError, match="stranger"), local.view(["stranger"]):
        pass
    assert torch.equal(logits(local), off)
    local.add_expert("f", 4)
    assert "f" in local.experts


def test_views_of_two_threads_take_turns(local):
    add(local, TWO)
    alone = {one: logits(local, [one]) for one in TWO}
    wrong = []

    def look(one):
        for _ in range(5):
            if not torch.equal(logits(local, [one]), alone[one]):
                wrong.append(one)

    threads = [threading.Thread(target=look, args=(one,)) for one in TWO]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
