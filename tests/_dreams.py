"""Memories to dream about, and dreams made by hand."""

from sleepmem.config import DreamConfig
from sleepmem.night.dreaming.dream import Dream
from sleepmem.records import Episode
from sleepmem.text.prompts import ABSTENTION

ALICE = ("alice",)
CONFIG = DreamConfig(steps=3, lr=1e-2, copies=4, dreams_tried=2, random=1)


def episode(text, day=1, owner=ALICE):
    return Episode(owner, text, created_at=f"2030-01-{day:02d}T00:00:00+00:00")


LEADS = episode("The leader of Karo is Mara.", 1)
LIVES = episode("Back home Mara lives in Brenport.", 2)
BOAT = episode("The boat of Jon is red.", 3)


def dreamt(question="", answer="", context=(LEADS,), *, text="", **more):
    text = text or f"Question: {question} Answer: {answer}"
    return Dream(context, "", text, question, answer, **more)


class Scripted:
    """Answers what the table says, whatever the memories; abstains from all else."""

    def __init__(self, replies):
        self.replies = replies

    def answer(self, chats, *experts, **settings):
        return [self.replies.get(chat[-1]["content"], ABSTENTION) for chat in chats]
