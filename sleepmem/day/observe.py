"""Store what happened. It is on the disk when a call returns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from langchain_core.messages import BaseMessage, convert_to_messages

from sleepmem.day.capture import Said, answer, done, said, turn_id
from sleepmem.day.state import DayContext
from sleepmem.errors import EpisodeError
from sleepmem.records import AGENT, USER, Episode, Namespace, check_time, local_now
from sleepmem.text.terms import normalised, terms

# Characters of a tool's result that are searched for our own memories, and how many are compared.
_SEARCHED, _COMPARED = 2_000, 8
# Fewer words than these are in many texts by chance.
_FEWEST_WORDS = 3


class Turn(NamedTuple):
    """What a conversation is, beside its messages.

    owner      whose memory
    thread     of the conversation
    said_at    the time where the speaker is; now by default
    zone       where the speaker is, for now; that of this process by default
    tools      names of the agent's tools, when they are known
    """

    owner: Namespace
    thread: str | None = None
    said_at: str | datetime | None = None
    zone: tzinfo | None = None
    tools: Collection[str] | None = None


def observe(day: DayContext, episode: Episode, *, by_clock: bool) -> Episode:
    """Store an episode; what was said last, said again at once, is no second one.

    Args:
        day: the open folder.
        episode: what was said.
        by_clock: nobody said when: it is newer than all that came in so before.

    Raises:
        FolderError: the disk is full, or the index was made with other embeddings.
    """
    last = _same_just_now(day, episode) if episode.message_id is None else None
    if last is not None:
        return last
    episode = _store(day, episode, by_clock=by_clock)
    if not day.folder.append_only:
        day.folder.catch_up(episode.namespace)
    return episode


def observe_messages(day: DayContext, turn: Turn, *, messages: Sequence[BaseMessage]) -> None:
    """Store what happened in a conversation and is not stored yet; again, it changes nothing.

    What cannot be stored is left out and logged in the ledger, so that the turn goes on.

    Raises:
        EpisodeError: what is given are no messages.
    """
    try:
        messages = convert_to_messages(messages)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise EpisodeError(
            "what was said is not given as messages that LangChain can read; pass message "
            "objects, (role, text) pairs or dicts with a role and a content."
        ) from error
    episodes = day.folder.ledger.episodes

    def is_memory(result: Said) -> bool:
        return _is_recalled(day, turn.owner, result)

    for one in [*said(messages), *done(messages, tools=turn.tools, is_memory=is_memory)]:
        try:
            episode = Episode(
                turn.owner,
                one.text,
                one.source,
                _told_at(turn),
                one.message_id,
                one.speaker,
                turn.thread,
                one.answers,
            )
            if not _is_known(day, one, episode):
                _store(day, episode, by_clock=turn.said_at is None)
        except EpisodeError as error:
            day.folder.ledger.turns.log_event(
                "not stored", namespace=list(turn.owner), source=one.source, reason=str(error)
            )
    began, outcome = turn_id(messages), answer(messages)
    if began and outcome:
        episodes.complete(turn.owner, began, outcome=outcome)


def _told_at(turn: Turn) -> str:
    if turn.said_at is None:
        return local_now(turn.zone)
    return check_time(turn.said_at, "said_at").isoformat()


def _store(day: DayContext, episode: Episode, *, by_clock: bool) -> Episode:
    episodes = day.folder.ledger.episodes
    if by_clock:
        return episodes.tell(episode)
    episodes.add(episode)
    return episode


def _is_known(day: DayContext, one: Said, episode: Episode) -> bool:
    """Whether a client sent it before."""
    episodes = day.folder.ledger.episodes
    if not one.now:
        return bool(episodes.repeats(episode))
    if episode.message_id is None:
        return episodes.is_newest(episode)
    return _same_just_now(day, episode) is not None


def _same_just_now(day: DayContext, episode: Episode) -> Episode | None:
    """What its source said last, when that is the same, on the same day in the same thread."""
    episodes = day.folder.ledger.episodes
    last = episodes.newest(episode.namespace, episode.source)
    if last is None or not episodes.is_newest(episode):
        return None
    return last if (last.day, last.thread) == (episode.day, episode.thread) else None


def _is_recalled(day: DayContext, owner: Namespace, result: Said) -> bool:
    """Whether a tool gave back what the user or the agent had told: a memory's own output."""
    ledger = day.folder.ledger
    if not result.now and ledger.episodes.repeats(Episode(owner, result.text, result.source)):
        return False
    text = normalised(result.text)
    for episode in ledger.search(owner, result.text[:_SEARCHED], limit=_COMPARED):
        is_told = episode.source in (USER, AGENT) and len(terms(episode.text)) >= _FEWEST_WORDS
        if is_told and normalised(episode.text) in text:
            return True
    return False
