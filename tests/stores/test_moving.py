"""Leave and move: an owner's memory as plain files, and back, here or elsewhere."""

import json
import shutil
from dataclasses import replace

import pytest
from _nights import ALICE, LOOSE, buffered, config, tell
from _values import put_expert

from sleepmem import EpisodeError, FolderError, MemoryConfig, PolicyConfig, SleepMemory
from sleepmem.config import ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model.habits import CARD, Habits, adapter
from sleepmem.model.local import LocalModel
from sleepmem.records import Note, View
from sleepmem.stores.lineage import Proof
from sleepmem.stores.manifest import Manifest, digests
from sleepmem.stores.nights import promoted

BOB = ("team", "bob")


@pytest.fixture
def another(tmp_path, brief, embeddings):
    """A second memory folder, as on another machine."""
    with SleepMemory.open(
        tmp_path / "other", brief, embeddings=embeddings, config=config(LOOSE)
    ) as memory:
        yield memory


def slept(memory):
    """Two nights, the second with a correction by hand of what may be proven."""
    told = tell(memory)
    memory.sleep(ALICE)
    memory.observe(ALICE, "Mara saw a whale.", created_at="2030-02-01T00:00:00+00:00")
    memory.sleep(ALICE)
    return told


def held(memory, owner):
    learned = [one.text for one in memory.ledger.episodes.learned(owner)]
    waiting = [one.text for one in memory.ledger.episodes.buffered(owner)]
    return learned, waiting


@pytest.mark.parametrize("owner", [ALICE, BOB])
def test_an_empty_memory_gets_all_of_it_back(opened, another, by_hand, tmp_path, owner):
    memory = opened()
    slept(memory)
    manifest = memory.export_to(ALICE, tmp_path / "out")
    assert (manifest.counts["nights"], manifest.counts["experts"]) == (2, 2)
    imported = another.import_from(owner, tmp_path / "out")
    assert (imported.episodes, imported.nights, imported.left_out) == (4, 2, "")
    assert held(another, owner) == held(memory, ALICE)
    assert another.verify() == []
    # The experts answer, as they did there.
    question = "What is it that Mara moved to Brenport."
    recalled = another.recall(owner, question)
    assert recalled.view is memory.recall(ALICE, question).view is View.WEIGHTS
    assert another.ask(owner, question).text == memory.ask(ALICE, question).text
    # Nights go on, and older ones are rolled back to.
    another.observe(owner, "Jon sold the boat.")
    assert another.sleep(owner).number == 3
    first = another.ledger.nights.finished(owner)[0].id
    another.rollback(owner, [first])
    assert len(another.live_experts(owner)) == 1


def test_what_an_absorbed_night_corrected_stays_corrected(memory, tmp_path):
    old, new = memory.observe(ALICE, "Ana lives in Rome."), memory.observe(ALICE, "Ana is in Oslo.")
    notes = [Note(one.id, one.text, one.text) for one in (old, new)]
    memory.ledger.notes.add(ALICE, notes)
    fast = put_expert(memory, ALICE, [new.id])
    replaced = Proof(replaced={notes[0].id: notes[1].id})
    memory.ledger.lineage.promote(fast, replaced)
    slow = put_expert(memory, ALICE, [new.id])
    slow = replace(slow, lineage=(fast.name,))
    memory.ledger.lineage.promote(slow, Proof([new.id]), absorbed=[fast.name])
    memory.export_to(ALICE, tmp_path / "out")
    lines = (tmp_path / "out" / "notes.jsonl").read_text().splitlines()
    [written] = [one for one in map(json.loads, lines) if one["id"] == notes[0].id]
    assert (written["replaced_by"], written["replaced_in"]) == (notes[1].id, slow.night_id)


def test_a_namespace_is_exported_alone(opened, by_hand, tmp_path):
    memory = opened()
    slept(memory)
    memory.observe(BOB, "The password of Bob's diary is a word.")
    memory.export_to(ALICE, tmp_path / "out")
    texts = [file.read_text() for file in (tmp_path / "out").glob("*.jsonl")]
    assert any("Brenport" in text for text in texts)
    assert not any("diary" in text for text in texts)
    names = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert "adapter_model.safetensors" in names
    assert not any(name.startswith("ledger") for name in names)


