import pytest
import torch
from _values import probe

from sleepmem.config import ModelConfig
from sleepmem.model.local import LocalModel
from sleepmem.night import measures
from sleepmem.records import Kind
from sleepmem.text.prompts import closed_book, open_book

QUESTIONS = ["Where does Mara live?", "Who owns the red boat?"]


@pytest.fixture(scope="module")
def local(tiny):
    made = LocalModel(tiny, ModelConfig(device="cpu"))
    made.add_expert("loud", 4)
    made.add_expert("broken", 4)
    torch.manual_seed(1)
    with torch.no_grad():
        for n, p in made.peft.named_parameters():
            if ".loud." in n:
                p.normal_(std=0.3)
            elif ".broken." in n:
                p.fill_(torch.nan)
    return made


def said(local, experts=()):
    return local.answer([closed_book(q) for q in QUESTIONS], experts)


def test_recall_counts_and_names_what_was_right(local):
    asked = [probe(0, "e", QUESTIONS[0], said(local)[0]), probe(1, "e", QUESTIONS[1], "zyzzyva")]
    score, right = measures.recall(local, asked, experts=())
    assert (score.right, score.total, right) == (1, 2, {asked[0].id})


def test_an_exam_is_of_the_experts_that_are_on(local):
    asked = [
        probe(n, "e", q, a)
        for n, (q, a) in enumerate(zip(QUESTIONS, said(local, ["loud"]), strict=True))
    ]
    assert measures.recall(local, asked, experts=["loud"])[0].right == 2
    assert measures.recall(local, asked, experts=())[0].right == 0


def test_abstention_counts_what_admits_not_to_know(local, monkeypatch):
    monkeypatch.setattr(
        local,
        "answer",
        lambda chats, experts: ["I do not know.", "Brenport.", "I have no idea."][: len(chats)],
    )
    score = measures.abstention(local, ["a?", "b?", "c?"], experts=())
    assert (score.right, score.total) == (2, 3)


def test_superseded_counts_the_old_value_among_corrections_only(local):
    old = probe(0, "e", QUESTIONS[0], "zyzzyva", stale=said(local)[0])
    new = probe(1, "e", QUESTIONS[1], said(local)[1], stale="zyzzyva")
    plain = probe(2, "e", QUESTIONS[1], said(local)[1])
    assert measures.superseded(local, [old, new, plain], experts=()).as_dict() == {
        "right": 1,
        "total": 2,
        "rate": 0.5,
    }


def test_reading_is_answered_from_its_own_messages(local):
    lines = ("2030-01-01: Mara lives in Oslo.", "2030-01-02: Mara lives in Rome.")
    made = local.answer([open_book(QUESTIONS[0], lines)])[0]
    assert made != said(local)[0]
    right = probe(0, "e", QUESTIONS[0], made, kind=Kind.READING, context=lines)
    wrong = probe(1, "e", QUESTIONS[0], made, kind=Kind.READING)
    assert measures.reading(local, [right, wrong], experts=()).rate == 0.5


def test_general_kl_is_zero_for_the_base_alone(local):
    assert measures.general_kl(local, ()).right == pytest.approx(0, abs=1e-6)
    assert measures.general_kl(local, ["loud"]).right > 0.1


def test_a_broken_expert_has_moved(local):
    assert not measures.general_kl(local, ["broken"]).right <= 100


def test_nothing_to_ask_is_no_failure(local):
    assert measures.recall(local, [], experts=())[0].total == 0
    assert measures.reading(local, [], experts=()).rate == 1.0
