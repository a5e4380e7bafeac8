import asyncio
import json
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypedDict

import pytest
from _values import put_expert
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from sleepmem import (
    EpisodeError,
    GraphError,
    LedgerError,
    MemoryConfig,
    NamespaceError,
    SleepConfig,
    SleepMemory,
)
from sleepmem.day.capture import RECALL_ID
from sleepmem.day.handed import hand_on
from sleepmem.day.namespace import Run
from sleepmem.graph import (
    is_tired,
    is_unsure,
    look_again_node,
    observe_node,
    recall_node,
    sleep_branch,
)
from sleepmem.host import Host
from sleepmem.model.local import Reply
from sleepmem.night import teachable
from sleepmem.records import NightReport, Verdict, View

ALICE, BOB, NOBODY = ("alice",), ("bob",), ("default",)
TOLD, ASKED = "Mara moved to Brenport.", "Where did Mara move?"
KNOWN = f"Is it so that {TOLD[:-1]}?"


class Mine(MessagesState):
    """A user's own state: keys that sleepmem knows nothing of."""

    mood: str
    visits: Annotated[int, operator.add]


def built(memory, *lines, checkpointer=None, tired=False, namespace=NOBODY):
    """recall -> model -> observe (-> sleep), and the list of what the model was shown."""
    model, shown = GenericFakeChatModel(messages=iter(lines)), []

    def speak(state):
        shown.append(state["messages"])
        return {"messages": [model.invoke(state["messages"])], "visits": 1}

    graph = StateGraph(Mine)
    graph.add_node("recall", recall_node(memory, namespace))
    graph.add_node("speak", speak)
    graph.add_node("observe", observe_node(memory, namespace))
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "speak")
    graph.add_edge("speak", "observe")
    if tired:
        graph.add_node("sleep", sleep_branch(memory, namespace))
        graph.add_conditional_edges(
            "observe", is_tired(memory, namespace), {True: "sleep", False: END}
        )
        graph.add_edge("sleep", END)
    return graph.compile(checkpointer=checkpointer), shown


def sync(graph, *arguments, **named):
    return graph.invoke(*arguments, **named)


def in_loop(graph, *arguments, **named):
    return asyncio.run(graph.ainvoke(*arguments, **named))


@pytest.fixture(params=[sync, in_loop])
def call(request):
    """Invoke a graph, sync or async."""
    return request.param


def turn(*texts):
    return {"messages": [HumanMessage(t) for t in texts], "mood": "calm"}


def test_other_keys_of_the_state_are_left_alone(memory, call):
    graph, _ = built(memory, "Noted.")
    out = call(graph, {**turn(TOLD), "visits": 4})
    assert (out["mood"], out["visits"]) == ("calm", 5)
    assert [m.type for m in out["messages"]] == ["human", "ai"]


def test_what_was_told_is_recalled_and_never_captured_again(memory, call):
    graph, shown = built(memory, "Noted.", "In Brenport.")
    call(graph, turn(TOLD))
    assert [e.text for e in memory.ledger.episodes.all()] == [TOLD]
    out = call(graph, turn(ASKED))
    (system,) = (m for m in shown[1] if m.type == "system")
    assert system.id == RECALL_ID
    assert TOLD in system.text
    assert any(m.id == RECALL_ID for m in out["messages"])
    told, asked = memory.ledger.episodes.all()
    assert (told.text, asked.text) == (TOLD, ASKED)
    assert memory.ledger.episodes.outcome(asked.id) == "In Brenport."


def test_the_users_words_are_stored_before_the_model_speaks(memory, call):
    graph, _ = built(memory)  # a model that has nothing to say fails
    with pytest.raises((StopIteration, RuntimeError)):
        call(graph, turn(TOLD))
    (told,) = memory.ledger.episodes.all()
    assert (told.text, memory.ledger.episodes.outcome(told.id)) == (TOLD, None)


def test_the_recall_node_may_leave_storing_to_the_end(memory, call):
    graph = StateGraph(MessagesState)
    graph.add_node("recall", recall_node(memory, store=False))
    graph.add_edge(START, "recall")
    call(graph.compile(), {"messages": [HumanMessage(TOLD)]})
    assert memory.ledger.episodes.all() == []


def test_memories_stand_after_the_system_messages_that_lead(memory, call):
    memory.observe(NOBODY, TOLD)
    graph, shown = built(memory, "In Brenport.")
    talk = [SystemMessage("You are kind."), HumanMessage("Hi."), AIMessage("Hello!")]
    call(graph, {"messages": [*talk, HumanMessage(ASKED)]})
    kinds = [(m.type, m.id == RECALL_ID) for m in shown[0]]
    ours, told = ("system", False), ("system", True)
    assert kinds == [ours, told, ("human", False), ("ai", False), ("human", False)]


