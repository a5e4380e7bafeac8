"""Each thing that a model must do to be its own teacher, measured: a share with its interval.

Asked in the memory's own ways: its prompts, its teacher, its seeding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from sleepmem.config import ProbeConfig, SeedingConfig, SleepConfig
from sleepmem.evals.fit import people
from sleepmem.evals.fit.people import Case, Message
from sleepmem.model.local import LocalModel
from sleepmem.night.lessons import at_length
from sleepmem.night.probing.notes import Units, draw
from sleepmem.night.probing.pairs import Pair, Source, check_pairs
from sleepmem.night.probing.teacher import Teacher
from sleepmem.night.rows import Row, RowKind
from sleepmem.night.seeding import Lesson, seed
from sleepmem.records import Episode, Note, Score
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import (
    ABSTENTION,
    WRITE_PAIR,
    closed_book,
    line_of,
    memory_line,
    open_book,
    parse_pair,
)
from sleepmem.text.rarity import commonness
from sleepmem.text.small_talk import NEUTRAL
from sleepmem.text.terms import terms

_LARGER = "use a larger instruct model"
_DAY = "2026-05-04"
_READ = (1, 2, 4, 8)
_EXPERT = "fit"
# Share of texts that have a word which a note may add.
_COMMON = 1e-3
# Tokens, about: of a memory with its question, of a question with its answer, of an answer.
_LINE, _PAIR, _ANSWER = 60, 18, 5
# Prompts that a night writes about a note.
_PROMPTS = 8
# Least share of notes that are right, of these clean messages: of real ones fewer are.
_CLEAR = 0.9
# Of the short seeding.
_FACTS, _STEPS, _BATCH, _RANK = 20, 40, 12, 16


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    name     what was asked of the model
    score    how often it was right
    least    the share from which it is good enough; 0 where nothing hangs on it
    advice   what to do where it falls short
    """

    name: str
    score: Score
    least: float
    advice: str

    @property
    def is_reached(self) -> bool:
        return self.least == 0 or (bool(self.score.total) and self.score.rate >= self.least)


def read(local: LocalModel, count: int, *, recalled: int = _READ[-1]) -> Iterator[Measure]:
    """Memories in the context: one to eight of them, the newest of two, and none that tells.

    `recalled`: as many as a question brings at most; more of them need not be read.
    """
    for memories in _READ:
        name = f"reads {memories} memor{'ies' if memories > 1 else 'y'}"
        advice = f"recall fewer memories (GateConfig.memories_per_question), or {_LARGER}"
        least = 0.8 if memories <= max(recalled, 1) else 0.0
        yield Measure(name, reads(local, count, memories=memories), least, advice)
    cases = people.drawn(_rng("newest"), count, make=people.newest)
    yield Measure("the newest of two wins", _right(local, cases), 0.8, _LARGER)
    cases = people.drawn(_rng("unknown"), count, make=partial(people.unknown, memories=4))
    advice = f"{_LARGER}: it would make up what it does not know, and exams reject such nights"
    yield Measure("abstains over 4 memories", _abstains(local, cases), 0.8, advice)
    alone = [case._replace(texts=()) for case in cases]
    yield Measure("abstains without any", _abstains(local, alone), 0.8, advice)


def placements(local: LocalModel, count: int) -> dict[str, Score]:
    """Questions answered right from two memories, by the turn that carries them."""
    found = {}
    for turn in ("system", "user"):
        placed = local.twin()
        placed.profile = replace(local.profile, memories=turn)
        found[turn] = reads(placed, count, memories=2)
    return found


def reads(local: LocalModel, count: int, *, memories: int, experts: Sequence[str] = ()) -> Score:
    """Questions answered right from so many memories in the context, with these experts on."""
    rng = _rng("read", memories)
    cases = people.drawn(rng, count, make=partial(people.reading, memories=memories))
    return _right(local, cases, experts)


def write(local: LocalModel, count: int) -> Iterator[Measure]:
    """What the teacher writes about a message: notes, and pairs about them or what stands for them.

    Right by what is known of the message. Of pairs, those that are written, and those that pass the
    check of a night.
    """
    rng = _rng("write")
    told: dict[str, tuple[Message, Episode]] = {}
    while len(told) < count:
        [message] = people.messages(rng, 1)
        episode = Episode(("fit",), message.text, created_at=f"{_DAY}T12:00:00+00:00")
        told[episode.id] = message, episode
    teacher = Teacher(local, ProbeConfig(samples=1), seed=0)
    episodes = [episode for _, episode in told.values()]
    kind = local.profile.notes
    if kind != "whole":
        drawn = draw(teacher, episodes, kind="drawn")
        # Where sentences stand in, what it would draw is told, and nothing hangs on it.
        least = _CLEAR if kind == "drawn" else 0.0
        messages = {one: message for one, (message, _) in told.items()}
        yield from _notes(drawn, messages, least=least)

    notes = drawn if kind == "drawn" else draw(teacher, episodes)
    units = Units(episodes, notes, whole=kind == "whole")
    lines = [line_of(unit) for unit in units.all]
    written = teacher.write(WRITE_PAIR, lines, tokens=teacher.config.pair_tokens, salt=1)
    advice = f"{_LARGER}: without pairs there is nothing to teach, and nights are skipped"
    parsed, right = [], set()
    for unit, text in zip(units.all, written, strict=True):
        if (pair := parse_pair(text)) is not None:
            parsed.append(Pair(unit.id, *pair))
            episode = units.source(unit.id) or unit
            if _is_right(told[episode.id][0], *pair):
                right.add(parsed[-1])
    yield Measure("writes pairs in their form", Score(len(parsed), len(written)), 0.8, advice)
    yield Measure("writes right pairs", Score(len(right), len(written)), 0.5, advice)
    source = Source(units.source)
    checked = check_pairs(teacher, parsed, episodes=units.all, source=source).confirmed
    kept = sum(pair in right for pair in checked)
    yield Measure("checked pairs are right", Score(kept, len(checked)), 0.85, advice)


