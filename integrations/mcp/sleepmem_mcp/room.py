"""What the tools share: the open memory, whose it is in this call, the nights that run."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver.exceptions import ToolError

from sleepmem import SleepMemory
from sleepmem.records import Namespace, as_path, parse_namespace

# How often it is looked whether the nights have stopped.
_POLL_SECONDS = 0.05


class UserWords(StrEnum):
    """What becomes of a text that the agent says is the user's own.

    Whatever it says, an agent writes all that comes in here: a page that it read may have told it
    to. So by default nothing does teach the weights.
    """

    HELD = "held"  # it is the agent's quotation: recalled as such, and never learned
    ASKED = "asked"  # the client asks the user whether they said it; only then it is theirs
    TRUSTED = "trusted"  # it is believed to be theirs


class Room:
    """An open memory, for one owner or for who authenticated.

    Args:
        memory: open for writing; whoever opened it closes it.
        owner: whose memory all calls mean; None: that of the call's bearer token.
        words: what becomes of a text that the agent says is the user's own.
    """

    def __init__(
        self,
        memory: SleepMemory,
        owner: Namespace | None,
        *,
        words: UserWords = UserWords.HELD,
    ) -> None:
        self.memory, self.words = memory, words
        self._owner = owner
        self._secret = secrets.token_bytes(32)
        self._nights: dict[Namespace, threading.Event] = {}
        self._lock = threading.Lock()

    def owner(self) -> Namespace:
        """Whose memory the running call means."""
        if self._owner is not None:
            return self._owner
        token = get_access_token()
        if token is None:
            raise ToolError("nobody is authenticated; send the bearer token of an owner.")
        return parse_namespace(token.client_id)

    def code(self, owner: Namespace, ids: Iterable[str]) -> str:
        """Names exactly these memories; only who was shown them by this server can tell it."""
        shown = "\n".join([as_path(owner), *sorted(ids)])
        return hmac.new(self._secret, shown.encode(), hashlib.sha256).hexdigest()[:16]

    @contextmanager
    def night(self, owner: Namespace) -> Iterator[threading.Event]:
        """Held while a night of this owner runs here; setting the event ends it, to go on later."""
        with self._lock:
            if owner in self._nights:
                raise ToolError(
                    f"a night of {as_path(owner)} runs already; wait until it has ended."
                )
            stop = self._nights[owner] = threading.Event()
        try:
            yield stop
        finally:
            with self._lock:
                del self._nights[owner]

    def stop_nights(self, seconds: float) -> bool:
        """Interrupt all nights, to go on later; whether they did end in time."""
        for stop in list(self._nights.values()):
            stop.set()
        until = time.monotonic() + seconds
        while self._nights and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return not self._nights
