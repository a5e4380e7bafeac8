"""Dreaming: synthetic questions about what was said, kept only when they measurably help (paper, section 3.4; paper.md, section 5).

A round: sample dreams about one or two memories with one random further expert on; drop what the guard refuses; keep the ones with the largest
gradient and a few at random; try each on an isolated copy of tonight's expert, with reward 1 when questions it has not seen get likelier answers; the
rewarded ones teach the dreamer and the expert (ReST-EM). Values in, values out: touches no store.

Departs from the paper: a dream is a question with its answer, tried by some steps of plain fine-tuning of the expert; all copies learn in the same passes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from sleepmem.answers import abstains, matches, names, words
from sleepmem.config import DreamConfig
from sleepmem.experts import LocalModel
from sleepmem.prompts import DREAM, closed_book, memory_line, open_book, parse_pair
from sleepmem.records import Episode

Context = tuple[Episode, ...]  # told oldest first
Asked = tuple[str, str]  # question, answer
Told = Callable[[str, Context], Sequence[str]]  # memory lines, oldest first, that may answer a question, the context's own among them
_TOKENS = 64


class Fate(StrEnum):
    """What became of a dream, and why: shown to the user."""

    UNREADABLE = "no question with an answer"
    FOREIGN = "names what its memories do not"
    MIXED = "its memories have several owners"
    REPEATED = "was asked before"
    CONTRADICTS = "the memories answer otherwise"
    IDLE = "teaches the expert less than others"
    USELESS = "did not help on questions it had not seen"
    REWARDED = "helped on questions it had not seen"
    HELD_OUT = "another wording of the same, kept for the exam"
    JUDGE = "another wording of the same, kept for the trials"


@dataclass(frozen=True, slots=True)
class Dream:
    """One sampled dream and its fate."""

    context: Context
    expert: str  # the random one that was on while it was sampled, or ""
    text: str
    question: str = ""
    answer: str = ""
    fate: Fate = Fate.IDLE
    importance: float = 0.0  # norm of the gradient on tonight's expert
    gain: float = 0.0  # of the expected share of right answers, when it was tried
    round: int = 0

    @property
    def lines(self) -> list[str]:
        return [memory_line(e.date, e.text) for e in self.context]


def dream(
    local: LocalModel,
    expert: str,
    beside: tuple[str, ...],
    tonight: Sequence[Episode],
    earlier: Sequence[Episode],
    asked: Sequence[Asked],
    before: Collection[str],
    told: Told,
    learn: Callable[[list[Dream]], None],
    config: DreamConfig,
    seed: int,
) -> list[Dream]:
    """Dream for some rounds, each with the dreamer that the one before has taught; ends by itself when no dream is rewarded.

    Args:
        local: the model; its base, experts off, judges the dreams.
        expert: tonight's, which dreams and learns.
        beside: the experts that are on beside it; one of them, at random, leaks into each context's dreams.
        tonight: episodes that tonight learned.
        earlier: episodes that the weights held before.
        asked: questions with answers that the trials examine, beside dreams kept for them; none of the exam's.
        before: all questions that were asked already.
        told: memory lines, oldest first, that may answer a question, a context's own among them.
        learn: teaches the expert the rewarded dreams of all rounds so far.
        config: how many, how strict.
        seed: of every choice.

    Returns:
        Every dream, with its fate.
    """
    everything: list[Dream] = []
    for n in range(config.rounds):
        about = contexts(tonight, earlier, config.contexts, seed + n)
        sampled = sample(local, about, (expert,), beside, config, seed + n)
        known = {*before, *(d.question for d in everything if d.fate is not Fate.IDLE)}
        sound, refused = guard(local, sampled, known, told)
        held, sound = hold_out(sound, random.Random(seed + n))
        tried, idle = select(importance(local, expert, beside, sound), config, seed + n)
        unseen = [(d.question, d.answer) for d in (*everything, *held) if d.fate is Fate.JUDGE]
        half = config.examined // 2
        exam = [*random.Random(seed + n).sample(unseen, min(len(unseen), half)), *asked[: config.examined - half]]
        judged = trial(local, expert, beside, tried, exam, config)
        everything += [replace(d, round=n + 1) for d in (*refused, *held, *idle, *judged)]
        if not any(d.fate is Fate.REWARDED for d in judged):
            break
        learn([d for d in everything if d.fate is Fate.REWARDED])
    return everything


def hold_out(dreams: Sequence[Dream], rng: random.Random) -> tuple[list[Dream], list[Dream]]:
    """Keep one wording of what was dreamt in several, for the exam and for the trials in turn; the others may teach."""
    groups: dict[tuple[Context, str], list[Dream]] = {}
    for d in dreams:
        groups.setdefault((d.context, d.answer), []).append(d)
    held = [rng.choice(group) for group in groups.values() if len(group) > 1]
    kept = {d.question: (Fate.HELD_OUT, Fate.JUDGE)[n % 2] for n, d in enumerate(held)}
    return [replace(d, fate=kept[d.question]) for d in held], [d for d in dreams if d.question not in kept]


def contexts(tonight: Sequence[Episode], earlier: Sequence[Episode], most: int, seed: int) -> list[Context]:
    """What to dream about, at most `most`: memories that share a name, then single ones and unrelated pairs in turn; one of tonight's in each."""
    rng = random.Random(seed)
    everything = [*tonight, *earlier]
    named = {e.id: names(e.text) for e in everything}
    of: dict[str, list[Episode]] = {}
    for e in everything:
        for word in words(e.text):
            of.setdefault(word, []).append(e)
    both = ((e, o) for e in everything for name in sorted(named[e.id]) for o in of[name] if o.id != e.id)
    linked = {frozenset((e.id, o.id)): (e, o) for e, o in both if {e.id, o.id} & {t.id for t in tonight}}
    chosen: list[tuple[Episode, ...]] = rng.sample(list(linked.values()), min(len(linked), most * 2 // 3))
    singles = rng.sample(list(tonight), len(tonight))
    pairs = [(e, o) for e in singles for o in rng.sample(everything, min(len(everything), 8)) if not named[e.id] & named[o.id]]
    for single, pair in itertools.zip_longest(((e,) for e in singles), rng.sample(pairs, min(len(pairs), len(singles)))):
        chosen += [c for c in (single, pair) if c]
    return [tuple(sorted(c, key=lambda e: (e.created_at, e.id))) for c in chosen[:most]]


def sample(
    local: LocalModel, about: Sequence[Context], dreamer: tuple[str, ...], others: Sequence[str], config: DreamConfig, seed: int
) -> list[Dream]:
    """`config.samples` dreams about each context, one random expert of `others` on beside the `dreamer` for all of a context."""
    rng = random.Random(seed)
    leaking = [rng.choice(others) if others and config.random_expert else "" for _ in about]
    made: list[Dream] = []
    for expert in dict.fromkeys(leaking):
        mine = [Dream(c, expert, "") for c, x in zip(about, leaking, strict=True) if x == expert for _ in range(config.samples)]
        view = tuple(dict.fromkeys((*dreamer, expert))) if expert else dreamer
        texts = local.answer([open_book(DREAM, d.lines) for d in mine], view, _TOKENS, temperature=config.temperature, seed=seed)
        made += [replace(d, text=text) for d, text in zip(mine, texts, strict=True)]
    return made


def guard(local: LocalModel, dreams: Sequence[Dream], before: Collection[str], told: Told) -> tuple[list[Dream], list[Dream]]:
    """Split dreams into sound and refused ones, each refused one with its fate.

    Args:
        local: its base answers again, from the dream's own memories and among others of the ledger.
        before: questions that were asked already.
        told: memory lines, oldest first, of the ledger that may answer a question, with the context's own among them.
    """
    sound: list[Dream] = []
    refused: list[Dream] = []
    asked = set(before)
    for d in dreams:
        pair = parse_pair(d.text)
        fate = None
        if not pair or abstains(pair[1]) or not pair[0].endswith("?") or not words(pair[1]):
            fate = Fate.UNREADABLE
        elif len({e.namespace for e in d.context}) > 1:
            fate = Fate.MIXED
        elif not names(pair[0]) | set(words(pair[1])) <= {w for e in d.context for w in words(e.text)}:
            fate = Fate.FOREIGN
        elif pair[0] in asked:
            fate = Fate.REPEATED
        if fate or not pair:
            refused.append(replace(d, fate=fate or Fate.UNREADABLE))
        else:
            asked.add(pair[0])
            sound.append(replace(d, question=pair[0], answer=pair[1]))
    alone = local.answer([open_book(d.question, d.lines) for d in sound])
    among = local.answer([open_book(d.question, told(d.question, d.context)) for d in sound])
    kept = []
    for d, own, other in zip(sound, alone, among, strict=True):
        if _same(own, d.answer) and (abstains(other) or _same(other, d.answer)):
            kept.append(d)
        else:
            refused.append(replace(d, fate=Fate.CONTRADICTS))
    return kept, refused


def importance(local: LocalModel, expert: str, beside: Sequence[str], dreams: Sequence[Dream], at_once: int = 32) -> list[Dream]:
    """The dreams, each with the norm of its gradient on the expert's parameters."""
    out: list[Dream] = []
    for i in range(0, len(dreams), at_once):
        some = dreams[i : i + at_once]
        with local.copies(expert, len(some), beside) as copies:
            loss = -likelihoods(local, [(d.question, d.answer) for d in some], range(len(some))).sum()
            gradients = torch.autograd.grad(loss, copies.parameters)
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        out += [replace(d, importance=float(n)) for d, n in zip(some, norms, strict=True)]
    return out


def select(dreams: Sequence[Dream], config: DreamConfig, seed: int) -> tuple[list[Dream], list[Dream]]:
    """The `top_k` most important and `random` others, and the rest."""
    if not config.by_gradient:
        ranked = random.Random(seed).sample(list(dreams), len(dreams))
        return ranked[: config.top_k + config.random], ranked[config.top_k + config.random :]
    ranked = sorted(dreams, key=lambda d: -d.importance)
    rest = ranked[config.top_k :]
    lucky = set(random.Random(seed).sample(range(len(rest)), min(config.random, len(rest))))
    return ranked[: config.top_k] + [rest[i] for i in sorted(lucky)], [d for i, d in enumerate(rest) if i not in lucky]


def trial(local: LocalModel, expert: str, beside: Sequence[str], dreams: Sequence[Dream], exam: Sequence[Asked], config: DreamConfig) -> list[Dream]:
    """Try each dream on an isolated copy of the expert; the gain is that of the expected share of right answers in `exam`.

    Args:
        local: the model.
        expert: tonight's; it stays as it is.
        beside: the experts that are on beside it.
        dreams: each is one copy's only lesson.
        exam: questions with answers; the ones equal to a dream's own are left out of its score.
        config: steps, learning rate, copies at once.
    """
    out: list[Dream] = []
    if not exam:
        return [replace(d, fate=Fate.USELESS) for d in dreams]
    with local.copies(expert, 1, beside):
        before_E = _right(local, exam, 1)[0]
    for i in range(0, len(dreams), config.copies):
        some = dreams[i : i + config.copies]
        with local.copies(expert, len(some), beside) as copies:
            optimizer = torch.optim.Adam(copies.parameters, lr=config.lr)
            for _ in range(config.steps):
                optimizer.zero_grad()
                (-likelihoods(local, [(d.question, d.answer) for d in some], range(len(some)))).sum().backward()
                optimizer.step()
            gains_K_E = _right(local, exam, len(some)) - before_E
        for d, gain_E in zip(some, gains_K_E, strict=True):
            unseen = torch.tensor([q != d.question for q, _ in exam], device=gain_E.device)
            gain = float(gain_E[unseen].mean()) if unseen.any() else 0.0
            out.append(replace(d, gain=gain, fate=Fate.REWARDED if gain > config.margin else Fate.USELESS))
    return out


def likelihoods(local: LocalModel, asked: Sequence[Asked], copies: Sequence[int] | range) -> torch.Tensor:
    """Log-likelihood_R of every answer, closed-book, each row through its own copy."""
    prompts = [local.prompt_ids(closed_book(q)) for q, _ in asked]
    answers = [local.answer_ids(a) for _, a in asked]
    log_N_V = local.logits(prompts, answers, list(copies)).float().log_softmax(-1)
    said_N = torch.tensor([t for a in answers for t in a], device=log_N_V.device)
    log_N = log_N_V.gather(-1, said_N[:, None])[:, 0]
    return torch.stack([part.sum() for part in log_N.split([len(a) for a in answers])])


@torch.no_grad()
def _right(local: LocalModel, exam: Sequence[Asked], copies: int) -> torch.Tensor:
    """Probability_K_E that each copy gives the reference answer to each question."""
    rows = [(n, pair) for n in range(copies) for pair in exam]
    return likelihoods(local, [pair for _, pair in rows], [n for n, _ in rows]).exp().reshape(copies, len(exam))


def _same(a: str, b: str) -> bool:
    return matches(a, b) and matches(b, a)
