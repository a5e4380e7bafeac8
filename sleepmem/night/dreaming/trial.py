"""Trials: how much a dream would teach tonight's expert, and whether it helps on other questions.

A dream is its own lesson, by some steps of plain fine-tuning on an isolated copy of the expert; all
copies learn in the same passes. The reward is 1 when other questions get likelier answers
(arXiv 2606.03979, section 3.4). Touches no store; the expert stays as it is.

Letters: R rows, N answer tokens of all rows, V vocabulary, Q distinct questions of all exams,
C copies.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from sleepmem.config import DreamConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming.dream import Dream, Dreamer, Fate, Pair
from sleepmem.text.prompts import closed_book


class Tokens(NamedTuple):
    """A pair in token ids: the closed-book prompt, and the answer with the end of its turn."""

    prompt: list[int]
    answer: list[int]


class _Questions(NamedTuple):
    """The questions of all exams, each once.

    number_of  of each pair: where it stands in the others
    tokens     of each
    right_Q    probability of its reference answer before any lesson
    """

    number_of: dict[Pair, int]
    tokens: list[Tokens]
    right_Q: torch.Tensor


def importance(dreamer: Dreamer, dreams: Sequence[Dream], *, at_once: int) -> list[Dream]:
    """The dreams, each with the norm of its gradient on the expert's parameters.

    Args:
        dreamer: whose expert.
        dreams: sound ones.
        at_once: copies that share a pass.
    """
    local, weighed = dreamer.local, []
    for first in range(0, len(dreams), at_once):
        batch = dreams[first : first + at_once]
        lessons = _as_tokens(local, batch)
        with local.copies(dreamer.expert, len(batch), beside=dreamer.beside) as copies:
            loss = -likelihoods(local, lessons, copies=range(len(batch))).sum()
            gradients = torch.autograd.grad(loss, copies.parameters)
        # Copies learn apart, so each has its own gradient in the sum of their losses.
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
        norm_C = torch.stack(squares).sum(0).sqrt()
        for dream, norm in zip(batch, norm_C, strict=True):
            weighed.append(replace(dream, importance=float(norm)))
    return weighed


def trial(
    dreamer: Dreamer,
    dreams: Sequence[Dream],
    *,
    exams: Sequence[Sequence[Pair]],
    config: DreamConfig,
) -> list[Dream]:
    """Try each dream on an isolated copy of the expert.

    The gain is that of the expected share of right answers in its exam.

    Args:
        dreamer: whose expert.
        dreams: each is one copy's only lesson.
        exams: for each dream, questions with answers, its own not among them.
        config: steps, learning rate, copies at once, least gain.
    """
    questions = _ask_before(dreamer, exams)
    tried = []
    for first in range(0, len(dreams), config.copies):
        batch = dreams[first : first + config.copies]
        gains = _gains(
            dreamer,
            batch,
            exams=exams[first : first + config.copies],
            questions=questions,
            config=config,
        )
        for dream, gain in zip(batch, gains, strict=True):
            fate = Fate.REWARDED if gain > config.margin else Fate.USELESS
            tried.append(replace(dream, gain=gain, fate=fate))
    return tried


def likelihoods(
    local: LocalModel, rows: Sequence[Tokens], *, copies: Sequence[int]
) -> torch.Tensor:
    """Log-likelihood_R of every answer, closed-book, each row through its own copy."""
    prompts, answers = zip(*rows, strict=True)
    log_N_V = local.logits(prompts, answers, copies=list(copies)).float().log_softmax(-1)
    answer_N = torch.tensor(list(itertools.chain.from_iterable(answers)), device=log_N_V.device)
    log_N = log_N_V.gather(-1, answer_N[:, None])[:, 0]
    logs_by_row = log_N.split([len(answer) for answer in answers])
    return torch.stack([log.sum() for log in logs_by_row])


def _ask_before(dreamer: Dreamer, exams: Sequence[Sequence[Pair]]) -> _Questions:
    """What the expert answers before the lessons; what several exams ask is asked once."""
    distinct = list(dict.fromkeys(itertools.chain.from_iterable(exams)))
    number_of = {pair: number for number, pair in enumerate(distinct)}
    tokens = _as_tokens(dreamer.local, distinct)
    # Through a copy, as after the lessons, so that the two differ by nothing else.
    with dreamer.local.copies(dreamer.expert, 1, beside=dreamer.beside):
        right_Q = _right(dreamer.local, tokens, copies=[0] * len(tokens))
    return _Questions(number_of, tokens, right_Q)


def _gains(
    dreamer: Dreamer,
    dreams: Sequence[Dream],
    *,
    exams: Sequence[Sequence[Pair]],
    questions: _Questions,
    config: DreamConfig,
) -> list[float]:
    """What each dream brings in its own exam when a copy learns it; 0 without an exam."""
    local, lessons = dreamer.local, _as_tokens(dreamer.local, dreams)
    copies_R, numbers_R, tokens_R = [], [], []
    for copy, exam in enumerate(exams):
        for pair in exam:
            number = questions.number_of[pair]
            copies_R.append(copy)
            numbers_R.append(number)
            tokens_R.append(questions.tokens[number])

    # Every copy has one lesson, so the sum of the losses teaches each its own.
    with local.copies(dreamer.expert, len(dreams), beside=dreamer.beside) as copies:
        optimizer = torch.optim.Adam(copies.parameters, lr=config.lr)
        for _ in range(config.steps):
            optimizer.zero_grad()
            (-likelihoods(local, lessons, copies=range(len(dreams)))).sum().backward()
            optimizer.step()
        right_R = _right(local, tokens_R, copies=copies_R)

    gain_R = (right_R - questions.right_Q[numbers_R]).tolist()
    gains_by_copy: list[list[float]] = [[] for _ in dreams]
    for copy, gain in zip(copies_R, gain_R, strict=True):
        gains_by_copy[copy].append(gain)
    return [statistics.mean(gains) if gains else 0.0 for gains in gains_by_copy]


def _as_tokens(local: LocalModel, pairs: Sequence[Dream | Pair]) -> list[Tokens]:
    rows = []
    for pair in pairs:
        prompt = local.prompt_ids(closed_book(pair.question))
        rows.append(Tokens(prompt, local.answer_ids(pair.answer)))
    return rows


@torch.no_grad()
def _right(local: LocalModel, rows: Sequence[Tokens], *, copies: Sequence[int]) -> torch.Tensor:
    """Probability_R of the reference answer, each row through its own copy."""
    if not rows:
        return torch.zeros(0, device=local.device)
    return likelihoods(local, rows, copies=copies).exp()
