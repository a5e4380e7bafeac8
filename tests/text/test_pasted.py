"""What was pasted into a message is told from what its user says, in time that grows with it."""

import pytest

from sleepmem.text.kinds import elements, pasted, without_pasted


def test_an_element_ends_where_one_of_its_name_is_closed_first():
    text = "a <b>1 <c>2</b> 3</c> <d>open <e>4</e>"
    found = [text[one.start : one.end] for one in elements(text)]
    assert found == ["<b>1 <c>2</b>", "<e>4</e>"]


@pytest.mark.parametrize(
    "text",
    [
        "I pasted this:\n" + "some text here <br>\n" * 50_000,
        "".join(f"<li>entry {number}<br>\n" for number in range(50_000)),
        "x\n" + "\n" * 200_000 + "end",
        "List<String> names = new ArrayList<String>();\n" * 10_000,
    ],
)
def test_a_long_page_or_program_is_read_at_once(text):
    # Minutes, when every open tag or blank line looked through all that follows.
    assert without_pasted(text).split() == text.split()


def test_what_is_marked_and_no_context_is_kept_beside():
    recipe = "<ol>\n<li>Two eggs</li>\n<li>Flour</li>\n</ol>"
    text = f"Keep this recipe:\n{recipe}\nIt is my grandmother's."
    assert without_pasted(text).split() == [
        "Keep",
        "this",
        "recipe:",
        "It",
        "is",
        "my",
        "grandmother's.",
    ]
    assert pasted(text) == [recipe]
    assert pasted("<docs>\nMara lives in Rome.\n</docs>\nWhere is she?") == []


def test_thanks_at_the_end_of_notes_are_no_question():
    notes = (
        "Answer the following questions based on my notes:\n1. I was born in 1980.\n"
        "2. I have a sister, Lea.\nThank you"
    )
    assert without_pasted(notes) == notes
