"""Is a life consistent? Every sentence names what is not."""

from __future__ import annotations

from collections.abc import Iterator

from sleepmem.evals.lives.data import Fact, Life, Question
from sleepmem.evals.lives.judge import gives, gives_any
from sleepmem.text.language import words


def faults(life: Life) -> list[str]:
    """What is wrong in it, one sentence each; empty when all is well."""
    found = [*_in_days(life), *_repeated(life)]
    for fact in life.facts:
        found += [f"fact {fact.id}: {fault}" for fault in _in_fact(life, fact)]
    for question in life.questions:
        found += [f"question {question.id}: {fault}" for fault in _in_question(life, question)]
    return found


def _in_days(life: Life) -> Iterator[str]:
    """Facts are told on their day, all of them; days follow each other."""
    days = {fact.id: fact.day for fact in life.facts}
    untold = set(days)
    for number, day in enumerate(life.days, start=1):
        if number > 1 and day.date <= life.days[number - 2].date:
            yield f"day {number} is not after the one before it"
        for turn in day.turns:
            if (turn.tool is None) != (turn.reply is None):
                yield f"day {number}: {turn.say!r:.50} has a tool or a reply without the other"
            for told in turn.tells:
                if days.get(told) != number:
                    yield f"day {number} tells {told}, which is a fact of day {days.get(told)}"
                untold.discard(told)
    for fact in sorted(untold):
        yield f"fact {fact} is never told"


def _repeated(life: Life) -> Iterator[str]:
    for what, named in (("fact", life.facts), ("question", life.questions)):
        ids = [one.id for one in named]
        for one in sorted({one for one in ids if ids.count(one) > 1}):
            yield f"{what} {one} is there more than once"


def _in_fact(life: Life, fact: Fact) -> Iterator[str]:
    """Its value stands in its note, and it ends the day before another replaces it."""
    if fact.value not in fact.note:
        yield f"{fact.value!r} does not stand in its note"
    if (fact.until is None) != (fact.replaced_by is None):
        yield "only one of `until` and `replaced_by` is given"
    if fact.replaced_by is not None:
        newer = [one for one in life.facts if one.id == fact.replaced_by]
        if not newer:
            yield f"{fact.replaced_by}, which replaces it, is no fact"
        elif fact.until != newer[0].day - 1:
            yield f"it holds until day {fact.until} and is replaced on day {newer[0].day}"


def _in_question(life: Life, question: Question) -> Iterator[str]:
    """It can be asked while its facts hold, in wordings that differ; and what of its gold."""
    yield from _in_time(life, question)
    if len({tuple(words(text)) for text in question.asks}) < max(2, len(question.asks)):
        yield "it needs two wordings that differ"
    if question.kind != "never":
        yield from _in_gold(life, question)
    elif question.gold or question.facts:
        yield "nothing tells it, yet it has gold or facts"


def _in_gold(life: Life, question: Question) -> Iterator[str]:
    """It follows from the notes, and from nothing that must not be said."""
    notes = [fact.note for fact in life.needed(question)]
    if question.kind == "implicit":
        # An answer that only says the request again must not be right.
        for text in question.asks:
            if gives_any(text, question.gold) and not gives_any(text, question.wrong):
                yield f"{text!r} gives its own gold"
    elif not any(gives_any(note, question.gold) for note in notes):
        yield f"no form of its gold {question.gold} stands in a note of its facts {notes}"
    for gold in question.gold:
        for wrong in question.wrong:
            if gives(gold, wrong):
                yield f"its gold {gold!r} has {wrong!r}, which is wrong"


def _in_time(life: Life, question: Question) -> Iterator[str]:
    last = question.until or len(life.days)
    if not 1 <= question.first <= last <= len(life.days):
        yield f"it can be asked from day {question.first} to {last} of {len(life.days)}"
    needed = life.needed(question)
    for unknown in sorted(set(question.facts) - {fact.id for fact in needed}):
        yield f"{unknown} is no fact"
    for fact in needed:
        if not fact.day <= question.first <= last <= (fact.until or last):
            yield f"it is asked from day {question.first} to {last}, when {fact.id} does not hold"
