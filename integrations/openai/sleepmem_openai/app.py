"""The gateway as an ASGI application: routes, who asks, what a client gets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from sleepmem import ConfigError, FolderError, NamespaceError, SleepMemory
from sleepmem.records import Namespace
from sleepmem_openai.errors import DENIED, SERVER, GatewayError, as_gateway_error
from sleepmem_openai.keys import Keys, owner_of
from sleepmem_openai.limits import Limits, Pace, body_of
from sleepmem_openai.metrics import Counted, Metrics
from sleepmem_openai.protocol import ChatRequest, Reply
from sleepmem_openai.turn import Turn
from sleepmem_openai.upstream import OWN, Backend, Own, Upstream

# What a client calls its conversation: then no message of it is stored twice, however it is sent.
THREAD = "X-Conversation-Id"
_LONGEST_THREAD = 200
_DONE = "[DONE]"
# What is counted of who left; nobody gets it.
_LEFT = 499
T = TypeVar("T")
# A name or an address, and a port.
_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(?::\d*)?")
# The page loads nothing from elsewhere and talks to nobody else.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Gateway:
    """What the routes share."""

    memory: SleepMemory
    backend: Backend
    keys: Keys | None
    limits: Limits
    pace: Pace
    metrics: Metrics

    async def owner(self, request: Request, user: str | None) -> Namespace:
        """Whose memory a request means.

        Raises:
            GatewayError: its key is none, or it does not say for whom it speaks.
        """
        key = None
        if self.keys is not None:
            scheme, _, secret = request.headers.get("authorization", "").partition(" ")
            try:
                key = self.keys.find(secret.strip()) if scheme.lower() == "bearer" else None
            except FolderError as error:
                said = "the gateway cannot read its keys; its operator must look."
                raise GatewayError(said, 503, SERVER, "keys_unreadable") from error
            if key is None:
                said = "the API key is missing, unknown or revoked; send one that this gateway has."
                raise GatewayError(said, 401, DENIED, "invalid_api_key")
        try:
            return owner_of(key, user)
        except (ConfigError, NamespaceError) as error:
            raise GatewayError(str(error), param="user") from error

    async def answered(self, call: Awaitable[Response]) -> Response:
        """A response, whatever happens: an error in OpenAI's shape."""
        try:
            return await call
        except Exception as error:
            return self.told(error).as_response()

    def told(self, error: Exception) -> GatewayError:
        """What a client is told of an error, the model's place on this machine left out."""
        told = as_gateway_error(error)
        told.sentence = told.sentence.replace(self.memory.model, OWN)
        return told

    async def chat(self, request: Request) -> Response:
        """`/v1/chat/completions`."""
        # Who has no key does not get to send megabytes.
        await self.admit(request)
        asked = ChatRequest.parse(await body_of(request, self.limits))
        owner = await self.owner(request, asked.user)
        await self.pace.ask(owner)
        turn = Turn(self.memory, self.backend, owner, asked, _thread(request))
        with ExitStack() as places:
            places.enter_context(self.pace.place(owner))
            if not asked.stream:
                answered = await _unless_left(request, turn.answer())
                return _json(Reply(asked.model).whole(answered).encode())
            events = self._events(turn, places.pop_all())
            # What fails before the first piece is answered with its own status.
            first = await _unless_left(request, anext(events))
        return _Events(first, events)

    async def _events(self, turn: Turn, places: ExitStack) -> AsyncGenerator[str, None]:
        """The events of one answer; the place is given back at their end."""
        reply, has_begun = Reply(turn.request.model), False
        with places:
            try:
                async for delta, answered in turn.pieces():
                    if not has_begun:
                        has_begun = True
                        yield _event(reply.piece({"role": "assistant", "content": ""}))
                    if answered is None:
                        yield _event(reply.piece(delta))
                        continue
                    yield _event(reply.end(answered))
                    if turn.request.with_usage:
                        yield _event(reply.usage(answered))
            except Exception as error:
                if not has_begun:
                    raise
                yield _event(json.dumps(self.told(error).as_dict()))
                return
            yield _event(_DONE)

    async def embeddings(self, request: Request) -> Response:
        """`/v1/embeddings`."""
        await self.admit(request)
        body = await body_of(request, self.limits)
        owner = await self.owner(request, "embeddings")
        await self.pace.ask(owner)
        with self.pace.place(owner):
            return _json(await _unless_left(request, self.backend.embeddings(body)))

    async def models(self, request: Request) -> Response:
        """`/v1/models`."""
        await self.admit(request)
        return _json(await self.backend.models())

    async def admit(self, request: Request) -> None:
        """Raises: GatewayError: the request has no key."""
        await self.owner(request, "anybody")

    async def is_ready(self) -> bool:
        """Whether the ledger can be read, and the model answers."""
        try:
            await run_in_threadpool(self.memory.last_look, ("readyz",), "Is it there?")
        except Exception:
            return False
        return await self.backend.is_ready()


