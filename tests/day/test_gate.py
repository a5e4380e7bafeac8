"""The gate weighs a question against what is known, in any script, and asks no list of words."""

import math
from dataclasses import replace

import pytest
from _corrections import AGAIN
from _corrections import TOLD as CORRECTED
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.day.gate import (
    CERTAINTY,
    EVIDENCE,
    FEATURES,
    Certainty,
    Choice,
    Fact,
    Gate,
    Words,
    choose,
    facts_near,
    linking,
    unchallenged,
    weigh,
)
from sleepmem.day.ranking import may_be_news
from sleepmem.day.ways import Ways
from sleepmem.records import Neighbour as Near
from sleepmem.records import View
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.frequencies import Frequencies
from sleepmem.text.relatedness import Relatedness
from sleepmem.text.similarity import cosine

ASKED = "Where does Mara live?"
TAUGHT = "Mara lives in Brenport."
KNOWN = Fact((ASKED, "In which town does Mara live?"), TAUGHT, 0.98)
FRESH = Near("e", "Mara moved to Oslo.", 0.5, "Mara moved to Oslo.")
# All of the evidence must be there.
STRICT = Gate(-7.5, dict.fromkeys(("core_asked", "weakest", "near", "unchallenged"), 2.0), 0.0)


def decide(known: list[Fact], buffered: list[Near], question: str = ASKED, **more) -> Choice:
    return choose(question, STRICT, known=known, buffered=buffered, **more)


def evidence(question: str, fact: Fact = KNOWN, words: Words | None = None, **more):
    seen = weigh(question, [fact], buffered=[], words=words or Words(), **more)
    return dict(zip(EVIDENCE, seen.features, strict=True))


def test_nothing_known_retrieves():
    choice = decide([], [])
    assert (choice.view, choice.similarity) == (View.RETRIEVAL, 0.0)
    assert "known question" in choice.reason


@pytest.mark.parametrize("gate", [None, replace(STRICT, threshold=None)])
def test_without_a_bound_it_stays_shut_and_says_so(gate):
    choice = choose(ASKED, gate, known=[KNOWN], buffered=[])
    assert choice.view is View.RETRIEVAL
    assert "stays shut" in choice.reason


def test_a_known_question_is_answered_from_the_weights():
    choice = decide([KNOWN], [])
    assert (choice.view, choice.similarity) == (View.WEIGHTS, 0.98)
    assert choice.margin == pytest.approx(STRICT.score(choice.evidence))


def test_a_fresher_memory_is_read_beside_the_one_that_taught():
    choice = decide([KNOWN], [FRESH], similarity=lambda text: 0.5)
    assert (choice.view, choice.similarity, choice.taught) == (View.RETRIEVAL, 0.5, TAUGHT)
    assert "fresher" in choice.reason
    assert decide([KNOWN], []).taught == ""


def test_a_memory_about_someone_else_is_not_fresher():
    other = Near("e", "Jon moved to Oslo.", 0.9, "Jon moved to Oslo.")
    assert decide([KNOWN], [other], similarity=lambda text: 0.5).view is View.WEIGHTS


def test_the_fact_that_is_about_the_same_is_held_against_the_question():
    jon = Fact(("Where does Jon live?", "Jon lives where?"), "Jon lives in Rome.", 0.9)
    mara = Fact(("Where is Mara at home?", "Where lives Mara?"), TAUGHT, 0.8)
    assert decide([jon, mara], []).similarity == 0.8


def test_what_was_forgotten_is_no_news_and_read_only_when_nearer_than_what_taught_the_answer():
    def decide_beside(own: float, *more: Near) -> Choice:
        return decide(
            [KNOWN],
            [FRESH, *more],
            stale=lambda taught: {FRESH.id} if taught == TAUGHT else set(),
            similarity={TAUGHT: own}.__getitem__,
        )

    assert decide_beside(0.6).view is View.WEIGHTS
    nearer = decide_beside(0.4)
    assert (nearer.view, nearer.similarity, nearer.taught) == (View.RETRIEVAL, 0.5, TAUGHT)
    news = decide_beside(0.6, FRESH._replace(id="n", similarity=0.4))
    assert (news.view, news.similarity) == (View.RETRIEVAL, 0.4)


