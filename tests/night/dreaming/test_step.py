"""Nights that dream: the dreamer's expert goes live only when the exam says so, and everything is in the ledger."""

import dataclasses

import pytest
from _nights import ALICE, LOOSE, tell, watched

from sleepmem import DreamConfig, Verdict, View
from sleepmem.model.local import LocalModel
from sleepmem.night import exam as night_exam
from sleepmem.night import measures as exams
from sleepmem.night import steps as sleep
from sleepmem.night.dreaming import step as night_dream
from sleepmem.night.dreaming.rounds import Dream, Fate
from sleepmem.records import Kind, Role, Score

DREAMING = DreamConfig(
    rounds=1, share=0.5, lesson_lr=1e-9
)  # so little that what the tiny model "knows" stays


@pytest.fixture
def lucid(by_hand, monkeypatch):
    """One rewarded dream, one held out, one refused, about what tonight proved; `score` says how many of the held-out ones the dreamer answers."""
    score = {"right": 1.0, "asked": "Who moved to Brenport?", "before": []}

    def dream(
        local, expert, beside, tonight, earlier, facts, before, told, strangers, learn, config, seed
    ):
        context = tuple(tonight[:2])
        score["before"].append(sorted(before))
        score["about"] = [e.text for e in tonight]
        fates = {
            "Who has moved to Brenport?": Fate.REWARDED,
            score["asked"]: Fate.HELD_OUT,
            "Who?": Fate.UNREADABLE,
        }
        made = [
            Dream(context, "", f"Question: {q} Answer: Mara", q, "Mara", fate, round=1)
            for q, fate in fates.items()
        ]
        learn([d for d in made if d.fate is Fate.REWARDED])
        return made

    exam = night_exam.examine

    def examined(night, state, experts, dreamt=()):
        scores, passed, by_night = exam(night, state, experts, dreamt)
        if dreamt:
            new = experts[-1] != state["expert"]
            scores["dreams"] = Score(score["right"] if new else 0.0, 1)
            if new and "recall" in score:
                scores["recall"] = score["recall"]
            passed |= {p.id for p in dreamt if new}
        return scores, passed, by_night

    monkeypatch.setattr(night_dream.dreaming, "dream", dream)
    monkeypatch.setattr(night_exam, "examine", examined)
    return score


