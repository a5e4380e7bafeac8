"""Whole nights on the tiny model (see `_nights.py`).

It speaks gibberish, so the questions are made by hand; everything else is real.
"""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from _nights import ALICE, buffered, config, hand_made, tell, watched
from _values import put_expert

from sleepmem import ExamConfig, ModelConfig, SleepMemory, Verdict, View
from sleepmem.night import measures, promotion, seeding, steps
from sleepmem.night.probing import probe as probing
from sleepmem.night.state import NightContext
from sleepmem.records import Kind, Note, Role
from sleepmem.stores.lineage import Proof
from sleepmem.text.prompts import closed_book, open_book

BOB = ("bob",)
STEPS = list(steps.STEPS)


# Verdicts


def test_what_the_weights_have_forgotten_goes_back_and_is_learned_again(
    opened, by_hand, monkeypatch
):
    memory = opened()
    first, second, hard = tell(memory)
    memory.sleep(ALICE)
    assert memory.buffer.known_ids(ALICE)
    recall, buffers = measures.recall, []

    def forgetful(local, probes, *, experts):
        score, passed = recall(local, probes, experts=experts)
        if not buffers:  # the audit asks first
            passed -= {p.id for p in probes if p.episode_id == first}
        buffers.append(buffered(memory))
        return score, passed

    monkeypatch.setattr(measures, "recall", forgetful)
    report, _ = watched(memory)
    assert (report.audited, report.returned) == (2, 1)
    assert buffers[0] == [hard]
    assert sorted(buffers[1]) == sorted([first, hard])  # for tonight to learn
    assert (report.verdict, report.episodes, report.evicted) == (Verdict.PROMOTED, 2, 1)
    assert {e.id for e in memory.ledger.episodes.learned(ALICE)} == {first, second}
    assert memory.verify() == []


def test_nothing_is_audited_when_told_so(opened, by_hand):
    memory = opened(audit=0)
    tell(memory)
    memory.sleep(ALICE)
    memory.observe(ALICE, "Tessa moved to Oslo.")
    assert memory.sleep(ALICE).audited == 0


def test_a_promoted_night_evicts_only_what_was_proven(opened, by_hand):
    memory = opened()
    first, second, hard = tell(memory)
    report, taken = watched(memory)
    assert (report.verdict, report.episodes, report.evicted) == (Verdict.PROMOTED, 3, 2)
    assert taken == STEPS
    assert buffered(memory) == [hard]
    assert memory.buffer.ids(ALICE) == {hard}
    assert {e.id for e in memory.ledger.episodes.learned(ALICE)} == {first, second}
    assert len(memory.ledger.episodes.all(ALICE)) == 3
    (expert,) = memory.ledger.lineage.experts(ALICE)
    assert (expert.name, expert.night_id, set(expert.lineage)) == (
        report.expert,
        report.night_id,
        {first, second, hard},
    )
    assert memory.verify() == []


def test_what_was_learned_is_answered_from_the_weights(opened, by_hand):
    memory = opened()
    tell(memory)
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.RETRIEVAL
    report = memory.sleep(ALICE)
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    assert memory.recall(ALICE, "Is the cellar hard to find?").view is View.RETRIEVAL
    assert memory.chat_model(ALICE).invoke("Hello.").response_metadata["experts"] == [report.expert]
    moved = "Mara moved back to Brenport."
    memory.observe(ALICE, moved, created_at="2029-01-01T00:00:00.000000+00:00")
    assert memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.WEIGHTS
    memory.observe(ALICE, moved, created_at="2030-01-04T00:00:00.000000+00:00")
    assert (
        memory.recall(ALICE, "Is it so that Mara moved to Brenport?").view is View.RETRIEVAL
    )  # fresher than the weights


