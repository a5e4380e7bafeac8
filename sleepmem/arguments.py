"""What a caller hands over is of the type it must be, or refused in one sentence."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sleepmem.errors import ConfigError, EpisodeError, SleepmemError

# Characters of a wrong value that an error shows.
_SHOWN = 60
# What hosts name messages and conversations by.
_IDS = (str, int, uuid.UUID)


def check(
    value: object,
    kinds: Any,
    *,
    what: str,
    expected: str,
    error: type[SleepmemError] = EpisodeError,
) -> None:
    """Raise `error` unless the value is one of these types; True and False are no numbers."""
    is_flag = isinstance(value, bool) and kinds is not bool
    if isinstance(value, kinds) and not is_flag:
        return
    shown = f"{value!r:.{_SHOWN}}" if isinstance(value, str | int | float | bytes) else ""
    raise error(f"{what} is a {type(value).__name__} {shown}".rstrip() + f"; pass {expected}.")


def check_id(value: object, what: str) -> None:
    """That it names a message or a conversation, or is None."""
    check(value, (*_IDS, type(None)), what=what, expected="text or a number, or nothing")


def check_setting(value: object, kinds: Any, *, what: str, expected: str) -> None:
    """Of what is set once, rather than said."""
    check(value, kinds, what=what, expected=expected, error=ConfigError)


def check_path(value: object, *, what: str, expected: str) -> None:
    """Of what may name a file or a folder: that this system could have one of that name."""
    check_setting(value, (str, Path), what=what, expected=expected)
    try:
        os.lstat(str(value))
    except ValueError as error:  # a null, or half a surrogate pair
        reason = str(error)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return
        reason = str(error.strerror)
    else:
        return
    raise ConfigError(f"{what} is {str(value)!r:.{_SHOWN}} ({reason}); pass {expected}.")


def texts(
    values: Iterable[str], what: str, *, error: type[SleepmemError] = EpisodeError
) -> tuple[str, ...]:
    """The values, each of them text; one text alone is none of many."""
    expected = "a list of texts"
    if isinstance(values, str | bytes):
        check(values, (), what=what, expected=expected, error=error)
    check(values, Iterable, what=what, expected=expected, error=error)
    given = tuple(values)
    for one in given:
        check(one, str, what=f"one of {what}", expected="text", error=error)
    return given


def check_has(value: Any, attribute: str, *, what: str, expected: str) -> None:
    """By what it can do: its class need not be imported for that."""
    if not hasattr(value, attribute):
        check(value, (), what=what, expected=expected)


def check_opening(folder: Any, model: Any, *, embeddings: Any, semantic: Any, bases: Any) -> None:
    """That they are what a memory is opened with."""
    check_path(folder, what="folder", expected="the path of the memory folder")
    if model is not None:
        check_path(model, what="model", expected="a hub id or a folder, or nothing")
    check_setting(semantic, (Callable, type(None)), what="semantic", expected="a function")
    if embeddings is not None and not hasattr(embeddings, "embed_documents"):
        check_setting(embeddings, (), what="embeddings", expected="LangChain embeddings")
    if bases is not None and not hasattr(bases, "local"):
        check_setting(bases, (), what="bases", expected="Bases(), or nothing")
