import dataclasses
import sqlite3
from contextlib import closing

import pytest
from _values import probe

from sleepmem.errors import FolderError, LedgerError
from sleepmem.records import Episode, Expert, Kind, Recall, Role, Verdict, View
from sleepmem.stores.ledger import ARCHIVE, Ledger

TOLD = Episode(
    ("alice",),
    "Mara moved to Brenport.",
    created_at="2030-01-02T03:04:05.000000+00:00",
    message_id="m1",
)
LATER = dataclasses.replace(
    TOLD, text="Mara moved to Oslo.", created_at="2030-02-01T00:00:00.000000+00:00", message_id="m2"
)
OTHERS = dataclasses.replace(TOLD, namespace=("bob",))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    opened = Ledger(path)
    yield opened
    opened.close()


def test_episodes_survive_reopening(path):
    with closing(Ledger(path)) as first:
        first.add_episode(TOLD)
        first.add_episode(OTHERS)
    with closing(Ledger(path)) as again:
        assert again.episodes(("alice",)) == [TOLD]
        assert again.namespaces() == [("alice",), ("bob",)]
        assert again.verify() == []


def test_episodes_are_on_the_disk_before_close(ledger, path):
    ledger.add_episode(TOLD)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT text FROM episodes").fetchall() == [(TOLD.text,)]
    assert ledger.db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert ledger.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_the_same_episode_is_stored_once(ledger):
    assert ledger.add_episode(TOLD)
    assert not ledger.add_episode(TOLD)
    assert ledger.episodes() == [TOLD]


def test_episodes_come_oldest_first(ledger):
    ledger.add_episode(LATER)
    ledger.add_episode(TOLD)
    assert ledger.episodes() == ledger.buffered(("alice",)) == ledger.unindexed() == [TOLD, LATER]


def test_indexed_episodes_stay_buffered(ledger):
    ledger.add_episode(TOLD)
    ledger.mark_indexed([TOLD.id])
    assert ledger.unindexed() == []
    assert ledger.buffered(("alice",)) == [TOLD]


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
            "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
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
        made.add_episode(TOLD)
    path.write_bytes(path.read_bytes()[:5000])
    refused(path, "damaged")


def test_a_ledger_of_a_newer_sleepmem_is_refused(path):
    with closing(Ledger(path)) as made:
        made.db["_sqlite_migrations"].insert(
            {"migration_set": "sleepmem", "name": "create_tomorrow", "applied_at": "2040"}
        )
    refused(path, "newer sleepmem", "create_tomorrow", "Upgrade")


def test_damage_found_while_reading_is_a_ledger_error(path):
    with closing(Ledger(path)) as made:
        for n in range(200):
            made.add_episode(dataclasses.replace(TOLD, text=f"Fact {n}. " * 40, message_id=f"m{n}"))
        page, first = (
            made.db.execute("PRAGMA page_size").fetchone()[0],
            made.db.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'episodes'"
            ).fetchone()[0],
        )
    with open(path, "r+b") as file:
        file.seek((first - 1) * page)
        file.write(b"\xff" * page)

    def read():
        with closing(Ledger(path)) as opened:
            opened.episodes()

    with pytest.raises(LedgerError, match="damaged"):
        read()


# A full disk


def fill(ledger):
    ledger.db.execute(
        f"PRAGMA max_page_count = {ledger.db.execute('PRAGMA page_count').fetchone()[0]}"
    )


def test_a_full_disk_takes_the_episode_back(ledger):
    ledger.add_episode(TOLD)
    fill(ledger)
    long = dataclasses.replace(LATER, text="Mara moved to Oslo. " * 2000)
    with pytest.raises(FolderError, match="full"):
        ledger.add_episode(long)
    assert ledger.episodes() == [TOLD]
    assert ledger.search(("alice",), "Oslo", 9) == []
    assert ledger.verify() == []
    ledger.db.execute("PRAGMA max_page_count = 1073741823")
    assert ledger.add_episode(long)


def test_a_full_disk_takes_a_promotion_back_whole(ledger):
    ledger.add_episode(TOLD)
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
        ledger.promote(expert, [TOLD.id], [], [])
    assert ledger.experts(live=False) == []
    assert ledger.buffered(("alice",)) == [TOLD]


# Search and the log


def test_search_stays_in_its_namespace(ledger):
    for e in (TOLD, LATER, OTHERS):
        ledger.add_episode(e)
    assert ledger.search(("alice",), "Where did Mara go: Brenport?", 9)[0] == TOLD
    assert ledger.search(("alice",), "Brenport", 9) == [TOLD]
    assert ledger.search(("bob",), "Brenport", 9) == [OTHERS]
    assert ledger.search(("carol",), "Brenport", 9) == []


