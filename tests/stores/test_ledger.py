import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest
import sqlite_utils
from _values import LATER, TOLD, probe
from filelock import FileLock

from sleepmem.errors import FolderError, LedgerError
from sleepmem.records import (
    Episode,
    Expert,
    Kind,
    Look,
    NightReport,
    Recall,
    Role,
    Score,
    Verdict,
    View,
)
from sleepmem.stores import schema
from sleepmem.stores.database import APPLICATION_ID
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.lineage import Proof
from sleepmem.stores.schema import migrations
from sleepmem.stores.vectors import Place

OTHERS = dataclasses.replace(TOLD, namespace=("bob",))


def test_episodes_survive_reopening(path):
    with closing(Ledger(path)) as first:
        first.episodes.add(TOLD)
        first.episodes.add(OTHERS)
    with closing(Ledger(path)) as again:
        assert again.episodes.all(("alice",)) == [TOLD]
        assert again.episodes.namespaces() == [("alice",), ("bob",)]
        assert again.verify() == []


def test_episodes_are_on_the_disk_before_close(ledger, path):
    ledger.episodes.add(TOLD)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT text FROM episodes").fetchall() == [(TOLD.text,)]
    assert ledger.database.db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert ledger.database.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_whoever_is_killed_in_the_first_opening_leaves_no_foreign_file(path):
    code = """
import os, sys
from pathlib import Path
from sqlite_utils import Migrations
made = Migrations.ensure_migrations_table
def dies(self, db):
    made(self, db)
    os._exit(9)
Migrations.ensure_migrations_table = dies
from sleepmem.stores.ledger import Ledger
Ledger(Path(sys.argv[1]))
"""
    killed = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert killed.returncode == 9
    with closing(Ledger(path)) as ledger:
        ledger.episodes.add(TOLD)
        assert ledger.verify() == []


def test_no_event_is_lost_between_threads(ledger, monkeypatch):
    """One comes in another thread right when those before it are written."""
    write, has_come, is_over = ledger.database.write, threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: ledger.turns.log_event("told", what="meanwhile"))

    @contextmanager
    def watched(**how):
        if threading.current_thread() is other:
            has_come.set()
            is_over.wait(10)
        with write(**how) as db:
            yield db
        if threading.current_thread() is not other:
            other.start()
            has_come.wait(10)

    monkeypatch.setattr(ledger.database, "write", watched)
    ledger.turns.log_event("told", what="first")
    is_over.set()
    other.join()
    assert [event["what"] for event in ledger.turns.events("told")] == ["first", "meanwhile"]


def test_the_same_episode_is_stored_once(ledger):
    for _ in range(2):
        assert ledger.episodes.add(TOLD) == []
    assert ledger.episodes.all() == [TOLD]
    assert ledger.episodes.count(("alice",)) == 1


def test_what_surrounds_an_episode_is_kept(ledger):
    told = dataclasses.replace(
        TOLD, speaker="Jon", thread="t", answers="Where does Mara live?", day="2030-01-01"
    )
    ledger.episodes.add(told)
    assert ledger.episodes.all() == [told]


def test_episodes_come_oldest_first(ledger):
    ledger.episodes.add(LATER)
    ledger.episodes.add(TOLD)
    assert ledger.episodes.all() == ledger.episodes.buffered(("alice",)) == [TOLD, LATER]
    assert ledger.episodes.unembedded(("alice",)) == [TOLD, LATER]
    assert ledger.episodes.unembedded(("bob",)) == []


def embed(ledger, episode):
    """A vector of its own, whatever it says."""
    vector = np.random.default_rng(len(episode.text)).normal(size=8)
    ledger.vectors.add(episode.namespace, {episode.id: {episode.id: vector}})


def test_embedded_episodes_stay_buffered(ledger):
    ledger.episodes.add(TOLD)
    embed(ledger, TOLD)
    assert ledger.episodes.unembedded(("alice",)) == []
    assert ledger.vectors.ids(("alice",), Place.EPISODES) == {TOLD.id}
    assert ledger.episodes.buffered(("alice",)) == [TOLD]


