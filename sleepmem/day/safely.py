"""A turn never dies of its memory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

from sleepmem.day.state import DayContext
from sleepmem.errors import NamespaceError, SleepmemError
from sleepmem.records import Namespace
from sleepmem.stores.turns import FAILED

T = TypeVar("T")
log = logging.getLogger("sleepmem")


def safely(
    day: DayContext,
    what: str,
    *,
    call: Callable[[], T],
    otherwise: T,
    namespace: Namespace | None = None,
) -> T:
    """Do it; when it fails, log it, keep it as an event, and go on with `otherwise`.

    Args:
        day: the open folder.
        what: is done, for people.
        call: does it.
        otherwise: is given when it failed.
        namespace: whose memory failed.

    Raises:
        NamespaceError: it is not told whose memory is meant; nobody else's may be used instead.
    """
    try:
        return call()
    except NamespaceError:
        raise
    except Exception as error:  # embeddings, disk, index, ledger: whatever is the user's own
        log.warning("memory: %s failed: %s", what, error, exc_info=error)
        with contextlib.suppress(SleepmemError):
            reason = f"{type(error).__name__}: {error}"
            printable = reason.encode(errors="replace").decode()
            day.folder.ledger.turns.log_event(
                FAILED, namespace=list(namespace or ()), what=what, reason=printable
            )
        return otherwise