def test_a_filled_memory_learns_it_anew(opened, another, by_hand, tmp_path):
    memory = opened()
    told = slept(memory)
    memory.export_to(ALICE, tmp_path / "out")
    another.observe(ALICE, "Ana lives in Rome.")
    imported = another.import_from(ALICE, tmp_path / "out")
    assert imported.experts == ()
    assert "learned anew" in imported.left_out
    assert set(told) <= set(buffered(another))
    assert another.sleep(ALICE).evicted > 0
    again = another.import_from(ALICE, tmp_path / "out")
    assert (again.episodes, again.known) == (0, 4)
    assert another.verify() == []


def test_of_an_export_that_is_not_trusted_only_the_words_come_in(
    opened, another, by_hand, tmp_path
):
    memory = opened()
    slept(memory)
    gone = memory.observe(ALICE, "Forget the ferry.", message_id="m1", thread="t")
    memory.forget(ALICE, episodes=[gone.id])
    memory.export_to(ALICE, tmp_path / "out")
    imported = another.import_from(ALICE, tmp_path / "out", trusted=False)
    assert (imported.episodes, imported.nights, imported.experts, imported.notes) == (4, 0, (), 0)
    assert "not trusted" in imported.left_out
    assert not any(one.trusted for one in another.ledger.episodes.all(ALICE))
    assert another.recall(ALICE, "Where did Mara move?").episodes
    assert another.sleep(ALICE).held_back == {"source": 4}
    assert another.ledger.lineage.experts(ALICE) == []
    # What the sender has forgotten binds nobody.
    assert another.observe(ALICE, gone.text, message_id="m1", thread="t").id in buffered(another)
    # It stays what it came in as, and so does what was believed.
    assert another.import_from(ALICE, tmp_path / "out").episodes == 0
    assert memory.import_from(ALICE, tmp_path / "out", trusted=False).episodes == 0
    assert another.verify() == memory.verify() == []


