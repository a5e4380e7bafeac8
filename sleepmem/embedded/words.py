"""Names and values of the embedded model's world: open-vocabulary, made of syllables or drawn from lists.

A word belongs to training or to testing by its hash, never to both, so a test name can be read from a context but cannot have been learned.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

Maker = Callable[[random.Random, bool], str]

_CONSONANTS = "bcdfghjklmnprstvwyz"
_ONSETS = [*_CONSONANTS, *"bdklmnrstv", *(["br", "bl", "cl", "cr", "dr", "fl", "fr", "gl", "gr", "pl", "pr", "st", "tr", "sh", "ch", "th", "kn"])]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ou", "ia"]
_CODAS = ["", "", "", "", "n", "r", "l", "s", "m", "x", "t", "k", "nd", "rn"]
_PLACE_ENDINGS = ["port", "ville", "ton", "burg", "ford", "mouth", "field", "stad"]


def is_test(word: str) -> bool:
    """Whether `word` is kept for testing (one in eight, decided by its hash)."""
    return hashlib.blake2b(word.lower().encode(), digest_size=1).digest()[0] % 8 == 0


def _split(make: Callable[[random.Random], str]) -> Maker:
    """Draw from `make` until the word falls on the asked side of the train/test split."""

    def draw(rng: random.Random, test: bool) -> str:
        while is_test(text := make(rng)) != test:
            pass
        return text

    return draw


def _word(rng: random.Random) -> str:
    if rng.random() < 0.05:  # letter noise, so that any name a user types can be copied
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))
    count = rng.choice((2, 2, 2, 3))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(count)) + rng.choice(_CODAS)


def _place(rng: random.Random) -> str:
    word = _word(rng)
    return (word + rng.choice(_PLACE_ENDINGS) if rng.random() < 0.5 else word).capitalize()


def _choice(words: str) -> Maker:
    """A word of the list, or as often a made-up one: a list alone would be learned by heart, and an unseen word of it not read."""
    options = words.split()
    capital = options[0].istitle()

    def make(rng: random.Random) -> str:
        if rng.random() < 0.4:
            return rng.choice(options)
        made = _word(rng)
        return made.capitalize() if capital else made

    return _split(make)


_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]

word = _split(_word)
name = _split(lambda rng: _word(rng).capitalize())
place = _split(_place)
day = _split(lambda rng: f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}")
clock = _split(lambda rng: f"{rng.randint(1, 23)}:{rng.randint(10, 59)}")
number = _split(lambda rng: str(rng.randint(1000, 9999)))
job = _choice(
    "baker pilot nurse teacher plumber lawyer farmer tailor miner singer painter writer judge chef driver clerk dentist barber "
    "carpenter gardener librarian sailor soldier surgeon butcher fisher potter welder grocer jeweller"
)
food = _choice(
    "rice pasta soup curry salad bread fish cheese apples pizza noodles beans cake tacos honey waffles olives plums pears "
    "lentils mushrooms dumplings pancakes sushi risotto porridge goulash stew berries melons"
)
drink = _choice("tea coffee milk water juice cocoa lemonade cider ginger mint espresso matcha kefir soda broth nectar")
colour = _choice(
    "red blue green yellow black white purple orange pink brown grey silver gold teal violet crimson amber beige magenta coral ivory jade"
)
craft = _choice("wine bridges pottery gardens castles clocks carpets cheese towers boats bells glass silk lace rugs canals markets")
language = _choice("Python Rust Java Kotlin Ruby Go Haskell Scala Perl Lua Swift Erlang Fortran Julia Dart Elixir Cobol Pascal")
