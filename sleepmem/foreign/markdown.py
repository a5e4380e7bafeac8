"""Memories in Markdown: notes that people keep, or that tools such as MemPalace write.

A tree of .md files in CommonMark (spec.commonmark.org) with tables and strikethrough; YAML between
lines of "---" at the beginning is front matter (jekyllrb.com/docs/front-matter). What MemPalace's
exporter writes is documented by its code alone (github.com/MemPalace/mempalace,
mempalace/exporter.py): a file a room, titled "wing / room", and below a heading with the id of a
drawer its words as a quotation and a table of fields, of which "Filed" is the time.

A list item, a paragraph or a row of a table is one memory. Alone it may be unclear, so what stands
above it is put in front, "Kitchen: the tap drips", unless its words say so anyway: headings, the
item it hangs on, the line with a colon before its list. Code, comments, front matter and what is
struck out are no text. Dated by the nearest of: MemPalace's "Filed", a day in a heading above,
"date" or "created" in the front matter, a day in the file's name, the last change of the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from sleepmem.errors import EpisodeError
from sleepmem.foreign.files import Document
from sleepmem.foreign.values import Form, Told
from sleepmem.records import readable

# What stands above, from the outermost on, and the text itself.
_Piece = tuple[tuple[str, ...], str]

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_DATES = ("date", "created", "created_at")
# 2026-03-04, 2026_3_4, 20260304 and 2026年3月4日.
_DAY = re.compile(
    r"(?<!\d)((?:19|20)\d\d)"
    r"(?:([-_./])(\d{1,2})\2(\d{1,2})|(\d\d)(\d\d)|年(\d{1,2})月(\d{1,2})日)(?!\d)"
)
_WIKI_LINK = re.compile(r"\[\[(?:[^\]|]*\|)?([^\]|]+)\]\]")
_OPEN_TASK = re.compile(r"\A\[ \]\s+")
_LISTS = ("bullet_list", "ordered_list")
_COLONS = (":", "：")
# The head of the table that MemPalace puts below a drawer; beginnings of its pages about itself.
_FIELDS = ["field", "value"]
_INDEXES = ("Palace Export", "Palace Snapshot", "Snapshot Index", "Wing Export")
# Hexadecimal digits that tell the memories of a file apart.
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class _Section:
    """What stands below one heading: the headings above, the day in them, the blocks."""

    heads: tuple[str, ...]
    day: str | None
    blocks: list[SyntaxTreeNode]


def told(document: Document, text: str) -> Iterator[Told]:
    """The memories of one file, from top to bottom.

    Raises:
        EpisodeError: the front matter is no YAML.
    """
    front, body = _split(text.replace("\r\n", "\n"), document.shown)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    sections = list(_sections(SyntaxTreeNode(parser.parse(body)).children))
    if any(" ".join(section.heads).startswith(_INDEXES) for section in sections[:2]):
        return
    stem = PurePosixPath(document.name).stem
    otherwise = _dated(front) or _day(stem)[0] or document.modified
    for section in sections:
        fields = _fields(section)
        heads = section.heads[:-1] if fields else section.heads
        at = _moment(fields.get("filed")) or section.day or otherwise
        for number, (above, words) in enumerate(_pieces(section.blocks, heads), start=1):
            whole = _whole(above, words)
            name = f"{document.name}#{hashlib.sha256(whole.encode()).hexdigest()[:_DIGITS]}"
            if fields:
                name = section.heads[-1] if number == 1 else f"{section.heads[-1]}-{number}"
            yield Told(whole, at, name, Form.MARKDOWN.value)


def _split(text: str, shown: str) -> tuple[dict[Any, Any], str]:
    """The front matter, and the rest; a line at the top that only divides begins none."""
    match = _FRONT.match(text)
    if match is None:
        return {}, text
    try:
        front = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise EpisodeError(
            f"the front matter of {shown} is no YAML ({reason:.120}); mend it, or remove it."
        ) from None
    return (front, text[match.end() :]) if isinstance(front, dict) else ({}, text)


def _dated(front: dict[Any, Any]) -> str | None:
    named = {}
    for name, value in front.items():
        named[str(name).lower()] = value
    for name in _DATES:
        at = _moment(named.get(name))
        if at:
            return at
    return None


def _moment(given: object) -> str | None:
    """As people write it into a field: a time, or text with a day in it."""
    if isinstance(given, date):
        return given.isoformat()
    if not isinstance(given, str | int):
        return None
    try:
        return datetime.fromisoformat(str(given)).isoformat()
    except ValueError:
        return _day(str(given))[0]


def _day(text: str) -> tuple[str | None, str]:
    """The first day that the text names, and the text without it."""
    for match in _DAY.finditer(text):
        year, _, *parts = match.groups()
        month, day = [part for part in parts if part]
        try:
            found = date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
        return found, f"{text[: match.start()]} {text[match.end() :]}"
    return None, text


def _sections(blocks: list[SyntaxTreeNode]) -> Iterator[_Section]:
    """Each heading with its blocks; first what stands above all headings."""
    heads: dict[int, tuple[str, str | None]] = {}
    held: list[SyntaxTreeNode] = []
    for node in blocks:
        if node.type != "heading":
            held.append(node)
            continue
        yield _section(heads, held)
        level, held = int(node.tag[1:]), []
        for deeper in [one for one in heads if one >= level]:
            del heads[deeper]
        day, rest = _day(_words(node))
        heads[level] = (rest.strip(" \t-_,.:;()[]–—|/") if day else rest, day)
    yield _section(heads, held)


def _section(heads: dict[int, tuple[str, str | None]], blocks: list[SyntaxTreeNode]) -> _Section:
    names, day = [], None
    for level in sorted(heads):
        name, own = heads[level]
        names += [name] if name else []
        day = own or day
    return _Section(tuple(names), day, blocks)


def _fields(section: _Section) -> dict[str, str]:
    """What MemPalace says about a drawer, or nothing."""
    found = {}
    for node in section.blocks:
        if section.heads and node.type == "table" and _is_of_fields(node):
            for name, value in _cells(node)[1:]:
                found[name.lower()] = value
    return found


def _is_of_fields(table: SyntaxTreeNode) -> bool:
    return [name.lower() for name in _cells(table)[0]] == _FIELDS


def _pieces(blocks: list[SyntaxTreeNode], above: tuple[str, ...]) -> Iterator[_Piece]:
    here = above
    lead: tuple[str, ...] = ()
    for place, node in enumerate(blocks):
        following = blocks[place + 1].type if place + 1 < len(blocks) else ""
        if node.type == "heading":
            here = (*above, _words(node))
        elif node.type == "paragraph":
            words = _words(node)
            if words.endswith(_COLONS) and following in _LISTS:
                lead = (words,)
                continue
            if words:
                yield here, words
        elif node.type in _LISTS:
            for item in node.children:
                yield from _of_item(item.children, (*here, *lead))
        elif node.type == "blockquote":
            yield from _pieces(node.children, here)
        elif node.type == "table" and not _is_of_fields(node):
            yield from _of_table(node, here)
        lead = ()


def _of_item(blocks: list[SyntaxTreeNode], above: tuple[str, ...]) -> Iterator[_Piece]:
    """One, of all its paragraphs; what has items of its own stands above those instead."""
    paragraphs: list[SyntaxTreeNode] = []
    nested: list[SyntaxTreeNode] = []
    for node in blocks:
        (paragraphs if node.type == "paragraph" and not nested else nested).append(node)
    words = " ".join(filter(None, map(_words, paragraphs)))
    words = _OPEN_TASK.sub("", words)
    found = list(_pieces(nested, (*above, words) if words else above))
    if words and not found:
        yield above, words
    yield from found


def _of_table(table: SyntaxTreeNode, above: tuple[str, ...]) -> Iterator[_Piece]:
    head, *rows = _cells(table)
    for row in rows:
        named = []
        for name, value in zip(head, row, strict=False):
            if value:
                named.append(f"{name}: {value}" if name else value)
        if named:
            yield above, "; ".join(named)


def _cells(table: SyntaxTreeNode) -> list[list[str]]:
    rows = []
    for part in table.children:
        for row in part.children:
            rows.append(list(map(_words, row.children)))
    return rows


def _words(node: SyntaxTreeNode) -> str:
    """What is to be read, in one line, without marks."""
    text = _WIKI_LINK.sub(r"\1", _inner(node))
    return " ".join(readable(text).split())


def _inner(node: SyntaxTreeNode) -> str:
    if node.type in ("text", "code_inline", "image"):
        return node.content
    if node.type in ("softbreak", "hardbreak", "html_inline"):
        return " "
    if node.type == "s":
        return ""
    return "".join(map(_inner, node.children))


def _whole(above: tuple[str, ...], words: str) -> str:
    """The text, after what stands above it and is not said in it."""
    said = _terms(words)
    clear: list[str] = []
    for one in above:
        name = one.rstrip("".join(_COLONS)).strip()
        if name and name not in clear and not _terms(name) <= said:
            clear.append(name)
    return f"{' / '.join(clear)}: {words}" if clear else words


def _terms(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
