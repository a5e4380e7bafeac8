"""What an episode tells, a statement at a time: drawn, questioned as units, put together again."""

from dataclasses import replace

import pytest

from sleepmem.config import ProbeConfig
from sleepmem.model.profiles import Profile
from sleepmem.night import exam
from sleepmem.night.probing.notes import Units, draw, gives_none
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode, Kind, Note, Probe, Role
from sleepmem.text.policy import Rule
from sleepmem.text.prompts import NOTES, TOLD, line_of, memory_line

ALICE = ("alice",)
TOLD_BY_ANA = Episode(
    ALICE,
    "Ana moved to Rome yesterday. She is a nurse and has two cats! Can you water the plants?",
    created_at="2026-05-04T12:00:00+00:00",
)
DRAWN = {
    "Ana moved to Rome yesterday.": "Ana moved to Rome on 3 May 2026.",
    "She is a nurse and has two cats!": "- Ana is a nurse.\n- Ana has two cats.",
    "Can you water the plants?": "Nothing.",
}


class Writer:
    """Draws what is written above, whatever else it is asked."""

    context_length = 1000

    def __init__(self, drawn=DRAWN, notes="drawn", false=()):
        self.drawn, self.profile, self.false = drawn, Profile(notes=notes), false

    def answer(self, chats, experts=(), **more):
        answers = []
        for chat in chats:
            asked = chat[-1]["content"]
            if asked.startswith(TOLD):
                answers.append("No." if asked.removeprefix(TOLD) in self.false else "Yes.")
                continue
            assert asked.startswith(NOTES)
            answers.append(next(text for part, text in self.drawn.items() if part in asked))
        return answers


def drawn(**how):
    return draw(Teacher(Writer(**how), ProbeConfig(), seed=0), [TOLD_BY_ANA])


def test_every_sentence_has_its_notes_and_a_request_has_none():
    assert [note.text for note in drawn()] == [
        "Ana moved to Rome on 3 May 2026.",
        "Ana is a nurse.",
        "Ana has two cats.",
    ]
    assert [note.part for note in drawn()][1:] == ["She is a nurse and has two cats!"] * 2


def test_a_sentence_that_tells_and_gives_no_note_is_told_so():
    missed = {**DRAWN, "She is a nurse and has two cats!": "Nothing."}
    assert [note.text for note in drawn(drawn=missed)] == ["Ana moved to Rome on 3 May 2026.", ""]
    endless = {**DRAWN, "Ana moved to Rome yesterday.": "Ana moved and " * 20}
    assert drawn(drawn=endless)[0].text == ""


def test_a_note_that_its_episode_does_not_tell_is_dropped():
    false = ["Ana has two cats.", "Ana moved to Rome on 3 May 2026."]
    assert [note.text for note in drawn(false=false)] == ["", "Ana is a nurse."]
    kept = draw(Teacher(Writer(false=false), ProbeConfig(verified=False), seed=0), [TOLD_BY_ANA])
    assert len(kept) == 3


def test_a_mark_of_a_list_is_no_part_of_a_note_and_a_number_is():
    listed = {**DRAWN, "She is a nurse and has two cats!": "1. 23 cats are hers.\n2) Ana is ill."}
    assert [note.text for note in drawn(drawn=listed)][1:] == ["23 cats are hers.", "Ana is ill."]


def test_sentences_stand_in_where_a_model_draws_none():
    texts = [note.text for note in drawn(notes="sentences")]
    assert texts == ["Ana moved to Rome yesterday.", "She is a nurse and has two cats!"]
    assert drawn(notes="whole") == []


