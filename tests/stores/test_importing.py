"""What other memories and chats exported is taken in once, and for one owner alone."""

import json

import pytest
from langchain_core.messages import HumanMessage
from langgraph.store.memory import InMemoryStore
from sqlite_utils import Database

from sleepmem import ConfigError, NamespaceError, SleepMemory
from sleepmem.records import Episode
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.schema import migrations

ALICE, BOB = ("alice",), ("bob",)
MEM0 = [
    {"id": "1", "memory": "Drinks tea", "user_id": "ana"},
    {"id": "2", "memory": "Allergic to nuts", "user_id": "ben"},
    {"id": "3", "memory": "Answers in short sentences", "agent_id": "helper"},
]


@pytest.fixture
def memory(tmp_path):
    with SleepMemory.open(tmp_path / "m") as memory:
        yield memory


def written(folder, content, name="export.json"):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def texts(memory, owner):
    return [episode.text for episode in memory.ledger.episodes.all(owner)]


def item(namespace, key, text):
    return {"namespace": namespace, "key": key, "value": {"content": text}}


def test_what_belongs_to_several_users_becomes_nobodys_unasked(memory, tmp_path):
    file = written(tmp_path, MEM0)
    with pytest.raises(NamespaceError, match="3 users, '', 'ana', 'ben'") as raised:
        memory.import_from(ALICE, file)
    assert "user=" in str(raised.value)
    assert str(file) in str(raised.value)
    assert memory.ledger.episodes.namespaces() == []


def test_each_user_goes_where_the_caller_says(memory, tmp_path):
    file = written(tmp_path, MEM0)
    assert memory.import_from(ALICE, file, user="ana").episodes == 1
    assert memory.import_from(BOB, file, user="ben").episodes == 1
    assert memory.import_from(("agent",), file, user="").episodes == 1
    assert texts(memory, ALICE) == ["Drinks tea"]
    assert texts(memory, BOB) == ["Allergic to nuts"]
    assert texts(memory, ("agent",)) == ["Answers in short sentences"]
    assert memory.import_from(ALICE, file, user="ana").known == 1


def test_a_user_that_is_not_there_is_told_who_is(memory, tmp_path):
    file = written(tmp_path, MEM0)
    with pytest.raises(NamespaceError, match=r"nothing of the user 'an'.*'ana', 'ben'"):
        memory.import_from(ALICE, file, user="an")
    (tmp_path / "notes.md").write_text("Mara lives in Brenport.")
    with pytest.raises(NamespaceError, match="nothing of the user 'ana'"):
        memory.import_from(ALICE, tmp_path / "notes.md", user="ana")


def test_many_users_are_not_all_named(memory, tmp_path):
    many = [{"id": f"{n}", "memory": "Likes tea", "user_id": f"u{n:02}"} for n in range(30)]
    with pytest.raises(NamespaceError, match="'u09' and 20 more"):
        memory.import_from(ALICE, written(tmp_path, many))


def test_a_stores_namespaces_are_its_owners(memory, tmp_path):
    items = [
        item(["memories", "ana"], "1", "Drinks tea"),
        item(["memories", "ana"], "2", "Has a cat"),
        item(["memories", "ben"], "1", "Allergic to nuts"),
        item(["memories/ana"], "1", "Lives in Oslo"),
    ]
    file = written(tmp_path, items)
    with pytest.raises(NamespaceError, match="'memories%2Fana', 'memories/ana', 'memories/ben'"):
        memory.import_from(ALICE, file)
    assert memory.import_from(ALICE, file, user="memories/ana").episodes == 2
    assert texts(memory, ALICE) == ["Drinks tea", "Has a cat"]


def test_one_users_export_needs_no_word(memory, tmp_path):
    items = [item(["memories", "ana"], f"{n}", f"Fact {n} of Ana") for n in range(3)]
    assert memory.import_from(ALICE, written(tmp_path, items)).episodes == 3


