"""What is known of a llama-server before any is asked."""

import pytest
from _values import HashedWords

from sleepmem import ConfigError, ModelError, SleepMemory, View
from sleepmem.day.served import Loaded

ALICE = ("alice",)
# Nobody listens there.
ADDRESS = "http://127.0.0.1:9"


@pytest.fixture
def served(new_folder, tiny):
    with SleepMemory.open(new_folder, tiny, embeddings=HashedWords(), chat_model=ADDRESS) as memory:
        yield memory


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8080", "http://", "file:///m", "", 8080, "http://[::1"]
)
def test_what_is_no_address_is_refused(new_folder, tiny, embeddings, address):
    with pytest.raises(ConfigError, match="pass the address of a llama-server"):
        SleepMemory.open(new_folder, tiny, embeddings=embeddings, chat_model=address)


def test_a_password_in_the_address_is_in_no_error(new_folder, tiny, embeddings):
    address = "http://me:sekret@127.0.0.1:9/v1/"
    with (
        SleepMemory.open(new_folder, tiny, embeddings=embeddings, chat_model=address) as memory,
        pytest.raises(ModelError, match=r"http://127\.0\.0\.1:9 did not answer"),
    ):
        memory.ask(ALICE, "Where does Mara live?")


def test_memories_are_found_without_it_and_an_answer_tells_what_is_missing(served):
    served.observe(ALICE, "Mara lives in Brenport.")
    found = served.recall(ALICE, "Where does Mara live?")
    assert found.view is View.RETRIEVAL
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9 did not answer .* start it"):
        served.ask(ALICE, "Where does Mara live?")


def test_it_is_given_no_tools(served):
    with pytest.raises(ModelError, match="cannot be given tools"):
        served.chat_model().bind_tools([{"name": "look", "description": "Look."}])


@pytest.mark.parametrize(("ended", "reason"), [("eos", "stop"), ("limit", "length")])
def test_a_message_tells_whether_the_server_cut_it(served, monkeypatch, ended, reason):
    chat = served.chat_model()
    local = chat.local
    parts = [{"content": " It", "stop_type": "none"}, {"content": " is", "stop_type": ended}]
    monkeypatch.setattr(local, "_wearing", lambda experts: (Loaded("", {}), []))
    monkeypatch.setattr(local, "_request", lambda chat, loaded, lora: {})
    monkeypatch.setattr(local, "_post", lambda path, asked: {**parts[1], "content": "It is"})
    monkeypatch.setattr(local, "_events", lambda path, asked: iter(parts))
    monkeypatch.setattr(local, "prompt_ids", lambda chat: [1, 2])
    monkeypatch.setattr(local, "count_tokens", lambda text: 2)
    whole, *_, last = chat.invoke("Where?"), *chat.stream("Where?")
    assert whole.text == "It is"
    assert whole.response_metadata["finish_reason"] == reason
    assert last.response_metadata["finish_reason"] == reason
