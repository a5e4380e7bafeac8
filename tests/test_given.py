"""What callers give that is no time, no date and no template: one sentence, and nothing written."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from _values import HashedWords
from langchain_core.messages import HumanMessage

from sleepmem import EpisodeError, NamespaceError, SleepMemory
from sleepmem.day.namespace import Run, check_owner, owner_of
from sleepmem.records import Episode, Recall, View, local_now
from sleepmem.text.dates import days_named

ALICE = ("alice",)


def _shown(given: object) -> str:
    # Without the address: workers must name a test alike.
    return repr(given).partition(" at 0x")[0][:30]


NO_TIMES = [
    0,
    5,
    1.5,
    True,
    b"2030-01-01",
    ["2030-01-01"],
    object(),
    timedelta(days=1),
    "yesterday",
    "noon",
    "2030-13-01",
    "2030-01-01T24:30:00",
    "10000-01-01",
    "0000-01-01",
    "-0001-01-01",
    "2030-01-01T00:00:00+25:00",
    "x" * 100_000,
    "\0",
    "\ud800",
    " ",
]
# The calendar of UTC ends before these do.
NEVER = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
]
TIMES = [
    ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000000+00:00", "0001-01-01"),
    ("0001-01-01T00:00:00-12:00", "0001-01-01T12:00:00.000000+00:00", "0001-01-01"),
    ("1887-03-04T05:06:07+00:19:32", "1887-03-04T04:46:35.000000+00:00", "1887-03-04"),
    ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000+00:00", "1969-12-31"),
    ("2030-01-01T00:30:00+14:00", "2029-12-31T10:30:00.000000+00:00", "2030-01-01"),
    ("9999-12-31T23:59:59+14:00", "9999-12-31T09:59:59.000000+00:00", "9999-12-31"),
    (
        datetime(2030, 1, 2, 23, 30, tzinfo=ZoneInfo("America/New_York")),
        "2030-01-03T04:30:00.000000+00:00",
        "2030-01-02",
    ),
]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SleepMemory]:
    with SleepMemory.open(tmp_path / "m", embeddings=HashedWords()) as one:
        yield one


@pytest.mark.parametrize("given", NO_TIMES + NEVER, ids=_shown)
def test_what_is_no_time_is_refused_in_a_sentence(memory, given):
    with pytest.raises(EpisodeError, match="must be a time") as refused:
        memory.observe(ALICE, "Mara lives in Oslo.", created_at=given)
    assert len(str(refused.value)) < 300
    with pytest.raises(EpisodeError, match="must be a time"):
        Episode(ALICE, "Mara lives in Oslo.", created_at=given)
    memory.observe_messages(ALICE, [HumanMessage("Mara lives in Oslo.", id="m")], said_at=given)
    (event,) = memory.ledger.turns.events("not stored")
    assert event["reason"].startswith("said_at is")
    assert memory.ledger.episodes.all() == []


@pytest.mark.parametrize(("given", "stored", "day"), TIMES)
def test_far_times_and_zones_are_kept(memory, given, stored, day):
    told = memory.observe(ALICE, "Mara lives in Oslo.", created_at=given)
    assert (told.created_at, told.day) == (stored, day)
    assert memory.ledger.episodes.all() == [told]
    found = memory.recall(ALICE, "Where does Mara live?")
    assert found.episodes == (told,)
    assert f"{day}: " in memory.context(found)
    assert memory.verify() == []


@pytest.mark.parametrize(
    "given", ["2030-05-06", "20300506", date(2030, 5, 6), datetime(2030, 5, 6), "2030-05-06 00:00"]
)
def test_a_date_or_a_time_without_a_zone_is_local(memory, given):
    told = memory.observe(ALICE, "Mara lives in Oslo.", created_at=given)
    assert told.day == "2030-05-06"
    assert datetime.fromisoformat(told.created_at) == datetime(2030, 5, 6).astimezone()


@pytest.mark.parametrize("given", [None, ""])
def test_no_time_is_now(memory, given):
    told = memory.observe(ALICE, "Mara lives in Oslo.", created_at=given)
    memory.observe_messages(ALICE, [HumanMessage("Jon has a boat.", id="m")], said_at=given)
    assert {e.day for e in memory.ledger.episodes.all()} <= {told.day, local_now()[:10]}


@pytest.mark.parametrize("given", NO_TIMES, ids=_shown)
def test_what_is_no_date_is_refused_in_a_sentence(memory, given):
    memory.observe(ALICE, "Mara lives in Oslo.")
    with pytest.raises(EpisodeError, match="so it must be a date"):
        memory.recall(ALICE, "Where does Mara live?", today=given)
    with pytest.raises(EpisodeError, match="so it must be a date"):
        memory.context(Recall(View.RETRIEVAL, "r"), today=given)
    assert memory.ledger.turns.all(ALICE) == []


@pytest.mark.parametrize(
    "given", [None, date.min, date.max, datetime(2030, 1, 1), "2030-01-01", "2030-01-01T10:00:00Z"]
)
def test_every_date_is_taken(memory, given):
    memory.observe(ALICE, "Mara lives in Oslo.")
    for when in ("yesterday", "this week", "next month"):
        found = memory.recall(ALICE, f"Where did Mara live {when}?", today=given, log=False)
        assert memory.context(found, today=given)


@pytest.mark.parametrize("question", ["99999999999 days ago", "in 99999999 years", "this week"])
@pytest.mark.parametrize("today", [date.min, date.max])
def test_days_beyond_the_calendar_are_named_by_nobody(question, today):
    for days in days_named(question, today):
        assert days.first <= days.last


@pytest.mark.parametrize(
    "zone",
    [None, "", 5, b"UTC", [], {"a": 1}, "yesterday", "x" * 5_000, "\ud800", "UTC+14", "Europe"],
)
def test_a_zone_that_is_none_is_that_of_this_machine(zone):
    assert Run({}, {"timezone": zone}, {}, None).zone is None


# Templates of owners


@pytest.mark.parametrize(
    "part",
    [
        "{}",
        "{0}",
        "{0.name}",
        "{user_id",
        "user_id}",
        "{{user_id}",
        "{user_id}}",
        "{user_id!r}",
        "{user_id!x}",
        "{user_id!}",
        "{user_id:.3}",
        "{user_id:>9}",
        "{user_id:{width}}",
        "{a.}",
        "{.a}",
        "{a..b}",
        "{a[}",
        "{a[]}",
        "{a[0]b}",
        "{a.__class__}",
        "{a._b}",
        "{a[0].__class__.__name__}",
        "{a b}",
        "{a\n}",
        "{a-b}",
    ],
)
def test_a_template_that_no_owner_comes_of_is_refused_at_once(part):
    with pytest.raises(NamespaceError, match="names nothing to fill in"):
        check_owner(("app", part))


@pytest.mark.parametrize(
    ("part", "owner"),
    [
        ("{user_id}", "5"),
        ("{user.name}", "ana"),
        ("{user.name}-{org[0]}", "ana-acme"),
        ("{org[0]}", "acme"),
        ("{names[first]}", "ana"),
        ("{{x}}{user_id}", "{x}5"),
        ("{usuário}", "ana"),
    ],
)
def test_a_template_fills_in_what_the_run_tells(part, owner):
    told = {
        "user_id": 5,
        "user": SimpleNamespace(name="ana"),
        "org": ["acme"],
        "names": {"first": "ana"},
        "usuário": "ana",
    }
    check_owner((part,))
    assert owner_of(Run(told, {}, {}, None), (part,)) == (owner,)


@pytest.mark.parametrize(
    "part", ["{none}", "{user.none}", "{org[9]}", "{org[x]}", "{empty}", "{user}", "{org}"]
)
def test_a_template_that_the_run_does_not_fill_is_one_sentence(part):
    told = {"user_id": 5, "user": SimpleNamespace(name="ana"), "org": ["acme"], "empty": ""}
    with pytest.raises(NamespaceError, match="does not"):
        owner_of(Run(told, {}, {}, None), (part,))
