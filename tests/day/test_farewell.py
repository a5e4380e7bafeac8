"""Asked to forget something, the agent names it, and forgets it after a clear yes alone."""

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from sleepmem import SleepMemory
from sleepmem.day.farewell import Phrases, agrees, is_asked
from sleepmem.graph import forget_node, is_to_forget, observe_node
from sleepmem.middleware import SleepMemoryMiddleware

ALICE = ("alice",)
THREAD = {"configurable": {"thread_id": "1"}}


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("Please forget my phone number.", True),
        ("olvida mi número de teléfono", True),
        ("忘掉我的电话号码", True),
        ("can you delete everything about my ex", True),
        ("Don't forget the milk", False),
        ("I forgot my phone", False),
        ("delete the file on the server", False),
        # The contrary of a request, in the words of one.
        ("Do not forget my blood type.", False),
        ("don\u2019t forget my blood type", False),
        ("Never forget my locker code!", False),
        ("You must not forget my hearing aid settings.", False),
        ("I must not forget to feed Anna's rabbits.", False),
        ("please don't wipe our chats from March", False),
        ("Vergiss meine Blutgruppe nicht.", False),
        ("No olvides mi grupo sanguíneo.", False),
        ("Не забудь мою группу крови.", False),
        ("别忘了我的血型。", False),
        ("血液型を忘れないでね。", False),
        # A denial that asks for it all the same.
        ("Don't remember my blood type.", True),
        ("please don't save what I said about Lucy", True),
    ],
)
def test_that_something_shall_be_forgotten_is_told_from_what_sounds_like_it(text, is_so):
    assert is_asked(text) is is_so


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("yes", True),
        ("oui, vas-y", True),
        ("はい", True),
        ("no", False),
        ("nein, lass das", False),
        ("yes but keep the first", False),
        ("Where do I live?", False),
    ],
)
def test_only_a_clear_yes_agrees(text, is_so):
    assert agrees(text) is is_so


@pytest.fixture
def memory(tmp_path):
    with SleepMemory.open(tmp_path / "m") as memory:
        memory.observe(ALICE, "My phone number is 0151 2345678.")
        memory.observe(ALICE, "Our dog is called Rex.")
        yield memory


def agent(memory, **more):
    model = GenericFakeChatModel(messages=iter([AIMessage("Well.") for _ in range(9)]))
    middleware = SleepMemoryMiddleware(memory, ALICE, **more)
    return create_agent(model, middleware=[middleware], checkpointer=InMemorySaver())


def says(agent, text):
    return agent.invoke({"messages": [("user", text)]}, THREAD)["messages"][-1]


def texts(memory):
    return [one.text for one in memory.ledger.episodes.all(ALICE) if one.trusted]


def test_the_agent_asks_and_forgets_after_a_yes(memory):
    running = agent(memory)
    asked = says(running, "Please forget my phone number.")
    assert "0151 2345678" in asked.text
    assert len(texts(memory)) == 2  # nothing is gone, and nothing was stored of it
    done = says(running, "Yes.")
    assert "receipt 1" in done.text
    assert done.response_metadata["sleepmem"] == {"receipt": 1}
    (receipt,) = memory.receipts()
    words = memory.ledger.forgotten.keyed("Please forget my phone number.")
    assert receipt.asked == {"about": words, "confirmed": 1}
    assert texts(memory) == ["Our dog is called Rex."]
    assert says(running, "Hello, how are you?").text == "Well."
    assert not any("0151" in one.whole for one in memory.ledger.episodes.all(ALICE))


def test_where_it_is_told_still_is_named_and_stays(memory):
    memory.observe(ALICE, "The taxi in Oslo was late: 0151 2345678.")
    running = agent(memory)
    asked = says(running, "Please forget my phone number.")
    above, _, below = asked.text.partition(Phrases().still)
    assert "My phone number is" in above
    assert "taxi" in below
    says(running, "Yes.")
    assert [text for text in texts(memory) if "0151" in text] == [below.partition(": ")[2]]


def test_what_must_not_be_forgotten_is_no_request(memory):
    running = agent(memory)
    assert says(running, "Do not forget my blood type, it is A negative.").text == "Well."
    assert "Do not forget my blood type, it is A negative." in texts(memory)
    assert says(running, "Yes.").text == "Well."
    assert memory.receipts() == []


@pytest.mark.parametrize("reply", ["No, keep it.", "What do you mean?"])
def test_without_a_yes_nothing_is_forgotten(memory, reply):
    running = agent(memory)
    says(running, "Please forget my phone number.")
    assert says(running, reply).text == "Well."
    assert len(texts(memory)) == 2
    # A yes that comes later agrees to nothing.
    assert says(running, "Yes.").text == "Well."
    assert memory.receipts() == []


def test_what_is_not_there_is_told_so_in_the_hosts_words(memory):
    phrases = Phrases(nothing="Davon weiß ich nichts.")
    running = agent(memory, phrases=phrases)
    memory.forget(ALICE, everything=True)
    assert says(running, "Please forget my phone number.").text == "Davon weiß ich nichts."


