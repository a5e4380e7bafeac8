"""Nights of slower levels: several experts become one, and nothing that was learned is lost."""

import threading

import pytest
import torch
from _nights import ALICE, LEVELS, LOOSE, buffered, watched
from safetensors.torch import load_file

from sleepmem import ConfigError, ExamConfig, SleepConfig, Verdict
from sleepmem.night import exam, graph, measures, promotion, seeding, steps
from sleepmem.records import Kind
from sleepmem.text.language import words
from sleepmem.text.subjects import rare

SLOW = LEVELS[:2]  # every second night


def live(memory):
    return [(e.level, e.rank) for e in memory.ledger.lineage.experts(ALICE)]


def learn(memory, number):
    """One fact, one night."""
    told = memory.observe(
        ALICE, f"Mara saw whale {number}.", created_at=f"2030-01-{number:02d}T00:00:00.000000+00:00"
    )
    return told.id, *watched(memory)


def test_a_slow_night_makes_one_expert_of_the_fast_ones(opened, by_hand):
    memory = opened(levels=SLOW)
    first, report, _ = learn(memory, 1)
    assert (report.level, report.slower, live(memory)) == ("fast", (), [("fast", 2)])
    second, report, taken = learn(memory, 2)
    (slow,) = report.slower
    assert taken == [*steps.STEPS] * 2
    assert (slow.verdict, slow.level, slow.absorbed, slow.episodes, slow.returned) == (
        Verdict.PROMOTED,
        "slow",
        2,
        2,
        0,
    )
    assert live(memory) == [("slow", 3)]
    (expert,) = memory.ledger.lineage.experts(ALICE)
    fast = [e for e in memory.ledger.lineage.experts(ALICE, live=False) if e.level == "fast"]
    assert expert.lineage == tuple(e.name for e in fast)
    assert {e.id for e in memory.ledger.episodes.learned(ALICE)} == {first, second}
    assert {p.night_id for p in memory.ledger.nights.learned_probes(ALICE)} == {slow.night_id}
    assert buffered(memory) == []
    assert memory.verify() == []
    assert memory.live_experts(ALICE) == (expert.name,)


def test_the_days_model_lets_go_of_what_was_absorbed_a_night_later(opened, by_hand):
    memory = opened(levels=SLOW)
    held = []
    for n in (1, 2, 3):
        learn(memory, n)
        now = memory.live_experts(ALICE)
        held.append(len(memory.local.experts))
        assert set(now) <= set(memory.local.experts)
    assert held == [1, 2, 2]  # one; it and the slow one; the slow one and the third night's
    assert memory.rollback(ALICE, ["night-0001"]) != []
    assert set(memory.live_experts(ALICE)) <= set(memory.local.experts)


def test_a_slow_night_examines_what_the_fast_ones_kept_for_exams_and_teaches_the_rest(
    opened, by_hand, monkeypatch
):
    taught = []
    work = seeding.seed

    def watch(local, lesson, **more):
        taught.append((lesson.before, lesson.rows, lesson.absorbed))
        return work(local, lesson, **more)

    monkeypatch.setattr(seeding, "seed", watch)
    memory = opened(levels=SLOW)
    for n in (1, 2):
        learn(memory, n)
    before, rows, absorbed = taught[-1]
    assert (
        list(before)
        == absorbed
        == [e.name for e in memory.ledger.lineage.experts(ALICE, live=False) if e.level == "fast"]
    )
    probes = memory.ledger.nights.learned_probes(ALICE)
    told = {w for e in memory.ledger.episodes.all(ALICE) for w in words(e.text)}
    unsaid = [p for p in probes if p.kind is Kind.NEVER_SAID]
    assert unsaid
    assert not any(
        rare(p.question) & told for p in unsaid
    )  # the tiny model cannot abstain, so of nobody told about it is sure that all is unsaid still
    assert {Kind.FACT, Kind.READING} <= {p.kind for p in probes}
    asked = {r.student[-1]["content"] for r in rows}
    for p in probes:
        assert (p.question in asked) == (p.role == "train")
    rehearsed = [r for r in rows if r.kind == "rehearsal"]
    assert {r.student[0]["content"] for r in rehearsed} <= {
        p.question for p in probes if p.kind is Kind.FACT
    }


def test_levels_stack(opened, by_hand):
    memory = opened(levels=LEVELS)
    for n in (1, 2, 3, 4):
        _, report, _ = learn(memory, n)
    assert [r.level for r in report.slower] == ["slow", "deep"]
    assert live(memory) == [("deep", 5)]
    assert len(memory.ledger.episodes.learned(ALICE)) == 4
    _, report, _ = learn(memory, 5)
    assert live(memory) == [("deep", 5), ("fast", 2)]
    assert memory.verify() == []


