"""The teacher questions itself about tonight's episodes (design, step 2).

The teacher is the base, experts off. It writes question/answer pairs about each episode in several wordings; kept are those it answers the same way
again, and not otherwise among other memories. It also writes questions that are never answered, invents memories that no expert holds (for reading),
and notices what a new episode corrects. Values in, values out: touches no store.

Departs from the paper: it samples data D from the teacher and does not say how a bad sample is told from a good one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sleepmem.config import ProbeConfig
from sleepmem.model.local import LocalModel
from sleepmem.records import Episode, Kind, Probe, Role
from sleepmem.text.language import abstains, matches, names, subject, words
from sleepmem.text.prompts import (
    INVENT,
    UNANSWERED,
    WRITE_PAIR,
    closed_book,
    memory_line,
    open_book,
    parse_pair,
)

Related = Callable[
    [str], Sequence[Episode]
]  # question -> episodes of the ledger that may answer it
_Told = tuple[str, str, list[str], str]  # (episode id, question, memories, answer)
_PAIR_TOKENS, _TEXT_TOKENS = 64, 48
_READ = 4  # most memories, of those that do not tell, in the context of a question that is trained on: they are most of a night's tokens


@dataclass(frozen=True, slots=True)
class Questions:
    """What the night teaches with and is examined with."""

    probes: tuple[Probe, ...]
    superseded: Mapping[
        str, str
    ]  # ids of episodes that hold nothing more, each with the id of the newer one that corrects it


def question(
    local: LocalModel,
    night_id: str,
    episodes: Sequence[Episode],
    related: Related,
    asked: Mapping[str, Sequence[str]],
    config: ProbeConfig,
    seed: int,
) -> Questions:
    """Write and check tonight's questions.

    Args:
        local: the model; its base is the teacher.
        night_id: goes into the ids.
        episodes: what tonight replays.
        related: finds episodes of the same namespace, older and newer.
        asked: per episode id, the questions of users that retrieved it; used first, they are what is asked.
        config: how many, how hot, how strict.
        seed: of the sampling.
    """
    rng = random.Random(seed)
    line = {e.id: memory_line(e.date, e.text) for e in episodes}
    by_id = {e.id: e for e in episodes}

    def write(prompt: str, lines: Sequence[str], tokens: int, salt: int) -> list[str]:
        return local.answer(
            [open_book(prompt, [x]) for x in lines],
            (),
            tokens,
            temperature=config.temperature,
            seed=seed + salt,
        )

    def reply(chats: Sequence[Sequence[dict[str, str]]], tokens: int = 32) -> list[str]:
        return local.answer(chats, (), tokens)

    # Pairs: written by the teacher, or asked by a user and answered by it.
    many = [e.id for e in episodes for _ in range(config.samples)]
    pairs: dict[tuple[str, str], str] = {}
    real = [
        (i, q) for i, questions in asked.items() if i in by_id for q in dict.fromkeys(questions)
    ]
    for (i, q), a in zip(real, reply([open_book(q, [line[i]]) for i, q in real]), strict=True):
        if not abstains(a):
            pairs[i, q] = a
    for i, text in zip(
        many, write(WRITE_PAIR, [line[i] for i in many], _PAIR_TOKENS, 1), strict=True
    ):
        pair = parse_pair(text)
        if pair and names(pair[0]) <= set(words(by_id[i].text)) and not abstains(pair[1]):
            pairs.setdefault((i, pair[0]), pair[1])
    kept = alone = list(pairs)
    for check in range(
        config.checks
    ):  # alone it must be answered the same; among others, overlooked is no contradiction
        others = [
            _sample(rng, episodes, config.distractors if check else 0, by_id[i]) for i, _ in kept
        ]
        again = reply([book(local, q, o, by_id[i]) for (i, q), o in zip(kept, others, strict=True)])
        kept = [
            k
            for k, a in zip(kept, again, strict=True)
            if (matches(a, pairs[k]) and matches(pairs[k], a)) or (check and abstains(a))
        ]
        alone = alone if check else kept

    # Corrections: what did older episodes answer to the same question?
    stale: dict[tuple[str, str], str] = {}
    corrections: dict[str, str] = {}  # older id -> newer id
    old_values: dict[str, set[str]] = {}
    earlier = {k: _older(by_id[k[0]], _naming(k[1], related(k[1]))) for k in kept}
    corrected = [k for k in kept if earlier[k]]
    for k, old in zip(
        corrected, reply([book(local, k[1], earlier[k]) for k in corrected]), strict=True
    ):
        if abstains(old) or matches(old, pairs[k]) or matches(pairs[k], old):
            continue
        for e in earlier[k]:
            if matches(e.text, old):
                stale[k] = old
                corrections[e.id] = k[0]
                old_values.setdefault(e.id, set()).add(old)

    # And what do newer ones answer, tonight's or learned before? An episode that was left behind must not pass for news.
    later = {k: _newer(by_id[k[0]], _naming(k[1], related(k[1]))) for k in alone}
    overtaken = [k for k in alone if later[k]]
    for k, new in zip(
        overtaken, reply([book(local, k[1], later[k], by_id[k[0]]) for k in overtaken]), strict=True
    ):
        if abstains(new) or matches(new, pairs[k]) or matches(pairs[k], new):
            continue
        if telling := [e for e in later[k] if matches(e.text, new)]:
            corrections[k[0]] = max(telling, key=_age).id
            old_values.setdefault(k[0], set()).add(pairs[k])

    # One wording of every fact goes to the exam, the others teach; a fact with a single wording can be neither proven nor promoted.
    probes: list[Probe] = []
    number = itertools.count()
    facts: dict[tuple[str, str], list[str]] = {}
    for i, q in kept:
        if not any(
            matches(pairs[i, q], old) or matches(old, pairs[i, q]) for old in old_values.get(i, ())
        ):
            facts.setdefault((i, pairs[i, q]), []).append(q)
    holding = {i for i, _ in facts}
    superseded = {old: new for old, new in corrections.items() if old not in holding}
    for (i, a), questions in facts.items():
        first = [q for q in questions if (i, q) in set(real)]
        rest = [q for q in questions if (i, q) not in set(real)]
        rng.shuffle(rest)
        chosen = [*first, *rest][: config.wordings + 1]
        if len(chosen) < 2:
            continue
        old = next((stale[i, q] for q in chosen if (i, q) in stale), "")
        for n, q in enumerate(chosen):
            role = Role.EXAM if n == len(chosen) - 1 else Role.TRAIN
            probes.append(
                Probe(f"{night_id}-{next(number):05d}", i, night_id, Kind.FACT, role, q, a, old)
            )
    examined = {p.question for p in probes if p.role is Role.EXAM}
    probes = [
        p for p in probes if p.role is Role.EXAM or p.question not in examined
    ]  # two episodes may say the same

    # Invented memories: what is read from the context only, and strangers to know nothing about.
    invented: list[
        tuple[str, str, str, str]
    ] = []  # (id of the model for it, memory, question, answer)
    models = [e.id for e in episodes for _ in range(config.inventions)]
    texts = write(INVENT, [line[i] for i in models], _TEXT_TOKENS, 2)
    lines_ = [
        memory_line(by_id[i].date, text or "Nothing.")
        for i, text in zip(models, texts, strict=True)
    ]
    written = reply([open_book(WRITE_PAIR, [x]) for x in lines_], _PAIR_TOKENS)
    for i, text, made in zip(models, texts, written, strict=True):
        pair = parse_pair(made)
        if (
            text
            and pair
            and matches(text, pair[1])
            and names(pair[0]) <= set(words(text))
            and not names(text) & set(words(by_id[i].text))
        ):
            invented.append((i, memory_line(by_id[i].date, text), *pair))
    told = _readings(rng, invented, probes, by_id)
    answers = reply([open_book(q, lines) for _, q, lines, _ in told])
    readings = [r for r, a in zip(told, answers, strict=True) if matches(a, r[3])]

    # Never said: other questions about the same, and tonight's questions about somebody else: the wording alone must not bring the answer up.
    # The base must abstain with and without memories.
    written = [e.id for e in episodes for _ in range(config.unsaid)]
    unsaid = list(
        zip(written, write(UNANSWERED, [line[i] for i in written], _TEXT_TOKENS, 4), strict=True)
    )
    unsaid += [(i, q) for i, _, q, _ in invented]
    somebody = (
        sorted({subject(q) for _, q in kept} - {""}),
        sorted({subject(q) for _, _, q, _ in invented} - {""}),
    )
    for e in episodes:
        own = [q for i, q in kept if i == e.id and subject(q)]
        for n in range(2 * config.unsaid if own else 0):
            if people := somebody[n % 2]:
                q = rng.choice(own)
                unsaid.append((e.id, q.replace(subject(q), rng.choice(people))))
    asked_now = {q for _, q in kept}
    unsaid = [(i, q) for i, q in dict.fromkeys(unsaid) if q.endswith("?") and q not in asked_now]
    books = [_told(local, related(q), by_id[i]) for i, q in unsaid]
    open_, shut = (
        reply([open_book(q, lines) for (_, q), lines in zip(unsaid, books, strict=True)]),
        reply([closed_book(q) for _, q in unsaid]),
    )
    for (i, q), lines, a, b in zip(unsaid, books, open_, shut, strict=True):
        if abstains(a) and abstains(b):
            role = Role.EXAM if rng.random() < 0.3 else Role.TRAIN
            probes.append(
                Probe(f"{night_id}-{next(number):05d}", i, night_id, Kind.NEVER_SAID, role, q, b)
            )
            if (
                role is Role.TRAIN and rng.random() < 0.3
            ):  # memories that do not tell must be read too
                readings.append(
                    (
                        i,
                        q,
                        [
                            lines[n]
                            for n in sorted(rng.sample(range(len(lines)), min(len(lines), _READ)))
                        ],
                        a,
                    )
                )
    rng.shuffle(readings)
    for n, (i, q, lines, a) in enumerate(readings):
        role = Role.TRAIN if n % 3 else Role.EXAM
        probes.append(
            Probe(
                f"{night_id}-{next(number):05d}",
                i,
                night_id,
                Kind.READING,
                role,
                q,
                a,
                context=tuple(lines),
            )
        )
    return Questions(tuple(probes), superseded)


def book(
    local: LocalModel, question: str, episodes: Sequence[Episode], own: Episode | None = None
) -> tuple[dict[str, str], ...]:
    """The question over `own` and as many of the episodes, first ones first, as a quarter of the model's context holds; told oldest first."""
    return open_book(question, _told(local, episodes, own))


