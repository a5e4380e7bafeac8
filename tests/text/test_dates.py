"""The days that questions name, in several languages."""

from __future__ import annotations

import subprocess
import sys
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


def likely(question: str) -> dict[tuple[str, str], float]:
    """The spans that a question names, and how likely."""
    named = days_named(question, TODAY)
    return {(days.first.isoformat(), days.last.isoformat()): days.likely for days in named}


THIS_MORNING = ("2026-11-25", "2026-11-25")
LAST_NIGHT = ("2026-11-24", "2026-11-24")
THREE_DAYS_AGO = ("2026-11-22", "2026-11-22")


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("Which soup did I cook last night?", LAST_NIGHT),
        ("¿Qué comí anoche?", LAST_NIGHT),
        ("昨夜は誰と話しましたか", LAST_NIGHT),
        ("Who called me this morning?", THIS_MORNING),
        ("Chi mi ha chiamato stamattina?", THIS_MORNING),
        ("Wie belde me vanmorgen?", THIS_MORNING),
        ("今早我吃了什么？", THIS_MORNING),
        ("¿Con quién hablé hace tres días?", THREE_DAYS_AGO),
        ("三天前我和谁说话了？", THREE_DAYS_AGO),
        ("Con chi ho parlato tre giorni fa?", THREE_DAYS_AGO),
        ("Z kim rozmawiałem trzy dni temu?", THREE_DAYS_AGO),
        ("Üç gün önce kiminle konuştum?", THREE_DAYS_AGO),
    ],
)
def test_what_no_table_has_is_read_by_its_meaning(question: str, span: tuple[str, str]) -> None:
    assert likely(question)[span] > 0.5


@pytest.mark.parametrize(
    "question",
    [
        "Where did we eat last weekend?",
        "Wo waren wir letztes Wochenende essen?",
        "Où avons-nous mangé le week-end dernier ?",
        "上周末我们在哪里吃饭？",
    ],
)
def test_the_weekend_is_among_the_days(question: str) -> None:
    assert any(days.hold("2026-11-21") for days in days_named(question, TODAY))


@pytest.mark.parametrize(
    "question",
    [
        "Where did we travel in 2025?",
        "Wohin sind wir 2025 gereist?",
        "2025年我们去哪里旅行了？",
        "أين سافرنا في عام ٢٠٢٥؟",
        "Vart reste vi 2025?",
    ],
)
def test_a_year_is_read_in_any_script(question: str) -> None:
    assert ("2025-01-01", "2025-12-31") in likely(question)


@pytest.mark.parametrize(
    "question",
    [
        "Whom did I meet on the 20th?",
        "Wen habe ich am 20. getroffen?",
        "20日に誰と会いましたか",
        "Кого я встретил 20-го?",
    ],
)
def test_a_day_of_the_month_is_the_last_of_its_number(question: str) -> None:
    assert ("2026-11-20", "2026-11-20") in likely(question)


@pytest.mark.parametrize(
    "text", ["Give me 3 tips.", "Our Postgres runs on port 5433.", "Call 112."]
)
def test_a_number_that_is_no_date_names_no_day(text: str) -> None:
    assert days_named(text, TODAY) == []


def test_a_number_that_may_be_none_is_weak_evidence() -> None:
    assert max(likely("I have 20 apples.").values(), default=0.0) < 0.6
    assert set(likely("Who stays in room 2025?")) <= {("2025-01-01", "2025-12-31")}
    assert max(likely("Who stays in room 2025?").values(), default=0.0) <= 0.5


def test_a_month_that_may_be_a_name_is_weaker_evidence_than_a_date() -> None:
    assert max(likely("Who is April?").values()) < 1.0
    assert likely("Who came on 3 April?")["2026-04-03", "2026-04-03"] == 1.0


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("What did I buy between 3 May and 7 May?", ("2026-05-03", "2026-05-07")),
        ("Was habe ich vom 3. bis 7. Mai gekauft?", ("2026-05-03", "2026-05-07")),
        ("What did I buy from March to May?", ("2026-03-01", "2026-05-31")),
        ("¿Qué compré de marzo a mayo?", ("2026-03-01", "2026-05-31")),
        ("What did I buy from Monday to Friday?", ("2026-11-16", "2026-11-20")),
        ("What did I eat between November and January?", ("2025-11-01", "2026-01-31")),
        ("What did I buy since Monday?", ("2026-11-23", "2026-11-25")),
        ("Qu'ai-je acheté depuis lundi ?", ("2026-11-23", "2026-11-25")),
    ],
)
def test_days_between_and_since_are_named_too(question: str, span: tuple[str, str]) -> None:
    assert span in likely(question)


def test_two_days_are_no_span() -> None:
    assert ("2026-11-19", "2026-11-23") not in likely("Did I run on Monday or on Thursday?")


def test_a_day_without_a_span_goes_on_to_no_other() -> None:
    assert list(likely("Did I run on Monday?")) == [("2026-11-23", "2026-11-23")]


READING = """
import sys
from datetime import date
from sleepmem.text.dates import days_named
for text in ("Where does Ana live?", "Our Postgres runs on port 5433.", "我住在哪里？"):
    assert days_named(text, date(2026, 11, 25)) == [], text
print("dateparser" in sys.modules)
"""


def test_a_text_without_a_date_loads_no_reader_of_dates() -> None:
    command = [sys.executable, "-c", READING]
    assert subprocess.run(command, capture_output=True, check=True).stdout.split() == [b"False"]
