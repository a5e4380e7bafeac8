"""Freed memory, which the C library keeps."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Let the system have what was freed.

    glibc keeps it for each thread that ever freed some, and every step of a night runs in one of
    its own. Does nothing where there is another C library.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
