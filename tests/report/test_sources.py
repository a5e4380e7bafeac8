"""What a report tells of where answers came from: counted, and without a word of them."""

import json

import pytest
from _values import put_expert

from sleepmem.records import Look, Recall, View
from sleepmem.report import data, draw

ALICE = ("alice",)


@pytest.fixture
def asked(memory):
    """Two answers of the weights, one with memories after a second look, one with nothing."""
    day = "2030-05-01T10:00:00+00:00"
    mara = memory.observe(ALICE, "Mara moved to Brenport.", created_at=day)
    boat = memory.observe(ALICE, "Jon owns the red boat.")
    expert = put_expert(memory, ALICE, [mara.id])
    [known] = memory.ledger.nights.of(ALICE)

    def log(question, view, known="", episodes=(), look=Look.FIRST):
        recall = Recall(view, "made by hand", tuple(episodes), look=look, known=known)
        memory.ledger.turns.log(ALICE, question, recall=recall, tokens=5)

    log("Where does Mara live?", View.WEIGHTS, known.id)
    log("Where is Mara?", View.WEIGHTS, known.id)
    log("Whose is the red boat?", View.WEIGHTS, known.id)
    log("Whose is the red boat?", View.RETRIEVAL, "", [boat], Look.AGAIN)
    log("Hello!", View.BASE)
    return expert


def test_answers_are_counted_by_what_they_came_from_with_the_expert_and_night(memory, asked):
    found = data.from_ledger(memory.ledger, ALICE)["sources"]
    assert (found["weights"], found["memories"], found["neither"]) == (2, 1, 1)
    assert [one["at"] for one in found["sample"]] == sorted(
        (one["at"] for one in found["sample"]), reverse=True
    )
    for one in found["sample"]:
        assert (one["expert"], one["night"], one["told"]) == (
            asked.name,
            "night-0001",
            ["2030-05-01"],
        )


def test_the_page_names_experts_and_nights_and_no_text(memory, asked, tmp_path):
    _, page = draw.write(data.from_ledger(memory.ledger, ALICE), tmp_path)[:2]
    shown = page.read_text()
    assert "2 from the weights, 1 with memories that were read, 1 with neither" in shown
    assert asked.name in shown
    for text in ("Mara", "boat", "Hello"):
        assert text not in shown
        assert text not in json.dumps(json.loads((tmp_path / "report.json").read_text())["sources"])


def test_what_was_rolled_back_since_names_no_expert(memory, asked):
    memory.rollback(ALICE, [])
    found = data.from_ledger(memory.ledger, ALICE)["sources"]
    assert [one["expert"] for one in found["sample"]] == ["", ""]


def test_where_nobody_asked_nothing_is_told(memory, tmp_path):
    written = draw.write(data.from_ledger(memory.ledger, ALICE), tmp_path)
    assert "Where answers came from" not in written[1].read_text()
