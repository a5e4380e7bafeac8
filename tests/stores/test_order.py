"""One order of what an owner was told: by the time that was given, else by what came later."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlite_utils
from _values import HashedWords, put_expert
from langchain_core.messages import HumanMessage, ToolMessage

import sleepmem.records
from sleepmem import (
    ExpertError,
    FolderError,
    Level,
    MemoryConfig,
    SleepConfig,
    SleepMemory,
    Verdict,
)
from sleepmem.night.probing.context import newer, older
from sleepmem.night.replay import select
from sleepmem.night.schedule import Schedule
from sleepmem.records import Episode, NightReport
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.schema import migrations

ALICE, BOB = ("alice",), ("bob",)
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock(datetime):
    """Shows what it is set to."""

    shown = NOON

    @classmethod
    def now(cls, tz=None):
        return cls.shown.astimezone(tz)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(sleepmem.records, "datetime", Clock)
    Clock.shown = NOON
    return Clock


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SleepMemory]:
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as one:
        yield one


@pytest.mark.parametrize("back", [5 * SECOND, 3_600 * SECOND, timedelta(days=9_000), 0 * SECOND])
def test_what_is_told_later_is_newer_whatever_the_clock_says(memory, clock, back):
    first = memory.observe(ALICE, "Mara lives in Oslo.", thread="t")
    clock.shown -= back
    second = memory.observe(ALICE, "Mara lives in Rome.", thread="t")
    memory.observe_messages(ALICE, [HumanMessage("Mara lives in Bonn.", id="m")], thread="t")
    told = memory.ledger.episodes.all(ALICE)
    assert told[:2] == [first, second]
    assert [episode.text[14:-1] for episode in told] == ["Oslo", "Rome", "Bonn"]
    times = [datetime.fromisoformat(episode.created_at) for episode in told]
    assert times == [NOON, NOON + SECOND / 1_000_000, NOON + SECOND / 500_000]

    # Everything that orders says the same.
    episodes = memory.ledger.episodes
    assert episodes.newest(ALICE, "user") == told[2]
    assert episodes.is_newest(told[2])
    assert not episodes.is_newest(told[0])
    assert episodes.beside(told[1]) == [told[0], told[2]]
    assert (older(told[1], told), newer(told[1], told)) == ([told[0]], [told[2]])
    assert [one.episode_id for one in select(told[::-1], {}, tried={}, budget=9)] == [
        e.id for e in told
    ]
    recalled = memory.recall(ALICE, "Where does Mara live?", log=False)
    assert recalled.oldest_first[-1] == told[2]
    lines = memory.context(recalled).splitlines()
    assert lines[-1].endswith("Bonn.")
    assert memory.verify() == []


def test_the_day_stays_what_the_clock_says(memory, clock):
    memory.observe(ALICE, "Mara lives in Oslo.")
    clock.shown -= timedelta(days=2)
    assert memory.observe(ALICE, "Mara lives in Rome.").day == "2030-05-30"


def test_what_is_told_again_after_the_clock_was_set_back_takes_the_place(memory, clock):
    oslo = memory.observe(ALICE, "Mara lives in Oslo.")
    memory.observe(ALICE, "Mara lives in Rome.")
    clock.shown -= 5 * SECOND
    again = memory.observe(ALICE, "Mara lives in Oslo.")
    assert again.id != oslo.id
    assert [e.text[14:-1] for e in memory.ledger.episodes.buffered(ALICE)] == ["Rome", "Oslo"]


def test_a_time_that_is_given_orders_by_time(memory, clock):
    memory.observe(ALICE, "Mara lives in Oslo.")
    future, past = "2039-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"
    memory.observe(ALICE, "Mara will live in Bonn.", created_at=future)
    memory.observe(ALICE, "Mara lived in Lima.", created_at=past)
    message = HumanMessage("Mara was born in Quito.", id="m")
    memory.observe_messages(ALICE, [message], said_at="2001-01-01T00:00:00+00:00")
    clock.shown += SECOND
    now = memory.observe(ALICE, "Mara lives in Rome.")
    assert now.created_at == "2030-06-01T12:00:01.000000+00:00"
    order = [episode.text.split()[-1] for episode in memory.ledger.episodes.all(ALICE)]
    assert order == ["Quito.", "Lima.", "Oslo.", "Rome.", "Bonn."]


def test_of_equal_times_the_one_that_was_stored_later_is_newer(memory):
    towns = ["Oslo", "Rome", "Bonn", "Lima", "Kiev", "Bern"]
    for town in towns:
        told = f"Mara lives in {town}."
        memory.observe(ALICE, told, created_at="2030-01-01T00:00:00Z", thread="t")
    episodes = memory.ledger.episodes
    told = episodes.all(ALICE)
    assert [episode.text[14:-1] for episode in told] == towns
    assert sorted({*told}, key=lambda one: one.age_key) == told
    assert episodes.newest(ALICE, "user") == told[-1]
    assert episodes.beside(told[2]) == [told[1], told[3]]
    on_day = episodes.on_days(ALICE, "2030-01-01", last="2030-01-01", limit=2)
    assert on_day == [told[-1], told[-2]] or told[0].day != "2030-01-01"


def test_other_owners_have_a_time_of_their_own(memory, clock):
    memory.observe(ALICE, "Mara lives in Oslo.")
    clock.shown -= 5 * SECOND
    told = memory.observe(BOB, "Jon lives in Rome.")
    assert datetime.fromisoformat(told.created_at) == NOON - 5 * SECOND


def test_a_zone_changes_the_day_and_not_the_order(memory, clock):
    zones = ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"]
    for n, zone in enumerate(zones):
        clock.shown -= 5 * SECOND
        message = HumanMessage(f"Mara has {n} boats.", id=f"m{n}")
        memory.observe_messages(ALICE, [message], zone=ZoneInfo(zone))
    told = memory.ledger.episodes.all(ALICE)
    assert [episode.text[9] for episode in told] == ["0", "1", "2"]
    assert [episode.day for episode in told] == ["2030-06-02", "2030-06-01", "2030-06-01"]


def test_what_came_in_one_turn_keeps_its_order(memory):
    tools = [
        ToolMessage(f"Oslo has {n} parks.", tool_call_id=f"c{n}", name="search", id=f"t{n}")
        for n in range(9)
    ]
    told = [HumanMessage("How many parks has Oslo?", id="m"), *tools]
    memory.observe_messages(ALICE, told, said_at="2030-01-01T00:00:00Z")
    texts = [episode.text for episode in memory.ledger.episodes.all(ALICE)]
    assert texts == [message.text for message in told]


def append(path: Path, name: str, back: int, number: int) -> None:
    """Another process, the clock of which goes otherwise."""
    sleepmem.records.datetime = Clock
    with closing(Ledger(path)) as ledger:
        n = 0
        while n < number:
            Clock.shown = datetime.now(UTC) - back * SECOND
            # On a slow disk SQLite may let others in first, for longer than one waits.
            with contextlib.suppress(FolderError):
                ledger.episodes.tell(Episode(ALICE, f"{name} {n}"))
                n += 1


def test_processes_with_different_clocks_append_in_one_order(tmp_path):
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=append, args=(path, name, back, 10))
            for name, back in (("early", 3_600), ("late", -3_600), ("right", 0))
        ]
        for other in others:
            other.start()
        for other in others:
            other.join()
            assert other.exitcode == 0
        by_time = [episode.sequence for episode in ledger.episodes.all(ALICE)]
        assert by_time == sorted(by_time)
        assert len(by_time) == 30
        assert ledger.verify() == []


def test_episodes_of_an_earlier_version_count_as_dated_by_the_clock(tmp_path, clock):
    path = tmp_path / "ledger.db"
    db = sqlite_utils.Database(path)
    migrations.apply(db, stop_before="tell_what_the_clock_dated")
    row = {"namespace": '["alice"]', "source": "user", "message_id": "m", "text": "Told before."}
    episode = Episode(ALICE, "Told before.", message_id="m")
    db["episodes"].insert({**row, "id": episode.id, "created_at": episode.created_at, "day": ""})
    db.close()
    with closing(Ledger(path)) as ledger:
        clock.shown -= 5 * SECOND
        ledger.episodes.tell(Episode(ALICE, "Told now.", message_id="n"))
        assert [one.text for one in ledger.episodes.all(ALICE)] == ["Told before.", "Told now."]


# Nights


@pytest.fixture
def many_nights(memory: SleepMemory) -> list[str]:
    """Experts of the nights 9,998 to 10,001."""
    with memory.ledger.database.write() as db:
        night = {"id": "night-9997", "number": 9997, "namespace": '["bob"]', "upto": 0}
        db.table("nights").insert({**night, "started_at": sleepmem.records.now()})
    for n in range(4):
        told = memory.observe(ALICE, f"Mara has boat number {n}.")
        put_expert(memory, ALICE, [told.id])
    return [expert.night_id for expert in memory.ledger.lineage.experts(ALICE)]


def test_the_ten_thousandth_night_comes_after_the_one_before(memory, many_nights):
    assert many_nights == ["night-9998", "night-9999", "night-10000", "night-10001"]
    assert [night.id for night in memory.ledger.nights.finished(ALICE)] == many_nights
    assert list(memory.ledger.nights.numbers())[1:] == many_nights
    assert memory.ledger.nights.start(ALICE) == "night-10002"
    assert memory.ledger.nights.unfinished(ALICE) == "night-10002"


def test_a_slow_night_is_due_again_after_the_ten_thousandth(memory, many_nights):
    levels = (Level("fast", 1, 2, 6.0), Level("slow", 2, 4, 2.0))
    schedule = Schedule(
        memory._opened,
        lambda: memory.local,
        config=MemoryConfig(sleep=SleepConfig(levels=levels)),
        embeddings=memory.embeddings,
    )
    assert schedule.due(ALICE) == "slow"
    for number, due in ((9999, "slow"), (10_000, "slow"), (10_001, None)):
        report = NightReport(f"night-{number}", ALICE, Verdict.REJECTED, "r", level="slow")
        memory.ledger.nights.finish(report)
        assert schedule.due(ALICE) == due


def test_a_rollback_beyond_the_ten_thousandth_night_keeps_those_before(memory, many_nights):
    back = memory.rollback(ALICE, many_nights[:2])
    assert len(back) == 2
    live = [expert.night_id for expert in memory.ledger.lineage.experts(ALICE)]
    assert live == many_nights[:2]
    with pytest.raises(ExpertError, match="night-9998, night-9999, night-10000, night-10001"):
        memory.rollback(ALICE, ["night-0001"])


def test_the_last_promotion_is_that_of_the_last_night(memory, clock):
    for n in range(2):
        night_id = memory.ledger.nights.start(ALICE)
        memory.ledger.nights.finish(
            NightReport(night_id, ALICE, Verdict.PROMOTED, f"r{n}", level="fast")
        )
        clock.shown -= 5 * SECOND
    last = datetime.fromisoformat(memory.ledger.nights.last_promotion(ALICE, level="fast"))
    assert last == NOON - 5 * SECOND


def test_at_the_end_of_time_the_later_is_the_newer_still(tmp_path, clock):
    clock.shown = datetime.max.replace(tzinfo=UTC)
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as memory:
        told = [memory.observe(ALICE, f"Mara saw whale {n}.") for n in range(2)]
        assert told[0].created_at == told[1].created_at
        assert memory.ledger.episodes.all() == told
        assert memory.verify() == []
