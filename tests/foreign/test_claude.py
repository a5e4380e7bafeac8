"""Conversations of Claude: blocks, branches, and what is not the user's own word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem.errors import EpisodeError
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Conversation

# What the first message has as its parent.
ROOT = "00000000-0000-4000-8000-000000000000"
UNSHOWN = "```\nThis block is not supported on your current device yet.\n```"


def message(
    name: str, sender: str = "human", at: str = "08:00:00", **fields: Any
) -> dict[str, Any]:
    own = {
        "uuid": name,
        "sender": sender,
        "text": name,
        "content": [{"type": "text", "text": name, "citations": []}],
        "created_at": f"2026-03-04T{at}.123456Z",
        "updated_at": f"2026-03-04T{at}.123456Z",
        "attachments": [],
        "files": [],
    }
    return {**own, **fields}


def conversation(*messages: object, **fields: Any) -> dict[str, Any]:
    own = {"uuid": "c-1", "name": "A chat", "created_at": "2026-03-04T07:00:00Z", "account": {}}
    return {**own, "chat_messages": list(messages), **fields}


def found(folder: Path, *conversations: object) -> list[Conversation]:
    file = folder / "conversations.json"
    file.write_text(json.dumps(conversations), encoding="utf-8")
    return list(read(file))


def said(one: Conversation) -> list[list[str]]:
    return [[str(message.content) for message in turn.messages] for turn in one.turns]


def test_a_conversation_is_read_in_turns(tmp_path: Path) -> None:
    messages = [
        message("hello", "assistant"),
        message("मैं दिल्ली में रहता हूँ", at="08:01:00"),
        message("nice", "assistant", at="08:02:00"),
        message("bye", at="08:03:00", created_at="2026-03-04T10:03:00+02:00"),
    ]
    (one,) = found(tmp_path, conversation(*messages))
    assert one.id == "c-1"
    first, second = one.turns
    assert first.said_at == "2026-03-04T08:01:00.123456+00:00"
    assert first.messages == (
        AIMessage("hello", id="hello"),
        HumanMessage("मैं दिल्ली में रहता हूँ", id="मैं दिल्ली में रहता हूँ"),
        AIMessage("nice", id="nice"),
    )
    assert second.said_at == "2026-03-04T10:03:00+02:00"


def test_attachments_are_not_the_words_of_the_user(tmp_path: Path) -> None:
    pasted = {"file_name": "cv.txt", "extracted_content": "SECRET", "file_type": "txt"}
    only = message("x", text="", content=[], attachments=[pasted], files=[{"file_name": "a.png"}])
    (one,) = found(tmp_path, conversation(message("read this", attachments=[pasted]), only))
    assert said(one) == [["read this"]]
    assert "SECRET" not in repr(one)


def test_thoughts_and_calls_are_left_out_and_results_are_kept_in_order(tmp_path: Path) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "web_search", "input": {"query": "rain"}},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "name": "web_search",
            "content": [{"type": "knowledge", "url": "x"}, {"type": "text", "text": "rain at 3"}],
        },
        {"type": "tool_result", "tool_use_id": "toolu_2", "name": "empty", "content": []},
        {"type": "text", "text": "It will "},
        {"type": "text", "text": "rain."},
    ]
    answer = message("a", "assistant", text=UNSHOWN, content=blocks)
    (one,) = found(tmp_path, conversation(message("q"), answer))
    assert one.turns[0].messages == (
        HumanMessage("q", id="q"),
        AIMessage("Let me look.", id="a"),
        ToolMessage("rain at 3", id="a-2", name="web_search", tool_call_id="toolu_1"),
        AIMessage("It will\nrain.", id="a-3"),
    )


def test_the_text_is_read_where_there_are_no_blocks(tmp_path: Path) -> None:
    old = {**message("q"), "text": "old words"}
    del old["content"]
    answer = message("a", "assistant", content=[], text=f"One.\n{UNSHOWN}\n\nTwo.")
    (one,) = found(tmp_path, conversation(old, answer))
    assert said(one) == [["old words", "One.\nTwo."]]


def test_only_the_branch_of_the_newest_message_is_read(tmp_path: Path) -> None:
    messages = [
        message("bern", at="08:00:00", parent_message_uuid=ROOT),
        message("to bern", "assistant", at="08:01:00", parent_message_uuid="bern"),
        message("basel", at="08:02:00", parent_message_uuid=ROOT),
        message("answer", "assistant", at="08:03:00", parent_message_uuid="basel"),
        message("again", "assistant", at="08:04:00", parent_message_uuid="basel"),
    ]
    (one,) = found(tmp_path, conversation(*messages))
    assert said(one) == [["basel", "again"]]
    (one,) = found(tmp_path, conversation(*messages, current_leaf_message_uuid="to bern"))
    assert said(one) == [["bern", "to bern"]]


def test_an_answer_belongs_to_its_branch_though_its_clock_was_behind(tmp_path: Path) -> None:
    messages = [
        message("q", at="08:01:00", parent_message_uuid=ROOT),
        message("a", "assistant", at="08:00:59", parent_message_uuid="q"),
    ]
    (one,) = found(tmp_path, conversation(*messages))
    assert said(one) == [["q", "a"]]


def test_a_deleted_message_takes_no_other_with_it(tmp_path: Path) -> None:
    messages = [
        message("q", parent_message_uuid=ROOT),
        message("a", "assistant", at="08:01:00", parent_message_uuid="q"),
        message("r", at="08:03:00", parent_message_uuid="deleted"),
        message("edited", at="08:04:00", parent_message_uuid="deleted"),
    ]
    (one,) = found(tmp_path, conversation(*messages))
    assert said(one) == [["q", "a"], ["edited"]]


def test_a_conversation_without_a_word_of_the_user_is_left_out(tmp_path: Path) -> None:
    empty = conversation()
    alone = conversation(message("a", "assistant"))
    assert found(tmp_path, empty, alone, conversation(message("q"))) != []
    assert found(tmp_path, empty, alone) == []
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (conversation(uuid=None), "has no uuid"),
        ({"uuid": "c-2", "name": ""}, "has no chat_messages"),
        (conversation("x"), "1 of chat_messages in entry 2 of .* is text"),
        (conversation(message("q", uuid="")), "has no uuid"),
        (conversation(message("q", sender="robot")), "sent by 'robot'"),
        (conversation(message("q", sender=None)), "sent by None"),
        (
            conversation(message("q", created_at="2026-03-04T25:00Z")),
            "created_at of 1 of chat_mess",
        ),
        (conversation(message("q", content="x")), "has text as its content"),
        (conversation(message("q", content=["x"])), "1 of content in 1 of chat_messages"),
        (
            conversation(
                message("q", parent_message_uuid="r"), message("r", parent_message_uuid="q")
            ),
            "go in a circle",
        ),
    ],
)
def test_a_wrong_conversation_is_named(tmp_path: Path, broken: object, reason: str) -> None:
    with pytest.raises(EpisodeError, match=reason) as raised:
        found(tmp_path, conversation(message("q")), broken)
    assert "entry 2" in str(raised.value)
    assert "conversations.json" in str(raised.value)
