"""What nights cost and save, how large the experts are, what a folder holds."""

from _values import put_expert

from sleepmem.records import Recall, View
from sleepmem.report import data

ALICE, BOB = ("alice",), ("bob",)


def log(memory, tokens, view=View.RETRIEVAL):
    """A question was asked, and so many memory tokens went into its prompt."""
    recall = Recall(view, "made by hand")
    memory.ledger.turns.log(ALICE, "Where does Mara live?", recall=recall, tokens=tokens)


def test_nights_are_paid_back_by_the_tokens_they_save(night):
    nights = [
        night(1, tokens_trained=600, tokens_generated=400, peak_bytes=5),
        night(2, tokens_trained=500, tokens_generated=500),
    ]
    first, second = data.cost(nights, [20.0, None])
    assert first == {
        "tokens_generated": 400,
        "tokens_trained": 600,
        "peak_bytes": 5,
        "tokens_saved_per_turn": 20.0,
        "break_even_turns": 50,
    }
    assert (second["tokens_saved_per_turn"], second["break_even_turns"]) == (None, None)
    # The second night pays for the 2,000 tokens of both.
    assert data.cost(nights, [20.0, 40.0])[1]["break_even_turns"] == 50
    assert data.cost(nights[:1], [-3.0])[0]["break_even_turns"] is None


def test_the_ledger_tells_what_a_night_saved(memory):
    episode = memory.observe(ALICE, "Mara moved to Brenport.")
    log(memory, 100)
    log(memory, 60)
    put_expert(memory, ALICE, [episode.id])
    log(memory, 0, View.WEIGHTS)
    log(memory, 20)
    shown = data.from_ledger(memory.ledger, ALICE)
    assert [report["number"] for report in shown["nights"]] == [1]
    assert shown["load"] == [
        {"questions": 2, "retrieval_rate": 1.0, "memory_tokens_per_turn": 80.0},
        {"questions": 2, "retrieval_rate": 0.5, "memory_tokens_per_turn": 10.0},
    ]
    assert [spent["tokens_saved_per_turn"] for spent in shown["cost"]] == [70.0]


def test_status_counts_by_namespace(memory):
    episode = memory.observe(ALICE, "Mara moved to Brenport.")
    memory.observe(ALICE, "Jon owns the red boat.")
    memory.observe(BOB, "Tolvan is a baker by trade.")
    expert = put_expert(memory, ALICE, [episode.id])
    log(memory, 10)
    log(memory, 0, View.WEIGHTS)
    log(memory, 0, View.WEIGHTS)
    alice, bob = data.status(memory.ledger)
    assert alice == {
        "namespace": ["alice"],
        "episodes": 2,
        "buffered": 1,
        "learned": 1,
        "experts": [expert.name],
        "nights": 1,
        "questions": 3,
        "retrieval_rate": 0.333,
        "failures": 0,
        "unembedded": 0,
    }
    assert (bob["buffered"], bob["experts"], bob["retrieval_rate"]) == (1, [], None)
    assert memory.status() == [alice, bob]


def test_decisions_are_counted_over_all_owners(memory):
    assert memory.decisions() == []
    log(memory, 10)
    log(memory, 5)
    log(memory, 0, View.WEIGHTS)
    assert memory.decisions() == [
        {"view": "retrieval", "look": "first", "decisions": 2, "tokens": 15},
        {"view": "weights", "look": "first", "decisions": 1, "tokens": 0},
    ]


def test_status_names_an_owner_of_whom_everything_failed(memory):
    memory.observe(ALICE, "Mara moved to Brenport.")
    memory.ledger.turns.log_event("memory failed", namespace=["bob"], what="storing a turn")
    alice, bob = data.status(memory.ledger)
    assert (alice["failures"], bob["namespace"], bob["failures"]) == (0, ["bob"], 1)


def test_sizes_say_when_experts_grow_faster_than_the_text_they_replace(night):
    def nights(*sizes):
        reports = []
        for number, (experts, text) in enumerate(sizes, 1):
            reports.append(night(number, expert_bytes=experts, text_bytes=text))
        return reports

    # Nothing was promoted.
    assert data.sizes(nights((0, 0))) == ""
    assert "5.0 times as much" in data.sizes(nights((1000, 200)))
    small = data.sizes(nights((1000, 200), (0, 0), (1100, 2000)))
    assert "by 100 bytes, the text by 1,800: slower than" in small
    assert "1.1 times as large, the text 10.0 times" in small
    # 15-fold against 50-fold, and yet by more bytes.
    large = data.sizes(nights((1000, 200), (15000, 10000)))
    assert "by 14,000 bytes, the text by 9,800: not slower" in large
