"""What is deleted, emptied, replaced or changed by hand."""

import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
import sqlite_utils
from _damage import ALICE, BOB, by_hand, deleted, opened
from _values import put_expert
from typer.testing import CliRunner

from sleepmem.cli import app
from sleepmem.errors import ExpertError, LedgerError, SleepmemError
from sleepmem.stores.schema import migrations

run = CliRunner().invoke


# The ledger gone


def emptied(folder):
    deleted(folder)
    (folder / "ledger.db").touch()


def without_tables(folder):
    deleted(folder)
    by_hand(folder, "CREATE TABLE t (x)", "DROP TABLE t")


def new(folder):
    deleted(folder)
    with opened(folder.parent / "new", append_only=True) as memory:
        memory.observe(ALICE, "Somebody else's.")
    shutil.copy(folder.parent / "new" / "ledger.db", folder)


GONE = [deleted, emptied, without_tables, new]


@pytest.mark.parametrize("how", [{}, {"append_only": True}, {"reconcile": False}])
@pytest.mark.parametrize("damage", GONE)
def test_a_ledger_that_is_gone_is_no_new_memory(folder, damage, how):
    kept = shutil.copytree(folder, folder.parent / "kept")
    damage(folder)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"(?s)ledger .*(gone|replaced).*[Rr]estore.*backup"):
            opened(folder, **how)
    assert list((folder / "experts").iterdir())
    deleted(folder)
    shutil.copy(kept / "ledger.db", folder)
    with opened(folder) as memory:
        assert len(memory.ledger.episodes.all()) == 4
        assert memory.verify() == []


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_ledger_that_was_replaced_is_not_read_either(folder, command):
    new(folder)
    with pytest.raises(LedgerError, match="replaced"):
        opened(folder, read_only=True)
    done = run(app, [command, str(folder), *(["-n", "alice"] if command == "report" else [])])
    assert done.exit_code == 1
    assert "replaced" in done.output
    (folder / "ledger.id").unlink()
    opened(folder, read_only=True).close()
    assert not (folder / "ledger.id").exists()


@pytest.mark.parametrize("left", ["nights.db", "chroma", "experts", "ledger.id"])
def test_whatever_lies_beside_it_tells_that_there_was_one(folder, left):
    (folder / "chroma").mkdir()
    (folder / "chroma" / "chroma.sqlite3").touch()
    for path in list(folder.iterdir()):
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(LedgerError, match=left):
        opened(folder)
    assert [path.name for path in folder.iterdir()] == [left]


def test_without_all_of_it_a_memory_is_begun_anew(folder):
    for path in list(folder.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with opened(folder) as memory:
        assert memory.verify() == memory.status() == []


@pytest.mark.parametrize("command", ["verify", "status", "sleep", "backup"])
def test_no_command_takes_it_for_a_new_memory(folder, command):
    deleted(folder)
    done = run(app, [command, str(folder), *([str(folder / "b")] if command == "backup" else [])])
    assert done.exit_code == 1
    assert "Restore ledger.db from a backup" in done.output
    assert not (folder / "ledger.db").exists()


def test_a_folder_from_before_the_mark_is_marked(folder):
    (folder / "ledger.id").unlink()
    with opened(folder) as memory:
        assert (folder / "ledger.id").read_text() == memory.ledger.id
        assert len(memory.ledger.episodes.all()) == 4


# Rows that are gone


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM episodes WHERE rowid = 1", '["alice"] 1 episodes are in the ledger and 2'),
        ("DELETE FROM episodes WHERE rowid = 4", '["bob"] 1 episodes are in the ledger and 2'),
        ("""DELETE FROM episodes WHERE namespace = '["bob"]'""", '["bob"] 0 episodes are in'),
        ("UPDATE tallies SET digests = digests + 1", '["alice"] 2 episodes are in the ledger'),
        ("UPDATE episodes SET namespace = 'bob' WHERE rowid = 4", "does not match its content"),
        ("UPDATE episodes SET text = '' WHERE rowid = 4", "does not match its content"),
        (
            "DELETE FROM nights WHERE number = 1",
            'of ["alice"] 0 nights are in the ledger and 1 have begun',
        ),
        ("DELETE FROM nights", "0 nights are in the ledger and 1 have begun"),
        ("DELETE FROM experts", "which is not live"),
        ("UPDATE episodes SET created_at = '1990-01-01T00:00:00.000000+00:00'", "were stored"),
        ("UPDATE episodes SET day = '1990-01-01' WHERE rowid = 4", "were stored"),
        ("UPDATE episodes SET speaker = 'Eve' WHERE rowid = 4", "were stored"),
        ("UPDATE episodes SET answers = 'Who?' WHERE rowid = 4", "were stored"),
        ("UPDATE episodes SET superseded = 1 WHERE rowid = 4", "outdated, which no night found"),
        (
            "INSERT INTO corrected SELECT 'night-0001', id FROM episodes WHERE rowid = 1",
            "true, which a night found outdated",
        ),
        ("UPDATE episodes SET said_again = id WHERE rowid = 1", "said again, which"),
        ("UPDATE episodes SET said_again = 'x' WHERE rowid = 4", "said again, which"),
        ("UPDATE episodes SET learned_in = 'night-0001' WHERE rowid = 2", "in the weights, which"),
        ("UPDATE pieces SET vector = x'00' WHERE rowid = 1", "vector of"),
        ("UPDATE pieces SET vector = 'text' WHERE rowid = 1", "vector of"),
        ("UPDATE pieces SET namespace = '[\"bob\"]' WHERE rowid = 1", "not searched where"),
        ("UPDATE experts SET namespace = '[\"bob\"]'", '["alice"] learned it, not ["bob"]'),
        (
            "INSERT INTO episode_words (episode_words) VALUES ('delete-all')",
            '["alice"] 2 episodes are not in the full-text index',
        ),
        (
            "INSERT INTO episode_pieces (episode_pieces) VALUES ('delete-all')",
            '["bob"] 2 episodes are not in the full-text index',
        ),
        ("DELETE FROM episode_words_data WHERE id > 10", "full-text index"),
    ],
)
def test_verify_finds_what_is_gone(folder, statement, told):
    by_hand(folder, statement)
    with opened(folder, reconcile=False) as memory:
        assert any(told in fault for fault in memory.verify())


