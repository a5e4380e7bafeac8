"""The settings, one dataclass per phase, checked when made. Each default says where it comes from."""

from __future__ import annotations

import itertools
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sleepmem.errors import ConfigError


def _check(settings: object, name: str, low: float, high: float) -> None:
    value, owner = getattr(settings, name), type(settings).__name__
    whole = type(settings).__annotations__[name] == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ConfigError(f"{owner}.{name} is {value!r}; it must be a {'whole number' if whole else 'number'}.")
    if not low <= value <= high:
        raise ConfigError(f"{owner}.{name} is {value}; it must lie between {low:g} and {high:g}.")


def _check_kind(settings: object, kind: type, *names: str) -> None:
    for name in names:
        if not isinstance(value := getattr(settings, name), kind):
            word = "True or False" if kind is bool else f"of type {kind.__name__}"
            raise ConfigError(f"{type(settings).__name__}.{name} is {value!r}; it must be {word}.")


class _Strict:
    __pydantic_config__ = ConfigDict(extra="forbid")  # a mistyped name in a file is a fault, no default


@dataclass(frozen=True)
class GateConfig(_Strict):
    """When to answer from the weights. Similarities are cosines; the defaults were read off `make bench-gate` (LAB.md)."""

    known: float = 0.80  # at least this near to a question that was passed closed-book
    sure: float = 0.5  # an answer from the weights with a token less likely than this is not given before the archive was searched
    near: float = 0.20  # a memory farther than this from the question is neither fresher nor put into the context
    top_k: int = 4  # memories put into the context when retrieving; twice as many from the archive, which ranks by words alone

    def __post_init__(self) -> None:
        _check(self, "known", 0, 1)
        _check(self, "sure", 0, 1)
        _check(self, "near", -1, 1)
        _check(self, "top_k", 1, 100)


@dataclass(frozen=True)
class ProbeConfig(_Strict):
    """How the teacher questions itself (design, step 2)."""

    samples: int = 12  # question/answer pairs sampled per episode; repeated wordings fall together
    wordings: int = 6  # most wordings kept per fact
    temperature: float = 1.0
    checks: int = 2  # times a pair is asked again: once from its memory alone, then among others
    distractors: int = 3  # other episodes among which it is asked
    inventions: int = 8  # memories made up after each episode, for reading and for strangers
    unsaid: int = 8  # questions without answer about each episode: so many written, so many with another known name, so many with a stranger's

    def __post_init__(self) -> None:
        _check(self, "samples", 1, 1000)
        _check(self, "wordings", 2, 100)
        _check(self, "temperature", 0.01, 2)
        _check(self, "checks", 1, 10)
        _check(self, "distractors", 0, 100)
        _check(self, "inventions", 0, 100)
        _check(self, "unsaid", 0, 100)


@dataclass(frozen=True)
class SeedingConfig(_Strict):
    """Knowledge seeding (paper, section 4)."""

    steps: int = 120  # at most, but for `Level.steps_per_episode`
    stop_at: float = 0.0  # ends early once the student says this share of the last eight off-policy batches as its teachers do; 0: all steps
    batch: int = 32  # effective batch of the paper
    lr: float = 3e-3  # measured on the embedded model with rank 16; the paper's is 5e-6 for an 8 B model
    beta: float = 0.0  # divergence: 0 forward KL, 1 reverse KL, between them generalised JSD
    lambda_: float = 0.0  # share of batches whose answers the student samples itself; a quarter brought nothing for more seconds (LAB.md)
    alpha: float = 0.9  # weight of distillation; 1 - alpha is the weight of learning to imitate
    gamma: float = 0.5  # share of the semantic reward; 1 - gamma is the share of the Levenshtein reward
    z0: int = 8  # most edits (characters) that still earn a Levenshtein reward
    never_said: float = 0.25  # shares of every batch; the rest is tonight's facts
    rehearsal: float = 0.3
    reading: float = 0.26
    max_new_tokens: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "lambda_", "alpha", "gamma", "stop_at", "never_said", "rehearsal", "reading"):
            _check(self, name, 0, 1)
        for name in ("steps", "batch", "max_new_tokens"):
            _check(self, name, 1, 1_000_000)
        _check(self, "z0", 0, 1_000_000)
        _check(self, "seed", 0, 2**32 - 1)
        _check(self, "lr", 1e-12, 10)
        if self.never_said + self.rehearsal + self.reading >= 1:
            raise ConfigError(
                f"SeedingConfig gives never_said + rehearsal + reading = {self.never_said + self.rehearsal + self.reading:g} of a batch; "
                "tonight's facts need a share too. Keep the sum below 1."
            )


