"""`python -m sleepmem_openai`: the same as `sleepmem-gateway`."""

from sleepmem_openai.cli import app

app()