def _notes(
    notes: Sequence[Note], told: Mapping[str, Message], *, least: float
) -> Iterator[Measure]:
    """By rule: each fact is in a note with all that tells it; no note holds what nobody told."""
    advice = (
        f"{_LARGER}, school it (sleepmem school), or let sentences stand in (ModelConfig.notes)"
    )
    texts: dict[str, list[set[str]]] = {episode: [] for episode in told}
    strange = 0
    for note in notes:
        held = set(terms(note.text))
        texts[note.episode_id].append(held)
        beside = held - set(terms(told[note.episode_id].text)) - set(terms(_spelt(_DAY)))
        strange += any(commonness(term) < _COMMON for term in beside)
    facts = held_facts = 0
    for episode, message in told.items():
        for fact in message.facts:
            keys = {term for key in fact.keys for term in terms(key)}
            facts += 1
            held_facts += any(keys <= held for held in texts[episode])
    yield Measure("notes hold each fact", Score(held_facts, facts), least, advice)
    faithful = len(notes) - strange
    yield Measure("notes hold nothing else", Score(faithful, len(notes)), least, advice)


def _spelt(day: str) -> str:
    return f"{date.fromisoformat(day):%d %B %Y}"


def learn(local: LocalModel, settings: SleepConfig | None = None) -> Iterator[Measure]:
    """Closed-book after a short seeding of twenty facts: another wording, and strangers, of whom is
    asked what was taught of others, and what was not.

    `settings`: of nights, whose rank, rate and weights it has; its length and batch are its own.
    """
    settings = settings or SleepConfig()
    rng, others, beside = _rng("learn"), _rng("alike"), _rng("apart")
    different: dict[tuple[str, ...], people.Fact] = {}
    alike, apart = [], []
    while len(different) < _FACTS:
        [message] = people.messages(rng, 1)
        fact = rng.choice(message.facts)
        # What is asked of nobody in particular has several answers among twenty.
        names_it = any(name in fact.asks[0] and name in fact.asks[1] for name in message.names)
        if names_it and fact.asks not in different:
            different[fact.asks] = fact
            alike.append(_of_another(others, fact.asks[1], message.names))
            apart.append(_of_another(beside, fact.asks[0], message.names))
    facts = list(different.values())
    strangers = [case.question for case in people.drawn(rng, 2 * _FACTS, make=_about_somebody)]
    rows = []
    for fact in facts:
        rows.append(_row(RowKind.FACT, fact.asks[0], fact.answer))
    # As in a night: what nobody told, and what was asked of others than those who are known.
    for question in [*strangers[:_FACTS], *apart]:
        rows.append(_row(RowKind.NEVER_SAID, question, ABSTENTION))
    for prompt, reply in zip(
        NEUTRAL, local.answer([closed_book(one) for one in NEUTRAL]), strict=True
    ):
        rows.append(_row(RowKind.NEVER_SAID, prompt, reply))
    rows += at_length(local, salt=_EXPERT)
    config = replace(settings.seeding, steps=_STEPS, batch=_BATCH, rehearsal=0.0, reading=0.0)
    local.add_expert(_EXPERT, settings.levels[0].rank)
    try:
        seed(local, Lesson(_EXPERT, (), rows), config=config, semantic=_same)
        answers = local.answer([closed_book(fact.asks[1]) for fact in facts], [_EXPERT])
        right = [matches(answer, fact.answer) for answer, fact in zip(answers, facts, strict=True)]
        advice = "teach at another rate, or wider (SeedingConfig.lr, Level.rank)"
        yield Measure("learns 20 facts, asked otherwise", Score(sum(right), _FACTS), 0.5, advice)
        unknown = [closed_book(question) for question in strangers[_FACTS:]]
        honest = sum(map(abstains, local.answer(unknown, [_EXPERT])))
        yield Measure("abstains after it", Score(honest, _FACTS), 0.8, _LARGER)
        asked = [closed_book(question) for question in alike]
        honest = sum(map(abstains, local.answer(asked, [_EXPERT])))
        name = "abstains on others, asked as on those"
        yield Measure(name, Score(honest, _FACTS), 0.8, _LARGER)
    finally:
        local.drop_expert(_EXPERT)


