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


def test_a_thought_of_the_server_is_no_part_of_an_answer(served, monkeypatch):
    """One that its template begins is closed before it answers."""
    local = served.chat_model().local
    parts = []
    for piece in ("<think>", " Well.", "\n</think>", "\n\nIt", " is."):
        parts.append({"content": piece, "stop_type": "eos"})
    whole = {**parts[0], "content": "".join(part["content"] for part in parts)}
    chat = [{"role": "user", "content": "Where?"}]
    monkeypatch.setattr(local, "_wearing", lambda experts: (Loaded("", {}), []))
    monkeypatch.setattr(local, "_any", dict)
    monkeypatch.setattr(local, "_is_plain", lambda text: True)
    answers = {"/completion": whole, "/apply-template": {"prompt": "Where?<think>\n"}}
    monkeypatch.setattr(local, "_post", lambda path, asked: answers[path])
    monkeypatch.setattr(local, "_events", lambda path, asked: iter(parts))
    monkeypatch.setattr(local, "_tokens", lambda text, **options: list(text.encode()))
    assert [reply.text for reply in local.reply([chat])] == ["It is."]
    assert "".join(local.stream(chat, (), max_new_tokens=8)) == "It is."
    assert bytes(local.prompt_ids(chat)) == b"Where?<think>\n\n</think>\n\n"
