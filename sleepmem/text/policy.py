"""What must not be learned: which sentence of a text falls under which rule.

Rules of others where there are such: detect-secrets for credentials, LangChain's PII rules and
python-stdnum for cards and accounts, presidio as an extra. What people tell in words, in any of the
sixteen languages, is told apart by what the embeddings say of it (`heads`).

Knows no store. Who said it is another question: `Episode.trusted`.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from sleepmem._extras import from_extra
from sleepmem.config import PolicyConfig
from sleepmem.text.heads import instructs, is_volatile, tells_secret
from sleepmem.text.pieces import segments, sentences
from sleepmem.text.quoting import others_words
from sleepmem.text.terms import terms

# Marks, embeddings and isolates of direction: they make a text read otherwise than it is written.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_TAGS, _FLAG = range(0xE0000, 0xE0080), "\U0001f3f4"
# Scripts whose letters look like those of another.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK")
_DIGITS = re.compile(r"\d(?:[ -]?\d){12,18}")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}\b")
# Characters from which a word of letters and digits may be a key, and the bits each then has.
_LONG, _BITS = 16, 3.5
_BEGINS, _ENDS = "-----BEGIN", "-----END"
# What presidio is less sure of is a number like many; dates and links are nobody's.
_SURE, _NOT_PERSONAL = 0.4, ("DATE_TIME", "URL")
# In which presidio has rules of its own.
_PRESIDIO = ["de", "en", "es", "fi", "it", "ko", "pl", "sv", "th", "tr"]
# They take every word for a key; addresses of machines are another rule's.
_NO_SECRETS = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")
_Applies = Callable[[str, PolicyConfig], bool]


class Rule(StrEnum):
    """Why a sentence is not learned; but for the first, settings of `PolicyConfig`."""

    SOURCE = "source"
    QUOTED = "quoted"
    HIDDEN = "hidden"
    SECRETS = "secrets"
    PAYMENT = "payment"
    PERSONAL = "personal"
    INSTRUCTIONS = "instructions"
    VOLATILE = "volatile"


def held(text: str, config: PolicyConfig) -> dict[str, Rule]:
    """The sentences of the text that a rule keeps from being learned, in order, each with it."""
    found: dict[str, Rule] = {}
    quoted = set(others_words(text)) if config.quoted != "learn" else set()
    is_key = False
    for sentence in segments(text):
        if not terms(sentence):
            if config.hidden != "learn" and _is_hidden(sentence, config):
                found[sentence] = Rule.HIDDEN
            continue
        is_key = is_key or _BEGINS in sentence
        rule = Rule.SECRETS if is_key and config.secrets != "learn" else rule_of(sentence, config)
        is_key = is_key and _ENDS not in sentence
        if rule is None and sentence in quoted:
            rule = Rule.QUOTED
        if rule is not None:
            found[sentence] = rule
    return found


def refused(text: str, config: PolicyConfig, *, name: str | None = None) -> Rule | None:
    """The rule for which a text, or who says it, is not stored at all; None where there is none."""
    strict = {rule for rule in (Rule.QUOTED, *_RULES) if getattr(config, rule) == "refuse"}
    if not strict:
        return None
    for rule in (*held(text, config).values(), rule_of_name(name or "", config)):
        if rule in strict:
            return rule
    return None


def unrefused(text: str | None, config: PolicyConfig) -> str | None:
    """A text that is kept beside another; None where a rule refuses it."""
    return None if text is None or refused(text, config) else text


def without(text: str, sentences_held: Mapping[str, Rule]) -> str:
    """What is left of a text."""
    left = [sentence for sentence in sentences(text) if sentence not in sentences_held]
    return "\n".join(left)


def rule_of_name(name: str, config: PolicyConfig) -> Rule | None:
    """The rule for which nothing is learned of who is called so; by match, or since it orders.

    What a sentence tells by its meaning no name does: "user1" would be taken for a secret.
    """
    return rule_of(name, config, rules=_OF_NAMES)


def rule_of(
    sentence: str, config: PolicyConfig, *, rules: Mapping[Rule, _Applies] | None = None
) -> Rule | None:
    """The first rule that a sentence falls under, of those that are on."""
    plain = _plain(sentence)
    for rule, applies in (_RULES if rules is None else rules).items():
        if getattr(config, rule) != "learn":
            read = sentence if rule is Rule.HIDDEN else plain
            if applies(read, config):
                return rule
    return None


def sensitive(text: str, config: PolicyConfig) -> Rule | None:
    """The rule of a credential, a card or an account that a text has: no guess, a match."""
    return rule_of(text, config, rules=_SENSITIVE)


def _plain(text: str) -> str:
    """As it is read: full-width letters as plain ones, nothing invisible, nothing struck out."""
    composed = unicodedata.normalize("NFKC", text)
    return "".join(char for char in composed if unicodedata.category(char) not in ("Cf", "Mn"))


# The rules


def _is_hidden(text: str, config: PolicyConfig) -> bool:
    return any(_hidden_parts(text))


def _hidden_parts(text: str) -> Iterator[bool]:
    """Whether a character is not to be seen, or a word has letters of two scripts."""
    for place, char in enumerate(text):
        is_tag = ord(char) in _TAGS and _FLAG not in text[:place]
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        splits = unicodedata.category(char) == "Cf" and (before + after).isascii()
        yield is_tag or char in _DIRECTIONS or (splits and (before + after).isalnum())
    for word in text.split():
        scripts = {unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha()}
        yield len(scripts.intersection(_ALIKE)) > 1


def _tells_secret(text: str, config: PolicyConfig) -> bool:
    return _has_key(text) or tells_secret(text)


def _is_key(text: str, config: PolicyConfig) -> bool:
    return _has_key(text)


def _has_key(text: str) -> bool:
    """By detect-secrets, or by a word in which letters and digits alternate as in no language."""
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import transient_settings

    with transient_settings({"plugins_used": _plugins()}):
        if any(scan_line(text)):
            return True
    return any(_is_random(word) for word in re.split(r"[\s,;:'\"`()]+", text))


def _is_random(word: str) -> bool:
    """Whether a long word has letters and digits without any order, as keys have."""
    letters = sum(char.isalpha() for char in word)
    digits = sum(char.isdigit() for char in word)
    if len(word) < _LONG or not letters or not digits or "://" in word:
        return False
    counts = Counter(word).values()
    bits = -sum(count / len(word) * math.log2(count / len(word)) for count in counts)
    return bits >= _BITS


def _pays(text: str, config: PolicyConfig) -> bool:
    return _has_number(text)


def _has_number(text: str) -> bool:
    """Of a card or an account: their check digits are right."""
    from langchain.agents.middleware.pii import detect_credit_card
    from stdnum import iban, luhn

    if detect_credit_card(text):
        return True
    if any(luhn.is_valid(re.sub(r"[ -]", "", number)) for number in _DIGITS.findall(text)):
        return True
    return any(iban.is_valid(account) for account in _ACCOUNT.findall(text.upper()))


def _is_personal(text: str, config: PolicyConfig) -> bool:
    from langchain.agents.middleware import pii

    for detect in (pii.detect_email, pii.detect_ip, pii.detect_mac_address):
        if detect(text):
            return True
    return config.presidio and _is_recognized(text)


def _is_recognized(text: str) -> bool:
    """Whether one of presidio's rules is sure enough of it."""
    for recognizer in _recognizers():
        for found in recognizer.analyze(text, recognizer.supported_entities, None):
            if found.score >= _SURE and found.entity_type not in _NOT_PERSONAL:
                return True
    return False


