import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import pytest
from _values import HashedWords, put_expert
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem import (
    FolderError,
    Look,
    Recall,
    SleepConfig,
    SleepMemory,
    View,
)
from sleepmem.config import MemoryConfig
from sleepmem.day import recall as recalling
from sleepmem.records import Episode
from sleepmem.stores.turns import FAILED
from sleepmem.stores.vectors import Place
from sleepmem.text.prompts import line_of

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


# Observe and recall


def test_what_was_told_is_recalled(memory):
    told = memory.observe(ALICE, " Mara moved to Brenport. ", created_at=DAYS[0])
    found = memory.recall(ALICE, "Where did Mara move?")
    assert (told.text, told.source, told.created_at) == ("Mara moved to Brenport.", "user", DAYS[0])
    assert found.view is View.RETRIEVAL
    assert found.episodes == (told,)
    assert "2030-01-01: Mara moved to Brenport." in memory.context(found, "You are kind.")
    assert memory.context(found, "You are kind.").startswith("You are kind.")


def test_namespaces_never_mix(memory):
    hers = memory.observe(ALICE, "Mara moved to Brenport.")
    his = memory.observe(BOB, "Mara moved to Oslo.")
    same = memory.observe(BOB, "Mara moved to Brenport.")
    assert memory.recall(ALICE, "Where did Mara move?").episodes == (hers,)
    assert set(memory.recall(BOB, "Where did Mara move?").episodes) == {his, same}
    assert memory.search(ALICE, "Where did Mara move?").episodes == (hers,)
    assert memory.recall(("carol",), "Where did Mara move?").episodes == ()
    assert memory.search(("carol",), "Mara").episodes == ()


def test_a_longer_namespace_is_another_one(memory):
    told = memory.observe(("org", "alice"), "Mara moved to Brenport.")
    assert memory.recall(("org",), "Where did Mara move?").episodes == ()
    assert memory.recall(("org", "alice"), "Where did Mara move?").episodes == (told,)


def test_recall_takes_at_most_so_many_memories(memory):
    for n in range(9):
        memory.observe(ALICE, f"Mara saw whale {n}.")
    assert (
        len(memory.recall(ALICE, "Which whale did Mara see?").episodes)
        == memory.config.gate.memories_per_question
    )


