"""LangChain's standard tests of a chat model, over a tiny one that was taught to call tools."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _values import HashedWords
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from sleepmem import ModelError, SleepMemory
from sleepmem.day.chat import SleepChatModel
from sleepmem.model.tool_calls import CallFormat


@pytest.fixture(scope="module")
def of_caller(
    caller: Path, embeddings: HashedWords, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SleepChatModel]:
    folder = tmp_path_factory.mktemp("standard") / "m"
    with SleepMemory.open(folder, model=caller, embeddings=embeddings) as memory:
        yield memory.chat_model()


class OverCaller:
    """What a chat model needs of its memory, and what it says that it can."""

    @pytest.fixture(autouse=True)
    def remember(self, of_caller: SleepChatModel) -> None:
        self.made = of_caller

    @property
    def chat_model_class(self) -> type[SleepChatModel]:
        return SleepChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        names = ("local", "live", "where", "abstention")
        return {name: getattr(self.made, name) for name in names}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # the experts of a memory fit one model


class TestUnit(OverCaller, ChatModelUnitTests): ...


class TestIntegration(OverCaller, ChatModelIntegrationTests): ...


def test_what_a_model_ends_with_is_never_shown(
    of_caller: SleepChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where calls are written in control tokens these are kept, for the parser."""
    tokenizer = SimpleNamespace(chat_template="{{ tools }}", response_template=None)
    qwen = SimpleNamespace(config=SimpleNamespace(model_type="qwen3"))
    monkeypatch.setattr(of_caller.local, "call_format", CallFormat.of(tokenizer, qwen))
    called = AIMessage("", tool_calls=[{"name": "now", "args": {}, "id": "1"}])
    said = [called, ToolMessage("Noon.", tool_call_id="1"), HumanMessage("hi")]
    tool = {"name": "now", "description": "The time.", "parameters": {}}
    for model in (of_caller, of_caller.bind_tools([tool])):
        assert model.invoke(said).text == "How are you?"
        assert "".join(chunk.text for chunk in model.stream(said)) == "How are you?"


def test_a_message_tells_why_it_ended(of_caller: SleepChatModel) -> None:
    tool = {"name": "get_location", "description": "The place.", "parameters": {}}
    forced = of_caller.bind_tools([tool], tool_choice="any")
    for model, asked, reason in (
        (of_caller, {}, "stop"),
        (of_caller, {"max_tokens": 1}, "length"),
        (forced, {}, "tool_calls"),
    ):
        *_, last = model.stream("Hello", **asked)
        assert last.response_metadata["finish_reason"] == reason
        assert model.invoke("Hello", **asked).response_metadata["finish_reason"] == reason


def test_what_fits_no_schema_is_one_clear_error(of_caller: SleepChatModel) -> None:
    never = {"title": "Never", "description": "No.", "type": "object", "required": ["n"]}
    answering = of_caller.with_structured_output({**never, "properties": {"n": {"enum": []}}})
    for answer in (answering.invoke, lambda asked: list(answering.stream(asked))):
        with pytest.raises(ModelError, match="wrote no Never that fits its schema"):
            answer("Hello")
