"""Which days a question names: "on 3 May", "last week", "先週". Pure, but for today's date.

dateparser reads dates, in any of its languages; words of its own tables (months, weekdays, "last
week") tell in which, so that a question without any costs nothing and a name is no date. Of what
its tables lack ("anoche", "hace tres días") and of what may be no date ("room 2025") the embedding
of the question tells how likely it is (`heads`), in the sixteen languages.
"""

from __future__ import annotations

import calendar
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from sleepmem.text.date_phrases import SHORTEST, expressions
from sleepmem.text.heads import time_asked
from sleepmem.text.terms import is_unspaced, terms

_NUMERIC = re.compile(r"\b\d{1,4}([-./])\d{1,2}\1\d{1,4}\b")
# A number that is no part of another, nor of a time.
_NUMBER = re.compile(r"(?<![\d.,:/-])(?:\d{4}|\d{1,2})(?![\d:/]|[.,-]\d)")
_FIRST_YEAR, _LAST_DAY, _TEN = 1900, 31, 10
_WEEK, _MONTH, _YEAR = 7, 27, 365
# Kinds of questions (`heads.time_asked`): on, between or since what is named by a date, or so many
# days ago.
_BY_DATE = ("on", "between", "since")
_AGO = tuple("0123456")
# A year is rarely anything else, also in a language that the embeddings do not know.
_A_YEAR = 0.25
# What is less likely tells nothing; what no word of date says must be likelier than all else.
_LEAST, _LIKELY = 0.2, 0.5


class Days(NamedTuple):
    """From one day to another, both included, and how likely the question means them."""

    first: date
    last: date
    likely: float = 1.0

    @property
    def length(self) -> timedelta:
        return self.last - self.first

    def hold(self, day: str) -> bool:
        """Whether an ISO date lies among them."""
        return self.first.isoformat() <= day[:10] <= self.last.isoformat()


class _Reading(NamedTuple):
    """Words of a question, and days that they name."""

    text: str
    days: Days


def days_named(question: str, today: date) -> list[Days]:
    """The days that the question names, the fewest first; past ones where it could be either.

    Where a word is a date in several languages, the more exact reading of more words counts:
    "5 days ago", not "ago" for August.
    """
    asked = time_asked(question)
    by_date = sum(asked[name] for name in _BY_DATE)
    readings = [_doubted(reading, by_date) for reading in _dates(question, today)]
    readings += _numbers(question, readings, today=today, likely=by_date)
    named = {reading.days for reading in readings}
    if readings:
        named.update(_spans(question, readings, today=today, asked=asked))
    if all(days.first > today or days.likely <= _LIKELY for days in named):
        named.update(_relative(asked, today))
    return sorted(named, key=lambda days: (days.length, days.first))


# Dates and relative expressions that dateparser knows


def _dates(question: str, today: date) -> list[_Reading]:
    found, is_numeric = expressions(question), bool(_NUMERIC.search(question))
    if not found and is_numeric:
        found = {"en": []}
    readings: set[_Reading] = set()
    for language, phrases in found.items():
        for order in ("DMY", "MDY") if is_numeric else ("",):
            settings = _settings(today, order)
            new = set(_read(question, language, phrases=phrases, settings=settings))
            with_digits = _with_digits(question)
            if not new and with_digits != question:
                new = set(_read(with_digits, language, phrases=phrases, settings=settings))
            readings |= new
    return [one for one in readings if not any(_is_part(one, other) for other in readings)]


def _is_part(reading: _Reading, other: _Reading) -> bool:
    return reading.text in other.text and other.days.length < reading.days.length


def _doubted(reading: _Reading, by_date: float) -> _Reading:
    """A month without a number may be a name, or another word: "May", "ago"."""
    is_month_alone = reading.days.length.days >= _MONTH and len(terms(reading.text)) == 1
    likely = max(_LIKELY, by_date) if is_month_alone else 1.0
    return reading._replace(days=reading.days._replace(likely=likely))


def _settings(today: date, order: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "RELATIVE_BASE": datetime.combine(today, time(12)),
        "PREFER_DATES_FROM": "past",
    }
    return {**settings, "DATE_ORDER": order} if order else settings


def _read(
    question: str, language: str, *, phrases: Collection[str], settings: dict[str, Any]
) -> Iterator[_Reading]:
    """What dateparser finds, in the question or else in its words of date alone."""
    from dateparser.search import search_dates

    known = {word for phrase in phrases for word in terms(phrase) if len(word) >= SHORTEST}
    known |= {word for phrase in phrases if not phrase.isascii() for word in terms(phrase)}
    is_found = False
    for text, moment in search_dates(question, languages=[language], settings=settings) or []:
        if _NUMERIC.search(text) or known & set(terms(text)):
            is_found = True
            # Read alone, an expression may be too long, by a letter where none is a word of its
            # own; or else it names one day.
            days = list(_days(text, language, settings))
            if not days and is_unspaced(text[-1]):
                days = list(_days(text[:-1], language, settings))
            days = days or [Days(moment.date(), moment.date())]
            yield from (_Reading(text, each) for each in days)
    for phrase in () if is_found else phrases:
        yield from (_Reading(phrase, each) for each in _days(phrase, language, settings))


