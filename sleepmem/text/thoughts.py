"""Thoughts that models write before an answer, between tags such as `<think>` and `</think>`."""

from __future__ import annotations

import re

_TAG = r"[<\[](?P<tag>[\w:|]*(?:think|thought|reasoning)[\w:|]*)[>\]]"
_OPENED = re.compile(_TAG + r"\s*$", re.IGNORECASE)
_THOUGHT = re.compile(
    r"\s*" + _TAG + r".*?(?:[<\[]/(?P=tag)[>\]]\s*|\Z)", re.DOTALL | re.IGNORECASE
)


def without_thought(text: str) -> str:
    """An answer without the thought that it begins with, whether that came to its end or not."""
    return _THOUGHT.sub("", text, count=1) if _THOUGHT.match(text) else text


def end_of_thought(prompt: str) -> str:
    """What ends the thought that a prompt ends within; empty where it ends within none."""
    opened = _OPENED.search(prompt)
    return f"\n{closing(opened[0].strip())}\n\n" if opened else ""


def is_opening(token: str) -> bool:
    """Whether a token is a tag that begins a thought."""
    return _OPENED.fullmatch(token) is not None


def closing(tag: str) -> str:
    """The tag that ends what this one begins."""
    return f"{tag[0]}/{tag[1:]}"