# The same thing said again


AGAIN = dataclasses.replace(
    TOLD, text="mara moved to Brenport!", created_at="2030-03-01T00:00:00+00:00", message_id="m9"
)


def test_the_newer_of_the_same_words_takes_the_place_of_the_older(ledger):
    ledger.episodes.add(TOLD)
    ledger.episodes.add(LATER)
    assert ledger.episodes.add(AGAIN) == [TOLD.id]
    assert ledger.episodes.all() == [TOLD, LATER, AGAIN]
    assert ledger.episodes.buffered(("alice",)) == [LATER, AGAIN]
    assert ledger.episodes.unembedded(("alice",)) == [LATER, AGAIN]
    assert ledger.episodes.get(("alice",), [TOLD.id, AGAIN.id]) == [AGAIN]
    assert ledger.search(("alice",), "Brenport", limit=9) == [AGAIN]
    assert ledger.verify() == []


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": ("bob",)},
        {"source": "tool:search"},
        {"speaker": "Jon"},
        {"answers": "Where did she move?"},
        {"text": "Mara moved to Brenport, too."},
    ],
)
def test_the_same_words_of_another_are_not_said_again(ledger, changed):
    ledger.episodes.add(TOLD)
    assert ledger.episodes.add(dataclasses.replace(AGAIN, **changed)) == []
    assert ledger.episodes.buffered(("alice",))[0] == TOLD


def test_what_an_expert_holds_is_not_replaced(ledger):
    ledger.episodes.add(TOLD)
    promote(ledger, [TOLD])
    assert ledger.episodes.add(AGAIN) == []
    assert ledger.episodes.learned(("alice",)) == [TOLD]
    assert ledger.episodes.buffered(("alice",)) == [AGAIN]


def test_what_is_told_late_replaces_nothing_newer(ledger):
    ledger.episodes.add(AGAIN)
    assert ledger.episodes.add(TOLD) == []
    assert AGAIN in ledger.episodes.buffered(("alice",))


def test_it_is_no_news_when_its_source_said_nothing_else_since(ledger):
    assert not ledger.episodes.is_newest(TOLD)
    ledger.episodes.add(TOLD)
    ledger.episodes.add(dataclasses.replace(LATER, source="tool:search"))
    assert ledger.episodes.is_newest(AGAIN)
    assert not ledger.episodes.is_newest(dataclasses.replace(AGAIN, speaker="Jon"))
    assert not ledger.episodes.is_newest(dataclasses.replace(AGAIN, namespace=("bob",)))
    ledger.episodes.add(LATER)
    assert not ledger.episodes.is_newest(AGAIN)


# What surrounds an episode


def test_what_came_of_a_message_is_kept_beside_it(ledger):
    ledger.episodes.add(TOLD)
    ledger.episodes.add(OTHERS)
    assert ledger.episodes.outcome(TOLD.id) is None
    ledger.episodes.complete(("alice",), "m1", thread=None, outcome="Noted.")
    assert ledger.episodes.outcome(TOLD.id) == "Noted."
    assert ledger.episodes.outcome(OTHERS.id) is ledger.episodes.outcome("nobody's") is None
    assert ledger.episodes.all(("alice",)) == [TOLD]


def test_the_owner_of_a_message_is_found_by_its_conversation(ledger):
    one = dataclasses.replace(TOLD, thread="t")
    ledger.episodes.add(one)
    assert ledger.episodes.owner("t", "m1") == ("alice",)
    assert ledger.episodes.owner("t", "m2") is ledger.episodes.owner("u", "m1") is None
    ledger.episodes.add(dataclasses.replace(one, namespace=("bob",)))
    assert ledger.episodes.owner("t", "m1") is None  # two owners: nobody's to guess


def test_what_was_told_beside_it_stays_in_its_conversation(ledger):
    told = [dataclasses.replace(e, thread="t") for e in (TOLD, LATER, AGAIN)]
    beside = dataclasses.replace(LATER, message_id="m4", text="Jon has a boat.", thread="u")
    for episode in (*told[:2], beside, dataclasses.replace(told[1], namespace=("bob",))):
        ledger.episodes.add(episode)
    assert ledger.episodes.beside(told[0]) == [told[1]]
    assert ledger.episodes.beside(told[1]) == [told[0]]


