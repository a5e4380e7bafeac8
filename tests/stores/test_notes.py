"""Notes in the ledger: kept once, an owner's, replaced as long as the night that found so lives."""

from contextlib import closing
from dataclasses import replace

import pytest
from _values import probe

from sleepmem.errors import LedgerError
from sleepmem.records import Episode, Expert, Note, Role
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.lineage import Proof

ALICE, BOB = ("alice",), ("bob",)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def told(ledger, text, owner=ALICE):
    episode = Episode(owner, text)
    ledger.episodes.add(episode)
    return episode


def expert(night_id, owner=ALICE):
    return Expert(f"expert-{night_id}", owner, night_id, "fast", 4, "2026-05-04", (), live=True)


def test_a_note_is_kept_once_and_is_its_owners(ledger):
    episode = told(ledger, "Ana lives in Rome.")
    note = Note(episode.id, "Ana lives in Rome.", episode.text)
    ledger.notes.add(ALICE, [note, note])
    ledger.notes.add(ALICE, [note])
    assert ledger.notes.of(ALICE, [episode.id]) == [note]
    assert ledger.notes.of(BOB, [episode.id]) == []
    assert ledger.verify() == []


def test_sentences_without_a_note_are_told_apart(ledger):
    episode = told(ledger, "Ana lives in Rome. Her mail is a@x.org. Her key is 9.")
    empty = [Note(episode.id, "", part) for part in ("Her mail is a@x.org.", "Her key is 9.")]
    ledger.notes.add(ALICE, empty)
    assert ledger.notes.of(ALICE, [episode.id]) == empty
    assert ledger.verify() == []


def test_a_note_is_replaced_while_the_night_that_found_so_is_in_the_weights(ledger):
    old, new = told(ledger, "Ana lives in Rome."), told(ledger, "Ana lives in Oslo.")
    notes = [Note(one.id, one.text, one.text) for one in (old, new)]
    ledger.notes.add(ALICE, notes)
    night = ledger.nights.start(ALICE)
    ledger.lineage.promote(expert(night), Proof(replaced={notes[0].id: notes[1].id}))
    [replaced] = ledger.notes.of(ALICE, [old.id])
    assert replaced.replaced_by == notes[1].id
    ledger.lineage.rollback(ALICE, [])
    assert ledger.notes.of(ALICE, [old.id]) == notes[:1]


def test_a_note_that_was_changed_by_hand_is_told(ledger):
    episode = told(ledger, "Ana lives in Rome.")
    ledger.notes.add(ALICE, [Note(episode.id, "Ana lives in Rome.", episode.text)])
    with ledger.database.write() as db:
        db.execute("UPDATE notes SET text = 'Ana lives in Oslo.'")
    with pytest.raises(LedgerError, match="not what was drawn"):
        ledger.notes.of(ALICE, [episode.id])
    assert any("note" in fault for fault in ledger.verify())


def proven(ledger, *held):
    """A night whose exam proved these notes, each by one question."""
    night = ledger.nights.start(ALICE)
    probes = []
    for number, note in enumerate(held):
        one = probe(number, note.episode_id, "Where?", "x", night_id=night, role=Role.EXAM)
        probes.append(replace(one, note_id=note.id))
    ledger.nights.add_probes(ALICE, probes)
    passed = [one.id for one in probes]
    proof = Proof(passed=passed, notes=[note.id for note in held])
    ledger.lineage.promote(expert(night), proof)
    return night


def two_of_one(ledger):
    episode = told(ledger, "Ana lives in Rome. She has a dog.")
    notes = [
        Note(episode.id, "Ana lives in Rome.", "Ana lives in Rome."),
        Note(episode.id, "Ana has a dog.", "She has a dog."),
    ]
    ledger.notes.add(ALICE, notes)
    return episode, notes


def test_a_note_is_held_though_its_episode_waits_for_the_rest(ledger):
    episode, (home, dog) = two_of_one(ledger)
    night = proven(ledger, home)
    assert [one.id for one in ledger.episodes.buffered(ALICE)] == [episode.id]
    assert [one.note_id for one in ledger.nights.learned_probes(ALICE, passed=True)] == [home.id]
    assert [note.learned_in for note in ledger.notes.of(ALICE, [episode.id])] == [night, ""]
    # What is not held yet is all that may speak against the weights.
    assert ledger.notes.rest(ALICE, [episode.id]) == {episode.id: dog.part}
    assert ledger.verify() == []


