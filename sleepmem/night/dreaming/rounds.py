"""Dreaming: synthetic questions about what was said, kept only when they measurably help (paper, section 3.4; paper.md, section 5).

A round: sample dreams about one or two memories with one random further expert on; drop what the guard refuses; keep the ones with the largest
gradient and a few at random; try each on an isolated copy of tonight's expert, with reward 1 when other questions get likelier answers; the rewarded
ones teach the dreamer and the expert (ReST-EM). Values in, values out: touches no store.

Departs from the paper: a dream is a question with its answer, tried by some steps of plain fine-tuning of the expert; all copies learn in the same passes.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from sleepmem.config import DreamConfig
from sleepmem.model.local import LocalModel
from sleepmem.records import Episode, Probe
from sleepmem.text.language import about_another, abstains, matches, names, words
from sleepmem.text.prompts import DREAM, closed_book, memory_line, open_book, parse_pair

Context = tuple[Episode, ...]  # told oldest first
Asked = tuple[str, str]  # question, answer
Tokens = tuple[list[int], list[int]]  # of a prompt and of its answer
Told = Callable[
    [str, Context], Sequence[str]
]  # memory lines, oldest first, that may answer a question, the context's own among them
_TOKENS, _STRANGERS = 64, 3  # most of a dream; whom a sound one is asked about instead


class Fate(StrEnum):
    """What became of a dream, and why: shown to the user."""

    UNREADABLE = "no question with an answer"
    FOREIGN = "names what its memories do not"
    MIXED = "its memories have several owners"
    REPEATED = "was asked before"
    CONTRADICTS = "the memories answer otherwise"
    LOOSE = "is answered alike about somebody else"
    APART = "needs two memories of which neither leads to the other"
    IDLE = "teaches the expert less than others"
    USELESS = "did not help on other questions"
    REWARDED = "helped on other questions"
    HELD_OUT = "another wording of the same, kept for the exam"


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
    facts: Sequence[Probe],
    before: Collection[str],
    told: Told,
    strangers: Sequence[str],
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
        facts: what was asked about the episodes; tonight's are examined in the trials, beside other dreams about the same. None of the exam's.
        before: all questions that were asked already.
        told: memory lines, oldest first, that may answer a question, a context's own among them.
        strangers: names of nobody.
        learn: teaches the expert the rewarded dreams of all rounds so far.
        config: how many, how strict.
        seed: of every choice.

    Returns:
        Every dream, with its fate.
    """
    everything: list[Dream] = []
    new, lead = {e.id for e in tonight}, leads(facts)
    asked = [(f.question, f.answer) for f in facts if f.episode_id in new]
    for n in range(config.rounds):
        rng = random.Random(seed + n)
        about = contexts(tonight, earlier, lead, config.contexts, seed + n)
        sampled = sample(local, about, (expert,), beside, config, seed + n)
        known = {*before, *(d.question for d in everything if d.fate is not Fate.IDLE)}
        sound, refused = guard(
            local,
            sampled,
            known,
            told,
            lead,
            rng.sample(list(strangers), min(len(strangers), _STRANGERS)),
        )
        held, sound = hold_out(sound, rng)
        tried, idle = select(
            importance(local, expert, beside, sound, config.copies), config, seed + n
        )
        judged = trial(
            local,
            expert,
            beside,
            tried,
            [_exam(d, sound, asked, config.examined, rng) for d in tried],
            config,
        )
        everything += [replace(d, round=n + 1) for d in (*refused, *held, *idle, *judged)]
        if not any(d.fate is Fate.REWARDED for d in judged):
            break
        learn([d for d in everything if d.fate is Fate.REWARDED])
    return everything


def hold_out(dreams: Sequence[Dream], rng: random.Random) -> tuple[list[Dream], list[Dream]]:
    """Of every second thing that was dreamt in several wordings keep one for the exam; the others may teach."""
    groups: dict[tuple[Context, str], list[Dream]] = {}
    for d in dreams:
        groups.setdefault((d.context, d.answer), []).append(d)
    several = [group for group in groups.values() if len(group) > 1]
    held = [replace(rng.choice(group), fate=Fate.HELD_OUT) for group in several[::2]]
    kept = {d.question for d in held}
    return held, [d for d in dreams if d.question not in kept]


