"""What the default embeddings tell of a text: does it ask, of which days, does it need a memory,
must it not be learned.

Over an embedding, in any of the sixteen languages (`make fit-heads`, `sleepmem.evals.heads*`):
logistic models; and where a word decides, as in what must not be learned, support vectors. They
decide nothing alone: what is recalled and what is taught weighs them with everything else.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.terms import normalised, terms

# Where one part of a text ends, in the scripts that have marks of their own.
_PART = re.compile(r"(?<=[.!?;,])\s+|(?<=[。！？；，、؟؛،।])\s*|\n+")
_MARKS = re.compile(r"[^\w\s']")
# A shorter part is no sentence; a text of more parts is a document.
_FEWEST_TERMS, _MOST_PARTS = 4, 12
# Characters of a part that are read: a sentence without marks may be a pasted file.
_READ = 1_000
_SURE = 8.0

# Log-odds from which a text surely asks; what lies below may tell something.
SURELY_ASKS = 0.75

FILE = Path(__file__).with_name("heads.json")
FILE_POLICY = Path(__file__).with_name("heads_policy.npz")
FILE_KEPT = Path(__file__).with_name("heads_kept.json")
# Of the kernel exp(-gamma d^2) over the distance of two embeddings.
GAMMA = 1.0
# What is saved of each kind.
PARTS = ("vectors", "weights", "constant")


def asks(text: str) -> float:
    """Log-odds that the text asks or requests, and tells nothing: of the part that tells most."""
    parts = parts_of(text)
    if len(parts) > _MOST_PARTS:
        return -_SURE  # a document
    read = [part[:_READ] for part in parts]
    sentences = [part for part in read if len(terms(part)) >= _FEWEST_TERMS]
    return min(_log_odds("asks", part) for part in sentences or [text])


def parts_of(text: str) -> list[str]:
    """The text between its marks, in any script."""
    return _PART.split(text)


def needs_no_memory(text: str) -> float:
    """Log-odds that the text is small talk or a general request, about nothing anybody told."""
    return _log_odds("general", text)


def instructs(text: str) -> bool:
    """Whether the text tells the agent how to behave, from now on or against its owner."""
    return _is_of_kind("instructs", text)


def asks_to_forget(text: str) -> bool:
    """Whether the text asks the agent to forget what it was told, and not the contrary.

    Of "do not forget my number" an embedding says much the same as of "forget my number"; the
    letters tell them apart.
    """
    return _is_of_kind("forget", text) and spelt(_kept(), text) <= 0


def is_volatile(text: str) -> bool:
    """Whether what the text tells holds for minutes to weeks, such as a price or a mood."""
    return _is_of_kind("volatile", text)


def tells_secret(text: str) -> bool:
    """Whether the text tells a credential or a personal number."""
    return _is_of_kind("secret", text)


def time_asked(text: str) -> dict[str, float]:
    """How likely the text asks for each time.

    on, between, since   days that it names by a date
    0 to 6               so many days ago: "this morning" is 0, "last night" is 1
    weekend, week        the last one
    none                 no such time
    """
    weights, constants = _head("time")
    log_odds = weights @ _embedded(text) + constants
    odds = np.exp(log_odds - log_odds.max())
    return dict(zip(_heads()["time"]["names"], (odds / odds.sum()).tolist(), strict=True))


def letters(text: str) -> str:
    """What a model of letters reads: in lower case, without marks, words apart by one space."""
    plain = normalised(text[:_READ]).replace("\u2019", "'")
    return f" {' '.join(_MARKS.sub(' ', plain).split())} "


def spelt(head: Mapping[str, Any], text: str) -> float:
    """Log-odds that the letters of a text give: of those that stand together in it, the sum."""
    read, log_odds = letters(text), float(head["constant"])
    for together, weight in head["letters"].items():
        if together in read:
            log_odds += weight
    return log_odds


def _is_of_kind(name: str, text: str) -> bool:
    vectors, weights, constant = (_kinds()[f"{name}.{part}"] for part in PARTS)
    distances = ((vectors - _embedded(text)) ** 2).sum(1)
    return bool(weights @ np.exp(-GAMMA * distances) + constant > 0)


def _log_odds(name: str, text: str) -> float:
    weights, constant = _head(name)
    return float(weights @ _embedded(text)) + float(constant)


def _embedded(text: str) -> Any:
    return np.asarray(default_embeddings().embed_query(text[:_READ]))


@functools.cache
def _head(name: str) -> tuple[Any, Any]:
    head = _heads()[name]
    return np.array(head["weights"]), np.array(head["constant"])


@functools.cache
def _heads() -> dict[str, Any]:
    heads: dict[str, Any] = json.loads(FILE.read_text())
    return heads


@functools.cache
def _kept() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(FILE_KEPT.read_text())
    return kept


@functools.cache
def _kinds() -> dict[str, Any]:
    with np.load(FILE_POLICY) as saved:
        return {name: saved[name].astype(np.float32) for name in saved}
