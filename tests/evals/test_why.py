"""What is counted of why an answer is given, and its table."""

import pytest

from sleepmem import SleepMemory
from sleepmem.day.why import Ablation, Why
from sleepmem.embedded.world import Fact
from sleepmem.evals import why
from sleepmem.records import Citation, Look, Provenance, Recall, View


def judged(**changed):
    values = {
        "question": "Where?",
        "answer": "Oslo.",
        "wanted": "Oslo.",
        "is_right": True,
        "goes": True,
        "stays": True,
        "stays_earlier": True,
        "stays_later": True,
        "is_proven": True,
        "comes": True,
        "is_night": True,
        "is_episode": True,
        "named": "one",
        "without": {"one": "Bergen."},
    }
    return why.Judged(**{**values, **changed})


def test_shares_are_of_all_that_the_weights_answered():
    found = [judged(), judged(goes=False, is_proven=False), judged(is_night=False), judged()]
    measured = why.scores(found)
    assert measured["proven: goes and stays"].as_dict() == {"right": 3.0, "total": 4, "rate": 0.75}
    assert measured["named night taught it"].right == 3
    row = next(line for line in why.table(measured).splitlines() if "proven" in line)
    assert row == "| proven: goes and stays | 3 | 4 | 0.750 | 0.301 to 0.954 |"


@pytest.mark.parametrize("goes", [("one",), ("one", "two"), ("two",), ()])
def test_a_judgement_tells_which_experts_an_answer_goes_without(memory, monkeypatch, goes):
    ablations = []
    for name in ("one", "two"):
        ablations.append(Ablation(name, "Bergen." if name in goes else "Oslo.", name not in goes))
    recalled = Recall(View.WEIGHTS, "near")
    traced = Provenance(
        View.WEIGHTS, "near", Look.FIRST, (Citation("e1", "2030-01-01"),), "one", "night-0001", "p"
    )
    found = Why(
        "Where?", "Oslo.", recalled, traced, "Where?", (), (), tuple(ablations), goes == ("one",)
    )
    monkeypatch.setattr(SleepMemory, "recall", lambda *given, **named: recalled)
    monkeypatch.setattr(SleepMemory, "why", lambda *given: found)
    said = {(): "Bergen.", ("one",): "Oslo."}
    memory.local.answer = lambda chats, experts: [said[tuple(experts)]]
    told = why.Told(Fact("Mara", "city", "Oslo"), "e1", "night-0001")
    one = why._judge(memory, told, "Where?")
    assert (one.goes, one.stays) == ("one" in goes, "two" not in goes)
    assert (one.stays_earlier, one.stays_later) == (True, "two" not in goes)
    assert one.is_proven is (goes == ("one",))
    assert one.without == dict.fromkeys(goes, "Bergen.")
    assert one.comes
    said[()] = "Oslo."
    assert not why._judge(memory, told, "Where?").comes
    assert (one.is_right, one.is_night, one.is_episode) == (True, True, True)
    other = why._judge(memory, told._replace(episode="e2", night="night-0002"), "Where?")
    assert (other.is_night, other.is_episode) == (False, False)
    monkeypatch.setattr(
        SleepMemory, "recall", lambda *given, **named: Recall(View.RETRIEVAL, "far")
    )
    assert why._judge(memory, told, "Where?") is None
