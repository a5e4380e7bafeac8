"""What a night is about to learn, for a person to look at and to change before it is taught."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sleepmem.errors import ConfigError
from sleepmem.records import Episode, Note

# Gets what a night is about to learn (`state.Drafted`); gives the texts to be learned, by id.
Review = Callable[[dict[str, Any]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to be learned.

    id        of the note, or of the episode where that is taught as it stands
    text      what is learned
    told      the words that it was drawn from
    episode   the id of theirs
    day       when they were said
    """

    id: str
    text: str
    told: str
    episode: str
    day: str


def lines(
    units: Sequence[Episode],
    *,
    source: Callable[[str], Episode | None],
    note: Callable[[str], Note | None],
) -> list[Line]:
    """A line for each unit (`probing.notes.Units`)."""
    found = []
    for unit in units:
        episode, drawn = source(unit.id) or unit, note(unit.id)
        told = drawn.part if drawn else episode.text
        known_by = drawn.id if drawn else episode.id
        found.append(Line(known_by, unit.text, told, episode.id, episode.date))
    return found


def check(draft: Mapping[str, Any], answer: object) -> dict[str, str]:
    """The answer of a review, where it is one.

    Raises:
        ConfigError: it is none, or is about what the draft has not.
    """
    known, strange = {line["id"] for line in draft["lines"]}, []
    if isinstance(answer, Mapping):
        strange = [name for name in answer if name not in known]
        texts = all(isinstance(text, str) for text in answer.values())
        if not strange and texts:
            return {str(name): text.strip() for name, text in answer.items()}
    given = strange[0] if strange else answer
    raise ConfigError(
        f"the review of {draft['night']} was answered with {given!r:.80}; it takes the texts to "
        "be learned by the ids of its lines. Leave out what must not be learned."
    )


def as_patch(draft: Mapping[str, Any]) -> str:
    """The draft as a patch that is read and edited: a line to be learned begins with its id."""
    patch = [
        f"# {draft['night']} of {'/'.join(draft['namespace'])} is about to learn the lines that",
        "# begin with +. Change the text after an id, or delete the line: it is not learned then.",
    ]
    told = None
    for line in draft["lines"]:
        source = f"  {line['day']} {' '.join(line['told'].split())}"
        if source != told:
            patch += ["", source]
            told = source
        patch.append(f"+ {line['id']} {' '.join(line['text'].split())}")
    counts = Counter(one["rule"] for one in draft["held"])
    patch += ["", *(f"# {count} kept back by {rule}" for rule, count in counts.items())]
    return "\n".join(patch) + "\n"


def from_patch(patch: str) -> dict[str, str]:
    """The texts to be learned, by id, of a patch that was edited."""
    texts = {}
    for line in patch.splitlines():
        if line.startswith("+"):
            name, _, text = line[1:].strip().partition(" ")
            texts[name] = text
    return texts


def from_file(text: str) -> dict[str, str]:
    """The texts to be learned, by id, of a file: JSON, or a patch, which begins with a comment.

    Raises:
        ValueError: it is neither.
    """
    answer: dict[str, str] = from_patch(text) if text.startswith("#") else json.loads(text)
    return answer


def changed(draft: Sequence[Line], answer: Mapping[str, str]) -> list[tuple[Line, Note]]:
    """The lines that the review changed, each with the note that takes its place.

    A note without text is one that is never learned, and whose episode stays in the buffer.
    """
    notes = []
    for line in draft:
        text = answer.get(line.id, "")
        if text.split() != line.text.split():
            notes.append((line, Note(line.episode, text, line.told)))
    return notes
