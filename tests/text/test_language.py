import pytest

from sleepmem.text.language import abstains, is_question, matches, names, words


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
        "The notes do not say.",
        "There is no information.",
        "Not mentioned.",
    ],
)
def test_abstentions_are_recognised(text):
    assert abstains(text)


@pytest.mark.parametrize("text", ["Brenport.", "I know: Brenport.", ""])
def test_answers_are_no_abstentions(text):
    assert not abstains(text)


def test_names_are_capitals_inside_a_sentence_and_digits():
    assert names("Where does Mara Vell live, and I ask. Tell me of flat 12b in Brenport?") == {
        "mara",
        "vell",
        "12b",
        "brenport",
    }


@pytest.mark.parametrize(
    "text", ["Where does Mara live?", "where does mara live", "Tell me, is it so?", "  Who knows"]
)
def test_questions(text):
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "Mara lives in Brenport.",
        "Whoever",
        "Island life suits her.",
        "Will moved to Oslo.",
        "When I was young, I lived in Oslo.",
    ],
)
def test_statements_are_no_questions(text):
    assert not is_question(text)
