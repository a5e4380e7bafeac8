"""What a night is about to learn can be seen and changed; a dry run changes nothing; what lasts a
while is not learned."""

from contextlib import nullcontext
from datetime import date, timedelta

import pytest
from _nights import ALICE, buffered, tell, watched
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command

from sleepmem import (
    ConfigError,
    EpisodeError,
    ExamConfig,
    MemoryConfig,
    PolicyConfig,
    SleepMemory,
    Verdict,
)
from sleepmem.graph import sleep_branch
from sleepmem.night import seeding, steps
from sleepmem.night.reviewing import as_patch, from_patch
from sleepmem.night.rows import Row, RowKind
from sleepmem.night.teachable import outlived, safe, sort, taught_of
from sleepmem.records import Episode, Note


def test_what_the_review_leaves_out_is_never_learned(opened, by_hand):
    memory = opened()
    told = tell(memory)
    shown = []

    def review(draft):
        shown.append(draft)
        return {line["id"]: line["text"] for line in draft["lines"] if "boat" not in line["text"]}

    report = memory.sleep(ALICE, review=review)
    assert report.verdict is Verdict.PROMOTED
    assert {line["id"] for line in shown[0]["lines"]} == set(told)
    asked = {one.episode_id for one in memory.ledger.nights.probes(report.night_id)}
    assert told[1] not in asked
    assert told[1] in buffered(memory)
    # Nor in a later night.
    memory.observe(ALICE, "Mara saw a whale.")
    memory.sleep(ALICE)
    assert told[1] in buffered(memory)


def test_a_text_is_learned_as_the_review_changed_it(opened, by_hand):
    memory = opened()
    memory.observe(ALICE, "Mara moved to Brenport.")

    def review(draft):
        return {line["id"]: "Mara moved to Oslo." for line in draft["lines"]}

    report = memory.sleep(ALICE, review=review)
    questions = [one.question for one in memory.ledger.nights.probes(report.night_id)]
    assert any("Mara moved to Oslo." in question for question in questions)
    assert not any("Brenport" in question for question in questions)


def test_a_night_waits_for_its_review(opened, by_hand):
    memory = opened(review=True)
    tell(memory)
    with pytest.raises(ConfigError, match="waits for a review"):
        memory.sleep(ALICE)
    with pytest.raises(ConfigError, match="by the ids of its lines"):
        memory.sleep(ALICE, review=lambda draft: {"nothing": "x"})
    assert memory.ledger.nights.unfinished(ALICE)
    report = memory.sleep(
        ALICE, review=lambda draft: {line["id"]: line["text"] for line in draft["lines"]}
    )
    assert (report.verdict, report.number) == (Verdict.PROMOTED, 1)


def test_a_graph_is_interrupted_with_what_its_night_is_about_to_learn(opened, by_hand):
    memory = opened()
    told = tell(memory)
    graph = StateGraph(MessagesState)
    graph.add_node("night", sleep_branch(memory, ALICE, review=True))
    graph.add_edge("__start__", "night")
    agent = graph.compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    [waits] = agent.invoke({"messages": []}, thread)["__interrupt__"]
    assert {line["id"] for line in waits.value["lines"]} == set(told)
    assert memory.ledger.nights.finished(ALICE) == []
    kept = {line["id"]: line["text"] for line in waits.value["lines"][:1]}
    agent.invoke(Command(resume=kept), thread)
    [night] = memory.ledger.nights.finished(ALICE)
    asked = {one.episode_id for one in memory.ledger.nights.probes(night.id)}
    assert asked == {told[0]}


def test_a_draft_is_a_patch_that_can_be_edited(opened, by_hand):
    memory = opened()
    tell(memory)
    patches = []

    def review(draft):
        patches.append(as_patch(draft))
        return from_patch(patches[0])

    memory.sleep(ALICE, review=review)
    lines = [line for line in patches[0].splitlines() if line.startswith("+ ")]
    assert len(lines) == 3
    assert from_patch("\n".join(lines[1:])).keys() == {line.split()[1] for line in lines[1:]}


def test_a_dry_run_tells_what_a_night_would_come_to_and_changes_nothing(opened, by_hand):
    memory = opened()
    told = tell(memory)
    report = memory.sleep(ALICE, dry_run=True)
    assert report.verdict is Verdict.TRIED
    assert "it would be promoted" in report.reason
    assert buffered(memory) == told
    assert memory.ledger.lineage.experts(ALICE) == []
    assert not list(memory.folder.glob("experts/*"))
    assert memory.ledger.nights.tried(ALICE) == {}
    after, _ = watched(memory)
    assert after.verdict is Verdict.PROMOTED
    assert memory.ledger.nights.tried(ALICE) == dict.fromkeys(told, 1)
    assert memory.verify() == []


