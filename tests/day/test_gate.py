from sleepmem.config import GateConfig
from sleepmem.day.gate import Choice, choose
from sleepmem.records import Neighbour as Near
from sleepmem.records import View

ASKED = "Where does Mara live?"
TAUGHT = "Mara lives in Brenport."
KNOWN = Near("p", "In which town does Mara live?", 0.8, TAUGHT)
FRESH = Near("e", "Mara moved to Oslo.", 0.5, "Mara moved to Oslo.")
GATE = GateConfig(known=0.7, near=0.2)


def decide(known: list[Near], buffered: list[Near]) -> Choice:
    return choose(ASKED, known, buffered=buffered, config=GATE)


def test_nothing_known_retrieves():
    choice = decide([], [])
    assert (choice.view, choice.similarity) == (View.RETRIEVAL, 0.0)
    assert "known question" in choice.reason


def test_a_known_question_is_answered_from_the_weights():
    choice = decide([KNOWN], [])
    assert (choice.view, choice.similarity) == (View.WEIGHTS, 0.8)


def test_a_buffered_episode_about_the_same_is_read_beside_the_one_that_taught():
    choice = decide([KNOWN], [FRESH])
    assert (choice.view, choice.similarity, choice.taught) == (View.RETRIEVAL, 0.5, TAUGHT)
    assert "fresher" in choice.reason
    assert decide([KNOWN], []).taught == ""


def test_a_far_episode_is_not_fresher():
    assert decide([KNOWN], [FRESH._replace(similarity=0.19)]).view is View.WEIGHTS


def test_an_episode_about_someone_else_is_not_fresher():
    assert (
        decide([KNOWN], [Near("e", "Jon moved to Oslo.", 0.9, "Jon moved to Oslo.")]).view
        is View.WEIGHTS
    )


def test_a_far_known_question_is_not_trusted():
    choice = decide([KNOWN._replace(similarity=0.69)], [])
    assert (choice.view, choice.similarity) == (View.RETRIEVAL, 0.69)


def test_a_known_question_about_someone_else_is_not_trusted():
    assert (
        decide([Near("p", "Where does Jon live?", 0.99, "Jon lives in Brenport.")], []).view
        is View.RETRIEVAL
    )


def test_the_second_nearest_may_be_the_one_about_the_same_name():
    known = [
        Near("p", "Where does Jon live?", 0.95, "Jon lives in Brenport."),
        Near("q", "Where is Mara at home?", 0.75, TAUGHT),
    ]
    assert decide(known, []).similarity == 0.75


def test_the_threshold_of_the_known_question_is_inclusive():
    assert decide([KNOWN._replace(similarity=0.7)], []).view is View.WEIGHTS


def test_what_was_forgotten_is_no_news_and_read_only_when_nearer_than_what_taught_the_answer():
    def decide_beside(own: float, *more: Near) -> Choice:
        return choose(
            ASKED,
            [KNOWN],
            buffered=[FRESH, *more],
            config=GATE,
            stale=lambda taught: {FRESH.id} if taught == TAUGHT else set(),
            similarity={TAUGHT: own}.__getitem__,
        )

    assert decide_beside(0.6).view is View.WEIGHTS
    nearer = decide_beside(0.4)
    assert (nearer.view, nearer.similarity, nearer.taught) == (View.RETRIEVAL, 0.5, TAUGHT)
    assert "forgotten" in nearer.reason
    news = decide_beside(0.6, FRESH._replace(id="n", similarity=0.3))
    assert (news.view, news.similarity) == (View.RETRIEVAL, 0.3)


def test_what_names_the_middle_of_a_chain_is_fresher():
    taught = "The leader of Karo is Mara.\nMara lives in Brenport."
    known = [Near("p", "Where does the leader of Karo live?", 0.9, taught)]

    def decided(text):
        near = [Near("e", text, 0.1, text)]
        question = "Where does the leader of Karo live?"
        return choose(question, known, buffered=near, config=GateConfig()).view

    assert decided("Mara has moved to Oslo.") is View.RETRIEVAL
    assert decided("The sea is in Jon's picture.") is View.WEIGHTS
