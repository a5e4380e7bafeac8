"""A folder is opened again, and by several processes at once."""

import os
import subprocess
import sys

import pytest
from _values import python

from sleepmem import (
    FolderLocked,
    SleepMemory,
)

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


def test_everything_survives_reopening(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)
        assert memory.verify() == []


def test_the_index_is_rebuilt_when_it_is_lost(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
        with memory.ledger.database.write() as db:
            db.execute("UPDATE pieces SET place = NULL")
        assert len(memory.verify()) == 1
        memory.reconcile()
        assert memory.verify() == []
        with memory.ledger.database.write() as db:
            db.execute("DELETE FROM pieces")
        assert len(memory.verify()) == 1
        memory.reconcile()
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)
        assert memory.verify() == []


OTHER = """
import sys
from _values import HashedWords
from sleepmem import SleepMemory
folder, append_only = sys.argv[1], sys.argv[2] == "append"
embeddings = HashedWords()
with SleepMemory.open(folder, embeddings=embeddings, append_only=append_only) as memory:
    print(memory.observe(("alice",), "Mara moved to Brenport.").id)
"""


@pytest.mark.parametrize("how", ["append", "write"])
def test_what_another_process_stores_is_found_at_once(memory, how):
    added = python(OTHER, memory.folder, how).strip()
    assert [e.id for e in memory.recall(ALICE, "Where did Mara move?").episodes] == [added]
    assert memory.verify() == []


def test_who_only_adds_embeds_nothing(memory):
    with SleepMemory.open(
        memory.folder, memory.model, embeddings=memory.embeddings, append_only=True
    ) as appender:
        told = appender.observe(ALICE, "Mara moved to Brenport.")
        assert appender.ledger.episodes.unembedded(ALICE) == [told]
        assert appender.status()[0]["unembedded"] == 1
    assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)
    assert memory.ledger.episodes.unembedded(ALICE) == []


def test_one_night_of_an_owner_at_a_time(memory):
    with (
        memory._opened.night(ALICE),
        SleepMemory.open(memory.folder, memory.model, embeddings=memory.embeddings) as other,
    ):
        with pytest.raises(FolderLocked, match=r"a night of .*alice.* is running already"):
            other.sleep(ALICE)
        with other._opened.night(BOB):
            pass


NO_TORCH = """
import sys
import sleepmem, sleepmem.graph, sleepmem.middleware
from langchain_core.embeddings import DeterministicFakeEmbedding
folder, model, kind = sys.argv[1:]
embeddings = DeterministicFakeEmbedding(size=8) if kind == "own" else None
with sleepmem.SleepMemory.open(folder, model, embeddings=embeddings) as memory:
    sleepmem.middleware.SleepMemoryMiddleware(memory), sleepmem.graph.observe_node(memory)
    memory.observe(("alice",), "Mara moved to Brenport.")
    memory.recall(("alice",), "Where did Mara move?")
    memory.search(("alice",), "Mara")
    memory.verify(), memory.status(), memory.is_tired(("alice",))
heavy = {"torch", "transformers", "sentence_transformers", "peft", "trl"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("embeddings", ["own", "default"])
def test_the_day_never_imports_torch(tmp_path, tiny, embeddings):
    assert python(NO_TORCH, tmp_path / "m", tiny, embeddings).strip() == "[]"


APPENDING = """
import sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from sleepmem import SleepMemory
folder, name = sys.argv[1:]
embeddings = DeterministicFakeEmbedding(size=8)
with SleepMemory.open(folder, embeddings=embeddings, append_only=True) as memory:
    for number in range(15):
        memory.observe(("alice",), f"{name} saw whale {number}.")
"""


def test_processes_that_append_at_once_lose_nothing(memory):
    start = [sys.executable, "-c", APPENDING, str(memory.folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([*start, name], stderr=subprocess.PIPE, env=env)
        for name in ("Mara", "Jon")
    ]
    for number in range(15):
        memory.observe(ALICE, f"We saw whale {number}.")
    assert [process.communicate()[1].decode()[-300:] for process in running] == [""] * 2
    assert len(memory.ledger.episodes.all()) == 45
    memory.recall(ALICE, "Who saw whale 7?")
    assert len(memory.buffer.ids(ALICE)) == 45
    assert memory.verify() == []


def test_what_an_appender_said_again_leaves_the_writers_index(memory):
    memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
    memory.observe(ALICE, "Jon has a boat.", created_at=DAYS[1])
    memory.buffer.flush(ALICE)
    with SleepMemory.open(
        memory.folder, memory.model, embeddings=memory.embeddings, append_only=True
    ) as appender:
        again = appender.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[2])
    assert memory.recall(ALICE, "Where did Mara move?").episodes == (again,)
    assert memory.verify() == []


FORKING = """
import os, sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from sleepmem import FolderError, SleepMemory
embeddings = DeterministicFakeEmbedding(size=8)
memory = SleepMemory.open(sys.argv[1], embeddings=embeddings)
memory.observe(("alice",), "Mara moved to Brenport.")
child = os.fork()
if not child:
    calls = {
        "observe": lambda: memory.observe(("alice",), "Jon moved to Oslo."),
        "recall": lambda: memory.recall(("alice",), "Where did Mara move?"),
        "status": memory.status,
        "open": lambda: SleepMemory.open(sys.argv[1], embeddings=embeddings),
        "read": lambda: SleepMemory.open(sys.argv[1], embeddings=embeddings, read_only=True),
    }
    for name, call in calls.items():
        try:
            call()
        except FolderError as error:
            print(name, error, flush=True)
    print(memory.safely("recalling", calls["recall"], otherwise="went on"), flush=True)
    memory.close()
    os._exit(0)
os.waitpid(child, 0)
memory.observe(("alice",), "Jon moved to Rome.")
print(memory.verify(), len(memory.ledger.episodes.all()))
memory.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_is_told_to_open_the_memory_itself(tmp_path):
    *refused, went_on, parent = python(FORKING, tmp_path / "m").strip().split("\n")
    assert [line.split()[0] for line in refused] == ["observe", "recall", "status", "open", "read"]
    assert all(
        "its fork" in line and "Close the memory before the fork" in line for line in refused
    )
    assert (went_on, parent) == ("went on", "[] 2")


WORKERS = """
import os, sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from sleepmem import SleepMemory
embeddings = DeterministicFakeEmbedding(size=8)
with SleepMemory.open(sys.argv[1], embeddings=embeddings) as memory:
    memory.observe(("alice",), "Mara moved to Brenport.")
workers = []
for name in ("Jon", "Karo"):
    workers.append(os.fork())
    if not workers[-1]:
        with SleepMemory.open(sys.argv[1], embeddings=embeddings) as memory:
            for number in range(5):
                memory.observe(("alice",), f"{name} saw whale {number}.")
        os._exit(0)
print([os.waitpid(worker, 0)[1] for worker in workers])
with SleepMemory.open(sys.argv[1], embeddings=embeddings) as memory:
    print(memory.verify(), len(memory.ledger.episodes.all()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forks_of_a_process_that_closed_the_memory_open_it(tmp_path):
    assert python(WORKERS, tmp_path / "m").split("\n")[:2] == ["[0, 0]", "[] 11"]
