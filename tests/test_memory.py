import asyncio
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from given import HashedWords, put_expert
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from sleepmem import (
    ConfigError,
    EpisodeError,
    ExpertError,
    FolderError,
    FolderLocked,
    LedgerError,
    ModelError,
    NamespaceError,
    Recall,
    SleepConfig,
    SleepMemory,
    Verdict,
    View,
)
from sleepmem.config import MemoryConfig
from sleepmem.memory import EMBEDDED
from sleepmem.records import Expert
from sleepmem.running import async_twin

ALICE, BOB = ("alice",), ("bob",)
DAYS = [f"2030-01-0{n}T00:00:00.000000+00:00" for n in range(1, 10)]


def python(code: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    start = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(start, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).stdout


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


def test_recall_takes_at_most_top_k(memory):
    for n in range(9):
        memory.observe(ALICE, f"Mara saw whale {n}.")
    assert len(memory.recall(ALICE, "Which whale did Mara see?").episodes) == memory.config.gate.top_k


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
    rows = memory.ledger.retrievals(ALICE)
    assert [r["episodes"] for r in rows] == [[told.id], [told.id]]
    assert "archive" in rows[1]["reason"]
    assert all(r["tokens"] > 0 for r in rows)


def test_the_archive_is_searched_once(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    found = memory.recall(ALICE, "Where did Mara move?")
    assert memory.should_search_archive(found, AIMessage("I do not know."))
    assert not memory.should_search_archive(found, AIMessage("Brenport."))
    assert not memory.should_search_archive(memory.search_archive(ALICE, "Mara"), AIMessage("I do not know."))


@pytest.mark.parametrize(("view", "confidence", "searched"), [(View.WEIGHTS, 0.3, True), (View.WEIGHTS, 0.9, False), (View.RETRIEVAL, 0.3, False)])
def test_an_unsure_answer_from_the_weights_is_looked_up(memory, view, confidence, searched):
    said = AIMessage("Brenport.", response_metadata={"confidence": confidence})
    assert memory.should_search_archive(Recall(view, "near", (), 0.9), said) is searched


def test_learned_episodes_leave_the_buffer_and_stay_in_the_archive(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    put_expert(memory, ALICE, [told.id])
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    unsure = memory.recall(ALICE, "Where did Mara move?")
    assert (unsure.view, unsure.episodes) == (View.RETRIEVAL, (told,))
    assert "archive" in unsure.reason
    assert memory.ledger.buffered(ALICE) == []
    assert memory.verify() == []


def test_tired_when_the_buffer_is_full(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings, MemoryConfig(sleep=SleepConfig(tired_at=2))) as memory:
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
    assert memory.ledger.episodes() == [first]


def test_moving_away_and_back_is_three_episodes(memory):
    for day, town in zip(DAYS, ("Brenport", "Oslo", "Brenport"), strict=False):
        memory.observe(ALICE, f"Mara now lives in {town}.", created_at=day)
    assert [e.text[-9:-1] for e in memory.ledger.episodes()] == ["Brenport", " in Oslo", "Brenport"]


def test_something_else_said_between_is_no_news(memory):
    first = memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[0])
    memory.observe(ALICE, "We bought seven green pears.", created_at=DAYS[1])
    assert memory.observe(ALICE, "Mara now lives in Brenport.", created_at=DAYS[2]) == first


def test_another_persons_words_are_no_repetition(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(BOB, "Mara moved to Brenport.")
    memory.observe(ALICE, "Mara moved to Brenport.", source="tool:search")
    assert len(memory.ledger.episodes()) == 3


def test_a_message_is_stored_once_however_often_it_is_seen(memory):
    for _ in range(3):
        memory.observe(ALICE, "Mara moved to Brenport.", message_id="m1")
    memory.observe(ALICE, "Mara moved to Brenport.", message_id="m2")
    assert [e.message_id for e in memory.ledger.episodes()] == ["m1", "m2"]


class Loud(HashedWords):
    """Vectors of length 7: not every embedding model normalises."""

    def embed_query(self, text):
        return [7 * x for x in super().embed_query(text)]


def test_the_length_of_the_embeddings_does_not_matter(tmp_path, tiny):
    with SleepMemory.open(tmp_path, tiny, Loud()) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[0])
        memory.observe(ALICE, "We bought seven green pears for Mara.", created_at=DAYS[1])
        assert memory.observe(ALICE, "Mara moved to Brenport.", created_at=DAYS[2]) == told
        put_expert(memory, ALICE, [told.id])
        assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
        fresher = memory.observe(ALICE, "Mara moved back to Brenport.")
        found = memory.recall(ALICE, "Is it so that Mara moved to Brenport?")
        assert (found.view, set(found.episodes)) == (View.RETRIEVAL, {told, fresher})  # the one that taught is read beside it


def test_times_are_compared_whatever_their_zone(memory):
    late = memory.observe(ALICE, "Mara lives in Oslo.", created_at="2030-01-01T23:30:00+00:00")
    early = memory.observe(ALICE, "Mara lives in Brenport.", created_at="2030-01-02T01:00:00+02:00")
    assert memory.recall(ALICE, "Where does Mara live?").oldest_first == (early, late)
    with pytest.raises(EpisodeError, match="next tuesday"):
        memory.observe(ALICE, "Mara lives in Rome.", created_at="next tuesday")


def test_the_newest_of_many_values_is_recalled(memory):
    told = [memory.observe(ALICE, f"The build of Atlas has number 100{n}.", created_at=DAYS[n]) for n in range(9)]
    assert told[-1] in memory.recall(ALICE, "Which number does the build of Atlas have?").episodes


def test_a_question_may_name_more_than_the_memory_does(memory):
    told = memory.observe(ALICE, "The Atlas project builds on Jenkins.")
    memory.observe(ALICE, "Mara builds boats in Brenport.")
    assert memory.recall(ALICE, "Which CI builds the Atlas project?").episodes == (told,)


def test_history_that_is_sent_again_is_not_stored_again(memory):
    talk = []
    for n, text in enumerate(["Mara lives in Oslo.", "Mara lives in Brenport.", "Jon lives in Rome."]):
        talk.append(HumanMessage(text))
        memory.observe_messages(ALICE, [m.model_copy(update={"id": f"turn {n} message {i}"}) for i, m in enumerate(talk)])
        talk.append(AIMessage("Noted."))
    assert [e.text for e in memory.ledger.episodes()] == [m.text for m in talk[::2]]


def test_what_is_too_long_to_store_is_logged_and_the_turn_goes_on(memory):
    tool = ToolMessage("word " * 4000, tool_call_id="c", name="search")
    memory.observe_messages(ALICE, [tool, HumanMessage("Mara lives in Oslo.")])
    assert [e.text for e in memory.ledger.episodes()] == ["Mara lives in Oslo."]
    (event,) = memory.ledger.events("not stored")
    assert "tokens" in event["reason"]


OPENING = """
import sys
from pathlib import Path
from sleepmem.ledger import Ledger
for _ in range(20):
    Ledger(Path(sys.argv[1])).close()
"""


def test_processes_may_open_a_new_ledger_at_once(tmp_path):
    start = [sys.executable, "-c", OPENING, str(tmp_path / "ledger.db")]
    running = [subprocess.Popen(start, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) for _ in range(3)]
    assert [p.communicate()[1].decode()[-300:] for p in running] == [""] * 3


def test_two_folders_share_a_chroma_client(tmp_path, tiny):
    import chromadb

    client = chromadb.EphemeralClient()
    for name in ("one", "two"):
        with SleepMemory.open(tmp_path / name, tiny, HashedWords(), chroma_client=client) as memory:
            told = memory.observe(ALICE, f"Mara lives in {name}.")
            assert memory.recall(ALICE, "Where does Mara live?").episodes == (told,)
            assert memory.verify() == []


def test_other_embeddings_than_the_index_was_made_with_are_named(tmp_path, tiny):
    class Short(HashedWords):
        def embed_query(self, text):
            return super().embed_query(text)[:9]

    with SleepMemory.open(tmp_path, tiny, HashedWords()) as memory:
        memory.observe(ALICE, "Mara lives in Oslo.")
    with SleepMemory.open(tmp_path, tiny, Short()) as memory, pytest.raises(FolderError, match="embeddings it was made with"):
        memory.recall(ALICE, "Where does Mara live?")


def test_forward_again_after_a_rollback(memory):
    told = memory.observe(ALICE, "Mara lives in Oslo.")
    night = put_expert(memory, ALICE, [told.id]).night_id
    assert memory.rollback(ALICE, []) == [told.id]
    assert memory.ledger.buffered(ALICE) == [told]
    memory.rollback(ALICE, [night])
    assert (memory.ledger.buffered(ALICE), memory.ledger.learned(ALICE)) == ([], [told])
    assert memory.recall(ALICE, "Is it so that Mara lives in Oslo?").view is View.WEIGHTS
    assert memory.verify() == []


# What cannot be


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_episode_is_refused(memory, text):
    with pytest.raises(EpisodeError, match="empty"):
        memory.observe(ALICE, text)


def test_a_too_long_episode_is_refused_and_not_stored(memory):
    with pytest.raises(EpisodeError, match="512"):
        memory.observe(ALICE, "Mara moved to Brenport. " * 200)
    assert memory.ledger.episodes() == []


@pytest.mark.parametrize("namespace", ["alice", (), ("../etc",), ("a", "")])
@pytest.mark.parametrize("verb", ["observe", "recall", "search_archive", "is_tired", "sleep", "rollback", "chat_model"])
def test_an_unsafe_namespace_is_refused_everywhere(memory, namespace, verb):
    more = {"observe": ["x y z"], "recall": ["Who?"], "search_archive": ["Who?"], "rollback": [[]]}.get(verb, [])
    with pytest.raises(NamespaceError):
        getattr(memory, verb)(namespace, *more)


def test_an_unknown_model_folder_is_a_model_error(tmp_path, embeddings):
    with pytest.raises(ModelError, match=r"no model folder .*nowhere"):
        SleepMemory.open(tmp_path / "m", tmp_path / "nowhere", embeddings)
    with SleepMemory.open(tmp_path / "m", "nobody/nowhere", embeddings) as memory:
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
    assert memory.ledger.episodes() == []


def test_rolling_forward_to_a_missing_expert_is_refused(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    expert = put_expert(memory, ALICE, [told.id])
    memory.rollback(ALICE, [])
    shutil.rmtree(memory.folder / "experts" / expert.name)
    with pytest.raises(ExpertError, match="missing"):
        memory.rollback(ALICE, [expert.night_id])
    assert memory.ledger.buffered(ALICE) == [told]


def test_a_model_without_a_chat_template_is_a_model_error(tmp_path, tiny, embeddings):
    mute = tmp_path / "mute"
    mute.mkdir()
    for file in tiny.iterdir():
        if file.name != "chat_template.jinja":
            (mute / file.name).symlink_to(file)
    with SleepMemory.open(tmp_path / "m", mute, embeddings) as memory, pytest.raises(ModelError, match="no chat template"):
        memory.chat_model(ALICE)


def test_a_folder_that_cannot_be_made_is_a_folder_error(tmp_path, embeddings):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "m", tmp_path / "file", Path("/proc/sleepmem")):
        with pytest.raises(FolderError, match=str(path)):
            SleepMemory.open(path, embeddings=embeddings)


def test_a_read_only_folder_is_a_folder_error(tmp_path, embeddings, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # for root, whom chmod does not stop
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


# Reopening, other processes


def test_everything_survives_reopening(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)
        assert memory.verify() == []


def test_the_index_is_rebuilt_when_it_is_lost(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
        memory.buffer.remove(ALICE, [told.id])
        assert len(memory.verify()) == 1
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)
        assert memory.verify() == []


OTHER = """
import sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from sleepmem import FolderLocked, SleepMemory
folder, append_only = sys.argv[1], sys.argv[2] == "append"
try:
    with SleepMemory.open(folder, embeddings=DeterministicFakeEmbedding(size=8), append_only=append_only) as memory:
        print(memory.observe(("alice",), "Mara moved to Brenport.").id)
except FolderLocked as e:
    print(e)
"""


def test_a_second_writer_is_locked_out(memory):
    assert "open for writing in another process" in python(OTHER, memory.folder, "write")
    with pytest.raises(FolderLocked):
        SleepMemory.open(memory.folder, embeddings=memory.embeddings)
    assert memory.ledger.episodes() == []


def test_another_process_may_append_and_the_writer_finds_it(memory):
    added = python(OTHER, memory.folder, "append").strip()
    assert [e.id for e in memory.recall(ALICE, "Where did Mara move?").episodes] == [added]
    assert memory.verify() == []


def test_an_appender_only_appends(memory):
    with SleepMemory.open(memory.folder, memory.model, memory.embeddings, append_only=True) as appender:
        appender.observe(ALICE, "Mara moved to Brenport.")
        with pytest.raises(FolderLocked, match="append_only"):
            appender.recall(ALICE, "Where did Mara move?")
    assert len(memory.recall(ALICE, "Where did Mara move?").episodes) == 1


def test_the_folder_is_free_after_close(tmp_path, tiny, embeddings):
    SleepMemory.open(tmp_path, tiny, embeddings).close()
    assert len(python(OTHER, tmp_path, "write").strip()) == 24


NO_TORCH = """
import sys
import sleepmem, sleepmem.graph, sleepmem.middleware
from langchain_core.embeddings import DeterministicFakeEmbedding
with sleepmem.SleepMemory.open(sys.argv[1], model=sys.argv[2], embeddings=DeterministicFakeEmbedding(size=8)) as memory:
    sleepmem.middleware.SleepMemoryMiddleware(memory), sleepmem.graph.observe_node(memory)
    memory.observe(("alice",), "Mara moved to Brenport.")
    memory.recall(("alice",), "Where did Mara move?")
    memory.search_archive(("alice",), "Mara")
    memory.verify(), memory.status(), memory.is_tired(("alice",))
print([m for m in ("torch", "transformers", "sentence_transformers", "peft", "trl") if m in sys.modules])
"""


def test_the_day_never_imports_torch(tmp_path, tiny):
    assert python(NO_TORCH, tmp_path / "m", tiny).strip() == "[]"


# Experts and rollback


def test_a_missing_expert_is_told_at_open_and_rolled_back(tmp_path, tiny, embeddings):
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        told = memory.observe(ALICE, "Mara moved to Brenport.")
        put_expert(memory, ALICE, [told.id], files=False)
        assert len(memory.verify()) == 1
    with pytest.raises(ExpertError, match="rollback"):
        SleepMemory.open(tmp_path, tiny, embeddings)
    with SleepMemory.open(tmp_path, tiny, embeddings, check_experts=False) as memory:
        assert memory.rollback(ALICE, []) == [told.id]
    with SleepMemory.open(tmp_path, tiny, embeddings) as memory:
        assert memory.recall(ALICE, "Where did Mara move?").episodes == (told,)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_rollback_keeps_exactly_the_nights_it_is_given(memory, kind):
    one, two = memory.observe(ALICE, "Mara moved to Brenport."), memory.observe(ALICE, "Jon moved to Oslo.")
    first, second = put_expert(memory, ALICE, [one.id]), put_expert(memory, ALICE, [two.id])
    assert memory.rollback(ALICE, kind([first.night_id])) == [two.id]
    assert [e.name for e in memory.ledger.experts(ALICE)] == [first.name]
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    assert memory.recall(ALICE, "Is it so that Jon moved to Oslo?").episodes == (two,)
    assert memory.verify() == []
    assert second.name in {e.name for e in memory.ledger.experts(ALICE, live=False)}


def test_rollback_to_an_unknown_night_changes_nothing(memory):
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    expert = put_expert(memory, ALICE, [told.id])
    with pytest.raises(ExpertError, match=r"night-0099.*night-0001"):
        memory.rollback(ALICE, ["night-0099"])
    assert [e.name for e in memory.ledger.experts(ALICE)] == [expert.name]


def test_rollback_leaves_other_namespaces_alone(memory):
    hers, his = memory.observe(ALICE, "Mara moved to Brenport."), memory.observe(BOB, "Mara moved to Oslo.")
    put_expert(memory, ALICE, [hers.id])
    expert = put_expert(memory, BOB, [his.id])
    memory.rollback(ALICE, [])
    assert [e.name for e in memory.ledger.experts()] == [expert.name]
    assert memory.ledger.buffered(BOB) == []


# Sync and async


MODELS = ("chat_model", "live_experts")  # hand out what answers, do nothing themselves
VERBS = sorted(
    name
    for name, f in inspect.getmembers(SleepMemory, inspect.isfunction)
    if "namespace" in inspect.signature(f).parameters and not name.startswith("_") and not inspect.iscoroutinefunction(f) and name not in MODELS
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_async_twin_with_the_same_signature(verb):
    twin = getattr(SleepMemory, f"a{verb}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin) == inspect.signature(getattr(SleepMemory, verb))
    assert twin.__wrapped__ is getattr(SleepMemory, verb)


def day(folder, tiny, embeddings, call):
    """One day with every verb that has a twin, through `call(memory, verb, *arguments)`."""
    with SleepMemory.open(folder, tiny, embeddings) as memory:
        out = [call(memory, "observe", ALICE, "Mara moved to Brenport.", "user", DAYS[0])]
        out.append(call(memory, "observe", ALICE, "Mara moved to Brenport.", "user", DAYS[1]))
        out.append(call(memory, "recall", ALICE, "Where did Mara move?"))
        out.append(call(memory, "search_archive", ALICE, "Mara"))
        out.append(call(memory, "ask", ALICE, "Where did Mara move?"))
        night = call(memory, "sleep", BOB)
        return [*out, (night.night_id, night.verdict, night.reason), memory.status()]


def test_async_does_what_sync_does(tmp_path, tiny, embeddings):
    sync = day(tmp_path / "sync", tiny, embeddings, lambda memory, verb, *a: getattr(memory, verb)(*a))
    twin = day(tmp_path / "async", tiny, embeddings, lambda memory, verb, *a: asyncio.run(getattr(memory, f"a{verb}")(*a)))
    assert sync == twin
    assert sync[5][1] is Verdict.SKIPPED


def test_the_twin_passes_errors_on(memory):
    with pytest.raises(EpisodeError, match="empty"):
        asyncio.run(memory.aobserve(ALICE, " "))


def test_many_threads_may_observe_at_once(memory):
    async def together():
        return await asyncio.gather(*(memory.aobserve(ALICE, f"Mara saw whale {n}.", message_id=f"m{n}") for n in range(20)))

    told = asyncio.run(together())
    assert {e.id for e in told} == {e.id for e in memory.ledger.episodes()}
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
    with SleepMemory.open(tmp_path / "m", tiny, HashedWords()) as memory:
        assert memory.local.name == str(tiny)
    with SleepMemory.open(tmp_path / "m", EMBEDDED, HashedWords()) as memory:
        assert memory.model == str(EMBEDDED)  # but never loaded
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        assert memory.model == str(tiny)
    with SleepMemory.open(tmp_path / "m", "embedded", HashedWords()) as memory:
        assert memory.local.name == str(EMBEDDED)
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        assert memory.model == str(EMBEDDED)


def test_experts_are_not_opened_with_another_model(tmp_path, tiny):
    other = shutil.copytree(tiny, tmp_path / "other")
    with SleepMemory.open(tmp_path / "m", other, HashedWords()) as memory:
        memory.ledger.use_model(memory.model)
        memory.ledger.promote(Expert("e", ALICE, "night-0001", "fast", 4, "2030-01-01", (), True), [], [], [])
    with pytest.raises(ExpertError, match=r"trained on .*roll back"):
        SleepMemory.open(tmp_path / "m", tiny, HashedWords(), check_experts=False)
    shutil.move(other, tmp_path / "moved")
    with SleepMemory.open(tmp_path / "m", tmp_path / "moved", HashedWords(), check_experts=False) as memory:
        assert memory.model == str(tmp_path / "moved")


def test_the_settings_of_one_phase_are_not_those_of_the_memory(tmp_path):
    with pytest.raises(ConfigError, match=r"SleepConfig; it must be a MemoryConfig"):
        SleepMemory.open(tmp_path / "m", config=SleepConfig())
    assert not (tmp_path / "m").exists()
