import math
import shutil

import pytest
from _values import HashedWords

from sleepmem import SleepMemory
from sleepmem.errors import ExpertError, FolderError
from sleepmem.records import Episode, Expert
from sleepmem.stores.buffer import NOT_EMBEDDED
from sleepmem.stores.lineage import Proof

ALICE, BOB = ("alice",), ("bob",)
TOLD, NEXT, ASKED = "Mara moved to Brenport.", "Jon has a boat.", "Where did Mara move?"
WRONG = {
    "not a number": lambda vector: [math.nan] * len(vector),
    "endless": lambda vector: [*vector[:-1], math.inf],
    "narrow": lambda vector: vector[:7],
}


class Failing(HashedWords):
    """Spoils its vectors while `spoil` is set."""

    spoil = None

    def embed_documents(self, texts):
        vectors = super().embed_documents(texts)
        return [self.spoil(one) for one in vectors] if self.spoil else vectors


@pytest.fixture(params=WRONG)
def spoil(request):
    return WRONG[request.param]


def opened(path, embeddings):
    return SleepMemory.open(path / "m", embeddings=embeddings)


def texts(memory, owner, question):
    return [episode.text for episode in memory.recall(owner, question).episodes]


@pytest.mark.parametrize("is_reopened", [False, True])
def test_a_wrong_vector_is_told_and_its_episode_indexed_later(tmp_path, spoil, is_reopened):
    embeddings = Failing()
    memory = opened(tmp_path, embeddings)
    memory.observe(ALICE, TOLD)
    if is_reopened:
        memory.close()
        memory = opened(tmp_path, embeddings)
        assert TOLD in texts(memory, ALICE, ASKED)
    embeddings.spoil = spoil
    memory.observe(ALICE, NEXT)
    (event,) = memory.ledger.turns.events(NOT_EMBEDDED)
    assert event["reason"].startswith("the embeddings gave a vector")
    assert event["namespace"] == list(ALICE)
    embeddings.spoil = None
    assert TOLD in texts(memory, ALICE, ASKED)
    assert NEXT in texts(memory, ALICE, "What does Jon have?")
    assert memory.verify() == []
    memory.close()
    with opened(tmp_path, embeddings) as again:
        assert again.verify() == []


def test_a_text_that_never_gets_a_vector_does_not_stop_the_others(tmp_path):
    class NeverJon(HashedWords):
        def embed_documents(self, given):
            vectors = super().embed_documents(given)
            return [
                [math.nan] if "Jon has" in text else one
                for text, one in zip(given, vectors, strict=True)
            ]

    with opened(tmp_path, NeverJon()) as memory:
        memory.observe(ALICE, NEXT)
        memory.observe(ALICE, "Mara has a cat.")
        assert len(memory.ledger.turns.events(NOT_EMBEDDED)) == 1
        assert "Mara has a cat." in texts(memory, ALICE, "What does Mara have?")
        assert NEXT in texts(memory, ALICE, "What does Jon have?")
        memory.observe(BOB, TOLD)
        assert TOLD in texts(memory, BOB, ASKED)
        assert [one["unembedded"] for one in memory.status()] == [1, 0]


def test_too_few_vectors_are_told(tmp_path):
    embeddings = Failing()
    with opened(tmp_path, embeddings) as memory:
        memory.observe(ALICE, TOLD)
        embeddings.embed_documents = lambda given: []
        memory.observe(ALICE, NEXT)
        (event,) = memory.ledger.turns.events(NOT_EMBEDDED)
        assert "0 vectors for 1 texts" in event["reason"]
        del embeddings.embed_documents


def test_reindexing_on_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    with opened(tmp_path, HashedWords()) as memory:
        memory.observe(ALICE, TOLD)
        pieces = "SELECT id, vector FROM pieces ORDER BY id"
        kept, measured = memory.ledger.database.rows(pieces), memory.ledger.embeddings
        with monkeypatch.context() as patched:
            patched.setattr(memory.ledger.episodes, "index_words_anew", refuse)
            with pytest.raises(FolderError, match="full"):
                memory.reindex()
        assert list(map(tuple, memory.ledger.database.rows(pieces))) == list(map(tuple, kept))
        assert (memory.ledger.embeddings, memory.verify()) == (measured, [])
        with monkeypatch.context() as patched:
            patched.setattr(memory.ledger.vectors, "add", refuse)
            with pytest.raises(FolderError, match="full"):
                memory.reindex()
            assert TOLD in texts(memory, ALICE, ASKED)
            assert [row["unembedded"] for row in memory.status()] == [1]
        assert TOLD in texts(memory, ALICE, ASKED)
        assert [row["unembedded"] for row in memory.status()] == [0]
        assert memory.verify() == []


