"""Closed-book exams: what a model with some experts on still knows, admits, and reads.

Knows the model, no store. Every measure takes the experts that are on, so one function examines the base, yesterday and tonight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sleepmem.model.local import LocalModel
from sleepmem.records import Probe, Score
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import closed_book, open_book

# Asked to see that the model talks as before; about nothing that any memory holds.
NEUTRAL = (
    "Hello.",
    "Good morning.",
    "Thank you.",
    "How are you?",
    "What can you do?",
    "Can you help me?",
    "Goodbye.",
    "What is the capital of France?",
    "Write a short sentence about the sea.",
    "What is two plus three?",
    "Which colour is the sky?",
    "Name a fruit.",
)


def recall(
    local: LocalModel, probes: Sequence[Probe], experts: Sequence[str]
) -> tuple[Score, set[str]]:
    """Closed-book answers to the probes: the score, and the ids of the probes answered right."""
    made = local.answer([closed_book(p.question) for p in probes], experts)
    right = {p.id for p, text in zip(probes, made, strict=True) if matches(text, p.answer)}
    return Score(len(right), len(probes)), right


def abstention(local: LocalModel, questions: Sequence[str], experts: Sequence[str]) -> Score:
    """Share of questions about things never said that are answered with "I do not know"."""
    made = local.answer([closed_book(q) for q in questions], experts)
    return Score(sum(abstains(text) for text in made), len(questions))


def superseded(local: LocalModel, probes: Sequence[Probe], experts: Sequence[str]) -> Score:
    """Share of corrected facts that still give the old value: 0 is best."""
    corrected = [p for p in probes if p.stale]
    made = local.answer([closed_book(p.question) for p in corrected], experts)
    return Score(
        sum(matches(text, p.stale) for p, text in zip(corrected, made, strict=True)), len(corrected)
    )


def reading(local: LocalModel, probes: Sequence[Probe], experts: Sequence[str]) -> Score:
    """Share of questions answered right from their own context."""
    made = local.answer([open_book(p.question, p.context) for p in probes], experts)
    return Score(
        sum(matches(text, p.answer) for p, text in zip(probes, made, strict=True)), len(probes)
    )


@torch.no_grad()
def general_kl(
    local: LocalModel, experts: Sequence[str], prompts: Sequence[str] = NEUTRAL
) -> Score:
    """KL(base || experts on) in nats per token, over the base's own answers to neutral prompts; `right` holds it."""
    chats = [closed_book(p) for p in prompts]
    asked = [local.prompt_ids(c) for c in chats]
    said = [local.answer_ids(text) for text in local.answer(chats)]
    with local.view(()):
        base_N_V = local.logits(asked, said).float().log_softmax(-1)
    with local.view(experts):
        now_N_V = local.logits(asked, said).float().log_softmax(-1)
    kl = (base_N_V.exp() * (base_N_V - now_N_V)).sum(-1).mean().item()
    return Score(max(kl, 0.0), len(prompts))  # in this order nan stays nan