def test_a_store_is_taken_in_as_it_is(memory, tmp_path):
    store = InMemoryStore()
    for name, text in [("ana", "Drinks tea"), ("ben", "Allergic to nuts")]:
        store.put(("memories", name), "1", {"kind": "Memory", "content": {"content": text}})
    with pytest.raises(NamespaceError, match="the store holds"):
        memory.import_from(ALICE, store)
    assert memory.import_from(ALICE, store, user="memories/ana").episodes == 1
    assert texts(memory, ALICE) == ["Drinks tea"]
    # Like its items in a file.
    file = written(tmp_path, [one.dict() for one in store.search(("memories", "ana"))])
    assert memory.import_from(ALICE, file).known == 1
    with pytest.raises(ConfigError, match="leave form out"):
        memory.import_from(ALICE, store, form="mem0")


def test_what_claude_keeps_comes_in_beside_the_chats(memory, tmp_path):
    said = {"uuid": "m1", "sender": "human", "text": "I am Ana from Oslo."}
    chat = {"uuid": "c-1", "account": {"uuid": "a"}, "chat_messages": [said]}
    kept = "**Work context**\n\nAna runs a bakery.\n\n**Brief history**\n\n- She moved to Oslo."
    own = {
        "conversations_memory": kept,
        "project_memories": {"p-1": "A cookbook."},
        "account_uuid": "a",
    }
    written(tmp_path, [chat], "conversations.json")
    written(tmp_path, [own], "memories.json")
    written(tmp_path, [{"uuid": "a", "full_name": "Ana"}], "users.json")
    imported = memory.import_from(ALICE, tmp_path)
    assert imported.left_out == "nothing of users.json could be taken in"
    told = {one.text: one.source for one in memory.ledger.episodes.all(ALICE)}
    assert told == {
        "I am Ana from Oslo.": "user",
        "Work context: Ana runs a bakery.": "import:claude",
        "Brief history: She moved to Oslo.": "import:claude",
        "A cookbook.": "import:claude",
    }
    assert memory.import_from(ALICE, tmp_path).known == 4


def test_the_conversations_of_a_team_are_kept_apart(memory, tmp_path):
    chats = []
    for name in ("ana", "ben"):
        message = {"uuid": f"m-{name}", "sender": "human", "text": f"I am {name} from Oslo."}
        chats.append({"uuid": name, "account": {"uuid": name}, "chat_messages": [message]})
    file = written(tmp_path, chats, "conversations.json")
    with pytest.raises(NamespaceError, match="'ana', 'ben'"):
        memory.import_from(ALICE, file)
    memory.import_from(ALICE, file, user="ben")
    assert texts(memory, ALICE) == ["I am ben from Oslo."]


def test_our_own_export_has_one_owner(memory, tmp_path):
    memory.observe(ALICE, "Mara lives in Brenport.")
    memory.export_to(ALICE, tmp_path / "out")
    with pytest.raises(ConfigError, match="one owner's alone"):
        memory.import_from(BOB, tmp_path / "out", user="alice")


@pytest.mark.parametrize(
    "entry",
    [
        {"memory": "Drinks tea"},
        {"id": "1", "memory": "Drinks tea"},
        {"memory": "Drinks tea", "created_at": "2026-03-04T08:00:00Z"},
        {"id": "1", "memory": "Drinks tea", "created_at": "2026-03-04T08:00:00Z"},
    ],
)
@pytest.mark.parametrize("trusted", [(False, False), (False, True), (True, False), (True, True)])
def test_a_memory_comes_in_once_dated_named_and_trusted_or_not(memory, tmp_path, entry, trusted):
    file = written(tmp_path, [entry])
    first, second = trusted
    assert memory.import_from(ALICE, file, trusted=first).episodes == 1
    again = memory.import_from(ALICE, file, trusted=second)
    assert (again.episodes, again.known) == (0, 1)
    [episode] = memory.ledger.episodes.all(ALICE)
    assert episode.trusted is first


def test_a_memory_that_expires_is_not_recalled_afterwards(memory, tmp_path):
    entries = [
        {"id": "1", "memory": "Rides the ferry", "expiration_date": "2020-01-31"},
        {"id": "2", "memory": "Drinks tea", "expiration_date": "2999-01-31"},
    ]
    memory.import_from(ALICE, written(tmp_path, entries))
    found = memory.search(ALICE, "Drinks tea, rides the ferry").episodes
    assert [one.text for one in found] == ["Drinks tea"]


def test_what_the_user_had_said_in_these_words_is_known(memory, tmp_path):
    memory.observe(ALICE, "Drinks tea.")
    imported = memory.import_from(ALICE, written(tmp_path, [{"memory": "Drinks tea"}]))
    assert (imported.episodes, imported.known) == (0, 1)


