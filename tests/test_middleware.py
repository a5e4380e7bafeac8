import asyncio
import math
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from _values import put_expert
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    SummarizationMiddleware,
    before_agent,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from sleepmem import NamespaceError
from sleepmem.day.chat import LLM_TYPE
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.model.local import Reply
from sleepmem.night import teachable
from sleepmem.records import Recall, View, local_now
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
    # What was recalled or answered is no episode.
    assert [e.text for e in memory.ledger.episodes.all()] == [TOLD, ASKED]


@pytest.mark.parametrize(
    "text", ["Mara did move to Oslo after Brenport.", "Write to Mara that I move to Brenport, too."]
)
def test_whatever_the_user_says_recalls(memory, call, text):
    memory.observe(NOBODY, TOLD)
    model = scripted("Noted.")
    call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn(text))
    assert TOLD in model.shown[0][0].text
    assert text not in model.shown[0][0].text
    assert [row["question"] for row in memory.ledger.turns.retrievals(NOBODY)] == [text]


def test_a_greeting_recalls_nothing_and_is_no_episode(memory, call):
    memory.observe(NOBODY, TOLD)
    model = scripted("Hello!")
    call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn("Good morning!"))
    assert [m.type for m in model.shown[0]] == ["human"]
    assert memory.ledger.turns.retrievals(NOBODY) == []
    assert [e.text for e in memory.ledger.episodes.all()] == [TOLD]


def test_what_stands_in_the_conversation_is_not_recalled(memory, call):
    model = scripted("Noted.", "In Brenport.")
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(memory, ALICE)], checkpointer=InMemorySaver()
    )
    thread = {"configurable": {"thread_id": "t"}}
    for text in (TOLD, ASKED):
        call(agent, turn(text), thread)
    assert [m.type for m in model.shown[1]] == ["human", "ai", "human"]


def test_the_users_words_are_stored_before_the_model_speaks(memory, call):
    class Dead(Scripted):
        def _generate(self, messages, *args, **kwargs):
            raise TimeoutError("the model does not answer")

    agent = create_agent(
        Dead(messages=iter([]), shown=[]), middleware=[SleepMemoryMiddleware(memory)]
    )
    with pytest.raises(TimeoutError):
        call(agent, turn(TOLD))
    (told,) = memory.ledger.episodes.all()
    assert (told.text, memory.ledger.episodes.outcome(told.id)) == (TOLD, None)


def test_what_came_of_a_turn_is_kept(memory, call):
    agent = create_agent(scripted("In Brenport."), middleware=[SleepMemoryMiddleware(memory)])
    call(agent, turn(ASKED))
    (asked,) = memory.ledger.episodes.all()
    assert memory.ledger.episodes.outcome(asked.id) == "In Brenport."


def test_speaker_thread_answer_and_day_are_kept(memory, call):
    agent = create_agent(
        scripted("Which boat?", "Noted."),
        middleware=[SleepMemoryMiddleware(memory, ALICE)],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "t", "timezone": "Pacific/Kiritimati"}}
    call(agent, turn("I want to sell the boat.", name="Mara"), config)
    call(agent, turn("The red one near the harbour.", name="Jon"), config)
    first, second = memory.ledger.episodes.all(ALICE)
    assert (first.speaker, first.thread, first.answers) == ("Mara", "t", None)
    assert (second.speaker, second.thread, second.answers) == ("Jon", "t", "Which boat?")
    assert second.day == datetime.now(ZoneInfo("Pacific/Kiritimati")).date().isoformat()


def test_the_model_is_told_the_day_and_who_speaks(memory, call):
    memory.observe(NOBODY, TOLD)
    model = scripted("In Brenport.")
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    call(agent, turn(ASKED, name="Jon"))
    assert f"Today is {local_now()[:10]}. Jon speaks." in model.shown[0][0].text