@pytest.mark.parametrize(
    ("taught", "question", "leading", "other"),
    [
        (
            "the leader of karo is mara.\nmara lives in brenport.",
            "where does the leader of karo live?",
            "mara has moved to oslo.",
            "the sea is in the picture of jon.",
        ),
        (
            "カロのリーダーはマラです。\nマラはブレンに住んでいます。",
            "カロのリーダーはどこに住んでいますか。",
            "マラはオスロに引っ越した。",
            "ジョンは海の絵を描いた。",
        ),
    ],
)
def test_what_names_the_middle_of_a_chain_leads_on_without_capitals(
    taught, question, leading, other
):
    known = [Fact((question,), taught, 0.99)]
    common = ["the", "of", "is", "in", "ます", "いま", "てい", "です"]
    words = Words(Frequencies(100, dict.fromkeys(common, 60)))

    def decided(text: str) -> Choice:
        near = [Near("e", text, 0.1, text)]
        return choose(question, replace(STRICT, words=words), known=known, buffered=near)

    assert decided(leading).fresher == ("e",)
    assert decided(leading).view is View.RETRIEVAL
    assert decided(other).view is View.WEIGHTS
    assert linking(TAUGHT, Frequencies()) == set()


# In five scripts: a fact in two wordings and the memory that taught it; the same in another
# wording, then of somebody else, with the roles swapped, denied, and with another number.
SCRIPTS = {
    "English": (
        ("Who is the boss of Mara?", "What is the boss of Mara called?"),
        "The boss of Mara is Jon.",
        ("Who is the boss of Zoltan?", "Who is Mara the boss of?", "Who is not the boss of Mara?"),
    ),
    "Korean": (
        ("마라의 상사는 누구입니까?", "마라의 상사 이름은 무엇입니까?"),
        "마라의 상사는 존입니다.",
        (
            "졸탄의 상사는 누구입니까?",
            "상사는 마라의 누구입니까?",
            "마라의 상사는 누구가 아닙니까?",
        ),
    ),
    "Japanese": (
        ("マラの上司は誰ですか。", "マラの上司の名前は何ですか。"),
        "マラの上司はジョンです。",
        (
            "ゾルタンの上司は誰ですか。",
            "上司のマラは誰ですか。",
            "マラの上司は誰ではありませんか。",
        ),
    ),
    "Chinese": (
        ("马拉的上司是谁?", "马拉的上司叫什么名字?"),
        "马拉的上司是约翰。",
        ("佐尔坦的上司是谁?", "上司的马拉是谁?", "马拉的上司不是谁?"),
    ),
    "Arabic": (
        ("من هو رئيس مارا؟", "ما اسم رئيس مارا؟"),
        "رئيس مارا هو جون.",
        ("من هو رئيس زولتان؟", "من هو مارا رئيس؟", "من هو ليس رئيس مارا؟"),
    ),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_near_misses_have_weaker_evidence_than_the_known_question(script):
    wordings, taught, misses = SCRIPTS[script]
    fact = Fact(wordings, taught, 0.97)
    known = evidence(wordings[0], fact)
    assert known["weakest"] == known["core_asked"] == known["explained"] == 1.0
    for question in misses:
        missed = evidence(question, fact)
        assert missed["weakest"] < 0.6, question
        assert decide([fact], [], question).view is View.RETRIEVAL


@pytest.mark.parametrize("script", SCRIPTS)
def test_another_name_in_the_same_frame_leaves_the_core_unasked(script):
    wordings, taught, (other, *_) = SCRIPTS[script]
    assert evidence(other, Fact(wordings, taught, 0.97))["core_asked"] < 1


def test_swapped_roles_are_the_same_terms_in_another_order():
    wordings, taught, (_, swapped, _) = SCRIPTS["English"]
    seen = evidence(swapped, Fact(wordings, taught, 0.99))
    assert seen["explained"] == seen["core_asked"] == 1.0
    assert seen["in_order"] < 0.5


def test_another_date_is_a_number_that_nothing_explains():
    fact = Fact(
        ("What is due on 6 May?", "On 6 May what is due?"), "On 6 May the rent is due.", 0.9
    )
    assert evidence("What is due on 6 May?", fact)["numbers_known"] == 1.0
    assert evidence("What is due on 7 May?", fact)["numbers_known"] == 0.0


def test_a_word_in_which_the_like_was_asked_of_others_is_not_strange():
    alike = ["In which town does {} live?", "At what place does {} live?"]
    ways = Ways.of(
        [
            [wording.format("Jon") for wording in (*alike, "Where now does {} live?")],
            [wording.format("Mara") for wording in alike],
        ]
    )
    fact = Fact(tuple(wording.format("Mara") for wording in alike), TAUGHT, 0.9)
    asked = "Where now does Mara live?"
    assert evidence(asked, fact)["nothing_strange"] == 0.0
    assert evidence(asked, fact, Words(ways=ways))["nothing_strange"] == 1.0
    denied = evidence("In which town does Mara not live?", fact, Words(ways=ways))
    assert (denied["nothing_strange"], denied["nothing_added"]) == (0.0, 0.0)


ELSEWHERE = (
    ("{}?", ("Where does Mara live", "Where is Mara at home"), "Please: {}?"),
    ("{}?", ("마라는 어디에 삽니까", "마라의 집은 어디입니까"), "혹시 {}?"),
    ("{}؟", ("أين تسكن مارا", "ما عنوان مارا"), "رجاء {}؟"),
)


@pytest.mark.parametrize(("plain", "wordings", "polite"), ELSEWHERE)
def test_what_is_asked_with_ever_more_else_is_ever_less_strange(plain, wordings, polite):
    fact = Fact(tuple(plain.format(wording) for wording in wordings), TAUGHT, 0.9)
    asked, strangeness = polite.format(wordings[0]), []
    for count in range(4):
        facts = []
        for number in range(count):
            # Two facts that are asked alike, and like no others.
            for name in ("xo", "yo"):
                own = [f"w{number} v{number} {name}", f"u{number} t{number} {name}"]
                facts.append([own[0], polite.format(own[1])])
        seen = evidence(asked, fact, Words(ways=Ways.of(facts)))
        strangeness.append(1 - seen["nothing_strange"])
    assert strangeness == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_words_of_the_own_way_of_asking_are_none_of_another():
    alike = ("Where does {} live?", "At what place does {} live?", "Where may {} live?")
    facts = [[wording.format(name) for wording in alike] for name in ("Jon", "Mara")]
    ways, (first, strange, second) = Ways.of(facts), facts[0]
    assert ways.elsewhere("place", [first, second], hidden=[strange]) == 0
    assert ways.elsewhere("place", ["Who is Jon?", "Jon is who?"]) == 1


DRINKS = (
    ("What does {} drink?", "Which drink does {} love to drink?", "{} loves to drink {}."),
    ("{}는 무엇을 마십니까 음료?", "{}는 좋아하는 음료?", "{}는 좋아하는 음료 {}."),
)


@pytest.mark.parametrize(("first", "second", "told"), DRINKS)
def test_news_of_somebody_else_about_whom_the_same_is_asked_is_no_challenge(first, second, told):
    names = ("ana", "ben", "carl", "dora")
    facts = [[first.format(name), second.format(name)] for name in names]
    words = Words(Frequencies(9, {"drink": 2, "음료": 2}), Frequencies(), Ways.of(facts))
    fact = Fact(tuple(facts[0]), told.format("ana", "tea"), 0.9)

    def challenge(text: str) -> float:
        news = Near("e", text, 0.8, text)
        near = weigh(facts[0][0], [fact], buffered=[news], words=words, similarity=lambda _: 0.8)
        return 1 - dict(zip(EVIDENCE, near.features, strict=True))["unchallenged"]

    assert challenge(told.format("eva", "milk")) == 0.0
    assert challenge(told.format("ana", "milk")) == 1.0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Sanna", "Sanny już nie ma w Tarnbridge, jest w Ashby."),
        ("Sanna", "Sannan yeni evi Kelford'da."),
        ("Bela", "Belas neuer Wohnort ist Kelford."),
        ("Мария", "Марию теперь зовут в Казань."),
    ],
)
def test_news_that_declines_a_name_is_news_of_it(name, told):
    wordings = (f"Where does {name} live?", f"In which town does {name} live?")
    fact = Fact(wordings, f"{name} lives in Tarnbridge.", 0.9)
    words = Words(Frequencies(9, {"lives": 5, "in": 8}))

    def unchallenged_by(text: str) -> float:
        news = Near("e", text, 0.5, text)
        near = weigh(wordings[0], [fact], buffered=[news], words=words, similarity=lambda _: 0.5)
        return dict(zip(EVIDENCE, near.features, strict=True))["unchallenged"]

    assert unchallenged_by(told) == 0.0
    assert unchallenged_by("Jon już nie ma w Tarnbridge.") > 0.0


