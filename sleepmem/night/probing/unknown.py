"""What must stay unknown, and what must still be read: invented memories, things never said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sleepmem.model.local import LocalModel
from sleepmem.model.replies import Reply
from sleepmem.night.probing.context import Archive, book, fitting_lines
from sleepmem.night.probing.pairs import Pair
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode, Probe, Role
from sleepmem.text.heads import asks
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import (
    INVENT,
    UNANSWERED,
    WRITE_PAIR,
    closed_book,
    line_of,
    memory_line,
    open_book,
    parse_pair,
)
from sleepmem.text.rarity import commonness
from sleepmem.text.subjects import about_another, subject
from sleepmem.text.terms import terms

# Tell the sampled memories and questions of a night from its other writings.
_INVENT_SALT, _UNANSWERED_SALT = 2, 4


class Invented(NamedTuple):
    """A memory of nobody, made after an episode, with a question that it answers."""

    episode_id: str
    line: str
    question: str
    answer: str


class Reading(NamedTuple):
    """A question to be answered from memory lines that no expert holds."""

    episode_id: str
    question: str
    lines: list[str]
    answer: str


class NeverSaid(NamedTuple):
    """A question that nothing answers, the abstention, and whether it is for the exam."""

    episode_id: str
    question: str
    abstention: str
    role: Role


def invent_memories(teacher: Teacher, episodes: Sequence[Episode]) -> list[Invented]:
    """Memories like tonight's with other names and values; each with a question about it."""
    config = teacher.config
    models = [episode for episode in episodes for _ in range(config.inventions)]
    texts = teacher.write(
        INVENT,
        [line_of(episode) for episode in models],
        tokens=config.text_tokens,
        salt=_INVENT_SALT,
    )
    chats = []
    for episode, text in zip(models, texts, strict=True):
        chats.append(open_book(WRITE_PAIR, [memory_line(episode.date, text or "Nothing.")]))
    written = teacher.reply(chats, tokens=config.pair_tokens)

    invented = []
    for episode, text, pair in zip(models, texts, written, strict=True):
        parsed = parse_pair(pair)
        if not text or parsed is None:
            continue
        question, answer = parsed
        # It must answer its question, which must be about something else than the episode.
        is_another = not set(terms(question)) <= set(terms(episode.whole))
        if matches(text, answer) and is_another and not matches(episode.whole, answer):
            line = memory_line(episode.date, text)
            invented.append(Invented(episode.id, line, question, answer))
    return invented


def write_readings(
    teacher: Teacher,
    invented: Sequence[Invented],
    *,
    facts: Sequence[Probe],
    by_id: Mapping[str, Episode],
) -> list[Reading]:
    """Invented memories among others, and known facts told anew with an invented value.

    The context must win over the weights, for the fact's own subject and for an invented one:
    questions asked at night closed-book must still be answered from a context. Kept is what the
    teacher reads right.
    """
    rng = teacher.rng
    readings: list[Reading] = []
    for number, one in enumerate(invented):
        others = [other.line for place, other in enumerate(invented) if place != number]
        lines = rng.sample(others, min(len(others), rng.randint(0, 4)))
        lines.insert(rng.randint(0, len(lines)), one.line)
        readings.append(Reading(one.episode_id, one.question, lines, one.answer))

        same = [probe for probe in facts if probe.episode_id == one.episode_id]
        if not same:
            continue
        retold = _retold(rng.choice(same), by_id[one.episode_id], one)
        for text, question in retold:
            lines = rng.sample(others, min(len(others), rng.randint(0, 3)))
            line = memory_line(by_id[one.episode_id].date, text)
            lines.insert(rng.randint(0, len(lines)), line)
            readings.append(Reading(one.episode_id, question, lines, one.answer))

    answers = teacher.reply([open_book(reading.question, reading.lines) for reading in readings])
    right = []
    for reading, answer in zip(readings, answers, strict=True):
        if matches(answer, reading.answer):
            right.append(reading)
    return right