def test_tool_results_are_stored_with_their_source_and_not_taught(memory, call):
    asks = AIMessage("", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}])
    model = scripted(asks, "It rains.")
    call(
        create_agent(model, [weather], middleware=[SleepMemoryMiddleware(memory)]),
        turn("Is the weather in Oslo good?"),
    )
    told = {e.source: e for e in memory.ledger.episodes.all(NOBODY)}
    assert set(told) == {"user", "tool:weather", "agent"}
    assert told["tool:weather"].text == "It rains in Oslo."
    assert 'weather({"town": "Oslo"}) -> It rains in Oslo.' in told["agent"].text
    assert [source for source, one in told.items() if one.trusted] == ["user"]
    assert told["tool:weather"] in memory.recall(NOBODY, "Does it rain in Oslo?").episodes
    buffered = memory.ledger.episodes.buffered(NOBODY)
    sorted_out = teachable.sort(buffered, memory.config.policy, untrusted=False)
    assert [one.id for one in sorted_out.episodes] == [told["user"].id]
    assert {one.rule for one in sorted_out.held} == {"source"}


def test_a_structured_answer_is_no_tools_result(memory, call):
    class Weather(BaseModel):
        town: str

    calls = AIMessage("", tool_calls=[{"name": "Weather", "args": {"town": "Oslo"}, "id": "c"}])
    agent = create_agent(
        scripted(calls),
        middleware=[SleepMemoryMiddleware(memory)],
        response_format=ToolStrategy(Weather),
    )
    out = call(agent, turn("Which town has the good weather?"))
    assert out["structured_response"].town == "Oslo"
    assert [e.source for e in memory.ledger.episodes.all()] == ["user"]


def test_of_the_error_of_a_tool_only_the_task_tells(memory, call):
    asks = AIMessage("", tool_calls=[{"name": "weather", "args": {"place": 1}, "id": "c1"}])
    agent = create_agent(
        scripted(asks, "I do not know."), [weather], middleware=[SleepMemoryMiddleware(memory)]
    )
    call(agent, turn("Is the weather in Oslo good?"))
    assert [e.source for e in memory.ledger.episodes.all()] == ["user", "agent"]
    assert memory.ledger.episodes.all()[1].text.splitlines()[1].endswith(" -> failed")


def test_a_summary_is_not_what_the_user_said(memory, call):
    model = scripted("Noted.", "Noted.", "Noted.")
    agent = create_agent(
        model,
        middleware=[
            SleepMemoryMiddleware(memory, ALICE),
            SummarizationMiddleware(
                scripted("Mara lives in Rome."), trigger=("messages", 4), keep=("messages", 1)
            ),
        ],
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "t"}}
    said = [TOLD, "Jon has a red boat.", "Jon sold the red boat again."]
    for text in said:
        out = call(agent, turn(text), thread)
    assert any("summary of the conversation" in m.text for m in out["messages"])
    assert [e.text for e in memory.ledger.episodes.all(ALICE)] == said


@before_agent(can_jump_to=["end"])
def guardrail(state, runtime):
    """Blocks whoever says a number of a card."""
    if "4111" in state["messages"][-1].text:
        return {"messages": [AIMessage("I must not read that.")], "jump_to": "end"}
    return None


@pytest.mark.parametrize("first", [True, False])
def test_what_a_guardrail_blocks_is_never_stored(memory, call, first):
    ours = SleepMemoryMiddleware(memory, ALICE)
    agent = create_agent(
        scripted("Noted.", "In Brenport.", "Noted."),
        middleware=[guardrail, ours] if first else [ours, guardrail],
        checkpointer=InMemorySaver(),
    )
    said = [TOLD, "My card is 4111 1111.", "Jon has a boat.", "It is 4111 1111, really.", ASKED]
    for text in said:
        out = call(agent, turn(text), {"configurable": {"thread_id": "t"}})
        assert "sleepmem_heard" not in out
    assert told_of(memory, ALICE) == [TOLD, "Jon has a boat.", ASKED]
    assert memory.verify() == []


