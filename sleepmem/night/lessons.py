"""What a night teaches: seeding's rows, from the probes in the ledger. Reads, writes nothing."""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sleepmem.config import PolicyConfig, SeedingConfig, SleepConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.probing.context import Archive
from sleepmem.night.probing.notes import unit_of
from sleepmem.night.probing.unknown import unsaid_still
from sleepmem.night.replay import evenly
from sleepmem.night.rows import Row, RowKind
from sleepmem.night.teachable import Safe, safe, taught_of, teaches
from sleepmem.records import USER, Episode, Kind, Namespace, Note, Probe, Role
from sleepmem.stores.ledger import Ledger
from sleepmem.text.language import matches
from sleepmem.text.prompts import GO_ON, closed_book, line_of, open_book
from sleepmem.text.small_talk import GENERAL

# Readings of the school that a night goes over, at least.
_REHEARSED = 60
# Long answers by chance that a night goes over, their tokens, and how hot they are drawn: held to
# its likeliest words alone, a model drifts in all others (`docs/lab/`).
_AT_LENGTH, _TOKENS, _HEAT = 24, 72, 1.2


@dataclass(frozen=True, slots=True)
class Evening:
    """Whose night it is, and what was there before it taught anything.

    before      names of the experts that were live this evening
    corrected   ids of episodes, and of notes, that tonight corrects; no fact of them is rehearsed
    """

    namespace: Namespace
    night_id: str
    before: tuple[str, ...]
    corrected: Collection[str]


def tonights_rows(
    local: LocalModel,
    ledger: Ledger,
    *,
    evening: Evening,
    config: SleepConfig,
    policy: PolicyConfig,
) -> Safe:
    """Tonight's rows, of the four kinds; none in which a credential or a card is found at last.

    What an earlier night taught and the evening's model has forgotten is taught again, like
    tonight's.

    Args:
        local: the model.
        ledger: holds the probes of tonight and of earlier nights.
        evening: whose night, and what was there before it.
        config: how much is rehearsed.
        policy: what may not be taught.
    """
    namespace, night_id = evening.namespace, evening.night_id
    episodes = _Taught(ledger.episodes.all(namespace), policy)
    earlier = _earlier(ledger, evening)
    # Other questions every night.
    salt = f"{config.seeding.seed}/{night_id}"

    # 1. What tonight's episodes say, what they do not say, and what is read.
    rows = own_rows(
        ledger, namespace, night_id=night_id, completed=config.seeding.completed, policy=policy
    )

    # 2. What earlier nights taught, as the evening's model still holds it.
    facts = evenly(earlier[Kind.FACT], config.rehearse, seed=salt)
    rows += _rehearse(local, facts, evening, episodes=episodes, sure=config.seeding.fading)

    # 3. What they read, and what was never said and still is not.
    for probe in evenly(earlier[Kind.READING], config.reread, seed=salt):
        rows += _rows_of(probe, episodes)
    rows += _habits(local, rows, salt=salt)
    unsaid = evenly(earlier[Kind.NEVER_SAID], config.rehearse, seed=salt)
    archive = related(ledger, namespace, config=config, policy=policy)
    sure = config.probe.unsaid_sure
    for probe in unsaid_still(local, unsaid, related=archive, sure=sure):
        rows += _rows_of(probe, episodes)

    # 4. General talk, in proportion to what the rows so far leave unanswered.
    long = at_length(local, salt=salt)
    rows += long + _talk(local, rows, config=config.seeding, beside=len(long))
    return safe(rows, policy)


class _Taught(Mapping[str, Episode]):
    """Episodes by id, each with the words alone that may be taught; none without such."""

    def __init__(self, episodes: Iterable[Episode], policy: PolicyConfig) -> None:
        self._episodes, self._policy = {one.id: one for one in episodes}, policy
        # Those that were looked up.
        self._known: dict[str, Episode | None] = {}

    def __getitem__(self, episode_id: str) -> Episode:
        if episode_id not in self._known:
            episode = self._episodes[episode_id]
            is_taught = teaches(episode, self._policy)
            self._known[episode_id] = taught_of(episode, self._policy) if is_taught else None
        found = self._known[episode_id]
        if found is None:
            raise KeyError(episode_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._episodes)

    def __len__(self) -> int:
        return len(self._episodes)


