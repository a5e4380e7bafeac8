"""How much a client may ask: the size of a request, requests a minute, requests at once."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from sleepmem.records import Namespace
from sleepmem_openai.errors import LIMITED, GatewayError

# What a client waits for when all places are taken, in seconds.
_SOON = "1"


@dataclass(frozen=True)
class Limits:
    """What a gateway takes on.

    most_bytes           of a request's body
    per_minute           requests of one owner
    at_once              requests in progress, of all
    at_once_per_owner    and of one owner
    """

    most_bytes: int = 4_000_000
    per_minute: int = 120
    at_once: int = 32
    at_once_per_owner: int = 8


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body, read no further than is allowed.

    Raises:
        GatewayError: it is no JSON, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A web page may post anything else to any address without asking.
        said = "the body is not sent as JSON; send it with `Content-Type: application/json`."
        raise GatewayError(said, 415)
    size = 0
    pieces: list[bytes] = []
    async for piece in request.stream():
        size += len(piece)
        if size > limits.most_bytes:
            said = f"the request is larger than {limits.most_bytes} bytes; send less at once."
            raise GatewayError(said, 413, code="request_too_large")
        pieces.append(piece)
    return b"".join(pieces)


class Pace:
    """Who has asked how often of late, and who is being answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._item = RateLimitItemPerMinute(limits.per_minute)
        self._recent = MovingWindowRateLimiter(MemoryStorage())
        self._open: Counter[Namespace] = Counter()

    async def ask(self, owner: Namespace) -> None:
        """Count a request.

        Raises:
            GatewayError: too many in a minute.
        """
        who = json.dumps(owner)
        if await self._recent.hit(self._item, who):
            return
        stats = await self._recent.get_window_stats(self._item, who)
        wait = max(1, math.ceil(stats.reset_time - time.time()))
        raise GatewayError(
            f"more than {self._limits.per_minute} requests came in a minute; try again in {wait} "
            "seconds.",
            429,
            LIMITED,
            "rate_limit_exceeded",
            headers={"Retry-After": str(wait)},
        )

    @contextmanager
    def place(self, owner: Namespace) -> Iterator[None]:
        """A place among those that are answered.

        Raises:
            GatewayError: all are taken.
        """
        is_full = self._open.total() >= self._limits.at_once
        if is_full or self._open[owner] >= self._limits.at_once_per_owner:
            whose = "the gateway answers" if is_full else "this owner has"
            raise GatewayError(
                f"{whose} as many requests as it may at once; try again in a second.",
                429,
                LIMITED,
                "too_many_at_once",
                headers={"Retry-After": _SOON},
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
