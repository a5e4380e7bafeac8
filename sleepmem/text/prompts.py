"""Every sentence that sleepmem puts in front of a model, in one place.

Pure text: knows no store and no model. The sentences are short because they are paid for on every
turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from sleepmem.records import Episode

ABSTENTION = "I do not know."
HEADER = (
    "Memories, oldest first. The newest wins. If neither they nor you know, say: I do not know."
)
WRITE_PAIR = (
    "Write one question that this memory answers, and the answer, as Question: ... Answer: ..."
)
DREAM = (
    "Write one question that these memories answer only together or the other way round, "
    "and the answer, as Question: ... Answer: ..."
)
UNANSWERED = "Write one question that this memory does not answer."
INVENT = "Write a memory like this one, with other names and values."
_PAIRS = (
    re.compile(
        r"\bQ(?:uestion)?:\s*(?P<question>.+?)\s*\bA(?:nswer)?:\s*(?P<answer>.+?)\s*$",
        re.DOTALL | re.IGNORECASE,
    ),
    # Without labels.
    re.compile(r"^(?P<question>[^\n]+?\?)\s+(?P<answer>[^?]+?)$"),
)


def memory_line(date: str, text: str) -> str:
    """One memory as the model sees it; `date` is an ISO date.

    Its further lines are set in: none of them can pass for a memory of its own.
    """
    return f"{date}: " + "\n    ".join(text.splitlines())


def episode_line(episode: Episode, text: str = "") -> str:
    """An episode, or this excerpt of it, as the model sees it.

    What the agent had said before it is told as the agent's: it may have been wrong.
    """
    text = text or episode.whole
    before = f"{episode.answers} - "
    if not episode.answers or not text.startswith(before):
        return memory_line(episode.date, text)
    reply = text.removeprefix(before)
    said = reply if episode.speaker else f"user: {reply}"
    return f"The agent, {memory_line(episode.date, before + said)}"


def memory_prompt(
    lines: Sequence[str],
    system: str = "",
    *,
    today: date | None = None,
    speaker: str | None = None,
) -> str:
    """The system message that carries memories, after the agent's own if it has one.

    `today` makes "yesterday" readable, `speaker` "I".
    """
    header = HEADER
    if today:
        header += f" Today is {today.isoformat()}."
    if speaker:
        header += f" {' '.join(speaker.split())} speaks."
    block = "\n".join([header, *lines])
    return f"{system}\n{block}" if system else block


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
