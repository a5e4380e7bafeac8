"""The report says what nights cost, and draws only what there is."""

import json

import pytest
from _values import put_expert

from sleepmem.records import Recall, View
from sleepmem.report import data, draw

ALICE = ("alice",)


def test_nights_are_paid_back_by_the_tokens_they_save():
    nights = [
        {"tokens_trained": 600, "exam": {"tokens_generated": 400, "peak_bytes": 5}},
        {"tokens_trained": 500, "tokens_generated": 500},
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
    assert data.cost(nights, [20.0, 40.0])[1]["break_even_turns"] == 50  # both nights' 2,000 tokens
    assert data.cost(nights[:1], [-3.0])[0]["break_even_turns"] is None


def test_the_ledger_tells_what_a_night_saved(memory, tmp_path):
    told = memory.observe(ALICE, "Mara moved to Brenport.")

    def asked(tokens):
        memory.ledger.log_recall(
            ALICE, "Where does Mara live?", Recall(View.RETRIEVAL, "made by hand"), tokens
        )

    asked(100)
    asked(60)
    put_expert(memory, ALICE, [told.id])
    asked(0)
    asked(20)
    shown = data.from_ledger(memory.ledger, ALICE)
    assert [c["tokens_saved_per_turn"] for c in shown["cost"]] == [70.0]
    written = draw.write(shown, tmp_path / "report")
    assert json.loads(written[0].read_text())["cost"] == shown["cost"]
    page = written[1].read_text()
    assert "70.0" in page
    assert "<img" in page
    assert 'src="http' not in page


def test_the_page_says_when_experts_grow_faster_than_the_text_they_replace(tmp_path):
    def nights(*sizes):
        return [{"exam": {"expert_bytes": e, "text_bytes": t}} for e, t in sizes]

    assert data.sizes(nights((0, 0))) == ""  # nothing promoted
    assert "5.0 times as much" in data.sizes(nights((1000, 200)))
    small = data.sizes(nights((1000, 200), (0, 0), (1100, 2000)))
    assert "by 100 bytes, the text by 1,800: slower than" in small
    assert "1.1 times as large, the text 10.0 times" in small
    assert "by 14,000 bytes, the text by 9,800: not slower" in data.sizes(
        nights((1000, 200), (15000, 10000))
    )  # 15-fold against 50-fold
    draw.write({"nights": nights((1000, 200), (5000, 600))}, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "not slower" in page
    assert "5.0 times as large, the text 3.0 times" in page


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, save = [], draw.Figure.savefig
    monkeypatch.setattr(
        draw.Figure,
        "savefig",
        lambda self, *args, **more: figures.append(self) or save(self, *args, **more),
    )
    return figures


def lived(number, verdict="promoted", **more):
    return {
        "night_id": f"night-{number:04d}",
        "verdict": verdict,
        "reason": "r",
        "level": "fast",
        "seconds": 1.0,
        **more,
    }


def test_accuracy_is_drawn_by_night_after_the_last_promoted_one(tmp_path, drawn):
    slow = lived(
        5,
        level="slow",
        absorbed=2,
        exam={"by_night": {"night-0003": 1.0, "night-0004": 0.5, "night-0005": 0.75}},
    )
    draw.write(
        {
            "nights": [
                slow,
                lived(6, "rejected", exam={"by_night": {"night-0005": 0.0, "night-0006": 0.0}}),
            ]
        },
        tmp_path,
    )
    (a,) = drawn[0].axes
    assert [label.get_text() for label in a.get_xticklabels()] == [
        "3",
        "4",
    ]  # the slow night taught nothing of its own
    assert [bar.get_height() for bar in a.patches] == [1.0, 0.5]


def test_a_night_is_named_as_rollback_names_it(tmp_path, drawn):
    nights = [
        lived(1, "skipped"),
        lived(4, curve=[{"step": 1, "loss": 0.5}], audited=20, returned=2),
        lived(5, level="slow", returned=3),
    ]
    draw.write({"nights": nights}, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<td>night-0004</td><td>fast</td>" in page
    assert "<td>night-0005</td><td>slow</td>" in page
    assert "2 of 20" in page
    assert "3 of 0" not in page
    (loss,) = drawn[0].axes  # and no empty plot of rewards
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["night 4"]


def test_a_report_of_nothing_is_a_page_without_plots(memory, tmp_path):
    memory.observe(ALICE, "Mara moved to Brenport.")
    assert [p.name for p in draw.write(data.from_ledger(memory.ledger, ALICE), tmp_path)] == [
        "report.json",
        "report.html",
    ]


def test_dreams_are_drawn_by_what_became_of_them(tmp_path):
    score = {"right": 1, "total": 2, "rate": 0.5}
    dreams = {
        "rounds": [{"rewarded": 3, "idle": 2}, {"rewarded": 1}],
        "before": {**score, "rate": 0.0},
        "after": score,
        "kept": True,
    }
    nights = [{"exam": {"dreams": dreams}}, {"exam": {"dreams": {}}}]
    assert "dreams.png" in {p.name for p in draw.write({"nights": nights}, tmp_path)}


def test_a_life_is_drawn_by_the_last_nights_ages_and_every_nights_honesty(tmp_path, drawn):
    lived = [
        {"night": night, "right_by_age": {"0-0": 1.0, "1-6": night / 10}, "abstention": night / 8}
        for night in (1, 7)
    ]
    draw.draw_life({"sleepmem": lived, "sft": lived[:1]}, tmp_path / "life.png")
    ages, honesty = drawn[0].axes
    assert [list(line.get_ydata()) for line in ages.lines] == [[1.0, 0.7], [1.0, 0.1]]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in honesty.lines] == [
        ([1, 7], [1 / 8, 7 / 8]),
        ([1], [1 / 8]),
    ]
    assert (tmp_path / "life.png").read_bytes().startswith(b"\x89PNG")


def test_arms_are_drawn_from_the_top_with_mean_and_range(tmp_path, drawn):
    draw.draw_arms(
        {"full": [{"plain": 0.75}, {"plain": 0.25}], "without": [{"plain": 0.125}]},
        ("plain",),
        tmp_path / "arms.png",
    )
    (a,) = drawn[0].axes
    assert [bar.get_width() for bar in a.patches] == [0.5, 0.125]
    assert [list(line.get_xdata()) for line in a.lines] == [[0.25, 0.75], [0.125, 0.125]]
    assert [label.get_text() for label in a.get_yticklabels()] == ["full", "without"]
    assert a.yaxis_inverted()
    assert (tmp_path / "arms.png").read_bytes().startswith(b"\x89PNG")
