"""What a night cost and came to."""

from __future__ import annotations

import sys


def peak_bytes() -> int:
    """Most memory that this process ever held; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
