"""What is said again, sent again, or told anew: one place, the newest of it."""

import pytest
from _values import HashedWords, put_expert
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem import (
    EpisodeError,
    SleepMemory,
    View,
)

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


def test_the_same_text_twice_is_one_episode(memory):
    first = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
    later = "2030-01-01T08:00:00Z"
    assert first.day == later[:10]
    assert memory.observe(ALICE, "Mara moved to Brenport.", created_at=later) == first
    assert memory.ledger.episodes.all() == [first]


def test_moving_away_and_back_is_three_episodes(memory):
    for day, town in zip(DAYS, ("Brenport", "Oslo", "Brenport"), strict=False):
        memory.observe(ALICE, f"Mara now lives in {town}.", created_at=day)
    assert [e.text[-9:-1] for e in memory.ledger.episodes.all()] == [
        "Brenport",
        " in Oslo",
        "Brenport",
    ]


def test_said_again_after_something_else_it_is_news(memory):
    first = memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[0])
    other = memory.observe(ALICE, "We bought seven green pears.", created_at=DAYS[1])
    again = memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[2])
    assert memory.ledger.episodes.all() == [first, other, again]
    assert memory.ledger.episodes.buffered(ALICE) == [other, again]
    assert memory.recall(ALICE, "Where does Mara live now?").episodes == (again,)
    assert memory.buffer.ids(ALICE) == {other.id, again.id}
    assert memory.verify() == []


def test_after_moving_away_and_back_the_newest_wins(memory):
    towns = ("Brenport", "Oslo", "Brenport")
    told = [
        memory.observe(ALICE, f"Mara now lives in {town}.", created_at=day)
        for day, town in zip(DAYS, towns, strict=False)
    ]
    found = memory.recall(ALICE, "In which town does Mara live now?")
    assert found.oldest_first[-1] == told[-1]
    assert told[0] not in found.episodes


def test_a_long_text_said_again_leaves_no_piece_of_the_older_one(memory):
    long = "The lease of the house says much. " * 60
    first = memory.observe(ALICE, long, created_at=DAYS[0])
    memory.buffer.flush(ALICE)
    memory.observe(ALICE, "We bought seven green pears.", created_at=DAYS[1])
    again = memory.observe(ALICE, long, created_at=DAYS[2])
    memory.buffer.flush(ALICE)
    assert first.id not in memory.buffer.ids(ALICE)
    assert memory.recall(ALICE, "What does the lease of the house say?").episodes == (again,)
    assert memory.verify() == []


def test_facts_that_differ_in_one_name_are_both_recalled(memory):
    told = [memory.observe(ALICE, f"My daughter {n} is allergic to nuts.") for n in ("Anna", "Eva")]
    found = memory.recall(ALICE, "Which daughter of mine is allergic to nuts?")
    assert set(found.episodes) == set(told)


def test_what_was_replaced_crowds_out_nothing(memory):
    for n in range(8):
        memory.observe(ALICE, "Mara lives in Oslo.", created_at=f"2030-01-01T00:00:0{n}+00:00")
        memory.observe(ALICE, "Jon has a boat.", created_at=f"2030-01-01T00:00:0{n}.5+00:00")
    vector = memory.embeddings.embed_query("Mara lives in Oslo.")
    near = memory.buffer.near(ALICE, vector, count=2)
    buffered = {episode.id for episode in memory.ledger.episodes.buffered(ALICE)}
    assert {one.id for one in near} == buffered


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
        put_expert(memory, ALICE, [told.id])
        assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
        fresher = memory.observe(ALICE, "Mara moved back to Brenport.", created_at=DAYS[2])
        found = memory.recall(ALICE, "Is it so that Mara moved to Brenport?")
        assert found.view is View.RETRIEVAL
        assert {told, fresher} <= set(found.episodes)  # the one that taught is read beside it


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
    assert told in memory.recall(ALICE, "Which CI builds the Atlas project?").episodes


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


def test_what_cannot_be_stored_is_logged_and_the_turn_goes_on(memory):
    tool = ToolMessage("Oslo has rain.", tool_call_id="c", name="search")
    memory.observe_messages(ALICE, [HumanMessage("Mara lives in Oslo."), tool], said_at="noon")
    assert memory.ledger.episodes.all() == []
    events = memory.ledger.turns.events("not stored")
    assert sorted(event["source"] for event in events) == ["tool:search", "user"]
    assert [event["namespace"] for event in events] == [["alice"]] * 2
    assert all("must be a time" in event["reason"] for event in events)


@pytest.mark.parametrize("ids", [True, False])
def test_what_is_said_again_in_one_go_with_a_question_is_news(memory, ids):
    rome, bern, asked = "Mara lives in Rome.", "Mara lives in Bern.", "Where does Mara live?"
    talk = []
    for turn in ([rome], [bern], [rome, asked]):
        for text in turn:
            talk.append(HumanMessage(text, id=f"m{len(talk)}" if ids else None))
        memory.observe_messages(ALICE, talk, thread="t")
        talk.append(AIMessage("I see.", id=f"m{len(talk)}"))
        memory.observe_messages(ALICE, talk, thread="t")
    texts = [one.text for one in memory.ledger.episodes.all()]
    assert texts == [rome, bern, rome, asked]
    assert [one.text for one in memory.ledger.episodes.buffered(ALICE)] == [bern, rome, asked]
    memory.observe_messages(ALICE, talk, thread="t")
    assert len(memory.ledger.episodes.all()) == 4