class _Events(StreamingResponse):
    """Server-sent events; whoever leaves in the middle gives their place back."""

    def __init__(self, first: str, events: AsyncGenerator[str, None]) -> None:
        self._events = events

        async def body() -> AsyncIterator[str]:
            yield first
            async for event in events:
                yield event

        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(body(), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


class _Named:
    """ASGI middleware: refuses requests that call the gateway by another name."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app, self._hosts = app, frozenset(map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._app
        if scope["type"] == "http" and "*" not in self._hosts:
            named = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
            if named is None or named[1].lower() not in self._hosts:
                said = "the gateway is not called so; use a name that it was started for."
                app = GatewayError(said, param="Host", code="unknown_host").as_response()
        await app(scope, receive, send)


def create_app(
    memory: SleepMemory,
    keys: Keys | None = None,
    *,
    upstream: Upstream | None = None,
    limits: Limits | None = None,
    chat: bool = False,
    hosts: Sequence[str] = ("*",),
) -> FastAPI:
    """The gateway in front of an open memory.

    Args:
        memory: the open memory; who gave it closes it.
        keys: whose memory each API key opens; without, `user` of a request says whose.
        upstream: the model that answers; the memory's own by default.
        limits: how much is taken on.
        chat: serve a page to chat at `/`.
        hosts: names under which the gateway is called; others are refused. Without keys these must
            be this machine's own, or any page in a browser on it could ask in its user's name.
    """
    limits = limits or Limits()
    backend: Backend = upstream or Own(memory)
    gateway = Gateway(memory, backend, keys, limits, Pace(limits), Metrics(memory))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()

    app = FastAPI(
        title="sleepmem gateway",
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={404: _not_served, 405: _not_served},
    )
    app.add_middleware(_Named, hosts=hosts)
    app.add_middleware(Counted, metrics=gateway.metrics)
    _add_routes(app, gateway)
    if chat:
        _add_page(app)
    return app


def _add_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await gateway.answered(gateway.chat(request))

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        return await gateway.answered(gateway.embeddings(request))

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        return await gateway.answered(gateway.models(request))

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        is_ready = await gateway.is_ready()
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> None:
    here = Path(__file__).parent
    # Beside the package in a clone, in it where it is installed.
    places = (here / "chat" / "index.html", here.parent / "chat" / "index.html")
    page = next(path for path in places if path.exists())

    @app.get("/")
    async def chat_page() -> Response:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return FileResponse(page, media_type="text/html", headers=headers)


async def _not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    said = f"{request.method} {request.url.path:.80} is not served here; see the README."
    return GatewayError(said, status, code="unknown_url").as_response()


def _thread(request: Request) -> str | None:
    thread = request.headers.get(THREAD)
    if thread is not None and not 1 <= len(thread) <= _LONGEST_THREAD:
        said = f"{THREAD} has {len(thread)} characters; use a name of 1 to {_LONGEST_THREAD}."
        raise GatewayError(said, param=THREAD)
    return thread


async def _unless_left(request: Request, call: Awaitable[T]) -> T:
    """What it comes to; when the client leaves before, it is ended, and its place is free.

    Raises:
        GatewayError: the client has left.
    """

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.ensure_future(call), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise GatewayError("the client left before it was answered.", _LEFT, SERVER, "client_left")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _event(data: str) -> str:
    return f"data: {data}\n\n"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
