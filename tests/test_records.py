import dataclasses

import pytest

from sleepmem.errors import EpisodeError, NamespaceError
from sleepmem.records import Episode, Recall, Score, View, check_namespace, namespace_key

TOLD = Episode(
    ("alice",),
    "Mara moved to Brenport.",
    created_at="2030-01-02T03:04:05.000000+00:00",
    message_id="m1",
)


@pytest.mark.parametrize("namespace", [("alice",), ("org", "a@b.c"), ["x_1", "y-2"], ("a" * 64,)])
def test_safe_namespaces_become_tuples(namespace):
    assert check_namespace(namespace) == tuple(namespace)


@pytest.mark.parametrize(
    "namespace",
    [
        "alice",
        (),
        ("",),
        ("..",),
        (".hidden",),
        ("a/b",),
        ("a b",),
        ("a\n",),
        ("a" * 65,),
        (1,),
        ("ok", None),
        ("ä",),
    ],
)
def test_unsafe_namespaces_are_refused_by_name(namespace):
    with pytest.raises(NamespaceError) as raised:
        check_namespace(namespace)
    assert "namespace" in str(raised.value)
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


def test_recalled_episodes_are_shown_oldest_first():
    older = dataclasses.replace(
        TOLD, created_at="2029-01-01T00:00:00.000000+00:00", message_id="m0"
    )
    assert Recall(View.RETRIEVAL, "why", (TOLD, older)).oldest_first == (older, TOLD)


def test_a_score_of_nothing_is_whole():
    assert Score(0, 0).rate == 1.0
    assert Score(3, 4).as_dict() == {"right": 3, "total": 4, "rate": 0.75}
