import pytest

from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches, words


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("Brenport", "brenport."),
        ("She lives in Brenport now.", "Brenport"),
        ("The red boat.", "a red boat"),
        ("It is Mara's.", "Mara"),
    ],
)
def test_an_answer_matches_inside_a_sentence(made, wanted):
    assert matches(made, wanted)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("Brenport", "Oslo"),
        ("boat red", "red boat"),
        ("Brenporter", "Brenport"),
        ("anything", ""),
        ("", "Oslo"),
        ("x", "the"),
    ],
)
def test_other_answers_do_not_match(made, wanted):
    assert not matches(made, wanted)


def test_words_drop_case_articles_and_possessives():
    assert words("The captain's boat is a Red one") == ["captain", "boat", "is", "red", "one"]


@pytest.mark.parametrize(
    "text",
    [
        "I do not know.",
        "Sorry, I don't know that.",
        "I'm not sure about that.",
        "I have no information about that.",
        "Das weiß ich nicht.",
        "Je ne sais pas.",
        "No lo sé.",
        "我不知道。",
        "わかりません。",
    ],
)
def test_abstentions_are_recognised(text):
    assert abstains(text)


@pytest.mark.parametrize("text", ["Brenport.", "I know: Brenport.", "In Brenport, I think.", ""])
def test_answers_are_no_abstentions(text):
    assert not abstains(text)
