import asyncio
import inspect
import os
import shutil
from pathlib import Path

import pytest
from _values import HashedWords, put_expert, python
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem import (
    ConfigError,
    EpisodeError,
    ExpertError,
    FolderError,
    LedgerError,
    ModelError,
    NamespaceError,
    SleepConfig,
    SleepMemory,
    Verdict,
    View,
)
from sleepmem._async import async_twin
from sleepmem.config import MemoryConfig
from sleepmem.day.safely import FAILED
from sleepmem.records import Episode, Expert
from sleepmem.stores.folder import EMBEDDED
from sleepmem.stores.lineage import Proof

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


# What cannot be


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_episode_is_refused(memory, text):
    with pytest.raises(EpisodeError, match="empty"):
        memory.observe(ALICE, text)


@pytest.mark.parametrize("namespace", ["alice", (), ("a" * 513,), ("a", ""), (1,)])
@pytest.mark.parametrize(
    "verb",
    ["observe", "recall", "search", "last_look", "is_tired", "sleep", "rollback", "chat_model"],
)
def test_what_names_no_owner_is_refused_everywhere(memory, namespace, verb):
    more = {
        "observe": ["x y z"],
        "recall": ["Who?"],
        "search": ["Who?"],
        "last_look": ["Who?"],
        "rollback": [[]],
    }.get(verb, [])
    with pytest.raises(NamespaceError):
        getattr(memory, verb)(namespace, *more)


@pytest.mark.parametrize("part", ["../etc", "auth0|5f7", "a b\n", "田中", "😀" * 512, "a\x00"])
def test_any_string_is_an_owner_of_its_own(memory, part):
    told = memory.observe((part,), "Mara moved to Brenport.")
    assert memory.recall([part], "Where did Mara move?").episodes == (told,)
    assert memory.recall((part[:-1] or "?",), "Where did Mara move?").episodes == ()
    assert put_expert(memory, (part,), [told.id]).namespace == (part,)
    assert memory.verify() == []


def test_an_unknown_model_folder_is_a_model_error(tmp_path, embeddings):
    with pytest.raises(ModelError, match=r"no model .*nowhere"):
        SleepMemory.open(tmp_path / "m", tmp_path / "nowhere", embeddings=embeddings)
    with SleepMemory.open(tmp_path / "m", "nobody/nowhere", embeddings=embeddings) as memory:
        memory.observe(ALICE, "Mara moved to Brenport.")  # the day goes on
        with pytest.raises(ModelError, match="nobody/nowhere"):
            memory.chat_model(ALICE)
    with SleepMemory.open(tmp_path / "m", embeddings=embeddings) as memory:
        assert memory.model == str(EMBEDDED)  # a name that never loaded is not kept


def test_what_is_no_unicode_is_refused(memory):
    for tell in (memory.observe, memory.recall):
        with pytest.raises(EpisodeError, match="not valid Unicode"):
            tell(ALICE, "lone \ud800 surrogate")
    with pytest.raises(EpisodeError, match="question is empty"):
        memory.recall(ALICE, "  ")
    assert memory.ledger.episodes.all() == []


@pytest.mark.parametrize("text", [None, 3, b"Mara moved.", ["Mara moved."]])
@pytest.mark.parametrize("verb", ["observe", "recall", "search"])
def test_what_is_no_text_is_refused_in_a_sentence(memory, verb, text):
    with pytest.raises(EpisodeError, match=f"is a {type(text).__name__}; it must be text"):
        getattr(memory, verb)(ALICE, text)