def test_a_memory_that_was_changed_there_is_new(memory, tmp_path):
    memory.import_from(ALICE, written(tmp_path, [{"id": "1", "memory": "Drinks tea"}]))
    changed = written(tmp_path, [{"id": "1", "memory": "Drinks coffee"}])
    imported = memory.import_from(ALICE, changed)
    assert (imported.episodes, imported.known) == (1, 0)


def chatgpt(*texts):
    mapping, parent = {"root": {"message": None, "parent": None}}, "root"
    for number, text in enumerate(texts):
        role = ("user", "assistant")[number % 2]
        message = {"id": f"m{number}", "author": {"role": role}, "create_time": 1.7e9 + number}
        message["content"] = {"content_type": "text", "parts": [text]}
        mapping[f"n{number}"] = {"message": message, "parent": parent}
        parent = f"n{number}"
    return [{"conversation_id": "c-1", "mapping": mapping, "current_node": parent}]


def claude(*texts):
    messages = []
    for number, text in enumerate(texts):
        sender = ("human", "assistant")[number % 2]
        messages.append({"uuid": f"m{number}", "sender": sender, "text": text})
    return [{"uuid": "c-1", "chat_messages": messages}]


@pytest.mark.parametrize("chat", [chatgpt, claude])
def test_a_chat_that_is_imported_again_says_what_was_known(memory, tmp_path, chat):
    said = ["I moved to Brenport.", "Nice. Which street?", "Mill Lane 4.", "Noted."]
    first = memory.import_from(ALICE, written(tmp_path, chat(*said)))
    assert (first.episodes, first.known) == (2, 0)
    again = memory.import_from(ALICE, written(tmp_path, chat(*said)))
    assert (again.episodes, again.known) == (0, 2)
    grown = memory.import_from(ALICE, written(tmp_path, chat(*said, "My cat is called Rex.")))
    assert (grown.episodes, grown.known) == (1, 2)


def test_of_a_forgotten_message_not_even_its_id_is_left(memory, tmp_path):
    file = tmp_path / "ottilie.md"
    file.write_text("- Ottilie's number is 555-0199.", encoding="utf-8")
    memory.import_from(ALICE, file)
    memory.observe_messages(ALICE, [HumanMessage("I like tea.", id="tea-1")], thread="t")
    ids = [one.message_id for one in memory.ledger.episodes.all(ALICE)]
    memory.forget(ALICE, everything=True)
    memory.export_to(ALICE, tmp_path / "out")
    digits = ids[0].partition("#")[2]
    for place in (memory.folder, tmp_path / "out"):
        for found in place.rglob("*"):
            content = found.read_bytes().lower() if found.is_file() else b""
            for word in ("ottilie", digits, "tea-1"):
                assert word.encode() not in content, found
    # Neither comes back, here or where the export was taken in.
    with SleepMemory.open(tmp_path / "other") as other:
        other.import_from(BOB, tmp_path / "out")
        for one, owner in ((memory, ALICE), (other, BOB)):
            assert one.import_from(owner, file).episodes == 0
            one.observe_messages(owner, [HumanMessage("I like tea.", id="tea-1")], thread="t")
            assert texts(one, owner) == []
            assert one.ledger.episodes.owner("t", "tea-1") == owner
        assert other.import_from(ALICE, file).episodes == 1


def test_what_an_earlier_version_had_forgotten_is_known_still(tmp_path):
    path = tmp_path / "ledger.db"
    before = Database(path)
    migrations.apply(before, stop_before="hash_what_was_forgotten")
    before.table("forgotten").insert({"namespace": '["alice"]', "thread": "", "id": "ottilie#1"})
    before.close()
    ledger = Ledger(path)
    assert ledger.episodes.was_forgotten(Episode(ALICE, "I like tea.", message_id="ottilie#1"))
    assert not ledger.episodes.was_forgotten(Episode(BOB, "I like tea.", message_id="ottilie#1"))
    assert ledger.is_unclean
    # As does what an export of that version brings along.
    ledger.forgotten.take_in(BOB, {"thread": "t", "id": "2"})
    assert ledger.episodes.was_forgotten(Episode(BOB, "Tea.", message_id="2", thread="t"))
    ledger.close()
