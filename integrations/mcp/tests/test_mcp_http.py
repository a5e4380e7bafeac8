"""A real server over HTTP: who is who by their token, and nobody else's memory."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from _mcp_servers import HttpServer
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@asynccontextmanager
async def connected(served: HttpServer, token: str, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(served.url, http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: Client, tool: str, /, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_owners_at_once_have_memories_of_their_own(served: HttpServer, mode: str) -> None:
    async def live(owner: str, place: str) -> None:
        async with connected(served, served.token[owner], mode) as client:
            for number in range(3):
                await call(client, "remember", text=f"{owner} was in {place} {number} times.")
                found = await call(client, "recall", question=f"Who was in {place}?")
                texts = [one["text"] for one in found["memories"]]
                assert texts
                assert all(text.startswith(owner) for text in texts)
                assert (await call(client, "status"))["owner"] == owner

    async with anyio.create_task_group() as group:
        group.start_soon(live, "alice", "Brenport")
        group.start_soon(live, "bob", "Brenport")


async def test_a_night_and_its_report_are_their_owners(served: HttpServer) -> None:
    async with connected(served, served.token["alice"]) as client:
        night = await call(client, "sleep", dry_run=True)
        assert (await client.list_resources()).resources[0].uri == night["report"]
        await client.read_resource(night["report"])
    async with connected(served, served.token["bob"]) as client:
        assert night["report"] not in [one.uri for one in (await client.list_resources()).resources]
        with pytest.raises(MCPError, match="there is no night"):
            await client.read_resource(night["report"])


@pytest.mark.parametrize("token", [None, "wrong", "sleepmem-"])
async def test_nobody_without_a_token_comes_in(served: HttpServer, token: str | None) -> None:
    headers = JSON if token is None else {**JSON, "Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        answered = await http.post(served.url, json=INITIALIZE)
    assert answered.status_code == 401


async def test_a_session_is_of_who_began_it(served: HttpServer) -> None:
    async with httpx2.AsyncClient(headers=JSON) as http:

        def of(owner: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {served.token[owner]}"}

        begun = await http.post(served.url, json=INITIALIZE, headers=of("alice"))
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"]}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        stolen = await http.post(served.url, json=asked, headers={**of("bob"), **session})
        assert stolen.status_code == 404
        own = await http.post(served.url, json=asked, headers={**of("alice"), **session})
        assert own.status_code == 200


async def test_a_page_of_another_name_is_refused(served: HttpServer) -> None:
    # A browser that was led to this address by a name of somebody else's.
    known = {**JSON, "Authorization": f"Bearer {served.token['alice']}"}
    async with httpx2.AsyncClient(headers=known) as http:
        for header, status in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
        ):
            answered = await http.post(served.url, json=INITIALIZE, headers=header)
            assert answered.status_code == status


async def test_a_token_that_was_taken_out_of_the_file_is_no_longer_known(
    served: HttpServer,
) -> None:
    token = served.new_token("carol")
    async with connected(served, token) as client:
        assert (await call(client, "status"))["owner"] == "carol"
    lines = served.tokens.read_text().splitlines(keepends=True)
    served.tokens.write_text("".join(line for line in lines if not line.startswith("carol")))
    headers = {**JSON, "Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        assert (await http.post(served.url, json=INITIALIZE)).status_code == 401


def test_no_token_is_on_the_disk_or_in_the_log(served: HttpServer) -> None:
    kept = served.tokens.read_text() + served.log
    assert not any(token in kept for token in served.token.values())
    assert served.tokens.stat().st_mode & 0o077 == 0
    assert f"listening on http://127.0.0.1:{served.port}/mcp" in served.log


async def test_a_terminated_server_closes_its_memory_first(tmp_path: Path, settings: str) -> None:
    server = HttpServer(tmp_path, settings)
    async with connected(server, server.token["alice"]) as client:
        await call(client, "remember", text="Mara lives in Brenport.")
    log = server.folder / "ledger.db-wal"
    assert log.exists()
    assert server.stop() == -signal.SIGTERM
    # SQLite removes it when the last connection is closed.
    assert not log.exists()
    assert "Traceback" not in server.log
