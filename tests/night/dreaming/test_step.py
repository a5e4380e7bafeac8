"""Nights that dream: the dreamer goes live only when the exam says so, and all is in the ledger."""

import dataclasses

import pytest
from _nights import ALICE, LOOSE, tell, watched

from sleepmem import DreamConfig, PolicyConfig, Verdict, View
from sleepmem.model.local import LocalModel
from sleepmem.night import exam as exams
from sleepmem.night import measures, seeding, steps
from sleepmem.night.dreaming import rounds
from sleepmem.night.dreaming.dream import Dream, Fate
from sleepmem.records import Kind, Role, Score

# Learned so little that what the tiny model "knows" stays.
DREAMING = DreamConfig(rounds=1, share=0.5, lesson_lr=1e-9)


@pytest.fixture
def lucid(by_hand, monkeypatch):
    """Three dreams about what tonight proved, without a model: rewarded, held out and refused.

    right, recall     what the dreamer gets: held-out dreams; of tonight's facts, when it is set
    held_out          the question that is held out
    questions, about  what the rounds were given: the questions asked before, tonight's texts
    """
    script = {"right": 1.0, "held_out": "Who moved to Brenport?", "questions": [], "about": []}

    def dream(dreamer, material, *, learn, config, seed):
        script["questions"].append(sorted(material.questions))
        script["about"] = [episode.text for episode in material.tonight]
        fates = {
            "Who has moved to Brenport?": Fate.REWARDED,
            script["held_out"]: Fate.HELD_OUT,
            "Who?": Fate.UNREADABLE,
        }
        context, dreams = tuple(material.tonight[:2]), []
        for question, fate in fates.items():
            text = f"Question: {question} Answer: Mara"
            dreams.append(Dream(context, "", text, question, "Mara", fate, round=1))
        learn([one for one in dreams if one.fate is Fate.REWARDED])
        return dreams

    examine = exams.examine

    def examined(night, state, *, experts, dreamt=()):
        sitting = examine(night, state, experts=experts, dreamt=dreamt)
        if not dreamt:
            return sitting
        is_dreamer = experts[-1] != state["selected"]["expert"]
        scores = {**sitting.scores, "dreams": Score(script["right"] if is_dreamer else 0.0, 1)}
        if not is_dreamer:
            return sitting._replace(scores=scores)
        scores["recall"] = script.get("recall", scores["recall"])
        passed = sitting.passed | {probe.id for probe in dreamt}
        return sitting._replace(scores=scores, passed=passed)

    monkeypatch.setattr(rounds, "dream", dream)
    monkeypatch.setattr(exams, "examine", examined)
    return script


def dream_probes(probes):
    return [probe for probe in probes if probe.kind is Kind.DREAM]


