"""The guard: what it refuses, with which reason, and what it lets through."""

import dataclasses

import pytest
from _dreams import LEADS, LIVES, Scripted, episode

from sleepmem.config import DreamConfig
from sleepmem.night.dreaming.dream import Dream, Fate
from sleepmem.night.dreaming.guard import Ground, guard
from sleepmem.text.prompts import ABSTENTION

HONEST = Scripted({"Who leads Karo?": "Mara."})
GOOD = Dream((LEADS,), "", "Question: Who leads Karo? Answer: Mara.")


class Reader:
    """Reads the memories it is given, as `answer_from` says."""

    def __init__(self, answer_from):
        self.answer_from = answer_from

    def answer(self, chats, *experts, **settings):
        return [self.answer_from(chat[0]["content"]) for chat in chats]


def judged(local, dreams, questions=(), lines=(), links=(), strangers=()):
    ground = Ground(questions, lambda question, context: list(lines), links, strangers)
    return guard(local, dreams, ground=ground, config=DreamConfig())


def fates(dreams):
    return [dream.fate for dream in dreams]


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("Something else.", Fate.UNREADABLE),
        ("Question: Who leads Karo? Answer: I do not know.", Fate.UNREADABLE),
        ("Question: Who leads Zorin? Answer: Mara.", Fate.FOREIGN),
        ("Question: Who leads Karo? Answer: Pia.", Fate.FOREIGN),
        ("Question: What does Mara lead? Answer: Karo.", Fate.REPEATED),
        ("Question: what does  Mara lead ? Answer: Karo.", Fate.REPEATED),
        ("Question: Who who who leads leads Karo? Answer: Mara.", Fate.UNREADABLE),
        ("Question: Who is led by Karo? Answer: Mara.", Fate.CONTRADICTS),
    ],
)
def test_the_guard_refuses_with_a_reason(text, fate):
    dream = Dream((LEADS,), "", text)
    sound, refused = judged(HONEST, [dream], questions={"What does Mara lead?"})
    assert (sound, fates(refused)) == ([], [fate])


def test_the_guard_lets_through_what_the_memories_answer_alike_once():
    sound, refused = judged(HONEST, [GOOD, GOOD])
    assert [dream.pair for dream in sound] == [("Who leads Karo?", "Mara.")]
    assert fates(refused) == [Fate.REPEATED]


def test_the_guard_refuses_what_the_ledger_contradicts_and_what_mixes_owners():
    newest_wins = Reader(lambda memories: "Pia." if "Pia" in memories else "Mara.")
    newer = "2030-02-01: Karo has a new leader, Pia."
    _, refused = judged(newest_wins, [GOOD], lines=[newer])
    assert fates(refused) == [Fate.CONTRADICTS]
    bobs = episode("Karo is led by Mara.", owner=("bob",))
    mixed = dataclasses.replace(GOOD, context=(LEADS, bobs))
    _, refused = judged(newest_wins, [mixed])
    assert fates(refused) == [Fate.MIXED]


def test_the_guard_refuses_what_is_answered_alike_about_somebody_else():
    deaf = Scripted({"Who leads Karo?": "Mara.", "Who leads Vosk?": "Mara."})
    _, refused = judged(deaf, [GOOD], strangers=["Vosk"])
    assert fates(refused) == [Fate.LOOSE]
    sound, _ = judged(HONEST, [GOOD], strangers=["Vosk"])
    assert len(sound) == 1


def test_a_question_that_needs_both_memories_is_believed_only_where_one_leads_to_the_other():
    def chain(memories):
        reads_both = "leader of Karo is" in memories and "Brenport" in memories
        return "Brenport." if reads_both else ABSTENTION

    text = "Question: Where does the leader of Karo live? Answer: Brenport."
    chained = Dream((LEADS, LIVES), "", text)
    links = {frozenset((LEADS.id, LIVES.id))}
    sound, _ = judged(Reader(chain), [chained], links=links, strangers=["Vosk"])
    assert len(sound) == 1
    _, refused = judged(Reader(chain), [chained], strangers=["Vosk"])
    assert fates(refused) == [Fate.APART]