def test_what_a_slow_night_does_not_prove_goes_back_to_the_buffer(opened, by_hand, monkeypatch):
    memory = opened(levels=SLOW)
    first, _, _ = learn(memory, 1)
    proven = exam.proven_episodes
    monkeypatch.setattr(
        exam,
        "proven_episodes",
        lambda probes, passed, notes: [
            i for i in proven(probes, passed, notes=notes) if i != first
        ],
    )
    second, report, _ = learn(memory, 2)
    (slow,) = report.slower
    assert (slow.verdict, slow.returned) == (Verdict.PROMOTED, 1)
    assert buffered(memory) == [first]
    assert memory.buffer.ids(ALICE) == {first}
    assert [e.id for e in memory.ledger.episodes.learned(ALICE)] == [second]
    assert memory.verify() == []


def test_a_rejected_slow_night_leaves_the_fast_experts_and_is_not_tried_every_night(
    opened, by_hand, monkeypatch
):
    memory = opened(levels=SLOW)
    learn(memory, 1)
    decide, calls = promotion.decide, []

    def strict(before, after, *, config):
        calls.append(after)
        return (Verdict.REJECTED, "so") if len(calls) == 2 else decide(before, after, config=config)

    monkeypatch.setattr(promotion, "decide", strict)
    _, report, _ = learn(memory, 2)
    assert [(r.verdict, r.reason) for r in report.slower] == [(Verdict.REJECTED, "so")]
    assert live(memory) == [("fast", 2)] * 2
    assert len(memory.ledger.episodes.learned(ALICE)) == 2
    _, report, _ = learn(memory, 3)
    assert report.slower == ()
    _, report, _ = learn(memory, 4)
    assert [(r.verdict, r.absorbed) for r in report.slower] == [(Verdict.PROMOTED, 4)]
    assert memory.verify() == []


def test_rolling_back_a_slow_night_brings_the_fast_experts_back(opened, by_hand):
    memory = opened(levels=SLOW)
    told = {learn(memory, n)[0] for n in (1, 2)}
    fast = [
        e.night_id for e in memory.ledger.lineage.experts(ALICE, live=False) if e.level == "fast"
    ]
    assert memory.rollback(ALICE, fast) == []
    assert live(memory) == [("fast", 2)] * 2
    assert {e.id for e in memory.ledger.episodes.learned(ALICE)} == told
    assert buffered(memory) == []
    assert memory.verify() == []


def test_rolling_back_to_a_night_after_a_slow_one_keeps_what_it_absorbed_off(
    opened, by_hand, monkeypatch
):
    memory = opened(levels=SLOW)
    first, _, _ = learn(memory, 1)
    recall = measures.recall

    def forgetful(local, probes, *, experts):
        score, passed = recall(local, probes, experts=experts)
        return score, passed - {p.id for p in probes if p.episode_id == first}

    monkeypatch.setattr(measures, "recall", forgetful)
    second, _, _ = learn(memory, 2)  # the slow night does not prove the first
    nights = [e.night_id for e in memory.ledger.lineage.experts(ALICE, live=False)]
    assert memory.rollback(ALICE, nights) == []
    assert live(memory) == [("slow", 3)]
    assert ([e.id for e in memory.ledger.episodes.learned(ALICE)], buffered(memory)) == (
        [second],
        [first],
    )
    assert memory.verify() == []


def test_a_slow_night_that_dies_right_after_its_transaction_is_finished_as_promoted(
    opened, by_hand, monkeypatch
):
    memory = opened(levels=SLOW)
    learn(memory, 1)
    memory.observe(ALICE, "Mara saw whale 2.")
    work = steps.STEPS["promote"]

    def die(night, state):
        added = work(night, state)
        if state["tonight"]["level"] == "slow":
            raise KeyboardInterrupt
        return added

    with monkeypatch.context() as patch:
        patch.setitem(steps.STEPS, "promote", die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)
    memory = opened(levels=SLOW)
    report, taken = watched(memory)
    assert (report.level, report.verdict, taken[0]) == ("slow", Verdict.PROMOTED, "promote")
    assert live(memory) == [("slow", 3)]
    assert memory.verify() == []


