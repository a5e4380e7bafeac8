"""What a night teaches: what faded is rehearsed as sure, and general talk keeps its share."""

from dataclasses import replace

from _values import probe, put_expert

from sleepmem.config import PolicyConfig, SleepConfig
from sleepmem.model.generation import Reply
from sleepmem.model.habits import Rehearsed
from sleepmem.night.lessons import Evening, related, tonights_rows
from sleepmem.night.rows import RowKind
from sleepmem.records import Episode, Kind, Role
from sleepmem.stores.ledger import Ledger
from sleepmem.text.prompts import ABSTENTION, GO_ON, closed_book, open_book
from sleepmem.text.small_talk import GENERAL

ALICE = ("alice",)
TOLD = Episode(ALICE, "Mara moved to Brenport.", created_at="2030-01-01T00:00:00.000000+00:00")
LINE = "2030-01-01: Mara moved to Brenport."


class Scripted:
    """Says what it is told to say to some questions, and abstains from all others."""

    rehearsal = ()

    def __init__(self, replies=None):
        self.replies = replies or {}

    def reply(self, chats, *experts, **settings):
        unknown = Reply(ABSTENTION, 0.9)
        return [self.replies.get(chat[-1]["content"], unknown) for chat in chats]

    def answer(self, chats, *experts, **settings):
        return [reply.text for reply in self.reply(chats)]


def rows_of(local, ledger, night_id, corrected=()):
    evening = Evening(ALICE, night_id, before=(), corrected=corrected)
    return tonights_rows(
        local, ledger, evening=evening, config=SleepConfig(), policy=PolicyConfig()
    ).rows


def asked(rows):
    return [row.student[-1]["content"] for row in rows]


def learned(memory):
    """Three questions that an earlier night has taught."""
    told = memory.observe(ALICE, TOLD.text, created_at=TOLD.created_at)
    night_id = put_expert(memory, ALICE, [told.id]).night_id
    probes = []
    for number in range(3):
        question = f"Who is number {number}?"
        probes.append(probe(number, told.id, question, "Mara.", night_id=night_id, role=Role.TRAIN))
    memory.ledger.nights.add_probes(ALICE, probes)
    return probes


def test_what_fades_is_rehearsed_as_if_it_were_sure_and_what_is_forgotten_is_taught_again(memory):
    remembered, fading, forgotten = (probe.question for probe in learned(memory))
    replies = {
        remembered: Reply("Mara.", 0.9),
        fading: Reply("Mara.", 0.7),
        forgotten: Reply("Vosk.", 0.9),
    }
    rows = rows_of(Scripted(replies), memory.ledger, memory.ledger.nights.start(ALICE))
    taught = [(row.student, row.kind, row.certain) for row in rows if asked([row])[0] in replies]
    assert sorted(taught, key=str) == [
        (closed_book(remembered), RowKind.REHEARSAL, False),
        (closed_book(fading), RowKind.REHEARSAL, True),
        (closed_book(forgotten), RowKind.FACT, False),
    ]
    [again] = [row for row in rows if row.student == closed_book(forgotten)]
    assert again.teacher == open_book(forgotten, [LINE])


def test_nothing_of_what_tonight_corrects_is_rehearsed(memory):
    probes = learned(memory)
    night_id = memory.ledger.nights.start(ALICE)
    rows = rows_of(Scripted(), memory.ledger, night_id, corrected={probes[0].episode_id})
    assert {row.kind for row in rows} == {RowKind.NEVER_SAID}
    assert {one for one in asked(rows) if not one.startswith(GO_ON)} == set(GENERAL)


def test_what_was_never_said_or_read_is_rehearsed_of_every_night_in_service(memory):
    """Whether its note was proven does not matter; whether its expert serves does."""
    told, other, back = (memory.observe(ALICE, f"Mara has {n} cats.") for n in (2, 3, 4))
    first, second = (put_expert(memory, ALICE, [one.id]).night_id for one in (told, back))
    rejected, tonight = (memory.ledger.nights.start(ALICE) for _ in range(2))
    taught = {}
    for night_id in (first, second, rejected):
        probes = []
        for number, kind in enumerate((Kind.FACT, Kind.NEVER_SAID, Kind.READING)):
            how = {"night_id": night_id, "kind": kind, "role": Role.TRAIN}
            probes.append(probe(number, other.id, f"{kind} of {night_id}?", "x", **how))
        taught[night_id] = [one.question for one in probes[1:]]
        # What a slower night took over is no other question.
        probes.append(replace(probes[-1], id=f"{night_id}-again", taken_over=True))
        how["kind"] = Kind.NEVER_SAID
        probes.append(probe(9, other.id, "Examined of night-0004?", "x", **how))
        memory.ledger.nights.add_probes(ALICE, probes)
    examined = replace(probes[-1], id="exam", night_id=tonight, role=Role.EXAM)
    memory.ledger.nights.add_probes(ALICE, [examined])
    memory.rollback(ALICE, [first])

    rows = rows_of(Scripted(), memory.ledger, tonight)
    made_up = [question for question in asked(rows) if " of night-" in question]
    assert sorted(made_up) == sorted(taught[first])