@dataclass(frozen=True)
class DreamConfig(_Strict):
    """Dreaming (paper, section 3.4)."""

    rounds: int = 0  # at most; 0: no dreams. Two were measured (`make bench-dreams`)
    contexts: int = 60  # memories or pairs of memories that a round dreams about
    samples: int = 5  # dreams about each
    temperature: float = 1.0
    random_expert: bool = True  # whether one random further expert is on while dreaming
    by_gradient: bool = True  # whether the gradient chooses what is tried; else chance
    top_k: int = 48  # tried for their gradient
    random: int = 16  # tried by chance besides
    copies: int = 16  # of the expert, that learn at once
    steps: int = 5  # of a copy on its dream
    lr: float = 1e-3  # of a copy; at three times this one dream's lesson costs more than it brings (LAB.md)
    margin: float = 0.0  # least gain, in expected share of right answers, that earns the reward
    lesson_lr: float = 2e-3  # of the rewarded dreams' lessons; at the night's own the gains are larger and plain recall suffers (LAB.md)
    share: float = 0.35  # training steps on dreams, as a share of the night's
    others: float = 0.2  # share of never said, of rehearsal and of reading, each, in a batch on dreams; the rest is facts and dreams
    examined: int = 8  # questions of a trial: other dreams about the same, at most half, and of tonight; none of the exam's

    def __post_init__(self) -> None:
        _check_kind(self, bool, "random_expert", "by_gradient")
        for name in ("rounds", "random"):
            _check(self, name, 0, 1_000_000)
        for name in ("contexts", "top_k", "copies", "steps", "examined"):
            _check(self, name, 1, 1_000_000)
        _check(self, "samples", 2, 1_000_000)  # one of two about the same is kept for the exam
        _check(self, "temperature", 0.01, 2)
        _check(self, "lr", 1e-12, 10)
        _check(self, "lesson_lr", 1e-12, 10)
        _check(self, "margin", 0, 1)
        _check(self, "share", 0, 1)
        _check(self, "others", 0, 0.33)


@dataclass(frozen=True)
class ExamConfig(_Strict):
    """What a night must reach to be promoted. A bound fails only when the whole confidence interval lies beyond it."""

    recall: float = 0.8  # tonight's facts, held-out wordings
    old_nights: float = 0.05  # most that recall of earlier nights may fall
    abstention: float = (
        0.1  # most that abstention may fall below the base; these are the hardest such questions, and the gate keeps most from the experts
    )
    superseded: float = 0.05  # most corrected facts that may still give the old value
    reading: float = 0.05  # most that reading from the context may fall below the base
    general_kl: float = 0.5  # nats per token on neutral prompts, against the base
    confidence: float = 0.9
    most: int = 120  # questions per measure

    def __post_init__(self) -> None:
        for name in ("recall", "old_nights", "abstention", "superseded", "reading"):
            _check(self, name, 0, 1)
        _check(self, "confidence", 0.5, 0.999)
        _check(self, "general_kl", 0, 1000)
        _check(self, "most", 1, 1_000_000)


@dataclass(frozen=True)
class Level(_Strict):
    """A level of the continuum memory (paper, section 2): its experts are born every so many nights, out of those of the level before."""

    name: str
    every: int  # nights; a multiple of the level's before
    rank: int  # of its experts
    steps_per_episode: float  # of seeding; SeedingConfig.steps at least

    def __post_init__(self) -> None:
        _check_kind(self, str, "name")
        if not self.name.strip():
            raise ConfigError("Level.name is empty; give the level a name, such as 'slow'.")
        _check(self, "every", 1, 1_000_000)
        _check(self, "rank", 1, 1_000_000)
        _check(self, "steps_per_episode", 0, 1_000_000)


