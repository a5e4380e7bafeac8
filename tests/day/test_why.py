"""An answer names where it came from, and `why` proves it by leaving that out."""

import asyncio
import json

import pytest
from _nights import ALICE, LEVELS, watched
from _values import probe, put_expert
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from sleepmem import View
from sleepmem.day.provenance import provenance
from sleepmem.graph import observe_node, recall_node
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.model.local import Reply
from sleepmem.records import Kind, Note, Recall

TOLD, ASKED = "Mara moved to Brenport.", "Where did Mara move?"
UNKNOWN = "I do not know."
EXAM = "Is it so that Mara saw whale {}."


def learned(memory, count):
    """So many nights of one fact each; the ids of what was told."""
    ids = []
    for number in range(1, count + 1):
        at = f"2030-01-{number:02d}T00:00:00.000000+00:00"
        ids.append(memory.observe(ALICE, f"Mara saw whale {number}.", created_at=at).id)
        watched(memory)
    return ids


def live(memory):
    return [expert.name for expert in memory.ledger.lineage.experts(ALICE)]


def answers(memory, say):
    """The model says what `say(experts, has memories)` gives."""

    def reply(chats, experts=(), **settings):
        reads = any(message["role"] == "system" for message in chats[0].messages)
        return [Reply(say(tuple(experts), reads), 1.0)]

    memory.local.reply = reply


def test_an_answer_from_the_weights_names_night_expert_and_episode(opened, by_hand):
    memory = opened()
    ids = learned(memory, 2)
    names = live(memory)
    answers(memory, lambda experts, reads: "A whale.")
    for number in (1, 2):
        traced = memory.ask(ALICE, EXAM.format(number)).provenance
        assert traced.view is View.WEIGHTS
        assert (traced.night, traced.expert) == (f"night-000{number}", names[number - 1])
        assert [one.episode for one in traced.citations] == [ids[number - 1]]
        assert memory.ledger.nights.probe(ALICE, traced.known).question == EXAM.format(number)
        written = traced.as_dict()
        assert json.loads(json.dumps(written)) == written
        assert written["citations"] == [{"episode": ids[number - 1], "day": f"2030-01-0{number}"}]
        assert "whale" not in json.dumps(written)


def test_what_a_slower_expert_took_over_names_it_and_the_night_that_taught_it(opened, by_hand):
    memory = opened(levels=LEVELS[:2])
    ids = learned(memory, 2)
    (slow,) = memory.ledger.lineage.experts(ALICE)
    assert slow.level == "slow"
    answers(memory, lambda experts, reads: "A whale.")
    for number in (1, 2):
        traced = memory.ask(ALICE, EXAM.format(number)).provenance
        assert traced.expert == slow.name
        taught = memory.ledger.nights.probes(traced.night)
        assert ids[number - 1] in {one.episode_id for one in taught}
        assert traced.night != slow.night_id
    fast = memory.ledger.lineage.experts(ALICE, live=False)[0]
    assert memory.ledger.lineage.holding(ALICE, fast.night_id) == slow
    memory.rollback(ALICE, [fast.night_id])
    assert memory.ledger.lineage.holding(ALICE, fast.night_id).name == fast.name
    assert memory.ledger.lineage.holding(ALICE, slow.night_id) is None


def test_a_note_is_cited_with_its_episode_and_a_dream_with_all_of_its_own(memory):
    told = [memory.observe(ALICE, text) for text in (TOLD, "Brenport is old.")]
    expert = put_expert(memory, ALICE, [one.id for one in told])
    note = Note(told[0].id, "Mara lives in Brenport.", TOLD)
    memory.ledger.notes.add(ALICE, [note])
    asked = [
        probe(1, told[0].id, "Where does Mara live?", "Brenport.", note_id=note.id),
        probe(2, told[1].id, "Is it old?", "Yes.", kind=Kind.DREAM, sources=[e.id for e in told]),
    ]
    memory.ledger.nights.add_probes(ALICE, asked)

    def cited(known, owner=ALICE):
        recalled = Recall(View.WEIGHTS, "near", known=known)
        return provenance(memory.ledger, owner, recalled=recalled)

    traced = cited(asked[0].id)
    assert (traced.expert, traced.night) == (expert.name, expert.night_id)
    assert [(one.episode, one.note) for one in traced.citations] == [(told[0].id, note.id)]
    assert {one.episode for one in cited(asked[1].id).citations} == {one.id for one in told}
    # What is not there, or another owner's, names nothing.
    for other in (cited("night-0009-00001"), cited(asked[0].id, owner=("bob",))):
        assert other.as_dict() == {"view": "weights", "reason": "near", "look": "first"}


