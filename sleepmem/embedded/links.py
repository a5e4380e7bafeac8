"""Questions that no single statement answers as it stands: chains of two facts, and a fact asked the other way round.

Taught last, on the world that `world` tells. A relation whose value is a person or a place leads on to what is told of that person or place; a
relation whose value is one of a kind can be asked for its subject. The last wording of each list is held out, like the last ones of `relations`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence, Set

from sleepmem.embedded import world
from sleepmem.embedded.relations import KINDS, RELATIONS
from sleepmem.embedded.world import Conversation, Fact, Scene
from sleepmem.text.prompts import ABSTENTION, DREAM, format_pair, memory_line, memory_prompt


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


# How a value is named by its subject, and the kind of subject that this value is in turn.
DESCRIPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "friend": (
        "person",
        _lines("""
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
    "boss": (
        "person",
        _lines("""
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
    "mayor": (
        "person",
        _lines("""
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
    "leader": (
        "person",
        _lines("""
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
    "city": (
        "place",
        _lines("""
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
    "trip": (
        "place",
        _lines("""
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
INVERSE: Mapping[str, tuple[str, ...]] = {
    "city": _lines("""
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
    "pet": _lines("""
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
    "boss": _lines("""
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
    "trip": _lines("""
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
    "mayor": _lines("""
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
    "leader": _lines("""
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
    "port": _lines("""
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
    "command": _lines("""
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
    "tool": _lines("""
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
HELD_OUT = 2


def _pick(rng: random.Random, wordings: Sequence[str], held_out: bool) -> str:
    return rng.choice(wordings[-HELD_OUT:] if held_out else wordings[:-HELD_OUT])


def chain(rng: random.Random, first: tuple[str, str], second: str, held_out: bool = False, framed: bool = True) -> str:
    """Asks for relation `second` of what `first`, a (subject, relation), names: "Which city does the leader of Karo live in?" """
    named = _pick(rng, DESCRIPTIONS[first[1]][1], held_out).format(s=first[0])
    return world.ask(rng, (named, second), held_out, framed)


def inverse(rng: random.Random, f: Fact, held_out: bool = False, framed: bool = True) -> str:
    """Asks for the subject of a fact: "Who lives in Brenport?" """
    text = _pick(rng, INVERSE[f.relation], held_out).format(v=f.value)
    return world.frame(rng, text, held_out) if framed else text


def chains(facts: Mapping[tuple[str, str], Fact]) -> list[tuple[Fact, Fact]]:
    """Every two facts of which the second is about what the first names."""
    of: dict[str, list[Fact]] = {}
    for f in facts.values():
        of.setdefault(f.subject, []).append(f)
    return [(f, g) for f in facts.values() if f.relation in DESCRIPTIONS for g in of.get(f.value, ()) if kind(g) == DESCRIPTIONS[f.relation][0]]


def invertible(facts: Mapping[tuple[str, str], Fact]) -> list[Fact]:
    """Facts that can be asked for their subject, and have only one."""
    told = [(f.relation, f.value) for f in facts.values()]
    return [f for f in facts.values() if f.relation in INVERSE and told.count((f.relation, f.value)) == 1]


def kind(f: Fact) -> str:
    return RELATIONS[f.relation].kind


def linked(rng: random.Random, first: Fact, test: bool = False, second: str | None = None) -> Fact:
    """A fact about what `first` names."""
    of = DESCRIPTIONS[first.relation][0]
    relations = [r for r in KINDS[of][0] if r != first.relation]  # a friend's friend, a boss's boss: who is whose would be open
    return world.fact(rng, (first.value, of), test, second or rng.choice(relations))


def scene(rng: random.Random, count: int, test: bool = False) -> Scene:
    """A scene of about `count` facts with one or two chains in it."""
    s = world.scene(rng, max(1, count - 2), test)
    told = list(s.told)
    starts = [f for f in s.current.values() if f.relation in DESCRIPTIONS]
    if not starts or rng.random() < 0.3:
        relation = rng.choice(list(DESCRIPTIONS))
        of = (KINDS[RELATIONS[relation].kind][1](rng, test), RELATIONS[relation].kind)
        starts = [world.fact(rng, of, test, relation)]
        told.insert(rng.randint(0, len(told)), starts[0])
    for first in rng.sample(starts, min(len(starts), rng.choice((1, 1, 2)))):
        told.insert(rng.randint(0, len(told)), linked(rng, first, test))
    return Scene(tuple(told), {f.key: f for f in told}, s.stale, s.subjects)


@functools.cache
def known() -> Mapping[tuple[str, str], Fact]:
    """What is taught closed-book here: a small circle of entities that lead on to each other, none of them in `world.known`."""
    rng = random.Random(98)
    taken = {name for name, _ in world.known()[0]}
    entities = [(n, k) for k, count in (("person", 16), ("place", 10), ("project", 14)) for n in _fresh(rng, k, count, taken)]
    made: dict[tuple[str, str], Fact] = {}
    for of in entities:
        for relation in KINDS[of[1]][0]:
            if rng.random() < 0.75:
                f = world.fact(rng, of, relation=relation)
                if relation in DESCRIPTIONS:
                    f = Fact(of[0], relation, rng.choice([n for n, k in entities if k == DESCRIPTIONS[relation][0] and n != of[0]]))
                made[f.key] = f
    return made


def _fresh(rng: random.Random, of: str, count: int, taken: set[str]) -> list[str]:
    out: list[str] = []
    while len(out) < count:
        if (name := KINDS[of][1](rng, False)) not in taken:
            taken.add(name)
            out.append(name)
    return out


def unknown_chain(rng: random.Random, facts: Mapping[tuple[str, str], Fact], test: bool = False) -> tuple[tuple[str, str], str]:
    """A chain that `facts` do not tell: what it begins with leads nowhere, or to somebody of whom the other is not told."""
    starts = [f for f in facts.values() if f.relation in DESCRIPTIONS]
    while True:
        relation = rng.choice(list(DESCRIPTIONS))
        key = (KINDS[RELATIONS[relation].kind][1](rng, test), relation)
        if starts and rng.random() < 0.6:
            key = rng.choice(starts).key
        of = DESCRIPTIONS[key[1]][0]
        second = rng.choice([r for r in KINDS[of][0] if r != key[1]])
        if key not in facts or (facts[key].value, second) not in facts:
            return key, second


def unknown_inverse(rng: random.Random, facts: Mapping[tuple[str, str], Fact], test: bool = False) -> Fact:
    """A value that `facts` give to nobody, though half of the time they tell it in another relation."""
    told = {(f.relation, f.value) for f in facts.values()}
    while True:
        relation = rng.choice(list(INVERSE))
        others = [f.value for f in facts.values() if f.relation != relation and f.relation in INVERSE and _same_sort(f.relation, relation)]
        value = rng.choice(others) if others and rng.random() < 0.5 else RELATIONS[relation].make(rng, test)
        if (relation, value) not in told:
            return Fact("", relation, value)


def _same_sort(a: str, b: str) -> bool:
    return RELATIONS[a].make is RELATIONS[b].make


def conversation(rng: random.Random, most: int) -> Conversation:
    """One training sequence with chains and inverse questions in it."""
    c = Conversation()
    draw = rng.random()
    if draw < 0.2:  # closed book
        _questions(rng, c, known(), rng.randint(4, 8), closed=True)
    elif draw < 0.4:  # dream up a pair
        s = scene(rng, 3) if rng.random() < 0.7 else world.scene(rng, rng.choice((1, 2)))
        pairs = chains(s.current)
        shown = list(rng.choice(pairs)) if pairs else list(s.current.values())
        rng.shuffle(shown)
        lines = [memory_line(d, world.say(rng, f)) for d, f in zip(world.dates(rng, len(shown)), shown, strict=True)]
        c.system(memory_prompt(lines))
        for _ in range(rng.randint(2, 4)):
            c.turn(DREAM, format_pair(*dream(rng, {f.key: f for f in shown})))
    else:
        s = scene(rng, min(rng.randint(2, most), rng.randint(2, most)))
        c.system(memory_prompt(world.memories(rng, s)))
        _questions(rng, c, s.current, rng.randint(3, 4 + len(s.told)), closed=False, stale=s.stale)
    return c


def dream(rng: random.Random, facts: Mapping[tuple[str, str], Fact]) -> tuple[str, str]:
    """A question about these facts that none of them states as it is asked, and its answer; a plain one where there is no other."""
    if (pairs := chains(facts)) and rng.random() < 0.7:
        first, second = rng.choice(pairs)
        return chain(rng, first.key, second.relation, framed=False), second.answer
    if (turned := invertible(facts)) and rng.random() < 0.8:
        f = rng.choice(turned)
        return inverse(rng, f, framed=False), f"{f.subject}."
    f = rng.choice(list(facts.values()))
    return world.ask(rng, f.key, framed=False), f.answer


def _questions(
    rng: random.Random, c: Conversation, facts: Mapping[tuple[str, str], Fact], count: int, closed: bool, stale: Set[tuple[str, str]] = frozenset()
) -> None:
    pairs, turned, asked = chains(facts), invertible(facts), set[str]()
    for _ in range(count):
        kind_ = rng.random()
        if kind_ < 0.38 and pairs:
            first, second = rng.choice(pairs)
            question, answer = chain(rng, first.key, second.relation), second.answer
        elif kind_ < 0.58 and turned:
            f = rng.choice(turned)
            question, answer = inverse(rng, f), f"{f.subject}."
        elif kind_ < 0.74:
            corrected = [f for f in facts.values() if f.key in stale]
            f = rng.choice(corrected if corrected and rng.random() < 0.6 else list(facts.values()))
            question, answer = world.ask(rng, f.key), f.answer
        elif kind_ < 0.88:
            key, relation = unknown_chain(rng, facts)
            question, answer = chain(rng, key, relation), ABSTENTION
        else:
            question, answer = inverse(rng, unknown_inverse(rng, facts)), ABSTENTION
        if closed or answer == ABSTENTION or answer not in asked:  # or it could be copied from the history
            asked.add(answer)
            c.turn(question, answer)
