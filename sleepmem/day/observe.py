"""Store what happened. It is on the disk when a call returns."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import NamedTuple

from langchain_core.messages import BaseMessage, convert_to_messages

from sleepmem.day.capture import Said, answer, done, said, turn_id
from sleepmem.day.safely import safely
from sleepmem.day.state import DayContext
from sleepmem.errors import EpisodeError
from sleepmem.records import AGENT, USER, Episode, Namespace, check_time, local_now, readable
from sleepmem.stores.episodes import in_thread
from sleepmem.text.policy import refused, unrefused
from sleepmem.text.terms import normalised, terms

# Characters of a tool's result that are searched for our own memories, and how many are compared.
_SEARCHED, _COMPARED = 2_000, 8
# Fewer words than these are in many texts by chance.
_FEWEST_WORDS = 3
_QUOTED = re.compile(r"""(?:'[^'\n]*'|"[^"\n]*")""")
# A memory's own output is for so large a share of its words what was told.
_RECALLED = 0.5


class Turn(NamedTuple):
    """What a conversation is, beside its messages.

    owner      whose memory
    thread     of the conversation
    said_at    the time where the speaker is; now by default
    zone       where the speaker is, for now; that of this process by default
    tools      names of the agent's tools, when they are known
    by_agent   an agent wrote its human messages: it calls another
    ended      it is over, whatever it ended with
    """

    owner: Namespace
    thread: str | None = None
    said_at: str | datetime | None = None
    zone: tzinfo | None = None
    tools: Collection[str] | None = None
    by_agent: bool = False
    ended: bool = False


def observe(day: DayContext, episode: Episode, *, by_clock: bool) -> Episode:
    """Store an episode; what was said last, said again at once, is no second one.

    Args:
        day: the open folder.
        episode: what was said.
        by_clock: nobody said when: it is newer than all that came in so before.

    Raises:
        EpisodeError: a rule of the policy refuses it.
        FolderError: the ledger cannot be written, such as on a full disk; nothing is stored then.
    """
    episode = _allowed(day, episode)
    last = _same_just_now(day, episode) if episode.message_id is None else None
    if last is not None:
        return last
    episode = _store(day, episode, by_clock=by_clock)
    if not day.folder.append_only:
        owner = episode.namespace

        def catch_up() -> None:
            day.folder.catch_up(owner)

        # It is stored: what fails from here on is tried again by whoever recalls.
        safely(day, "embedding what was stored", call=catch_up, otherwise=None, namespace=owner)
    return episode


