"""Freed memory goes back to the system."""

import sys
import threading

import psutil
import pytest
import torch

from sleepmem.model.freed import give_back


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_what_other_threads_have_freed_is_given_back():
    process = psutil.Process()

    def fill():
        # Pieces below glibc's least size of a mapping of its own, the last of which is kept.
        pieces = [torch.ones(25_000) for _ in range(1000)]
        kept.append(pieces.pop())

    kept = []
    threads = [threading.Thread(target=fill) for _ in range(3)]
    for one in threads:
        one.start()
        one.join()
    full = process.memory_info().rss
    give_back()
    assert full - process.memory_info().rss > 50_000_000
