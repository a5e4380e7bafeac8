"""A report says what its nights did and cost, and draws only what there is."""

import json

from _values import put_expert

from sleepmem.records import Recall, View
from sleepmem.report import data, draw

ALICE = ("alice",)
PNG = b"\x89PNG"


def report(nights):
    return {"nights": nights, "cost": data.cost(nights, [None] * len(nights))}


def names(paths):
    return [path.name for path in paths]


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def lines(axes):
    """The points of every line: [(x, y), ...]."""
    return [list(zip(*line.get_data(), strict=True)) for line in axes.lines]


def texts(labels):
    return [label.get_text() for label in labels]


def test_the_page_tells_what_a_night_saved(memory, tmp_path):
    episode = memory.observe(ALICE, "Mara moved to Brenport.")

    def log(tokens):
        recall = Recall(View.RETRIEVAL, "made by hand")
        memory.ledger.turns.log(ALICE, "Where does Mara live?", recall=recall, tokens=tokens)

    log(100)
    log(60)
    put_expert(memory, ALICE, [episode.id])
    log(0)
    log(20)
    shown = data.from_ledger(memory.ledger, ALICE)
    written = draw.write(shown, tmp_path / "report")
    assert json.loads(written[0].read_text())["cost"] == shown["cost"]
    page = written[1].read_text()
    assert "70.0" in page
    assert "<img" in page
    assert 'src="http' not in page


