"""What fails between two sets of experts is done again; by a router that is made up here."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sleepmem_llamacpp import LiveServer

from sleepmem import ModelError
from sleepmem.day.served import ServedModel

ALICE = ("alice",)


class Memory:
    """Of one owner, whose experts have this name."""

    def __init__(self) -> None:
        self.name = "one"

    def learners(self) -> list[Any]:
        return [ALICE]

    def adapter_name(self, owner: Any) -> str:
        return self.name if owner else ""

    def export_gguf(self, owner: Any, path: Any, *, base: Any) -> list[Any]:
        path.mkdir()
        (path / f"{self.name}.gguf").write_text(self.name)
        return [path / f"{self.name}.gguf"]


class Router(LiveServer):
    """Loads what it is told, and fails at the paths that are named."""

    runs = True

    def __init__(self, memory: Any, base: Any) -> None:
        super().__init__(memory, base)
        self.fails: set[str] = set()
        self.loaded: dict[str, str] = {}
        self.loads: list[str] = []

    def ask(self, method: str, path: str, **how: Any) -> Any:
        if path in self.fails:
            self._log(f"{path} failed")
            raise ModelError(f"llama-server did not do {path}. {self.end_of_log()}")
        if path == "/models/load":
            self.loads.append(how["json"]["model"])
            self.loaded[how["json"]["model"]] = "loaded"
        if path == "/slots":
            return []
        if "reload" in how.get("params", {}):
            named = self._presets.read_text()
            self.loaded = {model: value for model, value in self.loaded.items() if model in named}
        models = [{"id": one, "status": {"value": value}} for one, value in self.loaded.items()]
        return {"data": sorted(models, key=lambda one: one["id"])}

    def _log(self, line: str) -> None:
        with (self.files / "log").open("a") as log:
            log.write(f"{log.tell()} {line}\n")


@pytest.fixture
def router(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_SERVER", "/bin/true")
    monkeypatch.setattr("sleepmem_llamacpp.live._GRACE", 0)
    base = tmp_path / "base.gguf"
    base.touch()
    router = Router(Memory(), base)
    yield router
    router.stop()


def files(router):
    return sorted(file.name for file in router.files.glob("*.gguf"))


@pytest.mark.parametrize("path", ["/slots", "/models", "/models/load"])
def test_what_was_forgotten_goes_at_the_next_look_whatever_failed_at_the_last(router, path):
    assert router.update()
    assert not router.update()
    router._memory.name, router.fails = "two", {path}
    if path == "/slots":
        # One that does not tell whether it has ended goes all the same.
        assert router.update()
    else:
        with pytest.raises(ModelError):
            router.update()
    router.fails = set()
    router.update()
    assert files(router) == ["two.gguf"]
    assert list(router.loaded) == [router.model]
    assert not router.update()


def test_what_fails_after_the_new_one_answers_is_done_again_without_loading_it_anew(
    router, monkeypatch
):
    router.update()
    router._memory.name = "two"
    reload, done = router._reload, []

    def fail_once():
        done.append(1)
        if len(done) == 2:
            raise ModelError("the router is busy")
        reload()

    monkeypatch.setattr(router, "_reload", fail_once)
    with pytest.raises(ModelError, match="busy"):
        router.update()
    assert files(router) == ["one.gguf", "two.gguf"]
    assert router.update()
    assert files(router) == ["two.gguf"]
    assert len(router.loads) == 2
    assert not router.update()


def test_what_is_loaded_already_is_not_loaded_again(router, monkeypatch):
    router.update()
    router._memory.name = "two"
    with monkeypatch.context() as patch:
        patch.setattr("sleepmem_llamacpp.live.STARTS_IN", 0)
        patch.setattr(router, "_is_loaded", lambda model: False)
        with pytest.raises(ModelError, match="does not load"):
            router.update()
    assert router.update()
    assert len(router.loads) == 2


def test_the_newest_answers_where_two_have_the_same_experts(router, monkeypatch):
    monkeypatch.setattr(router, "_let_end", lambda model: None)
    names = []
    for number in range(12):
        router._memory.name = f"set {number}"
        router.update()
        names.append(router.model)
    assert names == sorted(names)
    listed = [{"id": one, "status": {"value": "loaded"}} for one in names[-2:]]
    served = ServedModel("http://127.0.0.1:1", adapter=lambda _: "bob", profile=lambda: None)
    answers = {"/models": {"data": listed}, "/lora-adapters": [{"path": "bob.gguf", "id": 0}]}
    monkeypatch.setattr(served, "_get", lambda path, **query: answers[path])
    assert served._find("bob").model == names[-1]


def test_what_goes_on_failing_is_printed_once(router, capsys):
    router.fails, ended = {"/models"}, threading.Event()
    looks = iter([False, False, False, True])
    ended.wait = lambda seconds: next(looks)
    router.watch(1, until=ended)
    printed = capsys.readouterr().out
    assert printed.count("error:") == 1
    assert "Its log ends: " in printed


def test_an_error_reads_the_last_of_a_log_alone(router):
    (router.files / "log").write_bytes(b"old " * 10_000 + "\u00e9 new".encode())
    assert len(router.end_of_log()) < 600
    assert router.end_of_log().endswith("\u00e9 new")
