"""What a text is searched and compared by: its terms, in any script. Pure.

A term is a word in lower case, without accents; scripts that write words without spaces between
them give overlapping pairs of characters (Manning et al. 2008, *Introduction to Information
Retrieval*, section 2.2). No list of words, in no language.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable

# Marks that make another letter of a Japanese one, no accents.
_VOICED = {"\u3099", "\u309a"}
# Thai and Lao, Myanmar, Khmer: no spaces between words, and narrow characters.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
# Join the parts of one word: wi-fi, l'eau, don’t.
_JOINERS = "_-'’\u2010\u2011\u2012"
_JOINED = re.compile(f"[{re.escape(_JOINERS)}]+")


class _Characters(dict[int, str]):
    """What becomes of each character, for `str.translate`; found out when it is first met."""

    def __init__(self, becomes: Callable[[str], str]) -> None:
        self._becomes = becomes

    def __missing__(self, code: int) -> str:
        self[code] = self._becomes(chr(code))
        return self[code]


def _without_accent(character: str) -> str:
    is_accent = unicodedata.combining(character) and character not in _VOICED
    return "" if is_accent else character


def _of_a_word(character: str) -> str:
    is_mark = unicodedata.category(character)[0] == "M"
    return character if character.isalnum() or is_mark or character in _JOINERS else " "


_WITHOUT_ACCENTS, _WORDS_ALONE = _Characters(_without_accent), _Characters(_of_a_word)


@functools.lru_cache(maxsize=50_000)
def normalised(text: str) -> str:
    """The text in lower case, without accents, compatible forms made one (NFKC)."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", folded.translate(_WITHOUT_ACCENTS))


@functools.lru_cache(maxsize=50_000)
def terms(text: str) -> tuple[str, ...]:
    """The terms of a text in their order, repeated as in the text.

    A word of several joined parts ("wi-fi") gives its parts and the whole.
    """
    found: list[str] = []
    # Runs of letters, digits, marks and joiners.
    for word in normalised(text).translate(_WORDS_ALONE).split():
        parts = [part for part in _JOINED.split(word) if part]
        for part in parts:
            found += _pieces(part)
        if len(parts) > 1:
            found.append("".join(parts))
    return tuple(found)


def _pieces(word: str) -> list[str]:
    """The word; what is written without spaces in overlapping pairs."""
    if word.isascii():
        return [word]
    pieces: list[str] = []
    for is_joined, run in itertools.groupby(word, is_unspaced):
        text = "".join(run)
        if is_joined and len(text) > 2:
            pieces += [text[place : place + 2] for place in range(len(text) - 1)]
        else:
            pieces.append(text)
    return pieces


@functools.lru_cache(maxsize=50_000)
def is_unspaced(character: str) -> bool:
    """Whether its script writes no spaces between words."""
    is_wide = unicodedata.east_asian_width(character) == "W"
    return is_wide or bool(_UNSPACED.match(character))
