"""Isolated copies, and what the gradient and the trials tell of a dream."""

import dataclasses
import itertools

import pytest
import torch
from _dreams import CONFIG, dreamt
from _weights import shake

from sleepmem.config import ModelConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming.dream import Dreamer, Fate, Pair
from sleepmem.night.dreaming.trial import importance, trial
from sleepmem.text.prompts import closed_book

LESSONS = [
    ("Where does Mara live?", "Brenport."),
    ("Who owns the red boat?", "Jon Aldous."),
    ("Who leads Karo?", "Mara."),
]


@pytest.fixture(scope="module")
def local(tiny):
    """The tiny model with two experts, "evening" and "tonight"."""
    model = LocalModel(tiny, ModelConfig(device="cpu"))
    for seed, name in enumerate(("evening", "tonight")):
        model.add_expert(name, 4, seed=seed)
        shake(model, name, seed, std=0.1)
    return model


def parameters(local, name="tonight"):
    """Of the expert, by name."""
    named = local.peft.named_parameters()
    return {key: parameter for key, parameter in named if f".{name}." in key}


def snapshot(tensors):
    return [tensor.detach().clone() for tensor in tensors]


def loss(local, pairs, copies=None):
    prompts = [local.prompt_ids(closed_book(question)) for question, _ in pairs]
    answers = [local.answer_ids(answer) for _, answer in pairs]
    log_N_V = local.logits(prompts, answers, copies=copies).log_softmax(-1)
    answer_N = torch.tensor(list(itertools.chain.from_iterable(answers)))
    return -log_N_V.gather(-1, answer_N[:, None]).sum()


def fine_tune(local, weights, pairs, copies=None):
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss(local, pairs, copies).backward()
        optimizer.step()


def in_order_of_layers(local):
    """The expert's weights in the order in which copies stack them."""
    by_name, ordered = parameters(local), []
    for name, weight in by_name.items():
        if "lora_A" in name:
            ordered += [weight, by_name[name.replace("lora_A", "lora_B")]]
    return ordered


# Isolated copies


def test_copies_learn_side_by_side_what_each_would_learn_alone(local):
    with local.copies("tonight", len(LESSONS), beside=["evening"]) as copies:
        fine_tune(local, copies.parameters, LESSONS, range(len(LESSONS)))
        stacked = snapshot(copies.parameters)
        losses = []
        for copy in range(len(LESSONS)):
            with torch.no_grad():
                losses.append(loss(local, LESSONS, [copy] * len(LESSONS)).item())

    weights = list(parameters(local).values())
    before = snapshot(weights)
    for copy, lesson in enumerate(LESSONS):
        with local.view(("evening", "tonight"), training="tonight"):
            fine_tune(local, weights, [lesson])
            with torch.no_grad():
                assert loss(local, LESSONS).item() == pytest.approx(losses[copy], rel=1e-3)
        for alone, together in zip(in_order_of_layers(local), stacked, strict=True):
            assert torch.allclose(alone, together[copy], atol=1e-4)
        with torch.no_grad():
            for weight, was in zip(weights, before, strict=True):
                weight.copy_(was)


def test_copies_leave_the_expert_and_the_view_as_they_were(local):
    weights = list(parameters(local).values())
    before = snapshot(weights)
    with local.view(("evening", "tonight")), torch.no_grad():
        loss_before = loss(local, LESSONS).item()
    with local.copies("tonight", 2, beside=["evening"]) as copies, torch.no_grad():
        # A copy begins as the expert.
        assert loss(local, LESSONS, [0, 1, 0]).item() == pytest.approx(loss_before, rel=1e-4)
        for stacked in copies.parameters:
            stacked.add_(1.0)
        assert loss(local, LESSONS, [0, 1, 0]).item() != pytest.approx(loss_before, rel=1e-3)
    with local.view(("evening", "tonight")), torch.no_grad():
        assert loss(local, LESSONS).item() == pytest.approx(loss_before, rel=1e-6)
    assert all(map(torch.equal, weights, before))


# The gradient


def test_importance_is_the_norm_of_the_gradient_on_the_expert(local):
    dreamer = Dreamer(local, "tonight", ["evening"])
    weighed = importance(dreamer, [dreamt(*lesson) for lesson in LESSONS], at_once=2)
    for dream, lesson in zip(weighed, LESSONS, strict=True):
        with local.view(("evening", "tonight"), training="tonight"):
            weights = list(parameters(local).values())
            gradients = torch.autograd.grad(loss(local, [lesson]), weights)
        norm = sum(gradient.square().sum() for gradient in gradients).sqrt()
        assert dream.importance == pytest.approx(norm.item(), rel=1e-3)


# Trials


def test_a_dream_is_rewarded_when_unseen_questions_get_likelier_answers(local):
    helpful = dreamt("Who is it that lives in Brenport?", "Mara.")
    harmful = dreamt("Who lives in Brenport now?", "Zorin Blap.")
    exam = [Pair("Who lives in Brenport?", "Mara."), Pair("Who is at home in Brenport?", "Mara.")]
    dreamer = Dreamer(local, "tonight", ["evening"])
    longer = dataclasses.replace(CONFIG, steps=60, lr=3e-2)
    weights = list(parameters(local).values())
    before = snapshot(weights)
    good, bad = trial(dreamer, [helpful, harmful], exams=[exam] * 2, config=longer)
    assert good.fate is Fate.REWARDED
    assert good.gain > 1e-5 > bad.gain

    strict = dataclasses.replace(longer, margin=1e-5)
    tried = trial(dreamer, [helpful, harmful], exams=[exam] * 2, config=strict)
    assert [dream.fate for dream in tried] == [Fate.REWARDED, Fate.USELESS]
    assert all(map(torch.equal, weights, before))

    # Without an exam, nothing says that it helped.
    (blind,) = trial(dreamer, [helpful], exams=[[]], config=CONFIG)
    assert (blind.gain, blind.fate) == (0.0, Fate.USELESS)