@pytest.fixture(scope="module")
def challenges():
    """Whether something told later shuts a gate that passes whatever no news speaks against."""
    embeddings, passing = default_embeddings(), Gate(0.0, {"unchallenged": 1.0}, 0.6)
    relatedness = Relatedness.measure(embeddings)

    def is_shut(question: str, taught: str, text: str, again: str = ASKED) -> bool:
        asked, own, other = embeddings.embed_documents([question, taught, text])
        choice = choose(
            question,
            passing,
            known=[Fact((question, again), taught, 1.0)],
            buffered=[Near("e", text, cosine(asked, other), text)],
            similarity=lambda _: cosine(asked, own),
            news=lambda _, one: may_be_news(relatedness, one.similarity),
        )
        return choice.view is View.RETRIEVAL

    return is_shut


def test_what_corrects_in_other_words_shuts_the_gate_and_what_is_about_something_else_does_not(
    challenges,
):
    shut = {"news": 0, "else": 0}
    for (question, taught, news, other), again in zip(CORRECTED, AGAIN, strict=True):
        shut["news"] += challenges(question, taught, news, again)
        shut["else"] += challenges(question, taught, other, again)
    assert shut["news"] >= 0.75 * len(CORRECTED), shut
    assert shut["else"] <= 0.1 * len(CORRECTED), shut


