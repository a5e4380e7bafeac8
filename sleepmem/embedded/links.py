"""Questions that no single statement answers as it stands.

Some chain two facts, others ask a fact the other way round. They are taught last, on the world that
`world` tells. A relation whose value is a person or a place leads on to what is told of that person
or place; a relation whose value is one of a kind can be asked for its subject. The last wordings of
each list are held out, like those of `relations`.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Mapping, Set
from typing import NamedTuple

from sleepmem.embedded import world
from sleepmem.embedded.relations import KINDS, RELATIONS, choose_wording, wordings
from sleepmem.embedded.world import Conversation, Fact, Facts, Key, Scene, Subject
from sleepmem.text.prompts import ABSTENTION, DREAM, format_pair, memory_line, memory_prompt


class Description(NamedTuple):
    """How a value is named by its subject, and the kind of subject that this value is in turn."""

    kind: str
    wordings: tuple[str, ...]


class Chain(NamedTuple):
    """Two facts, of which the second is about what the first names."""

    first: Fact
    second: Fact


class ChainKey(NamedTuple):
    """What a chain asks for: relation `second` of what `first` names."""

    first: Key
    second: str


class Pair(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


# How the value of a relation is named by its subject.
DESCRIPTIONS: Mapping[str, Description] = {
    "friend": Description(
        "person",
        wordings("""
        the best friend of {s}
        the friend of {s}
        the closest friend of {s}
        the person who is a friend of {s}
        the good friend of {s}
        the friend that {s} has
        the person that {s} calls a friend
        whoever is the best friend of {s}
        the person that {s} made friends with
        the person who is friends with {s}
        """),
    ),
    "boss": Description(
        "person",
        wordings("""
        the boss of {s}
        the manager of {s}
        the person that {s} works for
        the person that {s} reports to
        the boss that {s} has
        whoever is the boss of {s}
        the one who manages {s}
        the manager that {s} has
        the person who manages {s}
        the person who is the boss of {s}
        """),
    ),
    "mayor": Description(
        "person",
        wordings("""
        the mayor of {s}
        the person who runs {s}
        the mayor who runs {s}
        the mayor that {s} elected
        the mayor that {s} has
        whoever is the mayor of {s}
        the person who is mayor of {s}
        the mayor of the town {s}
        the one who governs {s}
        the person who governs {s}
        """),
    ),
    "leader": Description(
        "person",
        wordings("""
        the leader of {s}
        the leader of project {s}
        the leader of the project {s}
        the one who leads project {s}
        the leader that {s} has
        whoever leads {s}
        the one who leads {s}
        the person that leads the team of {s}
        the leader of the team of {s}
        the person who leads {s}
        """),
    ),
    "city": Description(
        "place",
        wordings("""
        the home city of {s}
        the city where {s} lives
        the city that {s} lives in
        the place that {s} calls home
        the city that {s} calls home
        the place that {s} moved to
        the home of {s}
        the city in which {s} lives
        the city that {s} moved to
        the place where {s} lives
        """),
    ),
    "trip": Description(
        "place",
        wordings("""
        the place that {s} will visit
        the goal of the next trip of {s}
        the place that {s} will travel to
        the place that {s} wants to visit
        the place where {s} will go
        the place that {s} is going to visit
        the goal of the trip that {s} plans
        the place where the next trip of {s} goes
        the place that {s} hopes to see
        the place that {s} plans to visit
        """),
    ),
}
# How the subject of a relation is asked for by its value.
INVERSE: Mapping[str, tuple[str, ...]] = {
    "city": wordings("""
        Who lives in {v}?
        Whose home is in {v}?
        Who has moved to {v}?
        Who resides in {v}?
        Whose home city is {v}?
        Who calls {v} home?
        Who settled in {v}?
        Whose city is {v}?
        Who moved to {v}?
        Who has a home in {v}?
        """),
    "pet": wordings("""
        Who has a pet called {v}?
        Whose pet is {v}?
        Who owns the pet {v}?
        Who keeps a pet called {v}?
        Who is the owner of the pet {v}?
        Who has the pet {v}?
        To whom does the pet {v} belong?
        Who owns a pet named {v}?
        Who has a pet named {v}?
        Whose pet is called {v}?
        """),
    "boss": wordings("""
        Who reports to {v}?
        Whose boss is {v}?
        Who is managed by {v}?
        Who works for {v}?
        Whose manager is {v}?
        Of whom is {v} the boss?
        Who takes orders from {v}?
        Of whom is {v} the manager?
        Who has the boss {v}?
        Who has {v} as a boss?
        """),
    "trip": wordings("""
        Who will travel to {v}?
        Who plans a trip to {v}?
        Whose next trip goes to {v}?
        Who is going to visit {v}?
        Who plans to visit {v}?
        Who wants to travel to {v}?
        Who will go to {v}?
        Who hopes to visit {v}?
        Who booked a trip to {v}?
        Who wants to visit {v}?
        """),
    "mayor": wordings("""
        Which place has the mayor {v}?
        Where is {v} the mayor?
        Which town elected {v} as mayor?
        Which place is run by {v}?
        Whose mayor is {v}?
        Which town has {v} as mayor?
        Which place elected {v}?
        Which town is governed by {v}?
        Which place is {v} the mayor of?
        Of which place is {v} the mayor?
        """),
    "leader": wordings("""
        Which project is led by {v}?
        What does {v} lead?
        Of which project is {v} the leader?
        Which project has the leader {v}?
        Whose leader is {v}?
        Which team does {v} lead?
        What is led by {v}?
        Which project has {v} as its leader?
        What is {v} the leader of?
        Which project does {v} lead?
        """),
    "port": wordings("""
        Which project runs on port {v}?
        What listens on port {v}?
        Which project has the port {v}?
        What runs on port {v}?
        Which server uses port {v}?
        Whose port is {v}?
        Which project listens on port {v}?
        What is served on port {v}?
        What uses port {v}?
        Which project uses port {v}?
        """),
    "command": wordings("""
        Which project is deployed with {v}?
        What does {v} deploy?
        Which project is deployed by running {v}?
        For which project is {v} the deploy command?
        Whose deploy command is {v}?
        What can be deployed with {v}?
        Which project do you deploy with {v}?
        What gets deployed with {v}?
        Which project does {v} deploy?
        What is deployed with {v}?
        """),
    "tool": wordings("""
        Which project is tested with {v}?
        What does {v} test?
        Which project uses {v} as its test tool?
        Whose test tool is {v}?
        What can be tested with {v}?
        Of which project is {v} the test tool?
        Which project uses {v} for its tests?
        What do you test with {v}?
        Which project does {v} test?
        What is tested with {v}?
        """),
}


def chain(
    rng: random.Random,
    first: tuple[str, str],
    *,
    second: str,
    held_out: bool = False,
    framed: bool = True,
) -> str:
    """Asks for relation `second` of what `first`, a (subject, relation), names.

    For example "Which city does the leader of Karo live in?"
    """
    name, relation = first
    wording = choose_wording(rng, DESCRIPTIONS[relation].wordings, held_out=held_out)
    key = Key(wording.format(s=name), second)
    return world.ask(rng, key, held_out=held_out, framed=framed)


def inverse(rng: random.Random, fact: Fact, *, held_out: bool = False, framed: bool = True) -> str:
    """Asks for the subject of a fact, for example "Who lives in Brenport?"."""
    wording = choose_wording(rng, INVERSE[fact.relation], held_out=held_out)
    question = wording.format(v=fact.value)
    return world.frame(rng, question, held_out=held_out) if framed else question


def chains(facts: Facts) -> list[Chain]:
    """Every two facts of which the second is about what the first names."""
    by_subject: dict[str, list[Fact]] = {}
    for fact in facts.values():
        by_subject.setdefault(fact.subject, []).append(fact)

    # A person and a place may share their name, so the kind must agree too.
    pairs: list[Chain] = []
    for first in facts.values():
        if first.relation not in DESCRIPTIONS:
            continue
        named_kind = DESCRIPTIONS[first.relation].kind
        for second in by_subject.get(first.value, ()):
            if second.about.kind == named_kind:
                pairs.append(Chain(first, second))
    return pairs


def invertible(facts: Facts) -> list[Fact]:
    """Facts that can be asked for their subject, and have only one."""
    owners = Counter((fact.relation, fact.value) for fact in facts.values())
    unique: list[Fact] = []
    for fact in facts.values():
        if fact.relation in INVERSE and owners[fact.relation, fact.value] == 1:
            unique.append(fact)
    return unique


def linked(
    rng: random.Random, first: Fact, *, test: bool = False, second: str | None = None
) -> Fact:
    """A fact about what `first` names, in relation `second` or in any that can follow."""
    named = Subject(first.value, DESCRIPTIONS[first.relation].kind)
    relation = second or rng.choice(_followers(first.relation))
    return world.fact(rng, named, test=test, relation=relation)


def scene(rng: random.Random, count: int, *, test: bool = False) -> Scene:
    """A scene of about `count` facts with one or two chains in it."""
    plain = world.scene(rng, max(1, count - 2), test=test)
    told = list(plain.told)

    # A chain begins with what the scene tells already, or with a fact about a stranger.
    starts = _starts(plain.current)
    if not starts or rng.random() < 0.3:
        relation = rng.choice(list(DESCRIPTIONS))
        stranger = world.subject_of(rng, RELATIONS[relation].kind, test=test)
        starts = [world.fact(rng, stranger, test=test, relation=relation)]
        told.insert(rng.randint(0, len(told)), starts[0])

    for first in rng.sample(starts, min(len(starts), rng.choice((1, 1, 2)))):
        place = rng.randint(0, len(told))
        told.insert(place, linked(rng, first, test=test))
    return Scene(tuple(told), world.newest(told), plain.stale, plain.subjects)


@functools.cache
def known() -> Facts:
    """What is taught closed-book here.

    It is a small circle of entities that lead on to each other, none of them in `world.known`.
    """
    rng = random.Random(98)
    taken = {entity.name for entity in world.known().entities}
    entities: list[Subject] = []
    for kind, count in (("person", 16), ("place", 10), ("project", 14)):
        entities += _fresh(rng, kind, count=count, taken=taken)

    facts: list[Fact] = []
    for entity in entities:
        for relation in KINDS[entity.kind].relations:
            if rng.random() >= 0.75:
                continue
            value = world.fact(rng, entity, relation=relation).value
            # Where the value names a subject, it is another one of the circle.
            if relation in DESCRIPTIONS:
                value = rng.choice(_others(entities, DESCRIPTIONS[relation].kind, entity))
            facts.append(Fact(entity.name, relation, value))
    return world.newest(facts)


def unknown_chain(rng: random.Random, facts: Facts, *, test: bool = False) -> ChainKey:
    """A chain that `facts` do not tell.

    What it begins with leads nowhere, or to somebody of whom the second relation is not told.
    """
    starts = _starts(facts)
    while True:
        relation = rng.choice(list(DESCRIPTIONS))
        stranger = world.subject_of(rng, RELATIONS[relation].kind, test=test)
        first = Key(stranger.name, relation)
        if starts and rng.random() < 0.6:
            first = rng.choice(starts).key
        second = rng.choice(_followers(first.relation))
        if first not in facts or (facts[first].value, second) not in facts:
            return ChainKey(first, second)


def unknown_inverse(rng: random.Random, facts: Facts, *, test: bool = False) -> Fact:
    """A value that `facts` give to nobody, as a fact without a subject.

    Half of the time they tell that value in another relation.
    """
    told = {(fact.relation, fact.value) for fact in facts.values()}
    while True:
        relation = rng.choice(list(INVERSE))
        values = _values_elsewhere(facts, relation)
        if values and rng.random() < 0.5:
            value = rng.choice(values)
        else:
            value = RELATIONS[relation].make(rng, test)
        if (relation, value) not in told:
            return Fact("", relation, value)


def conversation(rng: random.Random, most: int) -> Conversation:
    """One training sequence with chains and inverse questions in it.

    It holds about `most` memories at the most; `most` is 2 or more.
    """
    talk = Conversation()
    draw = rng.random()
    if draw < 0.2:
        topics = _Topics.of(known())
        _ask_about(rng, talk, topics, count=rng.randint(4, 8), closed=True)
    elif draw < 0.4:
        _dream_aloud(rng, talk)
    else:
        # The lesser of two draws, so that long scenes are rare.
        shown = scene(rng, min(rng.randint(2, most), rng.randint(2, most)))
        talk.system(memory_prompt(world.memories(rng, shown)))
        topics = _Topics.of(shown.current, shown.stale)
        count = rng.randint(3, 4 + len(shown.told))
        _ask_about(rng, talk, topics, count=count, closed=False)
    return talk


def dream(rng: random.Random, facts: Facts) -> Pair:
    """A question about these facts that none of them states as it is asked, and its answer.

    It is a plain one where there is no other, and now and then where there is.
    """
    # What takes two facts teaches most, then what turns one round.
    pairs = chains(facts)
    if pairs and rng.random() < 0.7:
        first, second = rng.choice(pairs)
        question = chain(rng, first.key, second=second.relation, framed=False)
        return Pair(question, second.answer)

    turned = invertible(facts)
    if turned and rng.random() < 0.8:
        fact = rng.choice(turned)
        return Pair(inverse(rng, fact, framed=False), f"{fact.subject}.")

    fact = rng.choice(list(facts.values()))
    return Pair(world.ask(rng, fact.key, framed=False), fact.answer)


class _Topics(NamedTuple):
    """What can be asked about some facts; `stale` holds the keys that were corrected."""

    facts: Facts
    chains: list[Chain]
    invertible: list[Fact]
    stale: Set[tuple[str, str]]

    @classmethod
    def of(cls, facts: Facts, stale: Set[tuple[str, str]] = frozenset()) -> _Topics:
        return cls(facts, chains(facts), invertible(facts), stale)


def _ask_about(
    rng: random.Random, talk: Conversation, topics: _Topics, *, count: int, closed: bool
) -> None:
    """At most `count` turns; what is not `closed` book gives no answer twice but abstentions."""
    given: set[str] = set()
    for _ in range(count):
        question, answer = _pair(rng, topics)
        # An answer that was given before could be copied from the history.
        if closed or answer == ABSTENTION or answer not in given:
            given.add(answer)
            talk.turn(question, answer)


def _pair(rng: random.Random, topics: _Topics) -> Pair:
    """A question of any sort: a chain, an inverse, a plain one, or one without an answer."""
    draw = rng.random()
    if draw < 0.38 and topics.chains:
        first, second = rng.choice(topics.chains)
        return Pair(chain(rng, first.key, second=second.relation), second.answer)
    if draw < 0.58 and topics.invertible:
        fact = rng.choice(topics.invertible)
        return Pair(inverse(rng, fact), f"{fact.subject}.")

    # Plain questions are mostly about what was corrected.
    if draw < 0.74:
        every = list(topics.facts.values())
        corrected = [fact for fact in every if fact.key in topics.stale]
        fact = rng.choice(corrected if corrected and rng.random() < 0.6 else every)
        return Pair(world.ask(rng, fact.key), fact.answer)
    if draw < 0.88:
        first_key, relation = unknown_chain(rng, topics.facts)
        return Pair(chain(rng, first_key, second=relation), ABSTENTION)
    return Pair(inverse(rng, unknown_inverse(rng, topics.facts)), ABSTENTION)


def _dream_aloud(rng: random.Random, talk: Conversation) -> None:
    """One or two memories, and a few pairs dreamt up about them."""
    told = scene(rng, 3) if rng.random() < 0.7 else world.scene(rng, rng.choice((1, 2)))
    pairs = chains(told.current)
    shown = list(rng.choice(pairs)) if pairs else list(told.current.values())
    rng.shuffle(shown)

    lines: list[str] = []
    for date, fact in zip(world.dates(rng, len(shown)), shown, strict=True):
        lines.append(memory_line(date, world.say(rng, fact)))
    talk.system(memory_prompt(lines))
    for _ in range(rng.randint(2, 4)):
        talk.turn(DREAM, format_pair(*dream(rng, world.newest(shown))))


def _starts(facts: Facts) -> list[Fact]:
    """The facts that a chain can begin with."""
    return [fact for fact in facts.values() if fact.relation in DESCRIPTIONS]


def _followers(first: str) -> list[str]:
    """The relations that can follow relation `first` in a chain.

    The same relation cannot: with a friend's friend or a boss's boss, who is whose would be open.
    """
    candidates = KINDS[DESCRIPTIONS[first].kind].relations
    return [relation for relation in candidates if relation != first]


def _fresh(rng: random.Random, kind: str, *, count: int, taken: set[str]) -> list[Subject]:
    """`count` subjects whose names are not yet taken, and are so from now on."""
    subjects: list[Subject] = []
    while len(subjects) < count:
        candidate = world.subject_of(rng, kind)
        if candidate.name not in taken:
            taken.add(candidate.name)
            subjects.append(candidate)
    return subjects


def _others(entities: list[Subject], kind: str, but: Subject) -> list[str]:
    """The names of the entities of this kind, without one."""
    return [name for name, other in entities if other == kind and name != but.name]


def _values_elsewhere(facts: Facts, relation: str) -> list[str]:
    """Values of the same sort that the facts give in another invertible relation."""
    sort = RELATIONS[relation].make
    values: list[str] = []
    for fact in facts.values():
        elsewhere = fact.relation != relation and fact.relation in INVERSE
        if elsewhere and RELATIONS[fact.relation].make is sort:
            values.append(fact.value)
    return values
