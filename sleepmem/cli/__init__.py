"""The `sleepmem` command."""

from sleepmem.cli.app import app

__all__ = ["app"]