def test_days_are_those_of_the_speaker(ledger):
    night = dataclasses.replace(TOLD, created_at="2030-01-02T23:30:00-05:00", day="")
    ledger.episodes.add(night)
    assert ledger.episodes.on_days(("alice",), "2030-01-02", last="2030-01-02", limit=9) == [night]
    assert ledger.episodes.on_days(("alice",), "2030-01-03", last="2030-01-04", limit=9) == []
    assert ledger.episodes.on_days(("bob",), "2030-01-02", last="2030-01-02", limit=9) == []


def test_what_surely_asks_tells_nothing_to_learn(ledger):
    asked = dataclasses.replace(TOLD, text="Where does Mara live now?", message_id="m5")
    ledger.episodes.add(TOLD)
    ledger.episodes.add(asked)
    assert ledger.episodes.telling(("alice",)) == [TOLD]
    assert set(ledger.episodes.buffered(("alice",))) == {TOLD, asked}
    assert ledger.episodes.waiting(("alice",), untrusted=True) == 1


# Files that are no ledger of ours


def refused(path, *said):
    """Opening raises LedgerError with these words, and the file stays as it was, byte for byte."""
    before = path.read_bytes()
    with pytest.raises(LedgerError) as raised:
        Ledger(path)
    for words in (str(path), *said):
        assert words in str(raised.value)
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused(path):
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipes (name TEXT)")
        foreign.commit()
    refused(path, "another program")


def test_a_foreign_database_with_migrations_of_its_own_is_refused(path):
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute(
            "CREATE TABLE _sqlite_migrations "
            "(id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
        )
        foreign.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('recipes', 'create')"
        )
        foreign.execute("CREATE TABLE recipes (name TEXT)")
        foreign.commit()
    refused(path, "another program")


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"These are my holiday notes, not a database. " * 100)
    refused(path, "damaged")


def test_a_truncated_ledger_is_refused(path):
    with closing(Ledger(path)) as made:
        made.episodes.add(TOLD)
    path.write_bytes(path.read_bytes()[:5000])
    refused(path, "damaged")


def test_a_ledger_of_a_newer_sleepmem_is_refused(path):
    with closing(Ledger(path)) as made:
        made.database.db["_sqlite_migrations"].insert(
            {"migration_set": "sleepmem", "name": "create_tomorrow", "applied_at": "2040"}
        )
    refused(path, "newer sleepmem", "create_tomorrow", "Upgrade")


def test_damage_found_while_reading_is_a_ledger_error(path):
    with closing(Ledger(path)) as made:
        for n in range(200):
            made.episodes.add(
                dataclasses.replace(TOLD, text=f"Fact {n}. " * 40, message_id=f"m{n}")
            )
        page, first = (
            made.database.db.execute("PRAGMA page_size").fetchone()[0],
            made.database.db.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'episodes'"
            ).fetchone()[0],
        )
    with open(path, "r+b") as file:
        file.seek((first - 1) * page)
        file.write(b"\xff" * page)

    def read():
        with closing(Ledger(path)) as opened:
            opened.episodes.all()

    with pytest.raises(LedgerError, match="damaged"):
        read()


# A full disk


def fill(ledger):
    ledger.database.db.execute(
        f"PRAGMA max_page_count = {ledger.database.db.execute('PRAGMA page_count').fetchone()[0]}"
    )


def test_a_full_disk_takes_the_episode_back(ledger):
    ledger.episodes.add(TOLD)
    fill(ledger)
    long = dataclasses.replace(LATER, text="Mara moved to Oslo. " * 2000)
    with pytest.raises(FolderError, match="full"):
        ledger.episodes.add(long)
    assert ledger.episodes.all() == [TOLD]
    assert ledger.search(("alice",), "Oslo", limit=9) == []
    assert ledger.verify() == []
    ledger.database.db.execute("PRAGMA max_page_count = 1073741823")
    ledger.episodes.add(long)
    assert ledger.episodes.all() == [TOLD, long]


