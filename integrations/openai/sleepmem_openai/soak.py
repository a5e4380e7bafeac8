"""Many clients at once, a gateway that is killed in the middle, and then: is everything there?

Every client has a key and a secret of its own, tells the gateway what nobody else does, and asks
for its secret. Half of them stream, half name their conversations. Whatever fails is sent again, as
clients do. In the end every message that was answered must be in the ledger exactly once, those
that were not at most once, and nobody may ever have read a tag of somebody else.

The clients are OpenAI's; the gateway is a process; the model behind it is `parrot`, a server that
shows every client all that the gateway showed it. `python -m sleepmem_openai.soak`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import openai
import typer

from sleepmem import SleepMemory
from sleepmem_openai.app import THREAD
from sleepmem_openai.keys import Keys
from sleepmem_openai.parrot import MODEL
from sleepmem_openai.processes import Server, free_port

# Turns of a conversation; its client sends all of them again with each.
_TURNS = 6
# Every so many messages one asks.
_ASKS = 3
_TAG = re.compile(r"\b[0-9a-f]{12}\b")
# Seconds until what failed is sent again, and for one answer; how often it is sent.
_AGAIN, _PATIENCE, _TRIES = 0.5, 120.0, 500
# Every so many seconds it is told how far it is.
_TELLS = 15


@dataclass
class Seen:
    """What all clients saw.

    answered  seconds of each answer
    again     how often something was sent again, by the error that came back
    foreign   replies with a tag of somebody else
    asked     questions, and how many of their answers had the secret
    is_over   no more is sent
    """

    answered: list[float] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    asked: int = 0
    found: int = 0
    is_over: bool = False


@dataclass
class Client:
    """One of the clients: an owner, a key, a tag that all its messages carry."""

    number: int
    tag: str
    openai: openai.AsyncOpenAI
    sent: set[str] = field(default_factory=set)
    acknowledged: list[str] = field(default_factory=list)

    async def live(self, requests: int, seen: Seen) -> None:
        """Send so many messages, one after the other."""
        messages: list[dict[str, str]] = []
        for turn in range(requests):
            if seen.is_over:
                return
            if turn % _TURNS == 0:
                messages = []
            text = self._text(turn)
            messages.append({"role": "user", "content": text})
            began = time.monotonic()
            reply = await self._reply(messages, turn // _TURNS, seen)
            seen.answered.append(time.monotonic() - began)
            self.acknowledged.append(text)
            messages.append({"role": "assistant", "content": reply})
            tags = set(_TAG.findall(reply))
            if tags - {self.tag}:
                seen.foreign.append(reply)
            if text.endswith("?"):
                seen.asked += 1
                seen.found += self.tag in tags

    def _text(self, turn: int) -> str:
        if turn == 0:
            return f"The code of my locker is {self.tag}."
        if turn % _ASKS == 0:
            return f"Question {turn} of client {self.number}: what is the code of my locker?"
        return f"Crate {turn} of client {self.number} stands on shelf {turn * 7} at {self.tag}."

    async def _reply(self, messages: list[dict[str, str]], talk: int, seen: Seen) -> str:
        """The reply to the last message, sent until there is one."""
        self.sent.add(messages[-1]["content"])
        headers = {THREAD: f"talk-{talk}"} if self.number % 2 else {}
        for _ in range(_TRIES):
            try:
                return await self._ask(messages, headers)
            except openai.APIError as error:
                seen.again[type(error).__name__] += 1
                await asyncio.sleep(_AGAIN * (1 + random.random()))
        raise RuntimeError(f"the gateway answered none of {_TRIES} requests")

    async def _ask(self, messages: Any, headers: dict[str, str]) -> str:
        create = self.openai.chat.completions.create
        if self.number % 4 < 2:
            whole = await create(model=MODEL, messages=messages, extra_headers=headers)
            return whole.choices[0].message.content or ""
        pieces: list[str] = []
        has_ended = False
        stream = await create(model=MODEL, messages=messages, extra_headers=headers, stream=True)
        async for chunk in stream:
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                has_ended = has_ended or choice.finish_reason is not None
        if not has_ended:
            raise openai.APIConnectionError(request=stream.response.request)
        return "".join(pieces)


@dataclass(frozen=True)
class Plan:
    """How long a soak is.

    clients     at once
    requests    of all of them, at most
    kill_after  answers after which the gateway is killed
    minutes     after which no more is sent
    """

    clients: int
    requests: int
    kill_after: int
    minutes: float


async def _soak(people: list[Client], gateway: Server, plan: Plan) -> Seen:
    """All clients live; the gateway is killed in the middle, and started again."""
    seen = Seen()
    share, rest = divmod(plan.requests, plan.clients)
    lives = [client.live(share + (client.number < rest), seen) for client in people]

    async def kill() -> None:
        while len(seen.answered) < plan.kill_after:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(gateway.kill)
        _say(f"killed after {len(seen.answered)} answers")
        await asyncio.to_thread(gateway.start)
        _say("started again")

    async def tell() -> None:
        until = time.monotonic() + 60 * plan.minutes
        while True:
            await asyncio.sleep(_TELLS)
            seen.is_over = time.monotonic() > until
            _say(f"{len(seen.answered)} answered")

    others = [asyncio.create_task(kill()), asyncio.create_task(tell())]
    await asyncio.gather(*lives)
    for other in others:
        other.cancel()
    for client in people:
        await client.openai.close()
    return seen


def _in_ledger(folder: Path, clients: list[Client]) -> dict[str, Any]:
    """What the ledger has of what was sent."""
    lost, twice, strange, count = 0, 0, 0, 0
    with SleepMemory.open(folder, read_only=True) as memory:
        for client in clients:
            stored = Counter(one.text for one in memory.ledger.episodes.all(_owner(client.number)))
            count += stored.total()
            lost += sum(stored[text] == 0 for text in client.acknowledged)
            twice += sum(number > 1 for number in stored.values())
            strange += len(stored.keys() - client.sent)
        faults = memory.verify()
    return {
        "episodes": count,
        "acknowledged": sum(len(client.acknowledged) for client in clients),
        "lost": lost,
        "stored twice": twice,
        "never sent": strange,
        "faults of verify": faults,
    }


def soak(folder: Path, plan: Plan) -> dict[str, Any]:
    """Soak a gateway in front of a new memory in `folder`, and tell what was seen.

    Raises:
        RuntimeError: a server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys, port, model_port = Keys(folder / "keys.json"), free_port(), free_port()
    parrot = Server(
        ["python", "-m", "sleepmem_openai.parrot", str(model_port)],
        model_port,
        ready="/v1/models",
        log=folder / "parrot.log",
    )
    command = ["python", "-m", "sleepmem_openai", "serve", str(folder / "memory")]
    command += ["--upstream", f"{parrot.url}/v1", "--keys", str(keys.path), "--port", str(port)]
    command += ["--per-minute", "1000000", "--at-once", str(plan.clients + 8)]
    gateway = Server(command, port, ready="/readyz", log=folder / "gateway.log")
    people: list[Client] = []
    for number in range(plan.clients):
        _, secret = keys.add(_owner(number))
        speaking = openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, timeout=_PATIENCE
        )
        people.append(Client(number, f"{random.getrandbits(48):012x}", speaking))
    parrot.start()
    try:
        gateway.start()
        began = time.monotonic()
        seen = asyncio.run(_soak(people, gateway, plan))
        seconds = time.monotonic() - began
    finally:
        gateway.stop()
        parrot.stop()
    ordered = sorted(seen.answered)
    return {
        "clients": plan.clients,
        "requests": len(ordered),
        "killed after": plan.kill_after if len(ordered) > plan.kill_after else None,
        "seconds": round(seconds, 1),
        "a second": round(len(ordered) / seconds, 1),
        "median ms": round(1_000 * statistics.median(ordered)),
        "95th percentile ms": round(1_000 * ordered[int(0.95 * (len(ordered) - 1))]),
        "sent again": dict(seen.again),
        "asked for the secret": seen.asked,
        "secret shown": seen.found,
        "shown another's": len(seen.foreign),
        **_in_ledger(folder / "memory", people),
    }


def _owner(number: int) -> tuple[str, ...]:
    return ("soak", f"client-{number}")


def _say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


def main(
    *,
    clients: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 50,
    requests: Annotated[int, typer.Option(min=2, help="Messages of all of them.")] = 10_000,
    kill_after: Annotated[
        int | None, typer.Option(help="Answers until the kill; half of them by default.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Send nothing more after so long.")] = 600,
    folder: Annotated[Path | None, typer.Option(help="A new folder, for a look after it.")] = None,
) -> None:
    """Soak a gateway; the exit code is 1 where something was lost, doubled or shown to another."""
    plan = Plan(clients, requests, kill_after or requests // 2, minutes)
    with tempfile.TemporaryDirectory() as spare:
        told = soak(folder or Path(spare), plan)
    print(json.dumps(told, indent=1))
    wrong = ("lost", "stored twice", "never sent", "shown another's", "faults of verify")
    if any(told[name] for name in wrong):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
