"""What a gateway counts. No text, no owner, no name of a model stands in any label."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sleepmem import SleepMemory

# Whatever else is asked for is one label, or a stranger could make up as many as they like.
_ROUTES = frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/models"})


class Decisions(Collector):
    """What the gate decided, of all that ever used the folder: the ledger counts it."""

    def __init__(self, memory: SleepMemory) -> None:
        self._memory = memory

    def describe(self) -> list[Metric]:
        """Nothing is read when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        turns = CounterMetricFamily(
            "sleepmem_decisions", "Decisions of the gate.", labels=["view", "look"]
        )
        tokens = CounterMetricFamily(
            "sleepmem_recalled_tokens", "Memory tokens put into prompts.", labels=["look"]
        )
        recalled: dict[str, int] = {}
        for row in self._memory.decisions():
            turns.add_metric([row["view"], row["look"]], row["decisions"])
            recalled[row["look"]] = recalled.get(row["look"], 0) + row["tokens"]
        for look, count in recalled.items():
            tokens.add_metric([look], count)
        yield turns
        yield tokens


class Metrics:
    """The metrics of one gateway."""

    def __init__(self, memory: SleepMemory) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Decisions(memory))
        self.requests = Counter(
            "sleepmem_gateway_requests",
            "Requests that were answered.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "sleepmem_gateway_request_seconds",
            "Until an answer was whole.",
            ["route"],
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self.open = Gauge(
            "sleepmem_gateway_open_requests",
            "Requests that are being answered.",
            registry=self.registry,
        )


class Counted:
    """ASGI middleware: counts requests and the seconds that they take, streams to their end."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _ROUTES:
            await self._app(scope, receive, send)
            return
        route, began, status = scope["path"], time.monotonic(), 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, seen)
        finally:
            self._metrics.open.dec()
            # A client that left before it was answered has none.
            self._metrics.requests.labels(route, str(status or 499)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)
