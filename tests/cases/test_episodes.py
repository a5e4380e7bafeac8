"""Section 4 of the cases, as far as a day tells: repeats, news, dates, models without experts."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from _values import put_expert
from cases._user import LIFE, NOBODY
from langchain_core.messages import HumanMessage

from sleepmem.graph import recall_node

# A memory, its contrary, it again; a question about it.
AGAIN = [
    ("I drink coffee.", "I do not drink coffee.", "I drink coffee.", "Do I drink coffee?"),
    # In other words between
    ("Ana lives in Bern.", "Ana has moved to Rome.", "Ana lives in Bern.", "Where does Ana live?"),
    ("The gate code is 11.", "The gate code is now 22.", "The gate code is 11.", "gate code?"),
    ("I eat meat.", "I have become a vegan.", "I eat meat.", "Do I eat meat?"),
    ("I am single.", "I am engaged to Mara.", "I'm single!", "Am I engaged?"),
    ("Ich rauche.", "Ich rauche nicht mehr.", "Ich rauche.", "Rauche ich?"),
    (
        "Je travaille le lundi.",
        "Je ne travaille plus le lundi.",
        "Je travaille le lundi.",
        "Est-ce que je travaille le lundi ?",
    ),
    ("Trabajo de noche.", "Ya no trabajo de noche.", "Trabajo de noche.", "¿Trabajo de noche?"),
    ("Я пью чай.", "Я больше не пью чай.", "Я пью чай.", "Я пью чай?"),
    ("我喝咖啡。", "我不再喝咖啡了。", "我喝咖啡。", "我喝咖啡吗？"),
    ("お酒を飲みます。", "お酒をやめました。", "お酒を飲みます。", "私はお酒を飲みますか？"),
]


@pytest.mark.parametrize(("yes", "no", "again", "asked"), AGAIN, ids=[one[3] for one in AGAIN])
def test_what_is_said_again_after_its_contrary_is_the_newest(user, yes, no, again, asked):
    user.told(yes, no, again)
    assert user.texts()[-1] == again
    shown = user.says(asked)
    assert shown.endswith(f": {again}"), shown


COPIES = [
    (("I love Green tea!", "i love green tea"), "Which tea do I love?"),
    (
        ("I love green tea.", "I love GREEN TEA", "i love green tea!!", "I love green tea"),
        "Which tea do I love?",
    ),
    (("The wi-fi code is Hunter22.", "the WI-FI code is hunter22"), "What is the wi-fi code?"),
    (("Ich mag grünen Tee.", "ich mag grünen tee"), "Welchen Tee mag ich?"),
    (("Kahve İçmem.", "kahve içmem"), "Kahve içer miyim?"),
    (("Я люблю зелёный чай.", "я люблю зеленый чай"), "Какой чай я люблю?"),
    (("我喜欢绿茶。", "我喜欢绿茶！", "我喜欢绿茶"), "我喜欢什么茶？"),
    (("أحب الشاي الأخضر.", "أحب الشاي الأخضر"), "أي شاي أحب؟"),
]


@pytest.mark.parametrize(("copies", "asked"), COPIES, ids=[one[0][-1] for one in COPIES])
def test_what_says_the_same_takes_one_place_of_the_newest(user, copies, asked):
    between = ["The bakery closes early.", "Our printer is broken.", "I read a novel."]
    for number, text in enumerate(copies):
        user.told(text, *between[number : number + 1])
    shown = user.says(asked)
    lines = [line for line in shown.splitlines() if any(line.endswith(f": {x}") for x in copies)]
    assert [line.partition(": ")[2] for line in lines] == [copies[-1]], shown


NEWS = [
    (
        [
            "I live in Bern.",
            "My home is in Bern.",
            "Bern is where I live.",
            "I am living in Bern.",
            "My flat is in Bern.",
        ],
        "I have moved to Rome.",
        "Where do I live?",
    ),
    (
        [
            "I love green tea!",
            "Green tea is my favourite.",
            "There is nothing like green tea.",
            "I could drink green tea all day.",
            "Green tea is what I like best.",
        ],
        "I have gone off green tea.",
        "Do I like green tea?",
    ),
    (
        [
            "Unsere Katze heißt Muff.",
            "Muff ist unsere Katze.",
            "Die Katze hört auf den Namen Muff.",
            "Wir nennen die Katze Muff.",
            "Der Name der Katze ist Muff.",
        ],
        "Wir haben die Katze umbenannt, in Zora.",
        "Wie heißt unsere Katze?",
    ),
    (
        [
            "Mon médecin est le docteur Roux.",
            "Le docteur Roux est mon médecin.",
            "C'est le docteur Roux qui me soigne.",
            "Je vais chez le docteur Roux.",
            "Je consulte le docteur Roux.",
        ],
        "J'ai changé de médecin : c'est Mme Petit.",
        "Qui est mon médecin ?",
    ),
    (
        [
            "我在银行工作。",
            "我的工作单位是银行。",
            "我是银行职员。",
            "我上班的地方是银行。",
            "我的工作在银行。",
        ],
        "我换工作了，现在在医院。",
        "我在哪里工作？",
    ),
]


@pytest.mark.parametrize("others", [(), LIFE], ids=["alone", "among others"])
@pytest.mark.parametrize(("copies", "news", "asked"), NEWS, ids=[one[2] for one in NEWS])
def test_five_wordings_of_a_fact_do_not_push_its_news_out(user, copies, news, asked, others):
    user.told(*others, *copies, news)
    shown = user.says(asked)
    assert shown.endswith(f": {news}"), shown


def test_a_model_without_the_experts_is_shown_what_they_learned(user):
    told = [
        user.memory.observe(NOBODY, text) for text in ("Mara lives in Bern.", "Orla keeps bees.")
    ]
    put_expert(user.memory, NOBODY, [one.id for one in told])
    assert "Mara lives in Bern." in user.says("Where does Mara live?")
    assert "Orla keeps bees." in user.says("What does Orla keep?")


# Dates

YESTERDAY = [
    ("I broke my arm yesterday.", "When did I break my arm?"),
    ("Tomorrow I fly to Oslo.", "When do I fly to Oslo?"),
    ("Gestern habe ich Mara getroffen.", "Wann habe ich Mara getroffen?"),
    ("Hier, j'ai vendu la voiture.", "Quand ai-je vendu la voiture ?"),
    ("昨天我买了一辆自行车。", "我什么时候买了自行车？"),
    ("昨日、自転車を買いました。", "いつ自転車を買いましたか？"),
    ("Вчера я сломал руку.", "Когда я сломал руку?"),
]


@pytest.mark.parametrize(("told", "asked"), YESTERDAY, ids=[asked for _, asked in YESTERDAY])
def test_the_model_is_told_when_it_was_said_and_what_day_it_is(user, told, asked):
    user.memory.observe(NOBODY, told, created_at="2026-05-04T10:00:00+00:00")
    before = date.today()
    node = recall_node(user.memory, NOBODY, weights=False, store=False)
    (*_, message) = node.invoke({"messages": [HumanMessage(asked)]})["messages"][1:-1]
    for shown in (message.text, user.says(asked)):
        assert f"2026-05-04: {told}" in shown
        header = shown.splitlines()[0]
        assert before.isoformat() in header or date.today().isoformat() in header


@pytest.mark.parametrize(
    ("said_at", "day"),
    [
        ("2026-05-04T00:30+09:00", "2026-05-04"),
        ("2026-05-03T23:30-08:00", "2026-05-03"),
        ("2026-05-04T01:00+05:30", "2026-05-04"),
        ("2026-12-31T22:00:00-10:00", "2026-12-31"),
        ("2027-01-01T08:00:00+14:00", "2027-01-01"),
    ],
)
def test_the_date_of_a_memory_is_the_speakers(user, said_at, day):
    user.memory.observe(NOBODY, "I broke my arm.", created_at=said_at)
    assert f"{day}: I broke my arm." in user.says("When did I break my arm?")
    month = datetime.fromisoformat(day)
    asked = f"What happened on {month:%d %B %Y}?"
    assert f"{day}: I broke my arm." in user.says(asked)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Tokyo"])
def test_a_turns_date_is_that_of_the_users_timezone(user, zone):
    named = {"config": {"configurable": {"user_id": "ana", "timezone": zone}}}
    before = datetime.now(ZoneInfo(zone)).date()
    user.says("I broke my arm.", **named)
    shown = user.says("When did I break my arm?", **named)
    after = datetime.now(ZoneInfo(zone)).date()
    days = {before.isoformat(), after.isoformat()}
    (told,) = [one for one in user.stored(("ana",)) if one.text == "I broke my arm."]
    assert told.date in days
    assert any(day in shown.splitlines()[0] for day in days)


def test_what_was_said_yesterday_is_found_by_that_word(user):
    yesterday = datetime.now().astimezone() - timedelta(days=1)
    user.memory.observe(NOBODY, "I sold the red canoe.", created_at=yesterday.isoformat())
    asked = ["What did I do yesterday?", "Was habe ich gestern gemacht?", "昨天我做了什么？"]
    for question in asked:
        assert "I sold the red canoe." in user.says(question), question


@pytest.mark.parametrize("greeting", ["Hello!", "Guten Morgen!", "谢谢！", "Merci, à demain."])
def test_a_greeting_is_shown_nothing_and_not_stored(user, greeting):
    user.told(*LIFE)
    assert user.says(greeting) == ""
    assert user.texts() == list(LIFE)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("Hello, I'm new here", "Am I new here?"),
        ("Hello from Bern!", "Where am I?"),
        ("Hallo, ich bin neu hier", "Bin ich neu hier?"),
        ("مرحبا أنا سارة", "ما اسمي؟"),
    ],
)
def test_a_greeting_that_tells_is_stored_and_shown(user, told, asked):
    user.told(told)
    assert user.texts() == [told]
    assert told in user.says(asked)