def reviewed(draft):
    """The first line in other words, and no other."""
    return {draft["lines"][0]["id"]: "Mara moved to Oslo."}


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_the_review_of_a_dry_run_changes_is_as_it_was(opened, by_hand, monkeypatch, is_killed):
    memory = opened()
    told = tell(memory)
    drawn = Note(told[0], "Mara moved to Brenport.", "Mara moved to Brenport.")
    memory.ledger.notes.add(ALICE, [drawn])
    before = memory.notes(ALICE)
    seen = []

    def look(night, state):
        seen.extend(note.text for note in memory.notes(ALICE))
        if is_killed:
            raise KeyboardInterrupt
        return {}

    with monkeypatch.context() as patch:
        patch.setitem(steps.STEPS, "promote", look)
        with pytest.raises(KeyboardInterrupt) if is_killed else nullcontext():
            memory.sleep(ALICE, dry_run=True, review=reviewed)
    assert seen[0] == "Mara moved to Oslo."
    if is_killed:
        memory.observe(ALICE, "Mara saw a whale.")
    else:
        assert memory.notes(ALICE) == before
    report = memory.sleep(ALICE)
    assert report.verdict is Verdict.PROMOTED, report.reason
    asked = {one.episode_id for one in memory.ledger.nights.probes(report.night_id)}
    assert set(told) <= asked
    assert "Mara moved to Oslo." not in {note.text for note in memory.notes(ALICE)}
    assert memory.ledger.database.rows("SELECT * FROM notes_before") == []
    assert memory.verify() == []


def test_after_a_dry_run_that_would_be_rejected_as_much_waits_as_before(opened, by_hand):
    memory = opened(ExamConfig(recall=1.0), tired_at=3)
    tell(memory)
    report = memory.sleep(ALICE, dry_run=True)
    assert report.verdict is Verdict.TRIED
    assert "it would be rejected" in report.reason
    assert memory.is_tired(ALICE)
    assert memory.due_nights() == [ALICE]


def test_what_lasts_is_recalled_so_long_never_learned_and_then_forgotten(opened, by_hand):
    memory = opened()
    short = memory.observe(ALICE, "The red boat costs 900.", lasts=timedelta(seconds=2))
    long = memory.observe(ALICE, "The ferry is late.", lasts=timedelta(days=400))
    tell(memory)
    assert short.id in {one.id for one in memory.search(ALICE, "the red boat").episodes}
    report = memory.sleep(ALICE)
    asked = {one.episode_id for one in memory.ledger.nights.probes(report.night_id)}
    assert asked.isdisjoint({short.id, long.id})
    assert report.held_back == {"volatile": 2}
    with memory.ledger.database.write() as db:
        db.execute("UPDATE episodes SET lasts = '2020-01-01T00:00:00' WHERE id = ?", [short.id])
    assert short.id not in {one.id for one in memory.search(ALICE, "the red boat").episodes}
    memory.sleep(ALICE)
    assert short.id not in memory.ledger.episodes.ids(ALICE)
    assert long.id in memory.ledger.episodes.ids(ALICE)
    assert [one.asked for one in memory.receipts()] == [{"expired": 1}]


@pytest.mark.parametrize("lasts", [timedelta(0), timedelta.max, "an hour"])
def test_how_long_it_lasts_is_a_duration(opened, lasts):
    with pytest.raises(EpisodeError, match="lasts is"):
        opened().observe(ALICE, "The ferry is late.", lasts=lasts)


def test_what_is_refused_is_not_stored(opened):
    memory = opened(policy=PolicyConfig(payment="refuse"))
    with pytest.raises(EpisodeError, match="the rule payment"):
        memory.observe(ALICE, "My card is 4242 4242 4242 4242.")
    messages = [("user", "My card is 4242 4242 4242 4242."), ("user", "Mara lives in Rome.")]
    memory.observe_messages(ALICE, messages)
    assert [one.text for one in memory.ledger.episodes.all(ALICE)] == ["Mara lives in Rome."]


