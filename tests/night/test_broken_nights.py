"""Nights that are killed, fail or are stopped leave nothing half done (see `_nights.py`)."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TypedDict

import pytest
from _nights import ALICE, buffered, config, hand_made, tell, watched
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph

from sleepmem import SleepMemory, Verdict
from sleepmem.night import steps
from sleepmem.night.probing import probe as probing
from sleepmem.stores.expert_folder import write_checksums

BOB = ("bob",)
STEPS = list(steps.STEPS)


def outcome(memory, report):
    """All that a night leaves behind, but for names, times and seconds."""
    (expert,) = memory.ledger.lineage.experts(ALICE)
    weights = (memory.folder / "experts" / expert.name / "adapter_model.safetensors").read_bytes()
    exams = [
        tuple(r)
        for r in memory.ledger.database.db.execute(
            'SELECT stage, measure, "right", total FROM exams WHERE night_id = ?', [report.night_id]
        )
    ]
    return {
        "report": (
            report.night_id,
            report.verdict,
            report.reason,
            report.episodes,
            report.evicted,
            report.tokens_trained,
            len(report.curve),
        ),
        "scores": (report.exam["before"], report.exam["after"], sorted(exams)),
        "expert": (expert.lineage, expert.rank, expert.level, weights),
        "ledger": (
            buffered(memory),
            [e.id for e in memory.ledger.episodes.learned(ALICE)],
            memory.ledger.nights.probes(report.night_id),
        ),
        "index": (memory.buffer.ids(ALICE), memory.buffer.known_ids(ALICE)),
        "pending": sorted(p.name for p in (memory.folder / "pending").iterdir()),
    }


# Nights that are killed


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, brief, embeddings):
    """What the same night leaves when nobody kills it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        SleepMemory.open(
            tmp_path_factory.mktemp("whole"), brief, embeddings=embeddings, config=config()
        ) as memory,
    ):
        patch.setattr(probing, "question", hand_made)
        tell(memory)
        return outcome(memory, memory.sleep(ALICE))


def sleep_killed(memory, step, after=False):
    """Let the night die right before this step, or after its work, not yet checkpointed."""
    work = steps.STEPS[step]

    def die(night, state):
        if after:
            work(night, state)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(steps.STEPS, step, die)
        with pytest.raises(KeyboardInterrupt):
            memory.sleep(ALICE)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_killed_night_is_resumed_where_it_was(opened, by_hand, uninterrupted, step, after):
    memory = opened()
    tell(memory)
    sleep_killed(memory, step, after)
    memory = opened()
    assert memory.verify() == []
    assert memory.ledger.nights.unfinished(ALICE) == "night-0001"
    report, taken = watched(memory)
    assert (report.night_id, taken) == ("night-0001", STEPS[STEPS.index(step) :])
    assert outcome(memory, report) == uninterrupted
    assert memory.verify() == []
    assert memory.ledger.nights.unfinished(ALICE) is None


def test_a_night_killed_before_its_report_is_resumed(opened, by_hand, uninterrupted):
    memory = opened()
    tell(memory)
    sleep_killed(memory, "report")
    memory = opened()
    report, taken = watched(memory)
    assert (report.night_id, taken) == ("night-0001", ["report"])
    assert outcome(memory, report) == uninterrupted


def test_a_night_killed_after_its_report_is_over(opened, by_hand):
    memory = opened()
    *_, hard = tell(memory)
    sleep_killed(memory, "report", after=True)
    memory = opened()
    assert memory.verify() == []
    assert memory.ledger.nights.unfinished(ALICE) is None
    report, taken = watched(memory)
    assert (report.night_id, report.episodes, taken) == ("night-0002", 1, STEPS)
    assert buffered(memory) == [hard]