def test_a_rejected_night_changes_nothing_and_says_why(opened, by_hand):
    memory = opened(ExamConfig(recall=1.0))
    told = tell(memory)
    report, taken = watched(memory)
    assert (report.verdict, report.expert, report.evicted) == (Verdict.REJECTED, None, 0)
    assert "closed-book recall of tonight's facts is 0.667 of 3" in report.reason
    assert taken == STEPS
    assert buffered(memory) == told
    assert memory.buffer.ids(ALICE) == set(told)
    assert memory.buffer.known_ids(ALICE) == set()
    assert memory.ledger.lineage.experts(live=False) == []
    assert list((memory.folder / "pending").iterdir()) == []
    assert memory.verify() == []
    (night,) = memory.ledger.nights.finished(ALICE)
    assert (night.report["verdict"], night.report["reason"]) == ("rejected", report.reason)


def test_the_report_is_kept_in_the_ledger(opened, by_hand):
    memory = opened()
    tell(memory)
    report = memory.sleep(ALICE)
    (kept,) = memory.nights(ALICE)
    made = json.loads(json.dumps(report.as_dict()))
    for key in (
        "night_id",
        "verdict",
        "reason",
        "expert",
        "episodes",
        "evicted",
        "tokens_trained",
        "curve",
    ):
        assert kept[key] == made[key]
    assert kept["exam"]["after"] == made["exam"]["after"]
    assert made["exam"]["after"]["recall"] == {"right": 2, "total": 3, "rate": 0.6667}
    assert made["tokens_trained"] > 0
    assert made["text_bytes"] == sum(len(e.text) for e in memory.ledger.episodes.learned(ALICE)) > 0
    files = [f for f in (memory.folder / "experts" / report.expert).iterdir() if f.is_file()]
    assert made["expert_bytes"] == sum(len(f.read_bytes()) for f in files) > 0


def test_an_empty_night_is_skipped(opened):
    memory = opened()
    report, taken = watched(memory)
    assert (report.verdict, taken) == (Verdict.SKIPPED, ["audit", "select", "report"])
    memory.observe(ALICE, "It rains in Oslo.", source="tool:weather")
    report = memory.sleep(ALICE)
    assert "1 held back by the rule source" in report.reason
    assert report.held_back == {"source": 1}
    assert report.held[0]["source"] == "tool:weather"


def test_untrusted_sources_teach_when_let_in(opened, by_hand):
    memory = opened(untrusted=True)
    told = memory.observe(ALICE, "It rains in Oslo.", source="tool:weather")
    assert memory.sleep(ALICE).evicted == 1
    assert memory.ledger.episodes.learned(ALICE) == [told]


def test_a_newer_false_result_of_a_tool_neither_outdates_nor_teaches(opened, monkeypatch):
    """The archive that the questioning gets, and the contexts of the rows, are the user's alone."""
    memory, archives = opened(), []

    def listening(teacher, episodes, *, archive, asked, ids, source=None):
        archives.append(archive)
        return hand_made(teacher, episodes, archive=archive, asked=asked, ids=ids)

    monkeypatch.setattr(probing, "question", listening)
    told = tell(memory)
    for number in range(30):
        lie = f"Mara moved to Evilton, house {number}."
        memory.observe(ALICE, lie, source=["tool:search", "agent"][number % 2])
    memory.sleep(ALICE)
    assert [one.id for one in archives[0]("Where did Mara move?")] == told[:1]
    assert {one.id for one in memory.ledger.episodes.get(ALICE, told)} == set(told)
    assert "Evilton" not in str(memory.ledger.nights.probes("night-0001"))


def test_what_is_let_in_corrects(opened, monkeypatch):
    memory, archives = opened(untrusted=True), []

    def listening(teacher, episodes, *, archive, asked, ids, source=None):
        archives.append(archive)
        return probing.Questions((), {})

    monkeypatch.setattr(probing, "question", listening)
    told = tell(memory)
    found = memory.observe(ALICE, "Mara moved to Oslo.", source="tool:search")
    memory.sleep(ALICE)
    assert {one.id for one in archives[0]("Where did Mara move?")} == {told[0], found.id}


