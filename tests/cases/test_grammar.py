"""Section 2 of the cases: no language's grammar decides what is remembered and recalled."""

import pytest
from _values import put_expert
from cases._user import LIFE, NOBODY, scripted
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from sleepmem.graph import recall_node
from sleepmem.middleware import SleepMemoryMiddleware
from sleepmem.records import Recall, View

ASKED = [
    ("The restaurants that I like in Bern are Italian.", "Recommend me a restaurant in Bern."),
    ("My wife loves old maps.", "I need a gift idea for my wife"),
    ("I am allergic to peanuts.", "List my allergies."),
    ("Ana lives in Bern.", "hey, where does ana live"),
    ("My name is Tobin.", "What is my name."),
    ("我对花生过敏。", "我对什么过敏？"),
    ("我住在上海。", "我住在哪里？"),
    ("أعيش الآن في عمان.", "أين أعيش الآن؟"),
    # Of the same kind
    ("My favourite restaurant is the Golden Crane.", "Book a table at my favourite restaurant."),
    ("Mara's dog is called Biscuit.", "any idea what mara's dog is called"),
    ("My blood type is AB.", "Tell me my blood type."),
    ("I wear shoes in size 44.", "need my shoe size pls"),
    ("Zum Frühstück esse ich kein Brot.", "Schlag mir ein Frühstück vor"),
    ("Meine Tochter spielt Geige.", "Nenn mir das Instrument meiner Tochter."),
    ("Mon mari adore la photographie.", "il me faut une idée de cadeau pour mon mari"),
    ("Soy alérgico a las nueces.", "enumera mis alergias"),
    ("Mój pies nazywa się Burek.", "jak wabi się mój pies"),
    ("Kız kardeşim Bursa'da yaşıyor.", "kız kardeşim nerede yaşıyor"),
    ("Моя дочь учится в Томске.", "Напомни, где учится моя дочь."),
    ("私は猫アレルギーです。", "私のアレルギーを教えて"),
    ("제 차는 파란색이에요.", "내 차 색깔 말해줘"),
    ("ฉันชอบกาแฟดำ", "แนะนำกาแฟให้ฉันหน่อย"),
    ("मैं जयपुर में रहता हूँ।", "मैं कहाँ रहता हूँ"),
]
IDS = [asked for _, asked in ASKED]


@pytest.mark.parametrize("others", [(), LIFE], ids=["alone", "among others"])
@pytest.mark.parametrize(("told", "asked"), ASKED, ids=IDS)
def test_a_request_without_a_question_mark_recalls_in_an_agent(user, told, asked, others):
    user.told(*others, told)
    assert told in user.says(asked)


@pytest.mark.parametrize(("told", "asked"), ASKED, ids=IDS)
def test_a_request_without_a_question_mark_recalls_in_a_graph(memory, told, asked):
    memory.observe(NOBODY, told)
    node = recall_node(memory, NOBODY, weights=False)
    added = node.invoke({"messages": [HumanMessage(asked)]})["messages"]
    assert any(told in message.text for message in added)


# Taken for statements: what these teach is left to the night's teacher.
NOT_SURE = (
    "Schlag mir ein Frühstück vor",
    "enumera mis alergias",
    "แนะนำกาแฟให้ฉันหน่อย",
    "मैं कहाँ रहता हूँ",
)
SURE = [pair for pair in ASKED if pair[1] not in NOT_SURE]


@pytest.mark.parametrize(("told", "asked"), SURE, ids=[asked for _, asked in SURE])
def test_what_was_asked_is_kept_and_teaches_nothing(user, told, asked):
    user.told(told, asked)
    assert user.texts() == [told, asked]
    assert user.teaches() == [told]


FACTS = [
    "can't eat peanuts",
    "do not call me before nine",
    "when I was ten I moved to Bern",
    "Will is my brother",
    "I moved to Bern, what should I see there?",
    "My wife Ana is pregnant, what should she avoid eating?",
    "No peanuts!",
    "我对花生过敏。",
    # Of the same kind
    "never had a driving licence",
    "how I met Ana: we shared a taxi in Lisbon",
    "May is my sister's name",
    "Who cares for our cat is my neighbour Ines",
    "I just adopted a beagle, any tips for the first night?",
    "Our son Milo turns six on Sunday, where could we celebrate?",
    "please no phone calls on Sundays, I sing in a choir",
    "kann keine Milch trinken",
    "Als ich zehn war, zog ich nach Bern",
    "Wir haben einen Hund bekommen, was frisst ein Welpe?",
    "ne supporte pas le gluten",
    "Je viens d'emménager à Nantes, que faut-il y voir ?",
    "no puedo comer mariscos",
    "nie jem mięsa",
    "fıstık yiyemem",
    "не ем рыбу",
    "أنا لا آكل السمك",
    "蕎麦は食べられません",
    "저는 새우를 못 먹어요",
    "ผมกินเผ็ดไม่ได้",
]


@pytest.mark.parametrize("text", FACTS)
def test_a_fact_is_stored_and_may_teach_however_it_is_put(user, text):
    user.says(text)
    assert user.texts() == [text]
    assert user.teaches() == [text]


TASKS = [
    ("Remind me to call Ana on Friday.", "When should I call Ana?"),
    ("Don't let me forget the cake for Milo.", "Who is the cake for?"),
    ("Erinnere mich daran, am Freitag Ana anzurufen.", "Wen soll ich am Freitag anrufen?"),
    ("Rappelle-moi d'arroser les plantes samedi.", "Que dois-je faire samedi ?"),
    ("提醒我星期五给安娜打电话。", "我星期五要给谁打电话？"),
]


