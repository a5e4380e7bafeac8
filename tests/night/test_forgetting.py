"""What is forgotten is gone: from the ledger, the weights, the files, down to the bytes."""

import json
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from _nights import ALICE, LEVELS, buffered, watched
from _values import put_expert
from langchain_core.messages import AIMessage, HumanMessage

from sleepmem import EpisodeError, ExpertError, FolderError, FolderLocked, Verdict
from sleepmem.records import View
from sleepmem.stores.lineage import Proof
from sleepmem.stores.nights import promoted

BOB = ("bob",)
SECRET = "Ottilie's number is 555-0199-xyzzy."


def told(memory, number, text, owner=ALICE):
    at = f"2030-01-{number:02d}T00:00:00.000000+00:00"
    return memory.observe(owner, text, created_at=at).id


def learned(memory):
    """Three nights: a fact, a secret, another fact; what was told to whom."""
    ids = []
    for number, text in enumerate(("Mara saw whale 1.", SECRET, "Mara saw whale 3."), start=1):
        ids.append(told(memory, number, text))
        watched(memory)
    return ids


def bytes_with(memory, *words):
    """Files of the folder that have one of the words, in any case."""
    found = []
    for file in memory.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower()
            found += [file.name for word in words if word.lower().encode() in content]
    return found


def test_what_is_forgotten_leaves_no_byte_and_no_expert_that_saw_it(opened, by_hand):
    memory = opened()
    first, secret, third = learned(memory)
    assert memory.ask(ALICE, "What is Ottilie's number?").text is not None
    told(memory, 9, "Bob saw whale 9.", owner=BOB)
    assert bytes_with(memory, "xyzzy")
    done = memory.forget(ALICE, episodes=[secret])
    assert bytes_with(memory, "xyzzy", "ottilie") == []

    # The first night never saw it; the second learned it, and the third rehearsed it.
    live = memory.ledger.lineage.experts(ALICE)
    assert [expert.night_id for expert in live] == ["night-0001"]
    assert len(done.receipt.experts) == 2
    assert [folder.name for folder in (memory.folder / "experts").iterdir()] == [live[0].name]
    assert {one.id for one in memory.ledger.episodes.learned(ALICE)} == {first}
    assert buffered(memory) == [third]
    assert memory.ledger.episodes.count(ALICE) == 2
    assert memory.verify() == []

    # What went back is answered by retrieval at once, and learned again by the next night.
    recalled = memory.recall(ALICE, "Which whale did Mara see, whale 3?")
    assert recalled.view is View.RETRIEVAL
    assert third in [one.id for one in recalled.episodes]
    watched(memory)
    assert {one.id for one in memory.ledger.episodes.learned(ALICE)} == {first, third}
    assert memory.verify() == []
    assert [one.id for one in memory.ledger.episodes.all(BOB)]


def test_a_receipt_says_what_was_done_without_a_word_of_it(opened, by_hand):
    memory = opened()
    _, secret, _ = learned(memory)
    receipt = memory.forget(ALICE, episodes=[secret]).receipt
    assert receipt.asked == {"episodes": 1}
    assert receipt.removed["episodes"] == 1
    assert receipt.removed["probes"] >= 4
    assert receipt.returned == 1
    assert receipt.proof["asked"] == 3
    assert receipt.proof["after"] <= receipt.proof["before"] <= 3
    assert "xyzzy" not in json.dumps(receipt.as_dict())
    second = memory.forget(ALICE, about="Which whale did Mara see, whale 3?").receipt
    assert second.previous == receipt.sha256
    assert "whale" not in json.dumps(second.as_dict())
    assert memory.receipts() == [receipt, second]
    assert memory.verify() == []
    with memory.ledger.database.write() as db:
        db.execute("UPDATE receipts SET returned = 0 WHERE number = 1")
    assert "receipt 1 is not what was written" in memory.verify()[0]
    with memory.ledger.database.write() as db:
        db.execute("DELETE FROM receipts WHERE number = 2")
        db.execute("UPDATE receipts SET returned = ? WHERE number = 1", [receipt.returned])
    assert any("receipts were deleted after receipt 1" in fault for fault in memory.verify())