def _days(text: str, language: str, settings: dict[str, Any]) -> Iterator[Days]:
    """The days that one expression of date means: a day, a week, a month or a year."""
    from dateparser.date import DateDataParser

    data = DateDataParser(languages=[language], settings=settings).get_date_data(text)
    if data is None or data.date_obj is None:
        return
    day = data.date_obj.date()
    if data.period == "week":
        # The calendar may end within it.
        first, last = date.min.toordinal(), date.max.toordinal()
        monday = day.toordinal() - day.weekday()
        sunday = min(monday + 6, last)
        yield Days(date.fromordinal(max(monday, first)), date.fromordinal(sunday))
    elif data.period == "month":
        yield Days(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))
    elif data.period == "year":
        yield _year(day.year)
    else:
        yield Days(day, day)


def _with_digits(text: str) -> str:
    """The text with the numbers that are letters of their own, "二十三", in digits."""
    parts = []
    for is_number, run in itertools.groupby(text, lambda letter: bool(_value(letter))):
        letters = "".join(run)
        parts.append(str(_number(letters)) if is_number else letters)
    return "".join(parts)


def _value(letter: str) -> int:
    return int(unicodedata.numeric(letter, 0)) if unicodedata.category(letter) == "Lo" else 0


def _number(letters: str) -> int:
    """Of tens and ones: 三 is 3, 十 is 10, 二十三 is 23."""
    number = 0
    for value in map(_value, letters):
        number = (number or 1) * value if value >= _TEN else number + value
    return number


# Numbers alone


def _numbers(
    question: str, readings: Sequence[_Reading], *, today: date, likely: float
) -> list[_Reading]:
    """Years, and days of the month that was read beside them, or else of the last one."""
    single = [one.days.last for one in readings if not one.days.length]
    found = []
    for match in _NUMBER.finditer(question):
        text = match[0]
        if any(text in reading.text for reading in readings):
            continue
        number = int(text)
        if _FIRST_YEAR <= number <= today.year:
            found.append(_Reading(text, _year(number, max(likely, _A_YEAR))))
        elif 1 <= number <= _LAST_DAY and likely >= _LIKELY:
            day = _last_such(number, min(single, default=today))
            found.append(_Reading(text, Days(day, day, likely)))
    return found


def _year(year: int, likely: float = 1.0) -> Days:
    return Days(date(year, 1, 1), date(year, 12, 31), likely)


def _last_such(number: int, latest: date) -> date:
    """The last day of that number in its month."""
    while latest.day != number:
        latest = _earlier(latest, 1) if latest > date.min else date(1, 1, number)
    return latest


# What lies between and after what was read


def _spans(
    question: str, readings: Sequence[_Reading], *, today: date, asked: Mapping[str, float]
) -> Iterator[Days]:
    """From the one to the other, and from the first until today, as likely as that is asked."""
    in_order = sorted(readings, key=lambda reading: question.find(reading.text))
    first, last = in_order[0], in_order[-1]
    if first.text != last.text and asked["between"] >= _LEAST:
        start, end = first.days.first, last.days.last
        for earlier in (0, _WEEK, _YEAR):
            if _earlier(start, earlier) <= end:
                likely = asked["between"] * min(first.days.likely, last.days.likely)
                yield Days(_earlier(start, earlier), end, likely)
                break
    if asked["since"] >= _LEAST and first.days.first <= today:
        yield Days(first.days.first, today, asked["since"] * first.days.likely)


def _earlier(day: date, days: int) -> date:
    """So many days before; the calendar begins at the first of the year 1."""
    return date.fromordinal(max(date.min.toordinal(), day.toordinal() - days))


# What the question says without any such word


def _relative(asked: Mapping[str, float], today: date) -> Iterator[Days]:
    """The days that it means by its embedding: "anoche", "hace tres días"."""
    saturday = _earlier(today, (today.weekday() + 1) % _WEEK + 1)
    monday = _earlier(today, today.weekday() + _WEEK)
    spans = {
        "weekend": (saturday, saturday + timedelta(days=1)),
        "week": (monday, monday + timedelta(days=_WEEK - 1)),
    }
    for name in _AGO:
        day = _earlier(today, int(name))
        spans[name] = (day, day)
    likely = {name: asked[name] for name in spans}
    if sum(likely.values()) >= _LIKELY:
        for name, (first, last) in spans.items():
            if likely[name] >= _LEAST:
                yield Days(first, last, likely[name])
