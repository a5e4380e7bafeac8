"""Which days a question names: "on 3 May", "last week", "先週". Pure, but for today's date.

dateparser reads them, in any of its languages. Words of its own tables (months, weekdays, "last
week") tell in which, so that a question without any costs nothing and a name is no date.
"""

from __future__ import annotations

import calendar
import functools
import importlib
import re
from collections.abc import Collection, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from sleepmem.text.terms import normalised, terms

# Of dateparser's languages, ordered by how much they are used.
_LANGUAGES = 40
_NUMERIC = re.compile(r"\b\d{1,4}([-./])\d{1,2}\1\d{1,4}\b")
# The place of a number in dateparser's patterns, "(\\d++[.,]?\\d*+) days ago".
_NUMBER = re.compile(r"\(.*?\)|\\s\*")
_MONTHS = tuple(month.lower() for month in calendar.month_name[1:])
_WEEKDAYS = tuple(day.lower() for day in calendar.day_name)
# A shorter word of one of dateparser's tables is an everyday word in another language.
_SHORTEST = 3
# Languages in which one question is read: many share a word such as "mai".
_TRIED = 3


class Days(NamedTuple):
    """From one day to another, both included."""

    first: date
    last: date

    @property
    def length(self) -> timedelta:
        return self.last - self.first

    def hold(self, day: str) -> bool:
        """Whether an ISO date lies among them."""
        return self.first.isoformat() <= day[:10] <= self.last.isoformat()


class _Expression(NamedTuple):
    """A name of a day or of a span of days, its words, and the languages it belongs to."""

    text: str
    words: frozenset[str]
    languages: tuple[str, ...]


def days_named(question: str, today: date) -> list[Days]:
    """The days that the question names, the fewest first; past ones where it could be either.

    Where a word is a date in several languages, the more exact reading of more words counts:
    "5 days ago", not "ago" for August.
    """
    readings: set[tuple[str, Days]] = set()
    for language, phrases in _expressions(question).items():
        for order in ("DMY", "MDY") if _NUMERIC.search(question) else ("",):
            settings = _settings(today, order)
            readings.update(_read(question, language, phrases=phrases, settings=settings))
    named = set()
    for text, days in readings:
        if not any(text in other and exact.length < days.length for other, exact in readings):
            named.add(days)
    return sorted(named, key=lambda days: (days.length, days.first))


def _settings(today: date, order: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "RELATIVE_BASE": datetime.combine(today, time(12)),
        "PREFER_DATES_FROM": "past",
    }
    return {**settings, "DATE_ORDER": order} if order else settings


def _read(
    question: str, language: str, *, phrases: Collection[str], settings: dict[str, Any]
) -> Iterator[tuple[str, Days]]:
    """What dateparser finds, in the question or else in its words of date alone."""
    from dateparser.search import search_dates

    known = {word for phrase in phrases for word in terms(phrase) if len(word) >= _SHORTEST}
    known |= {word for phrase in phrases if not phrase.isascii() for word in terms(phrase)}
    is_found = False
    for text, moment in search_dates(question, languages=[language], settings=settings) or []:
        if _NUMERIC.search(text) or known & set(terms(text)):
            is_found = True
            # Read alone, an expression may be too long: then it names one day.
            days = list(_days(text, language, settings)) or [Days(moment.date(), moment.date())]
            yield from ((text, each) for each in days)
    for phrase in () if is_found else phrases:
        yield from ((phrase, each) for each in _days(phrase, language, settings))


def _days(text: str, language: str, settings: dict[str, Any]) -> Iterator[Days]:
    """The days that one expression of date means: a day, a week, a month or a year."""
    from dateparser.date import DateDataParser

    data = DateDataParser(languages=[language], settings=settings).get_date_data(text)
    if data is None or data.date_obj is None:
        return
    day = data.date_obj.date()
    if data.period == "week":
        monday = day - timedelta(days=day.weekday())
        yield Days(monday, monday + timedelta(days=6))
    elif data.period == "month":
        yield Days(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))
    elif data.period == "year":
        yield Days(day.replace(month=1, day=1), day.replace(month=12, day=31))
    else:
        yield Days(day, day)


def _expressions(text: str) -> dict[str, list[str]]:
    """Language -> its expressions of date in the text; English for a date of numbers alone."""
    words, plain, known = set(terms(text)), normalised(text), _words_of_date()
    found: dict[str, list[str]] = {}
    matches = [one for word in words for one in known.get(word, ()) if one.words <= words]
    matches += [one for one in _marks_of_date() if one.text in plain]
    for match in matches:
        for language in match.languages:
            found.setdefault(language, []).append(match.text)
    if not found and _NUMERIC.search(text):
        return {"en": []}
    most_used = sorted(found, key=_language_order().index)[:_TRIED]
    return {language: found[language] for language in most_used}


@functools.cache
def _language_order() -> list[str]:
    from dateparser.data.languages_info import language_order

    return list(language_order[:_LANGUAGES])


@functools.cache
def _phrases() -> dict[str, set[str]]:
    """Names of months and weekdays, "last week", "days ago" and the like, with their languages."""
    phrases: dict[str, set[str]] = {}
    for language in _language_order():
        module = importlib.import_module(f"dateparser.data.date_translation_data.{language}")
        names = [name for key in (*_MONTHS, *_WEEKDAYS) for name in module.info.get(key, ())]
        for expressions in module.info.get("relative-type", {}).values():
            names += expressions
        for patterns in module.info.get("relative-type-regex", {}).values():
            names += [_NUMBER.sub(" ", pattern).strip() for pattern in patterns]
        names += module.info.get("ago", ())
        for name in names:
            phrases.setdefault(normalised(name), set()).add(language)
    return phrases


@functools.cache
def _words_of_date() -> dict[str, list[_Expression]]:
    """By the longest word of an expression."""
    words: dict[str, list[_Expression]] = {}
    for phrase, languages in _phrases().items():
        expression = _Expression(phrase, frozenset(terms(phrase)), tuple(sorted(languages)))
        longest = max(expression.words, key=len, default="")
        if len(longest) >= _SHORTEST:
            words.setdefault(longest, []).append(expression)
    return words


@functools.cache
def _marks_of_date() -> list[_Expression]:
    """Expressions of scripts that write no spaces: they stand within longer words."""
    marks = []
    for phrase, languages in _phrases().items():
        is_unspaced = all(len(term) <= 2 for term in terms(phrase))
        if is_unspaced and len(phrase) > 1 and not phrase.isascii():
            expression = _Expression(phrase, frozenset(terms(phrase)), tuple(sorted(languages)))
            marks.append(expression)
    return marks
