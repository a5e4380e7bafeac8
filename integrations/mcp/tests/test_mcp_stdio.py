"""A client of the SDK over stdio: the tools as a host sees them, and a life with them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from _mcp_servers import COMMAND, answering
from mcp import Client, MCPError

from sleepmem import SleepMemory

BRENPORT, OSLO = "Mara lives in Brenport.", "Mara lives in Oslo."


async def call(client: Client, tool: str, /, **arguments: Any) -> Any:
    """What a tool gave, as its schema says."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, /, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_is_remembered_is_recalled_with_its_source(
    stdio: Callable[..., Client], mode: str
) -> None:
    async with stdio("-n", "alice/work", mode=mode) as client:
        told = await call(client, "remember", text=BRENPORT, said_by="user")
        page = await call(client, "remember", text=OSLO, said_by="tool", tool="search")
        found = await call(client, "recall", question="Where does Mara live?")
        sources = {one["text"]: one["source"] for one in found["memories"]}
        assert sources == {BRENPORT: "agent quoting the user", OSLO: "tool:search"}
        assert f'tool search: " {OSLO} "' in found["context"]
        assert (told["may_teach"], page["may_teach"]) == (False, False)
        state = await call(client, "status")
        assert (state["owner"], state["memories"], state["learned"]) == ("alice/work", 2, 0)


async def test_a_host_is_told_what_each_tool_does(stdio: Callable[..., Client]) -> None:
    async with stdio() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["remember", "recall", "correct", "forget", "why", "sleep", "status"]
    reads = {name for name, tool in tools.items() if tool.annotations.read_only_hint}
    destroys = {name for name, tool in tools.items() if tool.annotations.destructive_hint}
    assert (reads, destroys) == ({"recall", "why", "status"}, {"forget"})
    for tool in tools.values():
        assert tool.output_schema["type"] == "object"
        assert tool.annotations.open_world_hint is False
        assert tool.description
    # What resolvers and the server fill in is no argument.
    given = {name: set(tool.input_schema["properties"]) for name, tool in tools.items()}
    assert given["remember"] == {"text", "said_by", "tool", "lasts_days"}
    assert given["forget"] == {"about", "ids", "before", "confirm"}


async def test_a_night_learns_what_the_user_said_and_tells_how_far_it_is(
    stdio: Callable[..., Client], tmp_path: Path
) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with stdio("--user-words", "trusted") as client:
        told = await call(client, "remember", text="The boss of Mara is Tolvan.", said_by="user")
        await call(client, "remember", text="Karo lives in Oslo.", said_by="agent")
        assert told["may_teach"]
        result = await client.call_tool("sleep", {}, progress_callback=hear)
        night = result.structured_content
        assert (night["verdict"], night["episodes"]) == ("promoted", 1)
        assert night["held_back"] == {"source": 1}
        assert len(heard) > 2
        assert [step for step, _ in heard] == sorted(step for step, _ in heard)
        assert any("seed" in (message or "") for _, message in heard)
        # Its report and its notes can be read.
        listed = [one.uri for one in (await client.list_resources()).resources]
        assert listed[0] == night["report"]
        read = (await client.read_resource(night["report"])).contents[0]
        assert json.loads(read.text)["tokens_trained"] > 0
        assert read.mime_type == "application/json"
        with pytest.raises(MCPError, match="there is no night"):
            await client.read_resource("sleepmem://nights/night-0009")
        explained = await call(client, "why", question="Who is the boss of Mara?")
        assert "Tolvan" in json.dumps(explained["memories"])
        assert explained["view"] in ("weights", "retrieval")
    with SleepMemory.open(tmp_path / "m", read_only=True) as memory:
        taught = {expert.lineage for expert in memory.ledger.lineage.experts(("default",))}
    assert taught == {(told["memory"]["id"],)}