@pytest.mark.parametrize(
    "question",
    ["", "?!", '"', "AND OR NOT", "mara* NEAR(", "text:mara", "'; DROP TABLE episodes; --"],
)
def test_search_takes_any_text(ledger, question):
    ledger.add_episode(TOLD)
    assert set(ledger.search(("alice",), question, 9)) <= {TOLD}
    assert ledger.episodes() == [TOLD]


def test_search_keeps_to_its_limit(ledger):
    for n in range(5):
        ledger.add_episode(dataclasses.replace(TOLD, message_id=f"m{n}"))
    assert len(ledger.search(("alice",), "Mara", 3)) == 3


def test_the_gates_decisions_are_kept(ledger):
    ledger.log_recall(("alice",), "Where?", Recall(View.RETRIEVAL, "why", (TOLD,), 0.5), 12)
    ledger.log_recall(("bob",), "Who?", Recall(View.WEIGHTS, "known"), 0)
    (one,) = ledger.retrievals(("alice",))
    assert (one["question"], one["view"], one["reason"], one["tokens"], one["episodes"]) == (
        "Where?",
        "retrieval",
        "why",
        12,
        [TOLD.id],
    )
    assert ledger.retrievals(("alice",), since=one["at"]) == []


def test_a_search_of_the_archive_belongs_to_its_question(ledger):
    ledger.log_recall(("alice",), "Where?", Recall(View.WEIGHTS, "known"), 0)
    ledger.log_recall(("alice",), "Where?", Recall(View.RETRIEVAL, ARCHIVE, (TOLD,)), 12)
    ledger.log_recall(("alice",), "Who?", Recall(View.WEIGHTS, "known"), 0)
    ledger.log_recall(("alice",), "Who?", Recall(View.WEIGHTS, "known"), 0)
    assert [(t["retrieved"], t["tokens"]) for t in ledger.turns(("alice",))] == [
        (True, 12),
        (False, 0),
        (False, 0),
    ]


# Nights and experts


def promote(ledger, episodes, superseded=()):
    night_id = ledger.start_night(("alice",))
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
    ledger.promote(expert, [e.id for e in episodes], superseded, [])
    ledger.finish_night(night_id, Verdict.PROMOTED, "good", {"n": 1})
    return expert


def test_night_ids_are_never_reused(ledger):
    ids = [ledger.start_night(("alice",)), ledger.start_night(("bob",))]
    ledger.finish_night(ids[0], Verdict.REJECTED, "weak", {})
    ids.append(ledger.start_night(("alice",)))
    assert len(set(ids)) == 3


def test_an_unfinished_night_belongs_to_its_namespace(ledger):
    night_id = ledger.start_night(("alice",))
    assert ledger.unfinished_night(("alice",)) == night_id
    assert ledger.unfinished_night(("bob",)) is None
    ledger.finish_night(night_id, Verdict.SKIPPED, "nothing to learn", {"a": 1})
    assert ledger.unfinished_night(("alice",)) is None
    (night,) = ledger.nights(("alice",))
    assert (night["verdict"], night["reason"], night["report"]) == (
        "skipped",
        "nothing to learn",
        {"a": 1},
    )
    assert ledger.last_promotion(("alice",)) == ""


def test_a_promotion_moves_proven_and_superseded_episodes(ledger):
    for e in (TOLD, LATER, OTHERS):
        ledger.add_episode(e)
    expert = promote(ledger, [LATER], superseded=[TOLD.id])
    assert ledger.buffered(("alice",)) == []
    assert ledger.learned(("alice",)) == [LATER]
    assert ledger.episodes(("alice",)) == [TOLD, LATER]
    assert ledger.buffered(("bob",)) == [OTHERS]
    assert ledger.experts(("alice",)) == ledger.experts() == [expert]
    assert ledger.experts(("bob",)) == []
    assert ledger.last_promotion(("alice",)) == ledger.nights()[0]["finished_at"]
    assert ledger.verify() == []


def test_rollback_gives_the_episodes_back(ledger):
    for e in (TOLD, LATER):
        ledger.add_episode(e)
        ledger.mark_indexed([e.id])
    first, second = promote(ledger, [TOLD]), promote(ledger, [LATER])
    assert ledger.rollback(("alice",), [first.night_id]) == [LATER.id]
    assert [e.name for e in ledger.experts(("alice",))] == [first.name]
    assert ledger.buffered(("alice",)) == ledger.unindexed() == [LATER]
    assert [e.name for e in ledger.experts(("alice",), live=False)] == [first.name, second.name]
    assert ledger.verify() == []


