"""Which words of a text may be of a date, and in which languages: "3 May", "last week", "先週".

Names of months and weekdays and relative expressions of dateparser's tables. Only its files of data
are read, so a text without any such word imports nothing.
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

from sleepmem.text.terms import is_unspaced, normalised, terms

# Of dateparser's languages, ordered by how much they are used.
_LANGUAGES = 40
# The place of a number in dateparser's patterns, "(\\d++[.,]?\\d*+) days ago".
_NUMBER = re.compile(r"\(.*?\)|\\s\*")
_MONTHS = tuple(month.lower() for month in calendar.month_name[1:])
_WEEKDAYS = tuple(day.lower() for day in calendar.day_name)
# A shorter word of one of dateparser's tables is an everyday word in another language.
SHORTEST = 3
# Languages in which one question is read: many share a word such as "mai".
_TRIED = 3


class Expression(NamedTuple):
    """A name of a day or of a span of days, its words, and the languages it belongs to."""

    text: str
    words: frozenset[str]
    languages: tuple[str, ...]


def expressions(text: str) -> dict[str, list[str]]:
    """Language -> its expressions of date in the text, of the most used languages."""
    words, plain, known = set(terms(text)), normalised(text), _words_of_date()
    found: dict[str, list[str]] = {}
    matches = [one for word in words for one in known.get(word, ()) if one.words <= words]
    matches += [one for one in _marks_of_date() if one.text in plain]
    for match in matches:
        for language in match.languages:
            found.setdefault(language, []).append(match.text)
    most_used = sorted(found, key=_language_order().index)[:_TRIED]
    return {language: found[language] for language in most_used}


def _data(name: str) -> Any:
    """A file of dateparser's data, without the import of dateparser, which takes long."""
    package = find_spec("dateparser")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "data" / f"{name}.py"
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _language_order() -> list[str]:
    return list(_data("languages_info").language_order[:_LANGUAGES])


@functools.cache
def _phrases() -> dict[str, set[str]]:
    """Names of months and weekdays, "last week", "days ago" and the like, with their languages."""
    phrases: dict[str, set[str]] = {}
    for language in _language_order():
        info: Mapping[str, Any] = _data(f"date_translation_data/{language}").info
        names = [name for key in (*_MONTHS, *_WEEKDAYS) for name in info.get(key, ())]
        for relative in info.get("relative-type", {}).values():
            names += relative
        for patterns in info.get("relative-type-regex", {}).values():
            names += [_NUMBER.sub(" ", pattern).strip() for pattern in patterns]
        names += info.get("ago", ())
        for name in names:
            phrases.setdefault(normalised(name), set()).add(language)
    return phrases


@functools.cache
def _words_of_date() -> dict[str, list[Expression]]:
    """By the longest word of an expression."""
    words: dict[str, list[Expression]] = {}
    for phrase, languages in _phrases().items():
        expression = Expression(phrase, frozenset(terms(phrase)), tuple(sorted(languages)))
        longest = max(expression.words, key=len, default="")
        if len(longest) >= SHORTEST:
            words.setdefault(longest, []).append(expression)
    return words


@functools.cache
def _marks_of_date() -> list[Expression]:
    """Expressions of scripts that write no spaces: they stand within longer words."""
    marks = []
    for phrase, languages in _phrases().items():
        letters = [letter for letter in phrase if letter.isalpha()]
        if len(phrase) > 1 and letters and all(map(is_unspaced, letters)):
            expression = Expression(phrase, frozenset(terms(phrase)), tuple(sorted(languages)))
            marks.append(expression)
    return marks
