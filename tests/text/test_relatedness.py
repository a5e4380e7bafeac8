"""Cosines of any embeddings, read alike; long texts in pieces."""

from __future__ import annotations

import pytest
from _values import HashedWords
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.pieces import LONGEST, pieces, sentences
from sleepmem.text.relatedness import Relatedness
from sleepmem.text.similarity import fused


@pytest.mark.parametrize("embeddings", [default_embeddings(), HashedWords()])
def test_related_texts_lie_above_unrelated_ones(embeddings: Embeddings) -> None:
    measured = Relatedness.measure(embeddings)
    assert measured.evidence(measured.related) > 0 > measured.evidence(measured.unrelated)
    assert measured.unrelated < measured.related < measured.alike
    assert Relatedness.read(measured.as_json()) == measured


def test_embeddings_that_tell_nothing_give_no_evidence() -> None:
    measured = Relatedness.measure(DeterministicFakeEmbedding(size=64))
    assert abs(measured.evidence(0.5) - measured.evidence(0.4)) < 1


def test_a_short_text_is_one_piece() -> None:
    assert pieces("I live in Bern.") == ["I live in Bern."]


@given(st.text(min_size=LONGEST, max_size=4 * LONGEST).filter(str.strip))
def test_no_piece_is_too_long(text: str) -> None:
    assert all(0 < len(piece) <= LONGEST for piece in pieces(text)) or len(text) <= LONGEST


@pytest.mark.parametrize("mark", [". ", "。", "؟ "])
def test_pieces_end_where_sentences_do(mark: str) -> None:
    text = mark.join(f"sentence number {number} of a long text" for number in range(200))
    assert all(piece.endswith(mark.strip()) for piece in pieces(text)[:-1])


def test_fusion_prefers_what_both_rankings_have() -> None:
    assert fused([["one", "two"], ["two", "three"]])[0] == "two"
    assert fused([[], []]) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("I work at St. Brannoc's. We start at nine, e.g. on Monday!", 2),
        ("Dr. Roux lives here\nand has 2.5 acres. ok? 👍", 3),
        ("我叫美咲。我住在京都！你呢？", 3),
        ("मैं दिल्ली में रहता हूँ। मेरा नाम रवि है।", 2),
        ("El Sr. Pérez me llamó ayer. ¿Vale?", 2),
    ],
)
def test_sentences_end_where_people_end_them(text: str, parts: int) -> None:
    found = sentences(text)
    assert len(found) == parts
    assert all(part in text for part in found)