def test_a_promoted_night_without_its_checkpoint_is_over(opened, by_hand):
    memory = opened()
    first, second, hard = tell(memory)
    sleep_killed(memory, "report")
    (memory.folder / "nights.db").unlink()  # a backup has none
    asked = len(memory.ledger.nights.probes("night-0001"))
    memory = opened()
    report, _ = watched(memory)
    assert report.night_id == "night-0002"
    assert len(memory.ledger.nights.probes("night-0001")) == asked > 0
    (over, _) = memory.ledger.nights.finished(ALICE)
    assert (over.report["verdict"], over.report["level"]) == ("promoted", "fast")
    assert {one.id for one in memory.ledger.episodes.learned(ALICE)} == {first, second}
    assert buffered(memory) == [hard]
    assert memory.verify() == []


def test_a_night_killed_before_its_first_checkpoint_is_begun_again(opened, by_hand):
    memory = opened()
    tell(memory)
    assert memory.ledger.nights.start(ALICE) == "night-0001"
    memory = opened()
    report, taken = watched(memory)
    assert (report.night_id, report.verdict, taken) == ("night-0001", Verdict.PROMOTED, STEPS)


def test_what_is_told_after_the_kill_waits_for_the_next_night(opened, by_hand):
    memory = opened()
    tell(memory)
    sleep_killed(memory, "seed")
    memory = opened()
    told = memory.observe(ALICE, "Mara moved on to Oslo.")
    assert memory.sleep(ALICE).episodes == 3
    assert told.id in buffered(memory)
    assert memory.sleep(ALICE).night_id == "night-0002"


DIE = """
import os, sys
import sleepmem.stores.lineage, _nights
from _values import HashedWords
from sleepmem import SleepMemory
from sleepmem.night.probing import probe as probing
probing.question = _nights.hand_made
sleepmem.stores.lineage.Lineage.promote = lambda *given, **more: os._exit(9)
folder, model, config = sys.argv[1], sys.argv[2], _nights.config()
memory = SleepMemory.open(folder, model, embeddings=HashedWords(), config=config)
_nights.tell(memory)
memory.sleep(_nights.ALICE)
"""


