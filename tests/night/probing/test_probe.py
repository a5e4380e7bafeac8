"""The night's questions, written by a scripted base.

It reads "NAME lives in PLACE." and "NAME eats FOOD.".
"""

from __future__ import annotations

import itertools
import re

import pytest

from sleepmem.config import ProbeConfig
from sleepmem.model.profiles import Profile
from sleepmem.model.replies import Reply
from sleepmem.night.probing import probe as probing
from sleepmem.night.probing.context import book, nearest
from sleepmem.night.probing.teacher import Teacher
from sleepmem.night.probing.unknown import unsaid_still
from sleepmem.records import Episode, Kind, Role
from sleepmem.text.language import words
from sleepmem.text.prompts import ABSTENTION, INVENT, UNANSWERED, WRITE_PAIR

FACT = re.compile(r"(\w+) (lives in|eats) (\w+)\.")
WORDINGS = ["Where does {} live?", "Which city does {} live in?", "Where is the home of {}?"]
EATS = ["What does {} eat?", "Which food does {} eat?", "What is eaten by {}?"]
ASK = {"lives in": WORDINGS, "eats": EATS}
ALICE = ("alice",)


class Base:
    """Answers as the base would: reads the context, the newest wins.

    It writes pairs in turn in every wording; `pairs` replaces what it writes.
    """

    def __init__(self, pairs=None):
        self.context_length, self.profile = 1000, Profile(notes="whole")
        self.turn, self.stranger, self.pairs, self.asked = (
            itertools.count(),
            itertools.count(),
            pairs,
            [],
        )

    def answer(self, chats, experts=(), *, max_new_tokens=32, temperature=0.0, seed=0):
        assert experts == ()  # the teacher is the base
        return [
            self._one(chat[0]["content"] if len(chat) > 1 else "", chat[-1]["content"])
            for chat in chats
        ]

    def reply(self, chats, experts=()):
        texts = self.answer(chats, experts)
        return [Reply(text, self.sure(chat)) for chat, text in zip(chats, texts, strict=True)]

    def sure(self, chat):
        return 1.0

    def count_tokens(self, text):
        return len(text.split())

    def _one(self, context, asked):
        facts = {(name, verb): value for name, verb, value in FACT.findall(context)}
        self.asked.append((context, asked))
        if asked == WRITE_PAIR:
            if self.pairs:
                return self.pairs[next(self.turn) % len(self.pairs)]
            (name, verb), value = next(iter(facts.items()))
            return f"Question: {ASK[verb][next(self.turn) % 3].format(name)} Answer: {value}."
        if asked == UNANSWERED:
            return f"Who is the boss of {next(iter(facts))[0]}?"
        if asked == INVENT:
            return f"Stranger{next(self.stranger)} {next(iter(facts))[1]} elsewhere."
        said = [
            value
            for (name, verb), value in facts.items()
            if asked in [w.format(name) for w in ASK[verb]]
        ]
        return f"{said[0]}." if said else ABSTENTION


def told(*texts):
    return [
        Episode(ALICE, t, created_at=f"2030-01-{i + 1:02d}T00:00:00+00:00")
        for i, t in enumerate(texts)
    ]


def ask(base, episodes, ledger=None, asked=None, **config):
    archive = ledger or episodes

    def related(q):
        return [e for e in archive if set(words(q)) & set(words(e.text))]

    settings = ProbeConfig(**{"samples": 3, "unsaid": 2, **config})
    return probing.question(
        Teacher(base, settings, seed=0),
        episodes,
        archive=related,
        asked=asked or {},
        ids=probing.ProbeIds("night-0001"),
    )


def of(made, kind, role=None):
    return [p for p in made.probes if p.kind is kind and role in (None, p.role)]


def test_every_fact_is_asked_in_several_wordings_and_one_is_kept_for_the_exam():
    made = ask(Base(), told("Mara lives in Brenport.", "Tovin lives in Oslo."))
    for name, place in (("Mara", "Brenport."), ("Tovin", "Oslo.")):
        mine = [p for p in of(made, Kind.FACT) if name in p.question]
        assert {p.question for p in mine} == {w.format(name) for w in WORDINGS}
        assert {p.answer for p in mine} == {place}
        assert [p.role for p in mine].count(Role.EXAM) == 1


@pytest.mark.parametrize(
    "bad",
    [
        "Where does Mara live? Brenport.",  # no pair
        "Question: Where does Mara live? Answer: I do not know.",
        "Question: Where does Tovin live? Answer: Brenport.",  # names nobody of the episode
        # not what it answers among other memories
        "Question: Where does Mara live? Answer: Paris.",
    ],
)
def test_a_bad_pair_teaches_nothing(bad):
    assert (
        of(ask(Base([bad]), told("Mara lives in Brenport.", "Tovin lives in Oslo.")), Kind.FACT)
        == []
    )


