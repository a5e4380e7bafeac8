"""How much a gateway takes on."""

import pytest
from sleepmem_openai.errors import GatewayError
from sleepmem_openai.limits import Limits, Pace

ALICE, BOB = ("alice",), ("bob",)


async def test_an_owner_has_so_many_requests_a_minute():
    pace = Pace(Limits(per_minute=3))
    for _ in range(3):
        await pace.ask(ALICE)
    with pytest.raises(GatewayError) as refused:
        await pace.ask(ALICE)
    assert refused.value.status == 429
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 61
    await pace.ask(BOB)


async def test_owners_whose_names_read_alike_are_two():
    pace = Pace(Limits(per_minute=1))
    await pace.ask(("a", "b"))
    await pace.ask(("a/b",))
    await pace.ask(("a,b",))


def test_places_are_limited_and_given_back():
    pace = Pace(Limits(at_once=2, at_once_per_owner=1))
    with pace.place(ALICE):
        with pytest.raises(GatewayError, match="this owner has"), pace.place(ALICE):
            pass
        with (
            pace.place(BOB),
            pytest.raises(GatewayError, match="the gateway answers"),
            pace.place(("carol",)),
        ):
            pass
    with pytest.raises(ZeroDivisionError), pace.place(ALICE):
        raise ZeroDivisionError
    with pace.place(ALICE), pace.place(BOB):
        pass
