"""Near misses are made of what any script has: other words in a place, another order, numbers."""

import random

import pytest

from sleepmem.night.perturbing import Perturber, pieces_of, words_of
from sleepmem.text.frequencies import Frequencies
from sleepmem.text.terms import terms

QUESTIONS = {
    "Who is the boss of Mara?": ("Mara", ["Zoltan", "Brenport"]),
    "마라의 상사는 누구입니까?": ("마라", ["졸탄", "부산"]),
    "马拉的上司是谁?": ("马拉", ["佐尔", "上海"]),
    "マラの上司は誰ですか。": ("マラ", ["ゾル", "東京"]),
    "من هو رئيس مارا؟": ("مارا", ["زولتان", "القاهرة"]),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_way_gives_another_question(question):
    name, strangers = QUESTIONS[question]
    perturber = Perturber(
        random.Random(0), Frequencies(), strangers=strangers, others=[strangers[1]]
    )
    made = perturber.perturbed(question, set(terms(name)), own=set(terms(question)), count=9)
    assert 4 <= len(made) == len(set(made))
    for text in made:
        assert terms(text) != terms(question)
    assert any(terms(name)[0] not in terms(text) for text in made)  # somebody else, or nobody
    assert any(character.isdigit() for text in made for character in text)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_strange_word_takes_the_place_of_one_that_says_not_whom_it_is_about(question):
    name, strangers = QUESTIONS[question]
    about, pieces = set(terms(name)), pieces_of(question)
    perturber = Perturber(random.Random(0), Frequencies(), strangers=[], others=[strangers[1]])
    made = perturber.perturbed(question, about, own=set(terms(question)), count=9)
    replaced = []
    for text in made:
        has_all = about <= set(terms(text)) and strangers[1] in text
        if has_all and len(pieces_of(text)) <= len(pieces):
            replaced.append(text)
    assert replaced


def test_a_number_becomes_another():
    perturber = Perturber(random.Random(1), Frequencies(), strangers=[], others=[])
    made = perturber.perturbed("Due on 6 May 2031?", {"may"}, own={"6", "may"}, count=9)
    assert all("2031" not in text for text in made if terms(text)[2] != "6")


def test_a_correction_keeps_whom_it_is_about_and_not_the_value():
    perturber = Perturber(random.Random(0), Frequencies(), strangers=["Oslo"], others=[])
    for _ in range(20):
        text = perturber.corrected("Mara lives in Brenport.", {"mara"}, values="Brenport.")
        assert "Mara" in text
        assert "Oslo" in text
        assert "Brenport" not in text


def test_a_text_is_the_sum_of_its_pieces():
    for question in QUESTIONS:
        assert "".join(piece.text for piece in pieces_of(question)) == question
    assert words_of("Who is Mara?", {"mara"}) == ["Mara"]
