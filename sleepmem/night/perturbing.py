"""Questions that sound like known ones and are not, made of those by what any language has.

A rare word is exchanged by another memory's, moved, added or left out; a common one is exchanged; a
number is changed or added. No list of words, no grammar, no capital letters. Pure.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sleepmem.text.frequencies import Frequencies
from sleepmem.text.terms import terms

# Of a script without spaces, so many characters are handled as a word.
_CHARACTERS = 2
_WORD = re.compile(r"\w+(?:['’]\w+)?")
# Digits of a number that is added: as many as a day, a price, a year have.
_DIGITS = (1, 2, 3, 4)


class Piece(NamedTuple):
    """A word of a text, or what stands between two."""

    text: str
    is_word: bool


class Perturber:
    """Perturbs questions of one memory.

    Args:
        rng: of every choice.
        frequencies: of the memory's terms.
        strangers: what facts are about and what they answer, word by word; put where it does not
            belong.
        others: all other words of the questions and memories.
    """

    def __init__(
        self,
        rng: random.Random,
        frequencies: Frequencies,
        *,
        strangers: Sequence[str],
        others: Sequence[str],
    ) -> None:
        self._rng, self._frequencies = rng, frequencies
        self._strangers, self._others = strangers, others
        self._foreign: Sequence[str] = strangers
        self._unfamiliar: Sequence[str] = others
        self._own: Collection[str] = ()

    def perturbed(
        self, question: str, about: Collection[str], *, own: Collection[str], count: int
    ) -> list[str]:
        """At most `count` questions, each made in another way out of this one.

        Args:
            question: a known one.
            about: terms that all wordings of its fact share.
            own: terms of all its wordings, of the memory that taught it, and of the ways in which
                its like is asked.
            count: how many.
        """
        ways: list[Callable[[list[Piece], list[int]], list[Piece] | None]] = [
            self._exchange,
            self._reorder,
            self._insert,
            self._add,
            self._replace,
            self._delete,
            self._renumber,
        ]
        self._rng.shuffle(ways)
        self._own = own
        self._foreign = [word for word in self._strangers if not set(terms(word)) & set(own)]
        self._unfamiliar = [word for word in self._others if not set(terms(word)) & set(own)]
        found: list[str] = []
        for way in ways:
            pieces = pieces_of(question)
            perturbed = way(pieces, self._about(pieces, about))
            text = "".join(piece.text for piece in perturbed or [])
            if perturbed and terms(text) != terms(question) and text not in found:
                found.append(text)
        return found[:count]

    def corrected(self, text: str, about: Collection[str], *, values: str) -> str:
        """The memory with other words in the place of `values`, which it gave as an answer.

        Some of the other words are left out, as somebody else would have put it; what it is about
        stays.
        """
        wanted, pieces = set(terms(values)), []
        for piece in pieces_of(text):
            own = set(terms(piece.text))
            if piece.is_word and own & wanted and self._strangers:
                pieces.append(Piece(self._rng.choice(self._strangers), True))
            elif not piece.is_word or own & set(about) or self._rng.random() < 0.6:
                pieces.append(piece)
        return "".join(piece.text for piece in pieces)

    def _about(self, pieces: Sequence[Piece], about: Collection[str]) -> list[int]:
        """Places of the words that say what a question is about, the rarest first."""
        places = []
        for place, piece in enumerate(pieces):
            if piece.is_word and set(terms(piece.text)) & set(about):
                places.append(place)
        return sorted(places, key=lambda place: -self._rarity(pieces[place]))

    def _exchange(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """Somebody else in the place of whom the question is about."""
        if not about or not self._foreign:
            return None
        pieces[about[0]] = Piece(self._rng.choice(self._foreign), True)
        return pieces

    def _reorder(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """Whom it is about and another rare word, not beside it, in each other's place."""
        words = [place for place, piece in enumerate(pieces) if piece.is_word]
        others = []
        for number, place in enumerate(words):
            if about and abs(number - words.index(about[0])) > 1:
                others.append(place)
        if not others:
            return None
        first, second = about[0], max(others, key=lambda place: self._rarity(pieces[place]))
        pieces[first], pieces[second] = pieces[second], pieces[first]
        return pieces

    def _insert(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        return self._with(pieces, self._rng.choice(self._foreign)) if self._foreign else None

    def _add(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """With a commoner word in which its like was never asked, as "not" would be."""
        return self._with(pieces, self._rng.choice(self._unfamiliar)) if self._unfamiliar else None

    def _replace(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """With such a word in the place of one that does not say whom it is about: another role."""
        others = []
        for place, piece in enumerate(pieces):
            if piece.is_word and place not in about:
                others.append(place)
        if not others or not self._unfamiliar:
            return None
        pieces[self._rng.choice(others)] = Piece(self._rng.choice(self._unfamiliar), True)
        return pieces

    def _delete(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """Without whom it is about."""
        if not about:
            return None
        del pieces[about[0]]
        return pieces

    def _renumber(self, pieces: list[Piece], about: list[int]) -> list[Piece] | None:
        """Another number in the place of each; one more where there is none."""
        numbers = [place for place, piece in enumerate(pieces) if _has_digit(piece)]
        if not numbers:
            return self._with(pieces, self._number())
        for place in numbers:
            text = re.sub(r"\d", lambda match: self._rng.choice("123456789"), pieces[place].text)
            pieces[place] = Piece(text, True)
        return pieces

    def _number(self) -> str:
        """One that the fact does not have."""
        while True:
            digits = self._rng.choice(_DIGITS)
            number = str(self._rng.randrange(10 ** (digits - 1), 10**digits))
            if number not in self._own:
                return number

    def _with(self, pieces: list[Piece], word: str) -> list[Piece]:
        """With one more word, beside one that stands there."""
        places = [place for place, piece in enumerate(pieces) if piece.is_word]
        if not places:
            return pieces
        place = self._rng.choice(places)
        space = " " if any(piece.text == " " for piece in pieces) else ""
        return [*pieces[: place + 1], Piece(space + word, True), *pieces[place + 1 :]]

    def _rarity(self, piece: Piece) -> float:
        return max(map(self._frequencies.rarity, terms(piece.text)), default=0.0)


def pieces_of(text: str) -> list[Piece]:
    """The words of a text and what stands between them, in order."""
    pieces, end = [], 0
    for match in _WORD.finditer(text):
        if match.start() > end:
            pieces.append(Piece(text[end : match.start()], False))
        word, end = match.group(), match.end()
        # A run without spaces has several terms and no sign that joins them.
        step = _CHARACTERS if len(terms(word)) > 1 and word.isalnum() else len(word)
        for start in range(0, len(word), step):
            pieces.append(Piece(word[start : start + step], True))
    if end < len(text):
        pieces.append(Piece(text[end:], False))
    return pieces


def words_of(text: str, among: Collection[str]) -> list[str]:
    """The words of a text whose terms are all among these."""
    found = []
    for piece in pieces_of(text):
        own = set(terms(piece.text))
        if piece.is_word and own and own <= set(among):
            found.append(piece.text)
    return found


def _has_digit(piece: Piece) -> bool:
    return piece.is_word and any(sign.isdigit() for sign in piece.text)
