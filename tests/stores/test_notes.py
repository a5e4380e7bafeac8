"""Notes in the ledger: kept once, an owner's, replaced as long as the night that found so lives."""

import pytest

from sleepmem.errors import LedgerError
from sleepmem.records import Episode, Expert, Note
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
