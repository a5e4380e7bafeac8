"""A folder that is only read: nothing is written, on any disk, beside any process."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlite_utils
from _values import HashedWords
from langchain_core.messages import HumanMessage
from typer.testing import CliRunner

from sleepmem import ConfigError, Episode, FolderError, LedgerError, SleepMemory, View
from sleepmem.cli import app
from sleepmem.stores.database import APPLICATION_ID
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.schema import migrations

ALICE = ("alice",)
NOBODY = 65534
NEWS = "Mara lives in Rome now."
run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "m"
    with writer(path) as memory:
        memory.observe(ALICE, "Mara lives in Oslo.", thread="t")
        memory.observe(ALICE, "We bought seven green pears.", thread="t")
        memory.recall(ALICE, "Where does Mara live?")
        assert not memory.read_only
    return path


def writer(path: Path) -> SleepMemory:
    return SleepMemory.open(path, embeddings=HashedWords())


def reader(path: Path) -> SleepMemory:
    return SleepMemory.open(path, embeddings=HashedWords(), read_only=True)


def files(path: Path) -> dict[str, tuple[bytes, int]]:
    """All below, with contents and times; SQLite's memory between processes left out."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.endswith("-shm"):
            found[str(file.relative_to(path))] = (file.read_bytes(), file.stat().st_mtime_ns)
    return found


@contextmanager
def unwritable(path: Path) -> Iterator[Path]:
    """A copy that this process may read but not write, also as root."""
    place = Path(tempfile.mkdtemp())
    copy = shutil.copytree(path, place / "m")
    os.chmod(place, 0o755)
    for one in (copy, *copy.rglob("*")):
        os.chmod(one, 0o555 if one.is_dir() else 0o444)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(NOBODY)
        if os.access(copy, os.W_OK, effective_ids=is_root):
            pytest.skip("permissions bind nobody here")
        yield copy
    finally:
        if is_root:
            os.seteuid(0)
        for one in (copy, *copy.rglob("*")):
            os.chmod(one, 0o755)
        shutil.rmtree(place)


def test_everything_is_read_and_nothing_is_written(folder):
    before = files(folder)
    with reader(folder) as memory:
        found = memory.recall(ALICE, "Where does Mara live?")
        assert "Mara lives in Oslo." in [episode.text for episode in found.episodes]
        assert found.view is View.RETRIEVAL
        again = memory.search(ALICE, "Where does Mara live?")
        assert again.episodes == found.episodes
        assert "Oslo" in memory.context(found)
        (alice,) = memory.status()
        assert (alice["episodes"], alice["questions"]) == (2, 1)
        assert memory.last_look(ALICE, "Where does Mara live?")
        assert not memory.is_tired(ALICE)
        assert memory.read_only
        assert memory.verify() == []
    assert files(folder) == before
    assert not list(folder.glob("ledger.db-*"))


@pytest.mark.parametrize(
    "write",
    [
        lambda memory: memory.observe(ALICE, NEWS),
        lambda memory: memory.observe_messages(ALICE, [HumanMessage(NEWS, id="m")]),
        lambda memory: memory.observe_messages(ALICE, [HumanMessage(NEWS, id="m")], said_at="no"),
        lambda memory: memory.sleep(ALICE),
        lambda memory: memory.rollback(ALICE, []),
        lambda memory: memory.reindex(),
        lambda memory: memory.reconcile(),
        lambda memory: memory.ledger.vectors.clear("{}"),
        lambda memory: memory.ledger.nights.start(ALICE),
    ],
)
def test_what_writes_is_refused_in_a_sentence(folder, write):
    before = files(folder)
    with reader(folder) as memory, pytest.raises(FolderError, match="opened read only") as refused:
        write(memory)
    assert "without read_only=True" in str(refused.value)
    assert files(folder) == before


def test_beside_a_running_writer_what_it_commits_is_read(folder):
    with writer(folder) as memory, reader(folder) as beside:
        for n in range(3):
            told = memory.observe(ALICE, f"Jon has {n} red boats.", thread="u")
            assert told in beside.ledger.episodes.all(ALICE)
            assert told in beside.recall(ALICE, f"Who has {n} red boats?").episodes
        before = files(folder)
        assert beside.recall(ALICE, "Where does Mara live?").episodes
        assert files(folder) == before
    assert len(Ledger(folder / "ledger.db").episodes.all()) == 5


def test_a_reader_that_was_there_before_the_writer_reads_what_it_writes(folder):
    with reader(folder) as beside:
        assert len(beside.ledger.episodes.all()) == 2
        for n in range(3):
            with writer(folder) as memory:
                memory.observe(ALICE, f"Jon has {n} red boats.")
                assert len(beside.ledger.episodes.all()) == 3 + n
            assert len(beside.ledger.episodes.all()) == 3 + n
        with closing(sqlite3.connect(folder / "ledger.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert len(beside.ledger.episodes.all()) == 5
        assert beside.verify() == []


def test_after_a_writer_was_killed_what_it_committed_is_read(folder):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from sleepmem import Episode; from sleepmem.stores.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]) / 'ledger.db')\n"
        "ledger.episodes.tell(Episode(('alice',), 'Jon has a red boat.'))\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], timeout=120, check=False)
    assert done.returncode == -9
    before = files(folder)
    assert before["ledger.db-wal"][0]
    with reader(folder) as memory:
        assert memory.recall(ALICE, "Who has a red boat?").episodes
    assert files(folder) == before
    with unwritable(folder) as copy, reader(copy) as memory:
        assert len(memory.ledger.episodes.all()) == 3