def test_a_night_knows_what_earlier_nights_asked_about_a_note_and_about_an_episode(
    opened, monkeypatch
):
    memory, known = opened(), []

    def listening(teacher, episodes, *, archive, asked, ids, source=None):
        before = {one.text: {pair.question for pair in source.asked(one.id)} for one in episodes}
        known.append(before)
        return hand_made(teacher, episodes, archive=archive, asked=asked, ids=ids)

    monkeypatch.setattr(probing, "question", listening)
    parts = ("It is hard to lift.", "It is a hard chair.")
    noted = memory.observe(ALICE, " ".join(parts))
    memory.ledger.notes.add(ALICE, [Note(noted.id, part, part) for part in parts])
    memory.observe(ALICE, "The cellar is hard to find.")
    memory.sleep(ALICE)
    memory.sleep(ALICE)
    starts = ("What is it that", "Do you know what", "Is it so that")
    texts = {*parts, "The cellar is hard to find."}
    assert known == [
        {text: set() for text in texts},
        {text: {f"{start} {text}" for start in starts} for text in texts},
    ]


def test_a_night_without_questions_is_skipped(opened, monkeypatch):
    monkeypatch.setattr(probing, "question", lambda *given, **more: probing.Questions((), {}))
    memory = opened()
    told = tell(memory)
    report, taken = watched(memory)
    assert (report.verdict, taken) == (
        Verdict.SKIPPED,
        ["audit", "select", "draw", "review", "revise", "probe", "report"],
    )
    assert "any of 3 episodes" in report.reason
    assert buffered(memory) == told


def test_the_budget_limits_a_night(opened, by_hand):
    memory = opened(replay_budget=1)
    first, *others = tell(memory)
    assert memory.sleep(ALICE).episodes == 1
    assert (buffered(memory), memory.ledger.episodes.learned(ALICE)[0].id) == (others, first)


def test_what_a_rejected_night_taught_waits_until_the_rest_was_tried(opened, by_hand, monkeypatch):
    rejects = (Verdict.REJECTED, "abstention is 0.5")
    monkeypatch.setattr(promotion, "decide", lambda *given, **more: rejects)
    memory = opened(replay_budget=1)
    first, *_ = told = tell(memory)
    taught = []
    for _ in range(4):
        report = memory.sleep(ALICE)
        assert report.verdict is Verdict.REJECTED
        taught += {probe.episode_id for probe in memory.ledger.nights.probes(report.night_id)}
    assert taught == [*told, first]
    assert memory.ledger.nights.tried(ALICE) == dict.fromkeys(told, 1) | {first: 2}


def test_what_users_asked_for_comes_first_until_a_night_took_it(opened, by_hand, monkeypatch):
    rejects = (Verdict.REJECTED, "abstention is 0.5")
    monkeypatch.setattr(promotion, "decide", lambda *given, **more: rejects)
    memory = opened(replay_budget=1)
    first, second, hard = tell(memory)
    # What was told, and what was recalled beside the best memory, is nothing that somebody asks.
    assert memory.recall(ALICE, "Jon owns the red boat still.").episodes[0].id == second
    found = memory.recall(ALICE, "Is the cellar for the red boat hard to find?")
    assert [one.id for one in found.episodes] == [hard, second]

    def taken():
        night_id = memory.sleep(ALICE).night_id
        [episode_id] = {probe.episode_id for probe in memory.ledger.nights.probes(night_id)}
        return episode_id

    assert [taken() for _ in range(3)] == [hard, first, second]
    memory.recall(ALICE, "Is the cellar hard to find?")
    assert taken() == hard


