"""What a language knows of answers: is this that one.

Pure. Normalisation as in SQuAD's official scorer (Rajpurkar et al. 2016): lower case, no
punctuation, no articles.
"""

from __future__ import annotations

import re

_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_ARTICLES = {"a", "an", "the"}


def words(text: str) -> list[str]:
    """The words of a text, lower case, without articles and possessive endings."""
    plain = _POSSESSIVE.sub("", text.lower())
    return [word for word in re.findall(r"\w+", plain) if word not in _ARTICLES]


def matches(answer: str, wanted: str) -> bool:
    """Whether `answer` gives `wanted`: its words in a row, possibly inside a sentence."""
    answer_words, wanted_words = words(answer), words(wanted)
    length = len(wanted_words)
    if not length:
        return False
    for start in range(len(answer_words) - length + 1):
        if answer_words[start : start + length] == wanted_words:
            return True
    return False
