"""Conversations of ChatGPT: the live branch of a tree, and what of it was said to people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem.errors import EpisodeError
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Conversation, Form

BEGAN = 1772611200.0  # 2026-03-04 08:00 UTC


def node(name: str, parent: str | None, role: str = "user", **message: Any) -> dict[str, Any]:
    """A node as exports have it; `text`, or any other field of the message."""
    text = message.pop("text", name)
    message = {
        "id": f"m-{name}",
        "author": {"role": role, "name": message.pop("tool", None), "metadata": {}},
        "create_time": BEGAN + len(name),
        "update_time": None,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        "channel": None,
        **message,
    }
    return {"id": name, "message": message, "parent": parent, "children": []}


def conversation(nodes: Sequence[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    root = {"id": "root", "message": None, "parent": None, "children": []}
    mapping = {one["id"]: one for one in (root, *nodes)}
    last = nodes[-1]["id"] if nodes else "root"
    own = {"title": "A chat", "create_time": BEGAN, "update_time": BEGAN, "mapping": mapping}
    return {**own, "current_node": last, "conversation_id": "c-1", "id": "c-1", **fields}


def found(folder: Path, *conversations: object) -> list[Conversation]:
    file = folder / "conversations.json"
    file.write_text(json.dumps(conversations), encoding="utf-8")
    return list(read(file))


def said(read_: Conversation) -> list[list[tuple[str, str]]]:
    return [[(one.type, str(one.content)) for one in turn.messages] for turn in read_.turns]


def test_a_conversation_is_read_in_turns(tmp_path: Path) -> None:
    nodes = [
        node("sys", "root", "system", text=""),
        node("q1", "sys", text="Ich wohne in Zürich 🏔"),
        node("a1", "q1", "assistant", text="Schön!"),
        node("q22", "a1", text="And my cat?"),
        node("a2", "q22", "assistant", text="Which cat?"),
    ]
    (one,) = found(tmp_path, conversation(nodes))
    assert one.id == "c-1"
    first, second = one.turns
    assert first.said_at == "2026-03-04T08:00:02+00:00"
    assert first.messages == (
        HumanMessage("Ich wohne in Zürich 🏔", id="m-q1"),
        AIMessage("Schön!", id="m-a1"),
    )
    assert second.said_at == "2026-03-04T08:00:03+00:00"
    assert [message.id for message in second.messages] == ["m-q22", "m-a2"]


def test_only_the_live_branch_is_read(tmp_path: Path) -> None:
    nodes = [
        node("old", "root", text="I live in Bern"),
        node("old answer", "old", "assistant"),
        node("new", "root", text="I live in Basel"),
        node("first answer", "new", "assistant"),
        node("second answer", "new", "assistant"),
    ]
    (one,) = found(tmp_path, conversation(nodes))
    assert said(one) == [[("human", "I live in Basel"), ("ai", "second answer")]]
    (one,) = found(tmp_path, conversation(nodes, current_node="old answer"))
    assert said(one) == [[("human", "I live in Bern"), ("ai", "old answer")]]


def test_without_a_current_node_the_newest_message_ends_the_branch(tmp_path: Path) -> None:
    nodes = [
        node("new", "root", create_time=BEGAN + 90.5, text="newer"),
        node("old", "root", create_time=BEGAN + 90, text="older"),
        node("undated", "root", create_time=None, text="undated"),
    ]
    (one,) = found(tmp_path, conversation(nodes, current_node=None))
    assert said(one) == [[("human", "newer")]]


def test_what_the_assistant_says_first_belongs_to_the_first_turn(tmp_path: Path) -> None:
    nodes = [node("hi", "root", "assistant"), node("hello", "hi"), node("ok", "hello", "assistant")]
    (one,) = found(tmp_path, conversation(nodes))
    assert said(one) == [[("ai", "hi"), ("human", "hello"), ("ai", "ok")]]


def test_results_of_tools_are_kept_and_calls_are_not(tmp_path: Path) -> None:
    code = {"content_type": "code", "language": "python", "text": "1 + 1"}
    output = {"content_type": "execution_output", "text": "2"}
    page = {"content_type": "tether_browsing_display", "result": "a page", "summary": ""}
    error = {"content_type": "system_error", "name": "x", "text": "boom"}
    nodes = [
        node("q", "root", text="count"),
        node("call", "q", "assistant", content=code, recipient="python"),
        node("out", "call", "tool", tool="python", content=output),
        node("look", "out", "assistant", text='{"q": 1}', recipient="web"),
        node("page", "look", "tool", tool="browser", content=page),
        node("broke", "page", "tool", tool="browser", content=error),
        node("a", "broke", "assistant", text="It is 2."),
    ]
    (one,) = found(tmp_path, conversation(nodes))
    assert one.turns[0].messages == (
        HumanMessage("count", id="m-q"),
        ToolMessage("2", id="m-out", name="python", tool_call_id="m-call"),
        ToolMessage("a page", id="m-page", name="browser", tool_call_id="m-look"),
        AIMessage("It is 2.", id="m-a"),
    )


@pytest.mark.parametrize(
    "hidden",
    [
        node("x", "q", "system", text="be nice"),
        node("x", "q", "critic"),
        node("x", "q", "assistant", metadata={"is_visually_hidden_from_conversation": True}),
        node("x", "q", metadata={"is_user_system_message": True}),
        node("x", "q", "assistant", channel="analysis"),
        node("x", "q", "assistant", content={"content_type": "thoughts", "thoughts": []}),
        node("x", "q", "assistant", content={"content_type": "reasoning_recap", "content": "5s"}),
        node("x", "q", content={"content_type": "user_editable_context", "user_profile": "34"}),
        node("x", "q", "assistant", text="  "),
        node("x", "q", content=None),
        {"id": "x", "message": None, "parent": "q", "children": []},
        {"id": "x", "parent": "q"},
    ],
)
def test_hidden_and_deleted_messages_are_left_out(tmp_path: Path, hidden: dict[str, Any]) -> None:
    nodes = [node("q", "root"), hidden, node("a", "x", "assistant")]
    (one,) = found(tmp_path, conversation(nodes))
    assert said(one) == [[("human", "q"), ("ai", "a")]]


def test_of_images_and_sound_only_text_is_read(tmp_path: Path) -> None:
    parts = [
        {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1"},
        {"content_type": "audio_transcription", "text": "明日は雨", "direction": "in"},
        {"content_type": "real_time_user_audio_video_asset_pointer", "frames": []},
        "what is this?",
        "",
    ]
    image = {"content_type": "multimodal_text", "parts": parts}
    wordless = {"content_type": "multimodal_text", "parts": parts[:1]}
    nodes = [node("q", "root", content=image), node("image", "q", content=wordless)]
    (one,) = found(tmp_path, conversation(nodes))
    assert said(one) == [[("human", "明日は雨\nwhat is this?")]]


def test_a_message_without_a_time_has_that_of_the_one_before(tmp_path: Path) -> None:
    nodes = [
        node("q", "root", create_time=None),
        node("a", "q", "assistant", create_time=BEGAN + 60),
        node("r", "a", create_time=None),
    ]
    (one,) = found(tmp_path, conversation(nodes))
    assert [turn.said_at for turn in one.turns] == [
        "2026-03-04T08:00:00+00:00",
        "2026-03-04T08:01:00+00:00",
    ]


def test_conversations_without_a_word_of_the_user_are_left_out(tmp_path: Path) -> None:
    alone = conversation([node("a", "root", "assistant")])
    empty = conversation([], mapping={}, current_node=None)
    assert found(tmp_path, alone, empty, conversation([])) == []
    assert found(tmp_path) == []


def test_a_branch_of_ten_thousand_messages_is_read(tmp_path: Path) -> None:
    nodes = [node("0", "root")]
    for number in range(1, 10_000):
        nodes.append(node(str(number), str(number - 1)))
    (one,) = found(tmp_path, conversation(nodes))
    assert len(one.turns) == 10_000


def without(field: str) -> dict[str, Any]:
    content = conversation([node("q", "root")])
    del content[field]
    return content


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (without("mapping"), "has no mapping"),
        ({**without("id"), "conversation_id": None}, "has no conversation_id or id"),
        (conversation([node("q", "root")], current_node="gone"), "ends at node 'gone'"),
        (conversation([node("q", "r"), node("r", "q")]), "go in a circle"),
        (conversation([node("q", "root", author=None)]), "has no author"),
        (conversation([node("q", "root", author="user")]), "has text as its author"),
        (conversation([node("q", "root", create_time="x")]), "create_time of message of node 'q'"),
        (conversation([node("q", "root", content={"parts": "x"})]), "parts that are no list"),
        (conversation([], mapping={"a": None}, current_node="a"), "node 'a' of entry 2"),
        (["x"], "is a list, not an object"),
    ],
)
def test_a_wrong_conversation_is_named(tmp_path: Path, broken: object, reason: str) -> None:
    with pytest.raises(EpisodeError, match=reason) as raised:
        found(tmp_path, conversation([node("q", "root")]), broken)
    assert "entry 2" in str(raised.value)
    assert "conversations.json" in str(raised.value)


def test_a_single_conversation_is_an_export_too(tmp_path: Path) -> None:
    (tmp_path / "chat").write_text(json.dumps(conversation([node("q", "root")])))
    (one,) = read(tmp_path / "chat")
    assert isinstance(one, Conversation)
    assert list(read(tmp_path / "chat", form=Form.CHATGPT)) == [one]
