"""A short soak: clients at once, a kill in the middle, nothing lost, doubled or mixed up.

The long one: `python -m sleepmem_openai.soak`.
"""

from sleepmem_openai.soak import Plan, soak


def test_a_gateway_that_is_killed_loses_nothing_and_shows_nobody_anothers(tmp_path):
    told = soak(tmp_path, Plan(clients=8, requests=200, kill_after=100, minutes=30))
    assert told["requests"] == told["acknowledged"] == 200
    assert told["killed after"] == 100
    assert told["sent again"], "the kill was not felt"
    assert told["lost"] == told["stored twice"] == told["never sent"] == 0
    assert told["shown another's"] == 0
    assert told["asked for the secret"] == told["secret shown"] > 0
    assert told["faults of verify"] == []
