"""What a night teaches: the rows of seeding, from the probes in the ledger. Reads, writes nothing."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Collection, Sequence

from sleepmem import exams, probing, replay
from sleepmem.answers import abstains
from sleepmem.config import SleepConfig
from sleepmem.dreaming import Dream
from sleepmem.experts import LocalModel
from sleepmem.ledger import Ledger
from sleepmem.prompts import DREAM, GENERAL, closed_book, memory_line, open_book
from sleepmem.records import Episode, Kind, Namespace, Probe, Role
from sleepmem.seeding import Row, RowKind

_GENERAL_TIMES = 3  # weight of the general prompts among the never-said questions


def rows(
    local: LocalModel, ledger: Ledger, namespace: Namespace, night_id: str, before: tuple[str, ...], superseded: Collection[str], config: SleepConfig
) -> list[Row]:
    """Tonight's rows, of the four kinds. What an earlier night taught and the evening's model has forgotten is taught again, like tonight's.

    Args:
        local: the model.
        ledger: holds the probes of tonight and of earlier nights.
        namespace: whose night.
        night_id: tonight.
        before: the experts that were live this evening.
        superseded: ids of episodes that tonight corrects; nothing of them is rehearsed.
        config: how much is rehearsed.
    """
    episodes = {e.id: e for e in ledger.episodes(namespace)}
    made: list[Row] = []

    def fact(p: Probe) -> Row:
        lines = p.context or [memory_line((e := episodes[p.episode_id]).date, e.text)]
        return Row(RowKind.FACT, closed_book(p.question), open_book(p.question, lines), p.answer)

    def reading(p: Probe) -> Row:
        return _same(RowKind.READING, open_book(p.question, p.context), p.answer)

    for p in ledger.probes(night_id):
        if p.role is Role.EXAM:
            continue
        if p.kind is Kind.READING:
            made.append(reading(p))
        elif p.kind is Kind.NEVER_SAID:
            made.append(_same(RowKind.NEVER_SAID, closed_book(p.question), p.answer))
        else:
            made.append(fact(p))
    earlier = [p for p in ledger.learned_probes(namespace) if p.role is Role.TRAIN and not {p.episode_id, *p.sources} & set(superseded)]
    most, salt = config.rehearse, config.seeding.seed
    rehearsed = replay.evenly([p for p in earlier if p.kind in (Kind.FACT, Kind.DREAM)], most, salt)
    _, remembered = exams.recall(local, rehearsed, before)
    made += [_same(RowKind.REHEARSAL, closed_book(p.question), p.answer) if p.id in remembered else fact(p) for p in rehearsed]
    for p in replay.evenly([p for p in earlier if p.kind is Kind.READING], most, salt):
        made.append(reading(p))
    unsaid = replay.evenly([p for p in earlier if p.kind is Kind.NEVER_SAID], most, salt)
    for p in probing.unsaid_still(local, unsaid, related(ledger, namespace)):
        made.append(_same(RowKind.NEVER_SAID, closed_book(p.question), p.answer))
    general = [closed_book(q) for q in GENERAL]
    for chat, answer in zip(general, local.answer(general, (), config.seeding.max_new_tokens), strict=True):
        made += [_same(RowKind.NEVER_SAID, chat, answer)] * _GENERAL_TIMES
    return made


def of_dreams(local: LocalModel, dreams: Sequence[Dream], strangers: Sequence[str], seed: int) -> list[Row]:
    """Rewarded dreams teach what they ask, and how to dream (ReST-EM); the same asked of a stranger stays unanswered."""
    rng = random.Random(seed)
    made: list[Row] = []
    for d in dreams:
        made.append(Row(RowKind.FACT, closed_book(d.question), open_book(d.question, d.lines), d.answer))
        made.append(Row(RowKind.FACT, open_book(DREAM, d.lines), open_book(DREAM, d.lines), d.text, certain=True))
    asked = [q for d in dreams if (q := _of_a_stranger(d.question, strangers, rng))]
    for q, answer in zip(asked, local.answer([closed_book(q) for q in asked]), strict=True):
        if abstains(answer):
            made.append(_same(RowKind.NEVER_SAID, closed_book(q), answer))
    return made


def _of_a_stranger(question: str, strangers: Sequence[str], rng: random.Random) -> str:
    subject = probing.subject(question)
    return question.replace(subject, rng.choice(strangers)) if subject and strangers else ""


def related(ledger: Ledger, namespace: Namespace) -> Callable[[str], Sequence[Episode]]:
    """What the archive holds about a question, for the teacher's context."""
    return functools.cache(lambda q: ledger.search(namespace, q, 8))


def _same(kind: RowKind, chat: tuple[dict[str, str], ...], answer: str) -> Row:
    """A row that both views are asked alike."""
    return Row(kind, chat, chat, answer)
