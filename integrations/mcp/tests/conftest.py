"""What the tests share lies beside them."""

from _mcp_servers import memory, served, settings, stdio  # noqa: F401