@pytest.mark.parametrize(
    ("sentence", "is_asked"),
    [
        ("Rate limit is 120 a minute per api key, sits in redis.", True),
        ("It'll be Felix's birthday on the 22nd of May.", True),
        ("Hello!", False),
        ("Guten Tag!", False),
        ("Dzień dobry!", False),
        ("谢谢！", False),
        ("Привет!", False),
        ("Gracias.", False),
        ("Danke, tschüss!", False),
        ("Hello, how are you?", False),
        ("Don't laugh.", False),
        ("Where does Felix live?", False),
    ],
)
def test_small_talk_is_not_asked_about_and_what_names_something_is(sentence, is_asked):
    said = replace(TOLD_BY_ANA, text=sentence)
    notes = draw(Teacher(Writer(notes="sentences"), ProbeConfig(), seed=0), [said])
    assert [note.text for note in notes] == [sentence] * is_asked


def test_a_note_is_questioned_as_if_it_had_been_told_alone():
    notes = drawn()
    units = Units([TOLD_BY_ANA], notes)
    assert [unit.text for unit in units.all] == [note.text for note in notes]
    assert {unit.date for unit in units.all} == {TOLD_BY_ANA.date}
    assert units.source(units.all[0].id) == TOLD_BY_ANA
    asked = units.asked({TOLD_BY_ANA.id: ["Where is Ana?"]})
    assert asked == {unit.id: ["Where is Ana?"] for unit in units.all}


def test_a_sentence_that_stands_in_keeps_its_speaker_and_what_it_answers():
    said = replace(TOLD_BY_ANA, text="In Rome.", speaker="Ana", answers="Where do you live?")
    [note] = draw(Teacher(Writer(notes="sentences"), ProbeConfig(), seed=0), [said])
    [unit] = Units([said], [note]).all
    assert (unit.speaker, unit.answers) == ("Ana", "Where do you live?")
    asked = Probe("p", unit.id, "night-0001", Kind.FACT, Role.EXAM, "Where does Ana live?", "Rome")
    units = Units([said], [note])
    assert units.probe(asked).context == (line_of(said),)
    [drawn_unit] = Units([said], [Note(said.id, "Ana lives in Rome.", "In Rome.")]).all
    assert (drawn_unit.speaker, drawn_unit.answers) == (None, None)


def test_an_episode_without_notes_is_questioned_only_where_none_are_drawn():
    asks = Episode(ALICE, "Just put it on the list, please.")
    assert gives_none(asks, kind="sentences")
    # What the model draws of it, and whether it does, nobody knows before.
    assert not gives_none(asks, kind="drawn")
    assert not gives_none(asks, kind="whole")
    assert not gives_none(TOLD_BY_ANA, kind="sentences")
    told = drawn()
    assert Units([asks, TOLD_BY_ANA], told).all == Units([TOLD_BY_ANA], told).all
    assert Units([asks], [], whole=True).all == [asks]
    # Beside others it stands as it was said.
    assert Units([TOLD_BY_ANA], told).of([asks]) == [asks]


def test_what_was_asked_before_stands_beside_the_first_sentence_alone():
    said = replace(
        TOLD_BY_ANA,
        text="...\nIn Rome. My brother has a boat.\nAna is well.",
        answers="Where do you live?",
    )
    notes = draw(Teacher(Writer(notes="sentences"), ProbeConfig(), seed=0), [said])
    units = Units([said], notes).all
    assert [(unit.text, unit.answers) for unit in units] == [
        ("In Rome.", "Where do you live?"),
        ("My brother has a boat.", None),
        ("Ana is well.", None),
    ]
    # What is left of a message of which no notes are drawn is one text.
    rest = said.text.removesuffix("\nAna is well.")
    [unit] = Units([said], [Note(said.id, rest, rest)]).all
    assert unit.answers == "Where do you live?"


def test_what_was_asked_of_a_note_is_about_its_episode():
    notes = drawn()
    units = Units([TOLD_BY_ANA], notes)
    nurse = units.all[1]
    probe = Probe("p", nurse.id, "night-0001", Kind.FACT, Role.EXAM, "What is Ana?", "a nurse")
    about = units.probe(probe)
    assert (about.episode_id, about.note_id) == (TOLD_BY_ANA.id, notes[1].id)
    assert about.context == (memory_line(TOLD_BY_ANA.date, "Ana is a nurse."),)