async def test_a_cancelled_night_goes_on_with_the_next(
    stdio: Callable[..., Client], tmp_path: Path
) -> None:
    async with stdio("--user-words", "trusted") as client:
        await call(client, "remember", text="The boss of Mara is Tolvan.", said_by="user")
        begun = anyio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await client.call_tool("sleep", {}, progress_callback=hear)

            group.start_soon(sleep)
            await begun.wait()
            group.cancel_scope.cancel()
        night = await _sleep_when_free(client)
    assert (night["night"], night["verdict"]) == ("night-0001", "promoted")


async def _sleep_when_free(client: Client) -> Any:
    """Sleep; the cancelled night takes to its next step to end."""
    for _ in range(100):
        result = await client.call_tool("sleep", {})
        if not result.is_error:
            return result.structured_content
        assert "runs already" in result.content[0].text
        await anyio.sleep(0.2)
    raise AssertionError("the cancelled night does not end")


async def test_forgetting_shows_first_what_would_go(stdio: Callable[..., Client]) -> None:
    async with stdio() as client:
        told = await call(client, "remember", text="My phone number is 555-0199.")
        await call(client, "remember", text=BRENPORT)
        shown = await call(client, "forget", about="my phone number")
        assert (shown["done"], [one["id"] for one in shown["memories"]]) == (
            False,
            [told["memory"]["id"]],
        )
        assert (await call(client, "status"))["memories"] == 2
        # A code is of what was shown, not of another choice, and cannot be made up.
        for wrong in ({"confirm": "yes"}, {"confirm": shown["confirm"], "about": "Mara"}):
            told_so = await refused(client, "forget", **{"about": "my phone number", **wrong})
            assert "call forget again without" in told_so
        gone = await call(client, "forget", about="my phone number", confirm=shown["confirm"])
        assert gone["done"]
        assert gone["receipt"]["removed"]["episodes"] == 1
        assert gone["receipt"]["asked"].keys() == {"about", "confirmed"}
        assert "555-0199" not in json.dumps(gone["receipt"])
        assert "phone" not in json.dumps(gone["receipt"])
        assert (await call(client, "status"))["memories"] == 1
        assert "nothing was chosen" in await refused(client, "forget")


async def test_a_user_who_is_asked_decides(stdio: Callable[..., Client], tmp_path: Path) -> None:
    answer, asked = answering("decline")
    async with stdio("--user-words", "asked", elicitation_callback=answer) as client:
        told = await call(client, "remember", text=BRENPORT, said_by="user")
        assert (told["memory"]["source"], told["may_teach"]) == ("agent quoting the user", False)
        shown = await call(client, "forget", about="Mara")
        assert "did not agree" in await refused(
            client, "forget", about="Mara", confirm=shown["confirm"]
        )
        assert (await call(client, "status"))["memories"] == 1
    assert len(asked) == 2
    assert all(BRENPORT in question for question in asked)


async def test_what_is_wrong_is_told_in_a_sentence(stdio: Callable[..., Client]) -> None:
    async with stdio() as client:
        assert "no memory 'none' that still holds" in await refused(
            client, "correct", id="none", text=OSLO
        )
        assert "is empty" in await refused(client, "remember", text="   ")
        assert "said_by" in await refused(client, "remember", text=OSLO, said_by="root")
        assert "must be a duration" not in await refused(
            client, "remember", text=OSLO, lasts_days=-1
        )


def test_a_signal_ends_a_server_whose_client_says_nothing(tmp_path: Path) -> None:
    command = [sys.executable, *COMMAND, str(tmp_path / "m")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "nothing"}\n')
        server.stdin.flush()
        assert b"Method not found" in server.stdout.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 128 + signal.SIGINT


def test_a_wrong_command_line_is_one_sentence(tmp_path: Path) -> None:
    def told(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, *COMMAND, str(tmp_path / "m"), *options],
            capture_output=True,
            text=True,
        )
        assert done.returncode in (1, 2)
        assert done.stdout == ""
        return done.stderr

    assert told("--http").startswith("error: over HTTP every owner needs a token")
    assert told("--http", "--tokens", "none").startswith("error: the tokens in none cannot be read")
    assert "leave --namespace out" in told("--http", "-n", "alice", "--tokens", "none")
    assert "names no owner" in told("-n", "")
    assert not (tmp_path / "m").exists()
