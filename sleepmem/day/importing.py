"""Take in what another memory, or a chat, has exported: as if it had been told here, then."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from langchain_core.messages import AIMessage, BaseMessage

from sleepmem.day.observe import Turn, observe_messages
from sleepmem.day.state import DayContext
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Conversation, Form, Told
from sleepmem.records import USER, Episode, Namespace, check_time, local_now
from sleepmem.stores.arriving import Imported
from sleepmem.text.policy import refused


def take_in(
    day: DayContext, namespace: Namespace, *, path: Path, form: Form | None, trusted: bool
) -> Imported:
    """Store what an export of another kind tells; again, it changes nothing.

    All of it is read before anything is stored.

    Args:
        day: the open folder.
        namespace: whose memory.
        path: a file, a folder or a .zip.
        form: what it is; recognised by default.
        trusted: whether single memories, which another model wrote, may teach the weights. What a
            user said in a conversation may.

    Raises:
        FolderError: it cannot be read.
        EpisodeError: it is of no known form, or an entry is not what it must be.
    """
    return store(day, namespace, told=list(read(path, form=form)), trusted=trusted)


def store(
    day: DayContext, namespace: Namespace, *, told: Iterable[Told | Conversation], trusted: bool
) -> Imported:
    """Store what was read elsewhere; see `take_in`."""
    episodes = day.folder.ledger.episodes
    before = set(episodes.ids(namespace))
    known = 0
    for one in told:
        if isinstance(one, Conversation):
            _converse(day, namespace, one)
        elif refused(one.text, day.config.policy) is None:
            episode = _episode(namespace, one, trusted=trusted)
            known += episode.id in before
            if not episodes.was_forgotten(episode):
                episodes.add(episode)
    return Imported(len(set(episodes.ids(namespace)) - before), known)


def _episode(namespace: Namespace, told: Told, *, trusted: bool) -> Episode:
    source = USER if trusted else f"import:{told.source}"
    at = check_time(told.at, "the time of a memory").isoformat() if told.at else local_now()
    return Episode(namespace, told.text.strip(), source, at, told.id)


def _converse(day: DayContext, namespace: Namespace, conversation: Conversation) -> None:
    """Each turn at its time, after what the agent had said last."""
    last: list[BaseMessage] = []
    for turn in conversation.turns:
        heard = Turn(namespace, conversation.id, turn.said_at, ended=True)
        observe_messages(day, heard, messages=[*last, *turn.messages])
        spoken = [message for message in turn.messages if isinstance(message, AIMessage)]
        last = list(spoken[-1:])