def test_a_turn_goes_on_when_the_memory_fails(memory, call, monkeypatch, caplog):
    def fail(*asked, **how):
        raise ConnectionError("no route to the ledger")

    monkeypatch.setattr(memory.ledger.words, "search", fail)
    graph, shown = built(memory, "Well.")
    out = call(graph, turn(ASKED))
    assert out["messages"][-1].text == "Well."
    assert [m.type for m in shown[0]] == ["human"]
    assert "recalling failed: no route to the ledger" in caplog.text
    assert [e.text for e in memory.ledger.episodes.all()] == [ASKED]


def test_tool_results_are_stored_with_their_source_and_not_taught(memory, call):
    graph, _ = built(memory, "It rains.")
    talk = [
        HumanMessage("Is it raining?"),
        ToolMessage("It rains in Oslo.", tool_call_id="c", name="weather"),
    ]
    call(graph, {"messages": talk})
    told = {e.source: e for e in memory.ledger.episodes.all()}
    assert set(told) == {"user", "tool:weather"}
    assert told["tool:weather"].text == "It rains in Oslo."
    buffered = memory.ledger.episodes.buffered(NOBODY)
    sorted_out = teachable.sort(buffered, memory.config.policy, untrusted=False)
    assert told["tool:weather"] not in sorted_out.episodes
    assert (told["tool:weather"].id, "source") in {(o.episode, o.rule) for o in sorted_out.held}


def test_the_same_turn_observed_twice_is_stored_once(memory, call):
    graph, _ = built(memory, "Noted.", "Noted.")
    talk = {"messages": [HumanMessage(TOLD, id="m1")]}
    call(graph, talk)
    call(graph, talk)
    assert [e.message_id for e in memory.ledger.episodes.all()] == ["m1"]


def test_recall_is_replaced_not_piled_up(memory, call):
    memory.observe(NOBODY, TOLD)
    memory.observe(NOBODY, "Jon owns the red boat.")
    graph, shown = built(memory, *["Well."] * 4, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}
    recalled = []
    for text in (ASKED, "Does Jon own the red boat?", "Thanks.", ASKED):
        out = call(graph, turn(text), thread)
        recalled.append([m.text for m in shown[-1] if m.type == "system"])
    assert [len(r) for r in recalled] == [1, 1, 0, 1]
    assert "Mara" in recalled[0][0]
    assert "Mara" not in recalled[1][0]
    assert "Jon" in recalled[1][0]
    assert "Mara" in recalled[3][0]
    assert [m.type for m in out["messages"] if m.id != RECALL_ID] == ["human", "ai"] * 4
    asked = [e.text for e in memory.ledger.episodes.all()][2:]
    assert asked == [ASKED, "Does Jon own the red boat?", ASKED]


@pytest.mark.parametrize(
    "named", [{"context": {"namespace": BOB}}, {"config": {"configurable": {"namespace": ["bob"]}}}]
)
def test_the_call_names_the_namespace(memory, call, named):
    memory.observe(ALICE, "Mara moved to Rome.")
    graph, shown = built(memory, "Noted.", "Brenport.", "Rome.", namespace=ALICE)
    call(graph, turn(TOLD), **named)
    assert [e.text for e in memory.ledger.episodes.all(BOB)] == [TOLD]
    call(graph, turn(ASKED), **named)
    call(graph, turn(ASKED))
    texts = ["".join(m.text for m in messages if m.type == "system") for messages in shown]
    assert ["Brenport" in t for t in texts] == [False, True, False]
    assert ["Rome" in t for t in texts] == [False, False, True]


@pytest.mark.parametrize(
    ("namespace", "owner"),
    [
        (None, ("bob",)),
        (("app", "{user_id}"), ("app", "bob")),
        (lambda runtime: ("app", runtime.context["org"]), ("app", "acme")),
    ],
)
def test_the_user_a_template_or_a_function_names_the_owner(memory, call, namespace, owner):
    graph, _ = built(memory, "Noted.", namespace=namespace)
    call(graph, turn(TOLD), context={"user_id": "bob", "org": "acme"})
    assert memory.ledger.episodes.namespaces() == [owner]


