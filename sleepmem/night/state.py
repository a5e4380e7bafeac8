"""What the steps of a night work with.

`State` is what the checkpointer keeps between two steps: plain JSON, one group for each step,
written by that step alone. `NightContext` stays the same all night.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from sleepmem.config import GateConfig, Level, PolicyConfig, SleepConfig
from sleepmem.errors import ConfigError
from sleepmem.model.local import LocalModel
from sleepmem.night.lessons import Evening
from sleepmem.night.rewards import Semantic
from sleepmem.records import Episode, Namespace, Note
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.folder import Folder
from sleepmem.stores.ledger import Ledger

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

# A score as JSON: how many were right, of how many.
Scores = dict[str, list[float]]


class Tonight(TypedDict):
    """Which night it is, whose, of which level; whether it waits for a review, and is a dry run."""

    night_id: str
    number: int
    namespace: list[str]
    level: str
    reviewed: bool
    dry: bool


class Audited(TypedDict):
    """How many questions of earlier nights were asked again; the ids of what went back."""

    audited: int
    returned: list[str]


class Selected(TypedDict):
    """Tonight's expert and what it is to learn.

    before      experts that are live this evening
    absorbed    those whose place tonight's takes
    held        episodes that these hold
    episodes    ids of all that is taught
    kept_back   what the policy keeps from being taught, and why (`records.Held`)
    """

    expert: str
    before: list[str]
    absorbed: list[str]
    held: list[str]
    episodes: list[str]
    kept_back: list[dict[str, str]]


class Drafted(TypedDict):
    """What is about to be learned (`reviewing.Line`); without lines, nobody has to see it."""

    night: str
    namespace: list[str]
    lines: list[dict[str, str]]
    held: list[dict[str, str]]


class Answered(TypedDict):
    """The texts to be learned, by the ids of the lines."""

    texts: dict[str, str]


class Revised(TypedDict):
    """Of the notes, what the policy keeps from being taught, and why (`records.Held`)."""

    kept_back: list[dict[str, str]]


class Probed(TypedDict):
    """Older episodes, and older notes, that were found corrected, each with what does so."""

    superseded: dict[str, str]
    replaced: dict[str, str]


class Expanded(TypedDict):
    """The exam of the evening's model."""

    exam: Scores


class Seeded(TypedDict):
    """`dropped`: rows that a last look kept back, by rule; of the dreams, too."""

    curve: list[dict[str, float]]
    tokens_trained: int
    dropped: dict[str, int]


class Examined(TypedDict):
    """An exam of tonight's model, the ids of the probes it passed, recall by night."""

    exam: Scores
    passed: list[str]
    recall_by_night: list[dict[str, Any]]


class Dreamt(TypedDict):
    """What became of the dreams. `expert` and `examined` are the dreamer's, when it was kept."""

    summary: dict[str, Any]
    tokens_trained: int
    dropped: dict[str, int]
    expert: str | None
    examined: Examined | None


class Decided(TypedDict):
    verdict: str
    reason: str


class Calibrated(TypedDict):
    """What the gate was fitted to, as the report shows it."""

    figures: dict[str, Any]


class Pruned(TypedDict):
    evicted: int
    returned: int
    expert_bytes: int
    text_bytes: int


class Spent(TypedDict):
    """So far, by every step."""

    seconds: dict[str, float]
    tokens_generated: int
    peak_bytes: int


class State(TypedDict, total=False):
    tonight: Tonight
    audited: Audited
    selected: Selected
    drafted: Drafted
    answered: Answered
    revised: Revised
    probed: Probed
    expanded: Expanded
    seeded: Seeded
    examined: Examined
    dreamt: Dreamt
    decided: Decided
    calibrated: Calibrated
    pruned: Pruned
    spent: Spent


_STATE = TypeAdapter(State)


def as_state(values: dict[str, Any]) -> State | None:
    """What was read as a state; None when it has another form than this version writes."""
    try:
        return _STATE.validate_python(values, strict=True)
    except ValidationError:
        return None


def namespace_of(state: State) -> Namespace:
    return tuple(state["tonight"]["namespace"])


def night_id_of(state: State) -> str:
    return state["tonight"]["night_id"]


def evening_of(state: State) -> Evening:
    """What was there before the night taught anything."""
    before = tuple(state["selected"]["before"])
    return Evening(namespace_of(state), night_id_of(state), before, corrected_of(state))


