"""The model behind the gateway: the memory's own, or any server that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import httpx
import numpy as np
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAIError
from openai.types import Model
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.concurrency import run_in_threadpool

from sleepmem import ConfigError, ModelError, SleepMemory
from sleepmem_openai.errors import SERVER, GatewayError
from sleepmem_openai.protocol import ChatRequest, EmbeddingsRequest, parsed

# What the memory's own model is called, whichever it is.
OWN = "sleepmem"
# Seconds until an upstream must have begun to answer whether it is there.
_READY = 2.0


class Backend(Protocol):
    """Whatever answers."""

    def model(self, request: ChatRequest) -> BaseChatModel:
        """The model as this request wants it."""

    def schema(self, request: ChatRequest) -> ToolStrategy[Any] | None:
        """The schema that the agent must see to; None where the model does, or there is none."""

    def most_tokens(self, request: ChatRequest) -> int | None:
        """How long the answer may be, where the model does not say why it ended."""

    async def models(self) -> bytes:
        """What `/v1/models` tells."""

    async def embeddings(self, body: bytes) -> bytes:
        """What `/v1/embeddings` tells."""

    async def is_ready(self) -> bool:
        """Whether it can answer now."""

    async def close(self) -> None:
        """Let go of connections."""


class Own:
    """The memory's own model, which may answer from its weights."""

    def __init__(self, memory: SleepMemory) -> None:
        self._memory = memory
        # The first request shall not wait for it; a llama-server, if one answers, needs no torch.
        self._local = memory.chat_model().local

    def model(self, request: ChatRequest) -> BaseChatModel:
        """The model as this request wants it.

        Raises:
            GatewayError: another model is asked for, or an answer in any JSON at all.
            ModelError: the model cannot call tools, and tools or a schema are asked for.
        """
        if request.model != OWN:
            said = f"the model {request.model!r:.80} is not served here; use {OWN!r}."
            raise GatewayError(said, 404, param="model", code="model_not_found")
        settings: dict[str, Any] = {}
        if request.most_tokens is not None:
            settings["max_tokens"] = request.most_tokens
        if request.temperature is not None:
            settings["temperature"] = request.temperature
        if request.stops:
            settings["stop"] = request.stops
        return self._memory.chat_model(**settings)

    def schema(self, request: ChatRequest) -> ToolStrategy[Any] | None:
        form = request.response_format or {}
        if form.get("type") in (None, "text"):
            return None
        described = form.get("json_schema")
        if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
            raise GatewayError(
                "this model answers in JSON only where it is told which; use the response_format "
                "`json_schema` with a schema.",
                param="response_format",
            )
        titled = {"title": described.get("name") or "answer", **described["schema"]}
        return ToolStrategy(titled, handle_errors=False)

    def most_tokens(self, request: ChatRequest) -> int | None:
        return request.most_tokens or self._memory.config.max_new_tokens

    async def models(self) -> bytes:
        one = Model(id=OWN, created=0, object="model", owned_by="sleepmem")
        body = f'{{"object":"list","data":[{one.model_dump_json()}]}}'
        return body.encode()

    async def embeddings(self, body: bytes) -> bytes:
        """The memory's own embeddings, under whatever name.

        Raises:
            GatewayError: the request asks for what they are not.
        """
        request = parsed(EmbeddingsRequest, body)
        texts = request.texts
        if not texts or not all(texts):
            said = "`input` holds an empty text; there is nothing to embed. Leave it out."
            raise GatewayError(said, param="input")
        vectors = await self._memory.embeddings.aembed_documents(texts)
        length = len(vectors[0])
        if request.dimensions not in (None, length):
            said = f"these embeddings have {length} dimensions; leave `dimensions` out."
            raise GatewayError(said, param="dimensions")
        data: list[dict[str, Any]] = []
        for index, vector in enumerate(vectors):
            shown = _shown(vector, request.encoding_format)
            data.append({"object": "embedding", "index": index, "embedding": shown})
        tokens = await asyncio.to_thread(lambda: sum(map(self._local.count_tokens, texts)))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        told = {"object": "list", "data": data, "model": request.model, "usage": usage}
        return json.dumps(told).encode()

    async def is_ready(self) -> bool:
        try:
            # Answers may fill the loop's own executor.
            await run_in_threadpool(self._local.count_tokens, "Is it there?")
        except ModelError:
            return False
        return True

    async def close(self) -> None:
        return None


