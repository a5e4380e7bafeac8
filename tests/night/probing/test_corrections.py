"""What counts as a correction where notes are taught: a reader that takes any two for one."""

import pytest

from sleepmem.config import ProbeConfig
from sleepmem.model.profiles import Profile
from sleepmem.night.probing.corrections import find_corrections
from sleepmem.night.probing.pairs import Checked, Pair
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.prompts import ABSTENTION, DREAM, REPLACES, WRITE_PAIR, format_pair

OLD = Episode(("alice",), "Mara lives in Rome.", created_at="2026-05-04T12:00:00+00:00")
NEW = Episode(("alice",), "Mara lives in Oslo.", created_at="2026-05-09T12:00:00+00:00")
WORDINGS = [
    f"{ask} does Mara live?" for ask in ("Where", "In which city", "What place", "Wherever")
]


class Reader:
    """Reads the old place from these questions; of the others some it answers by the newest."""

    def __init__(self, misread=(), *, newest=(), replaces="yes", writes=""):
        self.context_length, self.profile = 1000, Profile(notes="sentences")
        self.misread, self.newest = misread, newest
        self.replaces, self.writes = replaces, writes

    def count_tokens(self, text):
        return len(text.split())

    def answer(self, chats, experts=(), **settings):
        return [self._one(chat[0]["content"], chat[-1]["content"]) for chat in chats]

    def _one(self, context, asked):
        if asked == REPLACES:
            return self.replaces
        if asked in (WRITE_PAIR, DREAM):
            return self.writes if OLD.text in context else ""
        if asked in self.newest and NEW.text in context:
            return "Oslo."
        return "Rome." if OLD.text in context and asked in self.misread else ABSTENTION


def corrected(reader, pairs, *, alone=(), asked=()):
    """Which episodes these pairs about the newer one correct; `asked` about the older before."""
    found = find_corrections(
        Teacher(reader, ProbeConfig(), seed=0),
        Checked([*pairs, *alone], pairs),
        by_id={OLD.id: OLD, NEW.id: NEW},
        archive=lambda question: [OLD, NEW],
        asked=lambda episode_id: list(asked) if episode_id == OLD.id else [],
    )
    return found.newer_of


NOW = [Pair(NEW.id, question, "Oslo.") for question in WORDINGS]
HOME = [Pair(OLD.id, f"{ask} is Mara's home?", "Rome.") for ask in ("Where", "What", "Which city")]


@pytest.mark.parametrize(
    ("wordings", "misread", "is_corrected"),
    [(4, 4, True), (4, 2, True), (4, 1, False), (2, 2, True), (2, 1, False), (1, 1, False)],
)
def test_half_of_the_wordings_must_bring_the_old_value_up_and_never_one_alone(
    wordings, misread, is_corrected
):
    reader = Reader(WORDINGS[:misread], newest=[pair.question for pair in HOME])
    found = corrected(reader, NOW[:wordings], asked=HOME)
    assert found == ({OLD.id: NEW.id} if is_corrected else {})


@pytest.mark.parametrize(
    ("asked", "newest", "is_corrected"), [(2, 2, True), (2, 1, True), (3, 1, False), (0, 3, False)]
)
def test_what_was_asked_about_the_older_must_be_answered_by_the_newer(asked, newest, is_corrected):
    reader = Reader(WORDINGS, newest=[pair.question for pair in HOME[:newest]])
    found = {OLD.id: NEW.id} if is_corrected else {}
    assert corrected(reader, NOW, asked=HOME[:asked]) == found
    # Tonight's questions about it count as those of earlier nights, each once.
    assert corrected(reader, NOW, alone=HOME[:asked]) == found
    assert corrected(reader, NOW, alone=HOME[:asked], asked=HOME[:asked]) == found
    # A question about something else that both tell keeps nothing from being corrected.
    who = [Pair(OLD.id, "Who moves?", "Mara"), Pair(OLD.id, "Who is it?", "Mara")]
    assert corrected(reader, NOW, asked=[*HOME[:asked], *who]) == found


@pytest.mark.parametrize(
    ("answer", "newest", "is_corrected"),
    [("Rome.", HOME[:1], True), ("Rome.", [], False), ("Mara.", HOME[:1], False)],
)
def test_what_no_night_asked_about_the_older_is_asked_now(answer, newest, is_corrected):
    asked = HOME[0].question
    reader = Reader(
        [*WORDINGS, asked],
        newest=[pair.question for pair in newest],
        writes=format_pair(asked, answer),
    )
    who = [Pair(OLD.id, "Who moves?", "Mara"), Pair(OLD.id, "Who is it?", "Mara")]
    assert corrected(reader, NOW, asked=who) == ({OLD.id: NEW.id} if is_corrected else {})


def test_two_values_that_hold_together_correct_nothing():
    reader = Reader(WORDINGS, newest=[pair.question for pair in HOME], replaces="no")
    assert corrected(reader, NOW, asked=HOME) == {}


def test_a_question_that_is_checked_again_is_one_question():
    pair, same = Pair("e", "Where?", "Bern", from_user=True), Pair("e", "Where?", "Basel")
    other = Pair("f", "Where?", "Basel")
    joined = Checked([pair], []).joined(Checked([same, other], [other]))
    assert joined == Checked([pair, other], [other])
