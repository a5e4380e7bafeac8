"""A llama-server that answers from the weights of a sleepmem folder, in few bits.

`LiveServer` runs llama.cpp's router and keeps it at what is live; `SleepMemory.open(folder,
chat_model=server.address)` answers by it. `python -m sleepmem_llamacpp FOLDER` does the first
alone.
"""

from sleepmem_llamacpp.live import LiveServer
from sleepmem_llamacpp.server import Server, find_server

__all__ = ["LiveServer", "Server", "find_server"]