def test_a_fact_with_one_wording_is_neither_taught_nor_examined():
    assert (
        of(
            ask(
                Base(["Question: Where does Mara live? Answer: Brenport."]),
                told("Mara lives in Brenport."),
            ),
            Kind.FACT,
        )
        == []
    )


def test_what_users_asked_comes_first():
    mara = told("Mara lives in Brenport.")
    made = ask(
        Base(), mara, asked={mara[0].id: ["Where is the home of Mara?"]}, samples=12, wordings=2
    )
    assert of(made, Kind.FACT)[0].question == "Where is the home of Mara?"


def test_a_correction_is_noticed_and_the_old_value_is_not_taught():
    old, new = told("Mara lives in Oslo.", "Mara lives in Brenport.")
    for tonight in ([new], [old, new]):  # learned on an earlier night, or told on the same day
        made = ask(Base(), tonight, ledger=[old, new])
        assert made.superseded == {old.id: new.id}
        assert {(p.answer, p.stale) for p in of(made, Kind.FACT)} == {("Brenport.", "Oslo.")}


def test_of_several_corrections_the_newest_wins():
    first, second, third = told(
        "Mara lives in Oslo.", "Mara lives in Karvik.", "Mara lives in Brenport."
    )
    made = ask(Base(), [first, second, third])
    assert made.superseded == {first.id: third.id, second.id: third.id}
    assert {p.answer for p in of(made, Kind.FACT)} == {"Brenport."}


def test_what_was_left_behind_is_no_news():
    old, other, new = told("Mara lives in Oslo.", "Mara eats plums.", "Mara lives in Brenport.")
    made = ask(Base(), [old, other], ledger=[old, other, new])
    assert made.superseded == {old.id: new.id}
    assert {p.answer for p in of(made, Kind.FACT)} == {"plums."}


def test_what_a_corrected_episode_also_says_is_still_taught():
    old, new = told("Mara lives in Oslo. Tovin eats plums.", "Mara lives in Brenport.")
    both = ("Mara", "Oslo.", WORDINGS), ("Tovin", "plums.", EATS), ("Mara", "Brenport.", WORDINGS)
    pairs = [f"Question: {w.format(n)} Answer: {a}" for n, a, ws in both for w in ws]
    pairs = [
        *pairs,
        *reversed(pairs),
    ]  # the first answer to a question counts: Oslo for the old one, Brenport for the new
    made = ask(Base(pairs), [old, new], samples=9)
    assert {
        (p.question in [w.format("Tovin") for w in EATS], p.answer) for p in of(made, Kind.FACT)
    } == {(True, "plums."), (False, "Brenport.")}
    assert made.superseded == {}  # it holds something yet


def test_two_episodes_with_the_same_words_do_not_train_on_the_exam():
    made = ask(Base(), told("Mara lives in Brenport.", "Mara lives in Brenport. "), samples=6)
    exam = {p.question for p in of(made, Kind.FACT, Role.EXAM)}
    assert exam
    assert not exam & {p.question for p in of(made, Kind.FACT, Role.TRAIN)}


def test_of_many_those_are_read_that_share_what_is_rare_with_the_question():
    many = told("Where it is, I live.", "Tovin lives in Oslo.", "I live where Mara Vell does.")
    assert nearest("Where does Mara Vell live?", many, most=1) == [many[2]]
    assert nearest("Where does Mara Vell live?", many, most=3) == many


def test_a_context_takes_a_quarter_of_the_models_and_always_its_own_episode():
    teacher = Base()
    teacher.context_length = 48  # words
    own, *others = told(*(f"Person{n} lives in Place{n}." for n in range(9)))
    asked = book(teacher, "Where?", episodes=others, own=own)[0]["content"]
    assert own.text in asked
    assert [e.text in asked for e in others] == [True, True] + [
        False
    ] * 6  # 5 words a line, 12 words


def test_never_said_is_asked_again_until_somebody_says_it():
    probes = of(ask(Base(), told("Mara lives in Brenport."), unsaid=8), Kind.NEVER_SAID)
    later = told("Stranger0 lives in Oslo.")
    left = unsaid_still(Base(), probes, related=lambda question: later, sure=None)
    assert {p.question for p in probes} - {p.question for p in left} <= {
        w.format("Stranger0") for w in WORDINGS
    }
    assert len(left) < len(probes)