def test_the_page_says_when_experts_grow_faster_than_the_text_they_replace(tmp_path, night):
    nights = [
        night(1, expert_bytes=1000, text_bytes=200),
        night(2, expert_bytes=5000, text_bytes=600),
    ]
    draw.write(report(nights), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "not slower" in page
    assert "5.0 times as large, the text 3.0 times" in page


def test_accuracy_is_drawn_by_night_after_the_last_promoted_one(tmp_path, drawn, night):
    def recall(rates):
        return tuple({"night": number, "rate": rate} for number, rate in rates.items())

    # The slow night taught nothing of its own.
    slow_recall = recall({3: 1.0, 4: 0.5, 5: 0.75})
    slow = night(5, level="slow", absorbed=2, recall_by_night=slow_recall)
    rejected = night(6, "rejected", recall_by_night=recall({5: 0.0, 6: 0.0}))
    draw.write(report([slow, rejected]), tmp_path)
    (axes,) = drawn[0].axes
    assert texts(axes.get_xticklabels()) == ["3", "4"]
    assert heights(axes) == [1.0, 0.5]


def test_a_night_is_named_as_rollback_names_it(tmp_path, drawn, night):
    nights = [
        night(1, "skipped"),
        night(4, curve=({"step": 1, "loss": 0.5},), audited=20, returned=2),
        night(5, level="slow", returned=3),
    ]
    draw.write(report(nights), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<td>night-0004</td><td>fast</td>" in page
    assert "<td>night-0005</td><td>slow</td>" in page
    assert "2 of 20" in page
    assert "3 of 0" not in page
    # One plot: nothing was rewarded.
    (loss,) = drawn[0].axes
    assert texts(loss.get_legend().get_texts()) == ["night 4"]


def test_a_reward_is_drawn_where_a_batch_was_on_policy(tmp_path, drawn, night):
    curve = ({"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "reward": 0.75})
    draw.write(report([night(10, curve=curve)]), tmp_path)
    loss, reward = drawn[0].axes
    assert lines(loss) == [[(1, 0.5), (2, 0.25)]]
    assert lines(reward) == [[(2, 0.75)]]


def test_a_night_of_an_earlier_ledger_may_lack_what_it_never_counted(tmp_path):
    night = {"night_id": "night-0001", "number": 1, "verdict": "failed", "reason": "<no & disk>"}
    written = draw.write(report([{**night, "seconds": 0.0}]), tmp_path)
    assert names(written) == ["report.json", "report.html"]
    assert "&lt;no &amp; disk&gt;" in written[1].read_text()


def test_a_report_of_nothing_is_a_page_without_plots(memory, tmp_path):
    memory.observe(ALICE, "Mara moved to Brenport.")
    written = draw.write(data.from_ledger(memory.ledger, ALICE), tmp_path)
    assert names(written) == ["report.json", "report.html"]


def test_dreams_are_drawn_by_what_became_of_them(tmp_path, drawn, night):
    score = {"right": 1, "total": 2, "rate": 0.5}
    dreams = {
        "rounds": [{"rewarded": 3, "idle": 2}, {"rewarded": 1}],
        "before": {**score, "rate": 0.0},
        "after": score,
        "kept": True,
    }
    written = draw.write(report([night(1, dreams=dreams), night(2)]), tmp_path)
    assert "dreams.png" in names(written)
    assert "<td>kept</td>" in (tmp_path / "report.html").read_text()
    fates, answered = drawn[0].axes
    assert heights(fates) == [4, 2]
    assert lines(answered) == [[("1", 0.0)], [("1", 0.5)]]


def test_the_steps_that_take_next_to_no_time_are_left_out(tmp_path, drawn, night):
    seconds = {"probe": 10.0, "seed": 89.0, "report": 1.0}
    draw.write(report([night(1, step_seconds=seconds), night(2)]), tmp_path)
    (axes,) = drawn[0].axes
    assert heights(axes) == [10.0, 89.0]
    assert axes.patches[1].get_y() == 10.0


def test_a_life_is_drawn_by_the_last_nights_ages_and_every_nights_honesty(tmp_path, drawn):
    checkpoints = []
    for number in (1, 7):
        ages = {"0-0": 1.0, "1-6": number / 10}
        checkpoints.append({"night": number, "right_by_age": ages, "abstention": number / 8})
    lived = {"sleepmem": checkpoints, "sft": checkpoints[:1]}
    draw.draw_life(lived, tmp_path / "life.png")
    ages, honesty = drawn[0].axes
    assert lines(ages) == [[("0-0", 1.0), ("1-6", 0.7)], [("0-0", 1.0), ("1-6", 0.1)]]
    assert "after night 7" in ages.get_xlabel()
    assert lines(honesty) == [[(1, 1 / 8), (7, 7 / 8)], [(1, 1 / 8)]]
    assert (tmp_path / "life.png").read_bytes().startswith(PNG)


def test_lives_are_drawn_by_day_with_what_was_right_and_what_it_cost(tmp_path, drawn):
    days = []
    for number in (1, 2):
        days.append({"day": number, "accuracy": number / 4, "memory_tokens": 100 * number})
    draw.draw_lived({"retrieval": days, "sft": days[:1]}, tmp_path / "x.png")
    right, tokens = drawn[0].axes
    assert lines(right) == [[(1, 0.25), (2, 0.5)], [(1, 0.25)]]
    assert lines(tokens) == [[(1, 100), (2, 200)], [(1, 100)]]
    assert texts(right.get_legend().get_texts()) == ["retrieval only", "SFT every night"]
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


def test_arms_are_drawn_from_the_top_with_mean_and_range(tmp_path, drawn):
    runs = {"full": [{"plain": 0.75}, {"plain": 0.25}], "without": [{"plain": 0.125}]}
    draw.draw_arms(runs, ("plain",), to=tmp_path / "arms.png")
    (axes,) = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.125]
    assert lines(axes) == [[(0.25, 0), (0.75, 0)], [(0.125, 1), (0.125, 1)]]
    assert texts(axes.get_yticklabels()) == ["full", "without"]
    assert axes.yaxis_inverted()
    assert (tmp_path / "arms.png").read_bytes().startswith(PNG)


def test_fits_are_drawn_a_measure_a_row_and_what_was_not_measured_is_left_out(tmp_path, drawn):
    def measure(name, rate, total=10):
        wide = {"low": rate - 0.25, "high": rate + 0.25, "least": 0.75}
        return {"measure": name, "rate": rate, "total": total, **wide}

    found = {
        "before": {"measures": [measure("reads", 0.25), measure("writes", 1.0, total=0)]},
        "after": {"measures": [measure("reads", 0.5), measure("writes", 0.75)]},
    }
    draw.draw_fits(found, tmp_path / "fit.png")
    (axes,) = drawn[0].axes
    dots = [line for line in lines(axes) if line[0][0] == line[-1][0] and len(line) == 1]
    assert [line[0][0] for line in dots] == [0.25]
    assert [[share for share, _ in line] for line in lines(axes)][-1] == [0.5, 0.75]
    assert texts(axes.get_yticklabels()) == ["reads", "writes"]
    assert (tmp_path / "fit.png").read_bytes().startswith(PNG)
