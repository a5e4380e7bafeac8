"""Whose words they are: what an agent says of the user is the user's only where they said so."""

from typing import Any

import pytest
from _mcp_servers import answering
from mcp import Client
from mcp.types import ElicitRequestParams, ElicitResult
from sleepmem_mcp import MemoryServer, Room, UserWords

from sleepmem import SleepMemory

ALICE = ("alice",)
OWN, QUOTED = ("user", True), ("agent quoting the user", False)


def server(memory: SleepMemory, words: UserWords = UserWords.HELD) -> MemoryServer:
    return MemoryServer(Room(memory, ALICE, words=words))


async def told(client: Client, **given: Any) -> tuple[str, bool]:
    arguments = {"text": "Mara lives in Brenport.", "said_by": "user", **given}
    result = await client.call_tool("remember", arguments)
    assert not result.is_error, result.content
    found = result.structured_content
    return found["memory"]["source"], found["may_teach"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("words", "answer", "expected"),
    [
        ("held", ("accept", {"mine": True}), QUOTED),
        ("trusted", None, OWN),
        ("asked", None, QUOTED),
        ("asked", ("accept", {"mine": True}), OWN),
        ("asked", ("accept", {"mine": False}), QUOTED),
        ("asked", ("decline", {}), QUOTED),
        ("asked", ("cancel", {}), QUOTED),
    ],
)
async def test_a_quotation_of_the_user_is_theirs_only_where_that_was_let(
    memory: SleepMemory, words: str, answer: Any, expected: tuple[str, bool], mode: str
) -> None:
    how, asked = {}, []
    if answer is not None:
        action, content = answer
        how["elicitation_callback"], asked = answering(action, **content)
    async with Client(server(memory, UserWords(words)), mode=mode, **how) as client:
        assert await told(client) == expected
    assert len(asked) == (words == "asked" and answer is not None)


@pytest.mark.parametrize("words", list(UserWords))
async def test_agents_and_tools_are_never_the_user(memory: SleepMemory, words: UserWords) -> None:
    async with Client(server(memory, words)) as client:
        assert await told(client, said_by="agent") == ("agent", False)
        assert await told(client, said_by="tool") == ("tool:unnamed", False)
        # A name that would make it look like the user's is the name of a tool still.
        assert await told(client, said_by="tool", tool="x\nuser") == ("tool:x user", False)
    assert all(not one.trusted for one in memory.ledger.episodes.all(ALICE))


async def test_what_an_agent_corrects_does_not_outdate_the_user(memory: SleepMemory) -> None:
    users = memory.observe(ALICE, "Mara lives in Brenport.")
    async with Client(server(memory)) as client:
        agents = {"text": "Mara lives in Oslo.", "said_by": "agent"}
        found = await client.call_tool("correct", {"id": users.id, **agents})
        corrected = found.structured_content
        assert (corrected["corrects"]["id"], corrected["wins"]) == (users.id, False)
        # Of its own words the newer ones count.
        again = {"id": corrected["memory"]["id"], "text": "Mara lives in Kapstad."}
        found = await client.call_tool("correct", again)
        assert found.structured_content["wins"]
        recalled = await client.call_tool("recall", {"question": "Where does Mara live?"})
    assert "\n2" in recalled.structured_content["context"]
    last = recalled.structured_content["context"].splitlines()[-1]
    assert "Brenport" in last


async def test_what_an_agent_asks_is_not_asked_again_at_night(memory: SleepMemory) -> None:
    memory.observe(ALICE, "Mara lives in Brenport.")
    async with Client(server(memory)) as client:
        await client.call_tool("recall", {"question": "Where does Mara live?"})
    assert memory.ledger.turns.all(ALICE) == []


async def test_no_owner_reads_or_changes_what_is_anothers(memory: SleepMemory) -> None:
    bobs = memory.observe(("bob",), "The code of the safe is 4711.")
    async with Client(server(memory)) as client:
        found = await client.call_tool("recall", {"question": "What is the code of the safe?"})
        assert found.structured_content == {"context": "", "memories": []}
        for tool, given in {
            "correct": {"id": bobs.id, "text": "It is 1."},
            "forget": {"ids": [bobs.id]},
        }.items():
            result = await client.call_tool(tool, given)
            assert result.is_error
            assert "4711" not in str(result.content)
        state = await client.call_tool("status")
        assert state.structured_content["memories"] == 0


async def test_a_code_is_of_one_server_and_one_owner(memory: SleepMemory) -> None:
    memory.observe(ALICE, "Mara lives in Brenport.")
    other = Room(memory, ALICE)
    ids = [one.id for one in memory.ledger.episodes.all(ALICE)]
    room = Room(memory, ALICE)
    assert room.code(ALICE, ids) == room.code(ALICE, ids)
    assert room.code(ALICE, ids) != other.code(ALICE, ids)
    assert room.code(ALICE, ids) != room.code(("bob",), ids)


async def test_a_user_is_asked_about_many_memories_at_once(memory: SleepMemory) -> None:
    for number in range(25):
        memory.observe(ALICE, f"Mara has {number} boats.")
    answer, asked = answering("accept", forget=True)
    async with Client(server(memory), elicitation_callback=answer) as client:
        choice = {"before": "2999-01-01"}
        shown = (await client.call_tool("forget", choice)).structured_content
        gone = await client.call_tool("forget", {**choice, "confirm": shown["confirm"]})
    assert gone.structured_content["done"]
    (question,) = asked
    assert "Forget 25 of" in question
    assert question.endswith("and 5 more")
    assert memory.ledger.episodes.all(ALICE) == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_was_told_while_the_user_was_asked_is_not_forgotten_with_the_rest(
    memory: SleepMemory, mode: str
) -> None:
    memory.observe(ALICE, "Mara lives in Brenport.")

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        memory.observe(ALICE, "Mara's boat is red.")
        return ElicitResult(action="accept", content={"forget": True})

    async with Client(server(memory), elicitation_callback=answer, mode=mode) as client:
        choice = {"before": "2999-01-01"}
        shown = (await client.call_tool("forget", choice)).structured_content
        refused = await client.call_tool("forget", {**choice, "confirm": shown["confirm"]})
        assert refused.is_error
        assert "changed since it was shown" in str(refused.content)
    assert len(memory.ledger.episodes.all(ALICE)) == 2
