import dataclasses

import pytest

from sleepmem.errors import EpisodeError, NamespaceError
from sleepmem.records import AGENT, Episode, Recall, Score, View, check_namespace, namespace_key

TOLD = Episode(
    ("alice",),
    "Mara moved to Brenport.",
    created_at="2030-01-02T03:04:05.000000+00:00",
    message_id="m1",
)


@pytest.mark.parametrize(
    "namespace",
    [
        ("alice",),
        ("org", "a@b.c"),
        ["x_1", "y-2"],
        ("a" * 512,),
        ("..", ".hidden", "a/b", "a\\b"),
        ("a b", " ", "a\n"),
        ("auth0|5f7c8", "whatsapp:+491701234567", "{user_id}"),
        ("ä", "田中", "😀", "\x00"),
    ],
)
def test_any_string_may_be_part_of_a_namespace(namespace):
    assert check_namespace(namespace) == tuple(namespace)


def test_one_owner_however_the_accents_are_written():
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    assert check_namespace((decomposed,)) == check_namespace((composed,)) == (composed,)


@pytest.mark.parametrize(
    "namespace",
    ["alice", (), ("",), ("a" * 513,), (1,), ("ok", None), (b"a",), (("a",),), ("lone \ud800",)],
)
def test_what_names_no_owner_is_refused_by_name(namespace):
    with pytest.raises(NamespaceError) as raised:
        check_namespace(namespace)
    assert "namespace" in str(raised.value)
    assert len(str(raised.value)) < 300
    assert str(raised.value).encode()
    assert isinstance(raised.value, ValueError)


def test_namespace_parts_cannot_run_into_each_other():
    assert namespace_key(("a", "b")) != namespace_key(("a-b",)) != namespace_key(("ab",))


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_episode_is_refused(text):
    with pytest.raises(EpisodeError, match="empty"):
        Episode(("alice",), text)


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": ("bob",)},
        {"text": "Mara moved to Oslo."},
        {"source": "tool:x"},
        {"message_id": "m2"},
    ],
)
def test_owner_text_source_and_message_make_the_id(changed):
    assert dataclasses.replace(TOLD, **changed).id != TOLD.id


@pytest.mark.parametrize(
    "changed", [{"speaker": "Jon"}, {"thread": "t"}, {"answers": "Where?"}, {"day": "2031-01-01"}]
)
def test_what_surrounds_an_episode_makes_no_other_of_it(changed):
    assert dataclasses.replace(TOLD, **changed).id == TOLD.id


def test_the_same_message_is_the_same_episode_at_any_time():
    assert dataclasses.replace(TOLD, created_at="2031-01-01T00:00:00.000000+00:00").id == TOLD.id


def test_without_a_message_the_time_tells_episodes_apart():
    one = dataclasses.replace(TOLD, message_id=None)
    assert dataclasses.replace(one, created_at="2031-01-01T00:00:00.000000+00:00").id != one.id


def test_an_episode_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOLD.text = "Mara moved to Oslo."


def test_only_what_the_user_said_is_trusted():
    assert TOLD.trusted
    assert not dataclasses.replace(TOLD, source="tool:search").trusted
    assert not dataclasses.replace(TOLD, source=AGENT).trusted


def test_the_time_is_kept_in_utc_and_the_day_where_the_speaker_was():
    late = dataclasses.replace(TOLD, created_at="2030-01-02T23:30:00-05:00", day="")
    assert late.created_at == "2030-01-03T04:30:00.000000+00:00"
    assert late.date == late.day == "2030-01-02"


def test_the_whole_tells_who_answered_what():
    assert TOLD.whole == TOLD.text
    answered = dataclasses.replace(TOLD, text="Yes.", answers="Does Mara live in Oslo?")
    assert answered.whole == "Does Mara live in Oslo? - Yes."
    told = dataclasses.replace(answered, speaker="Jon")
    assert told.whole == "Does Mara live in Oslo? - Jon: Yes."


def test_recalled_episodes_are_shown_oldest_first():
    older = dataclasses.replace(
        TOLD, created_at="2029-01-01T00:00:00.000000+00:00", message_id="m0"
    )
    assert Recall(View.RETRIEVAL, "why", (TOLD, older)).oldest_first == (older, TOLD)


def test_a_score_of_nothing_is_whole():
    assert Score(0, 0).rate == 1.0
    assert Score(3, 4).as_dict() == {"right": 3, "total": 4, "rate": 0.75}