def test_a_full_disk_takes_a_promotion_back_whole(ledger):
    ledger.episodes.add(TOLD)
    fill(ledger)
    expert = Expert(
        "night-0001-x",
        ("alice",),
        "night-0001",
        "fast",
        1,
        TOLD.created_at,
        tuple(f"{n:024d}" for n in range(5000)),
    )
    with pytest.raises(FolderError, match="full"):
        ledger.lineage.promote(expert, Proof([TOLD.id]))
    assert ledger.lineage.experts(live=False) == []
    assert ledger.episodes.buffered(("alice",)) == [TOLD]


# The log


def test_the_gates_decisions_are_kept(ledger):
    ledger.turns.log(
        ("alice",), "Where?", recall=Recall(View.RETRIEVAL, "why", (TOLD,), 0.5), tokens=12
    )
    ledger.turns.log(("bob",), "Who?", recall=Recall(View.WEIGHTS, "known"), tokens=0)
    (one,) = ledger.turns.retrievals(("alice",))
    assert (one["question"], one["view"], one["reason"], one["tokens"], one["episodes"]) == (
        "Where?",
        "retrieval",
        "why",
        12,
        [TOLD.id],
    )
    assert ledger.turns.retrievals(("alice",), since=one["at"]) == []


def test_a_second_look_belongs_to_its_question(ledger):
    ledger.turns.log(("alice",), "Where?", recall=Recall(View.WEIGHTS, "known"), tokens=0)
    ledger.turns.log(
        ("alice",),
        "Where?",
        recall=Recall(View.RETRIEVAL, "unsure", (TOLD,), look=Look.AGAIN),
        tokens=12,
    )
    ledger.turns.log(("alice",), "Who?", recall=Recall(View.WEIGHTS, "known"), tokens=0)
    ledger.turns.log(("alice",), "Who?", recall=Recall(View.WEIGHTS, "known"), tokens=0)
    assert [(turn.retrieved, turn.tokens) for turn in ledger.turns.all(("alice",))] == [
        (True, 12),
        (False, 0),
        (False, 0),
    ]


# Nights and experts


def finish(ledger, night_id, verdict, reason="it was so"):
    ledger.nights.finish(NightReport(night_id, ("alice",), verdict, reason, level="fast"))


def promote(ledger, episodes, superseded=()):
    night_id = ledger.nights.start(("alice",))
    expert = Expert(
        f"{night_id}-x",
        ("alice",),
        night_id,
        "fast",
        4,
        TOLD.created_at,
        tuple(e.id for e in episodes),
        True,
    )
    asked = [probe(n, e.id, "?", "?", night_id=night_id) for n, e in enumerate(episodes)]
    if not ledger.nights.probes(night_id):
        ledger.nights.add_probes(("alice",), asked)
    ledger.lineage.promote(expert, Proof([e.id for e in episodes], superseded))
    finish(ledger, night_id, Verdict.PROMOTED, "good")
    return expert


def test_questions_come_in_the_order_in_which_they_were_asked(ledger):
    # Ids depend on when an episode came in: by them each run of a seed would be another.
    ledger.episodes.add(TOLD)
    night_id = ledger.nights.start(("alice",))
    asked = [probe(n, TOLD.id, f"{n}?", "?", night_id=night_id) for n in (7, 2, 9, 4)]
    ledger.nights.add_probes(("alice",), asked)
    expert = Expert("x", ("alice",), night_id, "fast", 4, TOLD.created_at, (TOLD.id,), True)
    ledger.lineage.promote(expert, Proof([TOLD.id], (), [one.id for one in asked]))
    questions = ["7?", "2?", "9?", "4?"]
    assert [one.question for one in ledger.nights.probes(night_id)] == questions
    learned = ledger.nights.learned_probes(("alice",), passed=True)
    assert [one.question for one in learned] == questions