def test_experts_of_another_base_stay_out(opened, by_hand, tmp_path, embeddings):
    memory = opened()
    slept(memory)
    memory.export_to(ALICE, tmp_path / "out")
    with SleepMemory.open(tmp_path / "embedded", embeddings=embeddings) as other:
        imported = other.import_from(ALICE, tmp_path / "out")
        assert "trained on the model" in imported.left_out
        assert len(other.ledger.episodes.buffered(ALICE)) == imported.episodes == 4


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda out: (out / "episodes.jsonl").write_text("{}\n"), "episodes.jsonl is not the one"),
        (lambda out: (out / "notes.jsonl").unlink(), "notes.jsonl is missing"),
        (lambda out: shutil.rmtree(out / "experts"), "is missing"),
        (lambda out: (out / "more.jsonl").write_text("x"), "more.jsonl is not the one"),
        (lambda out: (out / "manifest.json").write_text("{"), "is no manifest"),
        (
            lambda out: (out / "manifest.json").write_text(
                (out / "manifest.json").read_text().replace('"version": 2', '"version": 9')
            ),
            "newer sleepmem",
        ),
    ],
)
def test_what_is_not_whole_is_not_taken_in(opened, another, by_hand, tmp_path, damage, told):
    memory = opened()
    slept(memory)
    memory.export_to(ALICE, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(FolderError, match=told):
        another.import_from(ALICE, tmp_path / "out")
    assert another.ledger.episodes.all(ALICE) == []


def test_nothing_is_overwritten(opened, tmp_path):
    memory = opened()
    tell(memory)
    memory.export_to(ALICE, tmp_path / "out")
    with pytest.raises(FolderError, match="overwrites nothing"):
        memory.export_to(ALICE, tmp_path / "out")
    assert [one.name for one in tmp_path.glob(".export-*")] == []


def test_memories_of_another_system_wait_untrusted(opened, tmp_path):
    memory = opened()
    export = {"results": [{"id": "1", "memory": "Likes tea", "user_id": "a", "hash": "x"}]}
    (tmp_path / "mem0.json").write_text(json.dumps(export))
    imported = memory.import_from(ALICE, tmp_path / "mem0.json")
    assert (imported.episodes, imported.known) == (1, 0)
    [episode] = memory.ledger.episodes.all(ALICE)
    assert (episode.text, episode.source, episode.trusted) == ("Likes tea", "import:mem0", False)
    again = memory.import_from(ALICE, tmp_path / "mem0.json")
    assert (again.episodes, again.known) == (0, 1)


def test_a_chat_is_taken_in_turn_by_turn_at_its_time(opened, tmp_path):
    memory = opened()
    said = [("human", "I moved to Brenport."), ("assistant", "Nice. Which street?")]
    said += [("human", "Mill Lane 4."), ("assistant", "Noted.")]
    messages = []
    for number, (sender, text) in enumerate(said):
        at = f"2025-03-0{number + 1}T10:00:00Z"
        messages.append({"uuid": f"m{number}", "sender": sender, "text": text, "created_at": at})
    chat = {"uuid": "c1", "name": "", "created_at": "2025-03-01T10:00:00Z"}
    (tmp_path / "conversations.json").write_text(json.dumps([{**chat, "chat_messages": messages}]))
    memory.import_from(ALICE, tmp_path)
    told = [(one.text, one.day, one.source) for one in memory.ledger.episodes.all(ALICE)]
    assert told[:2] == [
        ("I moved to Brenport.", "2025-03-01", "user"),
        ("Mill Lane 4.", "2025-03-03", "user"),
    ]
    assert memory.ledger.episodes.all(ALICE)[1].answers


def test_a_broken_export_stores_nothing(opened, tmp_path):
    memory = opened()
    (tmp_path / "mem0.json").write_text('[{"id": "1", "memory": "Likes tea"}, {"memory": 3}]')
    with pytest.raises(EpisodeError):
        memory.import_from(ALICE, tmp_path / "mem0.json", form="mem0")
    assert memory.ledger.episodes.all(ALICE) == []


def test_what_was_forgotten_or_is_refused_does_not_come_back(opened, by_hand, tmp_path):
    memory = opened()
    told = memory.observe(ALICE, "Mara moved to Brenport.", message_id="m1", thread="t")
    memory.observe(ALICE, "My card is 4242 4242 4242 4242.")
    memory.export_to(ALICE, tmp_path / "out")
    memory.forget(ALICE, episodes=[told.id])
    imported = memory.import_from(ALICE, tmp_path / "out")
    assert "forgotten here" in imported.left_out
    assert not any("Brenport" in one.text for one in memory.ledger.episodes.all(ALICE))
    memory = opened(policy=PolicyConfig(payment="refuse"))
    memory.import_from(BOB, tmp_path / "out")
    assert [one.text for one in memory.ledger.episodes.all(BOB)] == ["Mara moved to Brenport."]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x1c"])
def test_strange_ends_of_lines_move_along(opened, another, tmp_path, mark):
    memory = opened()
    memory.observe(ALICE, f"Mara{mark}moved to Brenport.")
    memory.export_to(ALICE, tmp_path / "out")
    another.import_from(ALICE, tmp_path / "out")
    assert [one.text for one in another.ledger.episodes.all(ALICE)] == [
        one.text for one in memory.ledger.episodes.all(ALICE)
    ]


def test_rows_that_no_export_has_written_are_told_in_a_sentence(opened, another, tmp_path):
    memory = opened()
    tell(memory)
    out = tmp_path / "out"
    memory.export_to(ALICE, out)
    (out / "episodes.jsonl").write_text('{"id": "x", "text": 3}\n')
    written = json.loads((out / "manifest.json").read_text())
    written["files"] = digests(out)
    (out / "manifest.json").write_text(json.dumps(written))
    assert Manifest.read(out)
    with pytest.raises((FolderError, EpisodeError)):
        another.import_from(ALICE, out)
    assert another.ledger.episodes.all(ALICE) == []


def unreported(memory, owner=ALICE):
    """A night that was promoted, and killed before its report."""
    kept = memory.observe(owner, "Mara saw whale 1.").id
    expert = put_expert(memory, owner, [kept])
    sql = "UPDATE nights SET verdict = NULL, report = NULL, finished_at = NULL WHERE id = ?"
    with memory.ledger.database.write() as db:
        db.execute(sql, [expert.night_id])
    return expert


def test_a_night_that_was_promoted_and_not_reported_moves_along(memory, another, tmp_path):
    expert = unreported(memory)
    memory.ledger.use_model(another.model)
    manifest = memory.export_to(ALICE, tmp_path / "out")
    assert {manifest.counts[name] for name in ("nights", "probes", "experts")} == {1}
    imported = another.import_from(ALICE, tmp_path / "out")
    assert (imported.nights, len(imported.experts), imported.left_out) == (1, 1, "")
    [night] = another.ledger.nights.finished(ALICE)
    assert (night.report["verdict"], night.report["expert"]) == ("promoted", imported.experts[0])
    assert night.finished_at == expert.created_at
    assert another.verify() == []


def test_what_was_rolled_back_or_forgotten_is_missed_nowhere_else(memory, another, tmp_path):
    experts = []
    for number in range(3):
        kept = memory.observe(ALICE, f"Mara saw whale {number}.").id
        experts.append(put_expert(memory, ALICE, [kept]))
        memory.ledger.nights.finish(promoted(experts[-1], number=number + 1))
    memory.rollback(ALICE, [experts[0].night_id])
    memory.ledger.use_model(another.model)
    memory.export_to(ALICE, tmp_path / "out")
    imported = another.import_from(ALICE, tmp_path / "out")
    assert (imported.nights, len(imported.experts)) == (3, 1)
    named = [one.report["expert"] for one in another.ledger.nights.finished(ALICE)]
    assert named == [imported.experts[0], None, None]
    assert another.verify() == []


def sealed(out):
    """Let the manifest name what lies there now."""
    written = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**written, "files": digests(out)}))