def test_ids_of_any_kind_are_kept_as_text(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.", message_id=5, thread=7)
    assert (told.message_id, told.thread) == ("5", "7")
    assert memory.ledger.episodes.all(ALICE) == [told]
    assert memory.verify() == []


def test_one_malformed_message_does_not_keep_the_others_out(memory):
    broken = "half \ud83d here"
    talk = [
        AIMessage(broken),
        HumanMessage("Mara moved to Brenport.", name=f"Jon {broken}", id=broken),
        AIMessage("Noted.", tool_calls=[{"name": broken, "args": {"x": broken}, "id": "c"}]),
        ToolMessage(broken, tool_call_id="c", name=broken, id="t1"),
        AIMessage("Done."),
        HumanMessage([{"type": "text"}], id="h2"),
        HumanMessage("Tobin moved to Oslo.", id="h3"),
        AIMessage("Noted."),
    ]
    for _ in range(2):
        memory.observe_messages(ALICE, talk, thread=broken)
    stored = memory.ledger.episodes.all(ALICE)
    users = [one.text for one in stored if one.trusted]
    assert users == ["Mara moved to Brenport.", "Tobin moved to Oslo."]
    assert {one.source for one in stored} == {"user", "agent", "tool:half ? here"}
    assert {one.thread for one in stored} == {"half ? here"}
    assert memory.recall(ALICE, "Where did Tobin move?").episodes[0].text == users[1]
    assert memory.verify() == []


# Said again


@pytest.mark.parametrize("by_message", [True, False])
@pytest.mark.parametrize(
    "changed",
    [{"said_at": "2030-01-02T08:00:00Z"}, {"said_at": "2030-01-01T08:00:00Z", "thread": "another"}],
    ids=["day", "thread"],
)
def test_the_same_said_on_another_day_or_in_another_thread_is_told_again(
    memory, by_message, changed
):
    def tells(message_id, *, said_at, thread="one"):
        text = "I took my pill."
        if by_message:
            talk = [HumanMessage(text, id=message_id), AIMessage("Well done.")]
            memory.observe_messages(ALICE, talk, thread=thread, said_at=said_at)
        else:
            memory.observe(ALICE, text, created_at=said_at, thread=thread)

    tells("m1", said_at="2030-01-01T07:00:00Z")
    tells("m2", said_at="2030-01-01T07:00:01Z")
    assert len(memory.ledger.episodes.all(ALICE)) == 1
    tells("m3", **changed)
    assert len(memory.ledger.episodes.all(ALICE)) == 2


def test_a_history_sent_again_on_another_day_is_stored_once(memory):
    told = ["I took my pill.", "Mara moved to Brenport."]
    talk = [HumanMessage(text, id=f"m{number}") for number, text in enumerate(told)]
    without_ids = [HumanMessage(text) for text in told]
    with_new_ids = [HumanMessage(text, id=f"n{number}") for number, text in enumerate(told)]
    news = HumanMessage("Tobin moved to Oslo.", id="m9")
    for day, history in enumerate([talk, talk, without_ids, [*with_new_ids, news]]):
        memory.observe_messages(ALICE, history, said_at=DAYS[day])
    texts = [one.text for one in memory.ledger.episodes.all(ALICE)]
    assert texts == [*told, news.text]


def test_rolling_forward_to_a_missing_expert_is_refused(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    expert = put_expert(memory, ALICE, [told.id])
    memory.rollback(ALICE, [])
    shutil.rmtree(memory.folder / "experts" / expert.name)
    with pytest.raises(ExpertError, match="missing"):
        memory.rollback(ALICE, [expert.night_id])
    assert memory.ledger.episodes.buffered(ALICE) == [told]


def test_a_model_without_a_chat_template_is_a_model_error(tmp_path, tiny, embeddings):
    mute = tmp_path / "mute"
    mute.mkdir()
    for file in tiny.iterdir():
        if file.name != "chat_template.jinja":
            (mute / file.name).symlink_to(file)
    with (
        SleepMemory.open(tmp_path / "m", mute, embeddings=embeddings) as memory,
        pytest.raises(ModelError, match="no chat template"),
    ):
        memory.chat_model(ALICE)


def test_a_folder_that_cannot_be_made_is_a_folder_error(tmp_path, embeddings):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "m", tmp_path / "file", Path("/proc/sleepmem")):
        with pytest.raises(FolderError, match=str(path)):
            SleepMemory.open(path, embeddings=embeddings)


def test_a_read_only_folder_is_a_folder_error(tmp_path, embeddings, monkeypatch):
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # for root, whom chmod does not stop
    with pytest.raises(FolderError, match="read-only"):
        SleepMemory.open(tmp_path, embeddings=embeddings)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_ledger_lets_the_folder_go(tmp_path, embeddings):
    (tmp_path / "ledger.db").write_bytes(b"not a database, not at all " * 99)
    for _ in range(2):  # the second time it is not locked
        with pytest.raises(LedgerError):
            SleepMemory.open(tmp_path, embeddings=embeddings)


def test_settings_are_checked_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError):
        SleepMemory.open(tmp_path / "m", config=MemoryConfig(sleep=SleepConfig(tired_at=0)))
    assert not (tmp_path / "m").exists()


# What fails within a turn


def test_a_turn_goes_on_when_the_memory_fails(tmp_path, tiny, caplog):
    with SleepMemory.open(tmp_path, tiny, embeddings=HashedWords()) as memory:
        memory.ledger.episodes.add(Episode(ALICE, "Mara moved to Brenport."))

        def recall():
            raise ConnectionError("no route to the embeddings")

        assert memory.safely("recalling", recall, otherwise=None, namespace=ALICE) is None
        assert "recalling failed: no route to the embeddings" in caplog.text
        (event,) = memory.ledger.turns.events(FAILED)
        assert event["namespace"] == ["alice"]
        assert event["reason"] == "ConnectionError: no route to the embeddings"
        assert [row["failures"] for row in memory.status()] == [1]