def test_night_ids_are_never_reused(ledger):
    ids = [ledger.nights.start(("alice",)), ledger.nights.start(("bob",))]
    finish(ledger, ids[0], Verdict.REJECTED, "weak")
    ids.append(ledger.nights.start(("alice",)))
    assert len(set(ids)) == 3


def test_an_unfinished_night_belongs_to_its_namespace(ledger):
    night_id = ledger.nights.start(("alice",))
    assert ledger.nights.unfinished(("alice",)) == night_id
    assert ledger.nights.unfinished(("bob",)) is None
    finish(ledger, night_id, Verdict.SKIPPED, "nothing to learn")
    assert ledger.nights.unfinished(("alice",)) is None
    (night,) = ledger.nights.finished(("alice",))
    assert (night.report["verdict"], night.report["reason"]) == ("skipped", "nothing to learn")
    assert ledger.nights.last_promotion(("alice",), level="fast") == ""


def test_a_promotion_moves_proven_and_superseded_episodes(ledger):
    for e in (TOLD, LATER, OTHERS):
        ledger.episodes.add(e)
    expert = promote(ledger, [LATER], superseded=[TOLD.id])
    assert ledger.episodes.buffered(("alice",)) == []
    assert ledger.episodes.learned(("alice",)) == [LATER]
    assert ledger.episodes.all(("alice",)) == [TOLD, LATER]
    assert ledger.episodes.buffered(("bob",)) == [OTHERS]
    assert ledger.lineage.experts(("alice",)) == ledger.lineage.experts() == [expert]
    assert ledger.lineage.experts(("bob",)) == []
    assert ledger.nights.last_promotion(("alice",), level="slow") == ""
    began = ledger.nights.last_promotion(("alice",), level="fast")
    assert "" < began < ledger.nights.finished()[0].finished_at
    assert ledger.verify() == []


def test_rollback_gives_the_episodes_back(ledger):
    for e in (TOLD, LATER):
        ledger.episodes.add(e)
        embed(ledger, e)
    first, second = promote(ledger, [TOLD]), promote(ledger, [LATER])
    assert ledger.vectors.ids(("alice",), Place.ARCHIVE) == {TOLD.id, LATER.id}
    assert ledger.lineage.rollback(("alice",), [first.night_id]) == [LATER.id]
    assert [e.name for e in ledger.lineage.experts(("alice",))] == [first.name]
    assert ledger.episodes.buffered(("alice",)) == [LATER]
    assert ledger.vectors.ids(("alice",), Place.EPISODES) == {LATER.id}
    assert ledger.vectors.ids(("alice",), Place.ARCHIVE) == {TOLD.id}
    assert [e.name for e in ledger.lineage.experts(("alice",), live=False)] == [
        first.name,
        second.name,
    ]
    assert ledger.verify() == []


def test_forward_again_a_corrected_episode_is_corrected_again(ledger):
    for e in (TOLD, LATER):
        ledger.episodes.add(e)
    first = promote(ledger, [TOLD])
    asked = [
        probe(n, e.id, "Where?", "Brenport.", night_id=night)
        for n, (e, night) in enumerate([(TOLD, "night-0001"), (LATER, "night-0002")])
    ]
    ledger.nights.add_probes(("alice",), asked[:1])
    ledger.database.db["probes"].update(asked[0].id, {"passed": 1})
    second = promote(ledger, [LATER], superseded=[TOLD.id])
    ledger.nights.add_probes(("alice",), asked[1:])
    ledger.database.db["probes"].update(asked[1].id, {"passed": 1})
    assert ledger.lineage.rollback(("alice",), [first.night_id]) == [
        LATER.id
    ]  # the other is in the weights of the first night again
    assert (ledger.episodes.learned(("alice",)), ledger.episodes.buffered(("alice",))) == (
        [TOLD],
        [LATER],
    )
    assert ledger.lineage.rollback(("alice",), [first.night_id, second.night_id]) == []
    assert (ledger.episodes.learned(("alice",)), ledger.episodes.buffered(("alice",))) == (
        [LATER],
        [],
    )
    assert ledger.verify() == []


