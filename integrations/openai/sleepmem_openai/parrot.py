"""A small server that speaks OpenAI's API and answers from what stands before it, the same always.

What is soaked is the gateway, so the model behind it may be quick: it says all that stands before
the question, whoever's that is, so a memory that is shown to somebody else is seen by them. It
calls a tool when it must. `python -m sleepmem_openai.parrot PORT`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

MODEL = "parrot"
app = FastAPI(openapi_url=None)


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    """The one model there is."""
    one = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sleepmem"}
    return {"object": "list", "data": [one]}


@app.post("/v1/embeddings")
async def embeddings(request: Request) -> dict[str, Any]:
    """The length of each text."""
    asked = await request.json()
    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        data.append({"object": "embedding", "index": index, "embedding": [float(len(text))]})
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "model": asked["model"], "data": data, "usage": usage}


@app.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """What stands before it, or a call of a tool."""
    asked = await request.json()
    if asked["model"] != MODEL:
        told = {"message": f"no model {asked['model']!r}", "type": "invalid_request_error"}
        return JSONResponse({"error": {**told, "code": "model_not_found"}}, 404)
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in asked and not asked.get("tools"):
            # As OpenAI does.
            told = {"message": f"{name} needs tools", "type": "invalid_request_error"}
            return JSONResponse({"error": {**told, "param": name}}, 400)
    message = _answer(asked)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    words = sum(len(str(one.get("content")).split()) for one in asked["messages"])
    said = len(str(message["content"]).split())
    usage = {"prompt_tokens": words, "completion_tokens": said, "total_tokens": words + said}
    about = {"id": "chatcmpl-parrot", "created": 0, "model": MODEL}
    if asked.get("stream"):
        return StreamingResponse(
            _events(about, message, finish, usage), media_type="text/event-stream"
        )
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
    return JSONResponse(whole)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    messages = asked["messages"]
    last = messages[-1]
    text = str(last["content"])
    tool = _tool(asked)
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"The tool says: {text}"}
    if tool is not None:
        known = tool["parameters"].get("properties", {})
        arguments = json.dumps(dict.fromkeys(known, text.rstrip("?.!").split()[-1]))
        call = {"name": tool["name"], "arguments": arguments}
        calls = [{"id": "call_parrot", "type": "function", "function": call}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    if not text.rstrip().endswith("?"):
        return {"role": "assistant", "content": "Noted."}
    shown = "\n".join(str(one["content"]) for one in messages[:-1])
    return {"role": "assistant", "content": shown or "I do not know."}


def _tool(asked: dict[str, Any]) -> dict[str, Any] | None:
    """The tool that must be called."""
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    if isinstance(choice, dict):
        named = [tool for tool in tools if tool["function"]["name"] == choice["function"]["name"]]
        return named[0]["function"] if named else None
    return tools[0]["function"] if tools and choice == "required" else None


def _events(
    about: dict[str, Any], message: dict[str, Any], finish: str, usage: dict[str, int]
) -> Iterator[str]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for word in str(message["content"] or "").split(" "):
        deltas.append({"content": f" {word}" if len(deltas) > 1 else word})
    for index, call in enumerate(message.get("tool_calls", [])):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {"name": name, "arguments": ""}
        deltas.append({"tool_calls": [{**call, "index": index, "function": begun}]})
        deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
    kind = {**about, "object": "chat.completion.chunk"}
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield f"data: {json.dumps({**kind, 'choices': [choice]})}\n\n"
    last = {"index": 0, "delta": {}, "finish_reason": finish}
    yield f"data: {json.dumps({**kind, 'choices': [last]})}\n\n"
    yield f"data: {json.dumps({**kind, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
