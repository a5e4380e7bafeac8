import os
import subprocess
import sys

import pytest
from _values import HashedWords, put_expert
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem import (
    EpisodeError,
    FolderError,
    Look,
    Recall,
    SleepConfig,
    SleepMemory,
    View,
)
from sleepmem.config import MemoryConfig
from sleepmem.stores.agreement import reconcile_index

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
    assert memory.search_archive(ALICE, "Where did Mara move?").episodes == (hers,)
    assert memory.recall(("carol",), "Where did Mara move?").episodes == ()
    assert memory.search_archive(("carol",), "Mara").episodes == ()


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
    found = memory.recall(ALICE, "Where did Jon move?")
    assert (found.view, found.episodes) == (View.BASE, ())
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
    memory.search_archive(ALICE, "Mara")
    memory.recall(ALICE, "Where did Mara move?", log=False)
    rows = memory.ledger.turns.retrievals(ALICE)
    assert [r["episodes"] for r in rows] == [[told.id], [told.id]]
    assert "archive" in rows[1]["reason"]
    assert all(r["tokens"] > 0 for r in rows)


def looked_again(memory, first, reply):
    """Whether the archive was searched after this reply."""
    again = memory.second_look(ALICE, "Where did Mara move?", first=first, reply=reply)
    return again is not None


def test_the_archive_is_searched_once(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    found = memory.recall(ALICE, "Where did Mara move?")
    unknown = AIMessage("I do not know.")
    assert looked_again(memory, found, unknown)
    assert not looked_again(memory, found, AIMessage("Brenport."))
    assert not looked_again(memory, memory.search_archive(ALICE, "Mara"), unknown)


def test_a_look_that_went_on_into_the_archive_is_no_reason_for_another(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    found = memory.recall(ALICE, "Where did Mara move?")
    assert (found.view, found.look) == (View.RETRIEVAL, Look.ARCHIVE)
    assert not looked_again(memory, found, AIMessage("I do not know."))


def test_the_last_look_is_the_newest_decision_about_the_question(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    question = "Where did Mara move?"
    assert memory.last_look(ALICE, question) is None
    memory.recall(ALICE, question)
    assert memory.last_look(ALICE, question).look is Look.BUFFER
    memory.search_archive(ALICE, question)
    last = memory.last_look(ALICE, question)
    assert (last.view, last.look) == (View.RETRIEVAL, Look.AGAIN)
    assert memory.last_look(BOB, question) is None


@pytest.mark.parametrize(
    ("view", "confidence", "searched"),
    [(View.WEIGHTS, 0.3, True), (View.WEIGHTS, 0.9, False), (View.RETRIEVAL, 0.3, False)],
)
def test_an_unsure_answer_from_the_weights_is_looked_up(memory, view, confidence, searched):
    memory.observe(ALICE, "Mara moved to Brenport.")
    reply = AIMessage("Brenport.", response_metadata={"confidence": confidence})
    assert looked_again(memory, Recall(view, "near", (), 0.9), reply) is searched


def test_learned_episodes_leave_the_buffer_and_stay_in_the_archive(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    unsure = memory.recall(ALICE, "Where did Mara move?")
    assert (unsure.view, unsure.episodes) == (View.RETRIEVAL, (told,))
    assert "archive" in unsure.reason
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
        }
    ]


# The same thing said again


def test_the_same_text_twice_is_one_episode(memory):
    first = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
    assert memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[1]) == first
    assert memory.ledger.episodes.all() == [first]


def test_moving_away_and_back_is_three_episodes(memory):
    for day, town in zip(DAYS, ("Brenport", "Oslo", "Brenport"), strict=False):
        memory.observe(ALICE, f"Mara now lives in {town}.", created_at=day)
    assert [e.text[-9:-1] for e in memory.ledger.episodes.all()] == [
        "Brenport",
        " in Oslo",
        "Brenport",
    ]


def test_something_else_said_between_is_no_news(memory):
    first = memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[0])
    memory.observe(ALICE, "We bought seven green pears.", created_at=DAYS[1])
    assert memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[2]) == first


