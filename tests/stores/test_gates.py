"""The gate and its examples go with the night that fitted them; facts know their wordings."""

from _values import probe, put_expert

from sleepmem.stores.lineage import Proof

ALICE = ("alice",)


def test_the_gate_is_that_of_the_newest_live_night(memory):
    told = [memory.observe(ALICE, text) for text in ("Mara lives in Oslo.", "Jon eats plums.")]
    nights = [put_expert(memory, ALICE, [episode.id]).night_id for episode in told]
    gates = memory.ledger.gates
    for night_id in nights:
        for _ in range(2):  # a step that runs again
            gates.write(ALICE, night_id, gate=night_id, examples=[{"of": night_id}])
    assert gates.read(ALICE) == nights[1]
    assert gates.examples(ALICE, without="", limit=9) == [{"of": nights[1]}, {"of": nights[0]}]
    assert gates.examples(ALICE, without=nights[1], limit=9) == [{"of": nights[0]}]
    memory.rollback(ALICE, nights[:1])
    assert gates.read(ALICE) == nights[0]
    assert gates.examples(ALICE, without="", limit=9) == [{"of": nights[0]}]
    memory.rollback(ALICE, [])
    assert gates.read(ALICE) is None
    assert gates.read(("bob",)) is None


def test_the_wordings_of_a_fact_are_those_that_were_passed(memory):
    told = memory.observe(ALICE, "Mara lives in Oslo.")
    night_id = put_expert(memory, ALICE, [told.id]).night_id
    probes = [
        probe(n, told.id, f"q{n}", "Oslo" if n < 3 else "Mara", night_id=night_id) for n in range(4)
    ]
    memory.ledger.nights.add_probes(ALICE, probes)
    expert = memory.ledger.lineage.experts(ALICE)[0]
    passed = [probes[number].id for number in (0, 2, 3)]
    memory.ledger.lineage.promote(expert, Proof([told.id], (), passed))
    facts = memory.ledger.gates.facts(one.id for one in probes)
    assert facts[probes[0].id] == facts[probes[2].id]
    assert facts[probes[0].id][1] == ("q0", "q2")
    assert facts[probes[3].id][1] == ("q3",)