def test_without_a_conversation_a_blocked_turn_is_not_stored_either(memory, call):
    agent = create_agent(
        scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, ALICE), guardrail]
    )
    call(agent, turn("My card is 4111 1111."))
    call(agent, turn(TOLD))
    assert told_of(memory, ALICE) == [TOLD]


def test_a_blocked_turn_of_one_user_is_not_told_by_the_next(memory, call):
    agent = create_agent(
        scripted("Noted."),
        middleware=[SleepMemoryMiddleware(memory), guardrail],
        checkpointer=InMemorySaver(),
    )
    call(agent, turn("My card is 4111 1111."), channel("alice"))
    call(agent, turn(TOLD), channel("bob"))
    assert (told_of(memory, ALICE), told_of(memory, BOB)) == ([], [TOLD])


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
    for town in ("Brenport", "Oslo"):
        memory.observe(ALICE, f"Mara moved to {town}.")
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(memory, ALICE)], checkpointer=InMemorySaver()
    )
    thread = {"configurable": {"thread_id": "t"}}
    turns = ["Jon has a boat.", ASKED, "Jon sold the boat.", "So where did Mara move?"]
    for text in turns:
        out = call(agent, turn(text), thread)
    assert [e.text for e in memory.ledger.episodes.all()][2:] == turns
    assert [m.type for m in out["messages"]] == ["human", "ai"] * 4
    last = model.shown[-1]
    assert [m.type for m in last].count("system") == 1
    assert last[0].text.index("Brenport") < last[0].text.index("Oslo")  # oldest first


def channel(user):
    """A conversation that several users share."""
    return {"configurable": {"thread_id": "channel", "user_id": user}}


def told_of(memory, owner):
    return [e.text for e in memory.ledger.episodes.all(owner) if e.source == "user"]


def test_in_a_shared_conversation_nobodys_words_become_anothers(memory, call):
    rains = AIMessage("", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}])
    hers = ["How is the weather in Oslo, where I live?", "I am allergic to nuts.", "Hi!"]
    agent = create_agent(
        scripted(rains, "It rains.", *["Noted."] * 9),
        [weather],
        middleware=[SleepMemoryMiddleware(memory)],
        checkpointer=InMemorySaver(),
    )
    # Said again at once, it is no second episode.
    memory.observe(ALICE, hers[1], thread="channel")
    for user, text in [
        *(("alice", text) for text in (hers[1], hers[0], hers[2])),
        ("bob", "I live in Rome."),
        ("alice", "I sold my boat."),
        ("bob", "I have a dog."),
    ]:
        call(agent, turn(text), channel(user))
    assert told_of(memory, BOB) == ["I live in Rome.", "I have a dog."]
    assert told_of(memory, ALICE) == [hers[1], hers[0], "I sold my boat."]
    kinds = {e.source for e in memory.ledger.episodes.all(ALICE)}
    assert kinds == {"user", "tool:weather", "agent"}
    assert {e.source for e in memory.ledger.episodes.all(BOB)} == {"user"}


def test_what_was_forgotten_of_one_user_is_not_told_by_the_next(memory, call):
    agent = create_agent(
        scripted(*["Noted."] * 9),
        middleware=[SleepMemoryMiddleware(memory)],
        checkpointer=InMemorySaver(),
    )
    call(agent, turn("I am allergic to nuts."), channel("alice"))
    memory.forget(ALICE, episodes=[e.id for e in memory.ledger.episodes.all(ALICE)])
    call(agent, turn("I live in Rome."), channel("bob"))
    assert told_of(memory, ALICE) == []
    assert told_of(memory, BOB) == ["I live in Rome."]


