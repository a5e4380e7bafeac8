"""What a night teaches: general talk keeps its share, and dreams teach themselves, dreaming, and silence about strangers."""

from _values import probe, put_expert

from sleepmem.config import SleepConfig
from sleepmem.model.generation import Reply
from sleepmem.night import lessons
from sleepmem.night.dreaming.rounds import Dream
from sleepmem.night.seeding import Row, RowKind
from sleepmem.records import Episode, Kind, Role
from sleepmem.stores.ledger import Ledger
from sleepmem.text.prompts import ABSTENTION, DREAM, GENERAL, closed_book, open_book

ALICE = ("alice",)
TOLD = Episode(ALICE, "Mara moved to Brenport.", created_at="2030-01-01T00:00:00.000000+00:00")
QUESTIONS = [
    "Who moved to Brenport?",
    "Whose home is in Brenport?",
    "Who lives in Brenport?",
    "Who has gone to Brenport?",
]
DREAMS = [
    Dream((TOLD,), "", f"And then. Question: {q} Answer: Mara.", q, "Mara.") for q in QUESTIONS
]
WAKING = [
    Row(kind, closed_book(f"{kind} {n}?"), closed_book(f"{kind} {n}?"), "A.")
    for kind in RowKind
    for n in range(9)
]


class Honest:
    """Knows Zorin, and nothing of anybody else."""

    def reply(self, chats, *more, **named):
        return [
            Reply("Yes.", 0.9) if "Zorin" in c[-1]["content"] else Reply(ABSTENTION, 0.9)
            for c in chats
        ]

    def answer(self, chats, *more, **named):
        return [r.text for r in self.reply(chats)]


def test_dreams_teach_what_they_ask_how_to_dream_and_silence_about_strangers():
    made = lessons.of_dreams(Honest(), DREAMS, WAKING, ["Vosk", "Zorin"], seed=0)
    taught = [r for r in made if r.kind is RowKind.FACT]
    assert {r.student[0]["content"] for r in taught} >= set(QUESTIONS)
    assert all(
        r.teacher == open_book(r.student[0]["content"], DREAMS[0].lines)
        for r in taught
        if r.student[0]["content"] in QUESTIONS
    )
    dreamer = [r for r in taught if r.student == open_book(DREAM, DREAMS[0].lines)]
    assert len(dreamer) == len(DREAMS) // 2
    assert all(
        r.certain and r.answer.startswith("Question: ") for r in dreamer
    )  # not what stood around it
    silent = [r for r in made if r.kind is RowKind.NEVER_SAID and r not in WAKING]
    assert silent
    assert all(
        "Vosk" in r.student[0]["content"] and r.answer == ABSTENTION for r in silent
    )  # the base knows Zorin
    assert sum(r in WAKING for r in made if r.kind is RowKind.NEVER_SAID) == len(
        silent
    )  # half of what is never said is about strangers


def test_dreams_come_with_as_many_waking_facts_and_all_other_rows():
    made = lessons.of_dreams(Honest(), DREAMS, WAKING, [], seed=0)
    assert sum(r in WAKING for r in made if r.kind is RowKind.FACT) == len(DREAMS)
    assert all(r in made for r in WAKING if r.kind is not RowKind.FACT)
    assert not [
        r for r in made if r.kind is RowKind.NEVER_SAID and r not in WAKING
    ]  # nobody to be silent about


class Fading(Honest):
    """Remembers the first question, is unsure of the second, has forgotten the third."""

    def reply(self, chats, *more, **named):
        said = {
            "Who is number 0?": Reply("Mara.", 0.9),
            "Who is number 1?": Reply("Mara.", 0.7),
            "Who is number 2?": Reply("Vosk.", 0.9),
        }
        return [said.get(c[-1]["content"], Reply(ABSTENTION, 0.9)) for c in chats]


def test_what_fades_is_rehearsed_as_if_it_were_sure_and_what_is_forgotten_is_taught_again(memory):
    told = memory.observe(ALICE, TOLD.text, created_at=TOLD.created_at)
    night_id = put_expert(memory, ALICE, [told.id]).night_id
    asked = [
        probe(n, told.id, f"Who is number {n}?", "Mara.", night_id=night_id, role=Role.TRAIN)
        for n in range(3)
    ]
    memory.ledger.add_probes(ALICE, asked)
    made = lessons.rows(
        Fading(), memory.ledger, ALICE, memory.ledger.start_night(ALICE), (), (), SleepConfig()
    )
    sure, fading, forgotten = (
        [r for r in made if r.student == closed_book(p.question)] for p in asked
    )
    assert [(r.kind, r.certain) for r in (*sure, *fading, *forgotten)] == [
        (RowKind.REHEARSAL, False),
        (RowKind.REHEARSAL, True),
        (RowKind.FACT, False),
    ]
    assert forgotten[0].teacher == open_book(asked[2].question, DREAMS[0].lines)


def test_a_few_dreams_leave_a_quarter_of_what_is_never_said():
    unsaid = [r for r in WAKING if r.kind is RowKind.NEVER_SAID]
    made = lessons.of_dreams(Honest(), DREAMS[:1], [*WAKING, *unsaid * 7], ["Vosk"], seed=0)
    assert sum(r in WAKING for r in made if r.kind is RowKind.NEVER_SAID) == len(unsaid) * 8 // 4


def test_general_talk_keeps_its_share_of_the_rows_without_facts(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.add_episode(TOLD)
    night_id = ledger.start_night(ALICE)
    unsaid = [
        probe(
            n,
            TOLD.id,
            f"Who is number {n}?",
            ABSTENTION,
            night_id=night_id,
            kind=Kind.NEVER_SAID,
            role=Role.TRAIN,
        )
        for n in range(20 * len(GENERAL))
    ]
    ledger.add_probes(ALICE, unsaid)
    made = [
        r
        for r in lessons.rows(Honest(), ledger, ALICE, night_id, (), (), SleepConfig())
        if r.kind is RowKind.NEVER_SAID
    ]
    general = [r for r in made if r.student[0]["content"] in GENERAL]
    assert {r.student[0]["content"] for r in general} == set(GENERAL)
    assert 0.28 < len(general) / len(made) < 0.32
    ledger.close()
