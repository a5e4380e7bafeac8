"""The values that travel between the parts: frozen, without storage.

Departs from nothing in the paper; it has no such records.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sleepmem.errors import EpisodeError, NamespaceError

Namespace = tuple[str, ...]

USER = "user"  # the source of what the user said; every other source is "tool:<name>" or the caller's own word
_SAFE = re.compile(r"[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,63}")


def check_namespace(namespace: Iterable[str]) -> Namespace:
    """The namespace as a tuple.

    Raises:
        NamespaceError: it is a plain string, is empty, or a part is not 1 to 64 of letters, digits, ``@ . _ -``.
    """
    if isinstance(namespace, str):
        raise NamespaceError(
            f"namespace {namespace!r} is a string; a namespace is a tuple of strings. Pass ({namespace!r},)."
        )
    parts = tuple(namespace)
    if not parts:
        raise NamespaceError(
            "the namespace is empty; it names the owner of a memory. Pass at least one part, such as ('alice',)."
        )
    for part in parts:
        if not isinstance(part, str) or not _SAFE.fullmatch(part):
            raise NamespaceError(
                f"namespace part {part!r} cannot name a folder or a collection; "
                "use 1 to 64 letters, digits, '@', '.', '_' or '-', not starting with '.'."
            )
    return parts


def namespace_key(namespace: Namespace) -> str:
    """The namespace as one string, for a column: JSON, so parts cannot run into each other."""
    return json.dumps(list(namespace))


def now() -> str:
    """The time of this moment, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def check_text(text: str, what: str) -> None:
    """Raise EpisodeError unless it is text that can be stored and read."""
    if not text.strip():
        raise EpisodeError(
            f"the {what} is empty; there is nothing to remember or to answer. Pass the text that was said."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EpisodeError(
            f"the {what} {text!r:.60} is not valid Unicode, so no tokenizer can read it. Decode it with its own encoding first."
        ) from None


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that was said, by whom, when. `id` is a hash of the rest, so the same episode is the same row everywhere."""

    namespace: Namespace
    text: str
    source: str = USER
    created_at: str = field(default_factory=now)
    message_id: str | None = None

    def __post_init__(self) -> None:
        check_text(self.text, "episode")
        try:
            said_at = datetime.fromisoformat(self.created_at).astimezone(UTC)
        except ValueError:
            raise EpisodeError(
                f"created_at is {self.created_at!r}; the newest wins, so it must be a time. Pass ISO 8601, or nothing for now."
            ) from None
        object.__setattr__(self, "created_at", said_at.isoformat(timespec="microseconds"))

    @property
    def id(self) -> str:
        """Content hash: owner, source, text, and the message it came in (its time, when it came in none)."""
        identity = [
            list(self.namespace),
            self.source,
            self.text,
            self.message_id or self.created_at,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]

    @property
    def date(self) -> str:
        return self.created_at[:10]

    @property
    def trusted(self) -> bool:
        """Whether it may teach the weights under the default policy: the user said it."""
        return self.source == USER


class Role(StrEnum):
    """What a probe is for. An exam probe is never trained on."""

    TRAIN = "train"
    EXAM = "exam"


class Kind(StrEnum):
    """What a probe asks: a fact of an episode, what was dreamt about one or two of them, something never said, or what stands in its own context and in
    no expert."""

    FACT = "fact"
    DREAM = "dream"
    NEVER_SAID = "never_said"
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question with its reference answer about an episode, written and answered by the teacher.

    A reading and a dream bring their memories along as `context`, oldest first. A reading's episode is what they are made after; a dream's is the one that
    taught tonight, and `sources` names all it was dreamt about: when one of them no longer holds, the dream does not.
    """

    id: str
    episode_id: str
    night_id: str
    kind: Kind
    role: Role
    question: str
    answer: str
    stale: str = ""  # the value that this answer replaced, when it did
    context: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class View(StrEnum):
    """What an answer may use."""

    WEIGHTS = "weights"  # the experts, no memory in the context
    RETRIEVAL = "retrieval"  # the base, memories in the context
    BASE = "base"  # the base alone: nothing that was ever stored is about the question


@dataclass(frozen=True, slots=True)
class Recall:
    """The gate's decision for one question, and what was found.

    `similarity` is the cosine of the question with the best known probe (weights) or episode (retrieval).
    """

    view: View
    reason: str
    episodes: tuple[Episode, ...] = ()
    similarity: float = 0.0

    @property
    def oldest_first(self) -> tuple[Episode, ...]:
        return tuple(sorted(self.episodes, key=lambda e: (e.created_at, e.id)))


@dataclass(frozen=True, slots=True)
class Score:
    """`right` of `total` answers; `rate` is 1.0 for nothing asked."""

    right: float
    total: int

    @property
    def rate(self) -> float:
        return self.right / self.total if self.total else 1.0

    def as_dict(self) -> dict[str, Any]:
        return {"right": self.right, "total": self.total, "rate": round(self.rate, 4)}


@dataclass(frozen=True, slots=True)
class Expert:
    """One low-rank adapter, born in one night. `lineage`: the ids of the episodes that taught it, or the names of the experts it absorbed."""

    name: str
    namespace: Namespace
    night_id: str
    level: str
    rank: int
    created_at: str
    lineage: tuple[str, ...]
    live: bool = False


class Verdict(StrEnum):
    PROMOTED = "promoted"
    REJECTED = "rejected"
    SKIPPED = "skipped"  # nothing to learn tonight
    FAILED = "failed"  # the night broke; the reason says how


@dataclass(frozen=True, slots=True)
class NightReport:
    """What one night did, as `memory.sleep` returns it and `report.json` holds it."""

    night_id: str
    namespace: Namespace
    verdict: Verdict
    reason: str
    expert: str | None = None
    level: str = ""  # of the expert; "" when there was nothing to learn
    absorbed: int = 0  # experts of the faster level that it replaces
    episodes: int = 0
    evicted: int = 0
    audited: int = 0  # questions of earlier nights that were asked again before it
    returned: int = (
        0  # episodes that went back to the buffer, because the weights no longer prove to hold them
    )
    seconds: float = 0.0
    tokens_trained: int = 0
    exam: dict[str, Any] = field(default_factory=dict)
    curve: tuple[dict[str, float], ...] = ()
    slower: tuple[NightReport, ...] = ()  # nights of slower levels that were due after this one

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
