"""Fit what the default embeddings tell of a text: `make fit-heads`.

Two logistic models over the 512 numbers of an embedding, written to `sleepmem/text/heads.json`:

asks      the text asks, or requests, and tells nothing (questions and requests of public sets
          against sentences of stories, articles and chats)
general   the text needs nobody's memory: small talk, conversions, the weather (against questions
          about stories, articles, appointments, chats)

Every text is learned as it is written, in lower case without its last mark, and without any mark,
so that neither capitals nor question marks decide. Half of the kinds of requests are held out.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.linear_model import LogisticRegression

from sleepmem.evals.recall_sets import dialogues, read_rows
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import FILE
from sleepmem.text.relatedness import PAIRS
from sleepmem.text.terms import normalised

# What people ask of a memory in their own words, in several languages: it is in no public set.
PERSONAL = """
where does ana live
List my allergies.
What is my name?
Do I live in Bern?
when is my dentist appointment
What did I do on 3 May?
What did I tell you about my boss?
Who is the boss of Mara?
remind me what we decided yesterday
Can I eat this sauce?
Recommend me a restaurant I would like.
which port does our database use
What was the password again?
How old is my daughter?
Do I have children?
Wo wohne ich?
Was mag meine Frau?
Wie heisst mein Hund?
wann muss ich zum Zahnarzt
Welche Farbe hat unser Auto?
Wem habe ich das Buch geliehen?
Quel est mon plat préféré ?
où habite Anne
À quelle heure part mon train ?
Comment s'appelle le chat de ma voisine ?
qu'est-ce que je dois acheter
¿Cómo se llama mi hermana?
¿Qué no puedo comer?
¿Dónde dejé las llaves?
cuándo es el cumpleaños de mi padre
Qual é o número do meu voo?
onde mora a minha tia
O que prometi ao Pedro?
Dove lavora mia moglie?
Che cosa ho comprato per Marco?
quanto pago di affitto
Gdzie mieszkam?
Co lubi moja córka?
kiedy mam wizytę u lekarza
Jak nazywa się mój szef?
Adım ne?
Kız kardeşim nerede çalışıyor?
toplantı ne zaman
Neye alerjim var?
Как зовут мою собаку?
Где работает мой брат?
когда у меня встреча
Что я обещал маме?
我住在哪里？
我对什么过敏？
我女儿几岁了
会议是什么时候？
我的密码是什么
私はどこに住んでいますか
妹の名前は何ですか
歯医者の予約はいつ
私の車は何色？
내 생일이 언제야?
우리 강아지 이름이 뭐지
나는 무엇에 알레르기가 있어?
어제 누구를 만났지
أين أعيش؟
ما اسم أختي؟
متى موعدي مع الطبيب
ماذا يحب زوجي؟
Waar woon ik?
Hoe heet mijn hond?
wanneer is mijn afspraak
""".strip().splitlines()
GENERAL = """
Tell me a joke
What is the capital of Peru?
translate hello into french
write a poem about the sea
what's 15 percent of 80
set a timer for ten minutes
who won the world cup in 1998
Erzähl mir einen Witz
Wie wird das Wetter morgen?
Was ist die Hauptstadt von Peru?
stell einen Wecker auf sieben Uhr
Was ist 12 mal 14?
Raconte-moi une blague
Quel temps fera-t-il demain ?
Quelle est la capitale du Pérou ?
combien font 7 fois 8
Cuéntame un chiste
¿Qué tiempo hará mañana?
¿Cuál es la capital de Perú?
traduce hola al inglés
Conta uma piada
Como vai estar o tempo amanhã?
quanto é 12 vezes 5
Raccontami una barzelletta
Che tempo farà domani?
Qual è la capitale del Perù?
Opowiedz mi dowcip
Jaka będzie jutro pogoda?
ile to jest 8 razy 9
Bana bir fıkra anlat
Yarın hava nasıl olacak?
Peru'nun başkenti neresi?
Расскажи анекдот
Какая завтра погода?
сколько будет 7 на 8
讲个笑话
明天天气怎么样？
秘鲁的首都是哪里？
十二乘以五是多少
冗談を言って
明日の天気は？
ペルーの首都はどこですか
농담 하나 해줘
내일 날씨 어때?
페루의 수도는 어디야?
احك لي نكتة
كيف سيكون الطقس غدا؟
ما هي عاصمة بيرو؟
Vertel een grap
Wat voor weer wordt het morgen?
""".strip().splitlines()
# What people ask for without asking, and what they tell in short, in several languages.
REQUESTS = """
Recommend me a restaurant in Lyon.
Suggest something for dinner
Book a table at the place I like.
Show me my appointments
need my passport number pls
I need an idea for a present for my mother
Write down nothing, just list my hobbies
Name the school of my son.
Order me the pizza I always take.
Find me a gift for my brother
Schlag mir ein Restaurant vor
Nenn mir den Namen meiner Ärztin.
Zeig mir meine Termine
Ich brauche eine Idee für den Geburtstag meines Vaters
Propose-moi un dîner
Donne-moi le numéro de ma chambre
il me faut une idée pour ce soir
Recomiéndame un libro
Enumera mis citas
Dime el nombre de mi jefa
Sugira um presente para a minha irmã
Diga o nome do meu médico
Consigliami un film
Elenca i miei impegni
Poleć mi jakiś film
Wymień moje hobby
Podaj numer mojego lotu
Bana bir film öner
Toplantılarımı listele
Посоветуй мне книгу
Назови имя моего врача
Перечисли мои встречи
推荐一家餐厅给我
列出我的爱好
告诉我我的航班号
私の予定を教えて
レストランを薦めてください
내 약속을 알려줘
식당 하나 추천해줘
رشح لي مطعما
اذكر مواعيدي
แนะนำร้านอาหารให้หน่อย
บอกชื่อหมอของฉัน
แนะนำหนังสือให้หน่อย
ช่วยหาของขวัญให้แม่หน่อย
บอกวันเกิดของแม่ฉันหน่อย
Schlag mir einen Film vor
Nenne meine Hobbys
Enumera mis medicinas
Enumere os meus compromissos
Énumère mes rendez-vous
Noem mijn afspraken
""".strip().splitlines()
STATEMENTS = """
can't drink milk
no shellfish please, ever
my back hurts since monday
we call her Lulu
never ring before eight
Remind me to water the plants on Sunday.
Remember that the gate code changed.
when I was five we left Cairo
our server is called athena
Will moved out
kann keine Nüsse essen
meine Frau heisst Eva
Wir ziehen im Mai um
Erinnere mich am Montag an den Arzt.
Unser Hund hört auf Benno
je ne bois pas d'alcool
ma fille fait du judo
On déménage en juin
soy alérgico al polen
mi hermano vive en Quito
No trabajo los viernes
não como carne
o meu gato chama-se Tico
non sopporto il rumore
mia madre abita a Torino
nie jem ryb
mój brat mieszka w Łodzi
Przypomnij mi w środę o lekarzu.
süt içemem
annem Ankara'da oturuyor
я не ем рыбу
моя мама живёт в Твери
我不吃牛肉
我妈妈住在天津
狗叫豆豆
牛乳が飲めません
母は大阪に住んでいます
우유를 못 마셔요
엄마는 대구에 살아요
لا أشرب القهوة
أمي تسكن في دمشق
ฉันแพ้ถั่ว
แม่อยู่เชียงใหม่
Ik eet geen vis
My flight has the number 77.
my room is number nine
The code of the door is 4711.
Our table number is 14.
What she likes to drink is cider.
Where he was born is Quito.
My size is 38.
The name of our ship is Aurora.
Meine Kundennummer ist 5531.
mi número de asiento es el 21
mon casier porte le numéro 8
""".strip().splitlines()
_DOMAINS = ("small_talk", "utility", "meta", "oos")
_ASKING = ("utility", "credit_cards", "auto_and_commute")
# Requests of these domains that do need a memory.
_PERSONAL_INTENTS = ("user_name", "change_user_name")
_REPEATED = 12  # the few texts of several languages
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def sentences(text: str) -> list[str]:
    """Sentences of a story or an article, neither very short nor very long."""
    return [part for part in _SENTENCE.split(text) if 4 < len(part.split()) < 20]


def asks_sets(data: Path, rng: random.Random) -> tuple[list[str], list[str]]:
    """What asks, what tells."""
    passages, stories = _rows(data, "squad_v1_dev"), _rows(data, "fairytaleqa")
    chats, tasks = _rows(data, "memorybank_en"), _rows(data, "sgd_dialogues")
    asking = [one["question"] for passage in passages for one in passage["questions"]][:1500]
    asking += [one["question"] for story in stories[:60] for one in story["qa"]][:800]
    telling = [part for passage in passages for part in sentences(passage["context"])][:1500]
    told = [section for story in stories[:60] for section in story["sections"]]
    plain = [part for text in told for part in sentences(text) if not set(part) & set('"?')]
    telling += plain[:1500]
    said = [turn["query"] for user in chats for day in user["history"] for turn in day["turns"]]
    asking += [part for text in said for part in _SENTENCE.split(text) if part.endswith("?")][:400]
    telling += [part for text in said for part in sentences(text) if not part.endswith("?")][:1500]
    turns = [text for task in tasks[:400] for speaker, text in task["turns"] if speaker == "U"]
    asking += [part for text in turns for part in _SENTENCE.split(text) if part.endswith("?")][:600]
    requests = [one["text"] for one in _rows(data, "clinc150") if one["domain"] in _ASKING]
    asking += rng.sample(requests, 900)
    pairs = list(PAIRS) * _REPEATED
    asking += [*(asked for _, asked in pairs), *[*PERSONAL, *GENERAL, *REQUESTS] * _REPEATED]
    telling += [*(told for told, _ in pairs), *STATEMENTS * _REPEATED]
    return asking, telling


def general_sets(data: Path, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """What needs no memory, what does, and kinds of the first that are held out."""
    by_intent: dict[str, list[str]] = {}
    for row in _rows(data, "clinc150"):
        if row["domain"] in _DOMAINS and row["intent"] not in _PERSONAL_INTENTS:
            by_intent.setdefault(row["intent"], []).append(row["text"])
    intents = sorted(by_intent, key=lambda intent: (intent != "oos", rng.random()))
    general = [text for intent in intents[::2] for text in by_intent[intent][:100]]
    held_out = [text for intent in intents[1::2] for text in by_intent[intent][:60]]
    passages, stories = _rows(data, "squad_v1_dev"), _rows(data, "fairytaleqa")
    questions = [one["question"] for passage in passages for one in passage["questions"][:1]]
    about = rng.sample(questions, 300)
    questions = [one["question"] for story in stories for one in story["qa"][:2]]
    about += rng.sample(questions, 300) + rng.sample(_about_tasks(data), 300)
    about += [*PERSONAL, *REQUESTS, *(asked for _, asked in PAIRS)] * _REPEATED
    return general + GENERAL * _REPEATED, about, held_out


def _rows(data: Path, name: str) -> list[dict[str, Any]]:
    return list(read_rows(data, name))


def _about_tasks(data: Path) -> list[str]:
    owners = dialogues(data, most=400, seed=0)
    return [question.text for owner in owners for question in owner.questions]


def vectors(texts: Sequence[str]) -> Any:
    """Embeddings of the texts as written, in lower case without the last mark, without marks."""
    plain = [re.sub(r"[^\w\s]", " ", normalised(text)).strip() or text for text in texts]
    lower = [text.lower().rstrip(" .?!") or text for text in texts]
    return np.array(default_embeddings().embed_documents([*texts, *lower, *plain]))


def fit(of_kind: Sequence[str], others: Sequence[str], *, strength: float) -> Any:
    """A logistic model that tells them apart; both count alike."""
    matrix = np.vstack([vectors(of_kind), vectors(others)])
    labels = np.repeat([1, 0], [3 * len(of_kind), 3 * len(others)])
    model = LogisticRegression(C=strength, max_iter=3000, class_weight="balanced")
    return model.fit(matrix, labels)


def share(model: Any, texts: Sequence[str]) -> float:
    """Share of the texts that are of the kind, as they are written."""
    matrix = np.array(default_embeddings().embed_documents(list(texts)))
    return float((model.decision_function(matrix) > 0).mean())


def main(
    data: Annotated[Path, typer.Option(help="Folder of the public sets.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
    seed: int = 0,
) -> None:
    """Fit both and print how well they hold on what was held out."""
    heads: dict[str, Mapping[str, Any]] = {}
    rng = random.Random(seed)
    asking, telling = asks_sets(data, rng)
    rng.shuffle(asking)
    rng.shuffle(telling)
    asks = fit(asking[200:], telling[200:], strength=1.0)
    print(f"asks: of {200} held out that ask {share(asks, asking[:200]):.3f}")
    print(f"asks: of {200} held out that tell {share(asks, telling[:200]):.3f}")
    general, about, held_out = general_sets(data, rng)
    rng.shuffle(about)
    needs_none = fit(general, about[100:], strength=0.3)
    print(f"general: of {len(held_out)} of other kinds {share(needs_none, held_out):.3f}")
    print(f"general: of {100} held out that need a memory {share(needs_none, about[:100]):.3f}")
    # What ships has seen every kind.
    needs_none = fit([*general, *held_out], about, strength=0.3)
    for name, model in (("asks", asks), ("general", needs_none)):
        weights = [round(float(weight), 3) for weight in model.coef_[0]]
        heads[name] = {"weights": weights, "constant": round(float(model.intercept_[0]), 3)}
    out.write_text(json.dumps(heads) + "\n")


if __name__ == "__main__":
    typer.run(main)
