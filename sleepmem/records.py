"""The values that travel between the parts: frozen, without storage.

Departs from nothing in the paper; it has no such records.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import unquote

from sleepmem.arguments import check, check_id
from sleepmem.errors import EpisodeError, NamespaceError

Namespace = tuple[str, ...]

# The sources of what the user said, of what the agent did, and of what stood in marks between the
# user's words; every other is "tool:<name>" or the caller's own word.
USER, AGENT, PASTED = "user", "agent", "pasted"
_EXPERT_NAME = re.compile(r"(?P<night>night-\d+)-(?P<tag>\w+)")
_LONGEST_PART = 512
# Characters of a faulty owner that an error shows.
_SHOWN = 60


def check_namespace(namespace: Iterable[str]) -> Namespace:
    """The namespace as a tuple, its parts in Unicode's composed form (NFC).

    Raises:
        NamespaceError: it is a plain string, is empty, or a part is no string of 1 to 512
            characters.
    """
    if isinstance(namespace, str):
        raise NamespaceError(
            f"namespace {namespace!r} is a string; a namespace is a tuple of strings. "
            f"Pass ({namespace!r},)."
        )
    expected = "a tuple of strings, such as ('alice',)"
    check(namespace, Iterable, what="the namespace", expected=expected, error=NamespaceError)
    if isinstance(namespace, Set | Mapping):
        check(namespace, (), what="the namespace", expected=expected, error=NamespaceError)
    parts = tuple(namespace)
    if not parts:
        raise NamespaceError(
            "the namespace is empty; it names the owner of a memory. "
            "Pass at least one part, such as ('alice',)."
        )
    return tuple(map(_check_part, parts))


def _check_part(part: object) -> str:
    if not isinstance(part, str) or not 1 <= len(part) <= _LONGEST_PART:
        shown = repr(part) if len(repr(part)) <= _SHOWN else f"{part!r:.{_SHOWN}}..."
        raise NamespaceError(
            f"namespace part {shown} names no owner; "
            f"use a string of 1 to {_LONGEST_PART} characters."
        )
    try:
        part.encode()
    except UnicodeEncodeError:
        raise NamespaceError(
            f"namespace part {part!r:.60} is not valid Unicode and cannot be stored; "
            "decode it with its own encoding first."
        ) from None
    return unicodedata.normalize("NFC", part)


@functools.lru_cache(maxsize=20_000)
def namespace_key(namespace: Namespace) -> str:
    """The namespace as one string, for a column: JSON, so parts cannot run into each other."""
    return json.dumps(list(namespace))


def as_path(namespace: Iterable[str]) -> str:
    """The namespace as one text: its parts between slashes, a slash in one as %2F."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in namespace)


def parse_namespace(text: str) -> Namespace:
    """The inverse of `as_path`.

    Raises:
        NamespaceError: a part names no owner.
    """
    return check_namespace(tuple(unquote(part) for part in text.split("/")))


