"""Servers in processes of their own, on a free port of this machine, until they are not needed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

# Seconds that a server may take until it answers; torch alone takes some.
_PATIENCE = 300.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


class Server:
    """A server in a process.

    Args:
        command: what starts it; the first word of `python` is this interpreter.
        port: that it listens on.
        ready: the path that answers once it is ready.
        log: the file that gets what it prints.
    """

    def __init__(self, command: Sequence[str], port: int, *, ready: str, log: Path) -> None:
        self._command = [sys.executable if word == "python" else word for word in command]
        self.url, self._ready, self._log = f"http://127.0.0.1:{port}", ready, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it ended, or it does not answer; what it printed is told.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ}
            )
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}{self._ready}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        printed = self._log.read_text(errors="replace")[-2_000:]
        self.stop()
        raise RuntimeError(f"{self._command} does not answer at {self.url}; it printed: {printed}")

    def kill(self) -> None:
        """End it without any warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