def own_rows(
    ledger: Ledger, namespace: Namespace, *, night_id: str, completed: int, policy: PolicyConfig
) -> list[Row]:
    """What this night teaches of its own day, nothing of earlier nights.

    Args:
        ledger: holds its probes.
        namespace: whose.
        night_id: of the night.
        completed: how often each note is a statement to be gone on with.
        policy: what may not be taught.
    """
    episodes = _Taught(ledger.episodes.all(namespace), policy)
    rows: list[Row] = []
    taught = set()
    for probe in ledger.nights.probes(night_id):
        if probe.role is Role.TRAIN:
            rows += _rows_of(probe, episodes)
            if probe.kind is Kind.FACT:
                taught.add(probe.note_id)
    for note in ledger.notes.of(namespace, episodes):
        if note.id in taught and note.episode_id in episodes:
            rows += _completed(note, episodes[note.episode_id], completed)
    return rows


def related(
    ledger: Ledger, namespace: Namespace, *, config: SleepConfig, policy: PolicyConfig
) -> Archive:
    """What the archive holds about a question, for the teacher's context; each searched once.

    Only what may teach: nothing else corrects it, outdates it or stands beside it in a row.
    """
    limit, source = config.probe.related, None if config.untrusted else USER

    @functools.cache
    def taught(episode: Episode) -> list[Episode]:
        return [taught_of(episode, policy)] if teaches(episode, policy) else []

    @functools.cache
    def search(question: str) -> Sequence[Episode]:
        found = []
        for episode in ledger.search(namespace, question, limit=limit, source=source):
            found += taught(episode)
        return found

    return search


def _earlier(ledger: Ledger, evening: Evening) -> Mapping[Kind, list[Probe]]:
    """What earlier nights trained on and tonight does not correct; dreams count as facts."""
    corrected = set(evening.corrected)
    by_kind: dict[Kind, list[Probe]] = defaultdict(list)
    for probe in ledger.nights.learned_probes(evening.namespace):
        about = (probe.episode_id, probe.note_id, *probe.sources)
        is_taught = probe.role is Role.TRAIN and probe.kind in (Kind.FACT, Kind.DREAM)
        if is_taught and corrected.isdisjoint(about):
            by_kind[Kind.FACT].append(probe)
    for probe in _unproven(ledger, evening):
        by_kind[probe.kind].append(probe)
    return by_kind


def _unproven(ledger: Ledger, evening: Evening) -> list[Probe]:
    """What was never said, and what was read, of all nights in service, but for tonight's exam.

    It holds whether or not the weights hold what it was made after. A slower night's are those that
    it took over: each once.
    """
    serving = {expert.night_id for expert in ledger.lineage.in_service(evening.namespace)}
    examined, taught = set(), {}
    for probe in ledger.nights.of(evening.namespace):
        asked = (probe.kind, probe.question, probe.context)
        if probe.night_id == evening.night_id and probe.role is Role.EXAM:
            examined.add(asked)
        elif probe.night_id in serving and probe.role is Role.TRAIN:
            taught[asked] = probe
    found = []
    for asked, probe in taught.items():
        if probe.kind in (Kind.NEVER_SAID, Kind.READING) and asked not in examined:
            found.append(probe)
    return found


def _rows_of(probe: Probe, episodes: Mapping[str, Episode]) -> list[Row]:
    """The row that teaches what the probe asks; none about what may not be taught by now."""
    asked = closed_book(probe.question)
    if probe.kind is Kind.READING:
        read = open_book(probe.question, probe.context)
        return [Row(RowKind.READING, read, read, probe.answer)]
    if probe.kind is Kind.NEVER_SAID:
        return [Row(RowKind.NEVER_SAID, asked, asked, probe.answer, certain=True)]
    if probe.episode_id not in episodes:
        return []
    lines = probe.context or [line_of(episodes[probe.episode_id])]
    return [Row(RowKind.FACT, asked, open_book(probe.question, lines), probe.answer)]