@pytest.mark.parametrize("how", [{}, {"read_only": True}])
@pytest.mark.parametrize("column", ["text", "namespace", "source", "created_at"])
@pytest.mark.parametrize("value", ["CAST(x'4d617261fe' AS TEXT)", "'[7'"])
def test_a_rotten_row_is_named_and_stops_nobody_else(folder, column, value, how):
    by_hand(folder, f"UPDATE episodes SET {column} = {value} WHERE rowid = 1")
    with opened(folder, **how) as memory:
        (rotten,) = memory.ledger.database.rows("SELECT id FROM episodes WHERE rowid = 1")
        assert any(fault.startswith(f"episode {rotten[0]} does not") for fault in memory.verify())
        assert memory.recall(BOB, "Who owns the boat?").episodes
        assert {"bob"} <= {row["namespace"][0] for row in memory.status()}
        if not how:
            told = memory.observe(BOB, "Karo owns a green kite.")
            memory.reindex()
            assert told in memory.recall(BOB, "Who owns the kite?").episodes
            assert memory.ledger.search(ALICE, "Who owns a boat?", limit=1)


def test_a_row_put_in_the_place_of_another_is_found(folder):
    with opened(folder.parent / "other", append_only=True) as memory:
        memory.observe(ALICE, "Mara never moved.")
    by_hand(
        folder,
        f"ATTACH '{folder.parent / 'other' / 'ledger.db'}' AS other",
        "DELETE FROM episodes WHERE rowid = 2",
        "INSERT INTO episodes SELECT * FROM other.episodes",
    )
    with opened(folder, reconcile=False) as memory:
        faults = memory.verify()
    assert any('of ["alice"] 2 episodes are in the ledger and 2 were stored' in f for f in faults)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {table} ({table}) VALUES ('delete-all')",
        "DELETE FROM {table}_data WHERE id > 10",
        "DELETE FROM {table}_idx",
    ],
)
def test_reindexing_makes_the_full_text_index_anew(folder, statement):
    by_hand(folder, *(statement.format(table=t) for t in ("episode_words", "episode_pieces")))
    with opened(folder) as memory:
        memory.reindex()
        assert memory.verify() == []
        (found,) = memory.ledger.search(ALICE, "Who owns a boat?", limit=1)
        assert found.text == "Jon owns the red boat."


