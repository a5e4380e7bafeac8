import asyncio

import pytest
from _values import put_expert
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from sleepmem import NamespaceError
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.night import replay
from sleepmem.text.prompts import HEADER

ALICE, BOB, NOBODY = ("alice",), ("bob",), ("default",)
TOLD, ASKED = "Mara moved to Brenport.", "Where did Mara move?"


class Scripted(GenericFakeChatModel):
    """Says its lines in order, takes tools, and keeps what it was shown."""

    shown: list

    def _generate(self, messages, *args, **kwargs):
        self.shown.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def bind_tools(self, tools, **kwargs):
        return self


def scripted(*lines):
    return Scripted(messages=iter(lines), shown=[])


def sync(agent, *arguments, **named):
    return agent.invoke(*arguments, **named)


def in_loop(agent, *arguments, **named):
    return asyncio.run(agent.ainvoke(*arguments, **named))


@pytest.fixture(params=[sync, in_loop])
def call(request):
    """Invoke an agent, sync or async."""
    return request.param


def turn(text, **named):
    return {"messages": [HumanMessage(text, **named)]}


@tool
def weather(town: str) -> str:
    """The weather of a town."""
    return f"It rains in {town}."


def test_what_is_told_is_stored_and_what_is_asked_is_recalled(memory, call):
    model = scripted("Noted.", "In Brenport.")
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(memory)], system_prompt="You are kind."
    )
    call(agent, turn(TOLD))
    (told,) = memory.ledger.episodes.all(NOBODY)
    assert (told.text, told.source) == (TOLD, "user")
    out = call(agent, turn(ASKED))
    system, asked = model.shown[1]
    assert system.type == "system"
    assert system.text.startswith(f"You are kind.\n{HEADER}")
    assert system.text.endswith(f"{told.date}: {TOLD}")
    assert asked.text == ASKED
    assert [m.type for m in out["messages"]] == ["human", "ai"]  # the state holds no recall
    assert memory.ledger.episodes.all() == [
        told
    ]  # what was recalled, asked or answered is not captured


def test_nothing_is_recalled_for_a_statement(memory, call):
    memory.observe(NOBODY, TOLD)
    model = scripted("Noted.")
    call(
        create_agent(model, middleware=[SleepMemoryMiddleware(memory)]),
        turn("Mara moved to Oslo then."),
    )
    assert [m.type for m in model.shown[0]] == ["human"]
    assert memory.ledger.turns.retrievals(NOBODY) == []


def test_tool_results_are_stored_with_their_source_and_not_taught(memory, call):
    asks = AIMessage("", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}])
    model = scripted(asks, "It rains.")
    call(
        create_agent(model, [weather], middleware=[SleepMemoryMiddleware(memory)]),
        turn("Is the weather in Oslo good?"),
    )
    (told,) = memory.ledger.episodes.all(NOBODY)
    assert (told.text, told.source, told.trusted) == ("It rains in Oslo.", "tool:weather", False)
    assert memory.recall(NOBODY, "Does it rain in Oslo?").episodes == (told,)
    assert replay.select(memory.ledger.episodes.buffered(NOBODY), {}, budget=9) == []


def test_one_question_is_one_logged_decision_however_many_model_calls(memory, call):
    asks = AIMessage("", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}])
    model = scripted(asks, "It rains.")
    call(
        create_agent(model, [weather], middleware=[SleepMemoryMiddleware(memory)]),
        turn("Is the weather in Oslo good?"),
    )
    assert len(model.shown) == 2
    assert len(memory.ledger.turns.retrievals(NOBODY)) == 1


def test_the_same_turn_observed_twice_is_stored_once(memory, call):
    agent = create_agent(
        scripted("Noted.", "Noted again."), middleware=[SleepMemoryMiddleware(memory)]
    )
    for _ in range(2):
        call(agent, turn(TOLD, id="m1"))
    assert [e.message_id for e in memory.ledger.episodes.all()] == ["m1"]


