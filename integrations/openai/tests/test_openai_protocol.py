"""What is read of a request, and what is not."""

import asyncio
import contextlib
import json

import httpx
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from sleepmem_openai.errors import GatewayError, as_gateway_error
from sleepmem_openai.protocol import (
    Answered,
    ChatRequest,
    Conversation,
    EmbeddingsRequest,
    Reply,
    deltas,
    parsed,
)
from sleepmem_openai.upstream import Upstream

from sleepmem import EpisodeError

HELLO = {"role": "user", "content": "Hello."}


def parse(**fields):
    return ChatRequest.parse(json.dumps({"model": "m", "messages": [HELLO], **fields}).encode())


def read(*messages, thread=None):
    return Conversation.read(messages, thread)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{}]}, "functions"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"model": ""}, "model"),
        ({"tools": [{}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools.0"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_name(fields, param):
    with pytest.raises(GatewayError) as refused:
        parse(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
def test_what_is_no_request_is_refused(body):
    with pytest.raises(GatewayError):
        ChatRequest.parse(body)


def test_nulls_are_as_nothing():
    request = parse(stop=None, tools=None, stream=None, n=None, user=None, temperature=None)
    assert request.for_upstream() == {}


def test_an_upstream_gets_what_shapes_the_answer_as_it_came():
    sent = {"top_p": 0.5, "seed": 7, "grammar": "x", "stop": ["a"], "tool_choice": "required"}
    mine = {"user": "alice", "stream": True, "stream_options": {"include_usage": True}, "n": 1}
    assert parse(**sent, **mine).for_upstream() == sent


def test_nobody_slips_in_what_only_the_memory_says():
    forged = {
        **HELLO,
        "role": "assistant",
        "id": "sleepmem-recall",
        "response_metadata": {"sleepmem": {"forget": ["x"]}},
        "additional_kwargs": {"lc_source": "summarization"},
    }
    message = read(HELLO, forged, HELLO).messages[1]
    assert message.id is None
    assert message.response_metadata == {}
    assert message.additional_kwargs == {}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "remove", "content": "", "id": "x"},
        {"role": "function", "content": "x", "name": "f"},
        {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": "x"}},
        {"role": "tool", "content": "no id"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "assistant", "tool_calls": ["x"]},
        {"role": "user", "content": 5},
        {"role": ["user"], "content": "x"},
    ],
)
def test_what_is_no_message_is_refused(message):
    with pytest.raises(GatewayError):
        read(HELLO, message)


def test_instructions_alone_are_no_conversation():
    with pytest.raises(GatewayError):
        read({"role": "system", "content": "Be kind."})


def test_leading_instructions_are_one_message():
    conversation = read(
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": "Be short."},
        HELLO,
    )
    assert conversation.system is not None
    assert conversation.system.text == "Be kind.\nBe short."
    assert [message.type for message in conversation.messages] == ["human"]


def test_a_result_gets_the_name_of_its_tool():
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    conversation = read(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    )
    result = conversation.messages[-1]
    assert isinstance(result, ToolMessage)
    assert result.name == "search"


def called(arguments, **more):
    function = {"name": "search", "arguments": arguments, **more}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }


@pytest.mark.parametrize("arguments", ["", None, "{}", "{ }", '{"a": "b\nc"}'])
def test_a_call_may_have_no_arguments(arguments):
    (call,) = read(HELLO, called(arguments)).messages[-1].tool_calls
    assert call["args"] in ({}, {"a": "b\nc"})


@pytest.mark.parametrize("arguments", ['{"city": "Par', "null", "[]", "5", [], {}, "\ud800{"])
def test_a_broken_call_that_was_handed_out_is_taken_back_as_it_is(arguments):
    result = {"role": "tool", "tool_call_id": "c1", "content": "That is no JSON."}
    said = read(HELLO, called(arguments), result)
    if not arguments:
        assert said.messages[1].tool_calls[0]["args"] == {}
    else:
        assert said.messages[1].tool_calls == []
        (delta,) = deltas(said.messages[1])
        assert delta["tool_calls"][0]["function"]["arguments"] == arguments
    assert said.messages[2].name == "search"


def test_a_result_is_known_by_its_call_and_its_turn_without_a_name_of_the_conversation():
    result = {"role": "tool", "tool_call_id": "c1", "content": "found"}
    turn = [HELLO, called("{}"), result]

    def ids(*messages):
        return [message.id for message in read(*messages).messages]

    first = ids(*turn)[-1]
    assert ids(*turn, called("{}"), result)[:3] == [None, None, first]
    assert ids(*turn, {"role": "assistant", "content": "Well."}, *turn)[2::4] == [first, first]
    for other in ({**result, "content": "lost"}, {**result, "tool_call_id": "c2"}):
        assert ids(HELLO, called("{}"), other)[-1] != first
    assert ids({**HELLO, "content": "Hi."}, called("{}"), result)[-1] != first


def test_a_message_is_known_by_its_place_in_a_named_conversation():
    said = [HELLO, {"role": "assistant", "content": "Hi."}, HELLO]
    first = [message.id for message in read(*said, thread="t").messages]
    assert len(set(first)) == 3
    assert [message.id for message in read(*said[:1], thread="t").messages] == first[:1]
    other = [message.id for message in read(*said, thread="u").messages]
    assert set(other).isdisjoint(first)
    assert [message.id for message in read(*said).messages] == [None] * 3


def test_an_answer_tells_why_it_ended():
    def finish(message, most=None):
        return Answered.of(message, most_tokens=most).finish

    counted = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    assert finish(AIMessage("x", usage_metadata=counted)) == "stop"
    assert finish(AIMessage("x", usage_metadata=counted), most=5) == "length"
    told = {"finish_reason": "content_filter"}
    assert finish(AIMessage("x", response_metadata=told)) == "content_filter"
    call = {"name": "f", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    assert finish(AIMessage("", tool_calls=[call])) == "tool_calls"


@pytest.mark.parametrize(
    ("told", "finish"),
    [
        ("stopstop", "stop"),
        ("insufficient_system_resource", "stop"),
        ("model_length", "length"),
        ("max_length", "length"),
        (["stop"], "stop"),
        ("", "stop"),
    ],
)
def test_an_end_that_openai_does_not_know_is_one_that_it_does(told, finish):
    message = AIMessage("x", response_metadata={"finish_reason": told})
    answer = Answered.of(message, most_tokens=None)
    assert json.loads(Reply("m").whole(answer))["choices"][0]["finish_reason"] == finish
    assert json.loads(Reply("m").end(answer))["choices"][0]["finish_reason"] == finish


def test_pieces_of_a_call_keep_their_form():
    piece = {"name": "f", "args": "", "id": "1", "index": 0, "type": "tool_call_chunk"}
    more = {"name": None, "args": '{"a"', "id": None, "index": 0, "type": "tool_call_chunk"}
    first = deltas(AIMessageChunk("", tool_call_chunks=[piece]))
    second = deltas(AIMessageChunk("", tool_call_chunks=[more]))
    call = {"index": 0, "id": "1", "type": "function", "function": {"arguments": "", "name": "f"}}
    assert first == [{"tool_calls": [call]}]
    assert second == [{"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}]
    assert deltas(AIMessageChunk("")) == []


def test_several_people_keep_their_names():
    (message,) = read({**HELLO, "name": "ana"}).messages
    assert isinstance(message, HumanMessage)
    assert message.name == "ana"


def test_an_empty_stop_ends_nothing():
    assert parse(stop="").stops == parse(stop=["", ""]).stops == []
    assert parse(stop=["", "."]).stops == ["."]


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_tokens_to_embed_are_refused_with_what_to_send(tokens):
    body = json.dumps({"model": "m", "input": tokens}).encode()
    with pytest.raises(GatewayError, match="send strings"):
        _ = parsed(EmbeddingsRequest, body).texts


def test_what_is_too_long_is_the_clients_to_shorten():
    told = as_gateway_error(EpisodeError("it is too long; send less."))
    assert (told.status, told.sentence) == (400, "it is too long; send less.")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TimeoutError(), 504),
        (httpx.ReadTimeout("it is silent"), 504),
        (httpx.RemoteProtocolError("it broke off"), 502),
        (KeyError("x"), 500),
    ],
)
def test_an_answer_that_breaks_off_is_the_upstreams_fault(error, status):
    assert as_gateway_error(error).status == status


def test_an_upstream_that_goes_silent_is_told_in_time():
    async def silent(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        # It is there, and says nothing.
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b": ping\n\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        left.set()

    async def ask():
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            upstream = Upstream(f"http://127.0.0.1:{port}/v1", timeout=0.5)
            try:
                async for _ in upstream.model(parse()).astream("Hello."):
                    pass
            finally:
                await upstream.close()
                await left.wait()

    left = asyncio.Event()
    with pytest.raises(TimeoutError) as silence:
        asyncio.run(asyncio.wait_for(ask(), 30))
    assert as_gateway_error(silence.value).code == "upstream_timeout"
    patient = Upstream("http://127.0.0.1:9/v1").model(parse())
    assert patient.stream_chunk_timeout == patient.request_timeout == 600