def test_a_turn_that_failed_is_not_the_next_users(memory, call):
    class Flaky(Scripted):
        def _generate(self, messages, *args, **kwargs):
            if "nuts" in messages[-1].text:
                raise TimeoutError("the model does not answer")
            return super()._generate(messages, *args, **kwargs)

    agent = create_agent(
        Flaky(messages=iter(["Noted."] * 9), shown=[]),
        middleware=[SleepMemoryMiddleware(memory)],
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(TimeoutError):
        call(agent, turn("I am allergic to nuts."), channel("alice"))
    call(agent, turn("I live in Rome."), channel("bob"))
    assert told_of(memory, ALICE) == ["I am allergic to nuts."]
    assert told_of(memory, BOB) == ["I live in Rome."]


def test_a_turn_that_another_user_lets_go_on_stays_whose_it_is(memory, call):
    agent = asking(memory)
    call(agent, turn(TOLD), channel("alice"))
    call(agent, Command(resume="You may."), channel("bob"))
    assert told_of(memory, ALICE) == [TOLD]
    assert memory.ledger.episodes.all(BOB) == []


@dataclass
class Context:
    user_id: str | None = None
    namespace: tuple[str, ...] | None = None


class Model(BaseModel):
    user_id: str | None = None


@pytest.mark.parametrize(
    "named",
    [
        {"context": {"namespace": BOB}},
        {"context": {"namespace": ["bob"]}},
        {"context": {"user_id": "bob"}},
        {"context": Context(user_id="bob")},
        {"context": Context(namespace=BOB)},
        {"context": Model(user_id="bob")},
        {"config": {"configurable": {"namespace": ("bob",)}}},
        {"config": {"configurable": {"namespace": ["bob"]}}},
        {"config": {"configurable": {"user_id": "bob", "thread_id": "t"}}},
        {"config": {"configurable": {"langgraph_user_id": "bob"}}},
        {"config": {"configurable": {"langgraph_auth_user": {"identity": "bob"}}}},
        {
            "config": {
                "configurable": {"langgraph_auth_user": {"identity": "bob"}, "user_id": "alice"}
            }
        },
        {"context": {"namespace": BOB}, "config": {"configurable": {"user_id": "alice"}}},
        {"context": Context(), "config": {"configurable": {"user_id": "bob"}}},
    ],
)
def test_the_call_names_the_owner(memory, call, named):
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


@pytest.mark.parametrize(
    ("namespace", "owner"),
    [
        (("app", "{user_id}"), ("app", "bob")),
        (("{org}", "{user_id}"), ("acme", "bob")),
        (lambda runtime: ("app", runtime.context["user_id"]), ("app", "bob")),
        (lambda runtime: runtime.context["org"], ("acme",)),
        (("{{", "}}"), ("{", "}")),
        (lambda runtime: None, ("bob",)),
    ],
)
def test_a_template_or_a_function_names_the_owner(memory, call, namespace, owner):
    agent = create_agent(
        scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, namespace=namespace)]
    )
    call(agent, turn(TOLD), context={"user_id": "bob", "org": "acme"})
    assert memory.ledger.episodes.namespaces() == [owner]


@pytest.mark.parametrize(
    ("namespace", "named"),
    [
        (None, {"config": {"configurable": {"thread_id": "t"}}}),
        (None, {"config": {"configurable": {"user_id": ""}}}),
        (None, {"context": {"tenant": "acme"}}),
        (None, {"context": Context()}),
        (("app", "{user_id}"), {}),
        (("app", "{user_id}"), {"context": {"user_id": None}}),
        (("app", "{user_id}"), {"context": Context()}),
        (("app", "{user_id}"), {"config": {"configurable": {"user_id": ""}}}),
        (("{org}", "{user_id}"), {"context": {"user_id": "bob"}}),
        (("{user.name}",), {"context": {"user": {"id": "bob"}}}),
        (("{user[id]}",), {"context": {"user": {"id": None}}}),
        (None, {"context": {"langgraph_auth_user": {"identity": "bob"}}}),
        (("{langgraph_auth_user_id}",), {"context": {"langgraph_auth_user_id": "bob"}}),
        (lambda runtime: None, {"config": {"configurable": {"thread_id": "t"}}}),
    ],
)
def test_a_run_that_names_no_owner_is_refused(memory, call, namespace, named):
    agent = create_agent(
        scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, namespace=namespace)]
    )
    with pytest.raises(NamespaceError):
        call(agent, turn(TOLD), **named)
    assert memory.ledger.episodes.all() == []