def _instructs(text: str, config: PolicyConfig) -> bool:
    return instructs(text)


def _is_volatile(text: str, config: PolicyConfig) -> bool:
    return is_volatile(text)


_RULES: Mapping[Rule, _Applies] = {
    Rule.HIDDEN: _is_hidden,
    Rule.PAYMENT: _pays,
    Rule.SECRETS: _tells_secret,
    Rule.PERSONAL: _is_personal,
    Rule.INSTRUCTIONS: _instructs,
    Rule.VOLATILE: _is_volatile,
}
_SENSITIVE: Mapping[Rule, _Applies] = {Rule.SECRETS: _is_key, Rule.PAYMENT: _pays}
_OF_NAMES: Mapping[Rule, _Applies] = {
    **_SENSITIVE,
    Rule.HIDDEN: _is_hidden,
    Rule.PERSONAL: _is_personal,
    Rule.INSTRUCTIONS: _instructs,
}


@functools.cache
def _plugins() -> list[dict[str, str]]:
    """All of detect-secrets' rules but those that take every word for one."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: Any = get_mapping_from_secret_type_to_class().values()
    names: list[str] = sorted(plugin.__name__ for plugin in classes)
    return [{"name": name} for name in names if name not in _NO_SECRETS]


@functools.cache
def _recognizers() -> list[Any]:
    """Presidio's own choice of those that need no language model, of all its languages."""
    with from_extra("presidio", "asking presidio's rules"):
        from presidio_analyzer import PatternRecognizer, RecognizerRegistry
        from presidio_analyzer.predefined_recognizers import EmailRecognizer, PhoneRecognizer

        registry = RecognizerRegistry(supported_languages=_PRESIDIO)
        registry.load_predefined_recognizers(languages=_PRESIDIO)
    by_match = [
        one for one in registry.recognizers if isinstance(one, (PatternRecognizer, PhoneRecognizer))
    ]
    # The same rule is there once for every language. That for mail asks the network for a list of
    # domains, and LangChain's has found what it finds.
    rules = {type(one): one for one in by_match}
    rules.pop(EmailRecognizer, None)
    return list(rules.values())
