"""What is installed by an extra: its absence in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sleepmem.errors import MissingExtra


@contextmanager
def from_extra(extra: str, what: str) -> Iterator[None]:
    """Import inside; `what` needs the packages of this extra.

    Raises:
        MissingExtra: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise MissingExtra(
            f"{what} needs {package}, which is not installed. "
            f'Install it with `pip install "sleepmem[{extra}]"`.'
        ) from error