def test_a_slow_night_that_never_began_is_made_up_for(opened, by_hand, monkeypatch):
    memory = opened(levels=SLOW)
    learn(memory, 1)
    memory.observe(ALICE, "Mara saw whale 2.")
    work = graph.run_night

    def die(night, owner, *, on_event=None, level=None, review=None):
        if level:
            raise KeyboardInterrupt
        return work(night, owner, on_event=on_event, level=level)

    with monkeypatch.context() as patch:
        patch.setattr(graph, "run_night", die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)
    assert live(memory) == [("fast", 2)] * 2
    report, _ = watched(memory)
    assert (report.verdict, [r.verdict for r in report.slower]) == (
        Verdict.SKIPPED,
        [Verdict.PROMOTED],
    )
    assert live(memory) == [("slow", 3)]


def test_a_rejected_slow_night_is_not_tried_again_at_once(opened, by_hand, monkeypatch):
    memory = opened(levels=SLOW)
    learn(memory, 1)
    with monkeypatch.context() as patch:
        patch.setitem(
            steps.STEPS,
            "decide",
            lambda night, state: {
                "decided": {
                    "verdict": "promoted" if state["tonight"]["level"] == "fast" else "rejected",
                    "reason": "r",
                }
            },
        )
        _, report, _ = learn(memory, 2)
    assert [r.verdict for r in report.slower] == [Verdict.REJECTED]
    report, _ = watched(memory)
    assert (report.verdict, report.slower) == (Verdict.SKIPPED, ())


def test_an_interrupted_slow_night_goes_on(opened, by_hand, monkeypatch):
    memory = opened(levels=SLOW)
    learn(memory, 1)
    memory.observe(ALICE, "Mara saw whale 2.")
    work, calls = steps.STEPS["seed"], []

    def die(night, state):
        calls.append(state["tonight"]["level"])
        if state["tonight"]["level"] == "slow":
            raise KeyboardInterrupt
        return work(night, state)

    monkeypatch.setitem(steps.STEPS, "seed", die)
    with pytest.raises(KeyboardInterrupt):
        memory.sleep(ALICE)
    assert calls == ["fast", "slow"]
    monkeypatch.setitem(steps.STEPS, "seed", work)
    memory = opened(levels=SLOW)
    assert live(memory) == [("fast", 2)] * 2
    report, taken = watched(memory)
    assert (report.level, report.verdict, taken[0]) == ("slow", Verdict.PROMOTED, "seed")
    assert live(memory) == [("slow", 3)]


def test_a_night_that_is_told_to_stop_stops_and_goes_on_later(opened, by_hand):
    memory, stop, seen = opened(levels=SLOW), threading.Event(), []
    memory.observe(ALICE, "Mara saw whale 1.")

    def watch(event):
        seen.append(event)
        if event["step"] == "seed" and "loss" in event:
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        memory.sleep(ALICE, on_event=watch, stop=stop)
    assert not any(e.get("state") == "finished" and e["step"] == "exam" for e in seen)
    report, taken = watched(memory)
    assert (report.night_id, report.verdict) == ("night-0001", Verdict.PROMOTED)
    assert taken[0] in ("seed", "exam")


def test_an_interrupted_night_of_an_unknown_level_says_so(opened, by_hand, monkeypatch):
    memory = opened(LOOSE, levels=SLOW)
    learn(memory, 1)
    memory.observe(ALICE, "Mara saw whale 2.")

    def die(night, state):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(steps.STEPS, "exam", die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)
    memory = opened(ExamConfig(), levels=(LEVELS[0].__class__("other", 1, 2, 0),))
    report, _ = watched(memory)
    assert (report.verdict, "fast" in report.reason, "SleepConfig.levels" in report.reason) == (
        Verdict.FAILED,
        True,
        True,
    )


def test_without_expansion_one_expert_is_trained_on_and_on(opened, by_hand):
    memory = opened(expand=False)
    first, _, _ = learn(memory, 1)
    second, report, _ = learn(memory, 2)
    assert (report.verdict, report.absorbed, report.episodes, report.evicted, report.returned) == (
        Verdict.PROMOTED,
        1,
        2,
        1,
        0,
    )
    assert live(memory) == [("fast", 2)]
    old, new = memory.ledger.lineage.experts(ALICE, live=False)
    before, after = (
        load_file(memory.folder / "experts" / e.name / "adapter_model.safetensors")
        for e in (old, new)
    )
    assert all(
        torch.allclose(after[n], before[n], atol=1e-6) for n in before
    )  # it began as the first; the learning rate is next to nothing
    assert {e.id for e in memory.ledger.episodes.learned(ALICE)} == {first, second}
    assert (buffered(memory), memory.verify()) == ([], [])


def test_without_expansion_there_are_no_slower_levels():
    with pytest.raises(ConfigError, match="nothing to take in"):
        SleepConfig(expand=False)
