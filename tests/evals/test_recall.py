"""The bench of recall reads each set as published, knows its evidence, and measures every arm over
the same texts.
"""

import gzip
import json
from pathlib import Path

import pytest
import typer
from langchain_core.embeddings import Embeddings

from sleepmem.evals import recall, recall_cost, recall_sets
from sleepmem.evals.recall_embeddings import Remembered
from sleepmem.evals.recall_sets import Memory, Owner, Question
from sleepmem.memory import SleepMemory
from sleepmem.text.terms import terms

HAS_BM25 = pytest.mark.skipif(
    not recall.has_bm25(), reason="rank-bm25 is no dependency of the package"
)


class Letters(Embeddings):
    """How often each letter occurs; counts what it embeds."""

    def __init__(self):
        self.embedded = []

    def embed_documents(self, texts):
        self.embedded += texts
        return [
            [float(text.lower().count(chr(97 + place))) for place in range(26)] for text in texts
        ]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def write(folder, name, rows):
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def told(owner, question):
    """The memories that are evidence of it."""
    return [owner.memories[index].rendered for index in sorted(question.evidence)]


def test_a_missing_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"squad_v1_dev\.jsonl\.gz"):
        recall_sets.squad(tmp_path, most=1, seed=0)


def test_documents_are_memories_and_the_annotated_one_is_evidence(tmp_path):
    passages = [
        {"title": "Tea", "context": "Tea is drunk.", "questions": [{"question": "What of tea?"}]},
        {"title": "Rye", "context": "Rye is baked.", "questions": [{"question": "What of rye?"}]},
    ]
    write(tmp_path, "squad_v1_dev", passages)
    (owner,) = recall_sets.squad(tmp_path, most=9, seed=0)
    assert [told(owner, question) for question in owner.questions] == [
        ["Tea is drunk."],
        ["Rye is baked."],
    ]
    stories = [
        {"id": "fox", "sections": ["A.", "B."], "qa": [{"question": "Who?", "sections": "2"}]},
        {"id": "hen", "sections": ["C.", "D."], "qa": [{"question": "Why?", "sections": "1,2"}]},
    ]
    write(tmp_path, "fairytaleqa", stories)
    (owner,) = recall_sets.fairytales(tmp_path, most=9, seed=0)
    assert [told(owner, question) for question in owner.questions] == [["B."], ["C.", "D."]]
    assert len(recall_sets.fairytales(tmp_path, most=1, seed=0)[0].questions) == 1


def dialogue(number, service, place):
    """One that gives a place, is asked back, and agrees."""
    turns = [
        ["U", f"I need something in {place}."],
        ["S", f"In {place}, for two?"],
        ["U", "Yes, please."],
        ["S", "Anything else?"],
        ["U", "No, that is all."],
    ]
    state = {service: {"city_of_event": [place], "count": ["2"], "has_wifi": ["True"]}}
    return {"id": str(number), "services": [service], "turns": turns, "final_state": state}


def test_evidence_of_a_dialogue_is_what_was_said_and_what_was_agreed_to(tmp_path):
    rows = [dialogue(0, "RideSharing_1", "Bern"), dialogue(1, "RideSharing_2", "Oslo")]
    write(tmp_path, "sgd_dialogues", rows)
    owners = recall_sets.dialogues(tmp_path, most=9, seed=0)
    # The same kind of service is never asked of one owner.
    assert len(owners) == 2
    for owner in owners:
        (question,) = owner.questions
        assert sorted(question.evidence) == [0, 1]
        assert owner.memories[1].rendered.endswith("for two? - Yes, please.")
        assert "city of event" in question.text.lower()
        assert "ride sharing" in question.text.lower()

    write(
        tmp_path, "clinc150", [{"text": "hi", "intent": "greeting"}, {"text": "x", "intent": "y"}]
    )
    asked = recall_sets.no_memory_needed(tmp_path, most=9, seed=0)
    assert [question for owner in asked for question in owner.questions] == [Question("hi")]


def test_memorybank_answers_stand_in_the_turn_after_them(tmp_path):
    def day(date, turns):
        said = [{"query": f"q {date} {turn}", "response": f"r {turn}"} for turn in range(turns)]
        return {"date": date, "turns": said}

    history = [day(f"2023-05-{number + 1:02}", 9) for number in range(10)]
    probing = [f'"question {number}"' for number in range(7)]
    write(
        tmp_path,
        "memorybank_en",
        [{"user": "Frank", "history": history, "probing_questions": probing}],
    )
    (owner,) = recall_sets.memorybank(tmp_path, most=99, seed=0)
    assert len(owner.questions) == 7
    assert told(owner, owner.questions[2]) == ["r 1 - q 2023-05-03 2"]
    assert owner.memories[9].answers == ""
    labelled = sum(len(each) for each in recall_sets.MEMORYBANK_EVIDENCE.values())
    assert (len(recall_sets.MEMORYBANK_EVIDENCE), labelled) == (8, 49)


