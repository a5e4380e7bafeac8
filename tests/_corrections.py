"""What a user told, what they told later, and a question: is the later one news of the earlier?

Each fact in its own language, with a correction that repeats none of its words but those that every
sentence of its speaker may have, and with something else that the same user told.
"""

# Question, what taught the answer, a later correction of it, something else told later.
TOLD = (
    (
        "Where do I live?",
        "I live in Rome.",
        "I moved to Bern last week.",
        "I watched a film about whales.",
    ),
    (
        "What is my job?",
        "I work as a baker.",
        "I quit and became a nurse.",
        "I have a headache.",
    ),
    (
        "What pet do I have?",
        "I have a dog called Rex.",
        "We gave Rex away and got a parrot instead.",
        "The train was late again.",
    ),
    (
        "What do I drive?",
        "I drive a red Fiat.",
        "I sold the Fiat; now I go by bicycle.",
        "My sister phoned from Lisbon.",
    ),
    (
        "Who is my boss?",
        "My boss is Petra.",
        "Since Monday I report to Klaus.",
        "The cake needs three eggs.",
    ),
    (
        "What instrument do I play?",
        "I play the cello.",
        "I switched over to the trumpet.",
        "I bought nine green pears.",
    ),
    (
        "Am I married?",
        "I am married to Tom.",
        "Tom and I got divorced.",
        "The printer is out of paper.",
    ),
    (
        "What do I eat?",
        "I eat everything.",
        "I became a vegan this spring.",
        "My passport expires in May.",
    ),
    (
        "Wo wohne ich?",
        "Ich wohne in Rom.",
        "Letzte Woche bin ich nach Bern gezogen.",
        "Der Drucker hat kein Papier.",
    ),
    (
        "Was bin ich von Beruf?",
        "Ich arbeite als Bäcker.",
        "Ich habe gekündigt und bin jetzt Pfleger.",
        "Gestern hat es den ganzen Tag geregnet.",
    ),
    (
        "Welches Auto fahre ich?",
        "Ich fahre einen roten Fiat.",
        "Den Wagen habe ich verkauft, jetzt habe ich ein Fahrrad.",
        "Meine Schwester hat im Mai Geburtstag.",
    ),
    (
        "Où est-ce que j'habite ?",
        "J'habite à Rome.",
        "La semaine dernière, j'ai déménagé à Berne.",
        "Le nouveau film m'a beaucoup plu.",
    ),
    (
        "Quel est mon métier ?",
        "Je suis boulanger.",
        "J'ai changé de travail : maintenant infirmier.",
        "Il a plu toute la journée.",
    ),
    (
        "¿Dónde vivo?",
        "Vivo en Roma.",
        "La semana pasada me mudé a Berna.",
        "El partido terminó tres a uno.",
    ),
    (
        "¿En qué trabajo?",
        "Soy panadero.",
        "Ahora me dedico a la enfermería.",
        "La impresora no tiene papel.",
    ),
    (
        "Dove abito?",
        "Abito a Roma.",
        "La settimana scorsa mi sono trasferito a Berna.",
        "La torta vuole tre uova.",
    ),
    (
        "Onde eu moro?",
        "Eu moro em Roma.",
        "Na semana passada me mudei para Berna.",
        "O trem atrasou de novo.",
    ),
    (
        "Waar woon ik?",
        "Ik woon in Rome.",
        "Vorige week ben ik naar Bern verhuisd.",
        "De printer heeft geen papier meer.",
    ),
    (
        "Gdzie mieszkam?",
        "Mieszkam w Rzymie.",
        "W zeszłym tygodniu przeprowadziłem się do Berna.",
        "Pociąg znowu się spóźnił.",
    ),
    (
        "Где я живу?",
        "Я живу в Риме.",
        "На прошлой неделе я переехал в Берн.",
        "Вчера весь день шёл дождь.",
    ),
    (
        "Nerede yaşıyorum?",
        "Roma'da yaşıyorum.",
        "Geçen hafta Bern'e taşındım.",
        "Yazıcıda kağıt kalmadı.",
    ),
    (
        "私はどこに住んでいますか。",
        "私はローマに住んでいます。",
        "先週ベルンに引っ越しました。",
        "ケーキには卵が三つ必要です。",
    ),
    (
        "我住在哪里?",
        "我住在罗马。",
        "上周我搬到了伯尔尼。",
        "打印机没有纸了。",
    ),
    (
        "나는 어디에 살아?",
        "나는 로마에 살아.",
        "지난주에 베른으로 이사했어.",
        "기차가 또 늦었어.",
    ),
    (
        "أين أسكن؟",
        "أسكن في روما.",
        "انتقلت إلى برن الأسبوع الماضي.",
        "القطار تأخر مرة أخرى.",
    ),
)

# Another wording of each question, as an exam asks a fact in several.
AGAIN = (
    "In which town am I at home?",
    "How do I earn my money?",
    "Which animal lives with me?",
    "How do I get around?",
    "Whom do I report to?",
    "Which instrument am I able to play?",
    "Do I have a husband?",
    "What is my diet?",
    "In welcher Stadt bin ich zu Hause?",
    "Womit verdiene ich mein Geld?",
    "Was für einen Wagen habe ich?",
    "Dans quelle ville est ma maison ?",
    "Que fais-je dans la vie ?",
    "¿En qué ciudad está mi casa?",
    "¿Cuál es mi profesión?",
    "In quale città sto di casa?",
    "Em que cidade fica a minha casa?",
    "In welke stad ben ik thuis?",
    "W jakim mieście jest mój dom?",
    "В каком городе мой дом?",
    "Evim hangi şehirde?",
    "私の家はどこですか。",
    "我家在哪个城市?",
    "내 집은 어느 도시에 있어?",
    "في أي مدينة بيتي؟",
)
