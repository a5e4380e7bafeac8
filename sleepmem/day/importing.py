"""Take in what another memory, or a chat, has exported: as if it had been told here, then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage

from sleepmem.day.observe import Turn, observe_messages
from sleepmem.day.state import DayContext
from sleepmem.errors import ConfigError
from sleepmem.foreign.langmem import from_store
from sleepmem.foreign.owners import of_user
from sleepmem.foreign.reading import read
from sleepmem.foreign.values import Conversation, Form, Told
from sleepmem.records import USER, Episode, Namespace, check_time, local_now
from sleepmem.stores.arriving import Imported
from sleepmem.text.policy import refused

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

# Files that were passed over, of which so many are named.
_NAMED = 10


def take_in(
    day: DayContext,
    namespace: Namespace,
    *,
    path: Path | BaseStore,
    form: Form | None,
    trusted: bool,
    user: str | None = None,
) -> Imported:
    """Store what an export of another kind tells; again, it changes nothing.

    All of it is read before anything is stored.

    Args:
        day: the open folder.
        namespace: whose memory.
        path: a file, a folder or a .zip; or a store of LangGraph, as it is.
        form: what it is; recognised by default.
        trusted: whether single memories, which another model wrote, may teach the weights. What a
            user said in a conversation may.
        user: whose of an export that holds several users'.

    Raises:
        NamespaceError: it holds several users', or nothing of this one.
        FolderError: it cannot be read.
        EpisodeError: it is of no known form, or an entry is not what it must be.
    """
    passed: list[str] = []
    if isinstance(path, Path):
        found, shown = list(read(path, form=form, passed=passed)), str(path)
    elif form in (None, Form.LANGMEM):
        found, shown = list(from_store(path, ())), "the store"
    else:
        raise ConfigError(f"a store of LangGraph is given with form={form}; leave form out.")
    told = of_user(found, user, shown=shown)
    return replace(store(day, namespace, told=told, trusted=trusted), left_out=_over(passed))


def _over(passed: Sequence[str]) -> str:
    """That these files were passed over; empty where none was."""
    left = f" and {len(passed) - _NAMED} more" if len(passed) > _NAMED else ""
    return f"nothing of {', '.join(passed[:_NAMED])}{left} could be taken in" if passed else ""


def store(
    day: DayContext, namespace: Namespace, *, told: Iterable[Told | Conversation], trusted: bool
) -> Imported:
    """Store what was read elsewhere; see `take_in`."""
    episodes = day.folder.ledger.episodes
    before = set(episodes.ids(namespace))
    known = 0
    for one in told:
        if isinstance(one, Conversation):
            known += len(_converse(day, namespace, one) & before)
        elif refused(one.text, day.config.policy) is None:
            episode = _episode(namespace, one, trusted=trusted)
            if _is_known(day, episode, one):
                known += 1
            elif not episodes.was_forgotten(episode):
                episodes.add(episode)
    return Imported(len(set(episodes.ids(namespace)) - before), known)


def _is_known(day: DayContext, episode: Episode, told: Told) -> bool:
    """Whether it is there, be it as the user's own word or as another model's.

    What has neither an id nor a time is known by its words.
    """
    episodes = day.folder.ledger.episodes
    either = [replace(episode, source=source) for source in (USER, f"import:{told.source}")]
    if told.id is None and told.at is None:
        return any(map(episodes.repeats, either))
    return bool(episodes.stored(one.id for one in either))


def _episode(namespace: Namespace, told: Told, *, trusted: bool) -> Episode:
    source = USER if trusted else f"import:{told.source}"
    at = check_time(told.at, "the time of a memory").isoformat() if told.at else local_now()
    return Episode(namespace, told.text.strip(), source, at, told.id, lasts=told.lasts)


def _converse(day: DayContext, namespace: Namespace, conversation: Conversation) -> set[str]:
    """Each turn at its time, after what the agent had said last; ids of what happened in it."""
    happened: set[str] = set()
    last: list[BaseMessage] = []
    for turn in conversation.turns:
        heard = Turn(namespace, conversation.id, turn.said_at, ended=True)
        for episode in observe_messages(day, heard, messages=[*last, *turn.messages]):
            happened.add(episode.id)
        spoken = [message for message in turn.messages if isinstance(message, AIMessage)]
        last = list(spoken[-1:])
    return happened
