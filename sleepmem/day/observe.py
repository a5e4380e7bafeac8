"""Store what was said. It is on the disk when a call returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sleepmem.day.capture import said
from sleepmem.day.state import DayContext
from sleepmem.errors import EpisodeError
from sleepmem.records import Episode, Namespace
from sleepmem.text.similarity import cosine

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


def observe(day: DayContext, episode: Episode) -> Episode:
    """Store an episode, or find the one that it repeats.

    Raises:
        EpisodeError: it is too long for the model to read.
        FolderError: the disk is full.
    """
    _check_length(day, episode)
    if episode.message_id is None:
        same = repeated(day, episode)
        if same:
            return same
    day.folder.ledger.episodes.add(episode)
    if not day.folder.append_only:
        day.folder.catch_up()
    return episode


def observe_messages(
    day: DayContext, namespace: Namespace, *, messages: Sequence[BaseMessage]
) -> None:
    """Store what was said in a conversation and is not stored yet.

    What cannot be stored (too long, see `observe`) is left out and logged in the ledger, so that
    the turn goes on.
    """
    ledger = day.folder.ledger
    for statement in said(messages):
        text, source = statement.text.strip(), statement.source
        try:
            episode = Episode(namespace, text, source)
            # A turn, or its history, that a client sends again is no news.
            if statement.now:
                is_known = repeated(day, episode) is not None
            else:
                is_known = bool(ledger.episodes.repeats(episode))
            if not is_known:
                observe(day, Episode(namespace, text, source, message_id=statement.message_id))
        except EpisodeError as error:
            ledger.turns.log_event(
                "not stored", namespace=list(namespace), source=source, reason=str(error)
            )


def repeated(day: DayContext, episode: Episode) -> Episode | None:
    """The stored episode that this one repeats, unless something newer was said about the same."""
    episodes = day.folder.ledger.episodes
    same = episodes.repeats(episode)
    if not same:
        return None
    newer = []
    for other in episodes.all(episode.namespace):
        if other.created_at > same[0].created_at and other.text != episode.text:
            newer.append(other.text)
    if newer:
        vector, *others = day.embed([episode.text, *newer])
        if max(cosine(vector, other) for other in others) >= day.gate.repeated:
            return None
    return same[0]


def _check_length(day: DayContext, episode: Episode) -> None:
    limit, length = day.most_tokens, day.count_tokens(episode.text)
    if limit and length > limit:
        raise EpisodeError(
            f"the episode has {length} tokens and half of the model's context is {limit}; "
            "it could be neither read nor learned. Split it into several."
        )
