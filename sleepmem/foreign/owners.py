"""Whose a memory is where an export holds those of several users: never all of them one owner's."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.errors import NamespaceError
from sleepmem.foreign.values import Conversation, Told

# Users that are named in a sentence, and characters of each.
_NAMED, _SHOWN = 10, 60


def of_user(
    told: Sequence[Told | Conversation], user: str | None, *, shown: str
) -> list[Told | Conversation]:
    """What belongs to one user.

    Args:
        told: what was read.
        user: as the export calls them, exactly; "" for what it gives to nobody. None where it
            holds one user's alone.
        shown: the path of the export, for people.

    Raises:
        NamespaceError: it holds several users' and nobody said which, or nothing of this one.
    """
    users = sorted({one.user or "" for one in told})
    if user is None:
        if len(users) > 1:
            raise NamespaceError(
                f"{shown} holds what belongs to {len(users)} users, {_named(users)}, and would "
                "make it all one owner's; say whose to take in with user=..., once for each."
            )
        return list(told)
    chosen = [one for one in told if (one.user or "") == user]
    if not chosen:
        there = _named(users) if users else "nobody"
        raise NamespaceError(
            f"{shown} holds nothing of the user {user!r:.{_SHOWN}}, only of {there}; pass one "
            "that it names as user=..."
        )
    return chosen


def _named(users: Sequence[str]) -> str:
    named = ", ".join(f"{name!r:.{_SHOWN}}" for name in users[:_NAMED])
    left = len(users) - _NAMED
    return f"{named} and {left} more" if left > 0 else named
