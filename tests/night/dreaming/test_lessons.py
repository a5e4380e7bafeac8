"""What dreams teach: themselves, dreaming, and silence about strangers."""

from _dreams import Scripted, dreamt, episode

from sleepmem.config import DreamConfig
from sleepmem.night.dreaming.lessons import dream_rows
from sleepmem.night.rows import Row, RowKind
from sleepmem.text.prompts import ABSTENTION, DREAM, closed_book, open_book

QUESTIONS = [
    "Who moved to Brenport?",
    "Whose home is in Brenport?",
    "Who lives in Brenport?",
    "Who has gone to Brenport?",
]
DREAMS = []
for question in QUESTIONS:
    context = (episode("Mara moved to Brenport."),)
    text = f"And then. Question: {question} Answer: Mara."
    DREAMS.append(dreamt(question, "Mara.", context, text=text))
WAKING = []
for kind in RowKind:
    for number in range(9):
        chat = closed_book(f"{kind} {number}?")
        WAKING.append(Row(kind, chat, chat, "A."))
# Knows Zorin, and nothing of anybody else.
HONEST = Scripted({question.replace("Brenport", "Zorin"): "Yes." for question in QUESTIONS})


def rows_of(dreams, waking=WAKING, strangers=()):
    config = DreamConfig()
    return dream_rows(HONEST, dreams, waking=waking, strangers=strangers, config=config, seed=0)


def of_kind(rows, kind):
    return [row for row in rows if row.kind is kind]


def asked(row):
    return row.student[0]["content"]


def test_dreams_teach_what_they_ask_how_to_dream_and_silence_about_strangers():
    rows = rows_of(DREAMS, strangers=["Vosk", "Zorin"])
    lines = DREAMS[0].lines

    # What they ask
    facts = of_kind(rows, RowKind.FACT)
    assert {asked(row) for row in facts} >= set(QUESTIONS)
    for row in facts:
        if asked(row) in QUESTIONS:
            assert row.teacher == open_book(asked(row), lines)

    # How to dream, without what stood around the pair
    dreaming = [row for row in facts if row.student == open_book(DREAM, lines)]
    assert len(dreaming) == len(DREAMS) // 2
    assert all(row.certain and row.answer.startswith("Question: ") for row in dreaming)

    # Silence, but not about Zorin, whom the base knows; about strangers half of the time
    unsaid = of_kind(rows, RowKind.NEVER_SAID)
    silent = [row for row in unsaid if row not in WAKING]
    assert silent
    assert all("Vosk" in asked(row) and row.answer == ABSTENTION for row in silent)
    assert sum(row in WAKING for row in unsaid) == len(silent)


def test_dreams_come_with_as_many_waking_facts_and_all_other_rows():
    rows = rows_of(DREAMS)
    assert sum(row in WAKING for row in of_kind(rows, RowKind.FACT)) == len(DREAMS)
    assert all(row in rows for row in WAKING if row.kind is not RowKind.FACT)
    # Nobody to be silent about
    assert all(row in WAKING for row in of_kind(rows, RowKind.NEVER_SAID))


def test_a_few_dreams_leave_a_quarter_of_what_is_never_said():
    unsaid = of_kind(WAKING, RowKind.NEVER_SAID)
    rows = rows_of(DREAMS[:1], waking=[*WAKING, *unsaid * 7], strangers=["Vosk"])
    waking = [row for row in of_kind(rows, RowKind.NEVER_SAID) if row in WAKING]
    assert len(waking) == len(unsaid) * 8 // 4
