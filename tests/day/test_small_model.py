"""SmolLM2-135M calls tools and fills schemas where it must, alone and in an agent."""

import runpy

import pytest
from _pages import ROOT
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from sleepmem import ModelError, SleepMemory
from sleepmem.config import MemoryConfig, ModelConfig
from sleepmem.model import gguf


class Person(BaseModel):
    """A person."""

    name: str
    age: int = Field(lt=150)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


@tool
def add(first: int, second: int) -> int:
    """The sum of two numbers."""
    return first + second


@pytest.fixture(scope="module")
def unpacked(smollm2, tmp_path_factory):
    """A folder of its weights, which is opened sooner than the file."""
    return gguf.unpacked(smollm2, tmp_path_factory.mktemp("smollm2")).folder


@pytest.fixture(scope="module")
def small(unpacked, embeddings, tmp_path_factory):
    config = MemoryConfig(model=ModelConfig(device="cpu"), max_new_tokens=24)
    folder = tmp_path_factory.mktemp("small") / "m"
    with SleepMemory.open(folder, unpacked, embeddings=embeddings, config=config) as memory:
        yield memory.chat_model()


def test_a_small_model_calls_what_it_must(small):
    asked = "What is the weather in Paris?"
    answer = small.bind_tools([weather, add], tool_choice="any").invoke(asked)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    assert answer.usage_metadata["output_tokens"] > 0
    chunks = list(small.bind_tools([weather], tool_choice="weather").stream(asked))
    whole = sum(chunks[1:], chunks[0])
    assert [one["args"] for one in whole.tool_calls] == [{"city": "Paris"}]
    assert chunks[-1].usage_metadata["total_tokens"] > 0


def test_a_small_model_reads_what_a_tool_returned(small):
    call = {"name": "weather", "args": {"city": "Paris"}, "id": "1", "type": "tool_call"}
    said = [
        HumanMessage("What is the weather in Paris?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("It rains in Paris.", tool_call_id="1"),
    ]
    assert "rain" in small.bind_tools([weather]).invoke(said).text.lower()


def test_a_small_model_fills_a_schema_or_says_why_not(small):
    answer = small.with_structured_output(Person).invoke("Ana is 30 years old.")
    assert answer == Person(name="Ana", age=30)
    never = {"title": "Never", "description": "No.", "type": "object", "required": ["n"]}
    never["properties"] = {"n": {"type": "integer", "minimum": 1, "maximum": 0}}
    raw = small.with_structured_output(never, include_raw=True).invoke("Hello.")
    assert isinstance(raw["parsing_error"], ModelError)
    assert "wrote no Never that fits its schema" in str(raw["parsing_error"])
    assert raw["raw"].invalid_tool_calls


def test_an_agent_of_two_users_with_three_tools(unpacked, tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples/agent_with_tools.py"))
    episodes = example["main"](str(tmp_path / "memory"), str(unpacked))
    printed = capsys.readouterr().out
    # What was called, streamed as it was, and what came of it.
    assert 'alice -> weather({"city": "Brenport"})' in printed
    assert 'bob -> add({"first": 17, "second": 25})' in printed
    assert "weather: It rains in Brenport." in printed
    assert "add: 42" in printed
    assert printed.count("model: ") == 3
    assert set(episodes) == {"alice", "bob"}
    assert any("Brenport" in text for text in episodes["alice"])
    assert not any("Brenport" in text for text in episodes["bob"])


def test_an_agent_carries_out_again_what_worked(unpacked, tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples/procedure.py"))
    ((first, after),) = example["main"](str(tmp_path / "memory"), str(unpacked), (1,))
    order = ["sign_sheet", "open_valve", "start_pump", "read_meter"]
    assert len(after.calls) < len(first.calls)
    with SleepMemory.open(tmp_path / "memory", read_only=True) as memory:
        (one, _) = [e for e in memory.ledger.episodes.all(("ana-1",)) if e.source == "agent"]
        assert [line.partition("(")[0] for line in one.text.splitlines()[1:-1]] == order
