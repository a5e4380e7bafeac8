"""The index: found is the same with it, without it, and whatever happens to it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import chromadb
import numpy as np
import psutil
import pytest
from _values import HashedWords, put_expert
from filelock import FileLock
from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app
from sleepmem.errors import FolderError
from sleepmem.records import Episode
from sleepmem.stores.buffer import INDEX_FAILED
from sleepmem.stores.index import IndexElsewhere, IndexFault, ServerIndex
from sleepmem.stores.index_files import FilesIndex
from sleepmem.stores.vectors import Place

ALICE = ("alice",)
run = CliRunner().invoke
ASKED = "Did Mara see whale 7?"
WHALES = [f"Mara saw whale {n}." for n in range(20)]


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """Twenty episodes, of which the index has most."""
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 16)
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        for text in WHALES:
            memory.observe(ALICE, text)
        assert memory.ledger.vectors.number_lying(ALICE, Place.EPISODES, most=99) == 16
        yield memory


def test_the_index_is_let_go_however_often_its_process_died(memory):
    for _ in range(2):
        index_of(memory)._child._process.kill()
        index_of(memory)._child._process.wait()
        with suppress(IndexFault):
            index_of(memory).ids("any")
        index_of(memory).ids("any")
    memory.close()
    lock = FileLock(memory.folder / "index.lock")
    with lock.acquire(timeout=0):
        assert lock.is_locked


def test_an_index_that_cannot_be_locked_is_done_without(memory):
    found = near(memory)
    memory.close()
    (memory.folder / "index.lock").unlink(missing_ok=True)
    (memory.folder / "index.lock").mkdir()
    with SleepMemory.open(memory.folder, embeddings=HashedWords()) as again:
        assert near(again) == found
        again.buffer.flush(ALICE)
        assert again.recall(ALICE, ASKED).episodes
        assert failures(again) == []


def test_verify_says_when_it_did_not_look_at_the_index(memory):
    assert memory.buffer.sees_index()
    folder = str(memory.folder)
    with SleepMemory.open(folder, embeddings=HashedWords(), reconcile=False) as beside:
        assert not beside.buffer.sees_index()
        assert "not looked at: the index" in run(app, ["verify", folder]).stdout
        told = json.loads(run(app, ["verify", folder, "--json"]).stdout)
        assert told == {"sound": True, "faults": [], "index_looked_at": False}
    memory.close()
    assert json.loads(run(app, ["verify", folder, "--json"]).stdout)["index_looked_at"]
    assert "the index the ledger" in run(app, ["verify", folder]).stdout


PARENT = """
import os, signal, sys, time
from _values import HashedWords
from sleepmem import SleepMemory
import sleepmem.stores.buffer as buffer
buffer.WAITING = 4
memory = SleepMemory.open(sys.argv[1], embeddings=HashedWords())
for n in range(9):
    memory.observe(("alice",), f"Mara saw whale {n}.")
fork = os.fork()
if not fork:
    os.close(1)
    os.close(2)
    time.sleep(60)
    os._exit(0)