def test_probes_of_a_night_are_replaced_when_the_step_runs_again(ledger):
    one = probe(0, TOLD.id, "Where?", "Brenport.", stale="Oslo")
    other = probe(1, TOLD.id, "Who?", "Mara.", kind=Kind.NEVER_SAID, role=Role.TRAIN)
    ledger.nights.add_probes(("alice",), [one, other])
    ledger.nights.add_probes(("alice",), [one])
    assert ledger.nights.probes("night-0001") == [one]


def test_probes_count_as_learned_once_their_episode_is(ledger):
    ledger.episodes.add(TOLD)
    asked = probe(0, TOLD.id, "Where?", "Brenport.")
    ledger.nights.add_probes(("alice",), [asked])
    assert ledger.nights.learned_probes(("alice",)) == []
    promote(ledger, [TOLD])
    assert ledger.nights.learned_probes(("alice",)) == [asked]
    assert ledger.nights.learned_probes(("bob",)) == []


def test_exam_scores_are_replaced_when_the_step_runs_again(ledger):
    ledger.nights.write_exam("night-0001", "after", scores={"recall": Score(1, 2)})
    scores = {"recall": Score(2, 2), "reading": Score(0, 3)}
    ledger.nights.write_exam("night-0001", "after", scores=scores)
    rows = [
        tuple(r)
        for r in ledger.database.db.execute('SELECT measure, "right", total FROM exams ORDER BY id')
    ]
    assert rows == [("recall", 2.0, 2), ("reading", 0.0, 3)]


# verify


def test_verify_notices_a_tampered_episode(ledger):
    ledger.episodes.add(TOLD)
    ledger.episodes.add(LATER)
    ledger.database.db["episodes"].update(TOLD.id, {"text": "Mara moved to Rome."})
    (fault,) = ledger.verify()
    assert TOLD.id in fault


def test_verify_notices_an_episode_whose_expert_is_not_live(ledger):
    ledger.episodes.add(TOLD)
    ledger.database.db["episodes"].update(TOLD.id, {"learned_in": "night-0007"})
    (fault,) = ledger.verify()
    assert "night-0007" in fault


def test_what_was_taken_back_has_passed_nothing_any_more(ledger):
    told = Episode(("alice",), "Mara moved to Brenport.")
    ledger.episodes.add(told)
    night_id = ledger.nights.start(("alice",))
    asked = probe(1, told.id, "Where does Mara live?", "Brenport.", night_id=night_id)
    ledger.nights.add_probes(("alice",), [asked])
    expert = Expert(
        f"{night_id}-x", ("alice",), night_id, "fast", 4, told.created_at, (told.id,), True
    )
    ledger.lineage.promote(expert, Proof([told.id], (), [asked.id]))
    finish(ledger, night_id, Verdict.PROMOTED, "good")
    assert ledger.nights.learned_probes(("alice",), passed=True) == [asked]
    ledger.episodes.take_back([told.id])
    assert [e.id for e in ledger.episodes.buffered(("alice",))] == [told.id]
    assert ledger.episodes.forgotten(("alice",)) == {told.id: told.created_at}
    assert ledger.episodes.forgotten(("bob",)) == {}
    ledger.lineage.rollback(
        ("alice",), [night_id]
    )  # the same nights: what failed an audit does not come back with them
    assert [e.id for e in ledger.episodes.buffered(("alice",))] == [told.id]


# Ledgers of earlier versions


def earlier(path, *, upto):
    """A ledger with the tables that came before the migration `upto`."""
    db = sqlite_utils.Database(path)
    migrations.apply(db, stop_before=upto)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    return db


