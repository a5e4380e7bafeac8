"""Full-text search: it stays with one owner, in any script, and knows what is rare."""

import dataclasses
from contextlib import suppress

import pytest
from _values import LATER, TOLD

from sleepmem.records import Episode
from sleepmem.stores.ledger import Ledger

OTHERS = dataclasses.replace(TOLD, namespace=("bob",))


def test_search_stays_in_its_namespace(ledger):
    for e in (TOLD, LATER, OTHERS):
        ledger.episodes.add(e)
    assert ledger.search(("alice",), "Where did Mara go: Brenport?", limit=9)[0] == TOLD
    assert ledger.search(("alice",), "Brenport", limit=9) == [TOLD]
    assert ledger.search(("bob",), "Brenport", limit=9) == [OTHERS]
    assert ledger.search(("carol",), "Brenport", limit=9) == []


@pytest.mark.parametrize(
    "question",
    ["", "?!", '"', "AND OR NOT", "mara* NEAR(", "text:mara", "'; DROP TABLE episodes; --"],
)
def test_search_takes_any_text(ledger, question):
    ledger.episodes.add(TOLD)
    assert set(ledger.search(("alice",), question, limit=9)) <= {TOLD}
    assert ledger.episodes.all() == [TOLD]


def test_search_keeps_to_its_limit(ledger):
    for n in range(5):
        ledger.episodes.add(
            dataclasses.replace(TOLD, text=f"Mara saw whale {n}.", message_id=str(n))
        )
    assert len(ledger.search(("alice",), "Mara", limit=3)) == 3


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("José habló con el médico.", "jose"),
        ("我哥哥在北京工作。", "北京"),
        ("妹は病院で働いています。", "病院"),
        ("ฉันอยู่กรุงเทพ", "กรุงเทพ"),
        ("Der Mietvertrag liegt im Safe.", "Mietverträge"),
        ("The wi-fi password is tulip7.", "wifi"),
    ],
)
def test_search_finds_words_of_any_script(ledger, text, asked):
    told = dataclasses.replace(TOLD, text=text)
    ledger.episodes.add(LATER)
    ledger.episodes.add(told)
    assert ledger.search(("alice",), asked, limit=9) == [told]


def test_search_finds_an_answer_by_what_it_answers(ledger):
    told = dataclasses.replace(TOLD, text="At noon.", answers="When is the dentist?")
    ledger.episodes.add(told)
    assert ledger.search(("alice",), "dentist", limit=9) == [told]


def test_a_rare_word_tells_more(ledger):
    for n in range(9):
        text = f"Mara saw whale{n}."
        ledger.episodes.add(dataclasses.replace(TOLD, text=text, message_id=str(n)))
    rarity = ledger.words.rarity(("alice",), ["mara", "whale7"])
    assert rarity["whale7"] > rarity["mara"] >= 0


def test_words_that_another_process_told_are_found_and_counted(ledger):
    ledger.episodes.add(TOLD)
    assert ledger.episodes.count(("alice",)) == 1
    other = Ledger(ledger.path)
    for n in range(9):
        text = f"Orla keeps bee{n}."
        other.episodes.add(dataclasses.replace(TOLD, text=text, message_id=str(n)))
    other.close()
    assert ledger.search(("alice",), "orla bee7", limit=1)[0].text == "Orla keeps bee7."
    assert ledger.episodes.count(("alice",)) == 10


def test_what_was_taken_back_is_not_counted(ledger):
    ledger.episodes.add(TOLD)
    assert ledger.episodes.count(("alice",)) == 1
    with suppress(ZeroDivisionError), ledger.database.write():
        ledger.episodes.tell(dataclasses.replace(TOLD, text="Jon has a boat.", message_id="m9"))
        _ = 1 / 0
    assert ledger.episodes.count(("alice",)) == len(ledger.episodes.all()) == 1


def test_what_is_rare_and_found_is_of_one_owner(ledger):
    for n in range(9):
        text = f"Mara saw whale{n}."
        ledger.episodes.add(dataclasses.replace(TOLD, text=text, message_id=str(n)))
    before = ledger.words.rarity(("bob",), ["mara"])
    ledger.episodes.add(Episode(("bob",), "Mara left.", message_id="own"))
    assert ledger.search(("bob",), "mara saw whale7", limit=9)[0].namespace == ("bob",)
    assert before["mara"] > ledger.words.rarity(("alice",), ["mara"])["mara"]
