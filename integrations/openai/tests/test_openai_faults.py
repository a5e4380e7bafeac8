"""Upstreams that fail, clients that leave, a gateway that is told to end: each is told as it is."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import openai
import pytest
from sleepmem_openai.processes import free_port

from sleepmem import SleepMemory

ERROR = {"message": "the context is full", "type": "server_error"}
SAID = [{"role": "user", "content": "My kite is green."}]


def chunk(text: str) -> dict:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    about = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return {**about, "choices": [choice]}


class Faulty(BaseHTTPRequestHandler):
    """An upstream whose models are each faulty in their own way, which is their name."""

    over = Event()

    def do_GET(self) -> None:
        self.answer(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        match asked["model"]:
            case "silent":
                self.over.wait(60)
            case "whole":
                message = {"role": "assistant", "content": "Noted."}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.answer(200, {**chunk(""), "object": "chat.completion", "choices": [choice]})
            case "a text":
                self.answer(400, {"error": "no such thing"})
            case "locked":
                self.answer(401, {"error": {"message": "wrong key"}})
            case "broken":
                self.send(chunk("Half an"), chunk(" answer"))
            case "full at once":
                self.send({"error": {**ERROR, "code": 400}})
            case "full":
                self.send(chunk("Half an"), {"error": ERROR})

    def answer(self, status: int, told: dict) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send(self, *events: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def log_message(self, *told: object) -> None: ...


@pytest.fixture(scope="module")
def gateway(start) -> Iterator:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    yield start("faults", "--upstream", url, "--at-once-per-owner", "1")
    Faulty.over.set()
    server.shutdown()
    server.server_close()


def ask(client, model, *, stream=False):
    """The text of an answer."""
    told = client.chat.completions.create(model=model, messages=SAID, stream=stream)
    if not stream:
        return told.choices[0].message.content
    return "".join(one.choices[0].delta.content or "" for one in told)


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_an_answer_gives_their_place_back(gateway, stream):
    client = gateway.client(f"leaver-{stream}").with_options(timeout=2)
    for _ in range(3):
        with pytest.raises(openai.APITimeoutError):
            ask(client, "silent", stream=stream)
        time.sleep(0.5)
    with urllib.request.urlopen(f"{gateway.url}/metrics") as page:
        assert 'status="499"' in page.read().decode()


@pytest.mark.parametrize(
    ("model", "stream", "status", "sentence"),
    [
        ("broken", False, 502, "broke off in the middle of its answer; try again"),
        ("broken", True, None, "broke off in the middle of its answer; try again"),
        ("whole", False, 502, "sent no stream of events"),
        ("whole", True, 502, "sent no stream of events"),
        ("a text", False, 400, "refused it: no such thing"),
        ("locked", False, 502, "its operator must set the right one in SLEEPMEM_UPSTREAM_KEY"),
        ("full at once", True, 400, "refused it: the context is full"),
        ("full", False, 502, "failed in the middle of its answer: the context is full"),
        ("full", True, None, "failed in the middle of its answer: the context is full"),
    ],
)
def test_a_fault_of_an_upstream_is_told_as_it_is(gateway, model, stream, status, sentence):
    with pytest.raises(openai.APIError, match=sentence) as told:
        ask(gateway.client(f"{model}-{stream}"), model, stream=stream)
    assert getattr(told.value, "status_code", None) == status


def test_a_terminated_gateway_closes_its_memory_first(start):
    gateway = start("ended")
    ask(gateway.client("alice"), "sleepmem")
    log = gateway.folder / "memory" / "ledger.db-wal"
    assert log.exists()
    process = gateway.server._process
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    # SQLite removes it when the last connection is closed.
    assert not log.exists()
    assert "Traceback" not in (gateway.folder / "gateway.log").read_text()


def test_in_front_of_a_llama_server_no_torch_is_loaded_and_one_that_is_not_there_is_told(tmp_path):
    code = (
        "import asyncio, sys\n"
        "from sleepmem import SleepMemory\n"
        "from sleepmem_openai.app import create_app\n"
        "from sleepmem_openai.upstream import Own\n"
        "with SleepMemory.open(sys.argv[1], chat_model=sys.argv[2]) as memory:\n"
        "    create_app(memory)\n"
        "    print(asyncio.run(Own(memory).is_ready()), 'torch' in sys.modules)\n"
    )
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", code, str(tmp_path / "memory"), address]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_was_said_to_a_model_that_failed_is_kept(gateway):
    with pytest.raises(openai.APIError):
        ask(gateway.client("kept"), "broken")
    with SleepMemory.open(gateway.folder / "memory", read_only=True) as memory:
        kept = [one.text for one in memory.ledger.episodes.all(("kept",))]
    assert kept == ["My kite is green."]
