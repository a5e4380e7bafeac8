"""Section 1 of the cases: how a name is spelt filters nothing."""

import unicodedata

import pytest
from cases._user import LIFE

NEWS = [
    (("I live in Bern.", "I have moved to Rome."), "Do I live in Bern?"),
    (("Ana Lopez lives in Bern.", "Ana has moved to Rome."), "Where does Ana Lopez live?"),
    (("My sister Ana lives in Bern.", "She has moved to Rome."), "Where does Ana live?"),
    (("My daughter Lena is nine.", "She is allergic to nuts."), "Is Lena allergic to anything?"),
    # Of the same kind
    (("I work for Nordwind.", "I have switched to Ostsee Logistics."), "Do I work for Nordwind?"),
    (("My number is 555 0101.", "I got a new number: 555 0199."), "Is my number 555 0101?"),
    (("Dr. Farah Haddad treats me.", "Farah has retired."), "Is Dr. Farah Haddad my doctor?"),
    (("Our dog Pepper is a beagle.", "He hates thunder."), "What does Pepper hate?"),
    (
        ("My boss Tobin plays the cello.", "His birthday is the ninth of June."),
        "When is Tobin's birthday?",
    ),
    (
        ("Ich arbeite bei Nordwind.", "Ich habe zu Ostsee gewechselt."),
        "Arbeite ich noch bei Nordwind?",
    ),
    (
        ("Mein Bruder Jonas studiert Medizin.", "Er hat das Studium abgebrochen."),
        "Was studiert Jonas?",
    ),
    (("J'habite à Lyon.", "J'ai déménagé à Nantes."), "Est-ce que j'habite à Lyon ?"),
    (
        ("Mi hija Lucía tiene siete años.", "Es alérgica al gluten."),
        "¿Lucía es alérgica a algo?",
    ),
    (
        ("Mateusz Nowak mieszka w Krakowie.", "Mateusz przeprowadził się do Gdańska."),
        "Gdzie mieszka Mateusz Nowak?",
    ),
    (("Kız kardeşim Elif İzmir'de yaşıyor.", "Bursa'ya taşındı."), "Elif nerede yaşıyor?"),
    (("Мой брат Олег живёт в Туле.", "Он переехал в Казань."), "Где живёт Олег?"),
    (("أختي ليلى تعيش في عمان.", "لقد انتقلت إلى دبي."), "أين تعيش ليلى؟"),
    (("我妹妹小梅住在成都。", "她搬到杭州了。"), "小梅住在哪里？"),
    (
        ("妹の由美は大阪に住んでいます。", "彼女は福岡に引っ越しました。"),
        "由美はどこに住んでいますか？",
    ),
    (("내 친구 민수는 부산에 살아요.", "그는 대전으로 이사했어요."), "민수는 어디에 살아요?"),
]


@pytest.mark.parametrize("others", [(), LIFE], ids=["alone", "among others"])
@pytest.mark.parametrize(("told", "asked"), NEWS, ids=[asked for _, asked in NEWS])
def test_news_is_shown_with_what_it_replaces_the_newest_last(user, told, asked, others):
    user.told(*others, *told)
    shown = user.says(asked)
    assert all(text in shown for text in told), shown
    places = [shown.index(text) for text in told]
    assert places == sorted(places), shown


SPELLINGS = [
    ("The wi-fi code is hunter22.", "What is the WiFi password?"),
    ("Our Postgres runs on port 5433.", "Which port does PostgreSQL use?"),
    ("I have three kids.", "Do I have 3 kids?"),
    ("I am vegetarian and allergic to peanuts.", "Can I eat the peanut sauce at McDonald's?"),
    ("Ich wohne in Bern.", "Wo ist mein Wohnort?"),
    ("Kupiłem prezent dla Marka.", "Co kupiłem Markowi?"),
    # Of the same kind
    ("The e-mail of the dentist is tooth@mail.example.", "What is the dentist's email address?"),
    ("Our Mongo instance holds the invoices.", "What is in MongoDB?"),
    ("The PIN of the garage is 4711.", "What is the garage's pin code?"),
    ("I am a coeliac.", "May I have the bread at Pizza Hut?"),
    ("We have twelve chickens.", "Do we own 12 chickens?"),
    ("Ich habe zwei Katzen.", "Habe ich 2 Katzen?"),
    ("Ich arbeite als Lehrerin.", "Was ist mein Beruf?"),
    ("Die Schlüssel liegen in der Küchenschublade.", "Wo ist der Schlüssel?"),
    ("Je suis végétarienne.", "Est-ce que je peux manger le bœuf de chez Paul ?"),
    ("Mon vélo est rouge.", "De quelle couleur est ma bicyclette ?"),
    ("Soy alérgico a los mariscos.", "¿Puedo pedir la paella de marisco en Casa Lucio?"),
    ("Tengo cuatro hermanos.", "¿Tengo 4 hermanos?"),
    ("Kupiłam rower dla Zosi.", "Co kupiłam Zosi?"),
    ("Pożyczyłem wiertarkę od Tomka.", "Czyja jest wiertarka? Tomek coś mówił?"),
    ("Ayşe'ye bir kitap aldım.", "Ayşe için ne aldım?"),
    ("Я подарил Ивану часы.", "Что получил Иван от меня в подарок?"),
    ("У меня трое детей.", "У меня 3 ребёнка?"),
    ("أعمل مهندسا في شركة طيران.", "ما هي مهنتي؟"),
    ("我有两只猫。", "我有2只猫吗？"),
    ("息子が三人います。", "私の息子は3人ですか？"),
    ("와이파이 비밀번호는 hunter22입니다.", "와이파이 암호가 뭐예요?"),
    ("ผมแพ้กุ้ง", "ผมกินต้มยำกุ้งได้ไหม"),
]