def test_nothing_stored_about_it_is_left_to_the_base(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    found = memory.recall(ALICE, "Translate good morning into French.")
    assert (found.view, found.episodes) == (View.BASE, ())
    assert "nothing that was stored is about it" in found.reason
    assert memory.context(found, "You are kind.") == "You are kind."


def test_an_episode_about_the_named_person_comes_first(memory):
    for n in range(5):
        memory.observe(ALICE, f"We asked where Jon{n} did move.")
    told = memory.observe(ALICE, "Mara did in the end move to Brenport.")
    assert memory.recall(ALICE, "So where did Mara move?").episodes[0] == told


def test_recall_fits_half_of_the_models_context(memory):
    for n in range(4):
        memory.observe(ALICE, f"Mara {n} " + "moved to Brenport " * 60)
    found = memory.recall(ALICE, "Where did Mara move to Brenport?")
    assert 0 < len(found.episodes) < 4


def test_every_decision_is_logged_with_its_reason(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    memory.recall(ALICE, "Where did Mara move?")
    memory.search(ALICE, "Where did Mara move?")
    memory.recall(ALICE, "Where did Mara move?", log=False)
    rows = memory.ledger.turns.retrievals(ALICE)
    assert [r["episodes"] for r in rows] == [[told.id], [told.id]]
    assert "searched everything" in rows[1]["reason"]
    assert all(r["tokens"] > 0 for r in rows)


def looked_again(memory, first, reply):
    """Whether everything was searched after this reply."""
    again = memory.second_look(ALICE, "Where did Mara move?", first=first, reply=reply)
    return again is not None


def test_what_was_answered_from_memories_is_not_looked_up_again(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    found, unknown = memory.recall(ALICE, "Where did Mara move?"), AIMessage("I do not know.")
    assert found.look is Look.FIRST
    assert not memory.may_look_again(ALICE, found, reply=unknown)
    assert not looked_again(memory, found, unknown)
    assert not looked_again(memory, memory.search(ALICE, "Where did Mara move?"), unknown)


def test_everything_is_searched_once_after_the_weights_did_not_know(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    question, unknown = "Is it so that Mara moved to Brenport?", AIMessage("I do not know.")
    first = memory.recall(ALICE, question)
    assert first.view is View.WEIGHTS
    assert memory.may_look_again(ALICE, first, reply=unknown)
    assert not memory.may_look_again(ALICE, first, reply=AIMessage("In Brenport."))
    again = memory.second_look(ALICE, question, first=first, reply=unknown)
    assert (again.view, again.look, again.episodes) == (View.RETRIEVAL, Look.AGAIN, (told,))
    assert not memory.may_look_again(ALICE, again, reply=unknown)
    assert memory.second_look(ALICE, question, first=again, reply=unknown) is None


def test_buffer_and_what_the_weights_hold_are_searched_at_once(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
    put_expert(memory, ALICE, [told.id])
    news = memory.observe(ALICE, "Mara moved to a boat.", created_at=DAYS[1])
    found = memory.recall(ALICE, "Where did Mara move?")
    assert (found.look, found.oldest_first) == (Look.FIRST, (told, news))


def test_a_model_without_the_experts_reads_what_the_weights_hold(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    question = "Is it so that Mara moved to Brenport?"
    assert memory.recall(ALICE, question).view is View.WEIGHTS
    found = memory.recall(ALICE, question, holds_experts=False)
    assert (found.view, found.episodes) == (View.RETRIEVAL, (told,))


def test_what_stands_in_the_conversation_anyway_is_not_recalled(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    seen = ["mara moved to Brenport", "Where did Mara move?"]
    assert memory.recall(ALICE, "Where did Mara move?", seen=seen).episodes == ()


@pytest.mark.parametrize(
    "before", ["Where did Mara move?", "Is it so that Mara moved to Brenport?"]
)
def test_a_question_that_was_asked_before_drives_no_fact_out(memory, before):
    told = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
    memory.observe(ALICE, before, created_at=DAYS[1])
    for again in (before, "So where did Mara move?"):
        assert told in memory.recall(ALICE, again).episodes


def test_the_last_look_is_the_newest_decision_about_the_question(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    question = "Where did Mara move?"
    assert memory.last_look(ALICE, question) is None
    memory.recall(ALICE, question)
    assert memory.last_look(ALICE, question).look is Look.FIRST
    memory.search(ALICE, question)
    last = memory.last_look(ALICE, question)
    assert (last.view, last.look) == (View.RETRIEVAL, Look.AGAIN)
    assert memory.last_look(BOB, question) is None


@pytest.mark.parametrize(
    ("view", "confidence", "searched"),
    [(View.WEIGHTS, 0.3, True), (View.RETRIEVAL, 0.3, False), (View.BASE, 0.3, False)],
)
def test_an_unsure_answer_from_the_weights_is_looked_up(memory, view, confidence, searched):
    memory.observe(ALICE, "Mara moved to Brenport.")
    reply = AIMessage("Brenport.", response_metadata={"confidence": confidence})
    assert looked_again(memory, Recall(view, "near", (), 0.9), reply) is searched


def test_learned_episodes_leave_the_buffer_and_are_found_still(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    unsure = memory.recall(ALICE, "Where did Mara move?")
    assert (unsure.view, unsure.episodes) == (View.RETRIEVAL, (told,))
    assert memory.ledger.episodes.buffered(ALICE) == []
    assert memory.verify() == []


def test_tired_when_the_buffer_is_full(tmp_path, tiny, embeddings):
    with SleepMemory.open(
        tmp_path, tiny, embeddings=embeddings, config=MemoryConfig(sleep=SleepConfig(tired_at=2))
    ) as memory:
        memory.observe(ALICE, "Mara moved to Brenport.")
        assert not memory.is_tired(ALICE)
        memory.observe(ALICE, "Jon moved to Oslo.")
        assert memory.is_tired(ALICE)
        assert not memory.is_tired(BOB)


def test_a_night_is_due_when_enough_came_in_or_one_was_interrupted(memory):
    assert memory.due_nights(least=1) == []
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(BOB, "Jon moved to Oslo.", source="tool:search")
    assert memory.due_nights() == []
    # What others said teaches nothing, so it makes no night due.
    assert memory.due_nights(least=1) == [ALICE]
    memory.ledger.nights.start(BOB)
    assert memory.due_nights() == [BOB]


def test_status_counts(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(ALICE, "Jon moved to Oslo.")
    memory.recall(ALICE, "Where did Jon move?")
    expert = put_expert(memory, ALICE, [told.id])
    assert memory.status() == [
        {
            "namespace": ["alice"],
            "episodes": 2,
            "buffered": 1,
            "learned": 1,
            "experts": [expert.name],
            "nights": 1,
            "questions": 1,
            "retrieval_rate": 1.0,
            "failures": 0,
            "unembedded": 0,
        }
    ]


# What surrounds what was said


def test_a_message_carries_its_conversation_its_speaker_and_what_it_answers(memory):
    talk = [
        AIMessage("When is your appointment?"),
        HumanMessage("On the day after the fair.", id="m1", name="Mara"),
    ]
    said_at = "2030-01-02T23:30:00-05:00"
    memory.observe_messages(ALICE, talk, thread="t", said_at=said_at)
    (told,) = memory.ledger.episodes.all()
    assert (told.speaker, told.thread, told.message_id) == ("Mara", "t", "m1")
    assert (told.answers, told.date) == ("When is your appointment?", "2030-01-02")
    found = memory.recall(ALICE, "When does she have her appointment?")
    shown = memory.context(found, today=date(2030, 1, 3), speaker="Jon")
    assert f'2030-01-02: agent: " {told.answers} " - Mara: {told.text}' in shown
    assert "Today is 2030-01-03. Jon speaks." in shown


def test_what_came_of_a_turn_is_kept_with_it(memory):
    talk = [HumanMessage("Where does Mara live?", id="m1")]
    memory.observe_messages(ALICE, talk)
    (asked,) = memory.ledger.episodes.all()
    assert memory.ledger.episodes.outcome(asked.id) is None
    memory.observe_messages(ALICE, [*talk, AIMessage("In Brenport.")])
    assert memory.ledger.episodes.all() == [asked]
    assert memory.ledger.episodes.outcome(asked.id) == "In Brenport."


def test_what_the_agent_carried_out_is_an_episode_that_teaches_nothing(memory):
    call = {"name": "book", "args": {"day": "Friday"}, "id": "c"}
    talk = [
        HumanMessage("Book me the ferry to Oslo.", id="m1"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Berth 12 is reserved.", tool_call_id="c", name="book", id="m2"),
        AIMessage("You have berth 12.", id="m3"),
    ]
    for _ in range(2):
        memory.observe_messages(ALICE, talk)
    told = {e.source: e for e in memory.ledger.episodes.all()}
    assert set(told) == {"user", "tool:book", "agent"}
    assert len(memory.ledger.episodes.all()) == 3
    assert 'book({"day": "Friday"}) -> Berth 12 is reserved.' in told["agent"].text
    assert [e.source for e in told.values() if e.trusted] == ["user"]


def test_what_a_memory_tool_gives_back_is_not_told_again(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    talk = [
        HumanMessage("Where did she go then?"),
        ToolMessage('["Mara moved to Brenport."]', tool_call_id="c", name="find_memories"),
        ToolMessage("Brenport has 900 people.", tool_call_id="d", name="search"),
    ]
    memory.observe_messages(ALICE, talk)
    tools = [e.text for e in memory.ledger.episodes.all() if e.source.startswith("tool:")]
    assert tools == ["Brenport has 900 people."]


def test_what_follows_in_the_same_conversation_comes_along(memory):
    first = memory.observe(ALICE, "Mara bought a boat.", created_at=DAYS[0], thread="t")
    later = "2030-01-01T00:05:00+00:00"
    news = memory.observe(ALICE, "She sold the boat again.", created_at=later, thread="t")
    found = memory.recall(ALICE, "What did Mara buy?")
    assert found.oldest_first == (first, news)


def talked(memory, texts):
    """What is told in one conversation, a minute apart."""
    told = []
    for minute, text in enumerate(texts):
        at = f"2030-01-02T00:0{minute}:00+00:00"
        told.append(memory.observe(ALICE, text, created_at=at, thread="t"))
    for n in range(9):
        memory.observe(ALICE, f"Mara saw whale {n}.", created_at=DAYS[n], thread="other")
    return told


def test_what_goes_on_without_a_name_comes_along_some_steps_far(memory):
    told = talked(memory, ["Mara bought a boat.", "She has two kids.", "They are three and five."])
    assert set(told) <= set(memory.recall(ALICE, "Which boat has Mara bought?").episodes)


def test_what_goes_on_about_another_name_stays(memory):
    told = talked(memory, ["Mara bought a boat.", "Qwortig sells Zzyvax.", "He is so tall."])
    assert told[2] not in memory.recall(ALICE, "Which boat has Mara bought?").episodes


def test_of_a_long_neighbour_its_nearest_piece_is_read(memory):
    noise = "The water was cold and the wind came over the hills.\n" * 2_000
    told = talked(memory, ["Mara bought a boat.", f"{noise}\n\nIt has two kids.\n\n{noise}"])
    found = memory.recall(ALICE, "Which boat has Mara bought?", holds_experts=False)
    assert set(told) <= set(found.episodes)
    assert "It has two kids." in memory.context(found)
    assert len(memory.context(found)) < 2_000


def test_what_a_model_without_the_experts_reads_has_a_limit(memory):
    config = replace(memory.config, gate=replace(memory.config.gate, memories_per_question=100))
    for n in range(60):
        memory.observe(ALICE, f"Mara {n} " + f"moved to Brenport by road {n} " * 30)
    question = "Where did Mara move to Brenport?"
    memory._day = replace(memory._day, config=config)
    found = memory.recall(ALICE, question, holds_experts=False)
    assert 5 < len(found.episodes) < 20


def test_what_does_not_fit_takes_no_room_from_what_does(memory):
    long = memory.observe(ALICE, "Mara did move to Brenport " + "by road and by rail " * 40)
    short = memory.observe(ALICE, "Mara did move in May.")
    day = memory._day
    room = day.count_tokens(line_of(short))
    assert recalling._fitting(day, [long, short], {}, room=room) == (short,)


# Days


def test_what_was_said_on_several_days_is_recalled_of_the_day_that_is_asked_for(memory):
    days = ("2030-01-07", "2030-01-09", "2030-01-11")  # Monday, Wednesday, Friday
    runs = []
    for day in days:
        at = f"{day}T08:00:00+00:00"
        runs.append(memory.observe(ALICE, "I went running today.", created_at=at))
        memory.observe(ALICE, f"On {day} we ate pears.", created_at=f"{day}T09:00:00+00:00")
    today = date(2030, 1, 12)
    for run, day in zip(runs, ("Monday", "Wednesday", "Friday"), strict=True):
        found = memory.recall(ALICE, f"Did I go running on {day}?", today=today)
        assert [one for one in found.episodes if one in runs] == [run]
    found = memory.recall(ALICE, "Did I ever go running?", today=today)
    assert [one for one in found.episodes if one in runs] == [runs[-1]]


def test_a_correction_in_other_words_is_read_and_what_was_told_before_is_no_correction(
    new_folder, tiny
):
    """With embeddings that know what words mean."""
    city, village = "I live in the city.", "We moved to a small village last week."
    for news, view in ((DAYS[0], View.WEIGHTS), (DAYS[2], View.RETRIEVAL)):
        owner = (news,)
        with SleepMemory.open(new_folder, model=tiny) as memory:
            told = memory.observe(owner, city, created_at=DAYS[1])
            put_expert(memory, owner, [told.id])
            asked = f"Is it so that {city}"
            assert memory.recall(owner, asked).view is View.WEIGHTS
            memory.observe(owner, village, created_at=news)
            found = memory.recall(owner, asked)
            assert found.view is view, found.reason
    assert {one.text for one in found.episodes} == {city, village}


def test_who_only_reads_sees_what_a_writer_appended_without_a_vector(new_folder, tiny, embeddings):
    how = {"model": tiny, "embeddings": embeddings}
    with SleepMemory.open(new_folder, **how) as memory:
        told = memory.observe(ALICE, "Mara lives in Rome.")
        put_expert(memory, ALICE, [told.id])
    asked = "Is it so that Mara lives in Rome."
    with SleepMemory.open(new_folder, read_only=True, **how) as reader:
        assert reader.recall(ALICE, asked).view is View.WEIGHTS
    with SleepMemory.open(new_folder, append_only=True, **how) as writer:
        news = writer.observe(ALICE, "Mara lives in Oslo now.")
    with SleepMemory.open(new_folder, read_only=True, **how) as reader:
        found = reader.recall(ALICE, asked)
        assert found.view is View.RETRIEVAL, found.reason
        assert news in found.episodes


def test_what_is_over_is_not_recalled_on_its_own_day_either(memory):
    """Whether it was said once or again: naming a day looks further back, not past an end."""
    told = []
    for day in ("2020-01-06", "2020-01-08"):
        at = f"{day}T07:00:00.000000+00:00"
        price = "The red boat costs 900 today."
        told.append(memory.observe(ALICE, price, created_at=at, lasts=timedelta(days=1)))
    today, asked = date(2020, 1, 12), "What did the red boat cost on {}?"
    for day in ("6 January", "8 January"):
        found = memory.recall(ALICE, asked.format(day), today=today)
        assert set(found.episodes).isdisjoint(told), day
    on = memory.ledger.episodes.on_days(ALICE, "2020-01-06", last="2020-01-08", limit=9)
    assert on == []


def test_a_day_is_the_speakers_own(memory):
    told = memory.observe(ALICE, "Mara sold wool.", created_at="2030-01-07T23:30:00-05:00")
    memory.observe(ALICE, "Mara sold pears.", created_at="2030-01-07T01:00:00+02:00")
    memory.observe(ALICE, "Mara sold whales.", created_at="2030-01-09T01:00:00+02:00")
    found = memory.recall(ALICE, "What did Mara sell on 7 January?", today=date(2030, 1, 12))
    assert told in found.episodes[:2]


# Long texts


LONG = " ".join(f"Paragraph {n} of the lease is about rent and heating." for n in range(120))


def test_a_text_of_any_length_is_stored_whole_and_read_in_pieces(memory):
    told = memory.observe(ALICE, f"{LONG} The cellar key hangs behind the clock. {LONG}")
    assert memory.ledger.episodes.all() == [told]
    found = memory.recall(ALICE, "Where does the cellar key hang?")
    assert found.episodes == (told,)
    excerpt = found.excerpts[told.id]
    assert "The cellar key hangs behind the clock." in excerpt
    assert len(excerpt) <= 1000
    assert excerpt in memory.context(found)
    assert LONG not in memory.context(found)
    assert memory.search(ALICE, "Where does the cellar key hang?").excerpts == found.excerpts
    assert memory.verify() == []


def test_a_short_text_is_read_whole(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    assert memory.recall(ALICE, "Where did Mara move?").excerpts == {}


def test_pieces_are_one_episode_wherever_they_lie(memory):
    told = memory.observe(ALICE, LONG)
    assert memory.buffer.ids(ALICE) == {told.id}
    assert memory.buffer.flush(ALICE) > 1
    assert memory.buffer.ids(ALICE) == {told.id}
    vector = memory.embeddings.embed_query("rent and heating")
    assert [one.id for one in memory.buffer.near(ALICE, vector, count=9)] == [told.id]
    put_expert(memory, ALICE, [told.id])
    assert (memory.buffer.ids(ALICE), memory.buffer.archived_ids(ALICE)) == (set(), {told.id})
    assert memory.verify() == []


def test_the_newest_wait_for_the_index_and_are_found_there(memory, monkeypatch):
    monkeypatch.setattr("sleepmem.stores.buffer.WAITING", 64)
    told = [memory.observe(ALICE, f"Mara saw whale {n}.") for n in range(63)]
    vectors = memory.ledger.vectors
    assert (vectors.number_waiting(ALICE), vectors.lying(ALICE, Place.EPISODES)) == (63, set())
    assert not (memory.folder / "chroma").exists()
    assert told[7] in memory.recall(ALICE, "Did Mara see whale 7?").episodes
    told.append(memory.observe(ALICE, "Mara saw whale 63."))
    assert vectors.number_waiting(ALICE) == 0
    assert vectors.lying(ALICE, Place.EPISODES) == {e.id for e in told}
    assert told[7] in memory.recall(ALICE, "Did Mara see whale 7?").episodes
    assert memory.verify() == []


OPENING = """
import sys
from pathlib import Path
from sleepmem.stores.ledger import Ledger
for _ in range(20):
    Ledger(Path(sys.argv[1])).close()
"""


def test_processes_may_open_a_new_ledger_at_once(tmp_path):
    start = [sys.executable, "-c", OPENING, str(tmp_path / "ledger.db")]
    running = [
        subprocess.Popen(
            start,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    assert [p.communicate()[1].decode()[-300:] for p in running] == [""] * 3


def test_two_folders_share_a_chroma_client(tmp_path, tiny):
    import chromadb

    client = chromadb.EphemeralClient()
    for name in ("one", "two"):
        with SleepMemory.open(
            tmp_path / name, tiny, embeddings=HashedWords(), chroma_client=client
        ) as memory:
            told = memory.observe(ALICE, f"Mara lives in {name}.")
            assert memory.recall(ALICE, "Where does Mara live?").episodes == (told,)
            assert memory.verify() == []


class Short(HashedWords):
    def embed_query(self, text):
        return super().embed_query(text)[:200]


class Turned(HashedWords):
    """Other vectors of the same length."""

    def embed_query(self, text):
        return super().embed_query(text)[::-1]


@pytest.mark.parametrize("others", [Short, Turned])
def test_other_embeddings_than_the_index_was_made_with_are_named(tmp_path, tiny, others):
    with SleepMemory.open(tmp_path, tiny, embeddings=HashedWords()) as memory:
        told = memory.observe(ALICE, "Mara lives in Oslo.")
    with SleepMemory.open(tmp_path, tiny, embeddings=others()) as memory:
        with pytest.raises(FolderError, match=r"other embeddings .*reindex"):
            memory.recall(ALICE, "Where does Mara live?")
        memory.observe(ALICE, "Mara lives in Rome.")
        assert "reindex" in memory.ledger.turns.events(FAILED)[-1]["reason"]
        memory.reindex()
        assert told in memory.recall(ALICE, "Where does Mara live?").episodes
        assert memory.verify() == []
    with (
        SleepMemory.open(tmp_path, tiny, embeddings=HashedWords()) as memory,
        pytest.raises(FolderError, match="reindex"),
    ):
        memory.recall(ALICE, "Where does Mara live?")


def test_who_has_the_old_embeddings_is_refused_once_the_index_is_made_anew(tmp_path, tiny):
    with (
        SleepMemory.open(tmp_path, tiny, embeddings=HashedWords()) as agent,
        SleepMemory.open(tmp_path, tiny, embeddings=Turned()) as other,
    ):
        agent.observe(ALICE, "Mara lives in Oslo.")
        other.reindex()
        agent.observe(ALICE, "Jon has a boat.")
        for look in (agent.recall, agent.search):
            with pytest.raises(FolderError, match=r"other embeddings .*reindex"):
                look(ALICE, "Where does Mara live?")
        with pytest.raises(FolderError, match="other embeddings"):
            agent.buffer.near(ALICE, agent.embeddings.embed_query("Mara"), count=1)
        other.recall(ALICE, "What does Jon have?")
        for text in ("Mara lives in Oslo.", "Jon has a boat."):
            vector = other.embeddings.embed_query(text)
            assert other.buffer.near(ALICE, vector, count=1)[0].similarity > 0.99
        assert other.verify() == []


@pytest.mark.parametrize("is_known", [False, True])
def test_what_was_embedded_before_the_index_was_made_anew_is_not_kept(tmp_path, tiny, is_known):
    class Slow(HashedWords):
        def embed_documents(self, texts):
            vectors = super().embed_documents(texts)
            if texts == ["Jon has a boat."] or (len(texts) > 2 and not is_known):
                other.reindex()
            return vectors

    with (
        SleepMemory.open(tmp_path, tiny, embeddings=Turned()) as other,
        SleepMemory.open(tmp_path, tiny, embeddings=Slow()) as agent,
    ):
        agent.observe(ALICE, "Jon has a boat.")
        vector = other.embeddings.embed_query("Jon has a boat.")
        assert other.recall(ALICE, "What does Jon have?").episodes
        assert other.buffer.near(ALICE, vector, count=1)[0].similarity > 0.99
        with pytest.raises(FolderError, match="other embeddings"):
            agent.recall(ALICE, "What does Jon have?")


@pytest.fixture
def locked(memory, monkeypatch):
    """The attempts to write into a memory that another program holds."""
    monkeypatch.setattr("sleepmem.stores.database.HURRIED_SECONDS", 0)
    monkeypatch.setattr("sleepmem.stores.database.BUSY_SECONDS", 3)
    memory.observe(ALICE, "Mara lives in Oslo.")
    memory.recall(ALICE, "Where does Mara live?")
    memory.ledger.episodes.add(Episode(ALICE, "Jon lives in Rome."))
    tried = []
    with closing(sqlite3.connect(memory.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        memory.ledger.database.db.conn.set_trace_callback(tried.append)
        yield tried
        memory.ledger.database.db.conn.set_trace_callback(None)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("look", ["recall", "search"])
def test_a_recall_writes_what_it_can_and_waits_for_nobody(memory, locked, look, log):
    found = getattr(memory, look)(ALICE, "Where do Mara and Jon live?", log=log)
    assert {one.text for one in found.episodes} == {"Mara lives in Oslo.", "Jon lives in Rome."}
    assert 0 < locked.count("BEGIN IMMEDIATE") < 10
    locked.clear()
    with pytest.raises(FolderError, match="locked"):
        memory.observe(ALICE, "Karo lives in Bern.")
    assert locked.count("BEGIN IMMEDIATE") > 10


class Broken(HashedWords):
    """Does what `how` does, while there is one."""

    how = None

    def embed_query(self, text):
        return self.how(super().embed_query(text)) if self.how else super().embed_query(text)


def refuses(vector):
    raise ConnectionError("503")


@pytest.mark.parametrize(
    "how",
    [refuses, *(lambda vector, given=given: given for given in (None, "abc", ["a"], [[1.0]]))],
)
@pytest.mark.parametrize("is_new", [False, True])
def test_while_the_embeddings_fail_the_words_are_searched(tmp_path, tiny, how, is_new):
    embeddings = Broken()
    memory = SleepMemory.open(tmp_path, tiny, embeddings=embeddings)
    if not is_new:
        memory.observe(ALICE, "Jon has a boat.")
        put_expert(memory, ALICE, [memory.observe(ALICE, "Karo has a cat.").id])
        assert memory.recall(ALICE, "Is it so that Karo has a cat?").view is View.WEIGHTS
    embeddings.how = how
    told = memory.observe(ALICE, "Mara lives in Brenport.")
    for look in (memory.recall, memory.search):
        found = look(ALICE, "Where does Mara live?")
        assert told in found.episodes
        assert "searched by words alone" in found.reason
    memory.close()
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as again:
        assert told in again.recall(ALICE, "Where does Mara live?").episodes
        if not is_new:
            assert again.recall(ALICE, "Is it so that Karo has a cat?").episodes
        embeddings.how = None
        found = again.recall(ALICE, "Where does Mara live?")
        assert told in found.episodes
        assert "words alone" not in found.reason
        assert again.status()[0]["unembedded"] == 0
        assert again.verify() == []


def test_an_index_is_not_made_anew_while_the_embeddings_fail(tmp_path, tiny):
    embeddings = Broken()
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        memory.observe(ALICE, "Mara lives in Brenport.")
        embeddings.how = refuses
        with pytest.raises(FolderError, match=r"503.*left as it is"):
            memory.reindex()
        assert memory.status()[0]["unembedded"] == 0


def test_an_index_made_anew_holds_what_the_old_one_held(memory):
    told = [memory.observe(ALICE, text) for text in ("Mara lives in Oslo.", "Jon has a boat.")]
    put_expert(memory, ALICE, [told[0].id])
    memory.observe(BOB, "Mara lives in Rome.")
    memory.reindex()
    assert memory.recall(ALICE, "Is it so that Mara lives in Oslo?").view is View.WEIGHTS
    assert told[1] in memory.recall(ALICE, "What does Jon have?").episodes
    assert memory.recall(BOB, "Where does Mara live?").episodes[0].namespace == BOB
    assert memory.verify() == []


def test_forward_again_after_a_rollback(memory):
    told = memory.observe(ALICE, "Mara lives in Oslo.")
    night = put_expert(memory, ALICE, [told.id]).night_id
    assert memory.rollback(ALICE, []) == [told.id]
    assert memory.ledger.episodes.buffered(ALICE) == [told]
    memory.rollback(ALICE, [night])
    assert (memory.ledger.episodes.buffered(ALICE), memory.ledger.episodes.learned(ALICE)) == (
        [],
        [told],
    )
    assert memory.recall(ALICE, "Is it so that Mara lives in Oslo?").view is View.WEIGHTS
    assert memory.verify() == []


def test_what_the_weights_forgot_keeps_no_other_question_from_them(memory):
    told = [
        memory.observe(ALICE, t, created_at=at)
        for t, at in (("Mara lives in Oslo.", DAYS[1]), ("Mara eats plums.", DAYS[0]))
    ]
    put_expert(memory, ALICE, [e.id for e in told])
    memory.ledger.episodes.take_back([told[1].id])
    assert memory.recall(ALICE, "Is it so that Mara lives?").view is View.WEIGHTS
    assert told[1] in memory.recall(ALICE, "Is it so that Mara eats plums?").episodes
    memory.observe(ALICE, "Mara lives in Rome.")
    assert memory.recall(ALICE, "Is it so that Mara lives?").view is View.RETRIEVAL


def test_however_many_questions_lie_nearer_news_is_read(memory):
    known = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[0])
    put_expert(memory, ALICE, [known.id])
    for n in range(150):
        memory.observe(ALICE, f"Why is it so that Mara lives in house {n}?")
    question = "Is it so that Mara lives in Rome?"
    assert memory.recall(ALICE, question).view is View.WEIGHTS
    news = memory.observe(ALICE, "Mara lives in Oslo with a cat.", created_at=DAYS[1])
    for _ in ("kept in memory", "written to the index"):
        found = memory.recall(ALICE, question)
        assert found.view is View.RETRIEVAL
        assert "fresher" in found.reason
        memory.buffer.flush(ALICE)
    assert news.id in memory.buffer.ids(ALICE)


def test_beside_what_taught_only_what_may_be_fresher_is_read(memory):
    known = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[0])
    put_expert(memory, ALICE, [known.id])
    other = memory.observe(ALICE, "So it is that Jon sings.", created_at=DAYS[1])
    question = "Is it so that Mara lives in Rome?"
    assert memory.recall(ALICE, question).view is View.WEIGHTS
    assert other in memory.search(ALICE, question).episodes
    news = memory.observe(ALICE, "Mara lives in Oslo with a cat.", created_at=DAYS[2])
    assert set(memory.recall(ALICE, question).episodes) == {known, news}


def test_what_waits_for_ever_is_no_news_of_what_was_told_later(memory):
    # Such as what a rule keeps from being learned.
    memory.observe(ALICE, "Mara lives on a boat in winter.", created_at=DAYS[0])
    known = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[1])
    put_expert(memory, ALICE, [known.id])
    question = "Is it so that Mara lives in Rome?"
    assert memory.recall(ALICE, question).view is View.WEIGHTS
    memory.observe(ALICE, "Mara lives on a boat in winter.", created_at=DAYS[2])
    assert memory.recall(ALICE, question).view is View.RETRIEVAL


def test_after_a_rollback_what_was_forgotten_may_be_news(memory):
    old = memory.observe(ALICE, "Mara lives in Oslo.", created_at=DAYS[0])
    first = put_expert(memory, ALICE, [old.id]).night_id
    new = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[1])
    put_expert(memory, ALICE, [new.id], superseded=[old.id])
    memory.ledger.episodes.take_back([new.id])
    assert set(memory.ledger.episodes.forgotten(ALICE)) == {new.id}
    memory.rollback(ALICE, [first])
    assert memory.ledger.episodes.forgotten(ALICE) == {}
    found = memory.recall(ALICE, "Is it so that Mara lives?")
    assert (found.view, found.episodes) == (View.RETRIEVAL, (old, new))


def test_what_was_forgotten_but_told_later_than_what_taught_is_read(memory):
    old = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[0])
    put_expert(memory, ALICE, [old.id])
    new = memory.observe(ALICE, "Mara lives in Oslo now.", created_at=DAYS[1])
    put_expert(memory, ALICE, [new.id])  # the teacher overlooked that it corrects the first
    memory.ledger.episodes.take_back([new.id])
    found = memory.recall(ALICE, "Is it so that Mara lives?")
    assert (found.view, found.episodes) == (View.RETRIEVAL, (old, new))


def test_what_was_forgotten_does_not_crowd_out_what_is_new(memory):
    old = [
        memory.observe(
            ALICE, f"Mara lives with Jon{n}.", created_at=f"2029-01-01T00:00:{n:02d}+00:00"
        )
        for n in range(30)
    ]
    known = memory.observe(ALICE, "Mara lives in Rome.", created_at=DAYS[0])
    put_expert(memory, ALICE, [e.id for e in (*old, known)])
    memory.ledger.episodes.take_back([e.id for e in old])
    assert memory.recall(ALICE, "Is it so that Mara lives in?").view is View.WEIGHTS
    memory.observe(ALICE, "Since Friday Mara has a new flat in Oslo.", created_at=DAYS[1])
    assert memory.recall(ALICE, "Is it so that Mara lives in?").view is View.RETRIEVAL


def test_an_id_of_another_conversation_hides_no_memory(memory):
    told = memory.observe(ALICE, "My dog is called Rex.", message_id="1", thread="a")
    memory.observe(ALICE, "What is my dog called?", message_id="1", thread="b")
    found = memory.recall(ALICE, "What is my dog called?", message_id="1")
    assert found.episodes == (told,)


def test_an_earlier_request_like_this_one_hides_no_fact(memory):
    told = memory.observe(ALICE, "My landlord is called Mr. Okafor.", message_id="0")
    memory.observe(ALICE, "Write an email to my landlord about the heating.", message_id="1")
    found = memory.recall(ALICE, "Write an email to my landlord about the wifi.")
    assert told in found.episodes


def test_of_a_very_long_turn_beginning_and_end_are_asked(memory):
    told = memory.observe(ALICE, "My dog is called Rex.")
    paste = "The rain fell on the roofs of the town all day. " * 4_000
    for text in (f"What is my dog called?\n{paste}", f"{paste}\nWhat is my dog called?"):
        assert told in memory.recall(ALICE, text).episodes
