"""Processes that a bench kills: each says over a pipe what it has done.

They are forked from a server that has imported what they need, so that a kill costs no import.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Say = Callable[[Any], None]
# Seconds in which a child must say the next thing.
PATIENCE = 300.0


def preload(modules: Sequence[str]) -> None:
    """What the server imports, before its first child."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))


class Child:
    """A process that runs `action(say, *given, **named)`."""

    def __init__(self, action: Callable[..., None], *given: Any, **named: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        self._here, there = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_run, args=(there, action, given, named), daemon=False
        )
        self.process.start()
        there.close()
        self.pid: int = self.process.pid or 0

    def wait_for(self, wanted: Any = None) -> list[Any]:
        """What it says until it says what is wanted, or until it ends, or goes silent."""
        said = []
        with contextlib.suppress(EOFError, OSError):
            while self._here.poll(PATIENCE):
                said.append(self._here.recv())
                if said[-1] == wanted:
                    break
        return said

    def said(self) -> Iterator[Any]:
        """What it has said since."""
        with contextlib.suppress(EOFError, OSError):
            while self._here.poll():
                yield self._here.recv()

    def kill(self) -> list[Any]:
        """End it at once, with SIGKILL; what it said since."""
        self.process.kill()
        self.process.join()
        said = list(self.said())
        self._here.close()
        return said


def _run(
    there: Any, action: Callable[..., None], given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    action(there.send, *given, **named)


def timed(child: Child) -> list[tuple[float, Any]]:
    """All that a child says until it ends, with the seconds since this was called."""
    started, said = time.perf_counter(), []
    with contextlib.suppress(EOFError, OSError):
        while child._here.poll(PATIENCE):
            what = child._here.recv()
            said.append((time.perf_counter() - started, what))
    child.process.join()
    return said