def test_forward_again_a_corrected_episode_is_corrected_again(ledger):
    for e in (TOLD, LATER):
        ledger.add_episode(e)
    first = promote(ledger, [TOLD])
    asked = [
        probe(n, e.id, "Where?", "Brenport.", night_id=night)
        for n, (e, night) in enumerate([(TOLD, "night-0001"), (LATER, "night-0002")])
    ]
    ledger.add_probes(("alice",), asked[:1])
    ledger.db["probes"].update(asked[0].id, {"passed": 1})
    second = promote(ledger, [LATER], superseded=[TOLD.id])
    ledger.add_probes(("alice",), asked[1:])
    ledger.db["probes"].update(asked[1].id, {"passed": 1})
    assert ledger.rollback(("alice",), [first.night_id]) == [
        LATER.id
    ]  # the other is in the weights of the first night again
    assert (ledger.learned(("alice",)), ledger.buffered(("alice",))) == ([TOLD], [LATER])
    assert ledger.rollback(("alice",), [first.night_id, second.night_id]) == []
    assert (ledger.learned(("alice",)), ledger.buffered(("alice",))) == ([LATER], [])
    assert ledger.verify() == []


def test_probes_of_a_night_are_replaced_when_the_step_runs_again(ledger):
    one = probe(0, TOLD.id, "Where?", "Brenport.", stale="Oslo")
    other = probe(1, TOLD.id, "Who?", "Mara.", kind=Kind.NEVER_SAID, role=Role.TRAIN)
    ledger.add_probes(("alice",), [one, other])
    ledger.add_probes(("alice",), [one])
    assert ledger.probes("night-0001") == [one]


def test_probes_count_as_learned_once_their_episode_is(ledger):
    ledger.add_episode(TOLD)
    asked = probe(0, TOLD.id, "Where?", "Brenport.")
    ledger.add_probes(("alice",), [asked])
    assert ledger.learned_probes(("alice",)) == []
    promote(ledger, [TOLD])
    assert ledger.learned_probes(("alice",)) == [asked]
    assert ledger.learned_probes(("bob",)) == []


def test_exam_scores_are_replaced_when_the_step_runs_again(ledger):
    ledger.write_exam("night-0001", "after", {"recall": (1, 2)})
    ledger.write_exam("night-0001", "after", {"recall": (2, 2), "reading": (0, 3)})
    rows = [
        tuple(r) for r in ledger.db.execute('SELECT measure, "right", total FROM exams ORDER BY id')
    ]
    assert rows == [("recall", 2.0, 2), ("reading", 0.0, 3)]


# verify


def test_verify_notices_a_tampered_episode(ledger):
    ledger.add_episode(TOLD)
    ledger.add_episode(LATER)
    ledger.db["episodes"].update(TOLD.id, {"text": "Mara moved to Rome."})
    (fault,) = ledger.verify()
    assert TOLD.id in fault


def test_verify_notices_an_episode_whose_expert_is_not_live(ledger):
    ledger.add_episode(TOLD)
    ledger.db["episodes"].update(TOLD.id, {"learned_in": "night-0007"})
    (fault,) = ledger.verify()
    assert "night-0007" in fault


def test_what_was_taken_back_has_passed_nothing_any_more(ledger):
    told = Episode(("alice",), "Mara moved to Brenport.")
    ledger.add_episode(told)
    night_id = ledger.start_night(("alice",))
    asked = probe(1, told.id, "Where does Mara live?", "Brenport.", night_id=night_id)
    ledger.add_probes(("alice",), [asked])
    expert = Expert(
        f"{night_id}-x", ("alice",), night_id, "fast", 4, told.created_at, (told.id,), True
    )
    ledger.promote(expert, [told.id], [], [asked.id])
    ledger.finish_night(night_id, Verdict.PROMOTED, "good", {})
    assert ledger.learned_probes(("alice",), passed=True) == [asked]
    ledger.take_back([told.id])
    assert [e.id for e in ledger.buffered(("alice",))] == [told.id]
    assert ledger.forgotten(("alice",)) == {told.id: told.created_at}
    assert ledger.forgotten(("bob",)) == {}
    ledger.rollback(
        ("alice",), [night_id]
    )  # the same nights: what failed an audit does not come back with them
    assert [e.id for e in ledger.buffered(("alice",))] == [told.id]
