"""Copies of a memory that is in use, and what they mend."""

import asyncio
import shutil
import subprocess
import threading

import pytest
from _damage import ALICE, deleted, opened
from _values import python
from typer.testing import CliRunner

from sleepmem.cli import app
from sleepmem.errors import ExpertError, FolderError, LedgerError

run = CliRunner().invoke


def test_a_backup_is_made_while_others_write(folder):
    with opened(folder) as memory:
        is_over = threading.Event()
        told = []

        def write():
            while not is_over.is_set():
                told.append(memory.observe(ALICE, f"Mara saw whale {len(told)}.").id)

        with opened(folder, append_only=True) as other:
            writing = threading.Thread(target=write)
            writing.start()
            try:
                for number in range(3):
                    before = len(told)
                    other.backup(folder.parent / f"copy{number}")
                    after = len(told) + 1
                    with opened(folder.parent / f"copy{number}") as copy:
                        assert copy.verify() == []
                        episodes = copy.ledger.episodes.all()
                        assert before <= len(episodes) - 4 <= after
                        assert len(copy.ledger.lineage.experts()) == 2
                        assert copy.recall(ALICE, "Who owns the boat?").episodes
            finally:
                is_over.set()
                writing.join()
        assert memory.verify() == []


def test_a_backup_holds_the_ledger_and_the_live_experts_alone(folder):
    with opened(folder) as memory:
        memory.rollback(ALICE, [])
        (his,) = memory.ledger.lineage.experts()
        asyncio.run(memory.abackup(folder.parent / "copies" / "one"))
    copy = folder.parent / "copies" / "one"
    assert sorted(path.name for path in copy.iterdir()) == ["experts", "ledger.db"]
    assert [path.name for path in (copy / "experts").iterdir()] == [his.name]
    assert [path.name for path in copy.parent.iterdir()] == ["one"]


def test_a_lost_ledger_is_restored_from_a_backup(folder):
    assert run(app, ["backup", str(folder), str(folder.parent / "copy")]).exit_code == 0
    deleted(folder)
    shutil.copy(folder.parent / "copy" / "ledger.db", folder)
    with opened(folder) as memory:
        assert memory.verify() == []
        assert len(memory.ledger.episodes.all()) == 4


KILLED = """
import os, signal, sys
from _values import HashedWords
from sleepmem import SleepMemory
memory = SleepMemory.open(sys.argv[1], embeddings=HashedWords())
for number in range(40):
    memory.observe(("alice",), f"Karo saw whale {number} and told Jon of it.")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_deleted", [False, True])
def test_the_log_of_a_lost_ledger_is_not_written_over_its_backup(folder, is_deleted):
    with opened(folder) as memory:
        memory.backup(folder.parent / "copy")
    with pytest.raises(subprocess.CalledProcessError):
        python(KILLED, folder)
    assert (folder / "ledger.db-wal").stat().st_size > 0
    if is_deleted:
        (folder / "ledger.db").unlink()
        with pytest.raises(LedgerError, match=r"ledger\.db-wal"):
            opened(folder)
    shutil.copy(folder.parent / "copy" / "ledger.db", folder)
    with opened(folder) as memory:
        assert len(memory.ledger.episodes.all()) == 4
        assert memory.verify() == []
        (event,) = memory.ledger.turns.events("log set aside")
        assert (folder / event["file"]).stat().st_size > 0
        assert memory.recall(ALICE, "Who owns the boat?").episodes
    with opened(folder) as memory:
        assert len(memory.ledger.turns.events("log set aside")) == 1


@pytest.mark.parametrize("is_restored", [False, True])
def test_a_killed_writers_own_log_is_never_set_aside(folder, is_restored):
    if is_restored:
        with opened(folder) as memory:
            memory.backup(folder.parent / "copy")
        deleted(folder)
        shutil.copy(folder.parent / "copy" / "ledger.db", folder)
    with pytest.raises(subprocess.CalledProcessError):
        python(KILLED, folder)
    copied = shutil.copytree(folder, folder.parent / "moved")
    for path in (folder, copied):
        with opened(path) as memory, opened(path) as again:
            assert len(memory.ledger.episodes.all()) == 44
            assert again.verify() == []
            assert again.ledger.turns.events("log set aside") == []


@pytest.mark.parametrize("there", ["a folder", "a file", "a link"])
def test_a_backup_overwrites_nothing(folder, there):
    to = folder.parent / "there"
    if there == "a folder":
        to.mkdir()
    elif there == "a file":
        to.touch()
    else:
        to.symlink_to(folder.parent / "nowhere")
    done = run(app, ["backup", str(folder), str(to)])
    assert done.exit_code == 1
    assert "overwrites nothing" in done.output


def test_a_backup_is_whole_or_none(folder, monkeypatch):
    to = folder.parent / "copy"
    beside = sorted(folder.parent.iterdir())

    def full(*given, **named):
        raise OSError(28, "No space left on device")

    with opened(folder) as memory:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copytree", full)
            with pytest.raises(FolderError, match=r"copy could not be written \(No space left"):
                memory.backup(to)
        assert sorted(folder.parent.iterdir()) == beside
        (expert,) = memory.ledger.lineage.experts(ALICE)
        (folder / "experts" / expert.name / "adapter_config.json").write_text("?")
        with pytest.raises(ExpertError, match="damaged"):
            memory.backup(to)
        assert sorted(folder.parent.iterdir()) == beside


def test_a_backup_touches_nothing_beside_it(folder):
    others = folder.parent / ".copy.tmp"
    others.mkdir()
    (others / "mine").touch()
    with opened(folder) as memory:
        memory.backup(folder.parent / "copy")
    assert (others / "mine").exists()
    assert sorted(path.name for path in folder.parent.iterdir()) == [".copy.tmp", "copy", "m"]
    assert (folder.parent / "copy").stat().st_mode == folder.stat().st_mode


def test_no_backup_is_made_of_a_ledger_that_is_gone(folder):
    with opened(folder) as memory:
        deleted(folder)
        with pytest.raises(FolderError):
            memory.backup(folder.parent / "copy")
        assert not (folder / "ledger.db").exists()
        assert not (folder.parent / "copy").exists()