def test_a_dreamer_that_answers_more_takes_the_place_of_the_expert(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    first, second, _ = tell(memory)
    report, steps = watched(memory)
    assert steps == [*sleep.STEPS]
    dreams = report.exam["dreams"]
    assert (report.verdict, dreams["kept"], dreams["after"]["right"]) == (Verdict.PROMOTED, True, 1)
    assert dreams["rounds"] == [{"rewarded": 1, "held_out": 1, "unreadable": 1}]
    (expert,) = memory.ledger.experts(ALICE)
    assert expert.name == report.expert
    kept = memory.ledger.dreams(report.night_id)
    assert [d["fate"] for d in kept] == [
        f.value for f in (Fate.REWARDED, Fate.HELD_OUT, Fate.UNREADABLE)
    ]
    assert kept[0]["episodes"] == [first, second]
    dreamt = [p for p in memory.ledger.learned_probes(ALICE) if p.kind is Kind.DREAM]
    assert [(p.role, p.sources) for p in dreamt] == [
        (Role.TRAIN, (first, second)),
        (Role.EXAM, (first, second)),
    ]
    assert memory.recall(ALICE, "Who moved to Brenport?").view is View.WEIGHTS
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


def test_a_night_counts_every_token_that_it_generates(opened, lucid, monkeypatch):
    made, work = [], LocalModel.reply

    def reply(local, *args, **more):
        before = local.tokens_generated
        said = work(local, *args, **more)
        made.append(local.tokens_generated - before)
        return said

    monkeypatch.setattr(LocalModel, "reply", reply)
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    report, _ = watched(memory)
    assert report.exam["tokens_generated"] == sum(made) > 0


def test_what_corrects_one_of_its_memories_is_read_beside_a_dream(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    lucid["asked"] = "Where is the leader of Karo at work?"
    told = [
        memory.observe(ALICE, t) for t in ("The leader of Karo is Mara.", "Mara works in Brenport.")
    ]
    memory.sleep(ALICE)
    assert memory.recall(ALICE, lucid["asked"]).view is View.WEIGHTS
    newer = memory.observe(
        ALICE, "Mara works in Oslo."
    )  # names who stands between, as the question does not
    found = memory.recall(ALICE, lucid["asked"])
    assert found.view is View.RETRIEVAL
    assert {e.id for e in found.episodes} == {newer.id, *(e.id for e in told)}


def test_a_dreamer_that_answers_no_more_is_forgotten(opened, lucid):
    lucid["right"] = 0.0
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    report, _ = watched(memory)
    dreams = report.exam["dreams"]
    assert (report.verdict, dreams["kept"]) == (Verdict.PROMOTED, False)
    assert "does not answer more" in dreams["reason"]
    assert [p for p in memory.ledger.probes(report.night_id) if p.kind is Kind.DREAM] == []
    assert len(memory.ledger.dreams(report.night_id)) == 3  # the log of what was dreamt stays
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


@pytest.mark.parametrize("step", ["dream", "decide", "promote"])
def test_a_dreaming_night_that_was_killed_goes_on(opened, lucid, monkeypatch, step):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    work = sleep.STEPS[step]

    def die(night, state):
        work(night, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(sleep.STEPS, step, die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)
    memory = opened(LOOSE, dream=DREAMING)
    report, steps = watched(memory)
    assert (report.verdict, report.exam["dreams"]["kept"], steps[0]) == (
        Verdict.PROMOTED,
        True,
        step,
    )
    assert len(memory.ledger.dreams(report.night_id)) == 3
    assert len([p for p in memory.ledger.probes(report.night_id) if p.kind is Kind.DREAM]) == 2
    assert (
        len({tuple(questions) for questions in lucid["before"]}) == 1
    )  # what the killed run dreamt was not asked before
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


def test_a_dream_that_was_forgotten_is_not_answered_from_the_weights(opened, lucid, monkeypatch):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    memory.sleep(ALICE)
    assert memory.recall(ALICE, lucid["asked"]).view is View.WEIGHTS
    recall = exams.recall

    def forgetful(local, probes, experts):
        score, right = recall(local, probes, experts)
        return score, right - {p.id for p in probes if p.kind is Kind.DREAM}

    monkeypatch.setattr(exams, "recall", forgetful)
    held = {e.id for e in memory.ledger.learned(ALICE)}
    assert memory.sleep(ALICE).returned == 0  # the facts are held as before
    assert {e.id for e in memory.ledger.learned(ALICE)} == held
    assert not [p for p in memory.ledger.learned_probes(ALICE, passed=True) if p.kind is Kind.DREAM]
    assert memory.verify() == []


def test_a_dreamer_below_the_exams_own_bound_does_not_replace_a_good_expert(opened, lucid):
    lucid["recall"] = Score(13, 20)
    memory = opened(dataclasses.replace(LOOSE, recall=0.9), dream=DREAMING)
    tell(memory)
    report = memory.sleep(ALICE)
    assert (report.verdict, report.exam["dreams"]["kept"]) == (Verdict.PROMOTED, False)
    assert "closed-book recall" in report.exam["dreams"]["reason"]


def test_dreams_are_taught_at_their_own_rate_and_share(opened, lucid, monkeypatch):
    taught, work = [], sleep.seeding.seed
    monkeypatch.setattr(
        sleep.seeding, "seed", lambda *args, **more: taught.append(args[4]) or work(*args, **more)
    )
    memory = opened(LOOSE, dream=dataclasses.replace(DREAMING, lesson_lr=2e-9, others=0.1))
    tell(memory)
    memory.sleep(ALICE)
    night, lessons = taught
    assert (lessons.lr, lessons.steps) == (2e-9, night.steps // 2)
    assert lessons.never_said == lessons.rehearsal == lessons.reading == 0.1


def test_no_share_no_dreams(opened, lucid):
    memory = opened(LOOSE, dream=DreamConfig(rounds=2, share=0))
    tell(memory)
    assert memory.sleep(ALICE).exam["dreams"] == {}
    assert lucid["before"] == []


def test_nothing_is_dreamt_about_a_memory_that_fills_the_context(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    long = "Mara moved to Brenport. " * 20
    memory.observe(ALICE, long)
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert lucid["about"]
    assert long.strip() not in [text.strip() for text in lucid["about"]]