def test_general_talk_keeps_its_share_of_the_rows_without_facts(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.episodes.add(TOLD)
    night_id = ledger.nights.start(ALICE)
    unsaid = {"night_id": night_id, "kind": Kind.NEVER_SAID, "role": Role.TRAIN}
    probes = []
    for number in range(20 * len(GENERAL)):
        question = f"Who is number {number}?"
        probes.append(probe(number, TOLD.id, question, ABSTENTION, **unsaid))
    ledger.nights.add_probes(ALICE, probes)

    rows = rows_of(Scripted(), ledger, night_id)
    questions = asked([row for row in rows if row.kind is RowKind.NEVER_SAID])
    general = [question for question in questions if question in GENERAL]
    assert set(general) == set(GENERAL)
    assert 0.28 < len(general) / len(questions) < 0.32
    ledger.close()


def test_a_night_goes_over_long_answers_that_were_drawn_by_chance(memory):
    drawn = []

    class Chatty(Scripted):
        def answer(self, chats, experts=(), **how):
            if how.get("temperature"):
                drawn.append((tuple(chats), how))
                return [f"So it is {number}." for number in range(len(chats))]
            return super().answer(chats, experts, **how)

    nights = [memory.ledger.nights.start(ALICE), memory.ledger.nights.start(ALICE)]
    taught = [rows_of(Chatty(), memory.ledger, night_id) for night_id in nights]
    for rows, (chats, how) in zip(taught, drawn, strict=True):
        whole = [row for row in rows if row.answer.startswith("So it is ")]
        assert [row.student for row in whole] == list(chats[::2])
        rest = [row for row in rows if row.answer.startswith("is ")]
        assert set(asked(rest)) == {GO_ON + "So it"}
        assert len(rest) == len(chats) // 2
        assert all(row.student == row.teacher for row in whole + rest)
        assert {row.kind for row in whole + rest} == {RowKind.NEVER_SAID}
        assert how["temperature"] > 1
    # Others every night.
    assert drawn[0][0] != drawn[1][0]


def test_the_archive_is_searched_once_for_a_question(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.episodes.add(TOLD)
    archive = related(ledger, ALICE, config=SleepConfig(), policy=PolicyConfig())
    first = archive("Where does Mara live?")
    assert [episode.text for episode in first] == [TOLD.text]
    assert archive("Where does Mara live?") is first
    ledger.close()


def test_what_may_not_be_taught_is_not_read_beside_what_is(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    key = "The key of Mara is AKIAIOSFODNN7EXAMPLE."
    for text in (f"Mara has a boat. {key}", key, "Where does Mara live?"):
        ledger.episodes.add(Episode(ALICE, text))
    archive = related(ledger, ALICE, config=SleepConfig(), policy=PolicyConfig())
    assert [episode.text for episode in archive("What does Mara have?")] == ["Mara has a boat."]
    learns = PolicyConfig(secrets="learn")
    archive = related(ledger, ALICE, config=SleepConfig(), policy=learns)
    assert len(archive("What does Mara have?")) == 2
    ledger.close()


def test_what_earlier_policies_let_through_is_not_taught_again(memory):
    key = "The key of Mara is AKIAIOSFODNN7EXAMPLE."
    told = memory.observe(ALICE, f"Mara moved to Brenport. {key}")
    night_id = memory.ledger.nights.start(ALICE)
    asks = probe(0, told.id, "Where is Mara?", "Brenport", night_id=night_id, role=Role.TRAIN)
    cites = probe(1, told.id, "Which key?", "AKIAIOSFODNN7EXAMPLE", night_id=night_id)
    memory.ledger.nights.add_probes(ALICE, [asks, replace(cites, role=Role.TRAIN)])
    rows = rows_of(Scripted(), memory.ledger, night_id)
    texts = [str(row) for row in rows if row.kind is RowKind.FACT]
    assert len(texts) == 1
    assert "Brenport" in texts[0]
    assert "AKIA" not in texts[0]


def test_what_school_taught_to_read_is_gone_over(memory):
    told = memory.observe(ALICE, TOLD.text, created_at=TOLD.created_at)
    night_id = put_expert(memory, ALICE, [told.id]).night_id
    local = Scripted()
    local.rehearsal = [
        Rehearsed(open_book(f"Who is {number}?", ["2026-01-01: Jon."]), "Jon.")
        for number in range(100)
    ]
    rows = rows_of(local, memory.ledger, night_id)
    reading = [row for row in rows if row.kind is RowKind.READING]
    assert len(reading) == len(set(asked(reading))) == 60
    assert {row.answer for row in reading} == {"Jon."}
    assert all(row.student == row.teacher for row in reading)
    assert asked(reading) == asked(
        [row for row in rows_of(local, memory.ledger, night_id) if row.kind is RowKind.READING]
    )