def test_a_dry_run_tells_what_would_go_and_changes_nothing(opened, by_hand):
    memory = opened()
    _, secret, _ = learned(memory)
    before = memory.status()
    planned = memory.forget(ALICE, episodes=[secret], dry_run=True)
    assert planned.receipt is None
    assert [one.text for one in planned.erasure.episodes] == [SECRET]
    assert [one.night_id for one in planned.erasure.experts] == ["night-0002", "night-0003"]
    assert memory.status() == before
    assert memory.receipts() == []


def test_an_expert_is_refused_whose_episode_was_deleted_by_hand(opened, by_hand):
    memory = opened()
    _, secret, _ = learned(memory)
    with memory.ledger.database.write() as db:
        db.execute("DELETE FROM episodes WHERE id = ?", [secret])
    assert any("was taught by 1 episodes that are not" in fault for fault in memory.verify())
    with pytest.raises(ExpertError, match="are not in the ledger any more"):
        opened()
    with type(memory).open(memory.folder, check_experts=False) as memory:
        memory.rollback(ALICE, ["night-0001"])
        assert [one.night_id for one in memory.ledger.lineage.experts(ALICE)] == ["night-0001"]
    opened()


def test_what_was_never_slept_over_costs_no_expert(opened, by_hand):
    memory = opened()
    learned(memory)
    new = told(memory, 8, "Zorin is 7.")
    done = memory.forget(ALICE, episodes=[new])
    assert done.receipt.experts == ()
    assert len(memory.ledger.lineage.experts(ALICE)) == 3
    assert bytes_with(memory, "zorin") == []


def test_a_slow_expert_that_absorbed_one_goes_with_it(opened, by_hand):
    memory = opened(levels=LEVELS[:2])
    first, secret, _ = learned(memory)
    memory.forget(ALICE, episodes=[secret])
    live = memory.ledger.lineage.experts(ALICE)
    assert [(one.level, one.night_id) for one in live] == [("fast", "night-0001")]
    assert {one.id for one in memory.ledger.episodes.learned(ALICE)} == {first}
    assert memory.verify() == []


def test_what_is_said_again_and_what_quotes_it_goes_too(opened, by_hand):
    memory = opened()
    once = told(memory, 1, SECRET)
    again = told(memory, 2, SECRET)
    reply = memory.observe(ALICE, "Yes, that one.", answers=f"Is it true that {SECRET}").id
    other = told(memory, 3, "Mara saw whale 3.")
    planned = memory.forget(ALICE, episodes=[again], dry_run=True).erasure
    assert {one.id for one in planned.episodes} == {once, again}
    assert [one.id for one in planned.quoting] == [reply]
    memory.forget(ALICE, episodes=[again])
    assert [one.id for one in memory.ledger.episodes.all(ALICE)] == [other]
    assert bytes_with(memory, "xyzzy") == []


def test_all_ways_to_choose(opened, by_hand):
    memory = opened()
    first, secret, third = learned(memory)
    planned = memory.forget(ALICE, before="2030-01-03", dry_run=True).erasure
    assert {one.id for one in planned.episodes} == {first, secret}
    planned = memory.forget(ALICE, everything=True, dry_run=True).erasure
    assert {one.id for one in planned.episodes} == {first, secret, third}
    for wrong, said in (
        ({}, "nothing was chosen"),
        ({"episodes": ["no"]}, "there is no episode 'no'"),
        ({"notes": ["no"]}, "there is no note 'no'"),
        ({"before": "soon"}, "must be a date"),
    ):
        with pytest.raises(EpisodeError, match=said):
            memory.forget(ALICE, **wrong)
    with pytest.raises(EpisodeError, match="there is no episode"):
        memory.forget(BOB, episodes=[secret])
    memory.forget(ALICE, everything=True)
    assert memory.ledger.episodes.all(ALICE) == []
    assert memory.ledger.lineage.experts(ALICE, live=False) == []
    assert memory.verify() == []