def test_another_persons_words_are_no_repetition(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(BOB, "Mara moved to Brenport.")
    memory.observe(ALICE, "Mara moved to Brenport.", source="tool:search")
    assert len(memory.ledger.episodes.all()) == 3


def test_a_message_is_stored_once_however_often_it_is_seen(memory):
    for _ in range(3):
        memory.observe(ALICE, "Mara moved to Brenport.", message_id="m1")
    memory.observe(ALICE, "Mara moved to Brenport.", message_id="m2")
    assert [e.message_id for e in memory.ledger.episodes.all()] == ["m1", "m2"]


class Loud(HashedWords):
    """Vectors of length 7: not every embedding model normalises."""

    def embed_query(self, text):
        return [7 * x for x in super().embed_query(text)]


def test_the_length_of_the_embeddings_does_not_matter(tmp_path, tiny):
    with SleepMemory.open(tmp_path, tiny, embeddings=Loud()) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
        memory.observe(ALICE, "We bought seven green pears for Mara.", created_at=DAYS[1])
        assert memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[2]) == told
        put_expert(memory, ALICE, [told.id])
        assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
        fresher = memory.observe(ALICE, "Mara moved back to Brenport.")
        found = memory.recall(ALICE, "Is it so that Mara moved to Brenport?")
        assert (found.view, set(found.episodes)) == (
            View.RETRIEVAL,
            {told, fresher},
        )  # the one that taught is read beside it


def test_times_are_compared_whatever_their_zone(memory):
    late = memory.observe(ALICE, "Mara lives in Oslo.", created_at="2030-01-01T23:30:00+00:00")
    early = memory.observe(ALICE, "Mara lives in Brenport.", created_at="2030-01-02T01:00:00+02:00")
    assert memory.recall(ALICE, "Where does Mara live?").oldest_first == (early, late)
    with pytest.raises(EpisodeError, match="next tuesday"):
        memory.observe(ALICE, "Mara lives in Rome.", created_at="next tuesday")


def test_the_newest_of_many_values_is_recalled(memory):
    told = [
        memory.observe(ALICE, f"The build of Atlas has number 100{n}.", created_at=DAYS[n])
        for n in range(9)
    ]
    assert told[-1] in memory.recall(ALICE, "Which number does the build of Atlas have?").episodes


def test_a_question_may_name_more_than_the_memory_does(memory):
    told = memory.observe(ALICE, "The Atlas project builds on Jenkins.")
    memory.observe(ALICE, "Mara builds boats in Brenport.")
    assert memory.recall(ALICE, "Which CI builds the Atlas project?").episodes == (told,)


def test_history_that_is_sent_again_is_not_stored_again(memory):
    talk = []
    for n, text in enumerate(
        ["Mara lives in Oslo.", "Mara lives in Brenport.", "Jon lives in Rome."]
    ):
        talk.append(HumanMessage(text))
        memory.observe_messages(
            ALICE,
            [m.model_copy(update={"id": f"turn {n} message {i}"}) for i, m in enumerate(talk)],
        )
        talk.append(AIMessage("Noted."))
    assert [e.text for e in memory.ledger.episodes.all()] == [m.text for m in talk[::2]]


def test_what_is_too_long_to_store_is_logged_and_the_turn_goes_on(memory):
    tool = ToolMessage("word " * 4000, tool_call_id="c", name="search")
    memory.observe_messages(ALICE, [tool, HumanMessage("Mara lives in Oslo.")])
    assert [e.text for e in memory.ledger.episodes.all()] == ["Mara lives in Oslo."]
    (event,) = memory.ledger.turns.events("not stored")
    assert "tokens" in event["reason"]


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


def test_other_embeddings_than_the_index_was_made_with_are_named(tmp_path, tiny):
    class Short(HashedWords):
        def embed_query(self, text):
            return super().embed_query(text)[:9]

    with SleepMemory.open(tmp_path, tiny, embeddings=HashedWords()) as memory:
        memory.observe(ALICE, "Mara lives in Oslo.")
    with (
        SleepMemory.open(tmp_path, tiny, embeddings=Short()) as memory,
        pytest.raises(FolderError, match="embeddings it was made with"),
    ):
        memory.recall(ALICE, "Where does Mara live?")


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
    reconcile_index(memory.ledger, memory.buffer, namespace=ALICE)
    assert memory.recall(ALICE, "Is it so that Mara lives?").view is View.WEIGHTS
    assert told[1] in memory.recall(ALICE, "Is it so that Mara eats plums?").episodes
    memory.observe(ALICE, "Mara lives in Rome.")
    assert memory.recall(ALICE, "Is it so that Mara lives?").view is View.RETRIEVAL


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
    reconcile_index(memory.ledger, memory.buffer, namespace=ALICE)
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
    reconcile_index(memory.ledger, memory.buffer, namespace=ALICE)
    assert memory.recall(ALICE, "Is it so that Mara lives in?").view is View.WEIGHTS
    memory.observe(ALICE, "Since Friday Mara has a new flat in Oslo.", created_at=DAYS[1])
    assert memory.recall(ALICE, "Is it so that Mara lives in?").view is View.RETRIEVAL
