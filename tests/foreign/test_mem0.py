"""Memories of mem0: what `get_all` gives, in each of its wrappings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sleepmem.errors import EpisodeError
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Form, Told

TEA = {
    "id": "6a1f0f0e-31a5-4c0e-9a35-4a4e0d0b6a11",
    "memory": "Drinks tea, never coffee",
    "hash": "c0ffee",
    "metadata": {"category": "food"},
    "created_at": "2026-03-04T08:15:30.250000-07:00",
    "updated_at": None,
    "user_id": "ana",
}
TOLD = Told("Drinks tea, never coffee", TEA["created_at"], TEA["id"], "mem0", "ana")


def written(folder: Path, content: object, name: str = "export.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "content",
    [
        {"results": [TEA], "relations": []},
        {"count": 1, "next": None, "previous": None, "results": [TEA]},
        {"memories": [TEA]},
        [TEA],
        TEA,
    ],
)
def test_a_memory_is_read_from_each_wrapping(tmp_path: Path, content: object) -> None:
    assert list(read(written(tmp_path, content))) == [TOLD]


def test_lines_of_json_are_read_and_only_a_line_feed_ends_one(tmp_path: Path) -> None:
    words = "母は京都に住んでいる\u2028そして猫が二匹いる"
    other = {"id": 7, "memory": words, "created_at": 1772611200}
    lines = json.dumps(TEA) + "\n\n" + json.dumps(other, ensure_ascii=False) + "\n"
    assert list(read(written(tmp_path, lines, "export.jsonl"))) == [
        TOLD,
        Told(words, "2026-03-04T08:00:00+00:00", "7", "mem0"),
    ]


@pytest.mark.parametrize(
    ("given", "lasts"),
    [
        ("2030-01-31", "2030-02-01T00:00:00.000000+00:00"),
        (None, ""),
        ("soon", ""),
        ("9999-12-31", ""),
    ],
)
def test_it_holds_through_the_day_on_which_it_expires(tmp_path: Path, given, lasts) -> None:
    (found,) = read(written(tmp_path, [{**TEA, "expiration_date": given}]))
    assert isinstance(found, Told)
    assert found.lasts == lasts


@pytest.mark.parametrize("name", ["export.json", "export", "export.txt"])
def test_the_content_says_what_it_is_not_the_name(tmp_path: Path, name: str) -> None:
    assert list(read(written(tmp_path, [TEA], name))) == [TOLD]


def test_a_memory_is_as_old_as_its_words(tmp_path: Path) -> None:
    changed = {**TEA, "updated_at": "2026-05-01T10:00:00Z"}
    camel = {"id": "2", "memory": "Lives in Łódź", "createdAt": "2026-05-02T10:00:00+05:30"}
    found = list(read(written(tmp_path, [changed, camel])))
    assert [one.at for one in found] == ["2026-05-01T10:00:00+00:00", "2026-05-02T10:00:00+05:30"]


def test_numbers_are_times_in_seconds_milliseconds_or_microseconds(tmp_path: Path) -> None:
    times = [1772611200, 1772611200.5, 1772611200000, 1772611200000000]
    entries = [{"memory": f"number {place}", "created_at": at} for place, at in enumerate(times)]
    assert [one.at for one in read(written(tmp_path, entries))] == [
        "2026-03-04T08:00:00+00:00",
        "2026-03-04T08:00:00.500000+00:00",
        "2026-03-04T08:00:00+00:00",
        "2026-03-04T08:00:00+00:00",
    ]


@pytest.mark.parametrize("content", [{"results": []}, [], {"memories": []}])
def test_an_empty_export_holds_nothing(tmp_path: Path, content: object) -> None:
    assert list(read(written(tmp_path, content))) == []
    assert list(read(written(tmp_path, content), form=Form.MEM0)) == []


def test_a_memory_without_words_is_none(tmp_path: Path) -> None:
    assert list(read(written(tmp_path, [TEA, {"id": "3", "memory": "  "}]))) == [TOLD]


def test_half_a_character_becomes_a_question_mark(tmp_path: Path) -> None:
    (one,) = read(written(tmp_path, '[{"memory": "likes \\ud83d cake"}]'))
    assert one.text == "likes ? cake"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"id": "1"}, "has no memory"),
        ({"memory": 5}, "has a number as its memory"),
        ({"memory": "x", "created_at": "yesterday"}, "created_at of entry 2"),
        ({"memory": "x", "created_at": True}, "has true or false as its created_at"),
        ({"memory": "x", "created_at": 1e300}, "is no time"),
        ({"memory": "x", "created_at": float("nan")}, "is no time"),
        ({"memory": "x", "id": ["a"]}, "has a list as its id"),
        ("x", "is text, not an object"),
        (None, "is null, not an object"),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(tmp_path: Path, entry: object, reason: str) -> None:
    file = written(tmp_path, [TEA, entry])
    with pytest.raises(EpisodeError, match=reason) as raised:
        list(read(file))
    assert "entry 2" in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, json.dumps(TEA) + '\n{"memory": "cut', "export.jsonl")
    with pytest.raises(EpisodeError, match=r"line 2 of .*export\.jsonl is no JSON"):
        list(read(file))