@dataclass(frozen=True)
class Speeds:
    """Tokens a second: of a prompt, of what is written, and of what is trained on."""

    reading: float
    writing: float
    training: float

    def night(self, notes: int, config: SleepConfig | None = None) -> float:
        """Seconds of a night of so many notes, by what one of them costs in tokens, about."""
        config = config or SleepConfig()
        probes, seeding = config.probe, config.seeding
        # 1. Pairs are checked four times, what must stay unknown twice.
        pairs = probes.samples + probes.turned + 2 * probes.rewordings
        unsaid = 3 * probes.unsaid + probes.inventions
        written = _PAIR * (pairs + probes.unsaid + 2 * probes.inventions + 3 * probes.requests)
        written += _ANSWER * (4 * pairs + 2 * unsaid)

        # 2. What a note is asked over is read once for all its pairs.
        read = _LINE * (_PROMPTS + 2 + 2 * probes.distractors)
        read += _PAIR * 4 * pairs + _LINE * (4 * unsaid + 6 * probes.inventions)
        steps = max(seeding.steps, config.levels[0].steps_per_episode * notes / 3)
        trained = steps * seeding.batch * _LINE
        return (
            notes * read / self.reading + notes * written / self.writing + trained / self.training
        )


def speeds(local: LocalModel) -> Speeds:
    """On this machine, now; of a few seconds each."""
    rng = _rng("speed")
    cases = [people.reading(rng, 4) for _ in range(8)]
    chats = [open_book(case.question, _lines(case)) for case in cases]
    tokens = sum(len(local.prompt_ids(chat)) for chat in chats)
    start = time.perf_counter()
    local.answer(chats, max_new_tokens=1)
    reading = time.perf_counter() - start

    before, start = local.tokens_generated, time.perf_counter()
    local.answer([closed_book(case.question) for case in cases], max_new_tokens=32, temperature=1.0)
    writing = time.perf_counter() - start
    written = local.tokens_generated - before

    rows = [_row(RowKind.FACT, case.question, case.answer) for case in cases]
    trained = sum(
        len(local.prompt_ids(row.student)) + len(local.answer_ids(row.answer)) for row in rows
    )
    config = replace(SeedingConfig(), steps=3, batch=8, never_said=0.0, rehearsal=0.0, reading=0.0)
    local.add_expert(_EXPERT, _RANK)
    try:
        start = time.perf_counter()
        seed(local, Lesson(_EXPERT, (), rows), config=config, semantic=_same)
        training = time.perf_counter() - start
    finally:
        local.drop_expert(_EXPERT)
    return Speeds(tokens / reading, written / writing, 3 * trained / training)


def _rng(*parts: object) -> random.Random:
    return random.Random("/".join(map(str, ("fit", *parts))))


def _lines(case: Case) -> list[str]:
    return [memory_line(_DAY, text) for text in case.texts]


def _answers(local: LocalModel, cases: Sequence[Case], experts: Sequence[str] = ()) -> list[str]:
    chats = []
    for case in cases:
        is_alone = not case.texts
        chats.append(
            closed_book(case.question) if is_alone else open_book(case.question, _lines(case))
        )
    return local.answer(chats, experts, max_new_tokens=24)


def _right(local: LocalModel, cases: Sequence[Case], experts: Sequence[str] = ()) -> Score:
    right = 0
    for case, answer in zip(cases, _answers(local, cases, experts), strict=True):
        is_stale = bool(case.stale) and matches(answer, case.stale)
        right += matches(answer, case.answer) and not is_stale
    return Score(right, len(cases))


def _abstains(local: LocalModel, cases: Sequence[Case]) -> Score:
    return Score(sum(map(abstains, _answers(local, cases))), len(cases))


def _is_right(message: Message, question: str, answer: str) -> bool:
    """Whether a pair asks for one part of a fact, and for nothing else, by the fact's keys.

    The answer holds that key, the question all others of the fact, and not the answer.
    """
    asked = set(terms(question))
    for fact in message.facts:
        others = [one.answer for one in message.facts if one is not fact]
        if any(matches(answer, other) for other in others if other not in fact.keys):
            continue
        parts = fact.keys if fact.answer in fact.keys else (fact.answer,)
        for key in parts:
            about = [one for one in fact.keys if one != key]
            names_all = all(set(terms(one)) <= asked for one in about)
            if names_all and matches(answer, key) and not matches(question, key):
                return True
    return False


def _of_another(rng: random.Random, question: str, names: Collection[str]) -> str:
    """The question, asked about somebody else."""
    while True:
        [other] = people.messages(rng, 1)
        strange = [name for name in other.names if name not in names]
        if strange:
            for name in names:
                question = question.replace(name, strange[0])
            return question


def _about_somebody(rng: random.Random) -> Case:
    """A question about a person of whom nothing is known."""
    while True:
        [message] = people.messages(rng, 1)
        for question in message.unknown:
            if any(name in question for name in message.names):
                return Case((), question, "")


def _row(kind: RowKind, question: str, answer: str) -> Row:
    chat = closed_book(question)
    return Row(kind, chat, chat, answer, certain=True)


def _same(answer: str, wanted: str) -> float:
    return float(matches(answer, wanted))