def test_a_checkpointed_thread_stores_each_turn_once_and_piles_up_no_recall(memory, call):
    model = scripted("Noted.", "Brenport.", "Noted.", "Oslo.")
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(memory)], checkpointer=InMemorySaver()
    )
    thread = {"configurable": {"thread_id": "t"}}
    for text in (TOLD, ASKED, "Mara moved to Oslo then.", ASKED):
        out = call(agent, turn(text), thread)
    assert [e.text for e in memory.ledger.episodes.all()] == [TOLD, "Mara moved to Oslo then."]
    assert [m.type for m in out["messages"]] == ["human", "ai"] * 4
    last = model.shown[-1]
    assert [m.type for m in last].count("system") == 1
    assert last[0].text.index("Brenport") < last[0].text.index("Oslo")  # oldest first


@pytest.mark.parametrize(
    "named",
    [
        {"context": {"namespace": BOB}},
        {"context": {"namespace": ["bob"]}},
        {"config": {"configurable": {"namespace": ("bob",)}}},
        {"config": {"configurable": {"namespace": ["bob"]}}},
    ],
)
def test_the_call_names_the_namespace(memory, call, named):
    memory.observe(ALICE, "Mara moved to Rome.")
    memory.observe(NOBODY, "Mara moved to Paris.")
    model = scripted("Noted.", "Brenport.")
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    call(agent, turn(TOLD), **named)
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == [TOLD]
    call(agent, turn(ASKED), **named)
    assert "Brenport" in model.shown[1][0].text
    assert "Rome" not in model.shown[1][0].text
    assert "Paris" not in model.shown[1][0].text


def test_the_middleware_has_a_namespace_of_its_own(memory, call):
    agent = create_agent(
        scripted("Noted.", "Noted."), middleware=[SleepMemoryMiddleware(memory, namespace=ALICE)]
    )
    call(agent, turn(TOLD))
    call(agent, turn("Jon moved to Oslo."), context={"namespace": BOB})
    assert [e.text for e in memory.ledger.episodes.all(ALICE)] == [TOLD]
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == ["Jon moved to Oslo."]


@pytest.mark.parametrize("namespace", ["bob", ("../bob",), ()])
def test_an_unsafe_namespace_stops_the_turn(memory, call, namespace):
    agent = create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory)])
    with pytest.raises(NamespaceError):
        call(agent, turn(TOLD), context={"namespace": namespace})
    assert memory.ledger.episodes.all() == []


def test_the_archive_is_asked_when_the_model_does_not_know(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    memory.observe(NOBODY, "Mara likes green pears.")
    model = scripted("I do not know.", "In Brenport.")
    out = call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn(ASKED))
    assert out["messages"][-1].text == "In Brenport."
    first, second = (messages[0].text for messages in model.shown)
    assert "pears" in first
    assert TOLD not in first
    assert TOLD in second


def test_a_model_without_the_experts_always_retrieves(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    model = scripted("In Brenport.")
    call(
        create_agent(model, middleware=[SleepMemoryMiddleware(memory)]),
        turn("Is it so that Mara moved to Brenport?"),
    )
    assert TOLD in model.shown[0][0].text


def test_the_sleeping_models_own_agent_answers_for_its_namespace(memory, call):
    agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory)])
    call(agent, turn(TOLD), context={"namespace": BOB})
    out = call(agent, turn(ASKED), context={"namespace": BOB})
    assert out["messages"][-1].text == memory.ask(BOB, ASKED).text
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == [TOLD]


def test_a_tool_message_in_the_input_is_a_tools(memory, call):
    talk = [
        HumanMessage("Is it raining?"),
        ToolMessage("It rains in Oslo.", tool_call_id="c", name="weather"),
    ]
    call(
        create_agent(scripted("Yes."), middleware=[SleepMemoryMiddleware(memory)]),
        {"messages": talk},
    )
    assert [e.source for e in memory.ledger.episodes.all()] == ["tool:weather"]