def test_a_process_that_dies_between_rename_and_transaction(
    opened, by_hand, uninterrupted, tmp_path, brief
):
    start = [sys.executable, "-c", DIE, str(tmp_path / "m"), str(brief)]
    died = subprocess.run(
        start,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert died.returncode == 9, died.stderr
    (renamed,) = (tmp_path / "m" / "experts").iterdir()
    memory = opened()
    assert memory.verify() == []
    assert memory.ledger.lineage.experts(live=False) == []
    assert len(buffered(memory)) == 3
    report, taken = watched(memory)
    assert (report.night_id, report.expert, taken) == (
        "night-0001",
        renamed.name,
        ["promote", "calibrate", "prune", "report"],
    )
    assert outcome(memory, report) == uninterrupted


# Nights that break


def sleep_broken(memory, step):
    """Let this step raise; the report, and the names of the steps that were started."""

    def breaks(night, state):
        raise OSError("the disk is on fire")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(steps.STEPS, step, breaks)
        return watched(memory)


@pytest.mark.parametrize("step", STEPS[: STEPS.index("promote") + 1])
def test_a_broken_step_fails_the_night_and_changes_nothing(opened, by_hand, step):
    memory = opened()
    told = tell(memory)
    report, taken = sleep_broken(memory, step)
    assert (report.verdict, report.reason) == (Verdict.FAILED, "OSError: the disk is on fire")
    assert taken == STEPS[: STEPS.index(step) + 1]
    assert buffered(memory) == told
    assert memory.ledger.lineage.experts(live=False) == []
    assert memory.buffer.known_ids(ALICE) == set()
    assert memory.verify() == []
    (night,) = memory.ledger.nights.finished(ALICE)
    assert (night.id, night.report["verdict"], night.report["reason"]) == (
        "night-0001",
        "failed",
        report.reason,
    )


@pytest.mark.parametrize("step", ["prune", "report"])
def test_a_night_that_breaks_after_its_promotion_is_not_called_failed(opened, by_hand, step):
    """The expert is live by then: a verdict that says otherwise would be untrue."""
    memory = opened()
    *_, hard = tell(memory)
    report, _ = sleep_broken(memory, step)
    assert [e.night_id for e in memory.ledger.lineage.experts(ALICE)] == ["night-0001"]
    assert report.verdict is Verdict.PROMOTED
    assert "the disk is on fire" in report.reason
    memory = opened()
    assert memory.verify() == []
    assert buffered(memory) == [hard]


def test_a_failed_night_is_followed_by_a_new_one(opened, by_hand):
    memory = opened()
    tell(memory)
    sleep_broken(memory, "exam")
    report, taken = watched(memory)
    assert (report.night_id, report.verdict, taken) == ("night-0002", Verdict.PROMOTED, STEPS)


@pytest.mark.parametrize("step", ["seed", "prune"])
def test_a_night_after_a_restore_takes_over_nothing_of_the_lost_one(
    opened, by_hand, uninterrupted, tmp_path, step
):
    memory = opened()
    tell(memory)
    memory.backup(tmp_path / "copy")
    sleep_killed(memory, step)
    memory.close()
    for file in memory.folder.glob("ledger.db*"):
        file.unlink()
    shutil.copy(tmp_path / "copy" / "ledger.db", memory.folder)
    memory = opened()
    report, taken = watched(memory)
    assert (report.night_id, taken) == ("night-0001", STEPS)
    assert outcome(memory, report) == uninterrupted
    assert memory.verify() == []


def test_a_failed_night_tells_what_it_cost(opened, by_hand):
    memory = opened()
    tell(memory)
    report, _ = sleep_broken(memory, "decide")
    assert report.tokens_trained > 0
    assert report.tokens_generated > 0
    assert (
        report.expert,
        report.episodes,
        memory.ledger.nights.finished(ALICE)[0].report["tokens_trained"],
    ) == (None, 3, report.tokens_trained)


def test_a_failed_second_night_keeps_the_first(opened, by_hand):
    memory = opened()
    *_, hard = tell(memory)
    first = memory.sleep(ALICE)
    assert sleep_broken(memory, "decide")[0].verdict is Verdict.FAILED
    assert [e.name for e in memory.ledger.lineage.experts(ALICE)] == [first.expert]
    assert buffered(memory) == [hard]
    assert memory.chat_model(ALICE).invoke("Hello.").response_metadata["experts"] == [first.expert]


def test_an_expert_that_vanished_fails_the_night_with_the_way_out(opened, by_hand):
    memory = opened()
    tell(memory)
    first = memory.sleep(ALICE)
    (memory.folder / "experts" / first.expert / "adapter_model.safetensors").unlink()
    report = memory.sleep(ALICE)
    assert report.verdict is Verdict.FAILED
    assert "rollback" in report.reason


# Strays


def strays(folder):
    return sorted(
        p.name
        for kind in ("pending", "experts")
        if (folder / kind).exists()
        for p in (folder / kind).iterdir()
    )


def test_strays_of_killed_and_failed_nights_are_cleaned_at_open(opened, by_hand):
    memory = opened()
    tell(memory)
    sleep_broken(memory, "exam")
    (left,) = strays(memory.folder)
    assert left.startswith("night-0001-")
    (memory.folder / "experts").mkdir()
    for stray in ("pending/.night-0001-x.tmp", "experts/.night-0001-y.tmp", "experts/night-0001-z"):
        (memory.folder / stray).mkdir()
        (memory.folder / stray / "adapter_model.safetensors").write_text("half an expert")
    memory = opened()
    assert strays(memory.folder) == []
    removed = [event["removed"] for event in memory.ledger.turns.events("reconcile")]
    assert sorted(removed) == sorted(
        [".night-0001-x.tmp", ".night-0001-y.tmp", "night-0001-z", left]
    )
    assert memory.verify() == []


def test_an_unfinished_nights_expert_is_no_stray(opened, by_hand):
    memory = opened()
    tell(memory)
    sleep_killed(memory, "exam")
    pending = strays(memory.folder)
    assert len(pending) == 1
    assert strays(opened().folder) == pending


def test_a_pending_expert_that_was_exchanged_is_not_promoted(opened, by_hand):
    memory = opened()
    tell(memory)
    sleep_killed(memory, "exam")
    (pending,) = (memory.folder / "pending").iterdir()
    (pending / "adapter_config.json").write_text("{}")
    write_checksums(pending)  # whole by its own checksums
    report, _ = watched(opened())
    assert report.verdict is Verdict.FAILED
    assert "another expert's files" in report.reason
    assert opened().verify() == []


def test_rolled_back_experts_are_no_strays(opened, by_hand):
    memory = opened()
    tell(memory)
    report = memory.sleep(ALICE)
    memory.rollback(ALICE, [])
    memory = opened()
    assert strays(memory.folder) == [report.expert]
    memory.rollback(ALICE, [report.night_id])  # any version can be made live again
    assert memory.chat_model(ALICE).invoke("Hello.").response_metadata["experts"] == [report.expert]


def test_a_night_that_a_rollback_overtook_ends_and_a_new_one_begins(opened, by_hand):
    memory = opened()
    memory.observe(ALICE, "Mara lives in Brenport.")
    first = memory.sleep(ALICE)
    assert first.verdict is Verdict.PROMOTED
    memory.observe(ALICE, "Jon lives in Oslo.")
    sleep_killed(memory, "exam")
    memory.rollback(ALICE, [])
    report = memory.sleep(ALICE)
    assert report.verdict is Verdict.PROMOTED
    assert [n.report["verdict"] for n in memory.ledger.nights.finished(ALICE)] == [
        "promoted",
        "failed",
        "promoted",
    ]
    told = memory.ledger.nights.finished(ALICE)[1].report["reason"]
    assert "changed since the night began" in told
    assert [e.night_id for e in memory.ledger.lineage.experts(ALICE)] == [report.night_id]
    assert memory.verify() == []


def test_a_night_is_not_promoted_over_experts_that_it_did_not_begin_with(opened, by_hand):
    memory = opened()
    memory.observe(ALICE, "Mara lives in Brenport.")
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    jon = memory.observe(ALICE, "Jon lives in Oslo.").id

    def overtake(event):
        if (event.get("step"), event.get("state")) == ("exam", "started"):
            # As a version of sleepmem does it that knows no lock for it.
            memory._opened.rollback(ALICE, [])

    report = memory.sleep(ALICE, on_event=overtake)
    assert report.verdict is Verdict.FAILED
    assert "changed since the night began" in report.reason
    assert memory.ledger.lineage.experts(ALICE) == []
    assert jon in buffered(memory)
    assert len(strays(memory.folder)) == 1
    assert memory.verify() == []
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED


class Flat(TypedDict):
    night_id: str
    audited: int
    expert: str


def test_a_night_that_another_version_began_is_begun_anew(opened, by_hand):
    memory = opened()
    tell(memory)
    night_id = memory.ledger.nights.start(ALICE)
    # Its state was flat; one of the names means something else today.
    graph = StateGraph(Flat)
    graph.add_node("audit", lambda state: {"audited": 3})
    graph.add_node("select", lambda state: {"expert": "night-0001-x"})
    graph.add_edge(START, "audit")
    graph.add_edge("audit", "select")
    with closing(sqlite3.connect(memory.folder / "nights.db", check_same_thread=False)) as file:
        saved = graph.compile(checkpointer=SqliteSaver(file))
        saved.invoke({"night_id": night_id}, {"configurable": {"thread_id": night_id}})
    report, taken = watched(memory)
    assert (report.night_id, report.verdict, taken) == (night_id, Verdict.PROMOTED, STEPS)
