"""Every sentence that sleepmem puts in front of a model, in one place.

Pure text: knows no store and no model. The sentences are short because they are paid for on every turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ABSTENTION = "I do not know."
HEADER = (
    "Memories, oldest first. The newest wins. If neither they nor you know, say: I do not know."
)
WRITE_PAIR = (
    "Write one question that this memory answers, and the answer, as Question: ... Answer: ..."
)
DREAM = "Write one question that these memories answer only together or the other way round, and the answer, as Question: ... Answer: ..."
UNANSWERED = "Write one question that this memory does not answer."
INVENT = "Write a memory like this one, with other names and values."
# Asked at night so that the model goes on talking as it did; about nothing that a memory holds. The exam asks others (exams.NEUTRAL).
GENERAL = (
    "Hi.",
    "Hi there!",
    "Hey.",
    "Hello there!",
    "Good evening.",
    "Good night.",
    "How do you do?",
    "How are you today?",
    "How is it going?",
    "Are you well?",
    "Thanks.",
    "Thanks a lot!",
    "Thank you very much.",
    "Many thanks.",
    "Who are you?",
    "What are you?",
    "What is your name?",
    "What can you do for me?",
    "What do you do?",
    "Can you help?",
    "Can you help me with something?",
    "I need help.",
    "Goodbye for now.",
    "See you tomorrow.",
    "See you soon.",
    "Yes.",
    "No.",
    "All right.",
    "Sorry.",
    "What time is it?",
    "What day is it today?",
    "Which planet is the largest?",
    "Which season follows winter?",
    "Name a colour.",
    "Name an animal.",
    "What is seven minus four?",
    "How many legs has a spider?",
    "Who wrote Hamlet?",
    "Write a short sentence about a tree.",
    "Translate good morning into French.",
    "Can you sing?",
    "Is water wet?",
)
_PAIRS = (
    re.compile(
        r"\bQ(?:uestion)?:\s*(?P<question>.+?)\s*\bA(?:nswer)?:\s*(?P<answer>.+?)\s*$",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(r"^(?P<question>[^\n]+?\?)\s+(?P<answer>[^?]+?)$"),  # without labels
)


def memory_line(date: str, text: str) -> str:
    """One memory as the model sees it; `date` is an ISO date."""
    return f"{date}: {text}"


def memory_prompt(lines: Sequence[str], system: str = "") -> str:
    """The system message that carries memories, after the agent's own system prompt if it has one."""
    block = "\n".join([HEADER, *lines])
    return f"{system}\n{block}" if system else block


def format_pair(question: str, answer: str) -> str:
    return f"Question: {question} Answer: {answer}"


def parse_pair(text: str) -> tuple[str, str] | None:
    """(question, answer) as written by a model, or None when the text has another form."""
    plain = text.replace("*", "").strip()  # chat models like bold labels
    match = next((m for p in _PAIRS if (m := p.search(plain))), None)
    return (match["question"], match["answer"]) if match else None


def closed_book(question: str) -> tuple[dict[str, str], ...]:
    """Chat messages that ask without any memory."""
    return ({"role": "user", "content": question},)


def open_book(question: str, lines: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Chat messages that ask with these memories in the context; none is allowed, and says so."""
    return ({"role": "system", "content": memory_prompt(lines)}, *closed_book(question))
