"""Whom a question is about: told by rarity, not by capitals."""

import pytest

from sleepmem.text.subjects import about_another, rare, subject


@pytest.mark.parametrize(
    ("question", "memory", "name"),
    [
        ("Where does Mara Vell live?", "Mara Vell lives in Brenport.", "Mara Vell"),
        ("where does mara vell live", "mara vell lives in brenport", "mara vell"),
        ("¿Dónde vive Ximena?", "Mi hermana Ximena vive en Graz.", "Ximena"),
        ("Where is Ottilie's car?", "The car of Ottilie is in Graz.", "Ottilie"),
        ("Does Ottilie know Brenport?", "Brenport pleases Ottilie.", "Brenport"),  # the rarer
        ("Where is it?", "It is in Graz.", ""),
        ("Where does Mara live?", "Tovin lives in Brenport.", ""),
        ("Мирела где живёт?", "Мирела живёт в Граце.", "Мирела"),
        ("美咲はどこに住んでいますか", "美咲は京都に住んでいます", ""),  # no words apart
    ],
)
def test_the_subject_is_the_rarest_that_question_and_memory_share(question, memory, name):
    assert subject(question, memory) == name


def test_a_question_is_asked_of_another():
    asked = about_another("Where does mara live?", "jon", memory="mara lives in Oslo")
    assert asked == "Where does jon live?"
    assert about_another("Where is it?", "Jon", memory="It is here.") == ""


def test_common_words_are_not_rare():
    assert rare("I live in the house of Brenport Zwill") == {"brenport", "zwill"}
