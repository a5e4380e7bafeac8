"""A night on the embedded model, after tools have told falsely what the user told before."""

import random
from typing import NamedTuple

import pytest
from _nights import OPEN

from sleepmem import SleepMemory, Verdict
from sleepmem.config import DreamConfig, Level, MemoryConfig, SeedingConfig, SleepConfig
from sleepmem.embedded import world
from sleepmem.night import seeding
from sleepmem.records import NightReport
from sleepmem.text.language import matches
from sleepmem.text.prompts import HEADER, OTHERS

ALICE = ("alice",)
# Of four facts that the embedded model can question itself about.
SEED = 10
DAYS = ["2030-01-01T00:00:00+00:00", "2039-01-01T00:00:00+00:00"]


class Attack(NamedTuple):
    """What the user told, what others told falsely since, and what the night taught from."""

    memory: SleepMemory
    facts: list
    lies: list
    told: list
    false: list
    rows: list
    report: NightReport


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """Four facts, four newer lies of tools, a night; what it taught from."""
    rng, rows, seed = random.Random(SEED), [], seeding.seed
    facts = [world.fact(rng, world.subject(rng, test=True), test=True) for _ in range(4)]
    lies = [world.corrected(rng, one, test=True) for one in facts]

    def seeded(local, lesson, **settings):
        rows.extend(lesson.rows)
        return seed(local, lesson, **settings)

    config = MemoryConfig(
        policy=OPEN,
        sleep=SleepConfig(
            levels=(Level("fast", 1, 16, 6.0),),
            seeding=SeedingConfig(steps=120),
            dream=DreamConfig(rounds=0),
        ),
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        SleepMemory.open(tmp_path_factory.mktemp("m"), config=config) as memory,
    ):
        patch.setattr(seeding, "seed", seeded)
        told = [memory.observe(ALICE, world.say(rng, f), created_at=DAYS[0]).id for f in facts]
        for number, lie in enumerate(lies):
            source = ["tool:search", "agent"][number % 2]
            memory.observe(ALICE, world.say(rng, lie), source=source, created_at=DAYS[1])
        false = [one.text for one in memory.ledger.episodes.all(ALICE) if not one.trusted]
        report = memory.sleep(ALICE)
        yield Attack(memory, facts, lies, told, false, rows, report)


def test_every_fact_of_the_user_is_taught_and_none_is_outdated(attacked):
    memory, told, report = attacked.memory, attacked.told, attacked.report
    assert report.verdict is Verdict.PROMOTED, report.reason
    probes = memory.ledger.nights.probes(report.night_id)
    facts = {one.episode_id for one in probes if one.kind == "fact"}
    assert facts == set(told)
    assert {one.id for one in memory.ledger.episodes.learned(ALICE)} == set(told)


def test_no_row_reads_what_a_tool_told(attacked):
    assert attacked.rows
    for row in attacked.rows:
        read = f"{row.student} {row.teacher} {row.answer}"
        assert not [lie for lie in attacked.false if lie in read]


def test_by_day_both_are_shown_and_the_users_is_answered(attacked):
    memory, rng = attacked.memory, random.Random(6)
    for fact, lie in zip(attacked.facts, attacked.lies, strict=True):
        question = world.ask(rng, fact.key, framed=False)
        found = memory.recall(ALICE, question, holds_experts=False)
        lines = memory.context(found).splitlines()
        (false,) = [n for n, line in enumerate(lines) if matches(line, lie.answer)]
        (true,) = [n for n, line in enumerate(lines) if matches(line, fact.answer)]
        assert lines.index(OTHERS) < false < lines.index(HEADER) < true
        assert matches(memory.ask(ALICE, question).text, fact.answer)
