"""Which form it is, and which files of a folder or an archive belong to it."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sleepmem.errors import ConfigError, EpisodeError, FolderError
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Conversation, Form

MEMORY = {"id": "1", "memory": "Drinks tea"}
ITEM = {"namespace": ["a"], "key": "1", "value": {"content": "Drinks tea"}}
CLAUDE = {
    "uuid": "claude",
    "chat_messages": [{"uuid": "m", "sender": "human", "text": "hello", "content": []}],
}
MESSAGE = {"id": "m", "author": {"role": "user"}, "content": {"parts": ["hello"]}}
CHATGPT = {
    "id": "chatgpt",
    "current_node": "n",
    "mapping": {"n": {"message": MESSAGE, "parent": None}},
}
MANY = 1 << 30


def archive(folder: Path, files: dict[str, Any]) -> Path:
    """A .zip of these; what is no text becomes JSON."""
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def ids(path: Path, form: Form | None = None) -> list[str | None]:
    return [one.id for one in read(path, form=form)]


@pytest.mark.parametrize(
    ("entry", "form"),
    [
        (MEMORY, Form.MEM0),
        (ITEM, Form.LANGMEM),
        (CHATGPT, Form.CHATGPT),
        (CLAUDE, Form.CLAUDE),
    ],
)
def test_each_form_is_recognised_under_any_name(tmp_path: Path, entry: object, form: Form) -> None:
    file = tmp_path / "something.json"
    file.write_text(json.dumps([entry]))
    (one,) = read(file)
    assert isinstance(one, Conversation) == (form in (Form.CHATGPT, Form.CLAUDE))
    assert list(read(file, form=form)) == [one]
    assert list(read(file, form=str(form))) == [one]  # type: ignore[arg-type]
    for other in set(Form) - {form, Form.MARKDOWN}:
        with pytest.raises(EpisodeError, match="entry 1"):
            list(read(file, form=other))


def test_an_archive_of_chatgpt_is_read_with_all_its_parts(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        {
            "conversations-001.json": [{**CHATGPT, "id": "two"}],
            "conversations-000.json": [CHATGPT],
            "user.json": {"id": "user-1", "email": "ana@example.org"},
            "message_feedback.json": [],
            "shared_conversations.json": [{"id": "s", "conversation_id": "chatgpt"}],
            "tags.json": ["a", "b"],
            "chat.html": "<html></html>",
            "__MACOSX/conversations.json": "junk",
        },
    )
    before = sorted(tmp_path.iterdir())
    assert ids(path) == ["chatgpt", "two"]
    assert ids(path, Form.CHATGPT) == ["chatgpt", "two"]
    assert sorted(tmp_path.iterdir()) == before


def test_an_archive_of_claude_is_read_from_a_folder_in_it(tmp_path: Path) -> None:
    users = [{"uuid": "u", "full_name": "Ana"}]
    path = archive(tmp_path, {"data/conversations.json": [CLAUDE], "data/users.json": users})
    assert ids(path) == ["claude"]
    with zipfile.ZipFile(path) as made:
        made.extractall(tmp_path / "out")
    assert ids(tmp_path / "out") == ["claude"]


def test_an_archive_under_another_name_is_one(tmp_path: Path) -> None:
    path = archive(tmp_path, {"conversations.json": [CLAUDE]})
    assert ids(path.rename(tmp_path / "download")) == ["claude"]


def test_an_archive_of_markdown_is_read_with_its_times(tmp_path: Path) -> None:
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(zipfile.ZipInfo("vault/a.md", (2026, 3, 4, 8, 0, 0)), "text")
    (one,) = read(path)
    assert one.at == "2026-03-04T08:00:00"  # type: ignore[union-attr]
    assert str(one.id).startswith("vault/a.md#")


def test_an_empty_export_of_a_chat_holds_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path, {"conversations.json": [], "user.json": {"id": "u"}})
    assert list(read(path)) == []
    assert list(read(path, form=Form.CLAUDE)) == []


def test_other_empty_files_do_not_hide_an_unknown_form(tmp_path: Path) -> None:
    path = archive(tmp_path, {"conversations.json": [{"turns": []}], "message_feedback.json": []})
    with pytest.raises(EpisodeError, match=r"export\.zip holds nothing of any of the forms"):
        list(read(path))


def test_two_forms_in_one_folder_must_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([MEMORY]))
    (tmp_path / "README.md").write_text("What this is.")
    with pytest.raises(EpisodeError, match=r"holds markdown \(README\.md\) and mem0 \(a\.json\)"):
        list(read(tmp_path))
    assert ids(tmp_path, Form.MEM0) == ["1"]
    assert len(ids(tmp_path, Form.MARKDOWN)) == 1
    with pytest.raises(EpisodeError, match="holds nothing of claude"):
        list(read(tmp_path, form=Form.CLAUDE))


def test_text_in_utf_16_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps([MEMORY]).encode("utf-16"))
    assert ids(tmp_path / "a.json") == ["1"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is no JSON"),
        ("[{", "is no JSON"),
        ('{"a": 1} x', "is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "1" * 5000 + "]", "is no JSON"),
        ('{"turns": []}', "holds nothing of any of the forms"),
        ("[1, 2]", "holds nothing of any of the forms"),
        ("3", "holds nothing of any of the forms"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(content)
    for path in (tmp_path / "a.json", tmp_path):
        with pytest.raises(EpisodeError, match=reason) as raised:
            list(read(path))
        assert str(path) in str(raised.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "chat.html").write_text("<html>")
    with pytest.raises(EpisodeError, match=r"chat\.html holds nothing"):
        list(read(tmp_path / "chat.html"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    with pytest.raises(FolderError, match=r"a\.png is no text in UTF-8"):
        list(read(tmp_path / "a.png"))


def test_what_cannot_be_found_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="there is no"):
        list(read(tmp_path / "missing.json"))
    with pytest.raises(EpisodeError, match="holds nothing"):
        list(read(tmp_path))
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FolderError, match="neither a file nor a folder"):
        list(read(tmp_path / "pipe.json"))
    with pytest.raises(ConfigError, match="path"):
        read(Path("a\0b"))
    with pytest.raises(ConfigError, match="names no form; pass one of mem0, langmem"):
        read(tmp_path, form="notion")  # type: ignore[arg-type]


def test_absurd_sizes_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(MANY + 1)  # sparse: takes no room
    with pytest.raises(FolderError, match=f"holds {MANY + 1} bytes"):
        list(read(tmp_path / "a.json"))
    path = archive(tmp_path, {"conversations.json": [CLAUDE]})
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 24  # where the directory says how long the member is
    path.write_bytes(content[:place] + struct.pack("<I", MANY + 1) + content[place + 4 :])
    with pytest.raises(FolderError, match=rf"conversations\.json holds {MANY + 1} bytes"):
        list(read(path))


def test_damaged_and_encrypted_archives_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, {"conversations.json": [CLAUDE]})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FolderError, match="is a damaged archive"):
        list(read(path))
    broken = bytearray(content)
    broken[60] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(FolderError, match=r"conversations\.json is a damaged archive"):
        list(read(path))
    locked = bytearray(content)
    locked[6] |= 1
    locked[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    with pytest.raises(FolderError, match="is encrypted"):
        list(read(path))


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="holds nothing"):
        list(read(archive(tmp_path, {})))