class _Streamed(ChatOpenAI):
    """A model of an upstream; what broke off is no answer."""

    async def _astream(self, *args: Any, **how: Any) -> AsyncIterator[ChatGenerationChunk]:
        has_begun = has_ended = False
        async for piece in super()._astream(*args, **how):
            has_begun = True
            has_ended |= bool((piece.generation_info or {}).get("finish_reason"))
            yield piece
        if not has_begun:
            raise GatewayError(
                "the model behind the gateway sent no stream of events, in which alone the gateway "
                "reads answers; its operator must put one there that streams.",
                502,
                SERVER,
                "upstream_streams_not",
            )
        if not has_ended:
            said = "the model behind the gateway broke off in the middle of its answer; try again."
            raise GatewayError(said, 502, SERVER, "upstream_broke_off")


class Upstream:
    """A server that speaks OpenAI's API, such as llama.cpp, Ollama or vLLM.

    Args:
        base_url: as OpenAI's clients take it, such as http://127.0.0.1:8080/v1.
        api_key: that it wants; never shown.
        timeout: seconds in which it must go on.

    Raises:
        ConfigError: the base URL is none.
    """

    def __init__(self, base_url: str, api_key: str | None = None, *, timeout: float = 600) -> None:
        _check_url(base_url)
        key = api_key or "none"
        self._chat = _Streamed(
            model="upstream",
            base_url=base_url,
            api_key=SecretStr(key),
            timeout=timeout,
            stream_chunk_timeout=timeout,
            # Clients try again by themselves.
            max_retries=0,
            stream_usage=True,
            use_responses_api=False,
        )
        self._client = AsyncOpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=0)

    def model(self, request: ChatRequest) -> BaseChatModel:
        """The model as this request wants it; what it is asked with is handed on as it came."""
        wanted = {"model_name": request.model, "extra_body": request.for_upstream()}
        return self._chat.model_copy(update=wanted)

    def schema(self, request: ChatRequest) -> None:
        return None

    def most_tokens(self, request: ChatRequest) -> None:
        return None

    async def models(self) -> bytes:
        return json.dumps(await self._client.get("/models", cast_to=object)).encode()

    async def embeddings(self, body: bytes) -> bytes:
        asked = parsed(_Anything, body).model_dump()
        told = await self._client.post("/embeddings", body=asked, cast_to=object)
        return json.dumps(told).encode()

    async def is_ready(self) -> bool:
        try:
            await self._client.with_options(timeout=_READY).get("/models", cast_to=object)
        except OpenAIError:
            return False
        return True

    async def close(self) -> None:
        await self._client.close()


def _check_url(base_url: str) -> None:
    with suppress(httpx.InvalidURL):
        url = httpx.URL(base_url)
        if url.scheme in ("http", "https") and url.host:
            return
    # Before an @ stands a password.
    raise ConfigError(
        f"the upstream {base_url.rpartition('@')[2]!r:.60} is no base URL; pass one such as "
        "http://127.0.0.1:8080/v1."
    )


class _Anything(BaseModel):
    """Whatever a client sends, as long as it is a JSON object."""

    model_config = ConfigDict(extra="allow")


def _shown(vector: Sequence[float], form: str | None) -> list[float] | str:
    """A vector as it was asked for: numbers, or 32-bit floats in base64."""
    if form == "base64":
        return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
    return [float(number) for number in vector]
