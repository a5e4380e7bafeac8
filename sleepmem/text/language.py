"""What a language knows of answers: is this that one, which names does it use.

Pure. Normalisation as in SQuAD's official scorer (Rajpurkar et al. 2016): lower case, no
punctuation, no articles.
"""

from __future__ import annotations

import re

_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_ARTICLES = {"a", "an", "the"}
_SENTENCE_END = ".!?:\n"


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


def names(text: str) -> set[str]:
    """What makes one question another, lower case.

    Words that look like names (capital inside a sentence) or hold a digit.
    """
    found = set()
    for match in re.finditer(r"\w+", text):
        word, before = match.group(), text[: match.start()].rstrip()
        opens_sentence = not before or before[-1] in _SENTENCE_END
        has_digit = any(character.isdigit() for character in word)
        if has_digit or (word[0].isupper() and not opens_sentence and word != "I"):
            found.add(word.lower())
    return found


def subject(question: str) -> str:
    """Whom the question is about: its one name, of one word or several in a row.

    Empty when it has none or more than one.
    """
    one_name = "|".join(map(re.escape, names(question)))
    if not one_name:
        return ""
    in_a_row = rf"\b(?:{one_name})(?:\s+(?:{one_name}))*\b"
    found = set(re.findall(in_a_row, question, re.IGNORECASE))
    return found.pop() if len(found) == 1 else ""


def about_another(question: str, who: str) -> str:
    """The question asked of `who` instead; empty when it has not one name."""
    name = subject(question)
    return question.replace(name, who) if name else ""