def test_what_succeeds_is_given_and_not_logged(memory):
    assert memory.safely("counting", lambda: 7, otherwise=0) == 7
    assert memory.ledger.turns.events(FAILED) == []


def test_a_failing_ledger_ends_no_turn_either(memory, caplog):
    memory.ledger.close()
    told = memory.safely(
        "observing", lambda: memory.observe(ALICE, "Mara moved."), otherwise=None, namespace=ALICE
    )
    assert told is None
    assert "observing failed" in caplog.text


def test_whose_memory_is_meant_is_never_guessed(memory):
    with pytest.raises(NamespaceError):
        memory.safely("recalling", lambda: memory.recall("alice", "Who?"), otherwise=None)
    assert memory.ledger.turns.events(FAILED) == []


def test_no_interrupt_is_swallowed(memory):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.safely("recalling", interrupted, otherwise=None)


# Experts and rollback


def test_a_missing_expert_is_told_at_open_and_rolled_back(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
        put_expert(memory, ALICE, [told.id], files=False)
        assert len(memory.verify()) == 1
    with pytest.raises(ExpertError, match="rollback"):
        SleepMemory.open(tmp_path, tiny, embeddings=embeddings)
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings, check_experts=False) as memory:
        assert memory.rollback(ALICE, []) == [told.id]
    with SleepMemory.open(tmp_path, tiny, embeddings=embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_rollback_keeps_exactly_the_nights_it_is_given(memory, kind):
    one, two = (
        memory.observe(ALICE, "Mara moved to Brenport."),
        memory.observe(ALICE, "Jon moved to Oslo."),
    )
    first, second = put_expert(memory, ALICE, [one.id]), put_expert(memory, ALICE, [two.id])
    assert memory.rollback(ALICE, kind([first.night_id])) == [two.id]
    assert [e.name for e in memory.ledger.lineage.experts(ALICE)] == [first.name]
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    assert two in memory.recall(ALICE, "Is it so that Jon moved to Oslo?").episodes
    assert memory.verify() == []
    assert second.name in {e.name for e in memory.ledger.lineage.experts(ALICE, live=False)}


def test_rollback_to_an_unknown_night_changes_nothing(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    expert = put_expert(memory, ALICE, [told.id])
    with pytest.raises(ExpertError, match=r"night-0099.*night-0001"):
        memory.rollback(ALICE, ["night-0099"])
    assert [e.name for e in memory.ledger.lineage.experts(ALICE)] == [expert.name]


def test_rollback_leaves_other_namespaces_alone(memory):
    hers, his = (
        memory.observe(ALICE, "Mara moved to Brenport."),
        memory.observe(BOB, "Mara moved to Oslo."),
    )
    put_expert(memory, ALICE, [hers.id])
    expert = put_expert(memory, BOB, [his.id])
    memory.rollback(ALICE, [])
    assert [e.name for e in memory.ledger.lineage.experts()] == [expert.name]
    assert memory.ledger.episodes.buffered(BOB) == []


def test_what_is_known_of_an_owner_is_told_by_id_while_it_holds(memory):
    hers, his = (
        memory.observe(ALICE, "Mara moved to Brenport."),
        memory.observe(BOB, "Mara moved to Oslo."),
    )
    assert memory.episodes(ALICE, [hers.id, his.id, "none"]) == [hers]
    assert memory.learners() == []
    put_expert(memory, BOB, [his.id])
    put_expert(memory, ALICE, [hers.id])
    assert memory.learners() == [BOB, ALICE]
    memory.rollback(BOB, [])
    assert memory.learners() == [ALICE]
    memory.forget(ALICE, episodes=[hers.id])
    assert (memory.episodes(ALICE, [hers.id]), memory.learners()) == ([], [])


# Sync and async


# They hand out what answers or what is known, and do nothing themselves.
MODELS = (
    "adapter_name",
    "chat_model",
    "episodes",
    "live_experts",
    "last_look",
    "nights",
    "notes",
    "safely",
    "may_look_again",
)
VERBS = sorted(
    name
    for name, f in inspect.getmembers(SleepMemory, inspect.isfunction)
    if "namespace" in inspect.signature(f).parameters
    and not name.startswith("_")
    and not inspect.iscoroutinefunction(f)
    and name not in MODELS
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_async_twin_with_the_same_signature(verb):
    twin = getattr(SleepMemory, f"a{verb}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin) == inspect.signature(getattr(SleepMemory, verb))
    assert twin.__wrapped__ is getattr(SleepMemory, verb)


def day(folder, tiny, embeddings, call):
    """One day with every verb that has a twin, through `call(memory, verb, *arguments)`."""
    with SleepMemory.open(folder, tiny, embeddings=embeddings) as memory:
        out = [
            call(
                memory,
                "observe",
                ALICE,
                "Mara moved to Brenport.",
                source="user",
                created_at=DAYS[0],
            )
        ]
        out.append(
            call(
                memory,
                "observe",
                ALICE,
                "Mara moved to Brenport.",
                source="user",
                created_at=DAYS[1],
            )
        )
        out.append(call(memory, "recall", ALICE, "Where did Mara move?"))
        out.append(call(memory, "search", ALICE, "Mara"))
        out.append(call(memory, "ask", ALICE, "Where did Mara move?"))
        night = call(memory, "sleep", BOB)
        return [*out, (night.night_id, night.verdict, night.reason), memory.status()]


def test_async_does_what_sync_does(tmp_path, tiny, embeddings):
    sync = day(
        tmp_path / "sync",
        tiny,
        embeddings,
        lambda memory, verb, *a, **k: getattr(memory, verb)(*a, **k),
    )
    twin = day(
        tmp_path / "async",
        tiny,
        embeddings,
        lambda memory, verb, *a, **k: asyncio.run(getattr(memory, f"a{verb}")(*a, **k)),
    )
    assert sync == twin
    assert sync[5][1] is Verdict.SKIPPED


def test_the_index_is_made_anew_async_too(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    asyncio.run(memory.areindex())
    assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)


def test_the_twin_passes_errors_on(memory):
    with pytest.raises(EpisodeError, match="empty"):
        asyncio.run(memory.aobserve(ALICE, " "))


def test_many_threads_may_observe_at_once(memory):
    async def together():
        return await asyncio.gather(
            *(memory.aobserve(ALICE, f"Mara saw whale {n}.", message_id=f"m{n}") for n in range(20))
        )

    told = asyncio.run(together())
    assert {e.id for e in told} == {e.id for e in memory.ledger.episodes.all()}
    assert len(told) == 20
    assert memory.verify() == []


def test_the_twin_keeps_the_callers_name():
    def greet(name: str) -> str:
        """Say hello."""
        return f"Hello {name}"

    assert asyncio.run(async_twin(greet)("Mara")) == "Hello Mara"
    assert (async_twin(greet).__name__, async_twin(greet).__doc__) == ("greet", "Say hello.")


# Which model


def test_a_folder_remembers_its_model(tmp_path, tiny):
    with SleepMemory.open(tmp_path / "m", tiny, embeddings=HashedWords()) as memory:
        assert memory.local.name == str(tiny)
    with SleepMemory.open(tmp_path / "m", EMBEDDED, embeddings=HashedWords()) as memory:
        assert memory.model == str(EMBEDDED)  # but never loaded
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        assert memory.model == str(tiny)
    with SleepMemory.open(tmp_path / "m", "embedded", embeddings=HashedWords()) as memory:
        assert memory.local.name == str(EMBEDDED)
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        assert memory.model == str(EMBEDDED)


def test_experts_are_not_opened_with_another_model(tmp_path, tiny):
    other = shutil.copytree(tiny, tmp_path / "other")
    with SleepMemory.open(tmp_path / "m", other, embeddings=HashedWords()) as memory:
        memory.ledger.use_model(memory.model)
        expert = Expert("e", ALICE, "night-0001", "fast", 4, "2030-01-01", (), live=True)
        memory.ledger.lineage.promote(expert, Proof())
    with pytest.raises(ExpertError, match=r"trained on .*roll back"):
        SleepMemory.open(tmp_path / "m", tiny, embeddings=HashedWords(), check_experts=False)
    shutil.move(other, tmp_path / "moved")
    with SleepMemory.open(
        tmp_path / "m", tmp_path / "moved", embeddings=HashedWords(), check_experts=False
    ) as memory:
        assert memory.model == str(tmp_path / "moved")


def test_the_settings_of_one_phase_are_not_those_of_the_memory(tmp_path):
    with pytest.raises(ConfigError, match=r"SleepConfig; it must be a MemoryConfig"):
        SleepMemory.open(tmp_path / "m", config=SleepConfig())
    assert not (tmp_path / "m").exists()


# What is not installed


@pytest.mark.parametrize(
    ("missing", "ask"),
    [
        ("torch", "memory.chat_model(('alice',))"),
        ("trl", "memory.sleep(('alice',))"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(tmp_path, missing, ask):
    code = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
from sleepmem import MissingExtra, SleepMemory
with SleepMemory.open({str(tmp_path / "m")!r}) as memory:
    try:
        {ask}
    except MissingExtra as error:
        print(error)
"""
    extra = "night" if missing == "trl" else "serve"
    said = python(code)
    assert f"needs {missing}, which is not installed" in said
    assert f"sleepmem[{extra}]" in said
