"""What of an episode may be taught: what the policy keeps back never reaches a gradient.

Reads, writes nothing; says of everything kept back why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import NamedTuple

from sleepmem.config import PolicyConfig
from sleepmem.night.rows import Row
from sleepmem.records import AGENT, Episode, Held, Note
from sleepmem.text.heads import SURELY_ASKS, asks
from sleepmem.text.pieces import sentences
from sleepmem.text.policy import Rule, held, rule_of_name, sensitive, without


class Sorted(NamedTuple):
    """Episodes of which something may be taught, and what is kept back, of these and others."""

    episodes: list[Episode]
    held: list[Held]


def sort(episodes: Iterable[Episode], policy: PolicyConfig, *, untrusted: bool) -> Sorted:
    """Tell what may be taught from what may not.

    Args:
        episodes: what waits in the buffer.
        policy: the rules.
        untrusted: whether what the user did not say may be taught.
    """
    teachable: list[Episode] = []
    kept_back: list[Held] = []
    for episode in episodes:
        if not episode.trusted and not untrusted:
            kept_back.append(_held(episode, Rule.SOURCE))
            continue
        rules = rules_of(episode, policy)
        kept_back += [_held(episode, rule) for rule in dict.fromkeys(rules.values())]
        if not rules or tells(without(episode.text, rules)):
            teachable.append(episode)
            answered = held(episode.answers or "", policy).values()
            kept_back += [_held(episode, rule, AGENT) for rule in dict.fromkeys(answered)]
    return Sorted(teachable, kept_back)


def outlived(
    episodes: Iterable[Episode], policy: PolicyConfig, *, today: date, untrusted: bool
) -> list[str]:
    """Ids of those that tell nothing but what rules hold, and are older than the days of each.

    What was told with an end of its own goes by that. `untrusted`: others' words may be taught.
    """
    found = []
    for episode in episodes:
        age = today - date.fromisoformat(episode.date)
        if not episode.lasts and age.days > min(policy.days.values(), default=age.days):
            rules = _rules_of_all(episode, policy, untrusted=untrusted)
            days = [policy.days.get(rule.value, age.days) for rule in rules]
            if rules and age.days > max(days):
                found.append(episode.id)
    return found


def _rules_of_all(episode: Episode, policy: PolicyConfig, *, untrusted: bool) -> set[Rule]:
    """The rules that hold all it tells; none where something may be taught."""
    if not (episode.trusted or untrusted):
        return {Rule.SOURCE}
    rules = rules_of(episode, policy)
    return set() if tells(without(episode.text, rules)) else set(rules.values())


def rules_of(episode: Episode, policy: PolicyConfig) -> dict[str, Rule]:
    """The sentences of an episode that may not be taught, each with its rule.

    All of them where its speaker's name may not be: without it they would be somebody else's.
    """
    if episode.lasts:
        return dict.fromkeys(sentences(episode.text), Rule.VOLATILE)
    rules = held(episode.text, policy)
    by_name = rule_of_name(episode.speaker, policy) if episode.speaker else None
    if by_name is None:
        return rules
    return {**dict.fromkeys(sentences(episode.text), by_name), **rules}


def tells(text: str) -> bool:
    """Whether a sentence of it does not surely ask."""
    return any(asks(sentence) < SURELY_ASKS for sentence in sentences(text))


def teaches(episode: Episode, policy: PolicyConfig) -> bool:
    """Whether something of it may be taught."""
    rules = rules_of(episode, policy)
    return tells(without(episode.text, rules) if rules else episode.text)


def taught_of(episode: Episode, policy: PolicyConfig) -> Episode:
    """The episode, if it `teaches`, with the words alone that may be taught; of the same id."""
    rules = rules_of(episode, policy)
    # The agent may have passed on what others said: of its words those that ask are left.
    answers = episode.answers
    if answers and (tells(answers) or held(answers, policy)):
        left = sentences(without(answers, held(answers, policy)))
        answers = " ".join(part for part in left if asks(part) >= SURELY_ASKS) or None
    if not rules and answers == episode.answers:
        return episode
    text = without(episode.text, rules) if rules else episode.text
    return replace(episode, text=text, answers=answers, part_of=episode.id)


def waiting_notes(episodes: Iterable[Episode], policy: PolicyConfig, *, whole: bool) -> list[Note]:
    """Notes without text for what is kept back, so that its episode stays in the buffer.

    `whole`: no notes are drawn, so the rest of the episode is one.
    """
    found: list[Note] = []
    for episode in episodes:
        rules = rules_of(episode, policy)
        found += [Note(episode.id, "", sentence) for sentence in rules]
        if rules and whole:
            rest = without(episode.text, rules)
            found.append(Note(episode.id, rest, rest))
    return found


def kept_back(notes: Iterable[tuple[Episode, Rule]]) -> list[Held]:
    """What a rule keeps of notes that were drawn, or written by who reviewed them."""
    return [_held(episode, rule) for episode, rule in dict.fromkeys(notes)]


class Safe(NamedTuple):
    """Rows of training that may be taught, and how many may not, by rule."""

    rows: list[Row]
    dropped: dict[str, int]


def safe(rows: Iterable[Row], policy: PolicyConfig) -> Safe:
    """The rows in which nothing matches a credential, a card or an account: the last look."""
    found, dropped = [], Counter[str]()
    for row in rows:
        rule = sensitive(_text_of(row), policy)
        if rule is None:
            found.append(row)
        else:
            dropped[rule.value] += 1
    return Safe(found, dict(dropped))


def _text_of(row: Row) -> str:
    chats = (*row.student, *row.teacher)
    return "\n".join([*(message["content"] for message in chats), row.answer])


def _held(episode: Episode, rule: Rule, source: str = "") -> Held:
    return Held(episode.id, rule.value, source or episode.source, episode.date)


def counted(kept_back: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """How many by rule, as a report shows them."""
    return dict(Counter(one["rule"] for one in kept_back))
