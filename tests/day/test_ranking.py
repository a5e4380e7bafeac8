"""What speaks for a memory."""

from __future__ import annotations

from datetime import date

import pytest

from sleepmem.day.ranking import Features, Need, Question, features, is_needed, score
from sleepmem.text.dates import Days
from sleepmem.text.heads import needs_no_memory
from sleepmem.text.terms import terms


def asked(text: str, *days: Days) -> Question:
    return Question(dict.fromkeys(terms(text), 6.0), days)


def found(
    question: Question,
    text: str,
    *,
    day: str = "2026-05-03",
    evidence: float = 1.0,
    asks: float = 0.0,
) -> Features:
    return features(question, text, day=day, evidence=evidence, asks=asks)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("the postgresql port", "Postgres listens there"),
        ("co kupiłem markowi", "prezent dla Marka"),
        ("wo ist mein wohnort", "Ich wohne hier"),
        ("can I eat the peanut", "allergic to peanuts"),
    ],
)
def test_a_word_spelt_another_way_speaks_for_a_memory(question: str, text: str) -> None:
    assert found(asked(question), text).alike > 0


def test_another_word_does_not() -> None:
    assert found(asked("cat"), "the dog barks").alike == 0
    assert found(asked("bern"), "berries").alike == 0


def test_the_day_that_is_named_speaks_for_what_happened_then() -> None:
    question = asked("what did I do", Days(date(2026, 5, 1), date(2026, 5, 31)))
    assert score(found(question, "ran")) > score(found(question, "ran", day="2026-06-01"))


def test_a_question_is_no_answer_to_itself() -> None:
    question = asked("where does ana live")
    told, echo = "ana lives in bern", "where does ana live"
    assert score(found(question, told)) > score(found(question, echo, evidence=8.0, asks=8.0))


def test_rarer_words_speak_louder() -> None:
    question = Question({"ana": 5.0, "lives": 0.1})
    assert score(found(question, "ana moved")) > score(found(question, "bob lives"))


def test_everyday_words_tell_nothing() -> None:
    question = Question({"ana": 6.0, "what": 1.0, "did": 2.0})
    assert found(question, "what did bob say").covered == 0
    assert found(question, "ana moved").covered == 1


def test_a_general_turn_needs_more_evidence() -> None:
    assert is_needed(Need(meaning=2.0, covered=0.5, stands=3.0, general=-2.0))
    assert not is_needed(Need(meaning=2.0, covered=0.5, stands=3.0, general=4.0))


def test_the_only_memory_stands_out_from_unrelated_ones() -> None:
    near = Features(2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    alone = Need.of([near], general=0.0, unrelated=-4.0)
    among_others = Need.of([near] * 20, general=0.0, unrelated=-4.0)
    assert (alone.stands, among_others.stands) == (6.0, 0.0)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("Hangi gezegen en büyük?", False),
        ("最大的行星是哪个？", False),
        ("¿Qué planeta es el más grande?", False),
        ("Welcher Zug ist meiner?", True),
    ],
)
def test_what_the_world_knows_needs_no_memory_in_any_language(text: str, needed: bool) -> None:
    need = Need(meaning=-2.0, covered=0.0, stands=3.0, general=needs_no_memory(text))
    assert is_needed(need) == needed