@pytest.mark.parametrize("others", [(), LIFE], ids=["alone", "among others"])
@pytest.mark.parametrize(("told", "asked"), SPELLINGS, ids=[asked for _, asked in SPELLINGS])
def test_another_spelling_or_form_of_a_word_is_found(user, told, asked, others):
    user.told(*others, told)
    assert told in user.says(asked)


def decomposed(text):
    return unicodedata.normalize("NFD", text)


ACCENTS = [
    ("José lives in Bern.", decomposed("Where does José live?")),
    ("José lives in Bern.", "Where does Jose live?"),
    ("Ana lives in İstanbul.", "Who lives in İstanbul?"),
    ("Ana lives in İstanbul.", decomposed("Who lives in İstanbul?")),
    # Of the same kind
    ("Zoë works in Malmö.", "Where does Zoe work?"),
    (decomposed("Zoë works in Malmö."), "Where does Zoë work?"),
    ("Łukasz collects stamps.", "What does Lukasz collect?"),
    ("Søren plays the oboe.", "What does Soren play?"),
    ("Jürgen wohnt in Köln.", decomposed("Wo wohnt Jürgen?")),
    ("Ich wohne in der Mühlstraße.", "Wer wohnt in der Mühlstrasse?"),
    ("Hélène déteste le café.", "Qu'est-ce que Helene déteste ?"),
    ("Begoña vive en Málaga.", "¿Dónde vive Begona?"),
    ("İlker İzmir'de oturuyor.", "ilker nerede oturuyor?"),
    ("IŞIK Ankara'da çalışıyor.", "Işık nerede çalışıyor?"),
    ("Артём живёт в Орле.", "Где живет Артем?"),
    ("مُحَمَّد يسكن في القاهرة.", "أين يسكن محمد؟"),
    ("私の部屋は３０４号室です。", "304号室は誰の部屋ですか？"),
    ("ｶﾅさんは京都に住んでいます。", "カナさんはどこに住んでいますか？"),
    (decomposed("민지는 제주도에 살아요."), "민지는 어디에 살아요?"),
]


@pytest.mark.parametrize("others", [(), LIFE], ids=["alone", "among others"])
@pytest.mark.parametrize(("told", "asked"), ACCENTS, ids=[ascii(asked) for _, asked in ACCENTS])
def test_accents_and_their_encoding_change_nothing(user, told, asked, others):
    user.told(*others, told)
    assert told in user.says(asked)


ON_A_DAY = [
    ("I repaired the bicycle with Tom.", "What did I do on 2026-05-03?"),
    ("I repaired the bicycle with Tom.", "What did I do on May 3, 2026?"),
    ("We went rowing.", "what happened on 3 May 2026"),
    ("Ich habe den Zaun gestrichen.", "Was habe ich am 3. Mai 2026 gemacht?"),
    ("Ich habe den Zaun gestrichen.", "Was war am 03.05.2026?"),
    ("J'ai planté des tomates.", "Qu'ai-je fait le 3 mai 2026 ?"),
    ("Vendí la moto.", "¿Qué hice el 3 de mayo de 2026?"),
    ("Naprawiłem dach.", "Co robiłem 3 maja 2026?"),
    ("Arabayı yıkadım.", "3 Mayıs 2026'da ne yaptım?"),
    ("Я починил крышу.", "Что я делал 3 мая 2026 года?"),
    ("أصلحت السيارة.", "ماذا فعلت في 3 مايو 2026؟"),
    ("我去爬山了。", "2026年5月3日我做了什么？"),
    ("自転車を直しました。", "2026年5月3日に何をしましたか？"),
    ("자전거를 고쳤어요.", "2026년 5월 3일에 뭐 했지?"),
]


@pytest.mark.parametrize(("told", "asked"), ON_A_DAY, ids=[asked for _, asked in ON_A_DAY])
def test_what_happened_on_a_day_is_found_by_its_date(user, told, asked):
    for number, text in enumerate(LIFE, start=10):
        user.memory.observe(("default",), text, created_at=f"2026-04-{number}T09:00:00+00:00")
    user.memory.observe(("default",), told, created_at="2026-05-03T10:00:00+00:00")
    shown = user.says(asked)
    assert f"2026-05-03: {told}" in shown
