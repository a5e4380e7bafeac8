"""Section 3 of the cases: who spoke, and whose memory it is."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from cases._user import NOBODY, scripted, system_of
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware, TodoListMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from sleepmem import NamespaceError, SleepMemory
from sleepmem.middleware import SleepMemoryMiddleware

ANA, BOB = ("ana",), ("bob",)
TOLD, ASKED = "My safe opens with 1947.", "How does my safe open?"


def turn(text, **named):
    return {"messages": [HumanMessage(text, **named)]}


def called(tool_name, call_id="c1", **arguments):
    return AIMessage("", tool_calls=[{"name": tool_name, "args": arguments, "id": call_id}])


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} is spoken in nineteen villages."


# Summaries

SUMMARY = "The user owns nine ferries and hates the sea."


def summarising(memory, *lines, first):
    """An agent with our middleware and LangChain's summaries, in either order."""
    short = SummarizationMiddleware(
        scripted(*[SUMMARY] * 9), trigger=("messages", 3), keep=("messages", 1)
    )
    both = [short, SleepMemoryMiddleware(memory)]
    return create_agent(
        scripted(*lines),
        [lookup],
        middleware=both if first == "summaries" else both[::-1],
        checkpointer=InMemorySaver(),
    )


@pytest.mark.parametrize("first", ["summaries", "memory"])
def test_a_summary_is_not_the_users_word(user, first):
    told = ["Ana lives in Bern.", "Our cat is called Muff.", "Ich trinke keinen Kaffee."]
    agent = summarising(user.memory, *["Noted."] * 3, first=first)
    for text in told:
        out = agent.invoke(turn(text), {"configurable": {"thread_id": "t", "user_id": "ana"}})
    assert any("lc_source" in one.additional_kwargs for one in out["messages"])
    assert user.texts(ANA) == told


@pytest.mark.parametrize("first", ["summaries", "memory"])
@pytest.mark.parametrize(
    "told", ["Ana lives in Bern, look up Talossan.", "Look up three languages"]
)
def test_what_was_said_in_a_turn_that_was_summarised_is_stored(user, first, told):
    calls = [called("lookup", f"c{number}", word=f"Word{number}") for number in range(3)]
    agent = summarising(user.memory, *calls, "Done.", first=first)
    agent.invoke(turn(told), {"configurable": {"thread_id": "t", "user_id": "ana"}})
    said = [one.text for one in user.stored(ANA) if one.source == "user"]
    assert said == [told]
    assert not [text for text in user.texts(ANA) if SUMMARY in text]


def test_what_was_said_is_stored_when_the_model_breaks_the_turn(user):
    agent = create_agent(scripted(), middleware=[SleepMemoryMiddleware(user.memory)])
    with pytest.raises((RuntimeError, StopIteration)):
        agent.invoke(turn(TOLD))
    assert user.texts() == [TOLD]


# Names


@pytest.mark.parametrize(("ana", "bob"), [("ana", "bob"), ("Ayşe", "Łukasz"), ("小梅", "健太")])
def test_of_several_people_each_word_keeps_its_speaker(user, ana, bob):
    user.says(HumanMessage("I am allergic to wasps.", name=ana))
    user.says(HumanMessage("I keep bees.", name=bob))
    assert [(one.speaker, one.trusted) for one in user.stored()] == [(ana, True), (bob, True)]
    shown = user.says(HumanMessage("Who of us is allergic to wasps?", name=bob))
    assert f"{ana}: I am allergic to wasps." in shown


def test_two_people_in_one_thread_are_both_users(memory):
    agent = create_agent(
        scripted("Noted.", "Noted."),
        middleware=[SleepMemoryMiddleware(memory)],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "t", "user_id": "family"}}
    agent.invoke(turn("I sing in a choir.", name="ana"), config)
    agent.invoke(turn("I play chess on Mondays.", name="bob"), config)
    speakers = [one.speaker for one in memory.ledger.episodes.all(("family",))]
    assert speakers == ["ana", "bob"]


