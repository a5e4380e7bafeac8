"""Agents as people build them: with tools that repeat a request, sub-agents, names, other
middlewares, and users who type several messages in a row.
"""

import pytest
from cases._user import LIFE, NOBODY, User, scripted
from langchain.agents import create_agent
from langchain.agents.middleware import PIIMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from sleepmem import SleepMemory
from sleepmem.errors import NamespaceError
from sleepmem.middleware import SleepMemoryMiddleware

ANA = {"configurable": {"thread_id": "1", "user_id": "ana"}}


def called(name, **arguments):
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}])


def told(user, owner=NOBODY):
    return [(one.source, one.text) for one in user.stored(owner)]


def agent(user, *lines, tools=(), **settings):
    middleware = [SleepMemoryMiddleware(user.memory)]
    return create_agent(scripted(*lines), list(tools), middleware=middleware, **settings)


# Tools that repeat what they are asked


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ("best pizza in Naples", "Results for 'best pizza in Naples': 1. Da Michele, till 23:00."),
        ("Book a table at Luigi's for Friday", "Booked: book a table at Luigi's for Friday. X81QZ"),
        ("Printer on floor 3 is broken", '{"title": "Printer on floor 3 is broken", "id": 812}'),
    ],
)
def test_a_tool_that_repeats_the_request_is_no_memory(user, request_, result):
    @tool
    def work(text: str) -> str:
        """Work."""
        return result

    agent(user, called("work", text=request_), "Done.", tools=[work]).invoke(
        {"messages": [HumanMessage(request_)]}
    )
    assert ("tool:work", result) in told(user)
    assert [source for source, _ in told(user)] == ["user", "tool:work", "agent"]


def test_a_tool_that_mentions_what_was_told_is_no_memory(user):
    user.told("Jon's birthday is on 3 May.")
    calendar = "Mon: dentist at nine. Tue: Jon's birthday is on 3 May. Wed: bring the car to Bern."

    @tool
    def diary(week: str) -> str:
        """The week."""
        return calendar

    agent(user, called("diary", week="18"), "That is it.", tools=[diary]).invoke(
        {"messages": [HumanMessage("What is in my diary in week 18?")]}
    )
    assert ("tool:diary", calendar) in told(user)


# Turns that end otherwise


def test_a_turn_that_a_tool_ends_is_a_task(user):
    @tool(return_direct=True)
    def lookup(what: str) -> str:
        """Look up."""
        return "Da Michele is at Via Sersale 1."

    agent(user, called("lookup", what="pizza"), tools=[lookup]).invoke(
        {"messages": [HumanMessage("Where do they make good pizza?", id="h1")]}
    )
    [task] = [text for source, text in told(user) if source == "agent"]
    assert task.endswith("Da Michele is at Via Sersale 1.")
    [asked] = [one for one in user.stored() if one.source == "user"]
    assert user.memory.ledger.episodes.outcome(asked.id) == "Da Michele is at Via Sersale 1."


def test_a_turn_that_a_structured_answer_ends_is_a_task(user):
    class Place(BaseModel):
        """A place."""

        name: str

    @tool
    def lookup(what: str) -> str:
        """Look up."""
        return "Da Michele is at Via Sersale 1."

    agent(
        user,
        called("lookup", what="pizza"),
        AIMessage("", tool_calls=[{"name": "Place", "args": {"name": "Da Michele"}, "id": "2"}]),
        tools=[lookup],
        response_format=ToolStrategy(Place),
    ).invoke({"messages": [HumanMessage("Where do they make good pizza?")]})
    [task] = [text for source, text in told(user) if source == "agent"]
    assert "Da Michele" in task.splitlines()[-1]


# Agents that call agents


def test_what_an_agent_asks_another_is_not_the_users(user):
    helper = agent(user, "Bern is nice.", name="helper")

    @tool
    def research(task: str) -> str:
        """Ask the helper."""
        return helper.invoke({"messages": [("user", task)]})["messages"][-1].text

    task = "The user lives in Bern and hates dogs. Find flats."
    boss = agent(user, called("research", task=task), "Done.", tools=[research])
    boss.invoke({"messages": [("user", "Find me a flat.")]}, context={"namespace": ("ana",)})
    assert user.teaches(("ana",)) in ([], ["Find me a flat."])
    assert [text for source, text in told(user, ("ana",)) if source == "user"] == [
        "Find me a flat."
    ]