def test_nights_of_an_earlier_version_get_numbers_and_reports_get_fields(path):
    db = earlier(path, upto="number_nights")
    exam = {
        "before": {"recall": {"right": 1, "total": 2, "rate": 0.5}},
        "seconds": {"seed": 3.0},
        "tokens_generated": 7,
        "peak_bytes": 1000,
        "by_night": {"night-9999": 1.0, "night-10000": 0.5},
        "dreams": {"kept": True},
    }
    for number in (9999, 10000):
        night_id = f"night-{number:04d}"
        report = {"night_id": night_id, "level": "fast", "exam": exam, "slower": []}
        ended = {"verdict": "promoted", "reason": "good", "report": json.dumps(report)}
        db["nights"].insert({"id": night_id, "namespace": '["alice"]', **ended})
    db.close()
    with closing(Ledger(path)) as ledger:
        first, last = ledger.nights.finished(("alice",))
        # As text the 10,000th would come first.
        assert [first.number, last.number] == [9999, 10000]
        assert last.report["exam"] == {"before": exam["before"]}
        assert last.report["recall_by_night"] == [
            {"night": 9999, "rate": 1.0},
            {"night": 10000, "rate": 0.5},
        ]
        assert (last.report["step_seconds"], last.report["tokens_generated"]) == ({"seed": 3.0}, 7)
        assert (last.report["dreams"], last.report["number"]) == ({"kept": True}, 10000)
        assert ledger.nights.start(("alice",)) == "night-10001"


def test_decisions_of_an_earlier_version_tell_which_look_it_was(path):
    db = earlier(path, upto="tell_looks_apart")
    reasons = [
        "near a question passed closed-book",
        "no known question is near enough, nor is the buffer about it; searched the archive",
        "the model was not sure; searched the archive",
    ]
    for reason in reasons:
        row = {"namespace": '["alice"]', "at": "2030", "question": "Where?", "view": "retrieval"}
        db["retrievals"].insert({**row, "reason": reason, "tokens": 1, "episodes": "[]"})
    db.close()
    with closing(Ledger(path)) as ledger:
        looks = [decision["look"] for decision in ledger.turns.retrievals(("alice",))]
        assert looks == [Look.FIRST, Look.FIRST, Look.AGAIN]
        assert len(ledger.turns.all(("alice",))) == 2


def test_probes_of_an_earlier_version_tell_what_was_taken_over(path):
    db = earlier(path, upto="tell_what_was_taken_over")
    for probe_id in ("night-0008-00001", "night-0008-again-00001"):
        row = {"id": probe_id, "night_id": "night-0008", "namespace": '["alice"]'}
        asked = {"episode_id": "e", "question": "Where?", "answer": "There."}
        db["probes"].insert({**row, **asked, "kind": "fact", "role": "exam"})
    db.close()
    with closing(Ledger(path)) as ledger:
        assert [one.taken_over for one in ledger.nights.probes("night-0008")] == [False, True]


def test_episodes_of_an_earlier_version_are_searched_and_have_days(path):
    db = earlier(path, upto="keep_what_surrounds")
    row = {"namespace": '["alice"]', "source": "user", "message_id": "m1", "text": TOLD.text}
    db["episodes"].insert({**row, "id": TOLD.id, "created_at": TOLD.created_at})
    db.close()
    with closing(Ledger(path)) as ledger:
        assert ledger.episodes.all() == [TOLD]
        assert ledger.episodes.all()[0].date == "2030-01-02"
        assert ledger.search(("alice",), "Brenport", limit=9) == [TOLD]
        assert ledger.episodes.add(AGAIN) == [TOLD.id]
        assert ledger.embeddings is None
        assert ledger.verify() == []


# Processes


APPENDING = """
import sys
from pathlib import Path
from sleepmem.records import Episode
from sleepmem.stores.ledger import Ledger
path, name = sys.argv[1:]
ledger = Ledger(Path(path))
for number in range(40):
    text = f"{name} saw whale {number}."
    ledger.episodes.add(Episode(("alice",), text, message_id=f"{name}{number}"))
    ledger.episodes.newest(("alice",), "user")
"""


