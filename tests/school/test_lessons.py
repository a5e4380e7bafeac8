"""What a school teaches: right for every filling, asked in the memory's own prompts."""

import collections
import json
import random
from datetime import date

import pytest

from sleepmem.embedded.words import is_test
from sleepmem.evals.fit import people
from sleepmem.school import lessons, slots, topics
from sleepmem.school.texts import Texts
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import NOTES, TOLD, WRITE_PAIR, parse_pair
from sleepmem.text.terms import terms

DAY = date(2026, 5, 5)
EVERY = range(len(topics.written()))
NOTHING = Texts(None, [("Hi.", "Hello!")])


def made(number, seed=0):
    return topics.message(random.Random(seed), [number], day=DAY, talk=0)


@pytest.mark.parametrize("number", EVERY)
def test_a_topic_is_right_for_every_filling(number):
    assert slots.missing(json.dumps(topics.written()[number])) == set()
    for seed in range(3):
        message = made(number, seed)
        told = {note.text for _, notes in message.parts for note in notes}
        assert len(told) == len(topics.written()[number]["notes"])
        for note in message.notes:
            assert "{" not in note.text
            for asked in [*note.asked, *note.inverse]:
                assert matches(note.text, asked.answer), (note.text, asked)
                assert not any(matches(question, asked.answer) for question in asked.wordings)
        for request in message.requests:
            assert request.needs
            asked = {*terms("\n".join(request.wordings))}
            needed = {*terms(" ".join(note.text for note in request.needs))} - asked
            assert needed & {*terms(request.reply)}, request
        for news in message.news:
            assert matches(news.note.text, news.note.asked[0].answer)
            assert news.old in [asked for note in message.notes for asked in note.asked]


def test_relative_days_are_told_by_the_date():
    filled = slots.Slots(random.Random(0), date(2026, 1, 1)).fill
    assert (
        filled("{yesterday}, {last_month}, {next_year}") == "31 December 2025, December 2025, 2027"
    )
    on = date(2026, 5, 4)  # a Monday
    both = slots.Slots(random.Random(0), on).fill("{weekday_next} {date_weekday_next}").split()
    day = date(int(both[3]), 5, int(both[1]))
    assert (day - on).days in range(1, 8)
    assert f"{day:%A}" == both[0]


def test_a_slot_keeps_its_value_and_another_digit_is_another_value():
    filled = slots.Slots(random.Random(0), DAY).fill
    assert filled("{city}") == filled("{city}") != filled("{city2}")


def test_a_lesson_asks_in_the_prompts_of_the_memory_and_answers_them():
    rng, kinds = random.Random(0), collections.Counter()
    for _ in range(400):
        one = lessons.lesson(rng, NOTHING)
        roles = [message["role"] for message in one.messages]
        start = roles[0] == "system"
        assert roles[start:] == ["user", "assistant"] * (len(roles[start:]) // 2)
        asked = [message["content"] for message in one.messages if message["role"] == "user"]
        answers = [message["content"] for message in one.messages if message["role"] == "assistant"]
        for question, answer in zip(asked, answers, strict=True):
            assert answer
            kinds["abstains"] += abstains(answer)
            kinds["notes"] += question.startswith(NOTES)
            if question == WRITE_PAIR:
                kinds["pairs"] += 1
                assert parse_pair(answer)
        kinds["kept"] += one.keeps
    assert min(kinds["abstains"], kinds["notes"], kinds["pairs"], kinds["kept"]) > 20


def test_what_a_memory_does_not_tell_is_no_note_of_it():
    rng, said = random.Random(0), collections.Counter()
    for _ in range(200):
        one = lessons._told(rng, NOTHING)
        for asked, answer in zip(one.messages[1::2], one.messages[2::2], strict=True):
            note = asked["content"].removeprefix(TOLD)
            assert note != asked["content"]
            said[answer["content"]] += 1
    assert min(said["yes"], said["no"]) > 100
    shown = topics.message(rng, [0, 1, 2], day=DAY)
    for note in shown.notes:
        assert lessons._falsified(rng, note, shown) not in {one.text for one in shown.notes}


def test_a_question_that_nothing_answers_is_none_of_those_that_are_answered():
    rng = random.Random(1)
    for _ in range(100):
        shown = lessons._messages(rng, 3)
        told = {wording for one in shown for asked in one.asked for wording in asked.wordings}
        assert told.isdisjoint(lessons._open(rng, shown, 5))


def test_nothing_of_what_fit_measures_is_taught():
    taught = json.dumps([topics.written(), topics.general()])
    for template in people._written()["messages"]:
        assert template["text"] not in taught
        for fact in template["facts"]:
            assert not any(json.dumps(question) in taught for question in fact["asks"])


def test_invented_names_are_of_the_side_that_may_be_learned():
    rng = random.Random(0)
    for _ in range(50):
        assert not is_test(slots._NAMES["woman"](rng, False))
