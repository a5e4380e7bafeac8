"""Whatever happens in whatever order: nothing is lost; ledger, index and experts agree."""

import shutil
import tempfile
from pathlib import Path

from _values import HashedWords, put_expert
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sleepmem import SleepMemory

OWNERS = [("alice",), ("bob",)]
TEXTS = st.builds(
    "{} now lives in {}.".format,
    st.sampled_from(["Mara", "Jon"]),
    st.sampled_from(["Brenport", "Oslo", "Rome"]),
)


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.told = {owner: {} for owner in OWNERS}
        self.nights = {owner: [] for owner in OWNERS}
        self.clock = 0
        self.open()

    def open(self):
        self.memory = SleepMemory.open(
            self.folder, model="nobody/nowhere", embeddings=HashedWords()
        )

    def now(self):
        self.clock += 1
        return f"2030-01-01T00:00:00.{self.clock:06d}+00:00"

    def teardown(self):
        self.memory.close()
        shutil.rmtree(self.folder)

    @rule(
        owner=st.sampled_from(OWNERS), text=TEXTS, message=st.none() | st.sampled_from(["m1", "m2"])
    )
    def observe(self, owner, text, message):
        at = self.now()
        told = self.memory.observe(owner, text, created_at=at, message_id=message)
        self.told[owner][told.id] = text

    @rule(owner=st.sampled_from(OWNERS), text=TEXTS)
    def append_beside(self, owner, text):
        """Another process stored something and the writer has not looked since.

        A crash before indexing leaves the same.
        """
        with SleepMemory.open(
            self.folder, "nobody/nowhere", embeddings=HashedWords(), append_only=True
        ) as other:
            at = self.now()
            told = other.observe(owner, text, created_at=at, message_id=f"beside-{self.clock}")
        self.told[owner][told.id] = text
        self.memory.recall(owner, "Where does Mara live?")

    @precondition(lambda self: any(self.told.values()))
    @rule(data=st.data(), share=st.integers(1, 3))
    def learn_and_evict(self, data, share):
        owner = data.draw(st.sampled_from([o for o in OWNERS if self.told[o]]))
        proven = [e.id for e in self.memory.ledger.episodes.buffered(owner)][::share]
        if proven:
            self.nights[owner].append(put_expert(self.memory, owner, proven).night_id)

    @precondition(lambda self: any(self.nights.values()))
    @rule(data=st.data())
    def rollback(self, data):
        owner = data.draw(st.sampled_from([o for o in OWNERS if self.nights[o]]))
        keep = [n for n in self.nights[owner] if data.draw(st.booleans())]
        self.memory.rollback(owner, keep)
        assert {e.night_id for e in self.memory.ledger.lineage.experts(owner)} == set(keep)

    @rule()
    def reopen(self):
        self.memory.close()
        self.open()

    @rule()
    def reindex(self):
        self.memory.reindex()

    @rule(owner=st.sampled_from(OWNERS))
    def flush(self, owner):
        self.memory.buffer.flush(owner)

    @invariant()
    def nothing_is_lost(self):
        for owner in OWNERS:
            stored = {e.id: e.text for e in self.memory.ledger.episodes.all(owner)}
            assert stored == self.told[owner]

    @invariant()
    def whatever_was_said_is_held_in_the_buffer_or_by_an_expert(self):
        for owner in OWNERS:
            buffered = [e.text for e in self.memory.ledger.episodes.buffered(owner)]
            learned = [e.text for e in self.memory.ledger.episodes.learned(owner)]
            assert {*buffered, *learned} == set(self.told[owner].values())

    @invariant()
    def the_index_is_what_the_ledger_says(self):
        for owner in OWNERS:
            self.memory.buffer.catch_up(owner)
            buffered = {e.id for e in self.memory.ledger.episodes.buffered(owner)}
            learned = {e.id for e in self.memory.ledger.episodes.learned(owner)}
            assert self.memory.buffer.ids(owner) == buffered
            assert self.memory.buffer.archived_ids(owner) == learned
            assert self.memory.buffer.known_ids(owner) == {
                p.id for p in self.memory.ledger.nights.learned_probes(owner)
            }

    @invariant()
    def it_is_sound(self):
        assert self.memory.verify() == []


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
