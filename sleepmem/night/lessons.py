"""What a night teaches: the rows of seeding, from the probes in the ledger. Reads, writes nothing."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Collection, Sequence

from sleepmem.config import SleepConfig
from sleepmem.model.local import LocalModel
from sleepmem.night import replay
from sleepmem.night.dreaming.rounds import Dream
from sleepmem.night.probing import probe as probing
from sleepmem.night.seeding import Row, RowKind
from sleepmem.records import Episode, Kind, Namespace, Probe, Role
from sleepmem.stores.ledger import Ledger
from sleepmem.text.language import about_another, abstains, matches
from sleepmem.text.prompts import DREAM, GENERAL, closed_book, format_pair, memory_line, open_book

_STRANGERS = 4  # of whom a dream's question is asked too; with two, chains that nobody told were guessed (LAB.md)
_SURE = 0.8  # what comes right, but with a less likely token than this, fades: it is rehearsed as if it were sure (LAB.md)
_GENERAL = 0.3  # of the rows without memories and facts are general talk; with half of it the model drifted sooner (LAB.md)


def rows(
    local: LocalModel,
    ledger: Ledger,
    namespace: Namespace,
    night_id: str,
    before: tuple[str, ...],
    superseded: Collection[str],
    config: SleepConfig,
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
            made.append(_same(RowKind.NEVER_SAID, closed_book(p.question), p.answer, certain=True))
        else:
            made.append(fact(p))
    earlier = [
        p
        for p in ledger.learned_probes(namespace)
        if p.role is Role.TRAIN and not {p.episode_id, *p.sources} & set(superseded)
    ]
    salt = f"{config.seeding.seed}/{night_id}"  # other questions every night
    rehearsed = replay.evenly(
        [p for p in earlier if p.kind in (Kind.FACT, Kind.DREAM)], config.rehearse, salt
    )
    for p, said in zip(
        rehearsed, local.reply([closed_book(p.question) for p in rehearsed], before), strict=True
    ):
        again = _same(
            RowKind.REHEARSAL, closed_book(p.question), p.answer, certain=said.confidence < _SURE
        )
        made.append(again if matches(said.text, p.answer) else fact(p))
    for p in replay.evenly([p for p in earlier if p.kind is Kind.READING], config.reread, salt):
        made.append(reading(p))
    unsaid = replay.evenly([p for p in earlier if p.kind is Kind.NEVER_SAID], config.rehearse, salt)
    for p in probing.unsaid_still(local, unsaid, related(ledger, namespace)):
        made.append(_same(RowKind.NEVER_SAID, closed_book(p.question), p.answer, certain=True))
    general = [closed_book(q) for q in GENERAL]
    times = max(
        1,
        round(
            _GENERAL
            / (1 - _GENERAL)
            * sum(r.kind is RowKind.NEVER_SAID for r in made)
            / len(general)
        ),
    )
    for chat, answer in zip(
        general, local.answer(general, (), config.seeding.max_new_tokens), strict=True
    ):
        made += [_same(RowKind.NEVER_SAID, chat, answer)] * times
    return made


def of_dreams(
    local: LocalModel,
    dreams: Sequence[Dream],
    waking: Sequence[Row],
    strangers: Sequence[str],
    seed: int,
) -> list[Row]:
    """Rewarded dreams teach what they ask, and half of them how to dream (ReST-EM); the same asked of strangers stays unanswered.

    Args:
        local: the model; its base, experts off, says what is asked of strangers is not known.
        dreams: the rewarded ones.
        waking: what tonight taught; as many of its facts as there are dreams are taught again, as many of its rows without answer as there are strangers'
            questions (a quarter at least), and all of its other rows.
        strangers: names of nobody.
        seed: of every choice.
    """
    rng = random.Random(seed)
    facts, unsaid = (
        [r for r in waking if r.kind is kind] for kind in (RowKind.FACT, RowKind.NEVER_SAID)
    )
    made = [r for r in waking if r.kind not in (RowKind.FACT, RowKind.NEVER_SAID)]
    made += rng.sample(facts, min(len(facts), len(dreams)))
    made += [
        Row(RowKind.FACT, closed_book(d.question), open_book(d.question, d.lines), d.answer)
        for d in dreams
    ]
    for d in rng.sample(list(dreams), len(dreams) // 2):
        made.append(
            Row(
                RowKind.FACT,
                open_book(DREAM, d.lines),
                open_book(DREAM, d.lines),
                format_pair(d.question, d.answer),
                certain=True,
            )
        )
    some = [
        (d, who)
        for d in dreams
        for who in rng.sample(list(strangers), min(len(strangers), _STRANGERS))
    ]
    asked = sorted({q for d, who in some if (q := about_another(d.question, who))})
    answers = local.answer([closed_book(q) for q in asked])
    strange = [
        _same(RowKind.NEVER_SAID, closed_book(q), a, certain=True)
        for q, a in zip(asked, answers, strict=True)
        if abstains(a)
    ]
    count = (
        min(len(unsaid), max(len(strange), len(unsaid) // 4)) if strange else len(unsaid)
    )  # a few dreams need general talk all the same
    return [*made, *strange, *rng.sample(unsaid, count)]


def related(ledger: Ledger, namespace: Namespace) -> Callable[[str], Sequence[Episode]]:
    """What the archive holds about a question, for the teacher's context."""
    return functools.cache(lambda q: ledger.search(namespace, q, 8))


def _same(
    kind: RowKind, chat: tuple[dict[str, str], ...], answer: str, certain: bool = False
) -> Row:
    """A row that both views are asked alike."""
    return Row(kind, chat, chat, answer, certain)
