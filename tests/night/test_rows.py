"""Batches: what share of each holds which kind of row, and in which order the rows come."""

import pytest

from sleepmem.config import SeedingConfig
from sleepmem.night.rows import Row, RowKind, compose
from sleepmem.text.prompts import closed_book


def row(kind, number):
    asked = closed_book(f"{kind} {number}?")
    return Row(kind, asked, asked, "An answer.")


ROWS = [row(kind, number) for kind in RowKind for number in range(4)]
FACTS = [row for row in ROWS if row.kind is RowKind.FACT]
NEVER_SAID = [row for row in ROWS if row.kind is RowKind.NEVER_SAID]


def batches(rows, config):
    drawn = compose(rows, config)
    return [drawn[first : first + config.batch] for first in range(0, len(drawn), config.batch)]


def kinds(batch):
    return sorted(row.kind.value for row in batch)


def test_every_batch_holds_its_share_of_each_kind():
    config = SeedingConfig(steps=7, batch=20, never_said=0.2, rehearsal=0.25, reading=0.1)
    expected = ["fact"] * 9 + ["never_said"] * 4 + ["reading"] * 2 + ["rehearsal"] * 5
    assert list(map(kinds, batches(ROWS, config))) == [expected] * 7


def test_tonights_facts_take_the_share_of_what_there_is_not():
    config = SeedingConfig(steps=3, batch=10, never_said=0.2)
    expected = ["fact"] * 8 + ["never_said"] * 2
    assert list(map(kinds, batches(FACTS + NEVER_SAID, config))) == [expected] * 3


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 32])
@pytest.mark.parametrize("shares", [(0.2, 0.25, 0.25), (0.3, 0.3, 0.3), (0.0, 0.0, 0.99)])
def test_every_batch_is_full_and_teaches_tonights_facts(size, shares):
    never_said, rehearsal, reading = shares
    config = SeedingConfig(
        steps=3, batch=size, never_said=never_said, rehearsal=rehearsal, reading=reading
    )
    drawn = batches(ROWS, config)
    assert list(map(len, drawn)) == [size] * 3
    for batch in drawn:
        assert "fact" in kinds(batch)


def test_every_row_comes_once_before_any_comes_twice():
    drawn = compose(ROWS, SeedingConfig(steps=4, batch=10))
    facts = [row for row in drawn if row.kind is RowKind.FACT]
    rounds = len(facts) // len(FACTS)
    assert {facts.count(row) for row in FACTS} <= {rounds, rounds + 1}


def test_composition_depends_on_the_seed_alone():
    one, other = SeedingConfig(steps=3, seed=1), SeedingConfig(steps=3, seed=2)
    assert compose(ROWS, one) == compose(ROWS, one) != compose(ROWS, other)
