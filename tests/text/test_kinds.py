"""What kind of text it is, in several languages."""

from __future__ import annotations

import pytest

from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import SURELY_ASKS, asks, needs_no_memory
from sleepmem.text.kinds import abstains, is_memory_tool, is_small_talk, without_pasted


@pytest.mark.parametrize(
    "text",
    [
        "Hello!",
        "good evening",
        "Thanks a lot!",
        "Guten Tag",
        "Merci beaucoup",
        "¡Hola!",
        "Dzień dobry",
        "谢谢",
        "ありがとう",
        "안녕하세요",
        "Привет",
        "مرحبا",
        "👍",
        "  ",
        "...",
        "Hello, how are you?",
        "Hallo, wie geht's?",
        "Ciao, come stai?",
        "Привет, как дела?",
        "Danke, tschüss!",
        "Gracias, hasta luego",
        "Great, thanks",
        "Bedankt, fijne dag!",
        "Hello again!",
        "Good morning my dear",
        "Hallo, schönen Tag noch!",
        "See you next week",
        "Nice to see you again, how have you been?",
    ],
)
def test_greetings_thanks_and_nothing_are_small_talk(text: str) -> None:
    assert is_small_talk(text)


@pytest.mark.parametrize(
    "text",
    [
        "Bern",
        "No peanuts!",
        "can't eat peanuts",
        "Hi, I'm Ana and I live in Bern.",
        "Will is my brother",
        "Ich wohne in Bern",
        "我对花生过敏。",
        "where do I live",
        "42",
        "Hi, I'm Sam",
        "Hi, Priya here",
        "Привет, я Иван",
        "مرحبا، أنا أحمد",
        "Ciao, sono Giulia",
        "Cześć, jestem Ola",
        "Good morning, I'm sick",
        "Thanks! My wife loved it",
        "Thanks, it's fixed",
        "Danke, ich nehme Tee",
        "Hello, I'm new here",
        "hello im new here",
        "Hey, vegetarian here",
        "Hello from Bern!",
        "Good morning from Lisbon",
        "Hallo, ich bin neu hier",
        "Bonjour, je suis nouveau ici",
        "Hola, soy nuevo aquí",
        "Ciao da Roma",
        "Привет, я здесь новенький",
        "大家好，我是新来的",
        "مرحبا أنا سارة",
    ],
)
def test_what_tells_or_asks_is_no_small_talk(text: str) -> None:
    assert not is_small_talk(text)


@pytest.mark.parametrize(
    "text",
    [
        "I do not know.",
        "I don’t know.",
        "Sorry, I don't know that.",
        "I'm not sure.",
        "I don't have that information.",
        "Das weiß ich nicht.",
        "Je ne sais pas.",
        "No lo sé.",
        "Nie wiem.",
        "不知道。",
        "わかりません。",
        "모르겠어요.",
        "أنا لا أعرف",
        "Я не знаю.",
    ],
)
def test_abstentions_are_recognised_in_any_language(text: str) -> None:
    assert abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "Brenport.",
        "Mara does not know Tobin.",
        "She is not allergic to nuts.",
        "No.",
        "You don't have any kids.",
        "I know: Brenport.",
        "",
    ],
)
def test_answers_are_no_abstentions(text: str) -> None:
    assert not abstains(text)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (
            "Context: Bern is big. Ana lives there. Question: Where does Ana live?",
            "Where does Ana live?",
        ),
        ("Kontext:\nBern ist gross.\n\nFrage: Wo wohnt Ana?", "Wo wohnt Ana?"),
        ("上下文：伯尔尼很大。 问题： 安娜住在哪里？", "安娜住在哪里？"),
        ("<documents>\nBern is big.\n</documents>\nWhat is Bern?", "What is Bern?"),
        ("<context>Bern is big.</context> What is Bern?", "What is Bern?"),
        ("<search_results>Bern is big.</search_results>\nWhat is Bern?", "What is Bern?"),
    ],
)
def test_pasted_context_is_not_the_users(text: str, own: str) -> None:
    assert without_pasted(text) == own


@pytest.mark.parametrize(
    "text",
    [
        "Name: Ana. Allergy: nuts.",
        "My address: Main Street 1. My question: can I move?",
        "Remember: no nuts",
        "if a < b and b > c, then a < c",
        "I am <b>allergic to nuts</b>, remember that",
        "<p>I moved to Oslo in May.</p> Thanks!",
        "Meine Katze heißt <em>Muff</em>.",
    ],
)
def test_labels_of_ones_own_stay(text: str) -> None:
    assert without_pasted(text) == text


@pytest.mark.parametrize(
    "text",
    ["Where does Ana live?", "hey, where does ana live", "我住在哪里？", "Co kupiłem Markowi?"],
)
def test_questions_ask_with_and_without_a_mark(text: str) -> None:
    assert asks(text) >= SURELY_ASKS


@pytest.mark.parametrize(
    "text",
    [
        "Ana lives in Bern.",
        "when I was ten I moved to Bern",
        "Will is my brother",
        "I moved to Bern, what should I see there?",
        "我对花生过敏。",
        "Kupiłem prezent dla Marka.",
        "A document. " * 40,
    ],
)
def test_what_tells_something_does_not_surely_ask(text: str) -> None:
    assert asks(text) < SURELY_ASKS


def test_general_requests_need_nobodys_memory() -> None:
    assert needs_no_memory("Tell me a joke") > 0 > needs_no_memory("Where does my sister live?")
    assert needs_no_memory("Wie wird das Wetter morgen?") > needs_no_memory("Wo wohnt meine Tante?")


def test_of_a_long_sentence_without_marks_the_beginning_is_read(monkeypatch) -> None:
    embeddings = default_embeddings()
    read, embed = [], embeddings.embed_query

    def embed_query(text: str) -> list[float]:
        read.append(len(text))
        return embed(text)

    monkeypatch.setattr(embeddings, "embed_query", embed_query)
    asks("log " * 20_000)
    asks("x" * 100_000)
    needs_no_memory("log " * 20_000)
    assert len(read) == 3
    assert max(read) <= 1_000


@pytest.mark.parametrize(
    "name",
    [
        "search_memory",
        "manage_memory",
        "recall",
        "remember_fact",
        "upsertMemory",
        "buscar_memoria",
        "archival_memory_search",
        "conversation_search",
        "zep_search_memory",
    ],
)
def test_a_memorys_tool_is_known_by_its_name(name: str) -> None:
    assert is_memory_tool(name)


@pytest.mark.parametrize(
    "name",
    [
        "search_web",
        "weather",
        "set_reminder",
        "notes",
        "get_memory_usage",
        "write_todos",
        "?",
        "recall_order",
        "vehicle_recalls",
        "free_memory",
    ],
)
def test_another_tool_is_none_of_a_memory(name: str) -> None:
    assert not is_memory_tool(name)