MALLORY = {
    "configurable": {
        "langgraph_auth_user": {"identity": "mallory"},
        "langgraph_auth_user_id": "mallory",
    }
}


@pytest.mark.parametrize(
    "context",
    [
        {"langgraph_auth_user": {"identity": "bob"}},
        {"langgraph_auth_user_id": "bob"},
        {"langgraph_user_id": "bob"},
        {"user_id": "bob"},
    ],
)
@pytest.mark.parametrize("namespace", [None, ("{user_id}",), ("{langgraph_auth_user_id}",)])
def test_no_context_is_somebody_else_than_who_is_authenticated(memory, call, context, namespace):
    memory.observe(BOB, TOLD)
    model = scripted("I do not know.")
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory, namespace)])
    call(agent, turn(ASKED), MALLORY, context=context)
    assert [m.type for m in model.shown[0]] == ["human"]
    assert [e.text for e in memory.ledger.episodes.all(("mallory",))] == [ASKED]


@pytest.mark.parametrize(
    ("namespace", "config"),
    [
        (None, MALLORY),
        (ALICE, MALLORY),
        (("app", "{user_id}"), MALLORY),
        (("app", "{user_id}"), {"configurable": {"user_id": "alice"}}),
        (lambda runtime: ALICE, {}),
        (lambda runtime: None, MALLORY),
    ],
)
def test_a_caller_cannot_ask_for_anothers_namespace(memory, call, namespace, config):
    agent = create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, namespace)])
    with pytest.raises(NamespaceError, match="this run asks for the memory of"):
        call(agent, turn(TOLD), config, context={"namespace": BOB})
    assert memory.ledger.episodes.all() == []


@pytest.mark.parametrize(
    ("namespace", "named"),
    [
        (None, ("mallory",)),
        (("app", "{user_id}"), ("app", "mallory")),
        (lambda runtime: runtime.context["namespace"], BOB),
    ],
)
def test_a_caller_may_name_the_namespace_that_it_is(memory, call, namespace, named):
    agent = create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, namespace)])
    call(agent, turn(TOLD), MALLORY, context={"namespace": named})
    assert memory.ledger.episodes.namespaces() == [named]


@pytest.mark.parametrize("part", ["{}", "{user_id", "user_id}", "{0}", "{ user_id }", "{", "{!r}"])
def test_a_template_that_fills_nobody_in_is_refused_at_once(memory, part):
    with pytest.raises(NamespaceError, match="names nothing to fill in"):
        SleepMemoryMiddleware(memory, namespace=("app", part))


@pytest.mark.parametrize("zone", ["Europe", "../../etc/passwd", "Nowhere/Town", "\0", 5])
def test_a_timezone_that_is_none_costs_no_turn(memory, call, zone):
    agent = create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory, ALICE)])
    call(agent, turn(TOLD), {"configurable": {"timezone": zone}})
    (told,) = memory.ledger.episodes.all(ALICE)
    assert told.day == local_now()[:10]


@tool
def approve() -> str:
    """Ask the user."""
    return str(interrupt("May I?"))


def asking(memory, namespace=None):
    """An agent that asks whether it may, and then is done."""
    asks = AIMessage("", tool_calls=[{"name": "approve", "args": {}, "id": "c1"}])
    return create_agent(
        scripted(asks, "Done."),
        [approve],
        middleware=[SleepMemoryMiddleware(memory, namespace)],
        checkpointer=InMemorySaver(),
    )