def test_a_dreamer_that_answers_more_takes_the_place_of_the_expert(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    first, second, _ = tell(memory)
    report, started = watched(memory)
    assert started == [*steps.STEPS]
    dreams, nights = report.dreams, memory.ledger.nights
    assert (report.verdict, dreams["kept"], dreams["after"]["right"]) == (Verdict.PROMOTED, True, 1)
    assert dreams["rounds"] == [{"rewarded": 1, "held_out": 1, "unreadable": 1}]
    (expert,) = memory.ledger.lineage.experts(ALICE)
    assert expert.name == report.expert

    rows = nights.dreams(report.night_id)
    fates = (Fate.REWARDED, Fate.HELD_OUT, Fate.UNREADABLE)
    assert [row["fate"] for row in rows] == [fate.value for fate in fates]
    assert rows[0]["episodes"] == [first, second]
    probes = dream_probes(nights.learned_probes(ALICE))
    assert [(probe.role, probe.sources) for probe in probes] == [
        (Role.TRAIN, (first, second)),
        (Role.EXAM, (first, second)),
    ]
    assert memory.recall(ALICE, "Who moved to Brenport?").view is View.WEIGHTS
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


def test_a_night_counts_every_token_that_it_generates(opened, lucid, monkeypatch):
    counts, reply = [], LocalModel.reply

    def counted(local, *arguments, **settings):
        before = local.tokens_generated
        replies = reply(local, *arguments, **settings)
        counts.append(local.tokens_generated - before)
        return replies

    monkeypatch.setattr(LocalModel, "reply", counted)
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    report, _ = watched(memory)
    assert report.tokens_generated == sum(counts) > 0


def test_what_corrects_one_of_its_memories_is_read_beside_a_dream(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    lucid["held_out"] = "Where is the leader of Karo at work?"
    told = []
    for text in ("The leader of Karo is Mara.", "Mara works in Brenport."):
        told.append(memory.observe(ALICE, text).id)
    memory.sleep(ALICE)
    assert memory.recall(ALICE, lucid["held_out"]).view is View.WEIGHTS

    # It names who stands between, as the question does not.
    newer = memory.observe(ALICE, "Mara works in Oslo.").id
    recall = memory.recall(ALICE, lucid["held_out"])
    assert recall.view is View.RETRIEVAL
    assert {episode.id for episode in recall.episodes} == {newer, *told}


def test_a_dreamer_that_answers_no_more_is_forgotten(opened, lucid):
    lucid["right"] = 0.0
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    report, _ = watched(memory)
    nights = memory.ledger.nights
    assert (report.verdict, report.dreams["kept"]) == (Verdict.PROMOTED, False)
    assert "does not answer more" in report.dreams["reason"]
    assert dream_probes(nights.probes(report.night_id)) == []
    # The log of what was dreamt stays.
    assert len(nights.dreams(report.night_id)) == 3
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


@pytest.mark.parametrize("step", ["dream", "decide", "promote"])
def test_a_dreaming_night_that_was_killed_goes_on(opened, lucid, monkeypatch, step):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    work = steps.STEPS[step]

    def die(night, state):
        work(night, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(steps.STEPS, step, die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)

    memory = opened(LOOSE, dream=DREAMING)
    report, started = watched(memory)
    nights = memory.ledger.nights
    assert started[0] == step
    assert (report.verdict, report.dreams["kept"]) == (Verdict.PROMOTED, True)
    assert len(nights.dreams(report.night_id)) == 3
    assert len(dream_probes(nights.probes(report.night_id))) == 2
    # What the killed run dreamt counts as asked by none.
    assert len({tuple(questions) for questions in lucid["questions"]}) == 1
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []


def test_a_dream_that_was_forgotten_is_not_answered_from_the_weights(opened, lucid, monkeypatch):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    memory.sleep(ALICE)
    assert memory.recall(ALICE, lucid["held_out"]).view is View.WEIGHTS
    recall = measures.recall

    def forgetful(local, probes, *, experts):
        score, right = recall(local, probes, experts=experts)
        return score, right - {probe.id for probe in dream_probes(probes)}

    monkeypatch.setattr(measures, "recall", forgetful)
    ledger = memory.ledger
    held = {episode.id for episode in ledger.episodes.learned(ALICE)}
    # The facts are held as before.
    assert memory.sleep(ALICE).returned == 0
    assert {episode.id for episode in ledger.episodes.learned(ALICE)} == held
    assert dream_probes(ledger.nights.learned_probes(ALICE, passed=True)) == []
    assert memory.verify() == []


def test_a_dreamer_below_the_exams_own_bound_does_not_replace_a_good_expert(opened, lucid):
    lucid["recall"] = Score(13, 20)
    memory = opened(dataclasses.replace(LOOSE, recall=0.9), dream=DREAMING)
    tell(memory)
    report = memory.sleep(ALICE)
    assert (report.verdict, report.dreams["kept"]) == (Verdict.PROMOTED, False)
    assert "closed-book recall" in report.dreams["reason"]


def test_dreams_are_taught_at_their_own_rate_and_share(opened, lucid, monkeypatch):
    configs, seed = [], seeding.seed

    def recorded(local, lesson, *, config, **settings):
        configs.append(config)
        return seed(local, lesson, config=config, **settings)

    monkeypatch.setattr(seeding, "seed", recorded)
    memory = opened(LOOSE, dream=dataclasses.replace(DREAMING, lesson_lr=2e-9, others=0.1))
    tell(memory)
    memory.sleep(ALICE)
    night, dreams = configs
    assert (dreams.lr, dreams.steps) == (2e-9, night.steps // 2)
    assert dreams.never_said == dreams.rehearsal == dreams.reading == 0.1


def test_no_share_no_dreams(opened, lucid):
    memory = opened(LOOSE, dream=DreamConfig(rounds=2, share=0))
    tell(memory)
    assert memory.sleep(ALICE).dreams == {}
    assert lucid["questions"] == []


def test_nothing_is_dreamt_about_a_memory_that_fills_the_context(opened, lucid):
    memory = opened(LOOSE, dream=DREAMING)
    tell(memory)
    long = "Mara moved to Brenport. " * 20
    memory.observe(ALICE, long)
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert lucid["about"]
    assert long.strip() not in [text.strip() for text in lucid["about"]]


def test_nothing_is_dreamt_about_what_a_rule_holds_by_now(opened, lucid, monkeypatch):
    memory = opened(LOOSE)
    kept = memory.observe(ALICE, "Ana is at ana.ruiz@example.org.")
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert memory.ledger.episodes.learned(ALICE) == [kept]

    earlier, dream = [], rounds.dream

    def recorded(dreamer, material, **how):
        earlier.extend(material.earlier)
        return dream(dreamer, material, **how)

    monkeypatch.setattr(rounds, "dream", recorded)
    memory = opened(LOOSE, policy=PolicyConfig(), dream=DREAMING)
    told = tell(memory)
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert lucid["about"]
    assert kept.id not in {one.id for one in earlier}
    assert {one.id for one in earlier} <= set(told)
