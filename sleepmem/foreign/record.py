"""One JSON object of an export, whose fields are of the kind they must be, or refused.

Knows no form: which fields there are is said by the module of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sleepmem.errors import EpisodeError
from sleepmem.records import check_time, readable

# Numbers from here on count milliseconds, and microseconds: as seconds they are beyond year 5000.
_MILLISECONDS, _MICROSECONDS = 1e11, 1e14


class Record:
    """A JSON object, and where it stands, for the sentence that refuses it.

    A field that is missing or null is None. What is not valid Unicode is read with question marks.
    """

    def __init__(self, content: object, where: str) -> None:
        self.where = where
        if not isinstance(content, Mapping):
            raise self.wrong(f"is {_kind(content)}, not an object with fields")
        self.content: Mapping[str, Any] = content

    def wrong(self, why: str) -> EpisodeError:
        """The sentence: where, why it cannot be read, what to do."""
        return EpisodeError(f"{self.where} {why}; export it again, or mend or remove it.")

    def text(self, field: str) -> str | None:
        value = self._field(field, (str,), "text")
        return None if value is None else readable(value)

    def required(self, *fields: str) -> str:
        """The first of these fields that is there, as a name: text or a whole number."""
        found = self.name(*fields)
        if found is None:
            raise self.wrong(f"has no {' or '.join(fields)}")
        return found

    def name(self, *fields: str) -> str | None:
        for field in fields:
            value = self._field(field, (str, int), "text or a whole number")
            if value not in (None, ""):
                return readable(value)
        return None

    def moment(self, *fields: str) -> str | None:
        """The first of these fields that is there, as a time: ISO 8601.

        Numbers count seconds since 1970 in UTC, or milliseconds or microseconds; text keeps its
        offset.
        """
        for field in fields:
            value = self._field(field, (str, int, float), "a time")
            if value in (None, "", 0):
                continue
            if isinstance(value, str):
                told = check_time(value.strip(), f"{field} of {self.where}")
                return told.isoformat()
            return self._counted(float(value), field)
        return None

    def record(self, field: str) -> Record | None:
        value = self._field(field, (Mapping,), "an object")
        return None if value is None else Record(value, f"{field} of {self.where}")

    def records(self, field: str) -> Iterator[Record]:
        """Those that the list of this name holds; none when it is missing."""
        for number, one in enumerate(self._field(field, (list,), "a list") or (), start=1):
            yield Record(one, f"{number} of {field} in {self.where}")

    def _field(self, field: str, kinds: tuple[type, ...], expected: str) -> Any:
        value = self.content.get(field)
        if value is None or (isinstance(value, kinds) and not isinstance(value, bool)):
            return value
        raise self.wrong(f"has {_kind(value)} as its {field}, where {expected} belongs")

    def _counted(self, count: float, field: str) -> str:
        if abs(count) >= _MICROSECONDS:
            count /= 1_000_000
        elif abs(count) >= _MILLISECONDS:
            count /= 1_000
        try:
            return datetime.fromtimestamp(count, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            raise self.wrong(f"has {count!r:.60} as its {field}, which is no time") from None


def _kind(value: object) -> str:
    """What JSON calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((str, "text"), (int | float, "a number"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "an object"
