"""Section 5 of the cases: what providers get, what is streamed, and turns in which memory fails."""

from __future__ import annotations

import json
import logging
import sqlite3
from typing import Any

import pytest
from _values import HashedWords, put_expert
from cases._user import LIFE, NOBODY, Scripted, User, scripted, system_of
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from sleepmem import SleepMemory
from sleepmem.day.chat import LLM_TYPE
from sleepmem.graph import look_again_node, observe_node, recall_node
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.text.prompts import HEADER

KIND = "You are kind."
TOLD, ASKED = "Mara moved to Brenport.", "Where did Mara move?"
BLOCKS = [{"type": "text", "text": KIND, "cache_control": {"type": "ephemeral"}}]
PROMPTS = {"a string": KIND, "blocks": SystemMessage(BLOCKS), "none": None}


# What a model is given, by an agent and by a graph


def by_agent(memory, prompt, turns):
    """Each message list that the model of an agent in one thread gets."""
    model = scripted(*["Noted."] * len(turns))
    agent = create_agent(
        model,
        middleware=[SleepMemoryMiddleware(memory, namespace=NOBODY)],
        system_prompt=prompt,
        checkpointer=InMemorySaver(),
    )
    for text in turns:
        agent.invoke({"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": "t"}})
    return model.shown


def by_graph(memory, prompt, turns):
    """The same of a graph, its prompt the first message of the state."""
    model = scripted(*["Noted."] * len(turns))
    graph = StateGraph(MessagesState)
    graph.add_node("recall", recall_node(memory, NOBODY, weights=False))
    graph.add_node("speak", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("observe", observe_node(memory, NOBODY))
    for first, second in [(START, "recall"), ("recall", "speak"), ("speak", "observe")]:
        graph.add_edge(first, second)
    graph.add_edge("observe", END)
    compiled = graph.compile(checkpointer=InMemorySaver())
    system = SystemMessage(prompt) if isinstance(prompt, str) else prompt
    for number, text in enumerate(turns):
        leading = [system] if system is not None and not number else []
        messages = [*leading, HumanMessage(text)]
        compiled.invoke({"messages": messages}, {"configurable": {"thread_id": "t"}})
    return model.shown


def by_graph_with_prompt_at_the_call(memory, prompt, turns):
    """The same, the prompt put before the state when the model is called."""
    shown = by_graph(memory, None, turns)
    system = SystemMessage(prompt) if isinstance(prompt, str) else prompt
    return shown if system is None else [[system, *messages] for messages in shown]


# What the providers make of it: the texts of the system prompt, and their blocks


def of_anthropic(messages):
    made = pytest.importorskip("langchain_anthropic")
    model = made.ChatAnthropic(model="claude-x", api_key="x")
    system = model._get_request_payload(messages).get("system", "")
    return [system] if isinstance(system, str) else list(system)


def _of_system_role(payload):
    leads = [one["role"] for one in payload]
    assert "system" not in leads[leads.count("system") :], leads
    return [one["content"] for one in payload if one["role"] == "system"]


def of_openai(messages):
    made = pytest.importorskip("langchain_openai")
    model = made.ChatOpenAI(model="gpt-x", api_key="x")
    return _of_system_role(model._get_request_payload(messages)["messages"])


def of_google(messages):
    module = pytest.importorskip("langchain_google_genai.chat_models")
    system, contents = module._parse_chat_history(messages)
    assert all("system" not in str(getattr(one, "role", "")) for one in contents)
    return [] if system is None else [part.text for part in system.parts]


def of_mistral(messages):
    module = pytest.importorskip("langchain_mistralai.chat_models")
    return _of_system_role([module._convert_message_to_mistral_chat_message(m) for m in messages])


def of_ollama(messages):
    made = pytest.importorskip("langchain_ollama")
    model = made.ChatOllama(model="x", validate_model_on_init=False)
    return _of_system_role(model._convert_messages_to_ollama_messages(messages))


WAYS = [by_agent, by_graph, by_graph_with_prompt_at_the_call]
PROVIDERS = [of_anthropic, of_openai, of_google, of_mistral, of_ollama]


def _flat(texts: Any) -> str:
    return json.dumps(texts, ensure_ascii=False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the providers' own packages
def test_a_provider_gets_the_prompt_and_then_the_memory(user, way, provider, prompt):
    user.told(TOLD)
    for messages in way(user.memory, prompt, [ASKED, "I like pears.", "And where is Mara now?"]):
        texts = _flat(provider(messages))
        assert texts.count(HEADER) <= 1, texts
        if messages[-1].text != "I like pears.":
            assert TOLD in texts
        if prompt is not None:
            assert texts.count(KIND) == 1
            assert HEADER not in texts or texts.index(KIND) < texts.index(HEADER)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_system_messages_lead_and_the_question_comes_last(user, way, prompt):
    user.told(TOLD)
    for messages in way(user.memory, prompt, [ASKED, "And where is Mara now?"]):
        kinds = [one.type for one in messages]
        assert "system" not in kinds[kinds.count("system") :]
        assert kinds[-1] == "human"
        assert system_of(messages).count(HEADER) == 1


def test_an_agents_prompt_is_one_system_message(user):
    user.told(TOLD)
    for prompt in PROMPTS.values():
        (messages,) = by_agent(user.memory, prompt, [ASKED])
        assert [one.type for one in messages] == ["system", "human"]


@pytest.mark.parametrize("way", WAYS)
def test_a_cached_block_stays_as_it_is_and_the_memory_comes_after_it(user, way):
    user.told(TOLD)
    (messages,) = way(user.memory, SystemMessage(BLOCKS), [ASKED])
    first, *others = of_anthropic(messages)
    assert {key: first[key] for key in BLOCKS[0]} == BLOCKS[0]
    assert TOLD in _flat(others)
    assert "cache_control" not in _flat(others)


@pytest.mark.parametrize("way", WAYS)
def test_the_prompt_before_the_memory_is_the_same_every_turn(user, way):
    user.told(TOLD, "Orla keeps bees.")
    turns = [ASKED, "What does Orla keep?", "I like pears."]
    for messages in way(user.memory, SystemMessage(BLOCKS), turns):
        block = of_anthropic(messages)[0]
        assert {key: block[key] for key in BLOCKS[0]} == BLOCKS[0]


# Streams


class Mine(Scripted):
    """Is told from foreign models as the memory's own is."""

    @property
    def _llm_type(self) -> str:
        return LLM_TYPE


def streamed(agent, text):
    """The text that a user sees coming, by message."""
    said: dict[str | None, str] = {}
    for chunk, _ in agent.stream({"messages": [HumanMessage(text)]}, stream_mode="messages"):
        if isinstance(chunk, AIMessage):
            said[chunk.id] = said.get(chunk.id, "") + chunk.text
    return [text for text in said.values() if text]


DOUBTS = ["I do not know.", "I don’t know.", "Das weiß ich nicht.", "我不知道。"]


def learned(memory):
    """The question that the weights answered in an exam about what they hold."""
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    return "Is it so that Mara moved to Brenport?"


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_stream_shows_the_one_answer_after_a_second_look(memory, doubt):
    asked = learned(memory)
    model = Mine(messages=iter([doubt, "Yes, to Brenport."]), shown=[])
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    assert streamed(agent, asked) == ["Yes, to Brenport."]
    assert TOLD in system_of(model.shown[-1])


def test_a_stream_shows_the_answer_of_the_weights_when_it_stands(memory):
    known = AIMessage("Yes, to Brenport.", response_metadata={"experts": ["one"]})
    model = Mine(messages=iter([known]), shown=[], disable_streaming=True)
    asked = learned(memory)
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    assert streamed(agent, asked) == ["Yes, to Brenport."]
    assert len(model.shown) == 1


@pytest.mark.parametrize("line", ["In Brenport.", "I do not know."])
def test_a_stream_of_a_foreign_model_shows_its_one_answer(user, line):
    user.told(*LIFE[:2], TOLD)
    agent = create_agent(scripted(line), middleware=[SleepMemoryMiddleware(user.memory)])
    assert streamed(agent, ASKED) == [line]


# Failures


class Broken(HashedWords):
    """Embeddings of a server that is down, when told so."""

    down = False

    def embed_query(self, text: str) -> list[float]:
        if self.down:
            raise ConnectionError("the embedding server is down")
        return super().embed_query(text)


@pytest.fixture
def broken(tmp_path):
    """A memory that knows where Mara is, and then loses its embeddings."""
    embeddings = Broken()
    with SleepMemory.open(tmp_path / "m", embeddings=embeddings) as memory:
        memory.observe(NOBODY, TOLD)
        embeddings.down = True
        yield memory


def failures(memory):
    return memory.ledger.turns.events("memory failed")


def test_a_turn_goes_on_without_embeddings_and_says_so(broken, caplog):
    model = scripted("In Brenport.", "Noted.")
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(broken)], system_prompt=KIND)
    with caplog.at_level(logging.WARNING, logger="sleepmem"):
        out = agent.invoke({"messages": [HumanMessage(ASKED)]})
    assert out["messages"][-1].text == "In Brenport."
    assert TOLD in system_of(model.shown[0])
    assert any("the embedding server is down" in one["reason"] for one in failures(broken))
    assert "the embedding server is down" in caplog.text


