from _values import probe

from sleepmem.config import PolicyConfig
from sleepmem.night.replay import Reason, evenly, select
from sleepmem.night.teachable import sort
from sleepmem.records import Episode, Role

DAYS = [
    Episode(("a",), f"Fact number {n}.", created_at=f"2030-01-0{n}T00:00:00.000000+00:00")
    for n in (3, 1, 2)
]
TOOL = Episode(("a",), "It rains in Oslo.", "tool:weather", "2029-01-01T00:00:00.000000+00:00")


def test_oldest_first_when_nothing_was_asked():
    assert [r.episode_id for r in select(DAYS, {}, tried={}, budget=9)] == [
        DAYS[1].id,
        DAYS[2].id,
        DAYS[0].id,
    ]


def test_demand_comes_first_and_says_so():
    first, *others = select(DAYS, {DAYS[0].id: 2}, tried={}, budget=9)
    assert (first.episode_id, first.reason) == (DAYS[0].id, Reason.DEMANDED)
    assert {r.reason for r in others} == {Reason.BUFFERED}


def test_the_budget_cuts_the_least_wanted():
    assert [r.episode_id for r in select(DAYS, {DAYS[0].id: 1}, tried={}, budget=2)] == [
        DAYS[0].id,
        DAYS[1].id,
    ]


def test_what_nights_tried_comes_after_what_none_did():
    newest, oldest, second = (day.id for day in DAYS)
    tried = {oldest: 2, second: 1}
    assert [r.episode_id for r in select(DAYS, {}, tried=tried, budget=2)] == [newest, second]
    # Who asks for it gets it first all the same.
    assert select(DAYS, {oldest: 1}, tried=tried, budget=1)[0].episode_id == oldest


def test_untrusted_sources_stay_out_unless_let_in():
    policy = PolicyConfig()
    sorted_out = sort([*DAYS, TOOL], policy, untrusted=False)
    assert TOOL not in sorted_out.episodes
    assert [(one.episode, one.rule) for one in sorted_out.held] == [(TOOL.id, "source")]
    let_in = sort([*DAYS, TOOL], policy, untrusted=True)
    assert select(let_in.episodes, {}, tried={}, budget=9)[0].episode_id == TOOL.id


def test_what_somebody_told_whose_name_a_rule_holds_is_not_taught():
    told = Episode(("a",), "I moved to Oslo last spring.", speaker="mara.lind@example.org")
    sorted_out = sort([told], PolicyConfig(), untrusted=False)
    assert sorted_out.episodes == []
    assert [(one.episode, one.rule) for one in sorted_out.held] == [(told.id, "personal")]
    assert sort([told], PolicyConfig(personal="learn"), untrusted=False).episodes == [told]


def taught(episode, count, **changed):
    return [
        probe(
            n,
            episode,
            f"q{n} of {episode}",
            "a",
            night_id=f"night-{episode}",
            role=Role.TRAIN,
            **changed,
        )
        for n in range(count)
    ]


def test_a_sample_draws_evenly_over_episodes():
    picked = evenly([*taught("a", 20), *taught("b", 3), *taught("c", 20)], 9, seed=0)
    assert sorted(p.episode_id for p in picked) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert len({p.id for p in picked}) == 9


def test_a_small_sample_prefers_no_episode():
    deck = [p for e in range(40) for p in taught(f"e{e:02d}", 3)]
    picked = [p.episode_id for seed in range(20) for p in evenly(deck, 4, seed=seed)]
    assert {e < "e20" for e in picked} == {True, False}
    assert len(set(picked)) > 20


def test_a_sample_takes_all_when_there_is_little():
    assert len(evenly(taught("a", 4), 100, seed=0)) == 4
    assert evenly([], 5, seed=0) == []


def test_a_sample_depends_on_the_seed_alone():
    deck = taught("a", 30)
    assert evenly(deck, 5, seed=1) == evenly(deck, 5, seed=1) != evenly(deck, 5, seed=2)
