"""What counts as a correction where notes are taught: a reader that takes any two for one."""

import pytest

from sleepmem.config import ProbeConfig
from sleepmem.model.profiles import Profile
from sleepmem.night.probing.corrections import find_corrections
from sleepmem.night.probing.pairs import Checked, Pair
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.prompts import ABSTENTION, REPLACES

OLD = Episode(("alice",), "Mara lives in Rome.", created_at="2026-05-04T12:00:00+00:00")
NEW = Episode(("alice",), "Mara lives in Oslo.", created_at="2026-05-09T12:00:00+00:00")
WORDINGS = [
    f"{ask} does Mara live?" for ask in ("Where", "In which city", "What place", "Wherever")
]


class Reader:
    """Reads the old place from these questions; from others nothing."""

    def __init__(self, misread):
        self.context_length, self.profile = 1000, Profile(notes="sentences")
        self.misread = misread

    def count_tokens(self, text):
        return len(text.split())

    def answer(self, chats, experts=(), **settings):
        return [self._one(chat[0]["content"], chat[-1]["content"]) for chat in chats]

    def _one(self, context, asked):
        if asked == REPLACES:
            return "yes"
        return "Rome." if OLD.text in context and asked in self.misread else ABSTENTION


@pytest.mark.parametrize(
    ("wordings", "misread", "corrected"),
    [(4, 4, True), (4, 2, True), (4, 1, False), (2, 2, True), (2, 1, False), (1, 1, False)],
)
def test_half_of_the_wordings_must_bring_the_old_value_up_and_never_one_alone(
    wordings, misread, corrected
):
    pairs = [Pair(NEW.id, question, "Oslo.") for question in WORDINGS[:wordings]]
    found = find_corrections(
        Teacher(Reader(WORDINGS[:misread]), ProbeConfig(), seed=0),
        Checked(pairs, pairs),
        by_id={OLD.id: OLD, NEW.id: NEW},
        archive=lambda question: [OLD, NEW],
    )
    assert found.newer_of == ({OLD.id: NEW.id} if corrected else {})


def test_a_question_that_is_checked_again_is_one_question():
    pair, same = Pair("e", "Where?", "Bern", from_user=True), Pair("e", "Where?", "Basel")
    other = Pair("f", "Where?", "Basel")
    joined = Checked([pair], []).joined(Checked([same, other], [other]))
    assert joined == Checked([pair, other], [other])
