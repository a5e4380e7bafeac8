"""Memories in Markdown: what is one, what stands in front of it, when it was told."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from sleepmem.errors import EpisodeError
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Form, Told

DRAWER = """\
# family / birthdays

## drawer_family_birthdays_1a2b

> Mum turns sixty in May.
> We rent the boathouse.

| Field | Value |
|-------|-------|
| Source | chat.txt |
| Filed | 2026-03-04T08:00:00.123456 |
| Added by | miner |

---

## drawer_family_birthdays_3c4d

> Papa liebt Schach.
>
> ```
> not = "text"
> ```

| Field | Value |
|-------|-------|
| Source | unknown |
| Filed | unknown |
| Added by | unknown |

---
"""


def told(folder: Path, text: str, name: str = "notes.md") -> list[Told]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return list(read(file))


def texts(folder: Path, text: str) -> list[str]:
    return [one.text for one in told(folder, text)]


@pytest.mark.parametrize(
    ("text", "memories"),
    [
        ("# Kitchen\n\n- the tap drips\n- oven is new\n", ["the tap drips", "oven is new"]),
        (
            "Kitchen\n=======\n\nThe tap\ndrips.\n\nThe oven\nis new.",
            ["The tap drips.", "The oven is new."],
        ),
    ],
)
def test_items_and_paragraphs_stand_below_their_heading(
    tmp_path: Path, text: str, memories: list[str]
) -> None:
    assert texts(tmp_path, text) == [f"Kitchen: {one}" for one in memories]


@pytest.mark.parametrize(
    ("text", "memories"),
    [
        ("# Anna\n## Work\n- nurse in Bern\n## Family\n- two sons\n# Ben\n- tall",
         ["Anna / Work: nurse in Bern", "Anna / Family: two sons", "Ben: tall"]),
        ("# Tea\n- I drink green tea", ["I drink green tea"]),
        ("# Küche\n- der Hahn tropft", ["Küche: der Hahn tropft"]),
        ("# 台所\n- 蛇口が漏れる", ["台所: 蛇口が漏れる"]),
        ("- Anna\n  - born in May\n  - two sons\n- Ben",
         ["Anna: born in May", "Anna: two sons", "Ben"]),
        ("Allergies:\n\n1. nuts\n2. eggs\n\nI swim.",
         ["Allergies: nuts", "Allergies: eggs", "I swim."]),
        ("过敏：\n\n- 花生", ["过敏: 花生"]),
        ("- two\n\n  paragraphs, one item\n- next", ["two paragraphs, one item", "next"]),
        ("- [ ] renew passport\n- [x] tax", ["renew passport", "[x] tax"]),
        ("> # Bo\n>\n> quoted", ["Bo: quoted"]),
        ("| Who | Born |\n|---|---|\n| Ana | 3 May |\n| Bo | |",
         ["Who: Ana; Born: 3 May", "Who: Bo"]),
        ("Anna:\n\nparagraph below", ["Anna:", "paragraph below"]),
        ("- item\n  ```\n  code\n  ```", ["item"]),
    ],
)  # fmt: skip
def test_what_stands_above_is_put_in_front(tmp_path: Path, text: str, memories: list[str]) -> None:
    assert texts(tmp_path, text) == memories


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("**Bold**, *soft* [link](https://x.org) `code` &amp; \\*", "Bold, soft link code & *"),
        ("see [[people/Anna|my sister]] and [[Ben]]", "see my sister and Ben"),
        ("~~lives in Berlin~~ lives in Bern", "lives in Bern"),
        ("![a red boat](boat.png) mine<br>now", "a red boat mine now"),
        ("one  \ntwo\r\nthree", "one two three"),
        ("\ufeffafter a mark", "after a mark"),
    ],
)  # fmt: skip
def test_marks_are_no_text(tmp_path: Path, text: str, memory: str) -> None:
    assert texts(tmp_path, text) == [memory]


def test_code_comments_and_front_matter_are_no_text(tmp_path: Path) -> None:
    text = (
        "---\ntags: [a]\ndate: 2026-03-04\n---\n\n```python\nx = 1\n```\n\n    indented\n\n"
        "<!-- hidden\n-->\n\nkept\n\n~~gone~~\n"
    )
    assert texts(tmp_path, text) == ["kept"]


@pytest.mark.parametrize(
    ("front", "at"),
    [
        ("date: 2026-03-04", "2026-03-04"),
        ("created: 2026-03-04T10:00:00+02:00", "2026-03-04T10:00:00+02:00"),
        ("Created: 2026-03-04 10:00", "2026-03-04T10:00:00"),
        ("created: '[[2026-03-04]]'", "2026-03-04"),
        ("updated: 2026-01-01\ncreated: 2026-03-04\n", "2026-03-04"),
    ],
)
def test_the_front_matter_dates_a_file(tmp_path: Path, front: str, at: str) -> None:
    (one,) = told(tmp_path, f"---\n{front}\n---\ntext", "2020-01-01.md")
    assert one.at == at


@pytest.mark.parametrize(
    "name", ["2026-03-04.md", "2026_03_04 trip.md", "20260304-a.md", "2026年3月4日.md"]
)
def test_the_name_of_a_file_dates_it(tmp_path: Path, name: str) -> None:
    assert told(tmp_path, "text", name)[0].at == "2026-03-04"


def test_a_day_in_a_heading_dates_what_stands_below_it(tmp_path: Path) -> None:
    text = (
        "---\ndate: 2026-03-01\n---\nfirst\n\n# Diary\n## 2026-03-04\n- rain\n"
        "### Dinner\n- soup\n## Garden, 2026-03-05\n- sun\n## 2026-13-45\n- odd\n"
    )
    assert [(one.text, one.at) for one in told(tmp_path, text)] == [
        ("first", "2026-03-01"),
        ("Diary: rain", "2026-03-04"),
        ("Diary / Dinner: soup", "2026-03-04"),
        ("Diary / Garden: sun", "2026-03-05"),
        ("Diary / 2026-13-45: odd", "2026-03-01"),
    ]


def test_else_the_last_change_dates_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    os.utime(tmp_path / "a.md", (1772611200, 1772611200))
    (one,) = read(tmp_path)
    assert one.at is not None
    assert datetime.fromisoformat(one.at).timestamp() == 1772611200


def test_a_memory_keeps_its_id_when_others_come(tmp_path: Path) -> None:
    before = told(tmp_path, "- one\n- two")
    after = told(tmp_path, "- new\n- one\n- two")
    assert after[1:] == [Told(one.text, after[0].at, one.id, "markdown") for one in before]
    assert len({one.id for one in after}) == 3


def test_a_tree_is_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.md", ".obsidian/x.md", "a/.hidden.md", "a/b/c.markdown", "a/p.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [one.text for one in read(tmp_path)] == ["a/b/c.markdown", "a/z.md", "b.md"]


def test_what_mempalace_exports_has_its_ids_and_times(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    (tmp_path / "family/birthdays.md").write_text(DRAWER)
    index = "# Palace Export — 2026-03-05\n\n| Wing |\n|---|\n| family |"
    (tmp_path / "index.md").write_text(index)
    found = list(read(tmp_path))
    assert found[0] == Told(
        "family / birthdays: Mum turns sixty in May. We rent the boathouse.",
        "2026-03-04T08:00:00.123456",
        "drawer_family_birthdays_1a2b",
        "markdown",
    )
    assert [one.text for one in found[1:]] == ["family / birthdays: Papa liebt Schach."]
    assert found[1].id == "drawer_family_birthdays_3c4d"


def test_a_line_at_the_top_is_no_front_matter(tmp_path: Path) -> None:
    assert texts(tmp_path, "---\n\nhello there\n\n---\n\nbye") != []
    assert texts(tmp_path, "---\nno end") == ["no end"]


@pytest.mark.parametrize(
    "front", ["date: [", "date: 2026-02-30", "a: b: c", "!!python/object:x.y {}"]
)
def test_broken_front_matter_is_refused(tmp_path: Path, front: str) -> None:
    with pytest.raises(EpisodeError, match=r"front matter of .*notes\.md is no YAML"):
        told(tmp_path, f"---\n{front}\n---\ntext")


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, "") == []
    assert told(tmp_path, "---\ntitle: x\n---\n# Only a heading\n") == []


def test_any_text_is_markdown_when_the_form_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("- one\n- two")
    with pytest.raises(EpisodeError, match="say what it is with form="):
        list(read(tmp_path / "notes.txt"))
    assert [one.text for one in read(tmp_path / "notes.txt", form=Form.MARKDOWN)] == ["one", "two"]