def test_a_note_goes_back_with_the_night_that_held_it_and_forward_again(ledger):
    _, (home, dog) = two_of_one(ledger)
    first = proven(ledger, home)
    second = proven(ledger, dog)
    ledger.lineage.rollback(ALICE, [first])
    assert [one.note_id for one in ledger.nights.learned_probes(ALICE)] == [home.id]
    ledger.lineage.rollback(ALICE, [first, second])
    assert {one.note_id for one in ledger.nights.learned_probes(ALICE)} == {home.id, dog.id}
    # Both nights together hold all of it.
    assert ledger.episodes.buffered(ALICE) == []
    ledger.lineage.rollback(ALICE, [second])
    assert len(ledger.episodes.buffered(ALICE)) == 1


def test_what_a_slower_expert_absorbs_it_has_to_prove(ledger):
    episode, (home, dog) = two_of_one(ledger)
    first, second = proven(ledger, home), proven(ledger, dog)
    ledger.lineage.rollback(ALICE, [first, second])
    slow = ledger.nights.start(ALICE)
    names = [f"expert-{first}", f"expert-{second}"]
    ledger.lineage.promote(expert(slow), Proof(notes=[home.id]), absorbed=names)
    held = [note.learned_in for note in ledger.notes.of(ALICE, [episode.id])]
    assert held == [slow, ""]
    assert [one.id for one in ledger.episodes.buffered(ALICE)] == [episode.id]


def test_only_the_notes_that_faded_are_taken_back(ledger):
    episode, (home, dog) = two_of_one(ledger)
    proven(ledger, home, dog)
    ledger.episodes.take_back([episode.id], notes=[dog.id])
    assert [one.note_id for one in ledger.nights.learned_probes(ALICE, passed=True)] == [home.id]


def test_a_note_said_to_be_in_no_live_expert_is_a_fault(ledger):
    two_of_one(ledger)
    with ledger.database.write() as db:
        db.execute("UPDATE notes SET learned_in = 'night-0009'")
    assert any("said to be in the expert of night-0009" in fault for fault in ledger.verify())


def test_a_correction_outlives_the_slower_expert_that_took_it_over(ledger):
    old, new = told(ledger, "Ana lives in Rome."), told(ledger, "Ana lives in Oslo.")
    notes = [Note(one.id, one.text, one.text) for one in (old, new)]
    ledger.notes.add(ALICE, notes)
    fast = ledger.nights.start(ALICE)
    ledger.lineage.promote(expert(fast), Proof(replaced={notes[0].id: notes[1].id}))
    slow = ledger.nights.start(ALICE)
    slower = replace(expert(slow), lineage=(f"expert-{fast}",))
    ledger.lineage.promote(slower, Proof(), absorbed=[f"expert-{fast}"])
    assert ledger.notes.of(ALICE, [old.id])[0].replaced_by == notes[1].id
    # Taken back, or forgotten, the slower one leaves what the faster found.
    ledger.lineage.rollback(ALICE, [fast])
    assert ledger.notes.of(ALICE, [old.id])[0].replaced_by == notes[1].id
    ledger.lineage.rollback(ALICE, [])
    assert ledger.notes.of(ALICE, [old.id])[0].replaced_by == ""


def test_a_sentence_without_a_note_that_two_versions_wrote_is_kept_once(ledger):
    episode = told(ledger, "Her mail is a@x.org. Her key is 9.")
    mail, key = (Note(episode.id, "", part) for part in ("Her mail is a@x.org.", "Her key is 9."))
    ledger.notes.add(ALICE, [mail, key])
    with ledger.database.write() as db:
        db.execute("UPDATE notes SET id = 'old' WHERE id = ?", [key.id])
        # What an earlier version adds beside it.
        row = {"namespace": '["alice"]', "episode_id": episode.id, "text": ""}
        db.table("notes").insert({**row, "id": "older", "part": mail.part})
        db.execute(
            "DELETE FROM _sqlite_migrations WHERE name = 'tell_sentences_without_notes_apart'"
        )
    with closing(Ledger(ledger.path)) as again:
        assert again.notes.of(ALICE, [episode.id]) == [mail, key]
        assert again.verify() == []