print(memory.buffer._index._child._process.pid, fork, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_the_index_process_ends_with_its_parent_whatever_forks_live(tmp_path):
    start = [sys.executable, "-c", PARENT, tmp_path / "m"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(start, stdout=subprocess.PIPE, env=environment, check=False).stdout
    child, fork = map(int, told.split())
    try:
        for _ in range(200):
            if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
                break
            time.sleep(0.05)
        else:
            pytest.fail("the index's process lives on")
        assert psutil.pid_exists(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def near(memory, count=20):
    vector = memory.embeddings.embed_query(ASKED)
    found = memory.buffer.near(ALICE, vector, count=count)
    return {one.id: round(one.similarity, 4) for one in found}


def index_of(memory):
    return memory.buffer._index


def failures(memory):
    return [event["reason"] for event in memory.ledger.turns.events(INDEX_FAILED)]


def set_aside(memory):
    return [one.name for one in memory.folder.glob("chroma.set-aside-*")]


def without_index(memory):
    """What is found by exact search alone."""
    index, memory.buffer._index = memory.buffer._index, None
    try:
        return near(memory)
    finally:
        memory.buffer._index = index


def test_the_index_and_exact_search_find_the_same(memory):
    assert near(memory) == without_index(memory)
    assert len(near(memory)) == 20
    assert near(memory, count=1).keys() == {
        one.id for one in memory.ledger.episodes.all() if one.text == WHALES[7]
    }


def test_what_moves_is_found_where_it_belongs_before_and_after_a_flush(memory):
    told = memory.ledger.episodes.all(ALICE)
    put_expert(memory, ALICE, [one.id for one in told[:10]])
    again = memory.observe(ALICE, WHALES[12])
    for _ in ("before", "after"):
        assert near(memory).keys() == {one.id for one in (*told[10:12], *told[13:], again)}
        vector = memory.embeddings.embed_query(ASKED)
        archived = memory.buffer.near(ALICE, vector, count=20, place=Place.ARCHIVE)
        assert {one.id for one in archived} == {one.id for one in told[:10]}
        assert len(memory.buffer.near_known(ALICE, vector, count=20)) == 10
        memory.buffer.flush(ALICE)
    assert memory.ledger.vectors.number_waiting(ALICE) == 0
    assert memory.verify() == []


def test_what_has_moved_crowds_out_nothing(memory, monkeypatch):
    """Those that are nearest belong to the weights now, and lie in the index still."""
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 999)
    memory.buffer.flush(ALICE)
    told = {one.id for one in memory.ledger.episodes.all(ALICE)}
    moved = set(near(memory, count=15))
    put_expert(memory, ALICE, moved)
    assert memory.ledger.vectors.number_astray(ALICE, Place.EPISODES) == 15
    for _ in ("before", "after"):
        assert len(near(memory, count=2)) == 2
        assert near(memory, count=5).keys() == told - moved
        memory.buffer.flush(ALICE)
    assert memory.ledger.vectors.number_astray(ALICE, Place.EPISODES) == 0


def spoil(folder, ending, how):
    """Change the files of the index that end so; none may be missing."""
    files = [file for file in folder.glob("chroma/*/*") if file.name.endswith(ending)]
    assert files
    for file in files:
        how(file)


def noise(file):
    file.write_bytes(os.urandom(max(file.stat().st_size, 4096)))


# What Chroma does with each: an error, no answer for ever, the end of its process, less than there
# is.
DAMAGES = {
    "cut off": lambda folder: spoil(folder, "", lambda file: os.truncate(file, 50)),
    "data noise": lambda folder: spoil(folder, "data_level0.bin", noise),
    "links noise": lambda folder: spoil(folder, "link_lists.bin", noise),
    "header noise": lambda folder: spoil(folder, "header.bin", noise),
    "database noise": lambda folder: noise(folder / "chroma" / "chroma.sqlite3"),
    "database gone": lambda folder: (folder / "chroma" / "chroma.sqlite3").unlink(),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with so many episodes that Chroma has written its graph, and what is nearest."""
    folder = tmp_path_factory.mktemp("large") / "m"
    with SleepMemory.open(folder, embeddings=HashedWords()) as memory:
        with memory.ledger.database.write():
            for n in range(1_100):
                at = f"2030-01-01T00:{n // 60:02d}:{n % 60:02d}+00:00"
                memory.ledger.episodes.add(Episode(ALICE, f"Mara saw whale {n}.", created_at=at))
        memory.buffer.catch_up(ALICE)
        memory.buffer.flush(ALICE)
        assert memory.ledger.vectors.number_waiting(ALICE) == 0
        return folder, without_index(memory)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_set_aside_and_made_anew(tmp_path, large, damage):
    shutil.copytree(large[0], tmp_path / "m")
    DAMAGES[damage](tmp_path / "m")
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        memory.buffer._index._patience = 10.0
        found = near(memory)
        # A graph may miss some of the nearest; exact search, once it is set aside, does not.
        assert found == large[1] if failures(memory) else len(found) == 20
        memory.buffer._index._patience = 120.0
        memory.reconcile()
        memory.buffer.flush(ALICE, most=2_000)
        assert memory.ledger.vectors.number_waiting(ALICE) == 0
        assert memory.verify() == []
        assert len(near(memory)) == 20
        if damage != "links noise":  # harmless, as long as no search goes up there
            assert (len(failures(memory)), len(set_aside(memory))) == (1, 1)


def test_files_that_are_gone_are_noticed(tmp_path, memory):
    memory.close()
    for file in (tmp_path / "m" / "chroma").glob("*"):
        if file.is_dir():
            for one in file.iterdir():
                one.unlink()
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as again:
        assert len(near(again)) == 20
        assert again.verify() == [] or failures(again)


def test_a_killed_index_process_costs_no_answer(memory):
    before = near(memory)
    child = index_of(memory)._child._process
    os.kill(child.pid, signal.SIGKILL)
    assert near(memory) == before
    assert len(failures(memory)) == 1
    assert len(set_aside(memory)) == 1
    memory.buffer.flush(ALICE)
    assert index_of(memory)._child._process.pid != child.pid
    assert near(memory) == before
    assert memory.verify() == []


def test_one_that_hangs_is_killed_in_time(memory):
    before = near(memory)
    child = index_of(memory)._child._process
    os.kill(child.pid, signal.SIGSTOP)
    index_of(memory)._patience = 0.5
    assert near(memory) == before
    assert "no answer within 0.5 s" in failures(memory)[0]
    assert child.poll() is not None


def test_what_cannot_be_written_waits(memory, monkeypatch):
    def full(*given, **named):
        raise IndexFault("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(index_of(memory), "upsert", full)
        for n in range(20, 40):
            memory.observe(ALICE, f"Mara saw whale {n}.")
        assert len(near(memory, count=40)) == 40
        assert failures(memory) == ["No space left on device"]
    memory.buffer._indexing.done("")
    memory.buffer.flush(ALICE)
    assert memory.ledger.vectors.number_waiting(ALICE) == 0
    assert len(near(memory, count=40)) == 40
    assert memory.verify() == []


def test_another_process_has_the_files_and_both_find_all(memory):
    with SleepMemory.open(memory.folder, embeddings=memory.embeddings) as other:
        with pytest.raises(IndexElsewhere):
            index_of(other).ids("episodes-anything")
        told = other.observe(ALICE, "Jon has a boat.")
        assert near(other, count=30) == near(memory, count=30)
        assert told.id in near(memory, count=30)
        assert (failures(other), other.verify()) == ([], [])
    assert (failures(memory), memory.verify()) == ([], [])


def test_the_next_process_takes_the_index_over(memory):
    with SleepMemory.open(memory.folder, embeddings=memory.embeddings) as other:
        index_of(memory).close()
        assert other.buffer.flush(ALICE) == 4
        assert near(other) == without_index(other)


def test_nothing_is_started_for_a_small_memory(tmp_path):
    with SleepMemory.open(tmp_path, embeddings=HashedWords()) as memory:
        memory.observe(ALICE, WHALES[0])
        memory.recall(ALICE, ASKED)
        assert index_of(memory)._child is None
    assert not (tmp_path / "chroma").exists()


def test_a_lost_index_is_made_anew_without_embedding(memory):
    memory.close()
    shutil.rmtree(memory.folder / "chroma")

    class Never(HashedWords):
        def embed_documents(self, texts):
            assert len(texts) <= 1  # whether they are the same embeddings
            return super().embed_documents(texts)

    with SleepMemory.open(memory.folder, embeddings=HashedWords()) as again:
        assert again._opened.check_embeddings()
        again.buffer.embeddings = Never()
        assert len(near(again)) == 20
        again.buffer.flush(ALICE)
        assert again.ledger.vectors.number_lying(ALICE, Place.EPISODES, most=99) == 20
        assert len(near(again)) == 20
        assert again.verify() == []


def test_a_folder_without_its_index_is_opened_while_another_writes(memory, monkeypatch):
    memory.close()
    shutil.rmtree(memory.folder / "chroma")
    monkeypatch.setattr("sleepmem.stores.database.HURRIED_SECONDS", 0)
    monkeypatch.setattr("sleepmem.stores.database.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(memory.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with SleepMemory.open(memory.folder, embeddings=HashedWords()) as again:
            assert len(near(again)) == 20
            other.execute("ROLLBACK")
            assert len(near(again)) == 20
            assert again.verify() == []


# On a server


class Slow:
    """A client whose server does not answer."""

    def get_or_create_collection(self, *given, **named):
        time.sleep(30)

    delete_collection = get_or_create_collection


def test_a_server_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 4)
    with SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client=Slow()) as memory:
        memory.buffer._index._patience = 0.2
        for text in WHALES[:6]:
            memory.observe(ALICE, text)
        assert len(near(memory)) == 6
        assert "no answer within 0.2 s" in failures(memory)[0]


def test_two_processes_share_a_server(tmp_path, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 4)
    client = chromadb.EphemeralClient()
    opened = [
        SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client=client) for _ in "ab"
    ]
    for n, text in enumerate(WHALES):
        opened[n % 2].observe(ALICE, text)
    for memory in opened:
        assert near(memory) == without_index(memory)
        assert (len(near(memory)), failures(memory), memory.verify()) == (20, [], [])
        memory.close()


def test_who_has_no_server_leaves_its_index_alone(tmp_path, monkeypatch):
    """Such as `sleepmem sleep` from cron beside web workers."""
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 4)
    client = chromadb.EphemeralClient()

    def lying(memory):
        return memory.ledger.vectors.number_lying(ALICE, Place.EPISODES, most=99)

    with SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client=client) as memory:
        for text in WHALES[:12]:
            memory.observe(ALICE, text)
        there = lying(memory)
        assert there >= 8
        with SleepMemory.open(tmp_path, embeddings=HashedWords()) as other:
            for text in WHALES[12:]:
                other.observe(ALICE, text)
            assert near(other) == without_index(memory)
            assert (lying(other), failures(other), other.verify()) == (there, [], [])
        assert near(memory) == without_index(memory)
        assert (failures(memory), memory.verify()) == ([], [])
    assert not (tmp_path / "chroma").exists()
    with SleepMemory.open(tmp_path, embeddings=HashedWords()) as memory:
        memory.reindex()
    with SleepMemory.open(tmp_path, embeddings=HashedWords()) as memory:
        assert memory.buffer.flush(ALICE) == len(WHALES)
        assert (tmp_path / "chroma").exists()


def test_what_files_of_an_index_had_goes_to_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 4)
    for client in (None, chromadb.EphemeralClient()):
        with SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client=client) as memory:
            for text in WHALES:
                memory.observe(ALICE, text)
            memory.buffer.flush(ALICE)
            assert near(memory) == without_index(memory)
            assert (failures(memory), memory.verify()) == ([], [])


def test_one_process_at_a_time_brings_a_server_what_is_new(tmp_path):
    """Two that fill an empty collection would drop what the other has just laid there."""
    client = chromadb.EphemeralClient()
    with SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client=client) as memory:
        for text in WHALES:
            memory.observe(ALICE, text)
        with FileLock(tmp_path / "index.lock"):
            assert memory.buffer.flush(ALICE) == 0
            memory.reconcile()
            assert len(near(memory)) == 20
        assert failures(memory) == []
        assert memory.buffer.flush(ALICE) == len(WHALES)
        assert len(near(memory)) == 20
        assert memory.verify() == []


def test_a_collection_that_another_process_made_anew_is_found():
    client = chromadb.EphemeralClient()
    ours, theirs = ServerIndex(client), ServerIndex(client)
    vectors = np.eye(2, 3, dtype=np.float32)
    ours.upsert("made-anew", ids=["a"], vectors=vectors[:1], texts=["x"])
    theirs.drop("made-anew")
    theirs.upsert("made-anew", ids=["b"], vectors=vectors[1:], texts=["y"])
    assert ours.ids("made-anew") == ["b"]
    theirs.drop("made-anew")
    ours.upsert("made-anew", ids=["c"], vectors=vectors[:1], texts=["z"])
    assert [found for found, _ in ours.query("made-anew", vectors[0], count=1)] == ["c"]


def test_what_is_no_client_is_refused(tmp_path):
    with pytest.raises(FolderError, match="chroma_client is a str"):
        SleepMemory.open(tmp_path, embeddings=HashedWords(), chroma_client="http://localhost")


def test_vectors_of_any_length_go_through_both(tmp_path):
    vectors = np.eye(3, 5, dtype=np.float32)
    files = FilesIndex(tmp_path / "chroma", patience=60)
    server = ServerIndex(chromadb.EphemeralClient())
    for index in (files, server):
        index.upsert("some-vectors", ids=["a", "b", "c"], vectors=vectors, texts=["x\n", "é", ""])
        assert index.query("some-vectors", vectors[1], count=1) == [("b", pytest.approx(1.0))]
        index.delete("some-vectors", ["b"])
        assert sorted(index.ids("some-vectors")) == ["a", "c"]
        index.drop("some-vectors")
        assert index.ids("some-vectors") == []
        index.drop("some-vectors")
        index.close()


def work(memory, call):
    """Steps of SQLite's machine that a call takes, in hundreds."""
    steps = []
    connection = memory.ledger.database.db.conn
    connection.set_progress_handler(lambda: steps.append(1), 100)
    try:
        call()
    finally:
        connection.set_progress_handler(None, 0)
    return len(steps)


def test_what_is_stored_costs_a_turn_nothing(memory):
    def turn():
        memory.observe(ALICE, "Tom met a heron.")
        memory.recall(ALICE, ASKED, holds_experts=False)

    turn()
    few = work(memory, turn)
    with memory.ledger.database.write():
        for n in range(800):
            memory.ledger.episodes.add(Episode(ALICE, f"Otter {n} swam.", message_id=str(n)))
    memory.buffer.catch_up(ALICE)
    memory.buffer.flush(ALICE, most=1000)
    turn()
    assert work(memory, turn) < few + 15