def observe_messages(
    day: DayContext, turn: Turn, *, messages: Sequence[BaseMessage]
) -> list[Episode]:
    """Store what happened in a conversation and is not stored yet; again, it changes nothing.

    What cannot be stored is left out and logged in the ledger, so that the turn goes on. Returns
    what happened in it, whether it was stored before or is now.

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
    thread = None if turn.thread is None else readable(turn.thread)

    def is_memory(result: Said, asked: str) -> bool:
        return _is_recalled(day, turn.owner, result, asked)

    told = [] if turn.by_agent else said(messages)
    worked = done(messages, tools=turn.tools, ended=turn.ended, is_memory=is_memory)
    found = _of_owner(day, turn, [*told, *worked], messages=messages)
    happened: list[Episode] = []
    for one, beside in _with_what_follows(found):
        try:
            episode = _allowed(day, _as_episode(turn, one, thread))
            if episode.message_id and episodes.in_another_thread(episode):
                # There, ids begin anew with every conversation.
                message_id = in_thread(episode.message_id, thread)
                episode = replace(episode, message_id=message_id)
            if not _is_known(day, one, episode, beside):
                episode = _store(day, episode, by_clock=turn.said_at is None)
            happened.append(episode)
        except EpisodeError as error:
            day.folder.ledger.turns.log_event(
                "not stored", namespace=list(turn.owner), source=one.source, reason=str(error)
            )
    began = turn_id(messages)
    outcome = unrefused(answer(messages, ended=turn.ended), day.config.policy)
    if began and outcome:
        episodes.complete(turn.owner, began, thread=thread, outcome=outcome)
    return happened


def _as_episode(turn: Turn, one: Said, thread: str | None) -> Episode:
    return Episode(
        turn.owner,
        one.text,
        one.source,
        _told_at(turn),
        one.message_id,
        one.speaker,
        thread,
        one.answers,
    )


def _allowed(day: DayContext, episode: Episode) -> Episode:
    """The episode, without what the agent said before where a rule refuses that."""
    answers = unrefused(episode.answers, day.config.policy)
    return episode if answers == episode.answers else replace(episode, answers=answers)


def _with_what_follows(found: Sequence[Said]) -> list[tuple[Said, list[str]]]:
    """Each with the texts that its source gave after it in the same turn."""
    pairs = []
    for place, one in enumerate(found):
        later = found[place + 1 :] if one.now else []
        pairs.append((one, [other.text for other in later if other.source == one.source]))
    return pairs


def _of_owner(
    day: DayContext, turn: Turn, found: Sequence[Said], *, messages: Sequence[BaseMessage]
) -> list[Said]:
    """Without what is somebody else's: several people may share a conversation.

    Of what stands there from before, and nobody is known to have said, nobody can tell then.
    """
    if turn.thread is None:
        return list(found)
    began: list[str] = []
    for one in found:
        began.append(readable(one.began or one.message_id or ""))
    owners = day.folder.ledger.episodes.owners(readable(turn.thread), began)
    if not set().union(*owners.values()) - {turn.owner}:
        return list(found)
    # Whoever runs the turn said what begins it.
    newest = readable(messages[-1].id or "")
    own: list[Said] = []
    for one, message_id in zip(found, began, strict=True):
        known = owners.get(message_id, set())
        is_new = one.now and (not known or message_id == newest)
        if is_new or turn.owner in known:
            own.append(one)
    return own


def _told_at(turn: Turn) -> str:
    if turn.said_at is None:
        return local_now(turn.zone)
    return check_time(turn.said_at, "said_at").isoformat()


def _store(day: DayContext, episode: Episode, *, by_clock: bool) -> Episode:
    episodes = day.folder.ledger.episodes
    rule = refused(episode.text, day.config.policy, name=episode.speaker)
    if rule is not None:
        raise EpisodeError(
            f"what was said falls under the rule {rule}, which PolicyConfig refuses; nothing of it "
            "is stored. Set the rule to 'hold' to keep it out of the weights alone."
        )
    if by_clock:
        return episodes.tell(episode)
    episodes.add(episode)
    return episode


def _is_known(day: DayContext, one: Said, episode: Episode, beside: Collection[str]) -> bool:
    """Whether a client sent it before; what was forgotten since is not stored again.

    `beside` is what its source gave after it in the same turn.
    """
    episodes = day.folder.ledger.episodes
    if episodes.was_forgotten(episode):
        return True
    if not one.now:
        return bool(episodes.repeats(episode))
    if episode.message_id is None or beside:
        # What was said last, all of it in order, and now with more after it, is sent again.
        return episodes.is_newest(episode, beside=beside)
    return _same_just_now(day, episode, beside) is not None


def _same_just_now(
    day: DayContext, episode: Episode, beside: Collection[str] = ()
) -> Episode | None:
    """What its source said last, when that is the same, on the same day in the same thread."""
    episodes = day.folder.ledger.episodes
    last = episodes.newest(episode.namespace, episode.source)
    if last is None or not episodes.is_newest(episode, beside=beside):
        return None
    # Said again without an end, it holds for good.
    lasts_alike = bool(last.lasts) == bool(episode.lasts)
    is_same = (last.day, last.thread) == (episode.day, episode.thread) and lasts_alike
    return last if is_same else None


def _is_recalled(day: DayContext, owner: Namespace, result: Said, asked: str) -> bool:
    """Whether a tool gave back what the user or the agent had told: a memory's own output.

    Most of it must be; and what it was asked with, many a tool repeats.
    """
    ledger = day.folder.ledger
    if not result.now and ledger.episodes.repeats(Episode(owner, result.text, result.source)):
        return False
    told = [normalised(text) for text in _texts_in(result.text)]
    asked, known, whole = normalised(asked), 0, sum(len(terms(text)) for text in told)
    for episode in ledger.search(owner, result.text[:_SEARCHED], limit=_COMPARED):
        text, words = normalised(episode.text), len(terms(episode.text))
        if episode.source not in (USER, AGENT) or words < _FEWEST_WORDS or text in asked:
            continue
        known += words * sum(text in one for one in told)
    return known > whole * _RECALLED


def _texts_in(result: str) -> list[str]:
    """What a person may read of it: of data, its texts of several words."""
    try:
        found, left = [], [json.loads(result)]
    except (ValueError, RecursionError):
        # As Python writes data it is not evaluated: whoever wrote it is not trusted.
        is_data = result.lstrip()[:1] in ("[", "{")
        found, left = _QUOTED.findall(result) if is_data else [], []
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict | list):
            left += one.values() if isinstance(one, dict) else one
    return [text for text in found if _is_prose(text)] or [result]


def _is_prose(text: str) -> bool:
    """Unlike ids and times, which have digits."""
    return sum(word.isalpha() for word in terms(text)) >= _FEWEST_WORDS