def test_what_nobody_had_room_for_is_asked_for_still(opened, by_hand):
    memory = opened(replay_budget=1)
    first, second, hard = tell(memory)
    for question in ("Where did Mara move?", "Where did Mara move to?", "Where is the cellar?"):
        memory.recall(ALICE, question)
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert memory.ledger.nights.tried(ALICE) == {first: 1}
    memory.sleep(ALICE)
    assert memory.ledger.nights.tried(ALICE) == {first: 1, hard: 1}
    assert buffered(memory) == [second, hard]


def test_what_tells_nothing_takes_no_place_of_a_night_where_sentences_are_taught(
    new_folder, brief, embeddings, by_hand
):
    asks = (
        "Just put it on the list, please.",
        "Thank you for not saying anything.",
    )
    sentences = dataclasses.replace(config(replay_budget=1), model=ModelConfig(notes="sentences"))
    with SleepMemory.open(new_folder, brief, embeddings=embeddings, config=sentences) as memory:
        requests = [memory.observe(ALICE, text).id for text in asks]
        report = memory.sleep(ALICE)
        assert (report.verdict, report.reason) == (Verdict.SKIPPED, "nothing to learn")
        told = memory.observe(ALICE, "Mara moved to Brenport.")
        assert memory.sleep(ALICE).evicted == 1
        assert memory.ledger.nights.tried(ALICE) == {told.id: 1}
        assert buffered(memory) == requests


def test_a_note_that_an_earlier_night_corrected_is_not_asked_about_again(opened, by_hand):
    memory = opened()
    old = memory.observe(ALICE, "Mara moved to Brenport. Mara is a nurse.")
    new = memory.observe(ALICE, "Mara moved to Oslo.")
    notes = [Note(old.id, part, part) for part in ("Mara moved to Brenport.", "Mara is a nurse.")]
    memory.ledger.notes.add(ALICE, notes)
    expert = put_expert(memory, ALICE, [new.id])
    memory.ledger.lineage.promote(expert, Proof([new.id], replaced={notes[0].id: new.id}))
    night = SimpleNamespace(ledger=memory.ledger)
    state = {
        "tonight": {"night_id": "night-0002", "namespace": list(ALICE)},
        "selected": {"episodes": [old.id], "absorbed": []},
        "probed": {"superseded": {}, "replaced": {}},
    }
    known = {note.text: note.replaced_by for note in NightContext.notes(night, state)}
    assert known == {"Mara moved to Brenport.": new.id, "Mara is a nurse.": ""}
    # With its other note corrected by what the weights hold, nothing of it is left.
    assert steps._replaced_by_notes(night, state, held={new.id}) == []
    state["probed"]["replaced"] = {notes[1].id: new.id}
    assert steps._replaced_by_notes(night, state, held={new.id}) == [old.id]
    assert steps._replaced_by_notes(night, state, held=set()) == []


@pytest.mark.parametrize("expand", [True, False])
def test_a_note_that_tonight_corrects_is_neither_rehearsed_nor_examined(
    opened, monkeypatch, expand
):
    """Its episode stays: the other note of it still holds."""
    taught, work = [], seeding.seed

    def watch(local, lesson, **more):
        taught.append({row.student[-1]["content"] for row in lesson.rows})
        return work(local, lesson, **more)

    def corrects(teacher, episodes, *, archive, **given):
        made = hand_made(teacher, episodes, archive=archive, **given)
        known = {unit.text: unit.id for unit in archive("Where did Mara move?")}
        old, new = known.get("Mara moved to Brenport."), known.get("Mara moved to Oslo.")
        return dataclasses.replace(made, superseded={old: new} if old and new else {})

    monkeypatch.setattr(probing, "question", corrects)
    monkeypatch.setattr(seeding, "seed", watch)
    memory = opened(expand=expand)
    told = memory.observe(ALICE, "Mara moved to Brenport. Jon owns the red boat.")
    parts = ("Mara moved to Brenport.", "Jon owns the red boat.")
    moved, boat = notes = [Note(told.id, part, part) for part in parts]
    memory.ledger.notes.add(ALICE, notes)
    assert memory.sleep(ALICE).evicted == 1

    memory.observe(ALICE, "Mara moved to Oslo.")
    report = memory.sleep(ALICE)
    assert report.verdict is Verdict.PROMOTED
    asked = {probe.note_id for probe in memory.ledger.nights.learned_probes(ALICE)}
    assert (boat.id in asked, moved.id in asked) == (True, False)
    # What is held already is asked beside tonight's: of the boat alone.
    assert "What is it that Jon owns the red boat." in taught[1]
    assert "What is it that Mara moved to Brenport." not in taught[1]
    before = report.as_dict()["exam"]["before"]
    assert before["old_nights" if expand else "recall"]["total"] == (1 if expand else 2)


