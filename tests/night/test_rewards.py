"""What a completed answer earns, by hand."""

import pytest
from _values import HashedWords

from sleepmem.night.rewards import near_in_meaning, reward


@pytest.mark.parametrize(
    ("answer", "wanted", "meaning", "gamma", "z0", "earned"),
    [
        ("Oslo", "Oslo", 1.0, 0.5, 8, 1.0),
        ("Oslo", "Oslo", 0.0, 0.5, 8, 0.5),
        ("Oslo.", "Oslo", 1.0, 0.5, 8, 0.5 + 0.5 * (1 - 1 / 5)),
        ("Oslo", "Rome", 0.0, 0.5, 8, 0.5 * (1 - 4 / 4)),
        ("kitten", "sitting", 0.0, 0.25, 8, 0.75 * (1 - 3 / 7)),
        ("kitten", "sitting", 0.0, 0.25, 2, 0.0),  # three edits are too many
        ("kitten", "sitting", 1.0, 0.25, 2, 0.25),
        ("kitten", "sitting", 1.0, 1.0, 0, 1.0),
        ("", "", 0.0, 0.5, 8, 0.5),
    ],
)
def test_reward_by_hand(answer, wanted, meaning, gamma, z0, earned):
    got = reward(answer, wanted, semantic=lambda *texts: meaning, gamma=gamma, z0=z0)
    assert got == pytest.approx(earned)


@pytest.mark.parametrize(
    ("answer", "wanted", "least", "meaning"),
    [
        ("She lives in Oslo.", "in Oslo she lives", 0.9, 1.0),
        ("She lives in Oslo.", "The boat is red.", 0.9, 0.0),
        ("red boat", "red house", 0.5, 1.0),
        ("red boat", "red house", 0.6, 0.0),
        ("", "Oslo", 0.9, 0.0),
        ("", "Nothing.", 0.9, 1.0),
    ],
)
def test_answers_near_each_other_mean_the_same(answer, wanted, least, meaning):
    assert near_in_meaning(HashedWords(), least=least)(answer, wanted) == meaning


def test_equal_answers_mean_the_same_whatever_the_vectors():
    assert near_in_meaning(HashedWords(), least=1.0)("", "") == 1.0
