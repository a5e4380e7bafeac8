from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from sleepmem.day.capture import RECALL_ID, Said, question, said

TOLD = HumanMessage("Mara moved to Brenport.", id="h1")
ASKED = HumanMessage("Where does Mara live?", id="h2")


def test_only_statements_and_tool_results_are_remembered():
    talk = [
        SystemMessage("2030-01-01: Jon lives in Oslo.", id=RECALL_ID),
        TOLD,
        AIMessage("I will remember that Mara moved.", id="a1"),
        ASKED,
        ToolMessage("Brenport has 900 people.", tool_call_id="c", name="search", id="t1"),
        ToolMessage(" ", tool_call_id="d", name="search", id="t2"),
        HumanMessage("Thanks.", id="h3"),
    ]
    assert said(talk) == [
        Said("Mara moved to Brenport.", "user", "h1", False),
        Said("Brenport has 900 people.", "tool:search", "t1", False),
    ]


def test_what_stands_from_the_users_last_message_on_is_said_now():
    answer = ToolMessage("It rains.", tool_call_id="c", name="weather")
    assert [
        s.now for s in said([TOLD, AIMessage("Noted."), HumanMessage("Jon lives in Oslo."), answer])
    ] == [False, True, True]


def test_a_message_may_tell_and_ask():
    both = HumanMessage("Mara moved to Oslo. Where is that?")
    assert said([both])[0].text == question([both]) == both.text
    assert said([HumanMessage("Where is that? And who lives there?")]) == []


def test_a_tool_without_a_name_is_unknown():
    assert said([ToolMessage("It rains.", tool_call_id="c")])[0].source == "tool:unknown"


def test_the_question_is_the_last_message_only():
    assert question([TOLD, ASKED]) == "Where does Mara live?"
    assert question([ASKED, AIMessage("Brenport.")]) is None
    assert question([ASKED, TOLD]) is None
    assert question([]) is None