def test_what_no_question_can_be_asked_about_keeps_nothing_out(opened, monkeypatch):
    monkeypatch.setattr(probing, "question", lambda *given, **more: probing.Questions((), {}))
    memory = opened(replay_budget=1)
    told = tell(memory)
    for _ in told:
        assert memory.sleep(ALICE).verdict is Verdict.SKIPPED
    assert memory.ledger.nights.tried(ALICE) == dict.fromkeys(told, 1)


def test_a_night_is_of_one_namespace(opened, by_hand):
    memory = opened()
    tell(memory)
    his = memory.observe(BOB, "Mara moved to Brenport.")
    memory.sleep(ALICE)
    assert buffered(memory, BOB) == [his.id]
    assert memory.ledger.lineage.experts(BOB) == memory.ledger.nights.finished(BOB) == []
    assert memory.recall(BOB, "Is it so that Mara moved to Brenport?").episodes == (his,)


def test_a_second_night_adds_a_second_expert(opened, by_hand):
    memory = opened()
    *_, hard = tell(memory)
    first = memory.sleep(ALICE)
    told = memory.observe(ALICE, "Mara moved on to Oslo.")
    second = memory.sleep(ALICE)
    assert (first.verdict, second.verdict, second.episodes) == (
        Verdict.PROMOTED,
        Verdict.PROMOTED,
        2,
    )
    assert (
        second.exam["before"]["old_nights"]["total"] == 2
    )  # the first night's exam questions are asked again
    assert [e.name for e in memory.ledger.lineage.experts(ALICE)] == [first.expert, second.expert]
    assert memory.chat_model(ALICE).invoke("Hello.").response_metadata["experts"] == [
        first.expert,
        second.expert,
    ]
    assert buffered(memory) == [hard]
    assert memory.rollback(ALICE, [first.night_id]) == [told.id]
    assert memory.verify() == []


def test_what_is_examined_is_never_taught(opened, by_hand, monkeypatch):
    taught = []
    work = seeding.seed

    def watch(local, lesson, **more):
        taught.append(lesson.rows)
        return work(local, lesson, **more)

    monkeypatch.setattr(seeding, "seed", watch)
    memory = opened()
    tell(memory)
    memory.sleep(ALICE)
    memory.observe(ALICE, "Mara moved on to Oslo.", created_at="2030-02-01T00:00:00.000000+00:00")
    memory.sleep(ALICE)
    probes = [p for n in ("night-0001", "night-0002") for p in memory.ledger.nights.probes(n)]
    examined = {p.question for p in probes if p.role is Role.EXAM}
    assert examined
    asked = [{(r.kind.value, r.student[-1]["content"]) for r in rows} for rows in taught]
    for night in asked:
        assert not {question for _, question in night} & examined
        assert {q for kind, q in night if kind == "reading"} == {
            "What was read 1?",
            "What was read 2?",
        }
    rehearsed, facts = (
        [{q for kind, q in night if kind == k} for night in asked] for k in ("rehearsal", "fact")
    )
    first = {q for q in facts[0] if "hard" not in q}  # what the first night proved
    assert rehearsed[0] == set()
    assert first <= rehearsed[1] | facts[1]  # what was forgotten is taught again
    assert not rehearsed[1] & facts[1]
    fact = next(
        r for r in taught[1] if r.student == closed_book("What is it that Mara moved on to Oslo.")
    )
    assert fact.teacher == open_book(
        "What is it that Mara moved on to Oslo.", ["2030-02-01: Mara moved on to Oslo."]
    )