@pytest.mark.parametrize(
    ("namespace", "named"),
    [
        (None, {"config": {"configurable": {"thread_id": "t"}}}),
        (None, {"context": {"tenant": "acme"}}),
        (("app", "{user_id}"), {}),
    ],
)
def test_a_run_that_names_no_owner_is_refused(memory, call, namespace, named):
    graph, _ = built(memory, "Noted.", namespace=namespace)
    with pytest.raises(NamespaceError):
        call(graph, turn(TOLD), **named)
    assert memory.ledger.episodes.all() == []


@pytest.mark.parametrize("namespace", ["bob", ("b" * 513,), ()])
def test_what_names_no_owner_stops_the_graph(memory, call, namespace):
    graph, _ = built(memory, "Noted.")
    with pytest.raises(NamespaceError):
        call(graph, turn(TOLD), context={"namespace": namespace})
    assert memory.ledger.episodes.all() == []


def test_a_tired_graph_sleeps_and_streams_the_night(tmp_path, tiny, embeddings):
    config = MemoryConfig(sleep=SleepConfig(tired_at=2))
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings, config=config) as memory:
        graph, _ = built(memory, *["Noted."] * 4, tired=True)
        memory.observe(BOB, "Jon lives in Oslo.")
        who = {"context": {"namespace": BOB}, "stream_mode": "custom", "subgraphs": True}
        memory.observe(ALICE, "Someone else's buffer does not tire.")
        assert list(graph.stream(turn("Hello."), **who)) == []
        memory.observe(BOB, "It rains in Oslo.", source="tool:weather")
        assert list(graph.stream(turn("Hello."), **who)) == []  # what may not teach does not tire
        memory.observe(BOB, "Jon has moved to Rome.")
        events = [event for _, event in graph.stream(turn("Hello again."), **who)]
        assert [e["step"] for e in events if e.get("state") == "started"] == [
            "audit",
            "select",
            "draw",
            "review",
            "revise",
            "probe",
            "report",
        ]
        (night,) = memory.ledger.nights.finished()
        assert (night.report["namespace"], night.report["verdict"]) == (["bob"], "skipped")
        assert (
            list(graph.stream(turn("And again."), **who)) == []
        )  # nothing came in since, though the buffer is as full as before


def test_the_sleep_branch_is_the_same_async(memory):
    graph, _ = built(memory, "Noted.", tired=True)
    branch = sleep_branch(memory, BOB)
    out = asyncio.run(branch.ainvoke({"messages": [HumanMessage(TOLD)]}))
    assert [m.text for m in out["messages"]] == [TOLD]
    assert [night.report["namespace"] for night in memory.ledger.nights.finished()] == [["bob"]]
    assert asyncio.run(graph.ainvoke(turn(TOLD)))["visits"] == 1


def test_nights_that_wait_for_each_other_keep_no_turn_waiting(memory, monkeypatch):
    """However many owners are tired, there are threads left for those who talk."""
    begun, done = threading.Event(), threading.Event()

    def sleep(owner, **how):
        begun.set()
        assert done.wait(20)
        return NightReport("night", owner, Verdict.SKIPPED, "nothing to learn")

    monkeypatch.setattr(memory._schedule, "sleep", sleep)
    branch = sleep_branch(memory)

    async def talk():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        nights = [asyncio.create_task(memory.asleep((name,))) for name in "abc"]
        for name in "def":
            context = {"context": {"namespace": (name,)}}
            nights.append(asyncio.create_task(branch.ainvoke(turn(TOLD), **context)))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        try:
            await asyncio.wait_for(memory.aobserve(BOB, TOLD), 10)
        finally:
            done.set()
        return await asyncio.gather(*nights)

    assert len(asyncio.run(talk())) == 6


def looking_again(memory, *lines):
    """recall -> model (-> look again -> model) -> observe, and what the model was shown."""
    model, shown = GenericFakeChatModel(messages=iter(lines)), []

    def speak(state):
        shown.append(state["messages"])
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("recall", recall_node(memory))
    graph.add_node("speak", speak)
    graph.add_node("look_again", look_again_node(memory))
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "speak")
    graph.add_conditional_edges("speak", is_unsure(memory), {True: "look_again", False: END})
    graph.add_edge("look_again", "speak")
    return graph.compile(), shown


