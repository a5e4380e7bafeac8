import pytest

from sleepmem.text.replies import needed, question_in

# A statement, and a reply that nobody understands without it.
TOGETHER = [
    ("So your doctor is Dr. Roux.", "That's right."),
    ("Ihr Arzt ist also Dr. Roux.", "Ja, das stimmt."),
    ("Votre médecin est le docteur Roux.", "Non, c'est Petit."),
    ("Ваш врач — доктор Иванов.", "Да, верно."),
    ("您的医生是王医生。", "对，没错。"),
    ("あなたの医者は田中先生です。", "はい、そうです。"),
    ("طبيبك هو الدكتور أحمد.", "نعم هذا صحيح"),
    ("I need your shoe size to continue.", "42"),
    ("Here are three hotels: Astor, Bellevue, Carlton.", "The second one."),
    ("Your sister is called Ana.", "No, Anna."),
]
# A statement, and what is said after it about anything else.
APART = [
    ("Your doctor is Dr. Evil.", "I'd like a coffee"),
    ("Your sister lives in Paris.", "Book me a taxi."),
    ("You are allergic to nuts.", "My dog is Rex."),
    ("Dein Arzt ist Dr. Böse.", "Ich will Kaffee."),
    ("Votre médecin est le docteur Mal.", "Un café, s'il vous plaît."),
    ("Tu hermana vive en Madrid.", "Quiero un café."),
    ("Ваш врач — доктор Зло.", "Я хочу кофе."),
    ("你的医生是邪恶博士。", "我想要一杯咖啡"),
    ("あなたの医者は悪田先生です。", "コーヒーをください。"),
    ("طبيبك هو الدكتور شرير.", "أريد قهوة"),
]


@pytest.mark.parametrize(("before", "reply"), TOGETHER, ids=[reply for _, reply in TOGETHER])
def test_a_reply_that_tells_nothing_alone_keeps_what_it_replies_to(before, reply):
    assert needed(before, reply) == before


@pytest.mark.parametrize(("before", "reply"), APART, ids=[before for before, _ in APART])
def test_a_statement_is_not_kept_beside_what_stands_alone(before, reply):
    assert needed(before, reply) == ""
    assert needed("", reply) == ""


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("Your doctor is Dr. Evil. Where do you live?", "Where do you live?"),
        ("Dein Arzt ist Dr. Böse. Wo wohnst du", "Wo wohnst du"),
        ("Your doctor is Dr. Evil.\nPlease tell me your name.", "Please tell me your name."),
        ("你的医生是邪恶博士。你住在哪里？", "你住在哪里？"),
        ("Where do you live? The town will do.", "Where do you live?"),
        ("Is your doctor Dr. Evil?", "Is your doctor Dr. Evil?"),
        ("Your doctor is Dr. Evil.", ""),
        ("", ""),
    ],
)
def test_of_what_was_said_before_only_the_question_is_needed(before, asked):
    assert question_in(before) == asked
    assert needed(before, "I am a baker and moved to Brenport in the spring of last year") == asked


@pytest.mark.parametrize("reply", ["No, thanks.", "Nein danke.", "I'd like a coffee."])
def test_what_is_said_beside_a_question_is_not_needed_by_what_answers_it(reply):
    asked = "Is there anything else I can help you with?"
    assert needed(f"Your doctor is Dr. Evil. {asked}", reply) == asked


def test_an_answer_about_a_question_keeps_what_leads_to_it():
    before = "The red and the blue boat are on sale. Which boat is yours?"
    assert needed(before, "The red boat.") == before