def test_nothing_is_forgotten_while_a_night_runs_or_the_folder_is_read_only(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    with memory._opened.night(ALICE), pytest.raises(FolderLocked):
        memory.forget(ALICE, episodes=[secret])
    assert memory.ledger.episodes.count(ALICE) == 1
    with (
        type(memory).open(memory.folder, read_only=True) as reading,
        pytest.raises(FolderError, match="read only"),
    ):
        reading.forget(ALICE, episodes=[secret])


def test_what_would_change_under_a_night_is_refused_at_once_and_other_owners_wait_for_none(
    opened, by_hand, tmp_path
):
    memory, threads = opened(), ThreadPoolExecutor()
    secret, bobs = told(memory, 1, SECRET), told(memory, 9, "Bob saw quokka 9.", owner=BOB)
    (tmp_path / "notes.md").write_text("- Mara lives in Brenport.")
    changes = {
        "forget": lambda: memory.forget(ALICE, episodes=[secret]),
        "rollback": lambda: memory.rollback(ALICE, []),
        "import": lambda: memory.import_from(ALICE, tmp_path / "notes.md"),
        "bob": lambda: memory.forget(BOB, episodes=[bobs]),
    }
    came = {}

    def change(event):
        if (event.get("step"), event.get("state")) == ("seed", "started"):
            for what, call in changes.items():
                came[what] = threads.submit(call).exception(timeout=10)

    report = memory.sleep(ALICE, on_event=change)
    assert report.verdict is Verdict.PROMOTED, report.reason
    assert {what: type(error) for what, error in came.items()} == {
        "forget": FolderLocked,
        "rollback": FolderLocked,
        "import": FolderLocked,
        "bob": type(None),
    }
    assert bytes_with(memory, "quokka") == []
    assert memory.ledger.episodes.count(ALICE) == 1
    assert memory.verify() == []


def test_what_was_rolled_back_stays_so_and_nothing_is_forgotten_by_nothing(opened, by_hand):
    memory = opened()
    learned(memory)
    memory.rollback(ALICE, ["night-0001"])
    new = told(memory, 8, "Zorin is 7.")
    memory.forget(ALICE, episodes=[new])
    assert [one.night_id for one in memory.ledger.lineage.experts(ALICE)] == ["night-0001"]
    assert memory.forget(ALICE, before="2001-01-01").receipt is None
    assert len(memory.receipts()) == 1


def test_a_damaged_expert_keeps_nothing_from_being_forgotten(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    watched(memory)
    for file in (memory.folder / "experts").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    memory = opened_again(memory)
    receipt = memory.forget(ALICE, episodes=[secret]).receipt
    assert receipt.proof == {}
    assert memory.ledger.episodes.count(ALICE) == 0
    memory.close()


def test_a_model_that_is_not_installed_keeps_nothing_from_being_forgotten(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    watched(memory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sleepmem.night.forgetting", None)
        receipt = memory.forget(ALICE, episodes=[secret]).receipt
    assert receipt.proof == {}
    assert bytes_with(memory, "xyzzy") == []


def opened_again(memory):
    memory.close()
    return type(memory).open(memory.folder, check_experts=False)


def test_a_message_that_was_forgotten_is_not_stored_by_the_next_turn(opened, by_hand):
    memory = opened()
    talk = [HumanMessage(SECRET, id="m1"), AIMessage("Noted.", id="m2")]
    memory.observe_messages(ALICE, talk, thread="t")
    (one,) = memory.ledger.episodes.all(ALICE)
    memory.forget(ALICE, episodes=[one.id])
    talk.append(HumanMessage("It rains in Brenport today.", id="m3"))
    memory.observe_messages(ALICE, talk, thread="t")
    texts = [episode.text for episode in memory.ledger.episodes.all(ALICE)]
    assert texts == ["It rains in Brenport today."]
    assert bytes_with(memory, "xyzzy") == []


def test_common_words_are_found_where_they_are_quoted_word_for_word(opened, by_hand):
    memory = opened()
    plain = "I have cancer and I am pregnant."
    memory.recall(ALICE, plain)  # as every turn does, which logs it
    one = told(memory, 1, plain)
    other = told(memory, 2, "I am well and I have a cat.")
    memory.forget(ALICE, episodes=[one])
    assert bytes_with(memory, "pregnant") == []
    assert [episode.id for episode in memory.ledger.episodes.all(ALICE)] == [other]


def test_who_quotes_is_quoted_in_turn_and_questions_are_no_other_source(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    told(memory, 2, "Is it 555-0199-xyzzy that is Ottilie's number?")
    memory.observe(ALICE, "The note says 555-0199-xyzzy in the drawer.", source="tool:files")
    memory.observe(ALICE, "Yes.", answers="Is it in the drawer that says 555-0199-xyzzy?")
    memory.forget(ALICE, episodes=[secret])
    assert memory.ledger.episodes.all(ALICE) == []
    assert bytes_with(memory, "xyzzy") == []


def test_what_a_reader_kept_from_being_written_anew_is_finished_later(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    watched(memory)
    reader = sqlite3.connect(memory.ledger.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM episodes").fetchone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sleepmem.stores.database.BUSY_SECONDS", 0)
        with pytest.raises(FolderError):
            memory.forget(ALICE, episodes=[secret])
    assert any("bytes of what was forgotten" in fault for fault in memory.verify())
    reader.close()
    memory.reconcile()
    assert memory.verify() == []
    assert bytes_with(memory, "xyzzy") == []


def test_an_index_on_a_server_that_is_not_here_is_no_place_to_forget(opened, by_hand):
    memory = opened()
    secret = told(memory, 1, SECRET)
    (memory.folder / "index.server").touch()
    memory = opened()
    with pytest.raises(FolderError, match="chroma_client"):
        memory.forget(ALICE, episodes=[secret])
    assert memory.ledger.episodes.count(ALICE) == 1


def over(memory, text, **given):
    """What is told for an hour, a day ago; its id."""
    told = memory.observe(ALICE, text, lasts=timedelta(hours=1), **given)
    with memory.ledger.database.write() as db:
        db.execute("UPDATE episodes SET lasts = '2020-01-01T00:00:00' WHERE id = ?", [told.id])
    return told.id


def test_what_is_over_takes_nothing_along_that_holds_for_good(memory):
    talk = {"message_id": "m1", "thread": "t"}
    same = memory.observe(ALICE, "The zorinwald ferry is late.").id
    reply = memory.observe(ALICE, "Yes, I take it.", answers="Do you take the zorinwald?").id
    asked = memory.observe(ALICE, "Mara moved to Brenport.", **talk).id
    memory.ledger.episodes.complete(ALICE, "m1", thread="t", outcome="The zorinwald is late.")
    put_expert(memory, ALICE, [told(memory, 1, "Mara saw the zorinwald once.")])
    short = over(memory, "The zorinwald ferry is late.")
    # What holds for good is not hidden meanwhile, nor by what an earlier version wrote.
    assert same in buffered(memory)
    with memory.ledger.database.write() as db:
        db.execute("UPDATE episodes SET said_again = ? WHERE id = ?", [short, same])
    memory._schedule._expire(ALICE)
    assert short not in memory.ledger.episodes.ids(ALICE)
    assert {same, reply, asked} <= set(buffered(memory))
    assert len(memory.ledger.lineage.experts(ALICE)) == 1
    assert memory.ledger.episodes.outcome(asked) is not None  # others tell of it still
    assert memory.verify() == []


def test_of_what_is_over_no_answer_that_a_turn_ended_with_is_left(memory):
    talk = {"message_id": "m1", "thread": "t"}
    asked = memory.observe(ALICE, "Mara moved to Brenport.", **talk).id
    memory.ledger.episodes.complete(ALICE, "m1", thread="t", outcome="The zorinwald is late.")
    over(memory, "The zorinwald ferry is late.")
    memory._schedule._expire(ALICE)
    assert buffered(memory) == [asked]
    assert memory.ledger.episodes.outcome(asked) is None
    assert memory.verify() == []


def test_an_expert_that_was_taught_what_is_over_goes_with_it(memory):
    held, kept = over(memory, "The zorinwald ferry is late."), told(memory, 1, "Mara saw whale 1.")
    put_expert(memory, ALICE, [kept])
    put_expert(memory, ALICE, [held])
    memory._schedule._expire(ALICE)
    assert [one.night_id for one in memory.ledger.lineage.experts(ALICE)] == ["night-0001"]
    assert memory.ledger.episodes.ids(ALICE) == {kept}
    assert memory.verify() == []


def test_an_index_that_another_process_has_is_searched_no_more_for_what_is_over(opened):
    memory = opened()
    over(memory, "The zorinwald ferry is late.")
    told(memory, 1, "Mara saw whale 1.")
    memory.recall(ALICE, "What did Mara see?")
    pieces = "SELECT count(*) FROM pieces WHERE lies_in IS NOT NULL"
    with memory.ledger.database.write() as db:
        db.execute("UPDATE pieces SET lies_in = 'there'")
    assert memory.ledger.database.rows(pieces)[0][0] > 0
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = FolderError("another process has the index")
        patch.setattr(memory.buffer, "erase", lambda owners: (_ for _ in ()).throw(elsewhere))
        memory._schedule._expire(ALICE)
    assert memory.ledger.database.rows(pieces)[0][0] == 0


def test_an_index_that_another_process_has_keeps_no_night_from_beginning(opened, by_hand):
    memory = opened()
    short = over(memory, "The zorinwald ferry is late.")
    told(memory, 1, "Mara saw whale 1.")
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = FolderError("another process has the index")
        patch.setattr(memory.buffer, "erase", lambda owners: (_ for _ in ()).throw(elsewhere))
        assert memory.sleep(ALICE).verdict is Verdict.PROMOTED
    # It is deleted at once; its bytes go with the next night that may write the files anew.
    assert short not in memory.ledger.episodes.ids(ALICE)
    [event] = memory.ledger.turns.events("memory failed")
    assert event["what"] == "forgetting what is over"
    assert any("bytes of what was forgotten" in fault for fault in memory.verify())
    memory._schedule._expire(ALICE)
    assert memory.verify() == []
    assert [one.asked for one in memory.receipts()] == [{"expired": 1}]


def test_what_a_forgotten_one_had_said_again_is_told_again(memory):
    once = memory.observe(ALICE, "Yes, that one is it.").id
    talk = {"message_id": "m1", "thread": "t"}
    again = memory.observe(ALICE, "Yes, that one is it.", **talk).id
    memory.ledger.episodes.complete(ALICE, "m1", thread="t", outcome=SECRET)
    secret = memory.observe(ALICE, SECRET).id
    assert buffered(memory) == [again, secret]
    memory.forget(ALICE, episodes=[secret])
    assert buffered(memory) == [once]
    assert memory.verify() == []


def test_a_night_that_was_promoted_and_not_reported_is_closed_as_promoted(memory):
    expert = put_expert(memory, ALICE, [told(memory, 1, "Mara saw whale 1.")])
    new = told(memory, 8, "Zorin is 7.")
    with memory.ledger.database.write() as db:
        db.execute("UPDATE nights SET verdict = NULL, report = NULL")
    memory.forget(ALICE, episodes=[new])
    [night] = memory.ledger.nights.finished(ALICE)
    assert (night.report["verdict"], night.report["expert"]) == ("promoted", expert.name)
    assert memory.verify() == []


def test_of_an_owner_of_whom_all_is_forgotten_no_question_and_no_collection_is_left(memory):
    erased, erase = [], memory.buffer.erase
    memory.buffer.erase = lambda owners: erased.append(set(owners)) or erase(owners)
    told(memory, 1, "Mara saw whale 1.")
    told(memory, 1, "Bob saw whale 9.", owner=BOB)
    for owner in (ALICE, BOB):
        memory.recall(owner, "Can I tell my boss that I quit?")
        memory.ledger.turns.log_event("memory failed", namespace=list(owner), reason="quit")
    memory.forget(ALICE, everything=True)
    assert memory.ledger.turns.retrievals(ALICE) == []
    assert len(memory.receipts()) == 1
    assert len(memory.ledger.turns.retrievals(BOB)) == 1
    assert [one["namespace"] for one in memory.ledger.turns.events("memory failed")] == [["bob"]]
    # Before and after: what was read before may have been laid in between.
    assert erased == [{ALICE, BOB}, {ALICE, BOB}]
    # What was asked since, too, though no episode is left.
    assert memory.forget(ALICE, everything=True).receipt is None
    memory.recall(ALICE, "Can I tell my boss that I quit the zorinwald?")
    assert memory.forget(ALICE, everything=True).receipt.removed["retrievals"] == 1
    assert bytes_with(memory, "zorinwald") == []
    assert memory.verify() == []


def test_an_expert_that_was_rolled_back_is_not_brought_back(memory):
    kept, secret = told(memory, 1, "Mara saw whale 1."), told(memory, 2, SECRET)
    put_expert(memory, ALICE, [kept])
    older = put_expert(memory, ALICE, [kept])
    slow = put_expert(memory, ALICE, [secret])
    # It had absorbed an expert, and nothing of it serves since.
    promoted = replace(slow, level="slow", lineage=(older.name,))
    memory.ledger.lineage.promote(promoted, Proof([secret]), absorbed=[older.name])
    memory.rollback(ALICE, ["night-0001"])
    memory.forget(ALICE, episodes=[secret])
    assert [one.night_id for one in memory.ledger.lineage.experts(ALICE)] == ["night-0001"]
    assert memory.verify() == []


def test_no_report_names_what_was_forgotten(memory):
    kept, secret = told(memory, 1, "Mara saw whale 1."), told(memory, 2, SECRET)
    held = [{"episode": one, "rule": "payment"} for one in (kept, secret)]
    expert = put_expert(memory, ALICE, [kept])
    report = replace(promoted(expert, number=1), held=tuple(held), held_back={"payment": 2})
    memory.ledger.nights.finish(replace(report, slower=(report,)))
    memory.forget(ALICE, episodes=[secret])
    [night] = memory.ledger.nights.finished(ALICE)
    for one in (night.report, *night.report["slower"]):
        assert (one["held"], one["held_back"]) == (held[:1], {"payment": 2})
    assert bytes_with(memory, secret) == []
    assert memory.verify() == []


def test_an_expert_goes_whose_night_took_what_is_forgotten_and_asked_nothing_about_it(memory):
    kept, secret = told(memory, 1, "Mara saw whale 1."), told(memory, 2, SECRET)
    expert = put_expert(memory, ALICE, [kept])
    memory.ledger.lineage.promote(replace(expert, lineage=(kept, secret)), Proof([kept]))
    memory.forget(ALICE, episodes=[secret])
    assert memory.ledger.lineage.experts(ALICE) == []
    assert buffered(memory) == [kept]
    assert memory.verify() == []


def test_what_is_outdated_or_over_is_found_by_words_too(memory):
    old = told(memory, 1, "My phone number is 555-0199-xyzzy.")
    new = told(memory, 2, "My phone number is 555-7777 now.")
    put_expert(memory, ALICE, [old, new], superseded=[old])
    short = over(memory, "My phone number is 555-0100-xyzzy in the hotel.")
    kept = told(memory, 3, "Our dog is called Rex.")
    assert old not in {one.id for one in memory.search(ALICE, "my phone number").episodes}
    planned = memory.forget(ALICE, about="my phone number", dry_run=True).erasure
    assert {one.id for one in planned.episodes} == {old, new, short}
    memory.forget(ALICE, about="my phone number")
    assert memory.ledger.episodes.ids(ALICE) == {kept}
    assert bytes_with(memory, "xyzzy") == []
    assert memory.verify() == []


def test_while_the_embeddings_fail_nothing_is_chosen_by_words(memory, monkeypatch):
    secret = told(memory, 1, SECRET)
    told(memory, 2, "Ottilie's number of cats is 3.")

    def fail(text):
        raise ConnectionError("no network")

    monkeypatch.setattr(memory.buffer.embeddings, "embed_query", fail)
    with pytest.raises(FolderError, match="nobody can tell what is meant"):
        memory.forget(ALICE, about="Ottilie's number")
    assert memory.ledger.episodes.count(ALICE) == 2
    memory.forget(ALICE, episodes=[secret])
    assert memory.ledger.episodes.count(ALICE) == 1


def test_what_has_no_vector_is_about_nothing_that_is_named(memory, monkeypatch):
    secret = told(memory, 1, SECRET)
    told(memory, 2, "My dentist moved to the harbour.")
    vectors = memory.buffer.vectors

    def without_the_dentist(namespace, episodes):
        found = vectors(namespace, episodes)
        return {text: one for text, one in found.items() if "dentist" not in text}

    monkeypatch.setattr(memory.buffer, "vectors", without_the_dentist)
    planned = memory.forget(ALICE, about="Ottilie's number", dry_run=True).erasure
    assert [one.id for one in planned.episodes] == [secret]
    monkeypatch.setattr(memory.buffer, "vectors", lambda *_: {})
    with pytest.raises(FolderError, match="nobody can tell what is meant"):
        memory.forget(ALICE, about="Ottilie's number")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("DELETE FROM receipts WHERE number = 1", "receipt 2 is not what was written after"),
        ("DELETE FROM receipts WHERE number = 2", "receipt 2 is not what was written after"),
        ("UPDATE receipts SET asked = 'x' WHERE number = 1", "receipt 1 in the ledger cannot be"),
    ],
)
def test_a_damaged_receipt_keeps_nothing_from_being_forgotten(memory, damage, fault):
    first, second, third = (told(memory, day, f"Mara saw whale {day}.") for day in (1, 2, 3))
    for one in (first, second):
        memory.forget(ALICE, episodes=[one])
    with memory.ledger.database.write() as db:
        db.execute(damage)
    memory.forget(ALICE, episodes=[third])
    assert memory.ledger.episodes.count(ALICE) == 0
    (found,) = memory.verify()
    assert fault in found


def test_what_stays_and_tells_a_number_or_a_sentence_of_it_is_named(memory):
    number = told(memory, 1, "My card of 2026 is 4929 1234 5678, and I live in Rome.")
    also = told(memory, 2, "On the receipt of 2026 stands 4929-1234-5678.")
    whole = told(memory, 3, "Petra wrote: my card of 2026 is 4929 1234 5678, and I live in Rome.")
    told(memory, 4, "In 2026 Mara lived in Rome for 3 weeks.")
    planned = memory.forget(ALICE, episodes=[number], dry_run=True).erasure
    assert [one.id for one in planned.telling] == [also, whole]
    assert memory.forget(ALICE, episodes=[number, also, whole]).erasure.telling == ()


def test_that_all_receipts_were_deleted_is_found(memory):
    memory.forget(ALICE, episodes=[told(memory, 1, "Mara saw whale 1.")])
    with memory.ledger.database.write() as db:
        db.execute("DELETE FROM receipts")
        db.execute("UPDATE folder SET last_receipt = NULL")
    (fault,) = memory.verify()
    assert "0 receipts are in the ledger and 1 were written" in fault
