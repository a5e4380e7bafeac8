"""Lives written by hand are consistent, lived as agents live, and asked alike of every arm."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from _lives import written

import sleepmem
from sleepmem.evals.lives import report
from sleepmem.evals.lives.ask import Asked, Reply, asked, judged
from sleepmem.evals.lives.check import faults
from sleepmem.evals.lives.data import NAMES, Day, Fact, Life, Question, Turn, load
from sleepmem.evals.lives.figures import Figures, aims
from sleepmem.evals.lives.judge import gives, is_right, old_values
from sleepmem.evals.lives.play import play

OWNER = ("life",)
MATERIAL = Path(sleepmem.__file__).parent / "school" / "material"


@pytest.fixture
def life(tmp_path):
    file = tmp_path / "mara.json"
    file.write_text(json.dumps(written()))
    return load(str(file))


# The lives


@pytest.mark.parametrize("name", NAMES)
def test_a_life_is_consistent(name):
    life = load(name)
    assert faults(life) == []
    assert len(life.days) >= 7
    assert len(life.facts) >= 45
    assert len(life.questions) >= 60
    assert {question.kind for question in life.questions} == {
        "plain",
        "changed",
        "chained",
        "inverse",
        "implicit",
        "never",
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_sentence_of_a_life_is_taught_at_school(name):
    material = ""
    for file in sorted(MATERIAL.glob("*.json")):
        material += file.read_text("utf-8").lower()
    assert material
    life = load(name)
    sentences = [fact.note for fact in life.facts]
    sentences += [turn.say for day in life.days for turn in day.turns if turn.tells]
    assert [one for one in sentences if one.lower() in material] == []


def question_of(life, name, **changed):
    questions = []
    for one in life.questions:
        questions.append(replace(one, **changed) if one.id == name else one)
    return replace(life, questions=tuple(questions))


def fact_of(life, name, **changed):
    facts = [replace(one, **changed) if one.id == name else one for one in life.facts]
    return replace(life, facts=tuple(facts))


FAULTS = {
    "never told": lambda life: replace(life, days=(life.days[0], Day(date(2026, 3, 9), ()))),
    "which is a fact of day 1": lambda life: replace(
        life, days=(life.days[0], replace(life.days[1], turns=(Turn("x", ("boat", "moved")),)))
    ),
    "not after the one before": lambda life: replace(
        life, days=(life.days[0], replace(life.days[1], date=life.days[0].date))
    ),
    "a tool or a reply without": lambda life: replace(
        life, days=(life.days[0], replace(life.days[1], turns=(Turn("x", ("moved",), reply="y"),)))
    ),
    "more than once": lambda life: replace(life, questions=life.questions + life.questions[:1]),
    "does not stand in its note": lambda life: fact_of(life, "boat", value="yacht"),
    "only one of": lambda life: fact_of(life, "boat", until=1),
    "is no fact": lambda life: fact_of(life, "home", replaced_by="nothing"),
    "is replaced on day 2": lambda life: fact_of(life, "home", until=2),
    "to 3 of 2": lambda life: question_of(life, "p1", until=3),
    "when home does not hold": lambda life: question_of(life, "c1", until=2),
    "two wordings": lambda life: question_of(life, "p1", asks=("What?", "what")),
    "no form of its gold": lambda life: question_of(life, "p1", gold=("yacht",)),
    "which is wrong": lambda life: question_of(life, "p1", wrong=("boat",)),
    "yet it has gold": lambda life: question_of(life, "n1", gold=("baker",)),
    "gives its own gold": lambda life: question_of(
        life, "p1", kind="implicit", asks=("Paint the red boat.", "Paint it.")
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_consistent_is_named(life, fault):
    assert faults(life) == []
    found = faults(FAULTS[fault](life))
    assert len([one for one in found if fault in one]) >= 1, found


def test_a_key_that_there_is_not_is_refused(tmp_path):
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({**written(), "motto": "x"}))
    with pytest.raises(ValueError, match="motto"):
        load(str(file))


# The judge


@pytest.mark.parametrize(
    ("answer", "value", "given"),
    [
        ("You rehearse on Mondays.", "Monday", True),
        ("At Beryl's.", "at Beryl's", True),
        ("The 12th.", "12", False),
        ("git checkout -b pq-260/tax-code", "pq-260/", True),
        ("A branch for PQ-260, at once.", "pq-260/", False),
        ("It is 14.", "4", False),
        ("Gas.", "gate", False),
    ],
)
def test_an_answer_gives_a_value_by_its_words(answer, value, given):
    assert gives(answer, value) is given


def test_an_answer_is_right_with_any_gold_and_nothing_wrong(life):
    _, moved, _, never = life.questions
    assert is_right(moved, "She lives in Tolvik now.")
    assert not is_right(moved, "She moved from Brenport to Tolvik.")
    assert not is_right(moved, "I do not know.")
    assert is_right(never, "I do not know.")
    assert not is_right(never, "She is a baker.")
    assert old_values(life, moved) == ["Brenport"]


def test_what_was_corrected_twice_has_two_old_values():
    def fact(name, until, newer):
        return Fact(name, f"It is {name}.", 1, name, until, newer)

    def question(name, until):
        return Question(name, "changed", ("a", "b"), (name,), (), (name,), 1, until)

    facts = (fact("red", 1, "green"), fact("green", 2, "blue"), fact("blue", None, None))
    questions = (question("red", 1), question("green", 2), question("blue", None))
    life = Life("x", "", "en", (), facts, questions)
    assert sorted(old_values(life, questions[2])) == ["green", "red"]
    assert old_values(life, questions[0]) == []


# A day, and its evening


def test_a_day_is_heard_as_it_was_said(memory, life):
    for day in (1, 2):
        play(memory, OWNER, life=life, day=day)
    told = memory.ledger.episodes.all(OWNER)
    assert [(one.day, one.source, one.speaker, one.text) for one in told if one.trusted] == [
        ("2026-03-02", "user", None, "Mara lives in Brenport."),
        ("2026-03-02", "user", None, "Stock?"),
        ("2026-03-02", "user", "Ida", "Mara owns the red boat."),
        ("2026-03-04", "user", None, "Mara has moved to Tolvik."),
    ]
    (answers,) = (one.answers for one in told if one.speaker)
    assert "What else is there?" in answers
    tool, task = (one for one in told if not one.trusted)
    assert (tool.source, tool.text) == ("tool:stock", "rye: 14 sacks")
    assert task.text.splitlines()[-1] == "14 sacks of rye. What else is there?"
    looks = memory.ledger.turns.retrievals(OWNER)
    assert [look["question"] for look in looks][-1] == "Mara has moved to Tolvik."


def test_the_evening_asks_what_holds_the_same_of_every_arm(life):
    assert [one.question.id for one in asked(life, 1, seed=0)] == ["c1", "p1", "n1"]
    assert [one.question.id for one in asked(life, 2, seed=0)] == ["c2", "p1", "n1"]
    assert asked(life, 2, seed=5) == asked(life, 2, seed=5)
    assert len({asked(life, 2, seed=seed)[0].text for seed in range(9)}) == 2
    assert len(asked(life, 2, seed=0, every_wording=True)) == 6


def test_an_answer_is_judged_by_what_it_needed(life):
    moved, boat = life.questions[1:3]
    row = judged(life, 2, one=Asked(moved, "x"), reply=Reply("Tolvik.", True, 0, "Brenport."))
    assert (row["right"], row["closed_right"], row["closed_old"]) == (True, False, True)
    assert (row["earlier"], row["first"]) == (False, False)
    row = judged(life, 2, one=Asked(boat, "x"), reply=Reply("I do not know.", False, 90))
    assert (row["right"], row["abstains"], row["memory_tokens"]) == (False, True, 90)
    assert (row["earlier"], row["first"], row["closed_right"]) == (True, True, None)


# The aims


def record(arm, *, day, rows, weights=None):
    answers = []
    for number, row in enumerate(rows):
        plain = {"life": "x", "question": f"q{number}", "kind": "plain", "right": True}
        known = {"earlier": True, "first": True, "memory_tokens": 0}
        closed = {"closed": "x", "closed_right": True, "closed_old": None}
        closed |= {"closed_abstains": False, "from_weights": False}
        answers.append({**plain, **known, **closed, **row})
    own = {"weights": weights or {}, "answers": answers, "night": {}}
    return {"arm": arm, "life": "x", "day": day, "days": 2, **own}


def test_the_aims_are_of_the_last_day_and_of_retrieval():
    kinds = [{"kind": "plain"}, {"kind": "chained"}, {"kind": "never", "first": False}]
    wrong = [{**one, "right": False} for one in kinds]
    weights = {"experts": 1, "read": 9, "read_base": 10, "perplexity": 6.0, "perplexity_base": 5.0}
    ours = [{**kinds[0], "memory_tokens": 10}, {**kinds[1], "from_weights": True}, kinds[2]]
    changed = [{"kind": "changed", "closed_old": True, "first": False}]
    changed += [{**changed[0], "closed_abstains": True}, {**changed[0], "closed_old": False}]
    forgotten = [{**ours[0], "closed_right": False}, *ours[1:], *changed]
    records = [
        record("none", day=2, rows=wrong),
        record("retrieval", day=2, rows=[{**one, "memory_tokens": 100} for one in kinds]),
        record("sleepmem", day=1, rows=ours),
        record("sleepmem", day=2, rows=forgotten, weights=weights),
        record("control", day=2, rows=[kinds[0], wrong[1], wrong[2]], weights=weights),
    ]
    found = {aim.what: aim for aim in aims(Figures(records))}
    values = [
        (round(aim.value, 3), aim.is_reached) for aim in found.values() if aim.value is not None
    ]
    assert values == [
        (1.0, True),  # plain
        (1.0, False),  # chained: as good as retrieval is not above it
        (0.2, True),  # answered by the weights
        (0.017, True),  # memory tokens
        (0.0, True),  # abstention
        (0.5, False),  # kept
        (0.5, False),  # old values, where the weights say anything
        (0.9, False),  # reading
        (1.2, False),  # perplexity
        (-0.454, True),  # the control's interval above none's
        (-0.444, False),  # ours above the control's
    ]
    assert found["old values, closed-book"].asked == 2
    assert found["inverse questions, of retrieval's"].is_reached is None


def test_a_life_that_an_arm_has_not_finished_does_not_count():
    half = [record("none", day=2, rows=[{}]), record("retrieval", day=1, rows=[{}])]
    assert Figures(half).lives == []
    assert all(aim.value is None for aim in aims(Figures(half)))
    assert report.by_kind(half).row_count == 7  # and nothing of weights alone


def test_without_experts_nothing_is_said_of_them():
    base = {"experts": 0, "read": 9, "read_base": 9, "perplexity": 5.0, "perplexity_base": 5.0}
    arms = ("none", "retrieval", "sleepmem", "control")
    records = [record(arm, day=2, rows=[{}], weights=base) for arm in arms]
    unknown = [aim.what for aim in aims(Figures(records)) if aim.value is None]
    for what in ("reading", "perplexity", "another life's"):
        assert any(one.startswith(what) for one in unknown)
