"""Public texts of permissive licences that the school reads, and the model's own answers.

FairytaleQA (Apache-2.0): passages with questions that people wrote. bAbI (CC-BY-3.0): who went
where, the newest of it. MemoryBank (MIT): what people tell a companion, as memories to overlook.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sleepmem.errors import ModelError
from sleepmem.model import gguf
from sleepmem.text.prompts import ABSTENTION, memory_line

# Characters of a passage that is read.
_LONGEST = 700
_WORDS = 8
_SETS = ("fairytaleqa", "babi_en10k", "memorybank_en")


class Texts:
    """Draws from the sets in a folder.

    Args:
        folder: holds `fairytaleqa`, `babi_en10k` and `memorybank_en`, gzipped JSON lines; without
            one there is nothing to read.
        answers: general prompts with the model's own answers.

    Raises:
        ModelError: one of them is missing.
    """

    def __init__(self, folder: Path | None, answers: Sequence[tuple[str, str]]) -> None:
        self.answers, self.is_empty = list(answers), folder is None
        if folder is None:
            return
        self._passages = list(_passages(folder))
        self._walks = [one for one in _lines(folder, "babi_en10k") if _is_walk(one)]
        self._said = [
            (day["date"], turn["query"].strip())
            for user in _lines(folder, "memorybank_en")
            for day in user["history"]
            for turn in day["turns"]
            if len(turn["query"]) < _LONGEST // 2
        ]

    def line(self, rng: random.Random, latest: date) -> str:
        """Something that somebody told, before or on a day."""
        _, text = rng.choice(self._said)
        return memory_line(latest.isoformat(), text)

    def read(self, rng: random.Random) -> tuple[list[str], list[tuple[str, str]]]:
        """Memory lines, and questions with answers."""
        return self._walk(rng) if rng.random() < 0.15 else self._tale(rng)

    def _tale(self, rng: random.Random) -> tuple[list[str], list[tuple[str, str]]]:
        shown = rng.sample(self._passages, rng.choice((1, 1, 2)))
        lines, turns = [], []
        for place, (text, asked) in enumerate(shown):
            lines.append(memory_line(f"2026-05-{place + 1:02}", text))
            turns += rng.sample(asked, min(len(asked), 3))
        other = rng.choice(self._passages)
        if other not in shown:
            mismatched = rng.sample(other[1], min(len(other[1]), rng.choice((0, 1, 1))))
            turns += [(question, ABSTENTION) for question, _ in mismatched]
        rng.shuffle(turns)
        return lines, turns[:6]

    def _walk(self, rng: random.Random) -> tuple[list[str], list[tuple[str, str]]]:
        story = rng.choice(self._walks)
        one = rng.choice(story["qa"])
        told = [text for number, text in story["lines"] if number < one["at"]]
        lines = [memory_line(f"2026-03-{day + 1:02}", text) for day, text in enumerate(told[-20:])]
        return lines, [(one["question"], one["answer"])]


def _passages(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Short passages with the questions that a few of their own words answer."""
    for story in _lines(folder, "fairytaleqa"):
        if story["split"] != "train":
            continue
        for number, section in enumerate(story["sections"], start=1):
            if len(section) > _LONGEST:
                continue
            asked = []
            for one in story["qa"]:
                is_here = one["sections"] == str(number)
                answer = one["answers"][0].strip().rstrip(".")
                if is_here and len(answer.split()) <= _WORDS and answer.lower() in section.lower():
                    asked.append((one["question"].strip(), answer))
            if asked:
                yield section, asked


def _is_walk(story: dict[str, Any]) -> bool:
    return bool(story["task"].startswith(("qa1_", "qa2_", "qa11_", "qa13_")))


def digests(folder: Path | None) -> list[str]:
    """SHA-256 of each set in a folder.

    Raises:
        ModelError: one of them is missing.
    """
    return [gguf.digest(_file(folder, name)) for name in _SETS] if folder else []


def _file(folder: Path, name: str) -> Path:
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise ModelError(
            f"{path} is missing; a school reads {', '.join(_SETS)} as gzipped JSON lines. "
            "Get them from their hub ids, or leave --data out."
        )
    return path


def _lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(_file(folder, name), "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