def test_an_expert_is_proven_when_the_answer_goes_with_it_and_with_no_other(opened, by_hand):
    memory = opened()
    learned(memory, 3)
    _, named, last = names = live(memory)
    question = EXAM.format(2)
    answers(memory, lambda experts, reads: "A whale." if named in experts else UNKNOWN)
    found = memory.why(ALICE, question)
    assert (found.answer, found.known, found.proven) == ("A whale.", question, True)
    assert [one.without for one in found.ablations] == names
    assert [one.stays for one in found.ablations] == [True, False, True]
    assert (found.ablations[1].answer, found.needs) == (UNKNOWN, ())
    assert [one.text for one in found.episodes] == ["Mara saw whale 2."]
    assert json.loads(json.dumps(found.as_dict()))["episodes"][0]["day"] == "2030-01-02"

    # It needs another one, too.
    answers(memory, lambda experts, reads: "whale" if {named, last} <= {*experts} else "a cat")
    found = memory.why(ALICE, question)
    assert ([one.stays for one in found.ablations], found.proven) == ([True, False, False], False)
    assert found.needs == (last,)
    # None of them holds it; nor is an abstention held by any.
    answers(memory, lambda experts, reads: "The whale!" if named in experts else "whale")
    assert not memory.why(ALICE, question).proven
    answers(memory, lambda experts, reads: UNKNOWN if named in experts else "A cat.")
    assert not memory.why(ALICE, question).proven


def test_an_answer_that_was_read_is_proven_without_the_memories(memory):
    told = memory.observe(ALICE, TOLD)
    answers(memory, lambda experts, reads: "In Brenport." if reads else UNKNOWN)
    found = memory.why(ALICE, ASKED)
    assert found.recall.view is View.RETRIEVAL
    assert found.provenance.as_dict() == {
        "view": "retrieval",
        "reason": found.recall.reason,
        "look": "first",
        "citations": [{"episode": told.id, "day": told.date}],
    }
    assert [one.text for one in found.episodes] == [TOLD]
    (alone,) = found.ablations
    assert (alone.without, alone.answer, alone.stays) == ("memories", UNKNOWN, False)
    assert found.proven
    answers(memory, lambda experts, reads: "In Brenport.")
    assert not asyncio.run(memory.awhy(ALICE, ASKED)).proven


def test_where_no_memory_was_used_none_is_named(memory):
    answers(memory, lambda experts, reads: UNKNOWN)
    found = memory.why(ALICE, ASKED)
    assert (found.provenance, found.ablations, found.proven) == (None, (), False)
    assert memory.ask(ALICE, ASKED).provenance is None
    assert found.as_dict()["provenance"] is None


def test_why_stores_and_logs_nothing(opened, by_hand):
    memory = opened()
    learned(memory, 1)
    memory.recall(ALICE, EXAM.format(1))  # what was stored is embedded
    before = memory.ledger.turns.retrievals(ALICE), memory.status()
    changes = memory.ledger.database.db.conn.total_changes
    for question in (EXAM.format(1), "Where is the boat?"):
        memory.why(ALICE, question)
    assert memory.ledger.database.db.conn.total_changes == changes
    assert (memory.ledger.turns.retrievals(ALICE), memory.status()) == before


# The middleware


def scripted(*lines):
    return GenericFakeChatModel(messages=iter(lines))


def turn(text):
    return {"messages": [HumanMessage(text)]}


def sync(agent, *arguments):
    return agent.invoke(*arguments)


def in_loop(agent, *arguments):
    return asyncio.run(agent.ainvoke(*arguments))


@pytest.fixture(params=[sync, in_loop])
def call(request):
    """Invoke an agent, sync or async."""
    return request.param


def of(message):
    return message.response_metadata.get("sleepmem")


def test_the_answer_of_an_agent_names_what_was_read(memory, call):
    told = memory.observe(ALICE, TOLD)
    agent = create_agent(
        scripted("In Brenport."), middleware=[SleepMemoryMiddleware(memory, ALICE)]
    )
    answer = call(agent, turn(ASKED))["messages"][-1]
    assert of(answer)["view"] == "retrieval"
    assert of(answer)["citations"] == [{"episode": told.id, "day": told.date}]
    assert TOLD not in json.dumps(of(answer))