def corrected_of(state: State) -> set[str]:
    """Ids of the episodes, and of the notes, that tonight corrects."""
    return {*state["probed"]["superseded"], *state["probed"]["replaced"]}


def expert_of(state: State) -> str:
    """The name of tonight's expert: of the dreamer, once it took the expert's place."""
    dreamt = state.get("dreamt")
    return (dreamt and dreamt["expert"]) or state["selected"]["expert"]


def examined_of(state: State) -> Examined:
    """The last exam that tonight's expert took."""
    dreamt = state.get("dreamt")
    return (dreamt and dreamt["examined"]) or state["examined"]


@dataclass(frozen=True)
class NightContext:
    """What the steps work with.

    Args:
        folder: ledger, index and experts.
        local: the model; a night has one of its own.
        config: settings.
        semantic: the frozen judge of the imitation reward.
        emit: receives progress: plain dicts with a `step`.
        stop: when set, the night ends at the next report of progress.
        gate: what the day's gate is calibrated to.
        policy: what must not be learned.
        is_dry: do everything but change what the day answers with.
        is_reviewed: wait for a review before anything is taught.
    """

    folder: Folder
    local: LocalModel
    config: SleepConfig
    semantic: Semantic
    emit: Callable[[dict[str, Any]], None] = lambda event: None
    stop: threading.Event | None = None
    gate: GateConfig = field(default_factory=GateConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    is_dry: bool = False
    is_reviewed: bool = False

    @property
    def ledger(self) -> Ledger:
        return self.folder.ledger

    @property
    def embeddings(self) -> Embeddings:
        return self.folder.buffer.embeddings

    @property
    def experts(self) -> ExpertFolders:
        return self.folder.experts

    def tell(self, **event: Any) -> None:
        """Report progress; a night that was told to stop stops here."""
        self.emit(event)
        if self.stop and self.stop.is_set():
            raise KeyboardInterrupt

    def load_evening(self, state: State) -> tuple[str, ...]:
        """Bring the evening's experts into memory; returns their names."""
        before = tuple(state["selected"]["before"])
        self.experts.load(self.local, before)
        return before

    def load_tonight(self, state: State) -> tuple[str, ...]:
        """Bring in tonight's expert, too; returns the view: it replaces those that it absorbs."""
        before, expert = self.load_evening(state), expert_of(state)
        self.experts.load(self.local, [expert])
        absorbed = state["selected"]["absorbed"]
        return (*(name for name in before if name not in absorbed), expert)

    def level(self, state: State) -> Level:
        """The level of tonight's expert.

        Raises:
            ConfigError: the night was begun with other levels.
        """
        name = state["tonight"]["level"]
        for level in self.config.levels:
            if level.name == name:
                return level
        raise ConfigError(
            f"level {name!r} of the interrupted night is not in SleepConfig.levels; "
            "sleep once with the levels it began with."
        )

    def is_fast(self, state: State) -> bool:
        """Whether it is a night of the fastest level, which learns from the buffer."""
        return state["tonight"]["level"] == self.config.levels[0].name

    def seeding_steps(self, state: State) -> int:
        episodes = len(state["selected"]["episodes"])
        by_episodes = round(self.level(state).steps_per_episode * episodes)
        return max(self.config.seeding.steps, by_episodes)

    def notes(self, state: State) -> list[Note]:
        """Of tonight's episodes; those that tonight or an earlier night corrects as replaced.

        What an expert holds whose place tonight's takes is learned no more.
        """
        replaced, notes = state["probed"]["replaced"], []
        gone = {name.rpartition("-")[0] for name in state["selected"]["absorbed"]}
        for note in self.ledger.notes.of(namespace_of(state), state["selected"]["episodes"]):
            learned_in = "" if note.learned_in in gone else note.learned_in
            newer = replaced.get(note.id, note.replaced_by)
            notes.append(replace(note, replaced_by=newer, learned_in=learned_in))
        return notes

    def episodes(self, state: State) -> list[Episode]:
        """Tonight's.

        One that fills more than half of the context cannot be asked about and waits in the buffer.
        """
        chosen = set(state["selected"]["episodes"])
        most = self.local.context_length // 2
        episodes = []
        for episode in self.ledger.episodes.all(namespace_of(state)):
            if episode.id in chosen and self.local.count_tokens(episode.whole) <= most:
                episodes.append(episode)
        return episodes