# Rank 16 was measured on the embedded model (the paper's is 64 for an 8 B model); a slower level's rank grows less than what it takes in.
LEVELS = (Level("fast", 1, 16, 6.0), Level("slow", 7, 48, 2.0), Level("deep", 28, 96, 2.0))


@dataclass(frozen=True)
class SleepConfig(_Strict):
    """One night, and when an agent is tired."""

    replay_budget: int = 200  # most episodes one night may replay
    tired_at: int = 20  # buffered episodes that make `is_tired` true
    untrusted: bool = False  # whether tool results and other sources may teach the weights
    rehearse: int = 1000  # most questions about earlier facts, and most without answer, that a night rehearses, drawn evenly over the episodes
    reread: int = 400  # most earlier readings that it goes over again
    audit: int = 200  # most questions of earlier nights that are asked again before a night; what fails goes back to the buffer
    levels: tuple[Level, ...] = LEVELS  # fastest first; the first alone: one expert a night, for ever
    expand: bool = True  # a new expert every night; else tonight's begins as the last one and takes its place
    top_k: int = 0  # live experts that a token goes through in a layer, by night and by day; 0: all of them
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    seeding: SeedingConfig = field(default_factory=SeedingConfig)
    dream: DreamConfig = field(default_factory=DreamConfig)
    exam: ExamConfig = field(default_factory=ExamConfig)

    def __post_init__(self) -> None:
        _check_kind(self, bool, "untrusted", "expand")
        for kind, name in ((ProbeConfig, "probe"), (SeedingConfig, "seeding"), (DreamConfig, "dream"), (ExamConfig, "exam")):
            _check_kind(self, kind, name)
        if not isinstance(self.levels, tuple) or not all(isinstance(x, Level) for x in self.levels):
            raise ConfigError(f"SleepConfig.levels is {self.levels!r}; it must be a tuple of Level.")
        _check(self, "replay_budget", 1, 1_000_000)
        _check(self, "tired_at", 1, 1_000_000)
        _check(self, "rehearse", 0, 1_000_000)
        _check(self, "reread", 0, 1_000_000)
        _check(self, "top_k", 0, 1_000_000)
        _check(self, "audit", 0, 1_000_000)
        if not self.expand and len(self.levels) > 1:
            raise ConfigError("SleepConfig.expand is off: there is one expert for ever, so slower levels have nothing to take in. Pass one level.")
        if not self.levels or self.levels[0].every != 1 or len({x.name for x in self.levels}) < len(self.levels):
            raise ConfigError("SleepConfig.levels must begin with a level of every night (every=1) and name each level once.")
        for faster, slower in itertools.pairwise(self.levels):
            if slower.every % faster.every or slower.every == faster.every:
                raise ConfigError(
                    f"SleepConfig.levels has {slower.name!r} every {slower.every} nights after {faster.name!r} every {faster.every}; "
                    "a slower level takes in whole experts of the one before it, so make it a multiple (paper, section 2)."
                )


@dataclass(frozen=True)
class MemoryConfig(_Strict):
    """Everything, as `SleepMemory.open(config=...)` takes it."""

    gate: GateConfig = field(default_factory=GateConfig)
    sleep: SleepConfig = field(default_factory=SleepConfig)
    max_new_tokens: int = 64  # of a chat answer

    def __post_init__(self) -> None:
        _check_kind(self, GateConfig, "gate")
        _check_kind(self, SleepConfig, "sleep")
        _check(self, "max_new_tokens", 1, 1_000_000)


def read_config(path: Path) -> MemoryConfig:
    """The settings in a TOML file; tables are named like the fields, `[sleep.dream]` for one, and what it leaves out keeps its default.

    Raises:
        ConfigError: the file is not TOML, names what there is not, or holds a value that cannot be.
        OSError: the file cannot be read.
    """
    try:
        return TypeAdapter(MemoryConfig).validate_json(json.dumps(tomllib.loads(path.read_text("utf-8-sig")), default=str), strict=True)
    except ValidationError as e:
        fault = e.errors()[0]
        raise ConfigError(
            f"{path}, {'.'.join(map(str, fault['loc'])) or 'top level'}: {fault['msg'].removeprefix('Value error, ').rstrip('.')}."
        ) from None
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{path} is not TOML: {e}. Write tables like [sleep.dream] with lines like rounds = 2.") from None