def test_processes_that_append_at_once_lose_nothing(ledger, path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    start = [sys.executable, "-c", APPENDING, str(path)]
    running = [
        subprocess.Popen([*start, name], stderr=subprocess.PIPE, env=env)
        for name in ("Mara", "Jon")
    ]
    for number in range(40):
        ledger.episodes.add(
            dataclasses.replace(TOLD, message_id=f"m{number}", text=f"We saw {number}.")
        )
    assert [process.communicate()[1].decode()[-300:] for process in running] == [""] * 2
    assert len(ledger.episodes.all()) == 3 * 40
    assert len(ledger.search(("alice",), "whale", limit=99)) == 2 * 40
    assert ledger.verify() == []


def test_a_locked_ledger_is_waited_for_once(ledger, path, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.database.BUSY_SECONDS", 1)
    asked = []
    ledger.database.db.conn.set_trace_callback(asked.append)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waits = []
        for _ in range(3):
            with pytest.raises(FolderError, match="locked"):
                ledger.episodes.add(TOLD)
            waits.append(asked.count("BEGIN IMMEDIATE"))
            asked.clear()
        assert waits[0] > 1
        assert waits[1:] == [1, 1]
        other.execute("COMMIT")
    ledger.episodes.add(TOLD)
    assert ledger.episodes.all() == [TOLD]


def test_others_read_while_one_waits_to_write(ledger, path):
    ledger.episodes.add(LATER)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=ledger.episodes.add, args=[TOLD])
        writer.start()
        for _ in range(20):
            assert ledger.episodes.all() == [LATER]
        assert writer.is_alive()
        other.execute("COMMIT")
        writer.join()
    assert ledger.episodes.all() == [TOLD, LATER]


def test_a_text_is_judged_before_others_wait_for_it(ledger, monkeypatch):
    """The first judgement loads the embeddings: seconds in which nobody else could write."""
    held = []

    def asks(text):
        held.append(ledger.database.db.conn.in_transaction)
        return 0.0

    monkeypatch.setattr("sleepmem.stores.episodes.asks", asks)
    ledger.episodes.tell(dataclasses.replace(TOLD, source="user"))
    ledger.episodes.add(dataclasses.replace(LATER, source="user"))
    assert set(held) == {False}


def test_who_opens_a_ledger_waits_for_others_and_gives_up(path, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.database.OPENING_SECONDS", 0.1)
    with FileLock(path.with_suffix(".opening")), pytest.raises(FolderError, match="opening"):
        Ledger(path)


def test_what_happened_while_nothing_could_be_written_is_written_later(ledger):
    ledger.database.db.execute("PRAGMA query_only = 1")
    with pytest.raises(FolderError):
        ledger.turns.log_event("memory failed", namespace=["alice"])
    assert len(ledger.turns.events("memory failed")) == 1
    ledger.database.db.execute("PRAGMA query_only = 0")
    ledger.turns.log_event("memory failed", namespace=["bob"])
    owners = [event["namespace"] for event in ledger.turns.events("memory failed")]
    assert owners == [["alice"], ["bob"]]


def test_what_every_turn_looks_up_is_found_by_an_index(ledger, monkeypatch):
    asked = []
    rows = ledger.database.rows
    monkeypatch.setattr(ledger.database, "rows", lambda *given: asked.append(given) or rows(*given))
    ledger.turns.last_read(TOLD.namespace, "Where does Mara live?")
    ledger.episodes.owner("t", "m1")
    scanned, used = [], set()
    for sql, *values in asked:
        for step in rows(f"EXPLAIN QUERY PLAN {sql}", *values):
            detail = step["detail"]
            used.add(detail.partition("INDEX ")[2].partition(" ")[0])
            # Of keys there is one for the folder, and one for each folder whose export came in.
            is_short = "json_each" in detail or detail == "SCAN keys"
            if detail.startswith("SCAN") and not is_short:
                scanned.append(detail)
    assert scanned == []
    assert {"retrievals_asked", "idx_episodes_message_id", "events_of_messages"} <= used


def test_whether_something_asks_is_stored_as_it_is_read(ledger, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.episodes.asks", lambda text: -0.0001)
    ledger.episodes.add(Episode(TOLD.namespace, "Mara moved to Brenport, I think."))
    assert ledger.verify() == []
    negative = dict.fromkeys(schema._STORED, "x") | {"asks": -0.0}
    assert schema.stored_of(negative) == schema.stored_of({**negative, "asks": 0.0})