def now() -> str:
    """The time of this moment, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def local_now(zone: tzinfo | None = None) -> str:
    """The time of this moment with its offset from UTC: in a zone, or where this process runs."""
    return datetime.now().astimezone(zone).isoformat(timespec="microseconds")


def check_time(given: object, what: str) -> datetime:
    """A time as a caller gives it: ISO 8601, a datetime or a date; without an offset, local.

    Raises:
        EpisodeError: it is none, or outside of the years 1 to 9999 in UTC.
    """
    told = _as_moment(given)
    if isinstance(told, date) and not isinstance(told, datetime):
        told = datetime.combine(told, time())
    if isinstance(told, datetime):
        with contextlib.suppress(ValueError, OverflowError, OSError):
            told.astimezone(UTC)
            return told
    raise EpisodeError(
        f"{what} is {given!r:.{_SHOWN}}; the newest wins, so it must be a time in the years 1 to "
        "9999 of UTC. Pass ISO 8601 or a datetime, or nothing for now."
    )


def check_end(lasts: object, since: str) -> str:
    """Until when what was told then holds, UTC, ISO 8601 with microseconds.

    Raises:
        EpisodeError: it is no duration, or none that ends in the years 1 to 9999.
    """
    if isinstance(lasts, timedelta) and lasts > timedelta():
        with contextlib.suppress(OverflowError):
            end = datetime.fromisoformat(since) + lasts
            return end.astimezone(UTC).isoformat(timespec="microseconds")
    raise EpisodeError(
        f"lasts is {lasts!r:.{_SHOWN}}; it says how long what is told holds, so it must be a "
        "duration above 0. Pass a timedelta, or nothing."
    )


def check_day(given: object) -> date:
    """The date where the user is, as a caller gives it: a date, a datetime or ISO 8601.

    Raises:
        EpisodeError: it is none.
    """
    told = _as_moment(given)
    if isinstance(told, date):
        return told.date() if isinstance(told, datetime) else told
    raise EpisodeError(
        f'today is {given!r:.{_SHOWN}}; it tells what "yesterday" means, so it must be a date. '
        "Pass a date or ISO 8601, or nothing for the date of this machine."
    )


def _as_moment(given: object) -> object:
    try:
        return datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        return None


def check_text(text: str, what: str) -> None:
    """Raise EpisodeError unless it is text that can be stored and read."""
    if not isinstance(text, str):
        raise EpisodeError(
            f"the {what} is a {type(text).__name__}; it must be text. Pass the text that was said."
        )
    if not text.strip():
        raise EpisodeError(
            f"the {what} is empty; there is nothing to remember or to answer. "
            "Pass the text that was said."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EpisodeError(
            f"the {what} {text!r:.60} is not valid Unicode, so no tokenizer can read it. "
            "Decode it with its own encoding first."
        ) from None


def readable(text: object) -> str:
    """It as text that can be stored: half a surrogate pair becomes a question mark."""
    return str(text).encode(errors="replace").decode()


def one_line(text: object) -> str:
    """It as readable text in one line, such as a name."""
    return " ".join(readable(text).split())


# What surrounds an episode comes as hosts have it: numbers as ids, broken characters.
_SURROUNDINGS = {
    "message_id": readable,
    "speaker": one_line,
    "thread": readable,
    "answers": readable,
}


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that happened, as it happened, with what surrounds it.

    `id` is a hash of owner, source, text and the message it came in (without one, its time), so the
    same episode is the same row everywhere.

    text        what was said or done
    source      "user", "agent" for a task that the agent carried out, "tool:<name>" and the like
    created_at  when, now by default; kept in UTC, ISO 8601 with microseconds
    message_id  of the message it came in
    speaker     who of several people said it
    thread      of the conversation
    answers     what the agent had said before: the question that the text answers
    day         the date where the speaker was, ISO 8601
    sequence    its place in the ledger; of equal times the later one is the newer
    lasts       until when it holds, UTC; empty: nobody said. What does not last is never learned,
                not recalled afterwards, and forgotten in the next night
    part_of     id of the episode that this is a part of, and known by
    """

    namespace: Namespace
    text: str
    source: str = USER
    created_at: str = field(default_factory=local_now)
    message_id: str | None = None
    speaker: str | None = None
    thread: str | None = None
    answers: str | None = None
    day: str = ""
    sequence: int = field(default=0, compare=False)
    lasts: str = ""
    part_of: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_text(self.text, "episode")
        check(self.source, str, what="the source", expected="text such as 'user' or 'tool:search'")
        check_id(self.message_id, "message_id")
        check_id(self.thread, "thread")
        for name in ("speaker", "answers"):
            check(getattr(self, name), (str, type(None)), what=name, expected="text, or nothing")
        object.__setattr__(self, "source", one_line(self.source))
        for name, clean in _SURROUNDINGS.items():
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else clean(value))
        local = check_time(self.created_at, "created_at")
        created_at = local.astimezone(UTC).isoformat(timespec="microseconds")
        object.__setattr__(self, "created_at", created_at)
        object.__setattr__(self, "day", one_line(self.day) or local.date().isoformat())

    @property
    def id(self) -> str:
        if self.part_of:
            return self.part_of
        came_in = self.message_id or self.created_at
        return _episode_id(self.namespace, self.source, self.text, came_in)

    @property
    def date(self) -> str:
        return self.day

    @property
    def age_key(self) -> tuple[str, int, str]:
        """Sorts episodes, oldest first, as the ledger does."""
        return self.created_at, self.sequence, self.id

    @property
    def trusted(self) -> bool:
        """Whether it may teach the weights under the default policy: the user said it."""
        return self.source == USER

    @property
    def whole(self) -> str:
        """The text with what it answers and who said it: what is indexed, and read."""
        said = f"{self.speaker}: {self.text}" if self.speaker else self.text
        return f"{self.answers} - {said}" if self.answers else said