def test_a_disk_that_cannot_be_written_is_read(folder):
    with reader(folder) as memory:  # what is imported late is imported
        memory.recall(ALICE, "Where does Mara live?")
    with unwritable(folder) as copy:
        with pytest.raises(FolderError):
            writer(copy)
        before = files(copy)
        with reader(copy) as memory:
            assert memory.recall(ALICE, "Where does Mara live?").episodes
            assert memory.verify() == []
        assert files(copy) == before


def test_a_folder_that_may_not_be_entered_is_one_sentence(folder, monkeypatch):
    stat = Path.stat

    def refused(path, **how):
        if path.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(FolderError, match=r"cannot be read \(Permission denied"):
        reader(folder)


@contextmanager
def told_and_unwritable(memory):
    """What it is told stands in the log of SQLite alone."""
    memory.observe(ALICE, NEWS)
    with unwritable(memory.folder) as copy:
        yield copy


def test_a_log_without_its_index_on_such_a_disk_is_one_sentence(folder):
    with writer(folder) as memory, told_and_unwritable(memory) as copy:
        os.seteuid(0) if os.getuid() == 0 else os.chmod(copy, 0o755)
        (copy / "ledger.db-shm").unlink()
        os.seteuid(NOBODY) if os.getuid() == 0 else os.chmod(copy, 0o555)
        with pytest.raises(FolderError, match="must lie where it can be written once"):
            reader(copy)


def write_of_an_earlier_version(folder, told):
    """A memory folder in which that version has stored this episode."""
    folder.mkdir()
    db = sqlite_utils.Database(folder / "ledger.db")
    migrations.apply(db, stop_before="tell_what_the_clock_dated")
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    row = {"id": told.id, "namespace": '["alice"]', "source": "user", "text": told.text}
    db["episodes"].insert({**row, "created_at": told.created_at, "message_id": "m"})
    db.close()


def test_a_ledger_of_an_earlier_version_is_read_as_it_is(tmp_path):
    told, folder = Episode(ALICE, "Mara lives in Oslo.", message_id="m"), tmp_path / "m"
    write_of_an_earlier_version(folder, told)
    before = files(folder)
    with reader(folder) as memory:
        assert memory.ledger.episodes.all() == [told]
        assert memory.status()[0]["episodes"] == 1
        assert files(folder) == before
        with writer(folder) as other:
            other.observe(ALICE, "Jon has a boat.")
        assert len(memory.ledger.episodes.all()) == 2


def test_a_ledger_of_an_earlier_version_is_exported_from_where_nothing_is_written(tmp_path):
    told, folder = Episode(ALICE, "Mara lives in Oslo.", message_id="m"), tmp_path / "m"
    write_of_an_earlier_version(folder, told)
    before = files(folder)
    with reader(folder) as memory:
        assert memory.export_to(ALICE, tmp_path / "out").counts["episodes"] == 1
    assert files(folder) == before
    done = run(app, ["export", str(folder), str(tmp_path / "again"), "-n", "alice"])
    assert done.exit_code == 0, done.output
    with writer(tmp_path / "new") as memory:
        assert memory.import_from(ALICE, tmp_path / "again").episodes == 1
        assert [one.text for one in memory.ledger.episodes.all(ALICE)] == [told.text]


def test_what_is_no_memory_is_one_sentence(tmp_path):
    with pytest.raises(FolderError, match="there is no memory"):
        reader(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(LedgerError, match="is not a ledger or is damaged"):
        reader(tmp_path)
    with pytest.raises(ConfigError, match="Pass one of them"):
        SleepMemory.open(tmp_path, embeddings=HashedWords(), read_only=True, append_only=True)


def test_a_folder_with_odd_characters_is_read(folder, tmp_path):
    odd = folder.rename(tmp_path / "a?b#c%20d é")
    with reader(odd) as memory:
        assert len(memory.ledger.episodes.all()) == 2


# The command


@pytest.fixture
def told(tmp_path: Path) -> str:
    path = str(tmp_path / "cli")
    assert run(app, ["observe", path, "Mara lives in Brenport.", "-n", "alice"]).exit_code == 0
    return path


def test_the_commands_that_look_write_nothing(told, tmp_path):
    before = files(Path(told))
    assert "alice" in run(app, ["status", told]).stdout
    out = str(tmp_path / "report")
    assert run(app, ["report", told, "-n", "alice", "--out", out]).exit_code == 0
    assert files(Path(told)) == before


def test_the_commands_that_look_work_beside_a_writer(told, tmp_path):
    with SleepMemory.open(told) as memory:
        memory.observe(ALICE, "Jon has a boat.")
        assert "alice" in run(app, ["status", told]).stdout
        out = str(tmp_path / "report")
        assert run(app, ["report", told, "-n", "alice", "--out", out]).exit_code == 0
        assert run(app, ["verify", told]).stdout.startswith("sound: every episode is there")
        asked = run(app, ["ask", told, "Where does Mara live?", "-n", "alice"])
        assert asked.stdout.strip() == "Brenport."
