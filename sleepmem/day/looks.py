"""The newest decision about each message that asks, while this process lives.

The log has it, too, but not where a folder is only read, or cannot be written now.
"""

from __future__ import annotations

import threading

from sleepmem.records import Namespace, Recall

# Turns that may be under way at once; then the oldest is left out.
_MOST = 500


class Looks:
    """Whose, in which thread, which message and what it asks: ids alone may begin anew."""

    def __init__(self) -> None:
        self._newest: dict[tuple[Namespace, str | None, str, str], Recall] = {}
        self._lock = threading.Lock()

    def keep(
        self, owner: Namespace, recalled: Recall, *, thread: str | None, message: str, asked: str
    ) -> None:
        """Keep a decision in the place of the one before it."""
        with self._lock:
            self._newest.pop((owner, thread, message, asked), None)
            self._newest[owner, thread, message, asked] = recalled
            if len(self._newest) > _MOST:
                del self._newest[next(iter(self._newest))]

    def newest(
        self, owner: Namespace, *, thread: str | None, message: str, asked: str
    ) -> Recall | None:
        """What was decided last; None when nothing was, or long ago."""
        with self._lock:
            return self._newest.get((owner, thread, message, asked))

    def drop(self, owner: Namespace) -> None:
        """Keep nothing of an owner's, such as memories that were read and are forgotten now."""
        with self._lock:
            for one in [key for key in self._newest if key[0] == owner]:
                del self._newest[one]
