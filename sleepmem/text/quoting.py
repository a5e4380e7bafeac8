"""Others' words in what somebody says: what is quoted, pasted, forwarded. Pure.

By its form alone, in any script: fences, marks of a reply, quotation marks, marked elements, a line
that sets apart, and paragraphs after one that announces a text with a colon or asks for something
to be done with it. Whoever says it vouches for none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sleepmem.text.heads import SURELY_ASKS, asks, parts_of
from sleepmem.text.kinds import elements
from sleepmem.text.pieces import sentences
from sleepmem.text.terms import terms

# Marks in pairs, of all scripts; of the plain ones an opening and a closing one are the same.
_PAIRS = ('""', "“”", "„“", "„”", "””", "«»", "»«", "「」", "『』", "《》", "‹›", "›‹")
_QUOTED = re.compile(
    "|".join(f"{re.escape(pair[0])}[^{re.escape(pair[1])}]+{re.escape(pair[1])}" for pair in _PAIRS)
)
# An apostrophe is a mark, too: one opens before a word, unless it stands for letters ('n', 's, the
# '90s), and closes after one. What may be a possessive or a dropped letter closes where none else
# does. The curved ones that open are sure, and go on over paragraphs.
_OPENS = r"(?<!\w)['‘’‚](?![b-hj-z]\b|\d\ds?\b|\s)"
_CLOSES = r"(?<!\s)['’‘](?!\w)"
_SURELY_CLOSES = rf"{_CLOSES}(?:(?<![sxz].)(?<!in.)|(?!\s+\w))"
_SINGLE = re.compile(
    "|".join(
        rf"(?={opens}){_OPENS}(?:(?!{_OPENS}){inside})+?{closes}"
        for closes in (_SURELY_CLOSES, _CLOSES)
        for opens, inside in (("[‘‚]", r"[\s\S]"), ("['’]", r"(?!\n\s*\n)[\s\S]"))
    ),
    re.IGNORECASE,
)
_FENCED = re.compile(r"^(```|~~~).*?(?:^\1|\Z)", re.MULTILINE | re.DOTALL)
_REPLY = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
# A line of marks sets apart what follows to the end, as in forwarded mail.
# What begins and ends a key does not.
_APART = re.compile(r"^[ \t]*([-_=*~])\1{3,}+(?!BEGIN|END).*\Z", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")
_ANNOUNCES = (":", "：", "︰")
# Fewer terms in marks are a name or a title.
_FEWEST = 6


def others_words(text: str) -> list[str]:
    """The sentences of the text that are, wholly or in part, others' words."""
    spans = list(_spans(text))
    found, place = [], 0
    for sentence in sentences(text):
        start = text.find(sentence, place)
        if start < 0:
            continue
        place = start + len(sentence)
        if any(start < end and begin < place for begin, end in spans):
            found.append(sentence)
    return found


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_FENCED, _REPLY, _APART):
        for match in pattern.finditer(text):
            yield match.span()
    marked = [match.span() for mark in (_QUOTED, _SINGLE) for match in mark.finditer(text)]
    for start, end in (*marked, *((one.start, one.end) for one in elements(text))):
        if len(terms(text[start:end])) >= _FEWEST:
            yield start, end
    yield from _announced(text)


def _announced(text: str) -> Iterator[tuple[int, int]]:
    """What follows a line, or a paragraph, that announces it.

    A paragraph is a text that something is to be done with where anything before it asks and it is
    of several lines or sentences; so are lines of the same paragraph.
    """
    is_announced = False
    for start, end in _paragraphs(text):
        paragraph = text[start:end]
        if is_announced and (_REPLY.search(paragraph) or _FENCED.search(paragraph)):
            is_announced = False  # marked, so what follows is not
            continue
        many = len(sentences(paragraph)) > 1
        if is_announced and (many or text[:start].rstrip().endswith(_ANNOUNCES)):
            yield start, end
            continue
        yield from ((start + begin, start + stop) for begin, stop in _lines_after(paragraph))
        is_announced = paragraph.rstrip().endswith(_ANNOUNCES) or any(
            map(_asks_something, sentences(paragraph))
        )


def _lines_after(paragraph: str) -> Iterator[tuple[int, int]]:
    """The lines after one that announces them; a list of one's own after a colon is none."""
    first, _, rest = paragraph.partition("\n")
    lines = [line for line in rest.splitlines() if line.strip()]
    after_colon = first.rstrip().endswith(_ANNOUNCES) and not all(map(_ITEM.match, lines))
    asks_first = len(lines) > 1 and any(map(_asks_something, sentences(first)))
    if lines and (after_colon or asks_first):
        yield len(first), len(paragraph)


def _asks_something(sentence: str) -> bool:
    """Whether a part of it asks, whatever its others tell."""
    return any(asks(part) >= SURELY_ASKS for part in parts_of(sentence) if terms(part))


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _PARAGRAPH.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)
