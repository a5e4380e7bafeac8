"""Rows of the ledger that were damaged, or changed by hand: what they raise, in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sleepmem.errors import LedgerError
from sleepmem.records import Namespace

T = TypeVar("T")
# What is raised where a row holds what no version of ours has written.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
RESTORE = "Restore the ledger from a backup"


@contextmanager
def intact(what: str, remedy: str = RESTORE) -> Iterator[None]:
    """Within it a row is read.

    Raises:
        LedgerError: it cannot be read; the sentence names the row and says what to do.
    """
    try:
        yield
    except LedgerError:
        raise
    except _UNREADABLE as error:
        raise LedgerError(
            f"{what} in the ledger cannot be read ({error}): it is damaged, or was changed by "
            f"hand. {remedy}."
        ) from None


def value_of(written: str, kind: type[T]) -> T:
    """What is written as JSON; a ValueError where it is of another kind."""
    value = json.loads(written)
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def namespace_of(key: str) -> Namespace:
    """The inverse of `records.namespace_key`; a ValueError where it is none."""
    parts = tuple(value_of(key, list))
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ValueError("no owner")
    return parts


def unreadable(rows: Iterable[T], read: Callable[[T], object]) -> list[str]:
    """Read each of them, and return what those that cannot be read are told by."""
    faults = []
    for row in rows:
        try:
            read(row)
        except LedgerError as error:
            faults.append(str(error))
    return faults