def test_no_export_reaches_out_of_its_folder(memory, another, tmp_path):
    expert = put_expert(memory, ALICE, [memory.observe(ALICE, "Mara saw whale 1.").id])
    memory.ledger.use_model(another.model)
    memory.export_to(ALICE, tmp_path / "out")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "secret.txt").write_text("mine")
    rows = tmp_path / "out" / "experts.jsonl"
    whole = rows.read_text()
    for name in ("../../own", str(tmp_path / "own"), ".."):
        rows.write_text(whole.replace(f'"name": "{expert.name}"', f'"name": "{name}"'))
        sealed(tmp_path / "out")
        with pytest.raises(FolderError, match="names no folder in it"):
            another.import_from(ALICE, tmp_path / "out")
    rows.write_text(whole)
    for link in ("experts/more", f"experts/{expert.name}/more"):
        (tmp_path / "out" / link).symlink_to(tmp_path / "own", target_is_directory=True)
        sealed(tmp_path / "out")
        with pytest.raises(FolderError, match="is a link"):
            another.import_from(ALICE, tmp_path / "out")
        (tmp_path / "out" / link).unlink()
    assert another.ledger.episodes.all(ALICE) == []
    assert list(another.folder.rglob("secret.txt")) == []


def test_habits_of_ones_own_come_along(tiny, embeddings, tmp_path):
    own = tmp_path / "own"
    adapter(LocalModel(tiny).model, rank=2).save_pretrained(own)
    (own / CARD).write_text(json.dumps({"bases": [str(tiny)]}))
    (own / "checkpoints").mkdir()
    with_own = MemoryConfig(model=ModelConfig(habits=str(own)))
    with SleepMemory.open(tmp_path / "m", tiny, embeddings=embeddings, config=with_own) as memory:
        memory.observe(ALICE, "Mara moved to Brenport.")
        assert memory.local.habits
        manifest = memory.export_to(ALICE, tmp_path / "out")
    assert Habits.read(tmp_path / "out/habits").sha256 == manifest.habits
    assert not (tmp_path / "out/habits/checkpoints").exists()
    assert "habits/adapter_model.safetensors" in manifest.files
    with SleepMemory.open(tmp_path / "m", tiny, embeddings=embeddings) as memory:
        # Of others than the settings name there is the hash alone.
        assert memory.export_to(ALICE, tmp_path / "without").habits == manifest.habits
    assert not (tmp_path / "without/habits").exists()
    (own / CARD).unlink()
    again = SleepMemory.open(tmp_path / "m", tiny, embeddings=embeddings, config=with_own)
    with again as memory, pytest.raises(ModelError, match="holds no habits"):
        memory.export_to(ALICE, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("source", [None, "", False, " user", "user\n"])
def test_no_source_makes_words_of_an_untrusted_export_the_users(opened, another, tmp_path, source):
    memory = opened()
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.export_to(ALICE, tmp_path / "out")
    file = tmp_path / "out/episodes.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), "source": source}) + "\n")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    manifest["files"] = digests(tmp_path / "out")
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    another.import_from(ALICE, tmp_path / "out", trusted=False)
    (one,) = another.ledger.episodes.all(ALICE)
    assert not one.trusted


def test_notes_of_what_a_rule_refuses_do_not_come_in(opened, tmp_path, embeddings):
    memory = opened()
    told = memory.observe(ALICE, "Yes, that one.")
    note = Note(told.id, "The card is 4242 4242 4242 4242.", "Yes, that one.")
    memory.ledger.notes.add(ALICE, [note])
    memory.export_to(ALICE, tmp_path / "out")
    strict = config(policy=PolicyConfig(payment="refuse"))
    with SleepMemory.open(tmp_path / "n", embeddings=embeddings, config=strict) as other:
        assert other.import_from(ALICE, tmp_path / "out").episodes == 1
        assert other.notes(ALICE) == []