def test_what_was_said_without_embeddings_is_stored_and_found_when_they_are_back(broken):
    talks = User(broken)
    talks.says("Orla keeps bees.")
    assert "Orla keeps bees." in talks.texts()
    broken.embeddings.down = False
    assert "Orla keeps bees." in talks.says("What does Orla keep?")


def test_the_status_counts_what_failed(broken):
    User(broken).says(ASKED)
    (row,) = broken.status()
    assert row.get("failures", 0) >= 1, row


def test_a_graph_goes_on_without_embeddings(broken):
    (messages,) = by_graph(broken, KIND, [ASKED])
    assert [one.type for one in messages] == ["system", "system", "human"]
    assert TOLD in messages[1].text
    look = look_again_node(broken, NOBODY).invoke({"messages": messages})
    assert look == {"messages": []}
    assert failures(broken)


@pytest.fixture
def locked(user, monkeypatch):
    """A user whose ledger another program holds, until it is let go."""
    monkeypatch.setattr("sleepmem.stores.database.BUSY_SECONDS", 1)
    user.told(TOLD)
    user.says(ASKED)
    other = sqlite3.connect(user.memory.ledger.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield user, lambda: other.execute("ROLLBACK")
    other.close()


def test_a_turn_goes_on_while_another_program_holds_the_ledger(locked, caplog):
    user, let_go = locked
    with caplog.at_level(logging.WARNING, logger="sleepmem"):
        user.says("Where did Mara move to?", reply="In Brenport.")
    assert "locked" in caplog.text
    let_go()
    user.says("Orla keeps bees.")
    assert "Orla keeps bees." in user.texts()
    assert user.memory.verify() == []


def test_what_can_be_read_is_shown_while_another_program_holds_the_ledger(locked):
    user, _ = locked
    assert TOLD in user.says("Where did Mara move to?")


SURROGATES = ["Where did Mara move \ud83d?", "\udce9t\udce9: Mara moved again."]


@pytest.mark.parametrize("text", SURROGATES, ids=ascii)
def test_a_lone_surrogate_does_not_end_the_turn(user, text):
    user.told(TOLD)
    user.says(text)
    assert user.texts() == [TOLD, text.encode(errors="replace").decode()]
    events = user.memory.ledger.turns.events
    assert not events("memory failed")
    assert not events("not stored")
    assert TOLD in user.says(ASKED)
    assert user.memory.verify() == []


@pytest.mark.parametrize("text", SURROGATES, ids=ascii)
def test_a_lone_surrogate_does_not_end_a_graphs_turn(user, text):
    user.told(TOLD)
    by_graph(user.memory, KIND, [text])
    assert TOLD in user.says(ASKED)


@pytest.mark.parametrize("text", ["", "   ", "👍", "?!", "\x00", "a\x00b", "\ud800"], ids=ascii)
def test_a_message_of_no_words_does_not_end_the_turn(user, text):
    user.told(TOLD)
    user.says(text)
    assert TOLD in user.says(ASKED)


# The index


class Counting(HashedWords):
    """Counts the texts that it embeds."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed_query(self, text: str) -> list[float]:
        self.texts.append(text)
        return super().embed_query(text)


def test_a_sentence_said_again_embeds_no_more_than_itself(tmp_path):
    embeddings = Counting()
    with SleepMemory.open(tmp_path / "m", embeddings=embeddings) as memory:
        talks = User(memory)
        for number in range(30):
            memory.observe(NOBODY, f"Locker {number} is green.")
        talks.says("Orla keeps bees.")
        embeddings.texts.clear()
        talks.says("Locker 3 is green.")
        talks.says("Locker 3 is green!")
    lockers = {text for text in embeddings.texts if text.startswith("Locker")}
    assert len(embeddings.texts) <= 100
    assert lockers <= {f"Locker {number} is green." for number in range(30)} | {
        "Locker 3 is green!"
    }
