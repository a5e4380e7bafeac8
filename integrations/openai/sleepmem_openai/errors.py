"""What went wrong, in the shape that OpenAI's clients read: one sentence, a type, a code."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from fastapi.responses import JSONResponse
from langchain.agents.structured_output import StructuredOutputError

from sleepmem import EpisodeError, ModelError, NamespaceError, SleepmemError

log = logging.getLogger("sleepmem_openai")

INVALID, DENIED, LIMITED, SERVER = (
    "invalid_request_error",
    "authentication_error",
    "rate_limit_error",
    "server_error",
)
# Statuses of an upstream that tell the client something; for others the gateway answers.
_OF_CLIENTS = (400, 404, 409, 413, 415, 422, 429, 501)
# Those of an upstream that does not let the gateway in.
_OF_KEYS = (401, 403)


@dataclass(eq=False)
class GatewayError(Exception):
    """A refusal or a failure, as a client gets it.

    sentence   what was given, why it cannot work, what to do
    status     of HTTP
    kind       OpenAI's `type`
    code       OpenAI's `code`
    param      the field of the request that it is about
    headers    such as Retry-After
    """

    sentence: str
    status: int = 400
    kind: str = INVALID
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        told = {"message": self.sentence, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}

    def as_response(self) -> JSONResponse:
        return JSONResponse(self.as_dict(), self.status, headers=self.headers)


def as_gateway_error(error: BaseException) -> GatewayError:
    """What a client is told of anything that a turn raised; no text of a user, no address."""
    if isinstance(error, GatewayError):
        return error
    # Once an answer has begun, what breaks it off is no longer an error of OpenAI's client.
    if isinstance(error, openai.APITimeoutError | httpx.TimeoutException | TimeoutError):
        said = "the model behind the gateway did not answer in time; try again, or ask for less."
        return GatewayError(said, 504, SERVER, "upstream_timeout")
    if isinstance(error, openai.APIConnectionError | httpx.TransportError):
        _log(error)
        said = "the model behind the gateway cannot be reached; check that it runs, and try again."
        return GatewayError(said, 502, SERVER, "upstream_unreachable")
    if isinstance(error, openai.APIError):
        return _of_upstream(error)
    if isinstance(error, EpisodeError | ModelError | NamespaceError):
        return GatewayError(str(error))
    if isinstance(error, StructuredOutputError):
        said = "what the model wrote does not fit the response_format; ask for a simpler schema."
        return GatewayError(said, 502, SERVER, "schema_mismatch")
    _log(error)
    if isinstance(error, SleepmemError):
        return GatewayError("the memory could not be used; its log says why.", 500, SERVER)
    said = "the gateway failed; its log names the place. Try again."
    return GatewayError(said, 500, SERVER, "internal_error")


def _of_upstream(error: openai.APIError) -> GatewayError:
    """What an upstream refused, at once or in the middle of its answer."""
    # Some tell a sentence and nothing else.
    told = error.body if isinstance(error.body, dict) else {"message": error.body}
    reason, code, param = told.get("message") or error.message, told.get("code"), told.get("param")
    response = error.response if isinstance(error, openai.APIStatusError) else None
    status = response.status_code if response is not None else code
    if status in _OF_CLIENTS:
        wait = response.headers.get("retry-after") if response is not None else None
        return GatewayError(
            f"the model behind the gateway refused it: {reason}",
            int(status),
            LIMITED if status == 429 else INVALID,
            None if code is None else str(code),
            None if param is None else str(param),
            {"Retry-After": wait} if wait else {},
        )
    _log(error)
    if status in _OF_KEYS:
        said = (
            "the model behind the gateway does not take the gateway's key; its operator must set "
            "the right one in SLEEPMEM_UPSTREAM_KEY."
        )
        return GatewayError(said, 502, SERVER, "upstream_denied")
    said = f"the model behind the gateway failed in the middle of its answer: {reason}"
    if response is not None:
        said = f"the model behind the gateway failed with status {status}; try again later."
    return GatewayError(said, 502, SERVER, "upstream_error")


def _log(error: BaseException) -> None:
    """Where it failed, without its message: that may quote what a user said."""
    places = "".join(traceback.format_tb(error.__traceback__)[-3:])
    log.error("a request failed: %s\n%s", type(error).__name__, places)