def test_a_turn_that_goes_on_keeps_its_owner(memory, call):
    agent = asking(memory)
    named = {"configurable": {"thread_id": "t", "user_id": "bob"}}
    call(agent, turn(TOLD), named)
    call(agent, Command(resume="You may."), {"configurable": {"thread_id": "t"}})
    assert memory.ledger.episodes.namespaces() == [BOB]
    (told, *_) = memory.ledger.episodes.all(BOB)
    assert memory.ledger.episodes.outcome(told.id) == "Done."


@pytest.mark.parametrize("text", ["Hi!", TOLD])
@pytest.mark.parametrize("namespace", [None, ("{user_id}",)])
def test_a_turn_of_which_nothing_was_stored_keeps_its_owner(memory, call, text, namespace):
    memory.observe(BOB, TOLD)  # said again at once, it is no second episode
    for thread in ("one", "two"):
        agent = asking(memory, namespace)
        call(agent, turn(text), {"configurable": {"thread_id": thread, "user_id": "bob"}})
        out = call(agent, Command(resume="You may."), {"configurable": {"thread_id": thread}})
        assert out["messages"][-1].text == "Done."
    assert memory.ledger.episodes.namespaces() == [BOB]


def test_a_turn_goes_on_for_nobody_but_who_is_authenticated(memory, call):
    agent = asking(memory, ("{org}", "{user_id}"))
    named = {"configurable": {"thread_id": "t", "user_id": "bob", "org": "acme"}}
    call(agent, turn(TOLD), named)
    thread = {"configurable": {**MALLORY["configurable"], "thread_id": "t"}}
    with pytest.raises(NamespaceError, match="asks for org"):
        call(agent, Command(resume="You may."), thread)


def test_the_middleware_has_a_namespace_of_its_own(memory, call):
    agent = create_agent(
        scripted("Noted.", "Noted."), middleware=[SleepMemoryMiddleware(memory, namespace=ALICE)]
    )
    call(agent, turn(TOLD))
    call(agent, turn("Jon moved to Oslo."), context={"namespace": BOB})
    assert [e.text for e in memory.ledger.episodes.all(ALICE)] == [TOLD]
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == ["Jon moved to Oslo."]


@pytest.mark.parametrize("namespace", ["bob", ("b" * 513,), ()])
def test_what_names_no_owner_stops_the_turn(memory, call, namespace):
    agent = create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory)])
    with pytest.raises(NamespaceError):
        call(agent, turn(TOLD), context={"namespace": namespace})
    assert memory.ledger.episodes.all() == []


def unknowing(memory, *replies):
    """The memory's own chat model, which says these instead; and what it was shown."""
    shown, left = [], list(replies)

    def reply(chats, experts=(), **settings):
        shown.append(chats[0].messages)
        return [Reply(left.pop(0), 1.0)]

    memory.local.reply = reply
    without_files = {"live": lambda namespace: ()}
    return memory.chat_model().model_copy(update=without_files), shown