def test_never_said_is_not_asked_again_where_no_memory_has_the_name():
    teacher, probes = (
        Base(),
        of(ask(Base(), told("Mara lives in Brenport."), unsaid=8), Kind.NEVER_SAID),
    )
    about_mara = [p for p in probes if "Mara" in p.question]
    assert about_mara
    assert len(about_mara) < len(probes)
    plums = told("Mara eats plums.")
    assert unsaid_still(teacher, probes, related=lambda question: plums, sure=None) == probes
    assert [asked for _, asked in teacher.asked] == [p.question for p in about_mara]


def test_never_said_asks_tonights_questions_about_others_but_never_what_was_told():
    tonight = told("Mara lives in Brenport.", "Tovin eats plums.")
    earlier = told("Zeno lives in Rome.", "Mara eats pears.")
    made = ask(Base(), tonight, ledger=[*tonight, *earlier], unsaid=8)
    unsaid = {p.question for p in of(made, Kind.NEVER_SAID)}
    assert any("Stranger" in q and q.startswith("Wh") for q in unsaid)
    assert "Who is the boss of Mara?" in unsaid
    assert unsaid & {
        w.format("Tovin") for w in WORDINGS
    }  # what is known of Mara, asked about Tovin
    assert not unsaid & {w.format("Mara") for w in EATS}  # told on an earlier night
    assert {p.answer for p in of(made, Kind.NEVER_SAID)} == {ABSTENTION}
    assert {p.role for p in of(made, Kind.NEVER_SAID)} == {Role.TRAIN, Role.EXAM}


class Unsure(Base):
    """Abstains on whatever is asked about Tovin's boss, as one who may have misread."""

    def __init__(self):
        super().__init__()
        self.profile = Profile(notes="whole", sure=0.8)

    def sure(self, chat):
        return 0.5 if chat[-1]["content"] == "Who is the boss of Tovin?" else 1.0


def test_what_the_reader_may_have_misread_is_never_taught_as_unsaid():
    tonight, boss = (
        told("Mara lives in Brenport.", "Tovin eats plums."),
        "Who is the boss of Tovin?",
    )

    def unsaid(**config):
        made = ask(Unsure(), tonight, unsaid=8, **config)
        return {probe.question for probe in of(made, Kind.NEVER_SAID)}

    assert "Who is the boss of Mara?" in unsaid()
    assert boss not in unsaid()
    assert boss in unsaid(unsaid_sure=0.5)

    probes = of(ask(Base(), tonight, unsaid=8), Kind.NEVER_SAID)
    left = unsaid_still(Unsure(), probes, related=lambda question: tonight, sure=None)
    assert {p.question for p in probes} - {p.question for p in left} == {boss}


class Distracted(Base):
    """Reads a memory alone; among others it says `otherwise`."""

    def __init__(self, otherwise):
        super().__init__()
        self.otherwise = otherwise

    def _one(self, context, asked):
        said = super()._one(context, asked)
        return self.otherwise if len(FACT.findall(context)) > 1 and said != ABSTENTION else said


@pytest.mark.parametrize(("otherwise", "kept"), [(ABSTENTION, True), ("Rome.", False)])
def test_a_pair_may_be_overlooked_among_other_memories_but_not_contradicted(otherwise, kept):
    made = ask(Distracted(otherwise), told("Mara lives in Brenport.", "Tovin lives in Oslo."))
    assert bool(of(made, Kind.FACT)) is kept


def test_readings_are_about_what_no_expert_holds_and_some_have_no_answer():
    made = ask(Base(), told("Mara lives in Brenport.", "Tovin lives in Oslo."), unsaid=8)
    assert of(made, Kind.READING)
    answers = {r.answer for r in of(made, Kind.READING)}
    assert ABSTENTION in answers
    assert not answers & {"Brenport.", "Oslo."}
    for r in of(made, Kind.READING):
        assert r.answer == ABSTENTION or r.answer.strip(".") in " ".join(r.context)


def test_tonights_questions_are_read_about_invented_subjects_too():
    made = ask(Base(), told("Mara lives in Brenport.", "Tovin lives in Oslo."))
    of_mara = [r for r in of(made, Kind.READING) if "Mara" in r.question and r.answer != ABSTENTION]
    wordings = {r.question.replace("Mara", "{}") for r in of_mara}
    assert wordings <= set(WORDINGS)
    swapped = [
        r
        for r in of(made, Kind.READING)
        if re.sub(r"Stranger\d+", "{}", r.question) in wordings and r.answer == "elsewhere."
    ]
    assert len(swapped) > len(of_mara)
