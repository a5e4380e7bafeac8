"""Of what kind a text is, in any of the sixteen languages of the default embeddings.

A text is of a kind when its embedding is near one of the kind's prototypes (Snell et al. 2017,
*Prototypical Networks*). How near is measured: `docs/lab/`, "What tells a greeting".
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import needs_no_memory, parts_of
from sleepmem.text.terms import terms


class _Prototypes(NamedTuple):
    texts: tuple[str, ...]
    least: float


_AGREEMENT, _SURELY_GREETS = "Okay.", 0.65


class Kind(Enum):
    """What a text may be, with its prototypes and the cosine to one of them that suffices."""

    SMALL_TALK = _Prototypes(
        (
            "Hello",
            "Hello!",
            "Good morning.",
            "How are you?",
            "Goodbye!",
            "See you later.",
            "Thank you very much.",
            "Thanks, that's all.",
            _AGREEMENT,
            "You're welcome.",
        ),
        0.5,
    )
    # What tells beside a greeting; it counts where it is nearer than any greeting.
    TELLING = _Prototypes(
        (
            "I'm new here.",
            "I am Ana.",
            "My name is Ana.",
            "I live in Rome.",
            "from Rome",
            "I'm back from Rome.",
            "I am a nurse.",
            "I am ill.",
        ),
        0.0,
    )
    ABSTENTION = _Prototypes(
        (
            "I do not know.",
            "I don't have that information.",
            "I'm not sure.",
            "I can't tell you that, it was never mentioned.",
        ),
        0.53,
    )
    # Names of tools: those of a memory, and others that sound like them.
    MEMORY_TOOL = _Prototypes(
        (
            "memory",
            "memories",
            "long-term memory",
            "archival memory",
            "recall memories",
            "search memories",
            "conversation history",
            "remember",
        ),
        0.54,
    )
    OTHER_TOOL = _Prototypes(
        (
            "search",
            "save a file",
            "reminder",
            "product recall",
            "recall order",
            "vehicle",
            "memory usage",
            "free memory",
        ),
        0.0,
    )
    CONTEXT_LABEL = _Prototypes(("context", "documents", "passage", "sources"), 0.43)
    # How a prompt of a host begins that brings its documents along.
    INSTRUCTION = _Prototypes(
        (
            "Use the following pieces of context to answer the question.",
            "Answer the question based only on the following context:",
            "Answer from these documents.",
        ),
        0.48,
    )
    QUESTION_LABEL = _Prototypes(("question", "my request"), 0.5)


# A longer text says more than a greeting.
_LONGEST_SMALL_TALK = 12
# A part of one stands alone: a lower cosine suffices, unless it seems to be about somebody.
_LEAST_OF_A_PART, _PART_TELLS = 0.42, -0.5
# The cosine of an element's name to a label of context: "document" is nearer, "span" is not.
_CONTEXT_NAME = 0.6
# By so much another kind of tool may be nearer to the name of a memory's: "save memory".
_SOUNDS_ALIKE = 0.02
# The cosine of a prompt's beginning from which its question may stand at its end without a label.
_SURE_INSTRUCTION = 0.6
# Characters that tell of what kind a text is.
_READ = 1_000
_WORDS_OF_A_NAME = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
_LABEL = re.compile(
    r"(?:^|(?<=[\n.!?。！？]))[ \t]*(?P<label>[^\W\d_][\w ]{0,30})[ \t]*(?::(?=\s)|：)"
)
# What a prompt leaves open for the model to go on with.
_OPEN_LABEL = re.compile(r"\n[^\n:：]{1,30}[:：]\s*$")
# What machines mark elements with, in HTML and on message boards.
_TAG = re.compile(r"[<\[](?P<closes>/?)(?P<name>[A-Za-z][\w-]*)(?:[\s=][^<>\[\]]*)?[>\]]")


def is_small_talk(text: str) -> bool:
    """Whether it greets, thanks or takes leave, and nothing else; or says nothing at all."""
    length = len(terms(text))
    if not length:
        return True
    is_one = length <= _LONGEST_SMALL_TALK and _is(text, Kind.SMALL_TALK)
    return is_one and all(map(_may_be_small_talk, parts_of(text)))


def greets(text: str) -> bool:
    """Whether it surely greets, thanks or takes leave: unlike "okay" that answers no question."""
    nearness = _prototypes(Kind.SMALL_TALK) @ default_embeddings().embed_query(text[:_READ])
    nearest = Kind.SMALL_TALK.value.texts[int(nearness.argmax())]
    return nearest != _AGREEMENT and float(nearness.max()) >= _SURELY_GREETS


def _may_be_small_talk(part: str) -> bool:
    """Whether a part of a greeting, judged by itself, tells nothing of the one who greets."""
    if not terms(part):
        return True
    is_near = _nearness(part, Kind.SMALL_TALK) >= _LEAST_OF_A_PART
    is_one = is_near and needs_no_memory(part) >= _PART_TELLS
    return is_one and not any(map(_tells, _endings(part)))


def _endings(part: str) -> Iterator[str]:
    """The part, and what is left of it without its first words: "Hello from Bern" tells."""
    words = part.split()
    for place in range(len(words)):
        yield " ".join(words[place:])


def _tells(text: str) -> bool:
    """Whether it is nearer to what tells than to any greeting."""
    return _nearness(text, Kind.TELLING) > _nearness(text, Kind.SMALL_TALK)


def is_memory_tool(name: str) -> bool:
    """Whether a tool is called like one that searches or keeps memories."""
    words = _WORDS_OF_A_NAME.sub(" ", name).strip()
    is_other = _nearness(words, Kind.OTHER_TOOL) - _SOUNDS_ALIKE
    return _is(words, Kind.MEMORY_TOOL) and _nearness(words, Kind.MEMORY_TOOL) >= is_other


@functools.lru_cache(maxsize=20_000)
def abstains(text: str) -> bool:
    """Whether the text says that it does not know: a hint, what the model does tells more."""
    return bool(terms(text)) and _is(text, Kind.ABSTENTION)


class Element(NamedTuple):
    """A part of a text that a machine marked, and what it is called."""

    name: str
    start: int
    end: int


@functools.lru_cache(maxsize=64)
def without_pasted(text: str) -> str:
    """The text without what was pasted into it for the model to read.

    That is marked elements, and documents before a question: labelled as context, or under an
    instruction to answer from them. What is marked within a line of one's own is one's own, too.
    """
    kept, end = [], 0
    for element in elements(text):
        if _is_context(element) or _stands_apart(element, text):
            kept += [text[end : element.start], "\n"]
            end = element.end
    plain = "".join([*kept, text[end:]]).strip()
    return (_question_of(_OPEN_LABEL.sub("", plain)) or plain).strip()


def pasted(text: str) -> list[str]:
    """The marked elements that `without_pasted` leaves out and nobody called a context.

    A person's own configuration, a table; or what a framework adds: nobody knows who wrote it.
    """
    own = without_pasted(text)
    found = []
    for element in elements(text):
        part = text[element.start : element.end]
        if not _is_context(element) and _stands_apart(element, text) and part not in own:
            found.append(part)
    return found if own else []


@functools.lru_cache(maxsize=64)
def elements(text: str) -> tuple[Element, ...]:
    """The outermost ones, in order: from a tag to the next that closes one of its name."""
    tags = list(_TAG.finditer(text))
    closing: dict[str, list[re.Match[str]]] = {}
    for tag in tags:
        if tag["closes"]:
            closing.setdefault(tag["name"], []).append(tag)
    found: list[Element] = []
    end = 0
    for tag in tags:
        if tag["closes"] or tag.start() < end:
            continue
        later = closing.get(tag["name"], [])
        place = bisect.bisect_left(later, tag.end(), key=lambda one: one.start())
        if place < len(later):
            end = later[place].end()
            found.append(Element(tag["name"], tag.start(), end))
    return tuple(found)


def _question_of(prompt: str) -> str:
    """The question that stands after documents, or right before them; empty where none does."""
    labels = list(_LABEL.finditer(prompt))
    lines = [line for line in prompt.splitlines() if line.strip()]
    is_instruction = len(lines) > 1 and _is(lines[0], Kind.INSTRUCTION)
    if labels and _is(labels[-1]["label"], Kind.QUESTION_LABEL):
        is_context = len(labels) > 1 and _is(labels[0]["label"], Kind.CONTEXT_LABEL)
        return prompt[labels[-1].end() :] if is_context or is_instruction else ""
    for label, following in itertools.pairwise(labels[:3] if is_instruction else []):
        is_asked = _is(label["label"], Kind.QUESTION_LABEL)
        if is_asked and _is(following["label"], Kind.CONTEXT_LABEL):
            return prompt[label.end() : following.start()]
    is_sure = is_instruction and _nearness(lines[0], Kind.INSTRUCTION) >= _SURE_INSTRUCTION
    return lines[-1] if is_sure and len(lines) > 2 and not is_small_talk(lines[-1]) else ""


def _is_context(element: Element) -> bool:
    return _nearness(element.name, Kind.CONTEXT_LABEL) >= _CONTEXT_NAME


def _stands_apart(element: Element, text: str) -> bool:
    """Whether it spans lines, or fills one."""
    before = text.rfind("\n", 0, element.start) + 1
    after = text.find("\n", element.end)
    around = text[before : element.start] + text[element.end : after if after >= 0 else None]
    return not around.strip() or "\n" in text[element.start : element.end]


def _is(text: str, kind: Kind) -> bool:
    return _nearness(text, kind) >= kind.value.least


def _nearness(text: str, kind: Kind) -> float:
    """The cosine to the nearest prototype."""
    return float((_prototypes(kind) @ default_embeddings().embed_query(text[:_READ])).max())


@functools.cache
def _prototypes(kind: Kind) -> Any:
    """One row each, of length 1."""
    return np.array(default_embeddings().embed_documents(list(kind.value.texts)))
