"""Terms: what texts of any script are searched and compared by."""

from __future__ import annotations

import unicodedata

import pytest

from sleepmem.text.terms import normalised, terms


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("José", "Jose"),
        ("İstanbul", "istanbul"),
        ("STRASSE", "straße"),
        ("Ｂｅｒｎ", "bern"),
        ("l’eau", "l'eau"),
        ("بَرن", "برن"),
    ],
)
def test_spellings_of_one_word_are_one_term(text: str, other: str) -> None:
    assert terms(text) == terms(other)
    assert terms(unicodedata.normalize("NFD", text)) == terms(text)


def test_a_word_of_several_parts_is_found_by_each_and_whole() -> None:
    assert set(terms("wi-fi")) == {"wi", "fi", "wifi"}
    assert "wifi" in terms("WiFi")


@pytest.mark.parametrize(("text", "part"), [("安娜喜欢喝绿茶。", "绿茶"), ("マーラはどこ", "どこ")])
def test_scripts_without_spaces_are_found_in_the_middle(text: str, part: str) -> None:
    assert set(terms(part)) <= set(terms(text))


def test_other_letters_stay_other_letters() -> None:
    assert terms("か") != terms("が")
    assert terms("रहता") == ("रहता",)


def test_marks_between_words_are_no_terms() -> None:
    assert terms(" -- , 'so' _ ") == ("so",)
    assert terms("") == ()
    assert normalised("") == ""
