"""`python -m sleepmem` is the `sleepmem` command."""

from sleepmem.cli import app

app()
