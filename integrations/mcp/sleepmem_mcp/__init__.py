"""An MCP server over a memory folder, on the official SDK: stdio for one owner, HTTP for many.

What is remembered here comes from an agent. It is stored and recalled with its source, and teaches
the weights only as far as whoever starts the server lets it (`UserWords`).
"""

from sleepmem_mcp.room import Room, UserWords
from sleepmem_mcp.server import MemoryServer

__all__ = ["MemoryServer", "Room", "UserWords"]