@pytest.mark.parametrize(("told", "asked"), TASKS, ids=[told for told, _ in TASKS])
def test_what_is_to_be_remembered_is_stored_and_shown(user, told, asked):
    user.told(told)
    assert user.texts() == [told]
    assert told in user.says(asked)


REPLIES = [
    ("Where do you live?", "Bern", "Which town do I live in?"),
    ("How old is your daughter?", "nine", "What is my daughter's age?"),
    ("What should I call you?", "Tobin", "What am I called?"),
    ("Do you eat meat?", "No.", "Do I eat meat?"),
    ("Wie heißt Ihr Hund?", "Rex", "Wie heißt mein Hund?"),
    ("Quel est votre métier ?", "boulanger", "Quel est mon métier ?"),
    ("¿A qué eres alérgico?", "al polen", "¿Qué alergia tengo?"),
    ("Где вы работаете?", "в школе", "Где я работаю?"),
    ("どこに住んでいますか？", "札幌", "私はどこに住んでいますか？"),
    ("你几岁了？", "三十四", "我几岁了？"),
]


@pytest.mark.parametrize(("question", "reply", "asked"), REPLIES, ids=[one[0] for one in REPLIES])
def test_a_reply_is_stored_and_shown_with_the_question_it_answers(user, question, reply, asked):
    user.says("I would like to register.", AIMessage(question), reply)
    (stored,) = [episode for episode in user.stored() if episode.text == reply]
    assert stored.answers == question
    shown = user.says(asked)
    assert question in shown
    assert reply in shown.partition(question)[2].splitlines()[0]


def test_a_reply_in_a_thread_keeps_the_question_that_the_model_asked(memory):
    model = scripted("Where do you live?", "Noted.")
    agent = create_agent(
        model, middleware=[SleepMemoryMiddleware(memory)], checkpointer=InMemorySaver()
    )
    thread = {"configurable": {"thread_id": "t", "user_id": "ana"}}
    for text in ("I would like to order a pizza.", "Bern"):
        agent.invoke({"messages": [HumanMessage(text)]}, thread)
    told = memory.ledger.episodes.all(("ana",))
    assert [(one.text, one.answers) for one in told][-1] == ("Bern", "Where do you live?")


WORDS = [
    ("安娜喜欢喝绿茶。", "绿茶"),
    # Of the same kind
    ("健太は抹茶が大好きです。", "抹茶"),
    ("田中さんは東京に住んでいます。", "東京"),
    ("수진은 녹차를 좋아해요.", "녹차"),
    ("แอนนาชอบดื่มชาเขียวทุกเช้า", "ชาเขียว"),
    ("Анна пьёт только зелёный чай.", "зелёный чай"),
    ("ليلى تشرب الشاي الأخضر.", "الشاي الأخضر"),
    ("अंजलि हरी चाय पीती है।", "हरी चाय"),
    ("Ana bewahrt Gartengeräte im Schuppen auf.", "gartengeräte"),
]


@pytest.mark.parametrize(("told", "word"), WORDS, ids=[word for _, word in WORDS])
def test_a_word_inside_a_sentence_of_any_script_is_found(user, told, word):
    user.told(*LIFE, told)
    by_words = user.memory.ledger.search(NOBODY, word, limit=3)
    assert told in [episode.text for episode in by_words]
    assert told in [episode.text for episode in user.memory.search(NOBODY, word).episodes]


ABSTENTIONS = [
    "I don’t know.",
    "I'm not sure.",
    "I don't have that information.",
    "Das weiß ich nicht.",
    # Of the same kind
    "I do not know.",
    "I have no information about that.",
    "Sorry, you never told me that.",
    "I’m afraid I can’t tell.",
    "Dazu habe ich keine Informationen.",
    "Keine Ahnung.",
    "Je ne sais pas.",
    "No lo sé.",
    "Nie wiem.",
    "Bilmiyorum.",
    "Я не знаю.",
    "لا أعرف.",
    "我不知道。",
    "わかりません。",
    "모르겠어요.",
    "ฉันไม่รู้",
]
ANSWERS = [
    "Mara does not know Tobin.",
    # Of the same kind
    "Mara knows where the key is.",
    "Tobin is not sure of the way to Bern.",
    "You do not live in Bern any more.",
    "She is not allergic to nuts.",
    "Ana kennt Jonas nicht.",
    "Marie ne connaît pas Paul.",
    "Ana no conoce a Luis.",
    "Jan nie zna Piotra.",
    "Анна не знает Олега.",
    "小梅不认识小李。",
    "由美さんは田中さんを知りません。",
]
FROM_WEIGHTS = Recall(View.WEIGHTS, "a test says so", margin=99.0)


@pytest.mark.parametrize("text", ABSTENTIONS)
def test_not_knowing_is_understood_in_every_language(memory, text):
    assert memory.may_look_again(("alice",), FROM_WEIGHTS, reply=AIMessage(text))


@pytest.mark.parametrize("text", ANSWERS)
def test_that_somebody_does_not_know_is_an_answer(memory, text):
    told = memory.observe(("alice",), "Mara moved to Brenport.")
    put_expert(memory, ("alice",), [told.id])
    assert not memory.may_look_again(("alice",), FROM_WEIGHTS, reply=AIMessage(text))
