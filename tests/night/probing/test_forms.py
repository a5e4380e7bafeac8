"""In what forms a note is asked: both ways round, in a request, again where none held up."""

import itertools
from dataclasses import replace

from sleepmem.config import ProbeConfig
from sleepmem.model.profiles import Profile
from sleepmem.model.replies import Reply
from sleepmem.night.probing import probe as probing
from sleepmem.night.probing.pairs import reworded, write_pairs
from sleepmem.night.probing.requests import write_requests
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode, Kind, Role
from sleepmem.text.prompts import (
    ABSTENTION,
    DREAM,
    REQUEST,
    REWORD,
    WRITE_PAIR,
    format_pair,
    line_of,
)

OSLO = Episode(("alice",), "My aunt Ana lives in Oslo.", created_at="2026-05-04T12:00:00+00:00")
WHERE, WHO = "Where does Ana live?", "Which aunt of mine lives in Oslo?"
CARD = "Address a card to Ana."


class Reader:
    """Asks and replies as told; what it reads is in the system message."""

    context_length = 1000

    def __init__(self, written, replies, notes="drawn"):
        self.written, self.replies, self.profile = written, replies, Profile(notes=notes)
        self.asked, self.reads = [], OSLO

    def reply(self, chats, experts=()):
        return [Reply(text, 1.0) for text in self.answer(chats, experts)]

    def answer(self, chats, experts=(), **more):
        answers = []
        for chat in chats:
            asked, reads = (
                chat[-1]["content"],
                len(chat) > 1 and line_of(self.reads) in chat[0]["content"],
            )
            self.asked.append(asked)
            if asked in self.written:
                answers.append(next(self.written[asked]))
            else:
                answers.append(self.replies.get((asked, reads), ABSTENTION))
        return answers

    def count_tokens(self, text):
        return len(text.split())


def teacher(written, replies=(), *, notes="drawn", **config):
    writes = {asked: itertools.cycle(texts) for asked, texts in written.items()}
    return Teacher(Reader(writes, dict(replies), notes), ProbeConfig(**config), seed=0)


def test_a_note_is_asked_the_other_way_round_too():
    written = {
        WRITE_PAIR: [format_pair(WHERE, "Oslo")],
        DREAM: [format_pair(WHO, "Ana")],
    }
    pairs = write_pairs(teacher(written), [OSLO], asked={})
    assert [(pair.question, pair.answer) for pair in pairs] == [(WHERE, "Oslo"), (WHO, "Ana")]
    for one in (teacher(written, turned=0), teacher(written, notes="whole")):
        assert [pair.question for pair in write_pairs(one, [OSLO], asked={})] == [WHERE]


def pairs_of(said, written, *, asked=(), **config):
    """What is asked about it, in these written pairs and by users, and in other words."""
    one = teacher(written, {(question, True): answer for question, answer in asked}, **config)
    one.local.reads = said
    pairs = write_pairs(one, [said], asked={said.id: [question for question, _ in asked]})
    pairs += reworded(one, pairs, episodes=[said])
    return [(pair.question, pair.answer) for pair in pairs]


def test_the_word_that_marks_what_the_agent_said_is_in_no_question_and_no_answer():
    said = replace(OSLO, text="We shared a room.", answers="Who is Howard?")
    written = {
        WRITE_PAIR: [
            format_pair("Who is Howard?", "The agent."),
            format_pair("What did the agent share?", "a room"),
            format_pair("What did we share?", "a room"),
        ],
        REWORD + "What did we share?": ["What was shared with the agent?", "What was shared?"],
    }
    shared = {"samples": 3, "turned": 0, "rewordings": 2}
    kept = [("What did we share?", "a room"), ("What was shared?", "a room")]
    assert pairs_of(said, written, asked=[("Who was it?", "agent")], **shared) == kept
    # Whoever said the word himself may be asked about it.
    said = replace(said, text="We shared an agent.")
    written = {WRITE_PAIR: [format_pair("Whom did we share?", "An agent.")]}
    assert pairs_of(said, written, turned=0, rewordings=0) == [("Whom did we share?", "An agent.")]


def test_what_confirms_a_question_or_repeats_it_is_an_answer():
    said = replace(OSLO, text="Yes.", answers="Do you live in Oslo?")
    told = [("Do I live in Oslo?", "Yes."), ("Where do I live?", "Oslo")]
    written = {WRITE_PAIR: [format_pair(*pair) for pair in told]}
    assert pairs_of(said, written, turned=0, rewordings=0) == told


def test_a_request_needs_what_only_the_memory_tells():
    written = {REQUEST: [CARD, "Address a card to Ana in Oslo.", "Sing."]}
    replies = {
        (CARD, True): "To Ana, Oslo.",
        (CARD, False): "To Ana, at home.",
        ("Address a card to Ana in Oslo.", True): "To Ana, Oslo.",
        ("Sing.", True): "La la la.",
    }
    pairs = write_requests(teacher(written, replies, requests=3), [OSLO])
    assert [(pair.question, pair.answer) for pair in pairs] == [(CARD, "To Ana, Oslo.")]
    known = {**replies, (CARD, False): "To Ana, in Oslo as ever."}
    assert write_requests(teacher(written, known, requests=3), [OSLO]) == []


def questioned(written, replies, **config):
    found = teacher(
        written,
        replies,
        **{"samples": 2, "turned": 0, "inventions": 0, "unsaid": 0, "rewordings": 0, **config},
    )
    ids = probing.ProbeIds("night-0001")
    made = probing.question(found, [OSLO], archive=lambda question: [], asked={}, ids=ids)
    return made.probes, found.local.asked


def test_requests_teach_and_prove_nothing():
    other = "In which city is Ana?"
    written = {
        WRITE_PAIR: [format_pair(WHERE, "Oslo"), format_pair(other, "Oslo")],
        REQUEST: [CARD],
    }
    replies = {(WHERE, True): "Oslo", (other, True): "Oslo", (CARD, True): "To Ana, Oslo."}
    probes, _ = questioned(written, replies)
    assert [(one.kind, one.role) for one in probes if one.question == CARD] == [
        (Kind.REQUEST, Role.TRAIN)
    ]
    assert {one.question for one in probes if one.kind is Kind.FACT} == {WHERE, other}


def test_a_note_of_which_nothing_held_up_is_questioned_again():
    written = {WRITE_PAIR: [format_pair(WHERE, "Rome")]}
    for retries in (0, 2):
        _, asked = questioned(written, {(WHERE, True): "Oslo"}, retries=retries)
        assert asked.count(WRITE_PAIR) == 2 * (1 + retries)
