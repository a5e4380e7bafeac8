"""What somebody else may have put in place of the checkpoints: it runs nothing, nights go on."""

import json
import pickle
import sqlite3
from contextlib import closing

import ormsgpack
import pytest
from _nights import ALICE, config
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from sleepmem import SleepMemory, Verdict
from sleepmem.errors import FolderError
from sleepmem.night import checkpoints

NIGHT = "night-0001"
SET_ASIDE = "checkpoints set aside"
# The codes of LangGraph's serializer for objects: one argument, several, named ones, a method,
# Pydantic 1 and 2. Each names a module, something in it, and what it is called with.
CODES = {
    0: lambda ran: ("os", "mkdir", ran),
    1: lambda ran: ("os", "mkdir", (ran,)),
    2: lambda ran: ("os", "mkdir", {"path": ran}),
    3: lambda ran: ("shutil", "os", ran, "mkdir"),
    4: lambda ran: ("os", "mkdir", {"path": ran}),
    5: lambda ran: ("os", "mkdir", {"path": ran}, "model_validate_json"),
}


class Runs:
    """A pickle that makes a folder."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        import os

        return os.mkdir, (self.ran,)


def packed(code, told):
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(told)))


def called(kind, ran):
    """A value as its row has it: its type, its bytes."""
    if kind == "pickle":
        return "pickle", pickle.dumps(Runs(ran))
    if kind == "json":
        made = {"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": [ran]}
        return "json", json.dumps(made).encode()
    if kind == "within":
        return "msgpack", packed(7, ormsgpack.Ext(0, ormsgpack.packb(CODES[0](ran))))
    return "msgpack", packed(kind, CODES[kind](ran))


def other(kind):
    """What the serializer knows, or does not, and runs nothing."""
    if kind == "array":
        return "msgpack", packed(6, ["<f4", [1], "C", b"1234"])
    if kind == "a message":
        made = {"content": "", "type": "human"}
        return "msgpack", packed(5, ("langchain_core.messages.human", "HumanMessage", made, ""))
    if kind == "a way on":
        return "msgpack", packed(1, ("langgraph.types", "Send", ("promote", {})))
    if kind == "a secret":
        return "json", json.dumps({"lc": 1, "type": "secret", "id": ["HOME"]}).encode()
    if kind == "an unknown code":
        return "msgpack", packed(99, "")
    if kind == "no msgpack":
        return "msgpack", b"\xc1"
    return kind, b""


def put(folder, row, *, table):
    """A file of checkpoints with this value where the interrupted night looks."""
    with closing(sqlite3.connect(folder / "nights.db")) as file:
        saver = SqliteSaver(file)
        saver.setup()
        plain = JsonPlusSerializer().dumps_typed({"id": "1", "channel_values": {}})
        kind, value = row if table == "checkpoints" else plain
        file.execute(
            "INSERT INTO checkpoints VALUES (?, '', '1', NULL, ?, ?, '{}')", [NIGHT, kind, value]
        )
        if table == "writes":
            file.execute(
                "INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, "
                "channel, type, value) VALUES (?, '', '1', '1', 0, 'tonight', ?, ?)",
                [NIGHT, *row],
            )
        file.commit()


@pytest.fixture
def interrupted(tmp_path, tiny, embeddings):
    """A memory whose night was interrupted."""
    with SleepMemory.open(tmp_path / "m", tiny, embeddings=embeddings, config=config()) as memory:
        assert memory.ledger.nights.start(ALICE) == NIGHT
        yield memory


def begun_anew(memory):
    report = memory.sleep(ALICE)
    assert (report.night_id, report.verdict) == (NIGHT, Verdict.SKIPPED)
    assert "nothing to learn" in report.reason
    assert memory.verify() == []
    return [event["file"] for event in memory.ledger.turns.events(SET_ASIDE)]


KINDS = ["pickle", "json", "within", *CODES]


@pytest.mark.parametrize("kind", KINDS)
def test_these_values_run_where_they_are_let(tmp_path, kind):
    trusting = JsonPlusSerializer(
        pickle_fallback=True, allowed_json_modules=True, allowed_msgpack_modules=True
    )
    if kind != 3:  # LangGraph's own list names the methods that it calls
        trusting.loads_typed(called(kind, str(tmp_path / "ran")))
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("table", ["checkpoints", "writes"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_crafted_value_runs_nothing(tmp_path, interrupted, kind, table):
    put(interrupted.folder, called(kind, str(tmp_path / "ran")), table=table)
    before = (interrupted.folder / "nights.db").read_bytes()
    (file,) = begun_anew(interrupted)
    assert not (tmp_path / "ran").exists()
    assert (interrupted.folder / file).read_bytes() == before


@pytest.mark.parametrize(
    "kind",
    [
        *("array", "a message", "a way on", "a secret", "an unknown code", "no msgpack"),
        *("bytes", "bytearray", "another"),
    ],
)
def test_what_is_no_plain_data_is_set_aside(interrupted, kind):
    put(interrupted.folder, other(kind), table="checkpoints")
    assert len(begun_anew(interrupted)) == 1


OTHERS = {
    "tonight": {"night_id": NIGHT, "number": 1, "namespace": ["bob"], "level": "fast"},
    "another night": {"night_id": "night-0002", "number": 1, "namespace": ["alice"], "level": "x"},
    "no state": [1, 2],
    "no dict": None,
}


@pytest.mark.parametrize("told", OTHERS.values(), ids=OTHERS)
def test_a_state_of_another_night_or_form_is_not_gone_on_with(interrupted, told):
    plain = {
        "v": 4,
        "id": "1",
        "ts": "2030-01-01T00:00:00+00:00",
        "channel_values": {"tonight": told},
        "channel_versions": {"tonight": "1"},
        "versions_seen": {},
    }
    put(interrupted.folder, JsonPlusSerializer().dumps_typed(plain), table="checkpoints")
    assert begun_anew(interrupted) == []


# Files that are none of ours


def foreign(path):
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE bookmarks (url)")
        file.execute("INSERT INTO bookmarks VALUES ('kept')")
        file.commit()


def other_columns(path):
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE checkpoints (thread_id, checkpoint)")


def with_trigger(path):
    with closing(sqlite3.connect(path)) as file:
        SqliteSaver(file).setup()
        file.execute(
            "CREATE TRIGGER t AFTER INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'no'); END"
        )


def damaged(path):
    with closing(sqlite3.connect(path)) as file:
        SqliteSaver(file).setup()
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"?" * (len(whole) - 4096))


FILES = {
    "garbage": lambda path: path.write_bytes(b"no database at all " * 99),
    "another program's": foreign,
    "other columns": other_columns,
    "a trigger": with_trigger,
    "damaged": damaged,
    "a folder": lambda path: (path / "within").mkdir(parents=True),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_a_file_that_is_none_of_ours_is_set_aside(interrupted, make):
    make(interrupted.folder / "nights.db")
    (file,) = begun_anew(interrupted)
    assert file.startswith("nights.db.set-aside-")
    assert (interrupted.folder / file).exists()
    if make is foreign:
        with closing(sqlite3.connect(interrupted.folder / file)) as kept:
            tables = kept.execute("SELECT name FROM sqlite_master").fetchall()
            assert tables == [("bookmarks",)]


def test_an_empty_file_is_begun_with(interrupted):
    (interrupted.folder / "nights.db").touch()
    assert begun_anew(interrupted) == []


def test_what_cannot_be_renamed_is_told_in_a_sentence(tmp_path, monkeypatch):
    def refused(self, other):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "nights.db").mkdir()
    monkeypatch.setattr("pathlib.Path.rename", refused)
    with (
        pytest.raises(FolderError, match=r"nights\.db could not be used \(Permission denied\)"),
        checkpoints.opened(tmp_path, None, set_aside=print),
    ):
        pass


def test_two_files_set_aside_at_once_have_two_names(tmp_path):
    names = []
    for _ in range(2):
        (tmp_path / "nights.db").write_text("garbage " * 99)
        with checkpoints.opened(tmp_path, None, set_aside=names.append):
            pass
    assert len(set(names)) == 2
    assert all((tmp_path / name).exists() for name in names)
