"""Closed-book exams: what a model with some experts on still knows, admits, and reads.

Knows the model, no store. Every measure takes the experts that are on, so one function examines the
base, yesterday and tonight.

Letters: N completion tokens of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sleepmem.model.local import LocalModel
from sleepmem.records import Probe, Score
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import closed_book, open_book
from sleepmem.text.small_talk import NEUTRAL

# Tokens of what the base says by chance, and what it is drawn with: the same every night.
_DRAWN, _SEED = 48, 0


def recall(
    local: LocalModel, probes: Sequence[Probe], *, experts: Sequence[str]
) -> tuple[Score, set[str]]:
    """Closed-book answers to the probes: the score, and the ids of the probes answered right."""
    replies = local.answer([closed_book(probe.question) for probe in probes], experts)
    right = set()
    for probe, reply in zip(probes, replies, strict=True):
        if matches(reply, probe.answer):
            right.add(probe.id)
    return Score(len(right), len(probes)), right


def abstention(local: LocalModel, questions: Sequence[str], *, experts: Sequence[str]) -> Score:
    """Share of questions about things never said that are answered with "I do not know"."""
    replies = local.answer([closed_book(question) for question in questions], experts)
    return Score(sum(map(abstains, replies)), len(questions))


def superseded(local: LocalModel, probes: Sequence[Probe], *, experts: Sequence[str]) -> Score:
    """Share of corrected facts that still give the old value: 0 is best."""
    corrected = [probe for probe in probes if probe.stale]
    replies = local.answer([closed_book(probe.question) for probe in corrected], experts)
    stale = 0
    for probe, reply in zip(corrected, replies, strict=True):
        stale += matches(reply, probe.stale)
    return Score(stale, len(corrected))


def reading(local: LocalModel, probes: Sequence[Probe], *, experts: Sequence[str]) -> Score:
    """Share of questions answered right from their own context."""
    replies = local.answer([open_book(probe.question, probe.context) for probe in probes], experts)
    right = 0
    for probe, reply in zip(probes, replies, strict=True):
        right += matches(reply, probe.answer)
    return Score(right, len(probes))


@torch.no_grad()
def general_kl(
    local: LocalModel, experts: Sequence[str], *, prompts: Sequence[str] = NEUTRAL
) -> Score:
    """KL(base || experts on) over answers to neutral prompts that the base draws by chance.

    `right` of the score holds it, in nats per token. The base's likeliest answers alone would not
    show it: a model drifts in the other words first (`docs/lab/`).
    """
    chats = [closed_book(prompt) for prompt in prompts]
    prompt_ids = [local.prompt_ids(chat) for chat in chats]
    replies = local.answer(chats, (), max_new_tokens=_DRAWN, temperature=1.0, seed=_SEED)
    answer_ids = [local.answer_ids(reply) for reply in replies]
    with local.view(()):
        base_N_V = local.logits(prompt_ids, answer_ids).float().log_softmax(-1)
    with local.view(experts):
        tonight_N_V = local.logits(prompt_ids, answer_ids).float().log_softmax(-1)
    kl = (base_N_V.exp() * (base_N_V - tonight_N_V)).sum(-1).mean().item()
    # In this order nan stays nan: a broken model must not pass for a perfect one.
    return Score(max(kl, 0.0), len(prompts))