def test_an_answer_that_does_not_know_is_taken_back_and_everything_read(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    question = f"Is it so that {TOLD[:-1]}?"
    graph, shown = looking_again(memory, "I do not know.", "In Brenport.")
    out = call(graph, turn(question))
    # By the gate from the weights; then from everything that holds.
    assert not any(TOLD in message.text for message in shown[0][1:])
    (memories,) = [message.text for message in shown[1] if message.id == RECALL_ID]
    assert TOLD in memories
    assert question not in memories
    answers = [message.text for message in out["messages"] if message.type == "ai"]
    assert answers == ["In Brenport."]
    views = [row["view"] for row in memory.ledger.turns.retrievals(NOBODY)]
    assert views == ["weights", "retrieval"]
    assert len(memory.ledger.turns.all(NOBODY)) == 1


def test_nobody_looks_a_third_time(memory, call):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    graph, shown = looking_again(memory, "I do not know.", "I do not know.")
    out = call(graph, turn(f"Is it so that {TOLD[:-1]}?"))
    assert len(shown) == 2
    assert out["messages"][-1].type in ("ai", "system")


def test_an_unsure_answer_is_taken_back_where_the_folder_is_only_read(
    memory, call, tiny, embeddings
):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    memory.close()
    with SleepMemory.open(
        memory.folder, model=tiny, embeddings=embeddings, read_only=True
    ) as reader:
        graph, shown = looking_again(reader, "I do not know.", "In Brenport.")
        out = call(graph, turn(KNOWN))
    assert out["messages"][-1].text == "In Brenport."
    assert len(shown) == 2


def test_where_the_folder_is_only_read_no_old_decision_of_another_process_counts(
    memory, call, tiny, embeddings
):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    assert memory.recall(NOBODY, KNOWN).view is View.WEIGHTS
    memory.close()
    with SleepMemory.open(
        memory.folder, model=tiny, embeddings=embeddings, read_only=True
    ) as reader:
        talk = {"messages": [HumanMessage(KNOWN), AIMessage("I do not know.")]}
        assert not is_unsure(reader)(talk)


def test_what_is_forgotten_stays_in_no_decision_that_is_kept(memory):
    told = memory.observe(NOBODY, TOLD)
    host = Host.of(memory, [HumanMessage(ASKED, id="m1")], namespace=None)
    assert host.recall(holds_experts=False).episodes == (told,)
    assert host.last_recall().episodes == (told,)
    memory.forget(NOBODY, episodes=[told.id])
    last = host.last_recall()
    assert last is None or last.episodes == ()


def test_a_ledger_that_cannot_be_read_ends_no_turn_after_the_answer(memory, call, monkeypatch):
    told = memory.observe(NOBODY, TOLD)
    put_expert(memory, NOBODY, [told.id])
    graph, _ = looking_again(memory, "I do not know.", "I do not know.")

    def fail(*asked, **how):
        raise LedgerError("the ledger is damaged.")

    monkeypatch.setattr(memory.ledger.turns, "last_look", fail)
    monkeypatch.setattr(memory.ledger.gates, "read", fail)
    monkeypatch.setattr(memory._schedule, "is_tired", fail)
    out = call(graph, turn(KNOWN))
    assert out["messages"][-1].type == "ai"
    state = {"messages": [HumanMessage(KNOWN), AIMessage("I do not know.")]}
    assert not is_tired(memory)(state)
    assert not is_unsure(memory)(state)


@pytest.mark.parametrize("answer", ["In Brenport.", "I do not know."])
def test_an_answer_stands_when_it_knows_or_nothing_more_is_there(memory, call, answer):
    memory.observe(NOBODY, TOLD)
    graph, shown = looking_again(memory, answer)
    out = call(graph, turn(ASKED))
    assert len(shown) == 1
    assert out["messages"][-1].text == answer


# What the chat model is told


def own(memory, *, namespace=None, of=None, recalls=True):
    """A graph of a recall node and the memory's own chat model, which has the owner's experts."""
    memory.local.reply = lambda chats, experts=(), **settings: [Reply("Well.", 1.0)]

    def live(owner):
        return tuple(expert.name for expert in memory.ledger.lineage.experts(owner))

    model = memory.chat_model(of).model_copy(update={"live": live})
    graph = StateGraph(MessagesState)
    graph.add_node("speak", lambda state: {"messages": [model.invoke(state["messages"])]})
    if recalls:
        graph.add_node("recall", recall_node(memory, namespace))
        graph.add_edge("recall", "speak")
    graph.add_edge(START, "recall" if recalls else "speak")
    return graph.compile()


def used(out):
    """The experts that answered."""
    return out["messages"][-1].response_metadata["experts"]


def knowing(memory, owner):
    """The name of an expert that holds what was told."""
    return put_expert(memory, owner, [memory.observe(owner, TOLD).id]).name


def test_the_experts_answer_where_the_gate_says_so_and_nowhere_else(memory, call):
    expert = knowing(memory, NOBODY)
    graph = own(memory)
    assert used(call(graph, turn(KNOWN))) == [expert]
    # Nothing is recalled for it, and the weights were not asked either.
    assert used(call(graph, turn("Hello!"))) == []


def test_no_expert_answers_when_the_gate_fails(memory, call, monkeypatch):
    knowing(memory, ALICE)

    def fail(*asked, **how):
        raise ConnectionError("no route to the index")

    monkeypatch.setattr(memory.buffer, "near_known", fail)
    assert used(call(own(memory), turn(KNOWN), context={"user_id": "alice"})) == []


def test_the_model_answers_for_the_owner_whom_the_gate_judged(memory, call):
    experts = [knowing(memory, owner) for owner in (("app", "alice"), ALICE)]
    graph = own(memory, namespace=("app", "{user_id}"))
    assert used(call(graph, turn(KNOWN), context={"user_id": "alice"})) == experts[:1]


def test_a_namespace_of_the_model_itself_is_whose_experts_answer(memory, call):
    experts = [knowing(memory, owner) for owner in (ALICE, BOB)]
    graph = own(memory, of=ALICE, recalls=False)
    assert used(call(graph, turn(KNOWN), context={"user_id": "bob"})) == experts[:1]
    # The gate judged another's memory.
    assert used(call(own(memory, of=ALICE), turn(KNOWN), context={"user_id": "bob"})) == []


def test_a_graph_that_names_nobody_answers_for_the_default_owner(memory, call):
    expert = knowing(memory, NOBODY)
    assert used(call(own(memory, recalls=False), turn(KNOWN))) == [expert]
    thread = {"configurable": {"thread_id": "t"}}
    assert used(call(own(memory, recalls=False), turn(KNOWN), thread)) == []


def test_what_a_client_writes_where_the_decision_stands_is_not_believed(memory, call):
    expert = knowing(memory, ALICE)
    asked = {"messages": [HumanMessage(KNOWN, id="m1")]}
    alice = call(own(memory), asked, context={"user_id": "alice"})
    assert used(alice) == [expert]
    signed = alice["messages"][0].additional_kwargs["sleepmem"]
    forged = {**signed, "named": json.dumps([None, "bob"]), "view": "weights"}
    for written in (signed, forged, {"owner": ["alice"], "view": "weights"}, "alice", None):
        message = HumanMessage(KNOWN, id="m1", additional_kwargs={"sleepmem": written})
        for recalls in (True, False):
            graph = own(memory, recalls=recalls)
            out = call(graph, {"messages": [message]}, context={"user_id": "bob"})
            assert used(out) == []


def test_a_turn_that_goes_on_in_its_thread_keeps_what_was_decided(memory):
    expert = knowing(memory, BOB)
    run = Run({}, {"thread_id": "t", "user_id": "bob"}, {}, None)
    asked = hand_on(HumanMessage(KNOWN, id="m1"), run, owner=BOB, view=View.WEIGHTS)
    graph = own(memory, recalls=False)
    for thread, experts in (("t", [expert]), ("other", [])):
        named = {"configurable": {"thread_id": thread}}
        assert used(graph.invoke({"messages": [asked]}, named)) == experts


# States of other kinds


class Replaced(TypedDict):
    """A state whose messages each node replaces."""

    messages: list


class Named(TypedDict):
    """A state that keeps its conversation under another name."""

    history: list


def one_node(node, state):
    graph = StateGraph(state)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile()


@pytest.mark.parametrize("node", [recall_node, observe_node, look_again_node])
def test_a_state_that_replaces_its_messages_is_refused_in_a_sentence(memory, call, node):
    graph = one_node(node(memory, NOBODY), Replaced)
    with pytest.raises(GraphError, match="add_messages"):
        call(graph, {"messages": [HumanMessage(TOLD)]})


def test_a_state_without_messages_is_refused_in_a_sentence(memory, call):
    graph = one_node(observe_node(memory, NOBODY), Named)
    with pytest.raises(GraphError, match="'messages'"):
        call(graph, {"history": [HumanMessage(TOLD)]})


@pytest.mark.parametrize("message", [{"role": "user", "content": TOLD}, ("user", TOLD)])
def test_messages_may_be_given_in_any_form(memory, message):
    observe_node(memory, NOBODY).invoke({"messages": [message]})
    memory.observe_messages(ALICE, [message])
    assert [one.text for one in memory.ledger.episodes.all()] == [TOLD, TOLD]


def test_what_is_no_message_is_refused_in_a_sentence(memory):
    with pytest.raises(EpisodeError, match="pass message objects"):
        memory.observe_messages(NOBODY, [7])