def _told(local: LocalModel, episodes: Sequence[Episode], own: Episode | None) -> list[str]:
    kept, room = {own.id: own} if own else {}, local.context_length // 4
    for e in episodes:
        room -= local.count_tokens(memory_line(e.date, e.text))
        if room < 0:
            break
        kept[e.id] = e
    return [memory_line(e.date, e.text) for e in sorted(kept.values(), key=_age)]


def unsaid_still(local: LocalModel, probes: Sequence[Probe], related: Related) -> list[Probe]:
    """Those never-said probes of earlier nights that the memories still do not answer. Not asked where no memory has a name of the question."""

    def may_be_told(p: Probe) -> bool:
        asked = names(p.question)
        return not asked or any(asked & set(words(e.text)) for e in related(p.question))

    asked = [p for p in probes if may_be_told(p)]
    made = local.answer([book(local, p.question, related(p.question)) for p in asked])
    said = {p.id for p, text in zip(asked, made, strict=True) if not abstains(text)}
    return [p for p in probes if p.id not in said]


def _readings(
    rng: random.Random,
    invented: Sequence[tuple[str, str, str, str]],
    probes: Sequence[Probe],
    by_id: Mapping[str, Episode],
) -> list[_Told]:
    """Invented memories among others; and known facts told anew with an invented value, which must win over the weights, of their own subject and
    of an invented one: questions asked at night closed-book must still be answered from a context."""
    readings: list[_Told] = []
    for n, (i, memory, q, a) in enumerate(invented):
        others = [m for j, (_, m, _, _) in enumerate(invented) if j != n]
        lines = rng.sample(others, min(len(others), rng.randint(0, 4)))
        lines.insert(rng.randint(0, len(lines)), memory)
        readings.append((i, q, lines, a))
        same = [p for p in probes if p.episode_id == i]
        if same and (p := rng.choice(same)).answer.strip(".") in by_id[i].text:
            told = by_id[i].text.replace(p.answer.strip("."), a.strip("."))
            whom, other = subject(p.question), subject(q)
            for text, asked in (
                (told, p.question),
                (told.replace(whom, other), p.question.replace(whom, other)),
            )[: 2 if whom and other else 1]:
                lines = rng.sample(others, min(len(others), rng.randint(0, 3)))
                lines.insert(rng.randint(0, len(lines)), memory_line(by_id[i].date, text))
                readings.append((i, asked, lines, a))
    return readings


def _naming(q: str, found: Sequence[Episode]) -> list[Episode]:
    """Those that name what the question names."""
    return [e for e in found if names(q) <= set(words(e.text))]


def _age(episode: Episode) -> tuple[str, str]:
    """Orders episodes, oldest first."""
    return episode.created_at, episode.id


def _older(than: Episode, found: Sequence[Episode]) -> list[Episode]:
    return [e for e in found if _age(e) < _age(than)]


def _newer(than: Episode, found: Sequence[Episode]) -> list[Episode]:
    return [e for e in found if _age(e) > _age(than)]


def _sample(
    rng: random.Random, episodes: Sequence[Episode], count: int, but: Episode
) -> list[Episode]:
    """Others that cannot answer in its place: they share no name with it."""
    others = [e for e in episodes if e.id != but.id and not names(e.text) & names(but.text)]
    return rng.sample(others, min(len(others), count))