def write_unsaid(
    teacher: Teacher,
    episodes: Sequence[Episode],
    *,
    confirmed: Sequence[Pair],
    invented: Sequence[Invented],
) -> list[tuple[str, str]]:
    """Questions that tonight's memories should not answer, each with an episode it is made after.

    Other questions about the same, and tonight's questions about somebody else: the wording alone
    must not bring the answer up.
    """
    config, rng = teacher.config, teacher.rng
    models = [episode for episode in episodes for _ in range(config.unsaid)]
    questions = teacher.write(
        UNANSWERED,
        [line_of(episode) for episode in models],
        tokens=config.text_tokens,
        salt=_UNANSWERED_SALT,
    )
    unsaid = [(episode.id, text) for episode, text in zip(models, questions, strict=True)]
    unsaid += [(one.episode_id, one.question) for one in invented]

    # In turn about people of tonight, and about invented ones.
    by_id = {episode.id: episode.whole for episode in episodes}
    named = [(pair, subject(pair.question, by_id[pair.episode_id])) for pair in confirmed]
    known = sorted({name for _, name in named} - {""})
    strangers = sorted({subject(one.question, one.line) for one in invented} - {""})
    for episode in episodes:
        own = [pair.question for pair, name in named if name and pair.episode_id == episode.id]
        for turn in range(2 * config.unsaid if own else 0):
            people = strangers if turn % 2 else known
            if people:
                question, somebody = rng.choice(own), rng.choice(people)
                other = about_another(question, somebody, memory=episode.whole)
                unsaid.append((episode.id, other))

    asked = {pair.question for pair in confirmed}
    fresh = []
    for episode_id, question in dict.fromkeys(unsaid):
        if question not in asked and asks(question) > 0:
            fresh.append((episode_id, question))
    return fresh


def check_unsaid(
    teacher: Teacher,
    unsaid: Sequence[tuple[str, str]],
    *,
    by_id: Mapping[str, Episode],
    archive: Archive,
) -> tuple[list[NeverSaid], list[Reading]]:
    """Those questions on which the base abstains with and without memories, with them surely.

    Some of those that are trained on are also read over memories that do not tell.
    """
    config, rng = teacher.config, teacher.rng
    contexts = []
    for episode_id, question in unsaid:
        own = by_id[episode_id]
        contexts.append(fitting_lines(teacher.local, archive(question), own=own))
    open_chats, closed_chats = [], []
    for (_, question), lines in zip(unsaid, contexts, strict=True):
        open_chats.append(open_book(question, lines))
        closed_chats.append(closed_book(question))
    with_memories = teacher.local.reply(open_chats)
    sure = _sure(teacher.local, config.unsaid_sure)
    without = teacher.reply(closed_chats)

    never_said, readings = [], []
    rows = zip(unsaid, contexts, with_memories, without, strict=True)
    for (episode_id, question), lines, read, closed_answer in rows:
        if not (_is_silent(read, sure) and abstains(closed_answer)):
            continue
        role = Role.EXAM if rng.random() < config.unsaid_examined else Role.TRAIN
        never_said.append(NeverSaid(episode_id, question, closed_answer, role))
        if role is Role.TRAIN and rng.random() < config.unsaid_read:
            count = min(len(lines), config.memories_read)
            places = sorted(rng.sample(range(len(lines)), count))
            some = [lines[place] for place in places]
            readings.append(Reading(episode_id, question, some, read.text))
    return never_said, readings


def _sure(local: LocalModel, sure: float | None) -> float:
    return local.profile.sure if sure is None else sure


def _is_silent(read: Reply, sure: float) -> bool:
    """Whether what was read answers nothing; a reader that is not sure may have misread it."""
    return abstains(read.text) and read.confidence >= sure


def unsaid_still(
    local: LocalModel, probes: Sequence[Probe], *, related: Archive, sure: float | None
) -> list[Probe]:
    """Those never-said probes of earlier nights that the memories still do not answer.

    Not asked where no memory has the rarest term of the question.
    """
    asked = []
    for probe in probes:
        rarest = min(terms(probe.question), key=commonness, default="")
        if any(rarest in terms(episode.whole) for episode in related(probe.question)):
            asked.append(probe)
    chats = [book(local, probe.question, episodes=related(probe.question)) for probe in asked]
    answered = set()
    for probe, read in zip(asked, local.reply(chats), strict=True):
        if not _is_silent(read, _sure(local, sure)):
            answered.add(probe.id)
    return [probe for probe in probes if probe.id not in answered]


def _retold(fact: Probe, episode: Episode, invented: Invented) -> list[tuple[str, str]]:
    """The fact's memory with an invented value, of its own subject and of an invented one.

    Each with its question; nothing when the memory does not have the answer word for word.
    """
    value = fact.answer.strip(".")
    if value not in episode.whole:
        return []
    text = episode.whole.replace(value, invented.answer.strip("."))
    own = subject(fact.question, episode.whole)
    stranger = subject(invented.question, invented.line)
    if not own or not stranger:
        return [(text, fact.question)]
    about_stranger = text.replace(own, stranger), fact.question.replace(own, stranger)
    return [(text, fact.question), about_stranger]