def _completed(note: Note, episode: Episode, times: int) -> list[Row]:
    """The note from its beginning, cut in so many places."""
    rows = []
    line, words = line_of(unit_of(episode, note)), note.text.split()
    for place in range(1, times + 1):
        cut = round(place * len(words) / (times + 1))
        if 0 < cut < len(words):
            beginning, rest = " ".join(words[:cut]), " ".join(words[cut:])
            asked = GO_ON + beginning
            rows.append(Row(RowKind.FACT, closed_book(asked), open_book(asked, [line]), rest, True))
    return rows


def _rehearse(
    local: LocalModel,
    probes: Sequence[Probe],
    evening: Evening,
    *,
    episodes: Mapping[str, Episode],
    sure: float,
) -> list[Row]:
    """Rehearsal of what the evening's model answers right; what it has forgotten, like a new fact.

    What comes right, but with a less likely token than `sure`, fades: it is rehearsed as certain.
    """
    allowed = [probe for probe in probes if probe.episode_id in episodes]
    replies = local.reply([closed_book(probe.question) for probe in allowed], evening.before)
    rows = []
    for probe, reply in zip(allowed, replies, strict=True):
        if matches(reply.text, probe.answer):
            asked, fades = closed_book(probe.question), reply.confidence < sure
            rows.append(Row(RowKind.REHEARSAL, asked, asked, probe.answer, certain=fades))
        else:
            rows += _rows_of(probe, episodes)
    return rows


def _habits(local: LocalModel, rows: Sequence[Row], *, salt: str) -> list[Row]:
    """Of what the model's school taught to read as much as is read of tonight's; or a little."""
    own = sum(row.kind is RowKind.READING for row in rows)
    count = min(len(local.rehearsal), max(own, _REHEARSED))
    some = random.Random(salt).sample(local.rehearsal, count)
    return [Row(RowKind.READING, one.chat, one.chat, one.answer) for one in some]


def _talk(
    local: LocalModel, rows: Sequence[Row], *, config: SeedingConfig, beside: int
) -> list[Row]:
    """General talk as the base answers it, often enough for its share of all without memories.

    Every prompt comes once at least; `beside` rows of that share are there already.
    """
    chats = _general()
    replies = local.answer(chats, (), max_new_tokens=config.max_new_tokens)
    never_said = sum(row.kind is RowKind.NEVER_SAID for row in rows)
    share = config.general / (1 - config.general)
    times = max(1, round((share * never_said - beside) / len(chats)))
    talk: list[Row] = []
    for chat, reply in zip(chats, replies, strict=True):
        talk += [Row(RowKind.NEVER_SAID, chat, chat, reply)] * times
    return talk


def at_length(local: LocalModel, *, salt: str) -> list[Row]:
    """General talk as the base goes on by chance, every other one from its middle.

    What is to be gone on with is not a note every time. `salt` tells the draws of nights apart.
    """
    rng = random.Random(salt)
    chats = rng.sample(_general(), _AT_LENGTH)
    seed = rng.randrange(1 << 32)
    replies = local.answer(chats, (), max_new_tokens=_TOKENS, temperature=_HEAT, seed=seed)
    rows = []
    for number, (chat, reply) in enumerate(zip(chats, replies, strict=True)):
        words = reply.split()
        if number % 2:
            half = len(words) // 2
            chat, words = closed_book(GO_ON + " ".join(words[:half])), words[half:]
        if words:
            rows.append(Row(RowKind.NEVER_SAID, chat, chat, " ".join(words)))
    return rows


def _general() -> list[tuple[dict[str, str], ...]]:
    return [closed_book(prompt) for prompt in GENERAL]