def test_an_episode_is_corrected_only_with_all_its_notes():
    other = Episode(ALICE, "Ana lives in Oslo now.", created_at="2026-05-09T12:00:00+00:00")
    news = Note(other.id, "Ana lives in Oslo.", other.text)
    notes = drawn()
    units = Units([TOLD_BY_ANA, other], [*notes, news])
    *old, new = [unit.id for unit in units.all]
    assert units.replaced({old[0]: new}) == {notes[0].id: news.id}
    assert units.superseded({old[0]: new}, alone=lambda one: False) == {}
    assert units.superseded(dict.fromkeys(old, new), alone=lambda one: False) == {
        TOLD_BY_ANA.id: other.id
    }


def test_an_episode_with_a_sentence_that_has_no_note_is_never_corrected_as_a_whole():
    other = Episode(ALICE, "Ana lives in Oslo now.", created_at="2026-05-09T12:00:00+00:00")
    news = Note(other.id, "Ana lives in Oslo.", other.text)
    withheld = Note(TOLD_BY_ANA.id, "", "Her number is 020 7946 0018.")
    units = Units([TOLD_BY_ANA, other], [*drawn(), withheld, news])
    *old, new = [unit.id for unit in units.all]
    assert len(units.replaced(dict.fromkeys(old, new))) == len(old)
    assert units.superseded(dict.fromkeys(old, new), alone=lambda one: False) == {}


def test_an_episode_without_notes_is_corrected_only_where_it_tells_one_statement():
    other = Episode(ALICE, "Ana lives in Oslo now.", created_at="2026-05-09T12:00:00+00:00")
    news = Note(other.id, "Ana lives in Oslo.", other.text)
    units = Units([other], [news])
    [new] = [unit.id for unit in units.all]
    assert units.superseded({TOLD_BY_ANA.id: new}, alone=lambda one: False) == {}
    alone = units.superseded({TOLD_BY_ANA.id: new}, alone=lambda one: one == TOLD_BY_ANA.id)
    assert alone == {TOLD_BY_ANA.id: other.id}


def test_a_note_that_a_rule_holds_by_now_is_not_taught():
    notes = drawn()
    units = Units([TOLD_BY_ANA], notes, rule=lambda text: Rule.QUOTED if "nurse" in text else None)
    assert [unit.text for unit in units.all] == [notes[0].text]
    assert set(units.held) == {(TOLD_BY_ANA, Rule.QUOTED)}
    # Nor is its episode corrected with the others.
    assert units.superseded({units.all[0].id: "news"}, alone=lambda one: False) == {}


def test_what_is_taught_of_an_episode_is_not_replaced_by_how_it_was_said():
    said = replace(TOLD_BY_ANA, text="In Rome.", answers="Tom has moved. Where do you live?")
    taught = replace(said, answers="Where do you live?", part_of=said.id)
    [note] = draw(Teacher(Writer(notes="sentences"), ProbeConfig(), seed=0), [taught])
    units = Units([taught], [note])
    units.of([said])  # as the archive knows it
    assert units.source(units.all[0].id) == taught


def test_an_episode_is_proven_only_with_all_its_notes():
    notes = drawn()
    units = Units([TOLD_BY_ANA], notes)
    probes = []
    for number, unit in enumerate(units.all):
        probe = Probe(str(number), unit.id, "night-0001", Kind.FACT, Role.EXAM, "q", "a")
        probes.append(units.probe(probe))
    everything = {probe.id for probe in probes}
    assert exam.proven_episodes(probes, everything, notes=notes) == [TOLD_BY_ANA.id]
    assert exam.proven_episodes(probes, everything - {"1"}, notes=notes) == []
    assert exam.proven_episodes(probes[:2], everything, notes=notes) == []
    untold = Note(TOLD_BY_ANA.id, "", "Whatever it was.")
    assert exam.proven_episodes(probes, everything, notes=[*notes, untold]) == []
