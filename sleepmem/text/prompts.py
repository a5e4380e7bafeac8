"""Every sentence that sleepmem puts in front of a model, in one place.

Pure text: knows no store and no model. The sentences are short because they are paid for on every
turn. A memory is one line, whatever was said in it, and tells who said it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from typing import Any

from sleepmem.records import AGENT, Episode
from sleepmem.text.language import matches
from sleepmem.text.pieces import pieces

ABSTENTION = "I do not know."
HEADER = (
    "Memories, oldest first. The newest wins. If neither they nor you know, say: I do not know."
)
# Above what the user did not say, where the user said something, too.
OTHERS = "Not from the user. Where the user says otherwise, the user is right."
WRITE_PAIR = (
    "Write one question that this memory answers, and the answer, as Question: ... Answer: ..."
)
DREAM = (
    "Write one question that these memories answer only together or the other way round, "
    "and the answer, as Question: ... Answer: ..."
)
UNANSWERED = "Write one question that this memory does not answer."
INVENT = "Write a memory like this one, with other names and values."
NOTES = (
    "Write what this part of the memory tells, as notes that are clear without the rest, "
    "one a line, or: Nothing. The part: "
)
TOLD = "Does the memory say this? Answer yes or no. "
REWORD = "Ask the same in other words: "
REQUEST = "Write what a user may ask for that needs this memory, without telling what it says."
GO_ON = "Go on: "
REPLACES = "Does the newest memory say that an older one no longer holds? Answer yes or no."
_PAIRS = (
    re.compile(
        r"\bQ(?:uestion)?:\s*(?P<question>.+?)\s*\bA(?:nswer)?:\s*(?P<answer>.+?)\s*$",
        re.DOTALL | re.IGNORECASE,
    ),
    # Without labels.
    re.compile(r"^(?P<question>[^\n]+?\?)\s+(?P<answer>[^?]+?)$"),
)
# What a name may have beside letters, marks and digits; the last two join letters of some scripts.
_IN_NAMES = " _-'’·\u200c\u200d"


def quoted(text: str) -> str:
    """The text in one line and in quotes, as in JSON; a line break of any kind is an \\n.

    Spaces stand around it: in many a tokenizer a word carries its space.
    """
    lines = [json.dumps(line, ensure_ascii=False)[1:-1] for line in text.splitlines()]
    return '" ' + " \\n ".join(lines) + ' "'


def memory_line(date: str, text: str, *, source: str = "") -> str:
    """One memory as the model sees it, in one line; `date` is an ISO date.

    Quoted is what has several lines, and whatever somebody else than the user told: the `source`.
    """
    if source:
        return f"{date}, {source}: {quoted(text)}"
    return f"{date}: {_in_one_line(text)}"


def line_of(episode: Episode, excerpt: str | None = None) -> str:
    """The memory line of an episode, with who said it; of an excerpt where it is a long one."""
    if not episode.trusted:
        text = episode.whole if excerpt is None else excerpt
        return memory_line(episode.date, text, source=_source(episode.source))
    told = _in_one_line(episode.text if excerpt is None else _own(episode, excerpt))
    if episode.speaker:
        told = f"{_name(episode.speaker)}: {told}"
    if episode.answers:
        told = f"{AGENT}: {quoted(episode.answers)} - {told}"
    return f"{episode.date}: {told}"


def names_label(text: str, episode: Episode) -> bool:
    """Whether it names the agent, of whom the line speaks and nobody who said what stands in it."""
    is_marked = bool(episode.answers) and AGENT not in episode.whole.lower()
    return is_marked and matches(text, AGENT)


def _own(episode: Episode, excerpt: str) -> str:
    """Of an excerpt of the whole, what the user said; the beginning where that is nothing of it."""
    around = episode.whole.removesuffix(episode.text).strip()
    own = excerpt.removeprefix(around).strip()
    return own if own and own in episode.text else pieces(episode.text)[0]


def _source(source: str) -> str:
    """A source such as "tool:search" in words."""
    return " ".join(_name(part.strip()) for part in source.split(":") if part.strip())


def _in_one_line(text: str) -> str:
    """The text as it is; quoted where it has several lines."""
    text = text.strip()
    return quoted(text) if len(text.splitlines()) > 1 else text


def _name(name: str) -> str:
    """A name as it is; quoted where it could pass for more than a name."""
    is_plain = all(one in _IN_NAMES or unicodedata.category(one)[0] in "LMN" for one in name)
    return name if is_plain else quoted(name)


def memory_prompt(
    lines: Sequence[str],
    system: str = "",
    *,
    others: Sequence[str] = (),
    today: date | None = None,
    speaker: str | None = None,
) -> str:
    """The system message that carries memories, after the agent's own if it has one.

    `others` are lines that the user did not say. `today` makes "yesterday" readable, `speaker` "I".
    """
    header = HEADER
    if today:
        header += f" Today is {today.isoformat()}."
    if speaker:
        header += f" {' '.join(speaker.split())} speaks."
    # The newest wins among equals: what others told stands before what is held against it.
    apart = [OTHERS, *others, header, *lines] if lines and others else [header, *others, *lines]
    block = "\n".join(apart)
    return f"{system}\n{block}" if system else block


def beside_question(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chat with its memories before the user's last words instead of in the system message."""
    first, *others = messages
    own, block = _apart(first["content"]) if first["role"] == "system" else ("", "")
    users = [place for place, message in enumerate(others) if message["role"] == "user"]
    if not block or not users:
        return list(messages)
    asked = others[users[-1]]
    others[users[-1]] = {**asked, "content": f"{block}\n\n{asked['content']}"}
    return [{**first, "content": own}, *others] if own else others


def _apart(system: str) -> tuple[str, str]:
    """An agent's own system message, and the memories after it."""
    starts = [place for place in map(system.find, (OTHERS, HEADER)) if place >= 0]
    if not starts:
        return system, ""
    return system[: min(starts)].strip(), system[min(starts) :]


def format_pair(question: str, answer: str) -> str:
    return f"Question: {question} Answer: {answer}"


def parse_pair(text: str) -> tuple[str, str] | None:
    """(question, answer) as written by a model, or None when the text has another form."""
    # Chat models like bold labels.
    plain = text.replace("*", "").strip()
    for form in _PAIRS:
        match = form.search(plain)
        if match:
            return match["question"], match["answer"]
    return None


def closed_book(question: str) -> tuple[dict[str, str], ...]:
    """Chat messages that ask without any memory."""
    return ({"role": "user", "content": question},)


def open_book(question: str, lines: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Chat messages that ask with these memories in the context; none is allowed, and says so."""
    return ({"role": "system", "content": memory_prompt(lines)}, *closed_book(question))