async def _told(running):
    asked = await running.ainvoke(
        {"messages": [("user", "Can you delete everything about our dog?")]}, THREAD
    )
    done = await running.ainvoke({"messages": [("user", "yes, do it")]}, THREAD)
    return asked["messages"][-1].text, done["messages"][-1].text


def test_it_is_the_same_async(memory):
    import asyncio

    asked, done = asyncio.run(_told(agent(memory)))
    assert "Rex" in asked
    assert "receipt 1" in done


def test_a_graph_of_ones_own_does_so_with_two_nodes(memory):
    def model(state):
        return {"messages": [AIMessage("Well.")]}

    graph = StateGraph(MessagesState)
    graph.add_node("forget", forget_node(memory, ALICE))
    graph.add_node("model", model)
    graph.add_node("observe", observe_node(memory, ALICE))
    graph.add_conditional_edges(
        START, is_to_forget(memory, ALICE), {True: "forget", False: "model"}
    )
    graph.add_edge("forget", "observe")
    graph.add_edge("model", "observe")
    graph.add_edge("observe", END)
    running = graph.compile(checkpointer=InMemorySaver())
    assert "Rex" in says(running, "Can you delete everything about our dog?").text
    assert "receipt 1" in says(running, "Yes, forget it.").text
    assert texts(memory) == ["My phone number is 0151 2345678."]


@pytest.mark.parametrize(
    "reply", ["Yes?", "ok cool, keep it", "Okay, wait", "Yes, everything except the dog"]
)
def test_half_a_yes_agrees_to_nothing(reply):
    assert not agrees(reply)


def test_the_yes_must_be_of_who_asked(memory):
    running = agent(memory)
    ask = HumanMessage("Please forget my phone number.", name="ann")
    asked = running.invoke({"messages": [ask]}, THREAD)["messages"][-1]
    assert "0151" in asked.text
    other = running.invoke({"messages": [HumanMessage("Yes.", name="bob")]}, THREAD)
    assert other["messages"][-1].text == "Well."
    assert any("0151" in text for text in texts(memory))


def test_what_is_told_beside_is_not_what_is_forgotten(memory):
    running = agent(memory)
    asked = says(running, "Please forget my phone number. My sister Lea lives in Oslo.")
    assert "0151" in asked.text
    assert "Lea" not in asked.text
    says(running, "Yes.")
    assert any("Lea" in text for text in texts(memory))
    assert not any("0151" in text for text in texts(memory))


def test_why_it_cannot_be_forgotten_now_is_told_to_the_operator_alone(memory, caplog):
    running = agent(memory)
    says(running, "Please forget my phone number.")
    with memory._opened.night(ALICE):
        assert says(running, "Yes.").text == Phrases().later
    assert "running already" in caplog.text
    (event,) = memory.ledger.turns.events("memory failed")
    assert (event["what"], event["namespace"]) == ("forgetting", ["alice"])
    assert len(texts(memory)) == 2
    says(running, "Please forget my phone number.")
    assert "receipt 1" in says(running, "Yes.").text


def test_while_the_embeddings_fail_the_user_is_asked_to_ask_again(memory, monkeypatch):
    running = agent(memory)

    def fail(self, text):
        raise ConnectionError("no network")

    with monkeypatch.context() as patch:
        # A copy fails: that something is asked for is told by the default embeddings.
        failing = type("Failing", (type(memory.buffer.embeddings),), {"embed_query": fail})()
        patch.setattr(memory.buffer, "embeddings", failing)
        assert says(running, "Please forget my phone number.").text == Phrases().later
    assert len(texts(memory)) == 2
    assert "0151" in says(running, "Please forget my phone number.").text


def test_a_host_that_sends_all_of_it_again_brings_nothing_back(tmp_path):
    """Its messages have no ids, and its conversation no name."""
    secret, wish = "My phone number is 0151 2345678.", "Please forget my phone number."
    with SleepMemory.open(tmp_path / "m") as memory:
        model = GenericFakeChatModel(messages=iter([AIMessage("Well.") for _ in range(9)]))
        running = create_agent(model, middleware=[SleepMemoryMiddleware(memory, ALICE)])
        said = []

        def says(text):
            said.append(HumanMessage(text))
            sent = [one.model_copy() for one in said]
            told = running.invoke({"messages": sent})["messages"][-1]
            said.append(told.model_copy(update={"id": None}))
            return told.text

        says(secret)
        assert "0151" in says(wish)
        assert texts(memory) == [secret]
        assert "receipt 1" in says("Yes, please do.")
        assert texts(memory) == []
        says("I have a new phone.")
        said += [HumanMessage("It is red."), HumanMessage("It rings too often.")]
        says(said.pop().text)
        assert texts(memory) == ["I have a new phone.", "It is red.", "It rings too often."]
    for file in (tmp_path / "m").rglob("*"):
        assert not file.is_file() or b"2345678" not in file.read_bytes()