def test_where_i_live_is_no_more_where_i_lived(challenges):
    question, taught, news, other = CORRECTED[0]
    assert (question, taught) == ("Where do I live?", "I live in Rome.")
    assert challenges(question, taught, news, AGAIN[0])
    assert not challenges(question, taught, other, AGAIN[0])


@pytest.mark.parametrize("text", ["Jon moved to Oslo.", "Jon lives in Oslo.", "Eva has a boat."])
def test_news_of_another_name_is_none_in_other_words_either(challenges, text):
    assert not challenges(ASKED, TAUGHT, text)


def test_without_others_of_its_kind_all_that_a_fact_is_about_tells_it_apart():
    assert Ways().particular("mara", KNOWN.wordings) == 1.0


def test_ways_are_written_and_read():
    ways = Ways.of([["Where does Jon live?", "Jon lives where now?"], list(KNOWN.wordings)] * 2)
    assert Ways.parse(ways.as_lists()) == ways


def test_a_gate_is_written_and_read():
    words = Words(Frequencies(3, {"mara": 2}), Frequencies(2, {}), Ways.of([KNOWN.wordings] * 2))
    gate = replace(STRICT, words=words, abstention="모릅니다.", figures={"rate": 0.01})
    assert Gate.parse(gate.as_json()) == gate


def test_known_questions_of_one_fact_fall_together():
    known = [Near("a", "q1", 0.9, TAUGHT), Near("b", "q2", 0.8, TAUGHT), Near("c", "q3", 0.7, "x")]
    groups = {"a": ("f", ("q1", "q2")), "b": ("f", ("q1", "q2"))}
    first, second = facts_near(known, groups)
    assert (first.wordings, first.similarity) == (("q1", "q2"), 0.9)
    assert (second.wordings, second.taught) == (("q3",), "x")


unit = st.floats(0, 1)
features = st.tuples(*[unit] * len(EVIDENCE))
certainties = st.builds(Certainty, unit, st.floats(-50, 0))
weights = st.tuples(*[st.floats(0, 20)] * len(FEATURES))


@given(features, certainties, weights, st.floats(-20, 20))
def test_who_passes_with_a_certainty_passes_with_perfect_certainty(seen, certain, weight, least):
    gate = Gate(-10.0, dict(zip(FEATURES, weight, strict=True)), least)
    assert gate.passes(seen) or not gate.passes(seen, certain)
    lost = gate.score(seen) - gate.score(seen, certain)
    assert math.isclose(gate.cost(certain), lost, abs_tol=1e-9)


@given(features, weights, st.floats(-20, 20))
def test_nothing_in_the_buffer_never_speaks_against_the_weights(seen, weight, least):
    gate = Gate(-10.0, dict(zip(FEATURES, weight, strict=True)), least)
    assert gate.score(unchallenged(seen)) >= gate.score(seen)


@given(certainties)
def test_certainty_lies_between_none_and_perfect(certain):
    assert len(certain.features) == len(CERTAINTY)
    assert all(0 <= value <= 1 for value in certain.features)
