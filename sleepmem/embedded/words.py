"""Names and values of the embedded model's world, made of syllables or drawn from lists.

The vocabulary is open. A word belongs to training or to testing by its hash, never to both, so a
test name can be read from a context but cannot have been learned.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable

# Draws a word; the second argument says whether it is one for testing.
Maker = Callable[[random.Random, bool], str]

_CONSONANTS = "bcdfghjklmnprstvwyz"
_LIQUIDS = ["br", "bl", "cl", "cr", "dr", "fl", "fr", "gl", "gr", "pl", "pr"]
_CLUSTERS = [*_LIQUIDS, "st", "tr", "sh", "ch", "th", "kn"]
# What stands in a list more than once is drawn more often.
_ONSETS = [*_CONSONANTS, *"bdklmnrstv", *_CLUSTERS]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ou", "ia"]
_CODAS = ["", "", "", "", "n", "r", "l", "s", "m", "x", "t", "k", "nd", "rn"]
_PLACE_ENDINGS = ["port", "ville", "ton", "burg", "ford", "mouth", "field", "stad"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def is_test(word: str) -> bool:
    """Whether `word` is kept for testing (one in eight, decided by its hash)."""
    return hashlib.blake2b(word.lower().encode(), digest_size=1).digest()[0] % 8 == 0


def _split(make: Callable[[random.Random], str]) -> Maker:
    """Draw from `make` until the word falls on the wanted side of the train/test split."""

    def draw(rng: random.Random, test: bool) -> str:
        while True:
            text = make(rng)
            if is_test(text) == test:
                return text

    return draw


def _word(rng: random.Random) -> str:
    # Now and then mere letters, so that any name a user types can be copied.
    if rng.random() < 0.05:
        return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 7)))
    syllables = rng.choice((2, 2, 2, 3))
    stem = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables))
    return stem + rng.choice(_CODAS)


def _name(rng: random.Random) -> str:
    return _word(rng).capitalize()


def _place(rng: random.Random) -> str:
    stem = _word(rng)
    ending = rng.choice(_PLACE_ENDINGS) if rng.random() < 0.5 else ""
    return (stem + ending).capitalize()


def _day(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}"


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(1, 23)}:{rng.randint(10, 59)}"


def _number(rng: random.Random) -> str:
    return str(rng.randint(1000, 9999))


def _choice(listed: str) -> Maker:
    """A word of the list, or nearly as often one made up, which has a capital if the list's have.

    A list alone would be learned by heart, and a word that is not on it would not be read.
    """
    options = listed.split()
    make_up = _name if options[0].istitle() else _word

    def make(rng: random.Random) -> str:
        return rng.choice(options) if rng.random() < 0.4 else make_up(rng)

    return _split(make)


word = _split(_word)
name = _split(_name)
place = _split(_place)
day = _split(_day)
clock = _split(_clock)
number = _split(_number)
job = _choice(
    "baker pilot nurse teacher plumber lawyer farmer tailor miner singer painter writer judge chef "
    "driver clerk dentist barber carpenter gardener librarian sailor soldier surgeon butcher "
    "fisher potter welder grocer jeweller"
)
food = _choice(
    "rice pasta soup curry salad bread fish cheese apples pizza noodles beans cake tacos honey "
    "waffles olives plums pears lentils mushrooms dumplings pancakes sushi risotto porridge "
    "goulash stew berries melons"
)
drink = _choice(
    "tea coffee milk water juice cocoa lemonade cider ginger mint espresso matcha kefir soda "
    "broth nectar"
)
colour = _choice(
    "red blue green yellow black white purple orange pink brown grey silver gold teal violet "
    "crimson amber beige magenta coral ivory jade"
)
craft = _choice(
    "wine bridges pottery gardens castles clocks carpets cheese towers boats bells glass silk "
    "lace rugs canals markets"
)
language = _choice(
    "Python Rust Java Kotlin Ruby Go Haskell Scala Perl Lua Swift Erlang Fortran Julia Dart "
    "Elixir Cobol Pascal"
)
