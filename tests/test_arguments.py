"""What is of the wrong type is refused in one sentence, and nothing is written."""

import inspect

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from sleepmem import (
    ConfigError,
    SleepmemError,
    SleepMemory,
    View,
)
from sleepmem.records import Recall

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


SAID = "Mara moved to Brenport."
NOBODY = (None, 5, 1.5, {"alice"}, {"alice": 1}, object(), b"alice", [None], (("a",),))
NO_TEXT = (5, 1.5, b"text", ["text"], {"a": 1}, object(), True)
NO_ID = (1.5, b"m1", ["m1"], {"a": 1}, object(), True)
NO_DATE = ("yesterday", 5, 1.5, object(), True)
NO_PATHS = ("a\0b", "\ud800", "x" * 300, "/".join(["x" * 200] * 50))
WRONG = {
    "observe": {
        "namespace": NOBODY,
        "text": (None, *NO_TEXT),
        "source": (None, *NO_TEXT),
        "created_at": (*NO_TEXT, 0, "yesterday"),
        "message_id": NO_ID,
        "speaker": NO_TEXT,
        "thread": NO_ID,
        "answers": NO_TEXT,
    },
    "observe_messages": {
        "namespace": NOBODY,
        "messages": (None, 5, "text", [5], [{"role": "user"}], [None], object()),
        "thread": NO_ID,
        "tools": ("search", 5, [5], [None], object()),
        "zone": ("Asia/Tokyo", 5, object()),
    },
    "recall": {
        "namespace": NOBODY,
        "question": (None, *NO_TEXT),
        "today": NO_DATE,
        "seen": ("text", 5, None, [5], [None], object()),
        "message_id": NO_ID,
    },
    "second_look": {
        "namespace": NOBODY,
        "question": (None, *NO_TEXT),
        "first": (None, "text", 5, object()),
        "reply": (None, "text", 5, object()),
        "today": NO_DATE,
        "seen": ("text", 5, [5]),
        "message_id": NO_ID,
    },
    "may_look_again": {"namespace": NOBODY, "first": (None, 5), "reply": (None, "text", 5)},
    "last_look": {"namespace": NOBODY, "question": (None, *NO_TEXT)},
    "search": {"namespace": NOBODY, "question": (None, *NO_TEXT)},
    "ask": {"namespace": NOBODY, "question": (None, *NO_TEXT)},
    "why": {"namespace": NOBODY, "question": (None, *NO_TEXT), "today": NO_DATE},
    "context": {
        "recall": (None, "text", 5),
        "system": (None, *NO_TEXT),
        "today": NO_DATE,
        "speaker": NO_TEXT,
    },
    "is_tired": {"namespace": NOBODY},
    "nights": {"namespace": NOBODY},
    "notes": {"namespace": NOBODY},
    "episodes": {"namespace": NOBODY, "ids": (None, 5, "an-id", [5], [None], object())},
    "due_nights": {"least": (0, -1, "5", 1.5, True)},
    "live_experts": {"namespace": NOBODY},
    "sleep": {"namespace": NOBODY, "on_event": (5, "text"), "stop": (5, "text", True)},
    "rollback": {"namespace": NOBODY, "nights": (None, 5, "night-0001", [5], [None], object())},
    "backup": {"path": (None, 5, b"b", ["b"], object(), *NO_PATHS)},
    "safely": {"namespace": (5, "alice", (b"x",), [None], object())},
}


@pytest.mark.parametrize(
    ("verb", "argument"), [(verb, name) for verb, names in WRONG.items() for name in names]
)
def test_a_wrong_type_is_refused_in_a_sentence_and_nothing_is_written(memory, verb, argument):
    first = Recall(View.WEIGHTS, "")
    right = {
        "namespace": ALICE,
        "text": SAID,
        "question": "Where did Mara move?",
        "messages": [HumanMessage(SAID)],
        "first": first,
        "recall": first,
        "reply": AIMessage("I do not know."),
        "nights": [],
        "ids": [],
        "path": memory.folder / "copy",
        "what": "dividing",
        "call": lambda: 1 / 0,
        "otherwise": None,
    }
    call = getattr(memory, verb)
    names = inspect.signature(call).parameters
    given = {name: value for name, value in right.items() if name in names}
    before = memory.ledger.database.db.conn.total_changes
    for value in WRONG[verb][argument]:
        with pytest.raises(SleepmemError) as raised:
            call(**{**given, argument: value})
        assert len(str(raised.value)) < 300
    assert memory.ledger.database.db.conn.total_changes == before
    assert memory.verify() == []


@pytest.mark.parametrize("folder", [None, 5, b"m", ["m"]])
def test_a_folder_is_named_by_a_path(folder):
    with pytest.raises(ConfigError, match="folder is a"):
        SleepMemory.open(folder)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("model", 5), ("embeddings", "all-MiniLM"), ("semantic", 5), ("config", {})],
)
def test_what_it_is_opened_with_is_checked_before_anything_is_made(tmp_path, argument, value):
    with pytest.raises(ConfigError, match=f"{argument} is a"):
        SleepMemory.open(tmp_path / "m", **{argument: value})
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", NO_PATHS)
@pytest.mark.parametrize("how", [{}, {"read_only": True}])
def test_what_no_file_can_be_named_is_no_folder_and_no_model(tmp_path, name, how):
    with pytest.raises(ConfigError, match="folder is"):
        SleepMemory.open(name, **how)
    with pytest.raises(ConfigError, match="model is"):
        SleepMemory.open(tmp_path / "m", name, **how)
    assert not (tmp_path / "m").exists()


def test_an_id_asks_as_it_is_stored(memory):
    memory.observe(ALICE, "Where did Mara move?", message_id=5)
    assert memory.recall(ALICE, "Where did Mara move?", message_id=5).episodes == ()
