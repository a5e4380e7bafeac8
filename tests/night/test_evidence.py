"""What the gate is calibrated with is made of what was told, not of what was asked."""

from types import SimpleNamespace

from sleepmem.night.evidence import _Memory, _other_words

ALICE = ("alice",)


def test_what_users_ask_with_is_put_into_no_near_miss(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(ALICE, "Could you please tell me where Mara lives nowadays?")
    state = {"tonight": {"namespace": list(ALICE), "night_id": "none"}}
    read = _Memory.read(SimpleNamespace(ledger=memory.ledger), state)
    assert set(_other_words(read, ())) == {"Mara", "moved", "to", "Brenport"}
    assert len(read.texts) == 2