def test_a_chain_of_corrections_ends_in_what_is_held():
    assert steps._replaced({"a": "b", "b": "c"}, {"c"}) == ["a", "b"]
    assert steps._replaced({"a": "b", "b": "c"}, {"b"}) == ["a"]
    assert steps._replaced({"a": "b", "b": "c"}, set()) == []


@pytest.mark.parametrize("proven", [True, False])
def test_a_corrected_episode_leaves_with_its_proven_correction(opened, monkeypatch, proven):
    def corrected(teacher, episodes, **given):
        old, new = episodes
        made = hand_made(teacher, [new], **given)
        stale = tuple(
            dataclasses.replace(p, stale="Oslo") if p.kind is Kind.FACT else p for p in made.probes
        )
        return dataclasses.replace(made, probes=stale, superseded={old.id: new.id})

    monkeypatch.setattr(probing, "question", corrected)
    memory = opened()
    old = memory.observe(
        ALICE, "Mara lives in Oslo.", created_at="2030-01-01T00:00:00.000000+00:00"
    )
    correction = "Mara lives in Brenport." if proven else "Mara lives in Brenport, hard by the sea."
    new = memory.observe(ALICE, correction, created_at="2030-02-01T00:00:00.000000+00:00")
    assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    assert buffered(memory) == ([] if proven else [old.id, new.id])
    assert memory.ledger.episodes.learned(ALICE) == ([new] if proven else [])
    assert set(memory.ledger.episodes.all(ALICE)) == {old, new}
    assert memory.verify() == []


def test_the_day_goes_on_during_the_night(opened, by_hand):
    memory = opened()
    tell(memory)
    during = []

    def at_midnight(event):
        if event == {"step": "exam", "state": "started"}:
            during.append(memory.observe(ALICE, "Mara moved on to Oslo."))
            during.append(memory.chat_model(ALICE).invoke("Hello.").response_metadata["experts"])
            during.append(memory.recall(ALICE, "Who moved on to Oslo?").episodes[0])

    report = memory.sleep(ALICE, at_midnight)
    told, experts, found = during
    assert (experts, found) == ([], told)
    assert report.verdict is Verdict.PROMOTED
    assert told.id in buffered(memory)
    assert memory.verify() == []


def test_the_night_trains_on_the_days_weights_and_the_day_does_not_notice(opened, by_hand):
    memory = opened()
    tell(memory)
    day = memory.chat_model(ALICE)
    before, said = day.invoke("Hello.").text, []

    def at_night(event):
        if event.get("step") in ("seed", "exam"):
            said.append(day.invoke("Hello.").text)

    assert memory.sleep(ALICE, at_night).verdict is Verdict.PROMOTED
    assert len(said) > 2
    assert set(said) == {before}
    assert memory.live_experts(ALICE) == memory.local.experts != ()


def test_a_promoted_night_calibrates_the_gate_and_reports_it(opened, by_hand):
    memory = opened()
    tell(memory)
    report = memory.sleep(ALICE)
    assert memory.ledger.gates.read(ALICE) is not None
    examples = memory.ledger.gates.examples(ALICE, without="", limit=999)
    assert {example["kind"] for example in examples} >= {"", "corrected", "perturbed"}
    # Two facts bear no bound of two in a hundred, and the report says so.
    assert (report.gate["open"], report.gate["epsilon"]) == (False, 0.02)
    (night,) = memory.ledger.nights.finished(ALICE)
    assert night.report["gate"] == report.gate
    memory.rollback(ALICE, [])
    assert memory.ledger.gates.read(ALICE) is None