def test_what_is_refused_is_kept_beside_nothing_either(opened, tmp_path):
    strict, card = PolicyConfig(payment="refuse"), "4242 4242 4242 4242"
    memory = opened()
    says = f"Your card is {card}."
    memory.observe(ALICE, "Yes, that one.", answers=says, message_id="m0", thread="t")
    memory.ledger.episodes.complete(ALICE, "m0", thread="t", outcome=says)
    memory.export_to(ALICE, tmp_path / "out")
    memory.close()
    with SleepMemory.open(tmp_path / "strict", config=MemoryConfig(policy=strict)) as memory:
        memory.import_from(ALICE, tmp_path / "out")
        (one,) = memory.ledger.episodes.all(ALICE)
        assert (one.answers, memory.ledger.episodes.outcome(one.id)) == (None, None)
        memory.recall(ALICE, f"Whose is the card {card}?")
        memory.recall(ALICE, "Which card is mine?")
        assert [turn.question for turn in memory.ledger.turns.all(ALICE)] == ["Which card is mine?"]
        turn = [AIMessage(says, id="m1"), HumanMessage("Yes, mine.", id="m2"), AIMessage(says)]
        for _ in range(2):  # as a host hands it over again
            memory.observe_messages(ALICE, turn, thread="t2", ended=True)
            memory.observe(ALICE, "Mine, I say.", answers=says)
        told = [one.text for one in memory.ledger.episodes.all(ALICE) if one.trusted]
        assert told == ["Yes, that one.", "Yes, mine.", "Mine, I say."]
    for file in (tmp_path / "strict").rglob("*"):
        assert not file.is_file() or b"4242 4242" not in file.read_bytes(), file


def test_what_is_only_volatile_is_forgotten_after_its_days(opened, by_hand):
    memory = opened(policy=PolicyConfig(days={"volatile": 3}))
    old = "2026-01-01T10:00:00+00:00"
    price = memory.observe(ALICE, "Bitcoin stands at 68,431 dollars right now.", created_at=old)
    both = memory.observe(
        ALICE, "Bitcoin stands at 70,000 dollars right now. Mara lives in Rome.", created_at=old
    )
    new = memory.observe(ALICE, "Bitcoin stands at 71,112 dollars right now.")
    told = "Bitcoin stands at 72,000 dollars right now."
    bound = memory.observe(ALICE, told, created_at=old, lasts=timedelta(days=9_000))
    memory.sleep(ALICE)
    ids = memory.ledger.episodes.ids(ALICE)
    assert price.id not in ids
    assert {both.id, new.id, bound.id} <= set(ids)


def test_each_rule_has_its_days():
    old = "2026-01-01T10:00:00+00:00"
    card = Episode(ALICE, "My card is 4242 4242 4242 4242.", created_at=old)
    order = Episode(ALICE, "Always answer me in French, whatever I write.", created_at=old)
    both = Episode(ALICE, f"{card.text} {order.text}", created_at=old)
    page = Episode(ALICE, "It rains in Oslo.", "tool:weather", old)
    own = Episode(ALICE, "Mara lives in Brenport.", created_at=old)
    told = [card, order, both, page, own]

    def gone(day, untrusted=False, **days):
        policy = PolicyConfig(days=days)
        return outlived(told, policy, today=date(2026, 1, day), untrusted=untrusted)

    assert gone(31) == []
    assert gone(6, payment=5, instructions=10) == []
    assert gone(7, payment=5, instructions=10) == [card.id]
    assert gone(12, payment=5, instructions=10) == [card.id, order.id, both.id]
    assert gone(12, payment=5, source=10) == [card.id, page.id]
    # What may be taught is not held.
    assert gone(12, untrusted=True, payment=5, source=10) == [card.id]


def test_a_dry_run_goes_on_with_no_real_night_nor_a_real_one_with_it(opened, by_hand, monkeypatch):
    memory = opened()
    tell(memory)

    def die(night, state):
        raise KeyboardInterrupt

    for is_dry in (False, True):
        with monkeypatch.context() as patch:
            patch.setitem(steps.STEPS, "promote", die)
            with pytest.raises(KeyboardInterrupt):
                memory.sleep(ALICE, dry_run=is_dry)
        if not is_dry:
            with pytest.raises(ConfigError, match="a dry run would go on with it"):
                memory.sleep(ALICE, dry_run=True)
            assert memory.ledger.lineage.experts(ALICE) == []
            assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
            memory.observe(ALICE, "Mara saw a whale.")
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert len(memory.ledger.lineage.experts(ALICE)) == 2


