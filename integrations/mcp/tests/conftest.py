"""What the tests share lies beside them; the packages are found without being installed."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2])]

from _mcp_servers import memory, served, settings, stdio  # noqa: E402, F401
