"""The days that questions name, in several languages."""

from __future__ import annotations

from datetime import date

import pytest

from sleepmem.text.dates import Days, days_named

TODAY = date(2026, 11, 25)  # a Wednesday
MAY_3 = Days(date(2026, 5, 3), date(2026, 5, 3))
LAST_WEEK = Days(date(2026, 11, 16), date(2026, 11, 22))
YESTERDAY = Days(date(2026, 11, 24), date(2026, 11, 24))


@pytest.mark.parametrize(
    ("question", "days"),
    [
        ("What did I do on 2026-05-03?", MAY_3),
        ("what did we do on 3 May", MAY_3),
        ("Was habe ich am 3. Mai gemacht?", MAY_3),
        ("Que faisais-je le 3 mai ?", MAY_3),
        ("5月3日に何をした", MAY_3),
        ("What happened last week?", LAST_WEEK),
        ("先週何をしましたか", LAST_WEEK),
        ("지난주에 뭐 했어?", LAST_WEEK),
        ("list what I ate yesterday", YESTERDAY),
        ("Co robiłem wczoraj?", YESTERDAY),
        ("昨天我做了什么？", YESTERDAY),
        ("ماذا فعلت أمس؟", YESTERDAY),
        ("What happened in March 2025?", Days(date(2025, 3, 1), date(2025, 3, 31))),
    ],
)
def test_days_are_read(question: str, days: Days) -> None:
    assert days in days_named(question, TODAY)


@pytest.mark.parametrize(
    ("question", "day"),
    [
        ("What did I do 5 days ago?", date(2026, 5, 5)),
        ("What did I do two days ago?", date(2026, 5, 8)),
        ("Wen habe ich am 7. Mai getroffen?", date(2026, 5, 7)),
        ("Was war vor drei Tagen?", date(2026, 5, 7)),
        ("Qu'ai-je fait il y a deux jours ?", date(2026, 5, 8)),
        ("3日前に何をしましたか", date(2026, 5, 7)),
        ("Что было три дня назад?", date(2026, 5, 7)),
    ],
)
def test_a_day_is_not_read_as_a_month_of_another_language(question: str, day: date) -> None:
    assert days_named(question, date(2026, 5, 10)) == [Days(day, day)]


@pytest.mark.parametrize(
    "text", ["Where does Ana live?", "Do I have 3 kids?", "Recommend me a restaurant.", ""]
)
def test_what_names_no_day_names_none(text: str) -> None:
    assert days_named(text, TODAY) == []


def test_a_date_of_numbers_may_be_either_order() -> None:
    assert MAY_3 in days_named("What about 03.05.2026?", TODAY)
    assert MAY_3 in days_named("What about 05/03/2026?", TODAY)


def test_days_hold_iso_dates_and_times() -> None:
    assert LAST_WEEK.hold("2026-11-16T23:00:00+00:00")
    assert not LAST_WEEK.hold("2026-11-23")
