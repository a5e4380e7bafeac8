"""Nights by schedulers: files for cron, systemd, Kubernetes and SkyPilot, and a job for Ray.

All of them run what `sleepmem nights` runs: the nights that are due, each of which one process may
run at a time, and which goes on where it was when that process was killed.
"""

from pathlib import Path

from sleepmem_jobs.ray_nights import nights
from sleepmem_jobs.worker import Done

# The files that schedulers read, to be copied and changed.
DEPLOY = Path(__file__).parent / "deploy"

__all__ = ["DEPLOY", "Done", "nights"]
