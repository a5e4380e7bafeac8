"""Memories of LangMem and other agents, from a file and from a live LangGraph store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore

from sleepmem.errors import EpisodeError
from sleepmem.foreign.langmem import from_store
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Form, Told


def item(value: object, key: str = "k1") -> dict[str, object]:
    return {
        "namespace": ["memories", "ana"],
        "key": key,
        "value": value,
        "created_at": "2026-03-04T08:00:00+00:00",
        "updated_at": "2026-03-05T08:00:00+01:00",
    }


def texts(folder: Path, *values: object) -> list[str]:
    file = folder / "items.json"
    file.write_text(json.dumps([item(value) for value in values]), encoding="utf-8")
    return [one.text for one in read(file)]


def test_an_item_becomes_one_memory(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    value = {"kind": "Memory", "content": {"content": "Ana spielt Cello"}}
    file.write_text(json.dumps({"items": [{**item(value), "score": 0.5}]}))
    assert list(read(file)) == [
        Told(
            "Ana spielt Cello",
            "2026-03-05T08:00:00+01:00",
            "memories/ana/k1",
            "langmem",
            "memories/ana",
        )
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"content": "Пьёт чай"}, "Пьёт чай"),
        ({"text": "أنا من القاهرة", "score": 3}, "أنا من القاهرة"),
        ({"kind": "Memory", "content": "plain"}, "plain"),
        (
            {"kind": "UserProfile", "content": {"name": "Ana", "spoken_languages": ["de", "fr"]}},
            "UserProfile: name: Ana; spoken languages: de, fr",
        ),
        (
            {"food": {"likes": "ramen", "vegan": False, "since": None, "stars": 4}},
            "food: likes: ramen; vegan: no; stars: 4",
        ),
    ],
)
def test_any_value_with_text_is_read(tmp_path: Path, value: object, text: str) -> None:
    assert texts(tmp_path, value) == [text]


def test_values_without_text_are_left_out(tmp_path: Path) -> None:
    empty = [{"count": 3}, {}, {"flags": [True, 1.5]}, {"content": " "}]
    assert texts(tmp_path, *empty, {"note": "kept"}) == ["note: kept"]


def test_lines_of_items_are_read(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    lines = [json.dumps(item({"text": text}, text)) for text in ("one", "two")]
    file.write_text("\n".join(lines))
    assert [one.id for one in read(file)] == ["memories/ana/one", "memories/ana/two"]


def test_an_empty_file_of_lines_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text("\n")
    assert list(read(tmp_path / "items.jsonl")) == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (item("text"), "has text as its value"),
        (item(None), "has no value"),
        ({"value": {"text": "x"}}, "has no key"),
        ({**item({"text": "x"}), "namespace": "a"}, "has a namespace that is no list"),
        ({**item({"text": "x"}), "namespace": [1]}, "other than text"),
        ({**item({"text": "x"}), "updated_at": "soon"}, "updated_at of entry 2"),
    ],
)
def test_a_wrong_item_is_named(tmp_path: Path, entry: object, reason: str) -> None:
    file = tmp_path / "items.json"
    file.write_text(json.dumps([item({"text": "x"}), entry]))
    with pytest.raises(EpisodeError, match=reason) as raised:
        list(read(file, form=Form.LANGMEM))
    assert "entry 2" in str(raised.value)


def test_a_store_is_read_page_by_page_below_its_prefix() -> None:
    store = InMemoryStore()
    for number in range(250):
        store.put(("memories", "ana"), f"{number:03}", {"content": f"fact {number}"})
    store.put(("memories", "ben"), "1", {"kind": "Memory", "content": {"content": "of Ben"}})
    store.put(("counters",), "1", {"count": 3})
    found = list(from_store(store, ("memories", "ana")))
    assert {one.text for one in found} == {f"fact {number}" for number in range(250)}
    assert len(found) == 250
    assert len(list(from_store(store, ()))) == 251
    assert [one.id for one in from_store(store, ("memories", "ben"))] == ["memories/ben/1"]
    assert list(from_store(store, ("nobody",))) == []


def test_a_file_of_a_store_is_read_like_the_store(tmp_path: Path) -> None:
    store = InMemoryStore()
    store.put(("memories", "ana"), "1", {"kind": "Trip", "content": {"to": "Łódź", "days": 3}})
    file = tmp_path / "items.json"
    file.write_text(json.dumps([one.dict() for one in store.search(())]))
    assert list(read(file)) == list(from_store(store, ()))
    assert next(read(file)).text == "Trip: to: Łódź; days: 3"