SECRET = "The secret code of Mara is 4711."


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE pieces SET namespace = '["bob"]'""",
        """UPDATE probes SET namespace = '["bob"]'""",
        """UPDATE pieces SET namespace = '["bob"]', place = 'known'""",
    ],
)
def test_a_row_that_changed_hands_shows_its_owners_text_to_nobody(tmp_path, statement):
    with opened(tmp_path / "m") as memory:
        put_expert(memory, ALICE, [memory.observe(ALICE, SECRET).id])
        memory.observe(ALICE, f"{SECRET} Really.")
        memory.observe(BOB, "Karo lives in Rome.")
    by_hand(tmp_path / "m", statement)
    with opened(tmp_path / "m") as memory:
        assert memory.verify() != []
        for _ in range(2):
            for recalled in (memory.recall(BOB, SECRET), memory.search(BOB, SECRET)):
                assert SECRET not in str(recalled)
            vector = memory.embeddings.embed_query(SECRET)
            assert memory.buffer.near_known(BOB, vector, count=9) == []
            memory.reconcile()
        if "pieces" in statement:
            assert memory.verify() == []
            assert SECRET in str(memory.search(ALICE, SECRET))


def test_an_expert_that_changed_hands_answers_for_nobody(folder):
    by_hand(folder, """UPDATE experts SET namespace = '["bob"]'""")
    with pytest.raises(LedgerError, match=r"alice.* learned it, not .*bob.*Restore"):
        opened(folder)
    with opened(folder, reconcile=False) as memory:
        assert memory.ledger.lineage.experts(ALICE) == []
        with pytest.raises(LedgerError, match="alice"):
            memory.ledger.lineage.experts(BOB)


TEXTS = [
    "😀",
    "?!",
    "a",
    "ab",
    "ok",
    "I am 5.",
    "你好",
    "\x00",
    "a\x00bcd",
    '"quoted" OR *',
    "田中さんは東京",
    "Éé ß ﬁ",
]


def test_any_text_is_found_in_the_full_text_index(tmp_path):
    with opened(tmp_path / "m", append_only=True) as memory:
        for text in [*TEXTS, "word " * 3_000, "x" * 10_000]:
            memory.observe(ALICE, text, speaker="Jon", answers="Who?")
            memory.observe(BOB, text)
    with opened(tmp_path / "m") as memory:
        assert memory.verify() == []
        memory.reindex()
        assert memory.verify() == []


def test_a_ledger_from_before_gets_its_counts_and_seals(folder):
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        db = sqlite_utils.Database(file)
        for table in ("tallies", "seals"):
            db[table].drop()
        newer = ("seal_experts", "count_episodes", "count_what_was_told")
        db.execute(f"DELETE FROM _sqlite_migrations WHERE name IN {newer}")
        file.commit()
        assert {migration.name for migration in migrations.pending(db)} == set(newer)
    with opened(folder, reconcile=False) as memory:
        assert memory.verify() == []
        assert memory.ledger.lineage.seals.open() == []
    by_hand(folder, "DELETE FROM episodes WHERE rowid = 4", "DELETE FROM nights")
    with opened(folder, reconcile=False) as memory:
        faults = " ".join(memory.verify())
    assert '["bob"] 1 episodes are in the ledger and 2' in faults
    assert '["bob"] 0 nights are in the ledger and 1' in faults


def test_what_was_gone_before_it_was_counted_so_stays_missed(folder):
    by_hand(
        folder,
        "DROP TABLE tallies",
        "DELETE FROM _sqlite_migrations WHERE name IN ('count_episodes', 'count_what_was_told')",
    )
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        migrations.apply(sqlite_utils.Database(file), stop_before="count_what_was_told")
    by_hand(folder, "DELETE FROM episodes WHERE rowid = 4")
    with opened(folder, reconcile=False) as memory:
        assert any('["bob"] 1 episodes' in fault for fault in memory.verify())


# Rows that cannot be read


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE nights SET report = 'garbage' WHERE number = 1", "night night-0001"),
        ("UPDATE nights SET report = '[]' WHERE number = 1", "night night-0001"),
        ("UPDATE nights SET number = NULL WHERE number = 1", "night night-0001"),
        ("UPDATE experts SET lineage = 'x' WHERE rowid = 1", "expert night-0001-made"),
        ("UPDATE experts SET namespace = 'x' WHERE rowid = 1", "expert night-0001-made"),
        ("UPDATE probes SET kind = 'x' WHERE rowid = 1", "question night-0001-00000"),
        ("UPDATE probes SET sources = 'x' WHERE rowid = 1", "question night-0001-00000"),
        ("UPDATE gates SET gate = 'x' WHERE rowid = 1", "the gate of ('alice',)"),
        ("UPDATE gates SET gate = '{}' WHERE rowid = 1", "the gate of ('alice',)"),
        ("UPDATE folder SET embeddings = 'x'", "what the embeddings are known by"),
        ("UPDATE folder SET embeddings = '[]'", "what the embeddings are known by"),
        ("UPDATE retrievals SET episodes = 'x', view = 'x'", "decision 1 of the gate"),
        ("INSERT INTO events VALUES (99, '2030', 'memory failed', 'x')", "the event of 2030"),
        ("UPDATE pieces SET vector = x'0000' WHERE rowid = 2", "the vector of"),
        ("UPDATE pieces SET vector = x'00000000' WHERE rowid = 2", "the vector of"),
        ("UPDATE pieces SET vector = x'000000'", "the vector of"),
        ("UPDATE episodes SET namespace = '5' WHERE rowid = 2", "does not match its content"),
        ("UPDATE episodes SET created_at = 'x' WHERE rowid = 2", "does not match its content"),
        ("UPDATE episodes SET asks = 'x' WHERE rowid = 2", "rows were changed"),
        (
            "UPDATE episodes SET text = CAST(x'ff' AS TEXT) WHERE rowid = 2",
            "does not match its content",
        ),
        ("DROP TABLE events", "is damaged"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_in_a_sentence(folder, statement, told):
    with opened(folder) as memory:
        memory.recall(ALICE, "Who owns a boat?")
    by_hand(folder, statement)
    with suppress(LedgerError):
        opened(folder).close()
    with opened(folder, reconcile=False) as memory:
        assert any(told in fault for fault in memory.verify())
        for call in (
            lambda: memory.recall(ALICE, "Who owns a boat?"),
            lambda: memory.search(ALICE, "Where did Mara move?"),
            lambda: memory.observe(ALICE, "Karo lives in Rome."),
            memory.status,
            memory.reconcile,
            memory.reindex,
        ):
            with suppress(SleepmemError):
                call()


def test_reindexing_mends_what_is_searched_by_meaning(folder):
    by_hand(folder, "UPDATE pieces SET vector = x'00'", "UPDATE folder SET embeddings = 'x'")
    with opened(folder) as memory:
        with pytest.raises(LedgerError, match="reindex"):
            memory.recall(ALICE, "Who owns a boat?")
        memory.reindex()
        assert memory.verify() == []
        assert memory.recall(ALICE, "Who owns a boat?").episodes


def test_what_was_changed_is_not_recalled(folder):
    by_hand(folder, "UPDATE episodes SET text = 'Eve owns the red boat.' WHERE rowid = 2")
    for how in ({}, {"read_only": True}):
        with opened(folder, **how) as memory:
            recalled = memory.recall(ALICE, "Who owns the boat?")
            assert "Eve" not in str(recalled)
            assert any("does not match its content" in fault for fault in memory.verify())


def test_a_ledger_that_knows_nothing_of_its_folder_is_damaged(folder):
    by_hand(folder, "DELETE FROM folder")
    for how in ({}, {"read_only": True}):
        with pytest.raises(LedgerError, match="Restore"):
            opened(folder, **how)


def test_checksums_that_are_nested_too_deep_are_damage(folder):
    for checksums in folder.glob("experts/*/sha256.json"):
        checksums.write_text("[" * 100_000)
    with pytest.raises(ExpertError, match="incomplete"):
        opened(folder)


def test_a_ledger_from_before_gets_what_its_embeddings_are_known_by(folder):
    by_hand(
        folder,
        """UPDATE folder SET embeddings = '{"unrelated": 0.1, "related": 0.4, "spread": 0.1}'""",
        "DELETE FROM _sqlite_migrations WHERE name = 'know_embeddings_again'",
    )
    with opened(folder) as memory:
        assert memory.recall(BOB, "Who owns the boat?").episodes
        assert "known_by" in memory.ledger.embeddings
        assert memory.verify() == []


# An expert of somebody else


def secret(folder):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"secret": 7}')


def test_another_owners_expert_is_refused(folder):
    with opened(folder) as memory:
        (hers,) = memory.ledger.lineage.experts(ALICE)
        memory.experts.write("night-0009-bob", secret)
        memory.experts.promote("night-0009-bob")
    shutil.rmtree(folder / "experts" / hers.name)  # the other's is whole by its own checksums
    shutil.copytree(folder / "experts" / "night-0009-bob", folder / "experts" / hers.name)
    with pytest.raises(ExpertError, match=r"another expert's files.*an expert of alice"):
        opened(folder)
    with opened(folder, check_experts=False) as memory:
        assert any("another expert's files" in fault for fault in memory.verify())
        with pytest.raises(ExpertError, match="another expert's files"):
            memory.experts.checked(hers.name)
        memory.rollback(ALICE, [])
    with opened(folder) as memory:
        assert memory.verify() == []
