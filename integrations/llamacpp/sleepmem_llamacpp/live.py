"""llama.cpp's router, kept at what is live in a memory folder.

llama-server loads LoRAs when it starts and never after, so a night's experts need another process
beside the one that answers. Its router mode has that: each set of LoRAs is a model of the router,
named by a number that grows and by what is in it. The new one is loaded, then clients, which take
the last of the router's list, find it there, then the old one goes. The address stays, and no name
ever means something else.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sleepmem import ModelError, SleepmemError, SleepMemory
from sleepmem_llamacpp.server import ENDS_IN, LOG_ENDS, STARTS_IN, Server

# Seconds that who has just asked what is loaded has to use it.
_GRACE = 1.0
# Whose experts are asked for where the habits alone are wanted.
_ANYBODY = ("default",)
# Statuses of a model that the router refuses to load again.
_STARTED = ("loading", "loaded")


class LiveServer(Server):
    """A llama-server with the live experts of all namespaces of a memory.

        with LiveServer(memory, "SmolLM2-135M-Instruct.Q4_1.gguf") as server:
            server.address           # for SleepMemory.open(folder, chat_model=...)
            server.update()          # after a night; `watch` does it again and again

    Args:
        memory: an open memory; it may be read only.
        base: GGUF file of its model, in any number of bits; that of the memory by default.
        host: where it listens.
        port: 0 takes a free one.
        options: further ones of llama-server, such as `("--threads", "4")`.

    Raises:
        ModelError: there is no llama-server, or the base is no GGUF file.
    """

    def __init__(
        self,
        memory: SleepMemory,
        base: str | Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        options: Sequence[str] = (),
    ) -> None:
        self._memory, self._base = memory, Path(base or memory.model).resolve()
        if self._base.suffix.lower() != ".gguf" or not self._base.is_file():
            raise ModelError(
                f"{self._base} is no GGUF file, and llama-server takes no other. Pass the file of "
                "the memory's model as `base`."
            )
        super().__init__(options, host=host, port=port)
        self._presets = self.files / "presets.ini"
        self._lock = threading.Lock()
        # What the router calls what answers now, and the files of its LoRAs.
        self.model = ""
        self._live: dict[str, Path] = {}
        # How many sets there were, and whether nothing is left of those before.
        self._count, self._is_clean = 0, False

    def start(self, *options: str) -> None:
        """Start it, and load what is live."""
        self._write_presets({})
        # What was read with one LoRA is of no use to another, and nobody asks for it.
        apart = ("--no-models-autoload", "--cache-ram", "0")
        super().start("--models-preset", str(self._presets), *apart, *options)
        self.update()

    def update(self) -> bool:
        """Bring it to what is live now; whether anything changed.

        The model before answers until the new one is loaded, and ends what it has begun.

        Raises:
            ModelError: the new one does not load; the one before goes on answering.
            ExpertError: the files of an expert are missing or damaged.
        """
        with self._lock:
            adapters = self._adapters()
            is_new = not self.model or list(adapters) != list(self._live)
            if self._is_clean and not is_new:
                return False
            self._is_clean = False
            if is_new:
                self._exchange(adapters)
            # What is in no preset is unloaded.
            self._write_presets({self.model: self._live})
            self._reload()
            for file in self.files.glob("*.gguf"):
                if file.stem not in self._live:
                    file.unlink()
            self._is_clean = True
            return True

    def _exchange(self, adapters: dict[str, Path]) -> None:
        """Load a model with these, and let the one before end what it has begun."""
        model = f"live-{self._count:06d}-{_named(list(adapters))}"
        self._write_presets({self.model: self._live, model: adapters})
        self._reload()
        if self._status(model).get("value") not in _STARTED:
            self.ask("POST", "/models/load", json={"model": model})
        self.wait(f"{model} does not load", lambda: self._is_loaded(model), seconds=STARTS_IN)
        before, self.model, self._live = self.model, model, adapters
        self._count += 1
        if before:
            # One that has gone, or does not end, must go all the same.
            with suppress(ModelError):
                self._let_end(before)

    def watch(self, every: float, *, until: threading.Event) -> None:
        """Update it every so many seconds, until told to end.

        What cannot be loaded is printed once; memories are read then in its place.

        Raises:
            ModelError: llama-server has ended.
        """
        told = ""
        while not until.wait(every):
            if not self.runs:
                raise ModelError(f"llama-server has ended. {self.end_of_log()}")
            try:
                self.update()
            except SleepmemError as error:
                # The log goes on.
                reason = str(error).partition(LOG_ENDS)[0]
                if reason != told:
                    told = reason
                    print(f"error: {error}", flush=True)

    # What is live

    def _adapters(self) -> dict[str, Path]:
        """The files of all that is live, by name, oldest first; written where they are not yet."""
        found: dict[str, Path] = {}
        for owner in [*self._memory.learners(), None]:
            name = self._memory.adapter_name(owner)
            if name:
                found[name] = self.files / f"{name}.gguf"
                if not found[name].exists():
                    # The habits come along with whoever's experts.
                    self._write(owner or _ANYBODY)
        return found

    def _write(self, owner: Sequence[str]) -> None:
        export = self.files / "export"
        try:
            for written in self._memory.export_gguf(owner, export, base=self._base):
                written.replace(self.files / written.name)
        finally:
            shutil.rmtree(export, ignore_errors=True)

    # The router

    def _write_presets(self, models: Mapping[str, Mapping[str, Path]]) -> None:
        lines = ["version = 1"]
        for model, adapters in models.items():
            if not model:
                continue
            lines += [f"[{model}]", f"model = {self._base}", f"stop-timeout = {ENDS_IN}"]
            if adapters:
                # None is on unless a request says so.
                lines.append("lora-init-without-apply = true")
                lines.append(f"lora = {','.join(map(str, adapters.values()))}")
        self._presets.write_text("\n".join([*lines, ""]), "utf-8")

    def _reload(self) -> None:
        self.ask("GET", "/models", params={"reload": "1"}, timeout=ENDS_IN + 30)

    def _status(self, model: str) -> dict[str, Any]:
        for one in self.ask("GET", "/models")["data"]:
            if one["id"] == model:
                return dict(one["status"])
        return {}

    def _is_loaded(self, model: str) -> bool:
        status = self._status(model)
        if status.get("failed"):
            raise ModelError(f"llama-server does not load {model}. {self.end_of_log()}")
        return status.get("value") == "loaded"

    def _let_end(self, model: str) -> None:
        """Wait until it has answered all that it was asked."""
        time.sleep(_GRACE)

        def is_idle() -> bool:
            slots = self.ask("GET", "/slots", params={"model": model})
            return not any(slot["is_processing"] for slot in slots)

        self.wait(f"{model} does not end", is_idle, seconds=ENDS_IN)


def _named(adapters: Sequence[str]) -> str:
    """A set of LoRAs: by what they are, in their order."""
    return hashlib.sha256("\n".join(adapters).encode()).hexdigest()[:16]
