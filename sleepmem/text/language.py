"""Compare texts: is this answer that one, does it abstain, which names does it use.

Pure. Normalisation as in SQuAD's official scorer (Rajpurkar et al. 2016): lower case, no punctuation, no articles.
"""

from __future__ import annotations

import re

_ARTICLES = {"a", "an", "the"}
_ABSTAINS = re.compile(
    r"\b(do not|don't|does not|doesn't) (know|say|tell)\b|\bno (information|idea)\b|\bnot (know|mentioned)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(r"^(please )?(tell|remind|show|give) me\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"^(who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|will|would|should|has|have)\b",
    re.IGNORECASE,
)
_SENTENCE_END = ".!?:\n"


def words(text: str) -> list[str]:
    """The words of a text, lower case, without articles and possessive endings."""
    return [
        w
        for w in re.findall(r"\w+", text.lower().replace("'s ", " ").replace("'s.", "."))
        if w not in _ARTICLES
    ]


def matches(made: str, wanted: str) -> bool:
    """Whether `made` gives the answer `wanted`: its words in a row, possibly inside a sentence."""
    m, w = words(made), words(wanted)
    return bool(w) and any(m[i : i + len(w)] == w for i in range(len(m) - len(w) + 1))


def abstains(text: str) -> bool:
    """Whether the text says that it does not know."""
    return bool(_ABSTAINS.search(text))


def names(text: str) -> set[str]:
    """Words that look like names (capital inside a sentence) or hold a digit, lower case: what makes one question another."""
    found = set()
    for match in re.finditer(r"\w+", text):
        word, before = match.group(), text[: match.start()].rstrip()
        opens = not before or before[-1] in _SENTENCE_END
        if any(c.isdigit() for c in word) or (word[0].isupper() and not opens and word != "I"):
            found.add(word.lower())
    return found


def subject(question: str) -> str:
    """Whom the question is about: its one name, of one word or several in a row; empty when it has none or more than one."""
    word = "|".join(map(re.escape, names(question)))
    found = (
        set(re.findall(rf"\b(?:{word})(?:\s+(?:{word}))*\b", question, re.IGNORECASE))
        if word
        else set()
    )
    return found.pop() if len(found) == 1 else ""


def about_another(question: str, who: str) -> str:
    """The question asked of `who` instead; empty when it has not one name."""
    return question.replace(name, who) if (name := subject(question)) else ""


def sentences(text: str) -> list[str]:
    """The sentences of a text, as their closing marks tell."""
    return [s for s in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if s]


def is_question(text: str) -> bool:
    """Whether the text asks rather than tells. A sentence that ends with a full stop tells, unless it is a request ("Tell me ...")."""
    said = text.strip()
    return (
        said.endswith("?")
        or bool(_REQUEST.match(said))
        or (not said.endswith((".", "!")) and bool(_QUESTION.match(said)))
    )