def test_everything_is_read_when_the_weights_do_not_know(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    model, shown = unknowing(memory, "I do not know.", "In Brenport.")
    question = "Is it so that Mara moved to Brenport?"
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    out = call(agent, turn(question))
    assert [m.text for m in out["messages"]] == [question, "In Brenport."]
    first, second = shown
    assert [m["role"] for m in first] == ["user"]
    assert f"{told.date}: {TOLD}" in second[0]["content"]
    assert question not in second[0]["content"]
    assert [row["look"] for row in memory.ledger.turns.retrievals(NOBODY)] == ["first", "again"]


class Provider(Scripted):
    """As `Scripted`; as clients of providers do, it refuses what it does not know."""

    def _generate(self, messages, stop=None, run_manager=None):
        return super()._generate(messages, stop, run_manager)


def failing(memory):
    """The memory's own chat model, whose machine is down."""

    def reply(chats, experts=(), **settings):
        raise TimeoutError("the model does not answer")

    memory.local.reply = reply
    return memory.chat_model().model_copy(update={"live": lambda namespace: ()})


def test_a_model_that_steps_in_for_the_memorys_own_reads_what_the_weights_hold(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    other = Provider(messages=iter(["Who is Mara?", "In Brenport."]), shown=[])
    agent = create_agent(
        failing(memory), middleware=[SleepMemoryMiddleware(memory), ModelFallbackMiddleware(other)]
    )
    answer = call(agent, turn("Is it so that Mara moved to Brenport?"))["messages"][-1]
    assert answer.text == "In Brenport."
    assert [TOLD in messages[0].text for messages in other.shown] == [False, True]
    assert answer.response_metadata["sleepmem"]["view"] == "retrieval"


def test_no_answer_of_a_model_that_steps_in_is_said_to_be_of_the_weights(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    other = Provider(messages=iter(["Who is Mara?"]), shown=[])
    agent = create_agent(
        failing(memory), middleware=[SleepMemoryMiddleware(memory), ModelFallbackMiddleware(other)]
    )
    # What is asked stands in the conversation: nothing is left to be read.
    said = {
        "messages": [
            HumanMessage(TOLD),
            AIMessage("Noted."),
            HumanMessage("Is it so that Mara moved to Brenport?"),
        ]
    }
    answer = call(agent, said)["messages"][-1]
    assert answer.text == "Who is Mara?"
    assert "sleepmem" not in answer.response_metadata


class Home(BaseModel):
    town: str


class Structured(Scripted):
    """As `Scripted`; it is the memory's own for the middleware."""

    namespace: tuple[str, ...] | None = None
    view: View | None = None

    @property
    def _llm_type(self):
        return LLM_TYPE


@pytest.mark.parametrize(("sure", "looks"), [(1.0, ["first"]), (0.0, ["first", "again"])])
def test_a_structured_answer_of_which_the_weights_are_not_sure_is_asked_again(
    memory, call, sure, looks
):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    lines = []
    for number, town in enumerate(["Rome", "Brenport"]):
        called = {"name": "Home", "args": {"town": town}, "id": f"c{number}"}
        metadata = {"experts": ["one"], "confidence": sure, "abstention": -math.inf}
        lines.append(AIMessage("", tool_calls=[called], response_metadata=metadata))
    agent = create_agent(
        Structured(messages=iter(lines), shown=[]),
        middleware=[SleepMemoryMiddleware(memory)],
        response_format=ToolStrategy(Home),
    )
    out = call(agent, turn("Is it so that Mara moved to Brenport?"))
    assert [row["look"] for row in memory.ledger.turns.retrievals(NOBODY)] == looks
    assert out["structured_response"].town == ("Rome" if sure else "Brenport")


def test_a_second_look_reads_nothing_that_stands_in_the_conversation(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    model, shown = unknowing(memory, "I do not know.", "Noted.")
    text = "It is so that Mara moved to Brenport."
    agent = create_agent(model, middleware=[SleepMemoryMiddleware(memory)])
    call(agent, turn(text))
    assert len(shown) == 2
    assert text not in shown[1][0]["content"]


def test_a_call_of_a_tool_is_no_answer_that_a_second_look_takes_back(memory):
    first = Recall(View.WEIGHTS, "it is known")
    called = AIMessage("", tool_calls=[{"name": "look_up", "args": {}, "id": "1"}])
    assert not memory.may_look_again(NOBODY, first, reply=called)
    assert memory.may_look_again(NOBODY, first, reply=AIMessage("I do not know."))


def test_what_was_answered_from_memories_stands(memory, call):
    memory.observe(NOBODY, TOLD)
    model = scripted("I do not know.")
    out = call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn(ASKED))
    assert out["messages"][-1].text == "I do not know."
    assert TOLD in model.shown[0][0].text


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
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == [TOLD, ASKED]
    with memory.ledger.database.write() as db:
        db.execute("DELETE FROM episodes WHERE text = ?", [ASKED])
    assert out["messages"][-1].text == memory.ask(BOB, ASKED).text


def test_a_tool_message_in_the_input_is_a_tools(memory, call):
    talk = [
        HumanMessage("Is it raining?"),
        ToolMessage("It rains in Oslo.", tool_call_id="c", name="weather"),
    ]
    call(
        create_agent(scripted("Yes."), middleware=[SleepMemoryMiddleware(memory)]),
        {"messages": talk},
    )
    assert {e.source for e in memory.ledger.episodes.all()} == {"user", "tool:weather"}


# What fails


@pytest.mark.parametrize("text", ["Is it so that Mara moved to Brenport?", "Hello!"])
def test_no_expert_answers_that_the_gate_did_not_choose(memory, call, monkeypatch, text):
    told = memory.observe(NOBODY, TOLD)
    expert = put_expert(memory, NOBODY, [told.id])
    model, _ = unknowing(memory, "Well.")
    model = model.model_copy(update={"live": lambda owner: (expert.name,)})

    def fail(*asked, **how):
        raise ConnectionError("no route to the index")

    monkeypatch.setattr(memory.buffer, "near_known", fail)
    out = call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn(text))
    assert out["messages"][-1].response_metadata["experts"] == []


def broken(memory, monkeypatch):
    """From now on nothing can be embedded."""

    def fail(*texts):
        raise ConnectionError("no route to the embeddings")

    monkeypatch.setattr(type(memory.embeddings), "embed_query", fail)
    monkeypatch.setattr(type(memory.embeddings), "embed_documents", fail)


def test_a_turn_goes_on_without_embeddings(memory, call, monkeypatch):
    memory.observe(NOBODY, TOLD)
    broken(memory, monkeypatch)
    model = scripted("I do not know.")
    out = call(create_agent(model, middleware=[SleepMemoryMiddleware(memory)]), turn(ASKED))
    assert out["messages"][-1].text == "I do not know."
    assert TOLD in model.shown[0][0].text
    assert [e.text for e in memory.ledger.episodes.all()] == [TOLD, ASKED]
    assert memory.status()[0]["failures"] >= 1


def test_a_turn_goes_on_without_a_ledger(memory, call, caplog):
    memory.ledger.close()
    out = call(
        create_agent(scripted("Noted."), middleware=[SleepMemoryMiddleware(memory)]), turn(TOLD)
    )
    assert out["messages"][-1].text == "Noted."
    assert "observing a turn failed" in caplog.text


# The agent's own system message


def test_the_blocks_of_a_system_message_stay_as_they_are(memory, call):
    memory.observe(NOBODY, TOLD)
    model = scripted("In Brenport.")
    kind = {"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral"}}
    agent = create_agent(
        model,
        middleware=[SleepMemoryMiddleware(memory)],
        system_prompt=SystemMessage([kind]),
    )
    call(agent, turn(ASKED))
    first, second = model.shown[0][0].content
    assert first == kind
    assert TOLD in second["text"]


def test_tools_that_are_described_as_openai_does_are_the_agents_own(memory, call):
    described = {"type": "function", "function": {"name": "search", "parameters": {}}}
    agent = create_agent(
        scripted(AIMessage("The boat is red.")),
        tools=[described],
        middleware=[SleepMemoryMiddleware(memory)],
    )
    asked = {"name": "search", "args": {}, "id": "1", "type": "tool_call"}
    found = ToolMessage("Jon owns the red boat.", tool_call_id="1", name="search")
    said = [HumanMessage("What of the boat?"), AIMessage("", tool_calls=[asked]), found]
    call(agent, {"messages": said}, context={"namespace": ALICE})
    sources = [episode.source for episode in memory.ledger.episodes.all(ALICE)]
    assert sources == ["user", "tool:search", "agent"]