def test_the_answer_of_an_agent_names_night_and_expert(opened, by_hand, call):
    memory = opened()
    learned(memory, 2)
    answers(memory, lambda experts, reads: "A whale.")
    agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory, ALICE)])
    answer = call(agent, turn(EXAM.format(2)))["messages"][-1]
    assert (of(answer)["night"], of(answer)["expert"]) == ("night-0002", live(memory)[1])
    assert answer.response_metadata["experts"] == live(memory)

    # An unsure answer is taken back: the one that stands was read.
    answers(memory, lambda experts, reads: "A whale." if reads else UNKNOWN)
    answer = call(agent, turn(EXAM.format(2)))["messages"][-1]
    assert (of(answer)["view"], of(answer)["look"]) == ("retrieval", "again")
    assert "expert" not in of(answer)


@pytest.mark.parametrize("text", ["Good morning!", "How many moons has Jupiter?"])
def test_an_answer_without_memories_names_nothing(memory, call, text):
    agent = create_agent(scripted("Well."), middleware=[SleepMemoryMiddleware(memory, ALICE)])
    assert of(call(agent, turn(text))["messages"][-1]) is None


def test_a_turn_goes_on_where_nothing_can_be_traced(memory, call, monkeypatch):
    memory.observe(ALICE, TOLD)

    def broken(*given, **named):
        raise OSError("the disk is gone")

    monkeypatch.setattr("sleepmem.host.provenance", broken)
    agent = create_agent(
        scripted("In Brenport."), middleware=[SleepMemoryMiddleware(memory, ALICE)]
    )
    answer = call(agent, turn(ASKED))["messages"][-1]
    assert (answer.text, of(answer)) == ("In Brenport.", None)


# A graph of one's own


def built(memory, say, observed=observe_node):
    graph = StateGraph(MessagesState)
    graph.add_node("recall", recall_node(memory, ALICE))
    graph.add_node("speak", lambda state: {"messages": [say(state["messages"])]})
    graph.add_node("observe", observed(memory, ALICE))
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "speak")
    graph.add_edge("speak", "observe")
    graph.add_edge("observe", END)
    return graph.compile()


def test_the_answer_of_a_graph_names_what_was_read(memory, call):
    told = memory.observe(ALICE, TOLD)
    graph = built(memory, scripted("In Brenport.", "Hello.").invoke)
    out = call(graph, turn(ASKED))
    assert [one.type for one in out["messages"]] == ["system", "human", "ai"]
    assert of(out["messages"][-1])["citations"] == [{"episode": told.id, "day": told.date}]
    assert of(call(graph, turn("Good morning!"))["messages"][-1]) is None


def test_the_answer_of_a_graph_names_night_and_expert(opened, by_hand, call):
    memory = opened()
    learned(memory, 2)
    answers(memory, lambda experts, reads: "A whale.")
    model = memory.chat_model(ALICE)
    answer = call(built(memory, model.invoke), turn(EXAM.format(1)))["messages"][-1]
    assert (of(answer)["night"], of(answer)["expert"]) == ("night-0001", live(memory)[0])


def test_what_is_streamed_is_as_it_was(memory):
    memory.observe(ALICE, TOLD)

    def nothing(memory, namespace):
        return lambda state: {"messages": []}

    def streamed(agent):
        pieces = agent.stream(turn(ASKED), stream_mode="messages")
        return [piece.text for piece, _ in pieces if isinstance(piece, AIMessage)]

    def graph(observed):
        return built(memory, scripted("In far Brenport.").invoke, observed)

    pieces = streamed(graph(observe_node))
    assert pieces == streamed(graph(nothing))
    assert "".join(pieces) == "In far Brenport."
    agent = create_agent(
        scripted("In far Brenport."), middleware=[SleepMemoryMiddleware(memory, ALICE)]
    )
    assert "".join(streamed(agent)) == "In far Brenport."


def test_what_another_told_of_themselves_is_not_answered_from_the_weights(opened, by_hand):
    memory = opened()
    at = "2030-01-01T00:00:00.000000+00:00"
    memory.observe(ALICE, "I saw a whale.", created_at=at, speaker="Ana")
    watched(memory)
    asked = "Is it so that I saw a whale."
    views = {}
    for name in ("Ana", "ana", None, "Ben"):
        views[name] = memory.recall(ALICE, asked, speaker=name, log=False).view
    assert views.pop("Ben") is not View.WEIGHTS
    assert set(views.values()) == {View.WEIGHTS}