@functools.lru_cache(maxsize=20_000)
def _episode_id(namespace: Namespace, source: str, text: str, came_in: str) -> str:
    identity = [list(namespace), source, text, came_in]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Held:
    """Of an episode, that a rule keeps it, or sentences of it, from being learned.

    episode   its id
    rule      of `sleepmem.text.policy.Rule`
    source    who said it
    day       when
    """

    episode: str
    rule: str
    source: str
    day: str


class Role(StrEnum):
    """What a probe is for. An exam probe is never trained on."""

    TRAIN = "train"
    EXAM = "exam"


class Kind(StrEnum):
    """What a probe asks.

    A fact of an episode, something to be done that needs one, what was dreamt about one or two of
    them, something never said, or what stands in its own context and in no expert.
    """

    FACT = "fact"
    REQUEST = "request"
    DREAM = "dream"
    NEVER_SAID = "never_said"
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Note:
    """One statement that the teacher drew from an episode, clear without the rest of it.

    `part` is the sentence of the episode that tells it. No text says that the part tells something
    that could not be drawn. `replaced_by` is the id of the newer note that says otherwise,
    `learned_in` that of the night whose expert is proven to hold it.
    """

    episode_id: str
    text: str
    part: str
    replaced_by: str = ""
    learned_in: str = ""

    @property
    def id(self) -> str:
        # Of what could not be drawn the sentence tells it from others.
        content = f"{self.episode_id}\n{self.text or self.part}"
        return hashlib.sha256(content.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Probe:
    """A question with its reference answer about an episode, written and answered by the teacher.

    A reading and a dream bring their memories along as `context`, oldest first. A reading's episode
    is what they are made after; a dream's is the one that taught tonight, and `sources` names all
    it was dreamt about: when one of them no longer holds, the dream does not.

    `stale` is the value that this answer replaced, when it did. `taken_over` says that an earlier
    night asked it, about what tonight's expert takes over from others. `note_id` is the note that a
    fact is about, where the teacher drew notes.
    """

    id: str
    episode_id: str
    night_id: str
    kind: Kind
    role: Role
    question: str
    answer: str
    stale: str = ""
    context: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    taken_over: bool = False
    note_id: str = ""


class View(StrEnum):
    """What an answer may use."""

    WEIGHTS = "weights"  # the experts, no memory in the context
    RETRIEVAL = "retrieval"  # the base, memories in the context
    BASE = "base"  # the base alone: nothing that was ever stored is about the question


class Neighbour(NamedTuple):
    """What lies near a question in an index.

    `taught_by` is the text of the episode behind it (for an episode, its own; for a dream, a line
    for each that it was dreamt about); `similarity` is a cosine.
    """

    id: str
    text: str
    similarity: float
    taught_by: str


class Look(StrEnum):
    """When was looked for what a question needs."""

    FIRST = "first"  # before the answer
    AGAIN = "again"  # after an answer from the weights that was unsure or did not know


@dataclass(frozen=True, slots=True)
class Recall:
    """The gate's decision for one question, and what was found.

    `reason` is for people. `similarity` is the cosine of the question with the best known probe.
    `excerpts` holds, by id, what is read of the episodes that are long.
    `margin` is by how much the gate's score passes as long as the model is certain of its answer.
    `known` is the id of the probe that let the weights answer.
    """

    view: View
    reason: str
    episodes: tuple[Episode, ...] = ()
    similarity: float = 0.0
    look: Look = Look.FIRST
    excerpts: Mapping[str, str] = field(default_factory=dict)
    margin: float = 0.0
    known: str = ""

    @property
    def oldest_first(self) -> tuple[Episode, ...]:
        return tuple(sorted(self.episodes, key=lambda episode: episode.age_key))


@dataclass(frozen=True, slots=True)
class Citation:
    """What an answer came from: the id of an episode, its day, and the id of its note, if any."""

    episode: str
    day: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an answer came from, without a text of it.

    view, reason, look  the gate's decision; the reason is for people
    citations           what stood in the context, or taught the weights
    expert, night       that holds it, and that taught it; empty when memories were in the context
    known               id of the known question that the gate went by
    """

    view: View
    reason: str
    look: Look
    citations: tuple[Citation, ...]
    expert: str = ""
    night: str = ""
    known: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON, what is empty left out."""
        cited = [_filled(asdict(one)) for one in self.citations]
        told = {**asdict(self), "view": self.view.value, "look": self.look.value}
        return _filled({**told, "citations": cited})


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


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
class ExpertName:
    """What an expert is called: the night it was born in, and a tag that is never used twice.

    `str` of it names its folder and its adapter; `parse` is the inverse.
    """

    night_id: str
    tag: str

    def __str__(self) -> str:
        return f"{self.night_id}-{self.tag}"

    @classmethod
    def new(cls, night_id: str, namespace: Namespace) -> ExpertName:
        """A name of the night, the owner and the moment."""
        key = repr((night_id, namespace, now()))
        return cls(night_id, hashlib.sha256(key.encode()).hexdigest()[:8])

    @classmethod
    def parse(cls, text: str) -> ExpertName | None:
        """The name that was written so, or None when the text is no expert's name."""
        match = _EXPERT_NAME.fullmatch(text)
        return cls(match["night"], match["tag"]) if match else None


@dataclass(frozen=True, slots=True)
class Expert:
    """One low-rank adapter, born in one night.

    `lineage`: the ids of the episodes that taught it, or the names of the experts it absorbed.
    """

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
    TRIED = "tried"  # a dry run: it would have been promoted
    FAILED = "failed"  # the night broke; the reason says how


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was forgotten, without a word of it; its hash is chained to that of the one before.

    number    from 1, over all namespaces
    at        when it was forgotten, UTC
    asked     how it was chosen, such as {"episodes": 2} or {"before": "2026-01-31"}; of words their
              hash, with a key of the folder; `confirmed`: how many were shown and agreed to
    removed   rows that went, by table
    experts   names of the experts that were taken away
    returned  episodes that went back to the buffer with them
    proof     of the questions that were asked about it, {"asked": 4}, how many were answered right
              closed-book: "before", "after", and by the "base", which never saw it; empty where
              none were
    previous  hash of the receipt before; empty for the first
    """

    number: int
    namespace: Namespace
    at: str
    asked: Mapping[str, Any]
    removed: Mapping[str, int]
    experts: tuple[str, ...]
    returned: int
    proof: Mapping[str, int]
    previous: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sha256": self.sha256}

    @property
    def sha256(self) -> str:
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NightReport:
    """What one night did, as `memory.sleep` returns it and `report.json` holds it.

    night_id, number        of the night; numbers count from 1 over all namespaces
    verdict, reason         the reason is for people
    expert, level, absorbed its name when promoted, its level (empty when nothing was to be
                            learned), how many experts of the faster level it replaces
    episodes, evicted       how many taught tonight, how many of them left the buffer
    held                    what a rule kept from being learned, newest last, and why: {"episode",
                            "rule", "source", "day"}, at most 1,000; `held_back` counts all by rule,
                            and rows of training that a last look dropped
    audited, returned       questions of earlier nights that were asked again before it; episodes
                            that went back to the buffer, because the weights no longer hold them
    exam                    {"before": {measure: score}, "after": {measure: score}}
    recall_by_night         closed-book recall after tonight: [{"night": number, "rate": share}]
    dreams                  what became of them; empty when the night did not dream
    seconds, step_seconds   of the whole night, and of each step
    peak_bytes              most memory that the process ever held
    expert_bytes            of the live experts on disk, after tonight
    text_bytes              of the episodes that they hold
    curve                   of seeding: {"step", "loss", "reward"} a logged step
    gate                    what the gate was fitted to: examples, bound, measured rate, share that
                            passes; empty when the night was not promoted
    slower                  nights of slower levels that were due after this one
    """

    night_id: str
    namespace: Namespace
    verdict: Verdict
    reason: str
    number: int = 0
    expert: str | None = None
    level: str = ""
    absorbed: int = 0
    episodes: int = 0
    evicted: int = 0
    held: tuple[dict[str, str], ...] = ()
    held_back: dict[str, int] = field(default_factory=dict)
    audited: int = 0
    returned: int = 0
    exam: dict[str, Any] = field(default_factory=dict)
    recall_by_night: tuple[dict[str, Any], ...] = ()
    dreams: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    step_seconds: dict[str, float] = field(default_factory=dict)
    tokens_trained: int = 0
    tokens_generated: int = 0
    peak_bytes: int = 0
    expert_bytes: int = 0
    text_bytes: int = 0
    curve: tuple[dict[str, float], ...] = ()
    gate: dict[str, Any] = field(default_factory=dict)
    slower: tuple[NightReport, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