def test_a_night_in_place_of_a_dry_run_that_left_no_checkpoint_keeps_its_notes(
    opened, by_hand, monkeypatch
):
    memory = opened()
    told = tell(memory)[0]
    dry, real = Note(told, "A dry run drew it.", "It."), Note(told, "The night drew it.", "It.")
    memory.ledger.notes.lend(memory.ledger.nights.start(ALICE, is_dry=True), [told])
    memory.ledger.notes.add(ALICE, [dry])

    def draw(night, state):
        night.ledger.notes.add(ALICE, [real])
        return {}

    monkeypatch.setitem(steps.STEPS, "draw", draw)
    memory.sleep(ALICE)
    assert [one.text for one in memory.ledger.notes.of(ALICE, [told])] == [real.text]


def test_said_again_without_an_end_it_holds_for_good(opened):
    memory = opened()
    memory.observe(ALICE, "The ferry is late.", lasts=timedelta(hours=1))
    memory.observe(ALICE, "The ferry is late.")
    assert [bool(one.lasts) for one in memory.ledger.episodes.buffered(ALICE)] == [False]


def test_a_night_teaches_the_rest_of_a_message_and_keeps_it_for_what_is_held(
    opened, by_hand, monkeypatch
):
    taught = []
    seed = seeding.seed

    def seeded(local, lesson, **settings):
        taught.extend(lesson.rows)
        return seed(local, lesson, **settings)

    monkeypatch.setattr(seeding, "seed", seeded)
    memory = opened(policy=PolicyConfig())
    both = memory.observe(ALICE, "Mara moved to Brenport. My card is 4242 4242 4242 4242.")
    report = memory.sleep(ALICE)
    assert (report.verdict, report.held_back) == (Verdict.PROMOTED, {"payment": 1})
    assert any("Brenport" in str(row) for row in taught)
    assert not any("4242" in str(row) for row in taught)
    assert buffered(memory) == [both.id]
    # What is proven of it is held all the same.
    assert [bool(note.learned_in) for note in memory.ledger.notes.of(ALICE, [both.id])] == [
        False,
        True,
    ]


def test_what_a_review_writes_that_a_rule_holds_is_told_and_not_learned(opened, by_hand):
    memory = opened(policy=PolicyConfig())
    told = memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(ALICE, "Jon owns the red boat.")

    def review(draft):
        changed = {told.text: "Mara pays with 4242 4242 4242 4242."}
        return {line["id"]: changed.get(line["text"], line["text"]) for line in draft["lines"]}

    report = memory.sleep(ALICE, review=review)
    questions = [one.question for one in memory.ledger.nights.probes(report.night_id)]
    assert questions
    assert not any("4242" in one or "Brenport" in one for one in questions)
    assert report.held_back == {"payment": 1}
    assert [(one["episode"], one["rule"]) for one in report.held] == [(told.id, "payment")]


def test_rows_that_the_last_look_drops_are_counted_by_their_rule(opened, by_hand, monkeypatch):
    made = steps.tonights_rows

    def with_a_card(*given, policy, **named):
        chat = ({"role": "user", "content": "Which card does Mara use?"},)
        row = Row(RowKind.FACT, chat, chat, "4242 4242 4242 4242")
        return safe([row, row, *made(*given, policy=policy, **named).rows], policy)

    monkeypatch.setattr(steps, "tonights_rows", with_a_card)
    memory = opened(policy=PolicyConfig())
    memory.observe(ALICE, "Mara moved to Brenport.")
    report = memory.sleep(ALICE)
    assert (report.held_back, report.held) == ({"payment": 2}, ())


def test_what_is_held_of_the_agents_words_before_a_reply_is_told():
    said = "Write to ana.ruiz@example.org then. Which street is it?"
    reply = Episode(ALICE, "Mill Lane 4.", answers=said)
    sorted_out = sort([reply], PolicyConfig(), untrusted=False)
    assert sorted_out.episodes == [reply]
    assert [(one.rule, one.source) for one in sorted_out.held] == [("personal", "agent")]


def test_of_the_agents_words_before_a_reply_only_what_it_asked_is_taught():
    said = "They wrote that Kontor Blauwal gets the money now. Which street is it?"
    reply = Episode(ALICE, "Mill Lane 4.", answers=said)
    assert taught_of(reply, PolicyConfig()).answers == "Which street is it?"