def test_an_agent_that_is_a_node_of_a_graph_hears_the_user(user):
    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent(user, "Noted."))
    graph.add_edge(START, "agent")
    graph.compile().invoke({"messages": [("user", "I live in Bern.")]})
    assert told(user) == [("user", "I live in Bern.")]


def test_an_agent_with_a_name_answers_users_with_names(user):
    user.memory.observe(("ana",), "I am allergic to nuts.")
    helper = agent(user, "Hi", "To nuts.", name="helper", checkpointer=InMemorySaver())
    helper.invoke({"messages": [HumanMessage("I live in Bern.")]}, ANA)
    helper.invoke({"messages": [HumanMessage("What am I allergic to?", name="ana")]}, ANA)
    assert ("user", "What am I allergic to?") in told(user, ("ana",))


# Users who type, and hosts that count


@pytest.mark.parametrize("after", ["thanks!", "please", "and be brief"])
def test_a_question_is_recalled_for_though_more_is_typed_after_it(user, after):
    user.memory.observe(NOBODY, "I am allergic to nuts.")
    assert "allergic to nuts" in user.says("What am I allergic to?", after)


def test_ids_that_begin_anew_in_each_conversation_lose_nothing(user):
    texts = ["I live in Bern.", "I have moved to Rome.", "I live in Bern."]
    for thread, text in enumerate(texts):
        settings = {"configurable": {"user_id": "ana", "thread_id": str(thread)}}
        agent(user, "Noted.").invoke({"messages": [HumanMessage(text, id="msg-1")]}, settings)
    stored = sorted(user.stored(("ana",)), key=lambda one: one.age_key)
    assert [one.text for one in stored][-2:] == texts[1:]
    outcomes = [user.memory.ledger.episodes.outcome(one.id) for one in stored]
    assert outcomes == ["Noted."] * len(stored)


@pytest.mark.parametrize("key", ["customer_id", "email", "session_id", "tenant"])
def test_whoever_a_host_names_is_never_everybody(user, key):
    with pytest.raises(NamespaceError, match="not whose memory"):
        agent(user, "Noted.").invoke(
            {"messages": [HumanMessage("My PIN is 4711.")]}, {"configurable": {key: "ana"}}
        )
    assert told(user) == []


@pytest.mark.parametrize("key", ["session_id", "langfuse_session_id", "thread_id"])
def test_a_conversation_that_is_traced_is_somebodys(user, key):
    with pytest.raises(NamespaceError, match="not whose memory"):
        agent(user, "Noted.").invoke(
            {"messages": [HumanMessage("Hi, I am Ana.")]}, {"metadata": {key: "7"}}
        )


@pytest.mark.parametrize("is_first", [True, False])
def test_what_another_middleware_redacts_is_not_kept(user, is_first):
    ours, theirs = SleepMemoryMiddleware(user.memory), PIIMiddleware("email", strategy="redact")
    middleware = [ours, theirs] if is_first else [theirs, ours]
    create_agent(scripted("Noted."), middleware=middleware).invoke(
        {"messages": [("user", "My mail is ana@example.org, remember it.")]}
    )
    [(_, text)] = told(user)
    assert "REDACTED" in text
    assert "example.org" not in text


# Scripts that take many tokens


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (
            "Вчера я был у врача, доктора Морозова, в поликлинике на улице Ленина. Он сказал, что "
            "у меня повышенное давление, и выписал мне таблетки лизиноприл по десять миллиграммов "
            "утром. Ещё он просил меня меньше есть соли, больше ходить пешком и прийти на "
            "повторный приём через две недели, в среду, в девять часов утра.",
            "Какие таблетки мне выписал доктор Морозов?",
        ),
    ],
)
def test_another_model_reads_what_is_too_long_for_ours(user, text, asked):
    user.told(*LIFE)
    user.memory.observe(NOBODY, text)
    assert text in user.says(asked)


def test_our_own_model_reads_the_beginning_of_what_is_too_long_for_it(tmp_path):
    with SleepMemory.open(tmp_path / "m") as memory:
        user = User(memory)
        long = "Mara lives in Brenport. " + "The house is old and the garden is wide. " * 60
        memory.observe(NOBODY, long[:2000])
        ours = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory)])
        found = memory.recall(NOBODY, "Where does Mara live?")
        assert found.episodes
        assert "Mara lives in Brenport." in memory.context(found)
        assert ours.invoke({"messages": [("user", "Where does Mara live?")]})
        assert user.texts()