def test_locomo_is_read_as_published(tmp_path):
    conversation = {
        "speaker_a": "Ana",
        "speaker_b": "Ben",
        "session_10_date_time": "9:05 am on 2 June, 2023",
        "session_10": [{"speaker": "Ana", "dia_id": "D10:1", "text": "I am off."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ana", "dia_id": "D2:1", "text": "Look.", "blip_caption": "a red boat"},
            {"speaker": "Ben", "dia_id": "D2:2", "text": "Nice."},
        ],
    }
    questions = [
        {"question": "What did Ana show?", "answer": "a boat", "evidence": ["D2:1"], "category": 4},
        {"question": "Both?", "answer": "", "evidence": ["D:2:2; D10:01"], "category": 1},
        {"question": "Never?", "evidence": ["D2:1"], "category": 5},
        {"question": "Unknown?", "answer": "", "evidence": [], "category": 1},
    ]
    file = tmp_path / "locomo10.json"
    sample = {"sample_id": "conv-1", "conversation": conversation, "qa": questions}
    file.write_text(json.dumps([sample]))
    (owner,) = recall_sets.locomo(file, most=9, seed=0)
    assert [told(owner, question) for question in owner.questions] == [
        ["Ana: Look. [shares a red boat]"],
        ["Ben: Nice.", "Ana: I am off."],
    ]
    assert owner.memories[0].told_at == "2023-05-08T13:56:00+00:00"


def test_longmemeval_is_read_as_published(tmp_path):
    session = [
        {"role": "user", "content": "I got a cat.", "has_answer": True},
        {"role": "assistant", "content": "Call it Tom.", "has_answer": True},
        {"role": "user", "content": "I will."},
        {"role": "assistant", "content": "Good."},
        {"role": "user", "content": "Bye."},
    ]
    row = {
        "question_id": "q1",
        "question": "Which name did you propose?",
        "haystack_session_ids": ["s1"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21"],
        "haystack_sessions": [session],
        "answer_session_ids": ["s1"],
    }
    file = tmp_path / "longmemeval_s.json"
    file.write_text(json.dumps([row, {**row, "question_id": "q2_abs"}]))
    (owner,) = recall_sets.longmemeval(file, most=9, seed=0)
    assert told(owner, owner.questions[0]) == ["I got a cat.", "Call it Tom. - I will."]


def test_every_language_tells_and_asks_the_same_facts_in_other_words():
    owners = recall_sets.languages(most=10_000, seed=0)
    assert len(owners) >= 10
    for owner in owners:
        assert len(owner.memories) == len(owner.questions) == 25
        assert len({memory.text for memory in owner.memories}) == 25
        assert not {memory.text for memory in owner.memories} & {q.text for q in owner.questions}


def test_of_more_than_five_memories_that_are_evidence_five_count():
    result = recall.Result("ann", 0, tuple(range(8)), (0, 1, 2, 3, 9, 4), 10)
    assert result.recall == 4 / 5
    assert recall.score([result]).recall == 4 / 5
    assert recall.score([recall.Result("ann", 0, (), (), 0)]).recall is None


@HAS_BM25
def test_every_arm_is_asked_the_same_of_the_same_texts(tmp_path):
    owner = Owner(
        "ann",
        (
            Memory("Mara lives in Brenport.", "", "2024-01-01"),
            Memory("Tea is fine.", "Tea?", "2024-01-02"),
            Memory("Nobody knows why.", "", "2024-01-03"),
        ),
        (Question("Where does Mara live?", frozenset([0])), Question("zzz qqq")),
    )
    letters = Letters()
    results, refused = recall.run_set(
        [owner], Remembered(letters), model=recall.OTHER_MODEL, what="test"
    )
    assert refused == 0
    assert sorted(letters.embedded) == sorted({*letters.embedded})
    assert set(results) == set(recall.ARMS)
    for arm in recall.ARMS:
        first, second = results[arm]
        assert first.recall == 1
        assert first.tokens > 0
        assert (second.evidence, second.tokens == 0) == ((), not second.retrieved)
    # No word of it was ever said.
    assert results[recall.BM25][1].retrieved == ()
    scores = {arm: recall.score(results[arm]) for arm in recall.ARMS}
    assert "| test | 2 | 1.000 |" in recall.table({"test": scores})


def test_a_set_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(typer.BadParameter, match="typo"):
        recall.main(only="typo", out=tmp_path)
    with pytest.raises(typer.BadParameter, match="typo"):
        recall.main(embeddings="typo", out=tmp_path)
    with pytest.raises(typer.BadParameter, match="typo"):
        recall_cost.main(embeddings="typo", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_that_was_filled_in_bulk_is_sound_and_measured(tmp_path):
    given = recall_cost.Given(Letters())
    talk = recall_cost.Talk(
        recall_cost.random.Random(0), recall_cost.sentences(0), recall_cost.questions(0)
    )
    talk.told += [next(talk.said) for _ in range(12)]
    assert len(set(talk.told)) == 12
    bare = recall_cost.Bare(tmp_path, given)
    with SleepMemory.open(tmp_path / "memory", embeddings=given) as memory:
        recall_cost.fill(memory, given, bare=bare, texts=talk.told)
        assert memory.verify() == []
        owner, *_ = memory.ledger.episodes.namespaces()
        assert memory.ledger.episodes.unembedded(owner) == []
        cost = recall_cost.measure(memory, bare, talk=talk, times=2, limit=0)
        assert memory.verify() == []
    bare.close()
    assert cost.episodes == 12
    assert all(ratio > 0 for ratio in cost.ratios)
    assert "| 12 |" in recall_cost.table([cost])


def test_nothing_is_learned_that_the_bench_asks_in_other_languages() -> None:
    folder = Path(recall_sets.__file__).parent
    owners = recall_sets.languages(most=1_000, seed=0)
    owners += recall_sets.no_memory_needed_in_languages(most=1_000, seed=0)
    measured = {" ".join(terms(question.text)) for owner in owners for question in owner.questions}
    measured |= {" ".join(terms(memory.text)) for owner in owners for memory in owner.memories}
    learned = list(json.loads((folder / "heads_texts.json").read_text("utf-8")).values())
    for texts in json.loads((folder / "recall_fit_languages.json").read_text("utf-8")).values():
        learned += [*texts["facts"], texts["told"], texts["general"]]
    assert not {" ".join(terms(text)) for texts in learned for text in texts} & measured
