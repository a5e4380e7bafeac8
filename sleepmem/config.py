"""Every setting: one dataclass per phase, checked when it is made.

A field carries its type, its range and what it means; the settings page of the docs is generated
from them. A default says where it comes from: the paper (arXiv 2606.03979), or a measurement in
`docs/lab/`.
"""

from __future__ import annotations

import functools
import itertools
import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_types import Ge, Le
from pydantic import AllowInfNan, ConfigDict, TypeAdapter, ValidationError
from typing_extensions import Doc

from sleepmem.errors import ConfigError

MANY = 1_000_000  # no count is larger
AUTO: Literal["auto"] = "auto"
Action = Literal["learn", "hold", "refuse"]
# As in `sleepmem.text.policy`.
RuleName = Literal[
    "source",
    "quoted",
    "hidden",
    "secrets",
    "payment",
    "personal",
    "instructions",
    "volatile",
]

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1), Le(MANY)]
CountOrNone = Annotated[int, Ge(0), Le(MANY)]
LearningRate = Annotated[float, Ge(1e-12), Le(10)]
Temperature = Annotated[float, Ge(0.01), Le(2)]


class _Settings:
    """Checks every field against its annotation.

    A mistyped name in a file is a fault, no default.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        settings: Any = type(self)
        for name, hint in _hints(settings).items():
            value = getattr(self, name)
            try:
                _adapter(hint).validate_python(value, strict=True)
            except ValidationError:
                raise ConfigError(_sentence(settings, name, value)) from None


@functools.cache
def _hints(settings: Any) -> dict[str, Any]:
    return get_type_hints(settings, include_extras=True)


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[hint, AllowInfNan(False)] if float in get_args(hint) else hint)


def _sentence(settings: type, name: str, value: object) -> str:
    """What is wrong with the value of a setting, and what it must be."""
    hint = _hints(settings)[name]
    kind, *rules = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    bounds: list[Any] = [rule.ge for rule in rules if isinstance(rule, Ge)]
    bounds += [rule.le for rule in rules if isinstance(rule, Le)]
    is_number = isinstance(value, int if kind is int else int | float)
    if bounds and is_number and not isinstance(value, bool):
        must = f"lie between {bounds[0]:g} and {bounds[1]:g}"
    elif kind is bool:
        must = "be True or False"
    elif kind in (int, float):
        must = "be a whole number" if kind is int else "be a number"
    else:
        must = f"be of type {getattr(kind, '__name__', kind)}"
        if get_args(kind):
            must = f"be a {kind.__name__} of {get_args(kind)[0].__name__}"
    return f"{settings.__name__}.{name} is {value!r}; it must {must}."


@dataclass(frozen=True)
class GateConfig(_Settings):
    """When to answer from the weights, and what is recalled else. Similarities are cosines.

    What passes is calibrated by every night to the bound (`make bench-gate`).
    """

    epsilon: Annotated[
        Share,
        Doc("Most turns, as a share, that the weights may answer wrongly."),
    ] = 0.02
    epsilon_near_misses: Annotated[
        Share,
        Doc("The same of questions that only sound like known ones."),
    ] = 0.01
    confidence: Annotated[
        float, Ge(0.5), Le(0.999), Doc("That the share of wrong answers is no larger.")
    ] = 0.9
    examples: Annotated[
        Count,
        Doc("Most known questions, and most without answer, that a night calibrates with."),
    ] = 120
    near_misses: Annotated[
        Count, Doc("Perturbed questions made of each of them; seven kinds there are.")
    ] = 5
    kept: Annotated[
        CountOrNone, Doc("Most examples of earlier nights that a calibration takes in.")
    ] = 2000
    memories_per_question: Annotated[
        int, Ge(1), Le(100), Doc("Most memories put into the context when retrieving.")
    ] = 5


@dataclass(frozen=True)
class ProbeConfig(_Settings):
    """How the teacher questions itself at night."""

    samples: Annotated[
        int,
        Ge(1),
        Le(1000),
        Doc("Question/answer pairs sampled per episode; repeated wordings fall together."),
    ] = 12
    wordings: Annotated[int, Ge(2), Le(100), Doc("Most wordings kept per fact.")] = 6
    temperature: Annotated[
        Temperature | None, Doc("Of the sampling; None: as the model's profile says.")
    ] = None
    rewordings: Annotated[
        int,
        Ge(0),
        Le(100),
        Doc("Times a question about a note is asked in other words, where wordings are missing."),
    ] = 3
    verified: Annotated[
        bool, Doc("Whether a note is dropped that its episode, read again, does not tell.")
    ] = True
    turned: Annotated[
        int,
        Ge(0),
        Le(100),
        Doc("Times a note is asked the other way round: who lives there as well as where."),
    ] = 1
    requests: Annotated[
        int,
        Ge(0),
        Le(100),
        Doc("Requests written about each note that need it without asking about it."),
    ] = 1
    retries: Annotated[
        int,
        Ge(0),
        Le(10),
        Doc("Times a note is questioned again of which no question held up."),
    ] = 1
    checks: Annotated[
        int,
        Ge(1),
        Le(10),
        Doc("Times a pair is asked again: once from its memory alone, then among others."),
    ] = 2
    distractors: Annotated[
        int, Ge(0), Le(100), Doc("Other episodes among which a pair is asked again.")
    ] = 3
    inventions: Annotated[
        int,
        Ge(0),
        Le(100),
        Doc("Memories made up after each episode, for reading and for strangers."),
    ] = 8
    unsaid: Annotated[
        int,
        Ge(0),
        Le(100),
        Doc(
            "Questions without answer about each episode: so many written, so many with another "
            "known name, so many with a stranger's."
        ),
    ] = 8
    unsaid_sure: Annotated[
        Share | None,
        Doc(
            "How sure the teacher must be that nothing answers such a question: the probability of "
            "its least likely token. None: as the model's profile says."
        ),
    ] = None
    related: Annotated[
        Count, Doc("Episodes of the archive that the teacher reads to a question.")
    ] = 8
    unsaid_examined: Annotated[
        Share, Doc("Share of the questions without answer that are kept for the exam.")
    ] = 0.3
    unsaid_read: Annotated[
        Share,
        Doc("Share of the others that are read over memories that do not tell, too."),
    ] = 0.3
    memories_read: Annotated[
        Count,
        Doc(
            "Most memories, of those that do not tell, in the context of a question that is "
            "trained on: they are most of a night's tokens."
        ),
    ] = 4
    reading_examined: Annotated[Count, Doc("Every how manieth reading is kept for the exam.")] = 3
    pair_tokens: Annotated[Count, Doc("Most tokens of a written pair.")] = 64
    note_tokens: Annotated[Count, Doc("Most tokens of the notes of one sentence.")] = 96
    text_tokens: Annotated[Count, Doc("Most tokens of a written question or memory.")] = 48


@dataclass(frozen=True)
class SeedingConfig(_Settings):
    """Knowledge seeding (arXiv 2606.03979, section 4)."""

    completed: Annotated[
        int,
        Ge(0),
        Le(10),
        Doc("Times a note is taught as a statement to be gone on with, cut elsewhere each time."),
    ] = 2

    steps: Annotated[Count, Doc("At most, but for `Level.steps_per_episode`.")] = 120
    stop_at: Annotated[
        Share,
        Doc(
            "Ends early once the student says this share of the last eight off-policy batches as "
            "its teachers do; 0: all steps."
        ),
    ] = 0.0
    batch: Annotated[Count, Doc("Effective batch (the paper's).")] = 32
    lr: Annotated[
        LearningRate | None,
        Doc("None: as the model's profile says; the paper's is 5e-6 for an 8 B model."),
    ] = None
    beta: Annotated[
        Share,
        Doc("Divergence: 0 forward KL, 1 reverse KL, between them generalised JSD."),
    ] = 0.0
    teacher_tokens: Annotated[
        Count,
        Doc(
            "Tokens whose probability a teacher passes on one by one, the likeliest; all others "
            "count as one. A vocabulary that is no larger is passed on whole."
        ),
    ] = 1024
    lambda_: Annotated[
        Share,
        Doc(
            "Share of batches whose answers the student samples itself; a quarter brought nothing "
            "for more seconds (`docs/lab/`)."
        ),
    ] = 0.0
    alpha: Annotated[
        Share,
        Doc("Weight of distillation; 1 - alpha is the weight of learning to imitate."),
    ] = 0.9
    gamma: Annotated[
        Share,
        Doc("Share of the semantic reward; 1 - gamma is the share of the Levenshtein reward."),
    ] = 0.5
    z0: Annotated[
        CountOrNone, Doc("Most edits, in characters, that still earn a Levenshtein reward.")
    ] = 8
    same_meaning: Annotated[
        Share,
        Doc(
            "Cosine of the memory's embeddings above which two short answers mean the same; with "
            "MiniLM paraphrases lie above, other names below."
        ),
    ] = 0.9
    never_said: Annotated[
        Share, Doc("Share of a batch without answer; tonight's facts take what is left.")
    ] = 0.25
    rehearsal: Annotated[Share, Doc("Share of a batch from earlier nights.")] = 0.3
    reading: Annotated[Share, Doc("Share of a batch read from the context.")] = 0.26
    general: Annotated[
        float,
        Ge(0),
        Le(0.9),
        Doc(
            "Share of general talk among the rows without memories and facts; with half of it the "
            "model drifted sooner (`docs/lab/`)."
        ),
    ] = 0.3
    fading: Annotated[
        Share,
        Doc(
            "What comes right, but with a less likely token than this, fades: it is rehearsed as "
            "if it were sure (`docs/lab/`)."
        ),
    ] = 0.8
    max_new_tokens: Annotated[Count, Doc("Most tokens of an answer.")] = 24
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Doc("Of every choice of a night.")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        others = self.never_said + self.rehearsal + self.reading
        if others >= 1:
            raise ConfigError(
                f"SeedingConfig gives never_said + rehearsal + reading = {others:g} of a batch; "
                "tonight's facts need a share too. Keep the sum below 1."
            )


@dataclass(frozen=True)
class DreamConfig(_Settings):
    """Dreaming (arXiv 2606.03979, section 3.4)."""

    rounds: Annotated[
        CountOrNone,
        Doc("At most; 0: no dreams. Two were measured (`make bench-dreams`)."),
    ] = 0
    contexts: Annotated[Count, Doc("Memories or pairs of memories that a round dreams about.")] = 60
    linked: Annotated[
        float,
        Ge(0),
        Le(0.5),
        Doc(
            "Share of the contexts that are pairs that lead to each other, and again of single "
            "memories; the rest are pairs that share a name, and unrelated ones."
        ),
    ] = 0.4
    samples: Annotated[
        int,
        Ge(2),
        Le(MANY),
        Doc("Dreams about each context; one of two about the same is kept for the exam."),
    ] = 5
    temperature: Annotated[Temperature, Doc("Of the sampling.")] = 1.0
    random_expert: Annotated[
        bool, Doc("Whether one random further expert is on while dreaming.")
    ] = True
    by_gradient: Annotated[
        bool, Doc("Whether the gradient chooses what is tried; else chance.")
    ] = True
    dreams_tried: Annotated[Count, Doc("Dreams tried for their gradient.")] = 48
    random: Annotated[CountOrNone, Doc("Dreams tried by chance besides.")] = 16
    copies: Annotated[Count, Doc("Copies of the expert that learn at once.")] = 16
    steps: Annotated[Count, Doc("Of a copy on its dream.")] = 5
    lr: Annotated[
        LearningRate,
        Doc(
            "Of a copy; at three times this one dream's lesson costs more than it brings "
            "(`docs/lab/`)."
        ),
    ] = 1e-3
    margin: Annotated[
        Share,
        Doc("Least gain, in expected share of right answers, that earns the reward."),
    ] = 0.0
    lesson_lr: Annotated[
        LearningRate,
        Doc(
            "Of the rewarded dreams' lessons; at the night's own the gains are larger and plain "
            "recall suffers (`docs/lab/`)."
        ),
    ] = 2e-3
    share: Annotated[Share, Doc("Training steps on dreams, as a share of the night's.")] = 0.35
    others: Annotated[
        float,
        Ge(0),
        Le(0.33),
        Doc(
            "Share of never said, of rehearsal and of reading, each, in a batch on dreams; the "
            "rest is facts and dreams."
        ),
    ] = 0.2
    examined: Annotated[
        Count,
        Doc(
            "Questions of a trial: other dreams about the same, at most half, and tonight's; "
            "none of the exam's."
        ),
    ] = 8
    strangers: Annotated[CountOrNone, Doc("Strangers about whom a sound dream is asked, too.")] = 3
    lesson_strangers: Annotated[
        CountOrNone,
        Doc(
            "Strangers about whom a rewarded dream is taught to stay unanswered; with two, chains "
            "that nobody told were guessed (`docs/lab/`)."
        ),
    ] = 4
    distinct_words: Annotated[
        Share, Doc("A question with a smaller share of distinct words than this stammers.")
    ] = 0.7
    max_new_tokens: Annotated[Count, Doc("Most tokens of a dream.")] = 64


@dataclass(frozen=True)
class ExamConfig(_Settings):
    """What a night must reach to be promoted.

    A bound fails only when the whole confidence interval lies beyond it.
    """

    recall: Annotated[Share, Doc("Least recall of tonight's facts, held-out wordings.")] = 0.8
    old_nights: Annotated[
        Share, Doc("Most that recall of earlier nights, or of what is taken over, may fall.")
    ] = 0.05
    abstention: Annotated[
        Share,
        Doc(
            "Most that abstention may fall below the base; these are the hardest such questions, "
            "and the gate keeps most from the experts."
        ),
    ] = 0.1
    superseded: Annotated[Share, Doc("Most corrected facts that may still give the old value.")] = (
        0.05
    )
    reading: Annotated[
        Share, Doc("Most that reading from the context may fall below the base.")
    ] = 0.05
    general_kl: Annotated[
        float,
        Ge(0),
        Le(1000),
        Doc("Most nats per token on neutral prompts, against the base."),
    ] = 0.5
    confidence: Annotated[float, Ge(0.5), Le(0.999), Doc("Of the intervals.")] = 0.9
    most: Annotated[Count, Doc("Questions per measure.")] = 120


@dataclass(frozen=True)
class Level(_Settings):
    """A level of the continuum memory (arXiv 2606.03979, section 2).

    Its experts are born every so many nights, out of those of the level before.
    """

    name: Annotated[str, Doc("Such as 'slow'.")]
    every: Annotated[Count, Doc("Nights; a multiple of the level's before.")]
    rank: Annotated[Count, Doc("Of its experts.")]
    steps_per_episode: Annotated[
        float, Ge(0), Le(MANY), Doc("Of seeding; `SeedingConfig.steps` at least.")
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip():
            raise ConfigError(
                f"Level.name is {self.name!r}; nothing could be told apart by it. Give the level "
                "a name, such as 'slow'."
            )


# Rank 16 was measured on the embedded model (the paper's is 64 for an 8 B model); a slower
# level's rank grows less than what it takes in.
LEVELS = (Level("fast", 1, 16, 6.0), Level("slow", 7, 48, 2.0), Level("deep", 28, 96, 2.0))


@dataclass(frozen=True)
class SleepConfig(_Settings):
    """One night, and when an agent is tired."""

    replay_budget: Annotated[Count, Doc("Most episodes one night may replay.")] = 200
    tries: Annotated[
        Count,
        Doc(
            "Nights that teach what was told, as far as no exam proves that it is held; then it "
            "stays in the buffer, and is tried again once it is asked for."
        ),
    ] = 2
    review: Annotated[
        bool, Doc("Whether every night waits until somebody has seen what it is about to learn.")
    ] = False
    tired_at: Annotated[
        Count, Doc("Statements since the last night that may teach and make `is_tired` true.")
    ] = 20
    untrusted: Annotated[
        bool, Doc("Whether tool results and other sources may teach the weights.")
    ] = False
    rehearse: Annotated[
        CountOrNone,
        Doc(
            "Most questions about earlier facts, and most without answer, that a night rehearses, "
            "drawn evenly over the episodes."
        ),
    ] = 1000
    reread: Annotated[CountOrNone, Doc("Most earlier readings that a night goes over again.")] = 400
    audit: Annotated[
        CountOrNone,
        Doc(
            "Most questions of earlier nights that are asked again before a night; what fails "
            "goes back to the buffer."
        ),
    ] = 200
    levels: Annotated[
        tuple[Level, ...],
        Doc("Fastest first; the first alone: one expert a night, for ever."),
    ] = LEVELS
    expand: Annotated[
        bool,
        Doc("A new expert every night; else tonight's begins as the last one, in its place."),
    ] = True
    experts_per_token: Annotated[
        CountOrNone,
        Doc(
            "Live experts that a token goes through in a layer, by night and by day; 0: all of "
            "them."
        ),
    ] = 0
    probe: Annotated[ProbeConfig, Doc("How the teacher questions itself.")] = field(
        default_factory=ProbeConfig
    )
    seeding: Annotated[SeedingConfig, Doc("Knowledge seeding.")] = field(
        default_factory=SeedingConfig
    )
    dream: Annotated[DreamConfig, Doc("Dreaming.")] = field(default_factory=DreamConfig)
    exam: Annotated[ExamConfig, Doc("What a night must reach.")] = field(default_factory=ExamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.expand and len(self.levels) > 1:
            raise ConfigError(
                "SleepConfig.expand is off: there is one expert for ever, so slower levels have "
                "nothing to take in. Pass one level."
            )
        names = {level.name for level in self.levels}
        if not self.levels or self.levels[0].every != 1 or len(names) < len(self.levels):
            raise ConfigError(
                "SleepConfig.levels must begin with a level of every night (every=1) and name "
                "each level once."
            )
        for faster, slower in itertools.pairwise(self.levels):
            if slower.every % faster.every or slower.every == faster.every:
                raise ConfigError(
                    f"SleepConfig.levels has {slower.name!r} every {slower.every} nights after "
                    f"{faster.name!r} every {faster.every}; a slower level takes in whole experts "
                    "of the one before it, so make it a multiple (arXiv 2606.03979, section 2)."
                )


@dataclass(frozen=True)
class PolicyConfig(_Settings):
    """What must not be learned: what becomes of a sentence, by rule (`sleepmem.text.policy`).

    `learn` it as any other; `hold` it back from the weights: it stays in the buffer and is
    recalled; `refuse` what it stands in: that is not stored at all.
    """

    quoted: Annotated[
        Action, Doc("Others' words: in marks, forwarded, announced with a colon.")
    ] = "hold"
    hidden: Annotated[
        Action, Doc("Characters that nobody sees, or letters of another script inside a word.")
    ] = "hold"
    secrets: Annotated[
        Action, Doc("Passwords, codes, keys, tokens, numbers of identity, as told in words.")
    ] = "hold"
    payment: Annotated[Action, Doc("Numbers of cards and accounts (LangChain's rules, IBAN).")] = (
        "hold"
    )
    personal: Annotated[
        Action, Doc("Addresses of mail and machines (LangChain's rules), and what presidio finds.")
    ] = "hold"
    instructions: Annotated[Action, Doc("What tells the agent how to behave.")] = "hold"
    volatile: Annotated[Action, Doc("What holds for minutes to weeks: prices, balances.")] = "hold"
    days: Annotated[
        dict[RuleName, Count],
        Doc(
            "Days after which what tells nothing but what falls under a rule is forgotten at "
            "night, by rule, such as {'volatile': 30}; of others never."
        ),
    ] = field(default_factory=dict)
    presidio: Annotated[
        bool, Doc("Ask presidio's rules for personal data, too (extra `presidio`).")
    ] = False


@dataclass(frozen=True)
class ModelConfig(_Settings):
    """How the base model is loaded."""

    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Doc("'auto': the first GPU, else the CPU.")
    ] = AUTO
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Doc(
            "'auto': the model's own where the device computes in it. On a CPU that is bfloat16 "
            "for one in half precision, if the CPU multiplies in it; else float32 if that fits."
        ),
    ] = AUTO
    bits: Annotated[
        Literal[4, 8] | None,
        Doc("Base weights in so many bits, by bitsandbytes; experts stay in full."),
    ] = None
    chat_template: Annotated[
        str | None,
        Doc("A file with a Jinja chat template, for a model that has none or a wrong one."),
    ] = None
    habits: Annotated[
        str,
        Doc("A folder of `sleepmem school`; 'auto': those that ship for this very model; 'none'."),
    ] = AUTO
    memories: Annotated[
        Literal["auto", "system", "user"],
        Doc("The turn that carries memories; 'auto': as the model's profile says."),
    ] = AUTO
    notes: Annotated[
        Literal["auto", "drawn", "sentences", "whole"],
        Doc("What is taught of an episode; 'auto': as the model's profile says."),
    ] = AUTO


@dataclass(frozen=True)
class MemoryConfig(_Settings):
    """Everything, as `SleepMemory.open(config=...)` takes it."""

    gate: Annotated[GateConfig, Doc("When to answer from the weights.")] = field(
        default_factory=GateConfig
    )
    sleep: Annotated[SleepConfig, Doc("The nights.")] = field(default_factory=SleepConfig)
    model: Annotated[ModelConfig, Doc("How the model is loaded.")] = field(
        default_factory=ModelConfig
    )
    policy: Annotated[PolicyConfig, Doc("What must not be learned.")] = field(
        default_factory=PolicyConfig
    )
    max_new_tokens: Annotated[Count, Doc("Most tokens of a chat answer.")] = 64


def read_config(path: Path) -> MemoryConfig:
    """The settings in a TOML file; what it leaves out keeps its default.

    Tables are named like the fields, `[sleep.dream]` for one.

    Raises:
        ConfigError: the file is not TOML, names what there is not, or holds a value that cannot be.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
        settings = json.dumps(tomllib.loads(text), default=str)
        return TypeAdapter(MemoryConfig).validate_json(settings, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "top level"
        raise ConfigError(f"{path}, {place}: {_fault_sentence(fault)}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}. Write tables like [sleep.dream] with lines like "
            "rounds = 2."
        ) from None


def _fault_sentence(fault: Any) -> str:
    """A fault that pydantic found, in our words where a number lies outside its range."""
    *tables, name = fault["loc"] or ("",)
    settings: Any = MemoryConfig
    for table in tables:
        kind = _hints(settings).get(table) if isinstance(table, str) else None
        settings = get_args(kind)[0] if kind else settings
        if get_args(settings):  # a tuple of levels
            settings = get_args(settings)[0]
    ranged = fault["type"] in ("greater_than_equal", "less_than_equal")
    if ranged and name in {setting.name for setting in fields(settings)}:
        return _sentence(settings, str(name), fault["input"]).rstrip(".")
    return str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