def _exam(
    d: Dream, dreams: Sequence[Dream], asked: Sequence[Asked], most: int, rng: random.Random
) -> list[Asked]:
    """What a trial of this dream is scored on: at most half of it other dreams about the same, the rest other questions of tonight."""
    same = {e.id for e in d.context}
    near = [
        (x.question, x.answer)
        for x in dreams
        if x.question != d.question and same & {e.id for e in x.context}
    ]
    near = rng.sample(near, min(len(near), most // 2))
    others = [pair for pair in asked if pair[0] != d.question and pair not in near]
    return [*near, *rng.sample(others, min(len(others), most - len(near)))]


def leads(facts: Sequence[Probe]) -> set[frozenset[str]]:
    """Pairs of episodes, by id, of which the one answers whom the other is about."""
    about: dict[str, set[str]] = {}
    for f in facts:
        for name in names(f.question):
            about.setdefault(name, set()).add(f.episode_id)
    found = {
        frozenset((f.episode_id, other))
        for f in facts
        for word in words(f.answer)
        for other in about.get(word, ())
    }
    return {pair for pair in found if len(pair) == 2}


def contexts(
    tonight: Sequence[Episode],
    earlier: Sequence[Episode],
    lead: Collection[frozenset[str]],
    most: int,
    seed: int,
) -> list[Context]:
    """What to dream about, at most `most`, one of tonight's memories in each: up to two fifths are pairs that lead to each other, up to two fifths
    single ones; then pairs that share a name and unrelated pairs, in turn.

    Args:
        tonight: episodes that tonight learned.
        earlier: episodes that the weights held before.
        lead: pairs of ids, see `leads`.
    """
    rng = random.Random(seed)
    everything = {e.id: e for e in (*tonight, *earlier)}
    new = {e.id for e in tonight}
    naming: dict[str, set[str]] = {}
    for e in everything.values():
        for name in names(e.text):
            naming.setdefault(name, set()).add(e.id)

    def some(pairs: Iterable[Iterable[str]]) -> list[Context]:
        distinct = {tuple(sorted(p)) for p in pairs}
        fit = sorted(
            p for p in distinct if len(set(p)) == 2 and new & set(p) and set(p) <= everything.keys()
        )
        return [tuple(everything[i] for i in p) for p in rng.sample(fit, len(fit))]

    linked = some(lead)
    share = some((a, b) for ids in naming.values() for a in ids & new for b in ids)
    apart = some(
        (a, b) for a in sorted(new) for b in rng.sample(list(everything), min(len(everything), 8))
    )
    singles: list[Context] = [(e,) for e in rng.sample(list(tonight), len(tonight))]
    two_fifths = most * 2 // 5
    rest = (c for c in itertools.chain.from_iterable(itertools.zip_longest(share, apart)) if c)
    chosen = [*linked[:two_fifths], *singles[:two_fifths], *rest, *linked, *singles]
    return [tuple(sorted(c, key=lambda e: (e.created_at, e.id))) for c in dict.fromkeys(chosen)][
        :most
    ]


def sample(
    local: LocalModel,
    about: Sequence[Context],
    dreamer: tuple[str, ...],
    others: Sequence[str],
    config: DreamConfig,
    seed: int,
) -> list[Dream]:
    """`config.samples` dreams about each context, one random expert of `others` on beside the `dreamer` for all of a context."""
    rng = random.Random(seed)
    leaking = [rng.choice(others) if others and config.random_expert else "" for _ in about]
    made: list[Dream] = []
    for expert in dict.fromkeys(leaking):
        mine = [
            Dream(c, expert, "")
            for c, x in zip(about, leaking, strict=True)
            if x == expert
            for _ in range(config.samples)
        ]
        view = tuple(dict.fromkeys((*dreamer, expert))) if expert else dreamer
        texts = local.answer(
            [open_book(DREAM, d.lines) for d in mine],
            view,
            _TOKENS,
            temperature=config.temperature,
            seed=seed,
        )
        made += [replace(d, text=text) for d, text in zip(mine, texts, strict=True)]
    return made


def guard(
    local: LocalModel,
    dreams: Sequence[Dream],
    before: Collection[str],
    told: Told,
    lead: Collection[frozenset[str]] = (),
    strangers: Sequence[str] = (),
) -> tuple[list[Dream], list[Dream]]:
    """Split dreams into sound and refused ones, each refused one with its fate.

    Args:
        local: its base answers again, from the dream's own memories and among others of the ledger.
        before: questions that were asked already.
        told: memory lines, oldest first, of the ledger that may answer a question, with the context's own among them.
        lead: pairs of ids, see `leads`: only they may be needed both.
        strangers: names of nobody. What needs one memory only and is answered alike about them is answered without looking whom it is about.
    """
    sound: list[Dream] = []
    refused: list[Dream] = []
    asked = {_plain(q) for q in before}
    for d in dreams:
        question, answer = parse_pair(d.text) or ("", "")
        read = replace(d, question=question, answer=answer)
        if fate := _fault(read, asked):
            refused.append(replace(d, fate=fate))
        else:
            asked.add(_plain(question))
            sound.append(read)
    alone = _again(local, [[(d.question, d.lines)] for d in sound])
    among = _again(local, [[(d.question, told(d.question, d.context))] for d in sound])
    apart = _again(
        local,
        [[(d.question, [line]) for line in d.lines] if len(d.context) > 1 else [] for d in sound],
    )
    both = [
        bool(some) and not any(_same(a, d.answer) for a in some)
        for d, some in zip(sound, apart, strict=True)
    ]
    strange = [
        [q for s in strangers if not b and (q := about_another(d.question, s))]
        for d, b in zip(sound, both, strict=True)
    ]
    elsewhere = _again(
        local, [[(q, d.lines) for q in some] for d, some in zip(sound, strange, strict=True)]
    )
    kept = []
    for d, (own,), (other,), needed, others in zip(
        sound, alone, among, both, elsewhere, strict=True
    ):
        if not _same(own, d.answer) or not (abstains(other) or _same(other, d.answer)):
            refused.append(replace(d, fate=Fate.CONTRADICTS))
        elif needed and frozenset(e.id for e in d.context) not in lead:
            refused.append(replace(d, fate=Fate.APART))
        elif others and all(_same(a, d.answer) for a in others):
            refused.append(replace(d, fate=Fate.LOOSE))
        else:
            kept.append(d)
    return kept, refused


def _fault(d: Dream, asked: Collection[str]) -> Fate | None:
    """What can be held against a dream without asking the model."""
    told = {w for e in d.context for w in words(e.text)}
    if (
        not d.question.endswith("?")
        or not words(d.answer)
        or abstains(d.answer)
        or _stammers(d.question)
    ):
        return Fate.UNREADABLE
    if len({e.namespace for e in d.context}) > 1:
        return Fate.MIXED
    if not names(d.question) | set(words(d.answer)) <= told:
        return Fate.FOREIGN
    return Fate.REPEATED if _plain(d.question) in asked else None


def _again(
    local: LocalModel, asked: Sequence[Sequence[tuple[str, Sequence[str]]]]
) -> list[list[str]]:
    """The base's answers to each dream's questions, each over its memory lines."""
    answers = iter(local.answer([open_book(q, lines) for some in asked for q, lines in some]))
    return [list(itertools.islice(answers, len(some))) for some in asked]


def importance(
    local: LocalModel, expert: str, beside: Sequence[str], dreams: Sequence[Dream], at_once: int
) -> list[Dream]:
    """The dreams, each with the norm of its gradient on the expert's parameters."""
    out: list[Dream] = []
    lessons = _as_tokens(local, [(d.question, d.answer) for d in dreams])
    for i in range(0, len(dreams), at_once):
        some = dreams[i : i + at_once]
        with local.copies(expert, len(some), beside) as copies:
            loss = -likelihoods(local, lessons[i : i + at_once], range(len(some))).sum()
            gradients = torch.autograd.grad(loss, copies.parameters)
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        out += [replace(d, importance=float(n)) for d, n in zip(some, norms, strict=True)]
    return out


def select(
    dreams: Sequence[Dream], config: DreamConfig, seed: int
) -> tuple[list[Dream], list[Dream]]:
    """The `dreams_tried` most important and `random` others, and the rest."""
    if not config.by_gradient:
        ranked = random.Random(seed).sample(list(dreams), len(dreams))
        return ranked[: config.dreams_tried + config.random], ranked[
            config.dreams_tried + config.random :
        ]
    ranked = sorted(dreams, key=lambda d: -d.importance)
    rest = ranked[config.dreams_tried :]
    lucky = set(random.Random(seed).sample(range(len(rest)), min(config.random, len(rest))))
    return ranked[: config.dreams_tried] + [rest[i] for i in sorted(lucky)], [
        d for i, d in enumerate(rest) if i not in lucky
    ]


def trial(
    local: LocalModel,
    expert: str,
    beside: Sequence[str],
    dreams: Sequence[Dream],
    exams: Sequence[Sequence[Asked]],
    config: DreamConfig,
) -> list[Dream]:
    """Try each dream on an isolated copy of the expert; the gain is that of the expected share of right answers in its exam.

    Args:
        local: the model.
        expert: tonight's; it stays as it is.
        beside: the experts that are on beside it.
        dreams: each is one copy's only lesson.
        exams: for each dream, questions with answers, its own not among them.
        config: steps, learning rate, copies at once.
    """
    out: list[Dream] = []
    lessons = _as_tokens(local, [(d.question, d.answer) for d in dreams])
    distinct = {
        pair: n for n, pair in enumerate(dict.fromkeys(pair for exam in exams for pair in exam))
    }
    questions = _as_tokens(local, list(distinct))
    asked = [[distinct[pair] for pair in exam] for exam in exams]
    if distinct:
        with local.copies(expert, 1, beside):
            before_E = _right(local, questions, [0] * len(questions))
    for i in range(0, len(dreams), config.copies):
        some = dreams[i : i + config.copies]
        with local.copies(expert, len(some), beside) as copies:
            optimizer = torch.optim.Adam(copies.parameters, lr=config.lr)
            for _ in range(config.steps):
                optimizer.zero_grad()
                (-likelihoods(local, lessons[i : i + len(some)], range(len(some)))).sum().backward()
                optimizer.step()
            rows = [(copy, n) for copy in range(len(some)) for n in asked[i + copy]]
            after_R = (
                _right(local, [questions[n] for _, n in rows], [copy for copy, _ in rows])
                if rows
                else torch.zeros(0)
            )
        for copy, d in enumerate(some):
            gains = [float(after_R[r] - before_E[n]) for r, (c, n) in enumerate(rows) if c == copy]
            gain = statistics.mean(gains) if gains else 0.0
            out.append(
                replace(d, gain=gain, fate=Fate.REWARDED if gain > config.margin else Fate.USELESS)
            )
    return out


def _as_tokens(local: LocalModel, asked: Sequence[Asked]) -> list[Tokens]:
    return [(local.prompt_ids(closed_book(q)), local.answer_ids(a)) for q, a in asked]


def likelihoods(
    local: LocalModel, rows: Sequence[Tokens], copies: Sequence[int] | range
) -> torch.Tensor:
    """Log-likelihood_R of every answer, closed-book, each row through its own copy."""
    log_N_V = (
        local.logits([p for p, _ in rows], [a for _, a in rows], list(copies))
        .float()
        .log_softmax(-1)
    )
    said_N = torch.tensor([t for _, a in rows for t in a], device=log_N_V.device)
    log_N = log_N_V.gather(-1, said_N[:, None])[:, 0]
    return torch.stack([part.sum() for part in log_N.split([len(a) for _, a in rows])])


@torch.no_grad()
def _right(local: LocalModel, rows: Sequence[Tokens], copies: Sequence[int]) -> torch.Tensor:
    """Probability_R of the reference answer, each row through its own copy."""
    return likelihoods(local, rows, copies).exp()


def _plain(question: str) -> str:
    return " ".join(words(question))


def _stammers(question: str) -> bool:
    """Whether the same words come again and again."""
    said = words(question)
    return len(set(said)) < 0.7 * len(said)


def _same(a: str, b: str) -> bool:
    return matches(a, b) and matches(b, a)
