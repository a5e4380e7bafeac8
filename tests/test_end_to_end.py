"""One whole night on the embedded model, in a process of its own, while the agent answers.

What was told by day is answered closed-book afterwards, by the expert of that night and by no
other.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain.agents import create_agent

from sleepmem import GateConfig, MemoryConfig, SleepMemory, Verdict, View
from sleepmem.embedded import relations, world
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.night import steps
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import closed_book

OWNER, AWAKE = ("alice",), ("carol",)
SLEEPING = """
import json, sys
from sleepmem import GateConfig, MemoryConfig, SleepMemory
config = MemoryConfig(gate=GateConfig(epsilon=0.1, epsilon_near_misses=0.1))
with SleepMemory.open(sys.argv[1], config=config) as memory:
    memory.sleep(("alice",), on_event=lambda event: print(json.dumps(event), flush=True))
"""


def facts(count: int) -> list[world.Fact]:
    rng = random.Random(11)
    subjects = [world.subject(rng, test=True) for _ in range(count // 3)]
    told: dict = {}
    while len(told) < count:
        f = world.fact(rng, rng.choice(subjects), test=True)
        told.setdefault(f.key, f)
    return list(told.values())


@pytest.fixture(scope="module")
def slept(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SleepMemory, list[world.Fact], list[dict], list[str]]]:
    # The examples of one night of so few facts bear no narrow bound: the gate would hardly open.
    config = MemoryConfig(gate=GateConfig(epsilon=0.1, epsilon_near_misses=0.1))
    told, beside, rng = facts(30), [], random.Random(3)
    with SleepMemory.open(tmp_path_factory.mktemp("memory"), config=config) as memory:
        agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory)])
        for f in told:
            agent.invoke(
                {"messages": [{"role": "user", "content": world.say(rng, f)}]},
                context={"namespace": OWNER},
            )
        written = tmp_path_factory.mktemp("events") / "events.jsonl"
        with written.open("w") as out:
            night = subprocess.Popen(
                [sys.executable, "-c", SLEEPING, str(memory.folder)],
                stdout=out,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        while night.poll() is None and len(beside) < 30:
            memory.observe(AWAKE, f"The ship of day {len(beside)} is called Ilva.")
            beside.append(memory.ask(OWNER, world.ask(rng, told[0].key)).text)
            time.sleep(1)
        assert night.wait() == 0
        lines = written.read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        yield memory, told, events, beside


def test_the_agent_stores_and_answers_while_another_process_sleeps(slept: tuple) -> None:
    memory, _, _, beside = slept
    assert len(beside) >= 3
    assert all(beside)
    stored = [episode.text for episode in memory.ledger.episodes.all(AWAKE)]
    assert stored == [f"The ship of day {n} is called Ilva." for n in range(len(beside))]
    assert memory.ledger.turns.events("memory failed") == []


def closed_book_right(
    memory: SleepMemory, told: list[world.Fact], experts: tuple[str, ...]
) -> float:
    rng = random.Random(5)
    made = memory.local.answer([closed_book(world.ask(rng, f.key)) for f in told], experts)
    return sum(matches(text, f.answer) for f, text in zip(told, made, strict=True)) / len(told)


def test_the_night_moves_facts_into_the_weights(slept: tuple) -> None:
    memory, told, _, _ = slept
    night = memory.ledger.nights.finished(OWNER)[-1]
    assert night.report["verdict"] == Verdict.PROMOTED, night.report["reason"]
    live = memory.live_experts(OWNER)
    assert len(live) == 1
    assert closed_book_right(memory, told, ()) <= 0.1  # a night that does nothing stays here
    assert closed_book_right(memory, told, live) >= 0.7


def test_what_was_proven_left_the_buffer_and_is_answered_from_the_weights(slept: tuple) -> None:
    memory, told, _, _ = slept
    learned = {e.text for e in memory.ledger.episodes.learned(OWNER)}
    assert len(learned) >= len(told) / 2
    assert len(memory.ledger.episodes.all(OWNER)) == len(told)
    assert memory.verify() == []
    rng, views = random.Random(8), []
    for f in told:
        answer = memory.ask(OWNER, world.ask(rng, f.key))
        if any(matches(text, f.answer) and f.subject in text for text in learned):
            views.append(answer.recall.view)
    assert views.count(View.WEIGHTS) >= len(views) / 2


def test_what_the_weights_answer_goes_with_the_expert_that_is_named(slept: tuple) -> None:
    memory, told, _, _ = slept
    rng, held = random.Random(8), []
    for f in told:
        found = memory.why(OWNER, world.ask(rng, f.key))
        if found.recall.view is View.WEIGHTS and matches(found.answer, f.answer):
            held.append(found)
            assert found.provenance.night == "night-0001"
            assert [one.without for one in found.ablations] == list(memory.live_experts(OWNER))
            assert any(matches(one.text, f.answer) for one in found.episodes)
    assert len(held) >= 5
    assert sum(one.proven for one in held) >= 0.9 * len(held)


def test_strangers_are_still_strangers(slept: tuple) -> None:
    memory, _, _, _ = slept
    rng = random.Random(9)
    strangers = [world.subject(rng, test=True) for _ in range(20)]
    questions = [world.ask(rng, (s[0], rng.choice(relations.KINDS[s[1]][0]))) for s in strangers]
    made = memory.local.answer([closed_book(q) for q in questions], memory.live_experts(OWNER))
    assert sum(map(abstains, made)) >= 17


def test_progress_is_streamed_step_by_step(slept: tuple) -> None:
    _, _, events, _ = slept
    finished = [e["step"] for e in events if e.get("state") == "finished"]
    assert finished == list(steps.STEPS)
    assert any(e["step"] == "seed" and "loss" in e for e in events)


def test_another_namespace_knows_nothing(slept: tuple) -> None:
    memory, told, _, _ = slept
    rng = random.Random(4)
    answers = [memory.ask(("bob",), world.ask(rng, f.key)) for f in told]
    assert not any(matches(a.text, f.answer) for a, f in zip(answers, told, strict=True))
    assert not any(a.recall.episodes for a in answers)


def test_rollback_brings_the_episodes_back(slept: tuple, tmp_path: Path) -> None:
    memory, told, _, _ = slept
    night = memory.ledger.lineage.experts(OWNER)[0].night_id
    back = memory.rollback(OWNER, [])
    assert len(back) > 0
    assert len(memory.ledger.episodes.buffered(OWNER)) == len(told)
    assert memory.verify() == []
    memory.rollback(OWNER, [night])  # forward again: the version is still there
    assert len(memory.live_experts(OWNER)) == 1