def test_recalling_on_a_full_disk_writes_nothing(tmp_path, monkeypatch):
    with opened(tmp_path, HashedWords()) as memory:
        memory.ledger.episodes.add(Episode(ALICE, TOLD))
        monkeypatch.setattr(memory.ledger.vectors, "add", refuse)
        monkeypatch.setattr(memory.ledger, "use_embeddings", refuse)
        assert TOLD in texts(memory, ALICE, ASKED)
        assert TOLD in [one.text for one in memory.search(ALICE, ASKED).episodes]


def refuse(*given, **named):
    raise FolderError("the disk is full")


def test_closing_lets_the_folder_go_whatever_fails(tmp_path, monkeypatch):
    memory = opened(tmp_path, HashedWords())
    memory.observe(ALICE, TOLD)
    with monkeypatch.context() as broken:
        broken.setattr(memory.buffer, "close", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            memory.close()
    with opened(tmp_path, HashedWords()) as again:
        assert TOLD in texts(again, ALICE, ASKED)


@pytest.mark.parametrize("what", ["nights", "lock"])
def test_a_night_that_cannot_be_locked_is_told_in_a_sentence(tmp_path, what):
    with opened(tmp_path, HashedWords()) as memory:
        with memory._opened.night(ALICE):
            pass
        (lock,) = (memory.folder / "nights").glob("*.lock")
        lock.unlink()
        if what == "lock":
            lock.mkdir()
        else:
            (memory.folder / "nights").rmdir()
            (memory.folder / "nights").touch()
        cannot = pytest.raises(FolderError, match="cannot be locked for a night")
        with cannot, memory._opened.night(ALICE):
            pytest.fail("it runs")


def test_an_error_within_a_night_is_its_own(tmp_path):
    with opened(tmp_path, HashedWords()) as memory:
        for _ in range(2):
            with pytest.raises(OSError, match="own"), memory._opened.night(ALICE):
                raise OSError("its own")


def test_a_deleted_folder_is_closed_and_may_be_made_anew(tmp_path):
    memory = opened(tmp_path, HashedWords())
    memory.observe(ALICE, TOLD)
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(FolderError, match="deleted, moved or replaced"):
        memory.observe(ALICE, NEXT)
    memory.close()
    with opened(tmp_path, HashedWords()) as again:
        assert again.status() == []


def test_a_ledger_whose_log_was_deleted_takes_nothing_more(tmp_path):
    with opened(tmp_path, HashedWords()) as memory:
        memory.observe(ALICE, TOLD)
        (tmp_path / "m" / "ledger.db-wal").unlink()
        with pytest.raises(FolderError, match=r"ledger.db-wal was deleted, moved or replaced"):
            memory.observe(ALICE, NEXT)
    with opened(tmp_path, HashedWords()) as again:
        assert [episode.text for episode in again.ledger.episodes.all()] == [TOLD]
        again.observe(ALICE, NEXT)
        assert again.verify() == []


def test_a_program_may_change_its_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SleepMemory.open("m", embeddings=HashedWords()) as memory:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        memory.observe(ALICE, TOLD)
        assert TOLD in texts(memory, ALICE, ASKED)


def test_a_wrong_vector_of_what_is_not_indexed_is_not_remembered(tmp_path, spoil):
    embeddings = Failing()
    with opened(tmp_path, embeddings) as memory:
        memory.observe(ALICE, TOLD)
        new = Episode(ALICE, NEXT)
        embeddings.spoil = spoil
        assert memory.buffer.vectors(ALICE, [new]) == {}
        embeddings.spoil = None
        (vector,) = memory.buffer.vectors(ALICE, [new]).values()
        assert vector.tolist() == pytest.approx(embeddings.embed_query(NEXT))


def test_experts_of_a_model_with_other_habits_are_refused(tmp_path, embeddings):
    with SleepMemory.open(tmp_path / "m", embeddings=embeddings) as memory:
        opened = memory._opened
        opened.remember_model("some/model", "one")
        opened.remember_model("some/model", "two")  # no expert yet
        night = memory.ledger.nights.start(("alice",))
        expert = Expert("e", ("alice",), night, "fast", 4, "2026-05-04", (), live=True)
        memory.ledger.lineage.promote(expert, Proof())
        with pytest.raises(ExpertError, match="with other habits"):
            opened.remember_model("some/model", "one")
        assert memory.ledger.habits == "two"
