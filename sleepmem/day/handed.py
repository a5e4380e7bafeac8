"""What the gate decided, handed on from the recall node of a graph to its chat model.

It stands in the message that asks, where a client may write, too. So only what this process signed
is believed, for that message in that thread, and for whom the run names.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage

from sleepmem.day.namespace import Run
from sleepmem.records import Namespace, View

# Where it stands among what else a message carries.
_PLACE = "sleepmem"
_KEY = secrets.token_bytes(32)


class Handed(NamedTuple):
    """Whose memory the gate looked into, and how it is answered; None when nobody says whose."""

    owner: Namespace | None
    view: View


def hand_on(message: HumanMessage, run: Run, *, owner: Namespace, view: View) -> HumanMessage:
    """The message with the decision in it, in the place of what a client wrote there."""
    told = {"owner": list(owner), "view": view.value, "thread": run.thread, "named": _named(run)}
    signed = {**told, "proof": _proof(message, told)}
    return message.model_copy(
        update={"additional_kwargs": {**message.additional_kwargs, _PLACE: signed}}
    )


def handed_on(messages: Sequence[BaseMessage], run: Run) -> Handed | None:
    """The newest decision that stands in the messages; None when there is none.

    Of one that cannot be believed no expert answers, and nothing is known of its owner.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage) and _PLACE in message.additional_kwargs:
            return _read(message, run) or Handed(None, View.BASE)
    return None


def _read(message: HumanMessage, run: Run) -> Handed | None:
    """What is told by a message, if this process told it to this run."""
    written = message.additional_kwargs[_PLACE]
    if not isinstance(written, Mapping):
        return None
    told = {name: value for name, value in written.items() if name != "proof"}
    if not hmac.compare_digest(str(written.get("proof")).encode(), _proof(message, told).encode()):
        return None
    # A turn that goes on after it was interrupted may have nothing but its thread.
    named = _named(run)
    is_same = named == told["named"] or (named == "" and run.thread is not None)
    if told["thread"] != run.thread or not is_same:
        return None
    return Handed(tuple(told["owner"]), View(told["view"]))


def _proof(message: BaseMessage, told: Mapping[str, Any]) -> str:
    """What nobody can write who does not know the key."""
    signed = json.dumps([message.id, told], sort_keys=True, default=str)
    return hmac.new(_KEY, signed.encode(errors="replace"), hashlib.sha256).hexdigest()


def _named(run: Run) -> str:
    """Whom the run names, the owner or the user; empty when nobody."""
    said = [run.get("namespace"), run.user]
    return json.dumps(said, default=str) if said != [None, None] else ""