FOUND = "The museum opens at ten and was founded by pirates."
ASKS = "Find out when the museum opens."
SUB_AGENTS = {
    "after the user": [HumanMessage(ASKS), HumanMessage(FOUND, name="researcher")],
    "after a hand-over": [
        HumanMessage(ASKS),
        called("transfer_to_researcher"),
        ToolMessage("Handed over.", tool_call_id="c1", name="transfer_to_researcher"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "after a supervisor": [
        HumanMessage(ASKS),
        AIMessage("The researcher shall look.", name="supervisor"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "after its own word": [
        HumanMessage(ASKS),
        AIMessage("I look.", name="researcher"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "in place of its last word": [
        HumanMessage(ASKS),
        called("lookup", word="museum"),
        ToolMessage("See the door.", tool_call_id="c1", name="lookup"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "before and after another": [
        HumanMessage(ASKS),
        HumanMessage("I counted the doors.", name="coder"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "in another language": [HumanMessage(ASKS), HumanMessage(FOUND, name="研究员")],
    "of a person with a name": [
        HumanMessage(ASKS, name="ana"),
        AIMessage("I look.", name="researcher"),
        HumanMessage(FOUND, name="researcher"),
    ],
    "as a tool": [
        HumanMessage(ASKS),
        called("researcher", task=ASKS),
        ToolMessage("See below.", tool_call_id="c1", name="researcher"),
        HumanMessage(FOUND, name="researcher"),
    ],
}


@pytest.mark.parametrize("history", SUB_AGENTS.values(), ids=SUB_AGENTS)
def test_what_another_agent_says_as_human_teaches_nothing(user, history):
    user.says(*history)
    told = [one for one in user.stored() if FOUND in one.text]
    assert not [one for one in told if one.trusted]
    assert ASKS in user.texts()
    assert not [text for text in user.teaches() if FOUND in text]


def test_what_another_agent_says_as_human_is_no_users_in_a_later_turn_either(user):
    history = SUB_AGENTS["after a supervisor"]
    user.says(*history, AIMessage("It opens at ten."), "My aunt works there.")
    assert not [one for one in user.stored() if FOUND in one.text and one.trusted]
    assert "My aunt works there." in user.texts()


CLAIMS = [
    ("Your doctor is Dr. Evil.", "I'd like a coffee", "Who is my doctor?"),
    ("You told me that your safe opens with 6666.", "Book me a taxi for nine.", ASKED),
    ("Deine Schwester wohnt in Wien.", "Ich will einen Kaffee.", "Wo wohnt meine Schwester?"),
    ("Tu médico es el doctor Malo.", "Quiero un café.", "¿Quién es mi médico?"),
    ("你的医生是邪恶博士。", "我想要一杯咖啡", "我的医生是谁？"),
]


@pytest.mark.parametrize(("claim", "reply", "asked"), CLAIMS, ids=[one[0] for one in CLAIMS])
def test_what_the_model_claims_does_not_come_back_as_a_memory(user, claim, reply, asked):
    user.says("I am back.", AIMessage(claim), reply)
    assert reply in user.texts()
    assert claim not in user.says(asked)


def test_what_the_model_said_before_a_short_reply_is_shown_as_the_agents(user):
    user.says(AIMessage("So your doctor is Dr. Roux."), "No, Dr. Petit.")
    shown = user.says("Who is my doctor?")
    assert 'agent: " So your doctor is Dr. Roux. " - No, Dr. Petit.' in shown


# Tools and pasted text


def test_what_a_memory_tool_gives_back_is_not_stored(user):
    @tool
    def remember(question: str) -> str:
        """Search the memory."""
        return user.memory.context(user.memory.search(NOBODY, question))

    @tool
    def notes(question: str) -> str:
        """Search the memory, in a form of one's own."""
        found = user.memory.search(NOBODY, question).episodes
        return "\n".join(f"- {one.text}" for one in found)

    user.told(TOLD, "The alarm is called Gustav.")
    for name in ("remember", "notes"):
        model = scripted(called(name, question=ASKED), "With 1947.")
        middleware = [SleepMemoryMiddleware(user.memory)]
        agent = create_agent(model, [remember, notes], middleware=middleware)
        agent.invoke(turn(ASKED))
    sources = {one.source for one in user.stored()}
    assert not [source for source in sources if source.startswith("tool:")]


def test_no_task_tells_again_what_a_memory_gave_back(user):
    @tool
    def notebook(question: str) -> str:
        """Search the notebook."""
        return str([{"value": {"content": TOLD}, "score": 0.8}])

    user.told(TOLD)
    agent = create_agent(
        scripted(called("notebook", question="safe"), "With 1947.", "Noted."),
        [notebook],
        middleware=[SleepMemoryMiddleware(user.memory, NOBODY)],
        checkpointer=InMemorySaver(),
    )
    for text in (ASKED, "The alarm is called Gustav."):
        agent.invoke(turn(text), {"configurable": {"thread_id": "t"}})
    assert {one.source for one in user.stored()} == {"user"}


@pytest.mark.parametrize("name", ["search_memory", "manage_memory", "recall", "erinnerung_suchen"])
def test_what_a_memory_of_the_host_says_is_not_stored(user, name):
    result = ToolMessage("created memory 123e4567-e89b-12d3", tool_call_id="c1", name=name)
    user.says("I keep nine ferries.", called(name, content="keeps ferries"), result, "I do.")
    assert {one.source for one in user.stored()} == {"user"}


@tool
def transfer_to_billing(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
    """Hand over to the billing agent."""
    done = ToolMessage("Successfully transferred to billing", tool_call_id=tool_call_id)
    return Command(update={"messages": [done]})


PLANS = called("write_todos", todos=[{"content": "look it up", "status": "pending"}])
LED = {
    "plans": ([], [PLANS, "Planned."], {"user"}),
    "hands over": ([transfer_to_billing], [called("transfer_to_billing"), "Hi."], {"user"}),
    "plans and works": (
        [lookup],
        [PLANS, called("lookup", "c2", word="Talossan"), "Nineteen."],
        {"user", "tool:lookup", "agent"},
    ),
}


@pytest.mark.parametrize(("tools", "lines", "sources"), LED.values(), ids=LED)
def test_what_leads_the_graph_is_no_task(user, tools, lines, sources):
    agent = create_agent(
        scripted(*lines, "Noted."),
        tools,
        middleware=[TodoListMiddleware(), SleepMemoryMiddleware(user.memory, NOBODY)],
        checkpointer=InMemorySaver(),
    )
    agent.invoke(turn("Where is Talossan spoken?"), {"configurable": {"thread_id": "t"}})
    # In another process the tools are not known when the turn begins.
    agent = create_agent(
        scripted("Noted."),
        tools,
        middleware=[TodoListMiddleware(), SleepMemoryMiddleware(user.memory, NOBODY)],
        checkpointer=agent.checkpointer,
    )
    agent.invoke(turn("I keep bees."), {"configurable": {"thread_id": "t"}})
    assert {one.source for one in user.stored()} == sources
    assert not [text for text in user.texts() if "write_todos" in text]


@pytest.mark.parametrize("text", ["Error: no such town.", "Timeout after 30 s", "无法连接服务器"])
def test_a_tools_error_is_not_stored(user, text):
    error = ToolMessage(text, tool_call_id="c1", name="lookup", status="error")
    user.says("Look up Talossan.", called("lookup", word="Talossan"), error)
    assert not [stored for stored in user.texts() if text in stored]


def test_a_structured_answer_is_not_stored(user):
    class Town(BaseModel):
        """A town."""

        name: str

    model = scripted(called("Town", name="Bern"))
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(user.memory)], response_format=ToolStrategy(Town)
    )
    out = agent.invoke(turn("Ana lives in Bern. Which town is it?"))
    assert out["structured_response"].name == "Bern"
    assert user.texts() == ["Ana lives in Bern. Which town is it?"]


PASTED = "Zorvex was founded in 1804 by Ida Quill."
PASTES = [
    (f"Context: {PASTED}\n\nQuestion: Who founded Zorvex?", "Who founded Zorvex?"),
    # Of the same kind
    (
        f"Use the following context to answer.\n\nContext:\n{PASTED}\n\nQuestion: Who founded it?",
        "Who founded it?",
    ),
    (f"Documents:\n[1] {PASTED}\n\nUser question: Who founded it?", "Who founded it?"),
    (
        "Use the following pieces of context to answer the question at the end. If you don't know "
        f"the answer, say so.\n\n{PASTED}\nNote: it burned down.\n\nQuestion: Who founded it?\n"
        "Helpful Answer:",
        "Who founded it?",
    ),
    (
        "You answer questions. Use the following retrieved context to answer the question.\n"
        f"Question: Who founded it?\nContext: {PASTED}\nAnswer:",
        "Who founded it?",
    ),
    (
        f"Context information is below.\n-----\n{PASTED}\n-----\nGiven the context, answer the "
        "query.\nQuery: Who founded it?\nAnswer: ",
        "Who founded it?",
    ),
    (
        f"Beantworte die Frage nur anhand des folgenden Kontexts:\n\n{PASTED}\n\n"
        "Frage: Wer hat es gegründet?",
        "Wer hat es gegründet?",
    ),
    (f"根据以下上下文回答问题：\n{PASTED}\n问题：谁创立了它？", "谁创立了它？"),
    (
        f"Ответь на вопрос, используя следующий контекст:\n{PASTED}\n\nКто его основал?",
        "Кто его основал?",
    ),
    (f"<context>\n{PASTED}\n</context>\nWho founded Zorvex?", "Who founded Zorvex?"),
    (f"<document id='1'>{PASTED}</document> Who founded Zorvex?", "Who founded Zorvex?"),
    (f"Kontext: {PASTED}\nFrage: Wer hat Zorvex gegründet?", "Wer hat Zorvex gegründet?"),
    (f"Contexte : {PASTED}\nQuestion : Qui a fondé Zorvex ?", "Qui a fondé Zorvex ?"),
    (f"Contexto: {PASTED}\nPregunta: ¿Quién fundó Zorvex?", "¿Quién fundó Zorvex?"),
    (f"Kontekst: {PASTED}\nPytanie: Kto założył Zorvex?", "Kto założył Zorvex?"),
    (f"Контекст: {PASTED}\nВопрос: Кто основал Zorvex?", "Кто основал Zorvex?"),
    (f"السياق: {PASTED}\nالسؤال: من أسس Zorvex؟", "من أسس Zorvex؟"),
    (f"上下文：{PASTED}\n问题：谁创立了Zorvex？", "谁创立了Zorvex？"),
    (
        f"コンテキスト：{PASTED}\n質問：Zorvexを設立したのは誰ですか？",
        "Zorvexを設立したのは誰ですか？",
    ),
]


@pytest.mark.parametrize(("message", "asked"), PASTES, ids=[message for message, _ in PASTES])
def test_a_pasted_context_is_not_what_the_user_says(user, message, asked):
    user.says(message)
    assert not [text for text in user.texts() if PASTED in text]
    assert user.texts() == [asked]


@pytest.mark.parametrize(
    "text",
    [
        "Address: Mill Lane 4, Bern. Phone: 555 0101.",
        "Note: Ana is vegan. Question: shall I tell her mother?",
        "To do: water the plants: Monday and Friday.",
        "I moved to Bern with my two kids.\nWe have a dog.\nQuestion: which schools are good?",
        "Please answer my question honestly.\nI have two kids.\nShould I move to Bern?",
        "My list:\n- milk\n- eggs\nOthers:",
    ],
)
def test_labels_in_the_users_own_words_take_nothing_away(user, text):
    user.says(text)
    assert user.texts() == [text]


# Owners


@dataclass
class Context:
    user_id: str


@dataclass
class Signed:
    tenant: str
    user_id: str


class Account(BaseModel):
    user_id: str


NAMED = [
    lambda name: {"config": {"configurable": {"user_id": name}}},
    lambda name: {"config": {"configurable": {"user_id": name, "thread_id": f"of {name}"}}},
    lambda name: {"config": {"configurable": {"langgraph_user_id": name}}},
    lambda name: {"config": {"configurable": {"langgraph_auth_user": {"identity": name}}}},
    lambda name: {"config": {"metadata": {"user_id": name}}},
    lambda name: {"context": {"user_id": name}},
    lambda name: {"context": Context(name)},
    lambda name: {"context": Signed("acme", name)},
    lambda name: {"context": Account(user_id=name)},
]


OF = [
    "user",
    "thread",
    "langgraph",
    "signed in",
    "metadata",
    "dict",
    "dataclass",
    "two fields",
    "pydantic",
]


@pytest.mark.parametrize("named", NAMED, ids=OF)
def test_nobody_is_shown_what_another_user_told(user, named):
    user.says(TOLD, **named("ana"))
    assert TOLD not in user.says(ASKED, **named("bob"))
    assert TOLD in user.says(ASKED, **named("ana"))
    assert user.texts(NOBODY) == []


def test_metadata_name_the_user_only_when_nothing_else_does(user):
    config = {"metadata": {"user_id": "bob"}, "configurable": {"user_id": "ana"}}
    user.says(TOLD, config=config)
    assert (user.texts(ANA), user.texts(BOB)) == ([TOLD], [])


@dataclass
class Other:
    customer: str


REFUSED = [
    {"config": {"configurable": {"thread_id": "t1"}}},
    {"context": {"customer": "ana"}},
    {"context": Other("ana")},
    {"config": {"configurable": {"customer": "ana", "thread_id": "t1"}}},
    {"config": {"metadata": {"tracing_user_id": "ana"}}},
]


@pytest.mark.parametrize("named", REFUSED)
def test_a_run_that_names_no_owner_is_refused_in_a_sentence(user, named):
    with pytest.raises(NamespaceError, match="whose memory"):
        user.says(TOLD, **named)
    assert user.stored(NOBODY) == []


@tool
def ask_human(question: str) -> str:
    """Ask the human."""
    return str(interrupt(question))


@pytest.mark.parametrize(
    "named",
    [
        {"context": {"user_id": "ana"}},
        {"context": {"namespace": ("ana",)}},
        {"context": Context("ana")},
    ],
)
def test_a_turn_that_is_resumed_without_its_context_stays_its_owners(user, named):
    model = scripted(called("ask_human", question="May I?"), "Done.")
    agent = create_agent(
        model,
        [ask_human],
        middleware=[SleepMemoryMiddleware(user.memory)],
        checkpointer=InMemorySaver(),
    )
    user.memory.observe(BOB, "My safe opens with 2222.")
    user.memory.observe(NOBODY, "My safe opens with 3333.")
    user.memory.observe(ANA, TOLD)
    thread = {"configurable": {"thread_id": "t"}}
    agent.invoke(turn("May you open my safe, and how does it open?"), thread, **named)
    agent.invoke(Command(resume="Yes."), thread)
    shown = system_of(model.shown[-1])
    assert TOLD in shown
    assert "2222" not in shown
    assert "3333" not in shown
    assert user.texts(NOBODY) == ["My safe opens with 3333."]


OWNERS = [
    "auth0|6f2a",
    "user:42",
    "ana+x@mail.org",
    "josé",
    "x" * 65,
    # Of the same kind
    "google-oauth2|1093/7",
    "CORP\\ana",
    "urn:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    "Łukasz Żółć",
    "小梅",
    "نور",
    "ana*?<>\"'",
    "..",
    "con",
    "a b",
    "😀",
    "{ana}",
    "x" * 300,
]


@pytest.mark.parametrize("owner", OWNERS)
def test_an_owner_of_any_spelling_is_taken_and_alone(user, owner):
    named = {"config": {"configurable": {"user_id": owner}}}
    user.says(TOLD, **named)
    assert user.texts((owner,)) == [TOLD]
    assert TOLD in user.says(ASKED, **named)
    assert TOLD not in user.says(ASKED, config={"configurable": {"user_id": f"{owner}2"}})


def test_owners_of_any_spelling_are_there_after_reopening(tmp_path):
    alike = [*OWNERS, "Josė", "ANA", "ana", "x" * 66, "user_42"]
    with SleepMemory.open(tmp_path / "m") as memory:
        for number, owner in enumerate(alike):
            memory.observe((owner,), f"My locker is number {number}.")
    with SleepMemory.open(tmp_path / "m") as memory:
        assert memory.verify() == []
        for number, owner in enumerate(alike):
            (found,) = memory.recall((owner,), "Which number has my locker?").episodes
            assert found.text == f"My locker is number {number}."
