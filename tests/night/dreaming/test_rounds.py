"""Rounds of dreams: what may be dreamt about, what is tried, and when dreaming ends."""

import dataclasses
import random

from _dreams import BOAT, CONFIG, LEADS, LIVES, dreamt, episode

from sleepmem.config import DreamConfig
from sleepmem.night.dreaming import rounds
from sleepmem.night.dreaming.dream import Dream, Dreamer, Fate, Material, Pair
from sleepmem.night.dreaming.guard import leads
from sleepmem.records import Kind, Probe, Role


def fact(about, question, answer):
    return Probe(question, about.id, "night-0001", Kind.FACT, Role.TRAIN, question, answer)


def material(tonight, earlier=()):
    return Material(
        tonight,
        earlier,
        facts=(),
        questions=(),
        memory_lines=lambda question, context: [],
        strangers=(),
    )


# What is dreamt about


def test_contexts_link_what_shares_a_name_and_hold_something_of_tonight():
    earlier = [LIVES, BOAT, episode("In winter Tessa skates.", 4)]
    facts = [
        fact(LEADS, "Who leads Karo?", "Mara."),
        fact(LIVES, "Where does Mara live?", "Brenport."),
    ]
    links = leads(facts)
    assert links == {frozenset((LEADS.id, LIVES.id))}

    ten = DreamConfig(contexts=10)
    contexts = rounds.contexts(material([LEADS], earlier), links=links, config=ten, seed=0)
    assert (LEADS, LIVES) in contexts  # both name Mara; told oldest first
    assert (LEADS,) in contexts
    assert all(LEADS in context and len(context) <= 2 for context in contexts)
    unrelated = [context for context in contexts if len(context) == 2 and LIVES not in context]
    assert unrelated

    two = DreamConfig(contexts=2)
    contexts = rounds.contexts(material([LEADS, LIVES, BOAT]), links=[], config=two, seed=0)
    assert len(contexts) == 2

    # Whom the one answers, the other is about.
    first, *others = rounds.contexts(
        material([LEADS, BOAT], earlier), links=links, config=ten, seed=0
    )
    assert first == (LEADS, LIVES)
    assert others


def test_one_random_expert_leaks_into_the_dreams_about_a_context():
    views = []

    class Recorder:
        def answer(self, chats, experts=(), **settings):
            views.append((experts, len(chats)))
            return ["Question: Who? Answer: Mara."] * len(chats)

    about = [(LEADS,), (LIVES,), (BOAT,)] * 10
    dreamer = Dreamer(Recorder(), "tonight", ["one", "two"])
    dreams = rounds.sample(dreamer, about, config=DreamConfig(samples=2), seed=0)
    assert {dream.expert for dream in dreams} == {"one", "two"}
    assert dict(views).keys() == {("tonight", "one"), ("tonight", "two")}
    assert len(dreams) == 2 * len(about)

    alone = dataclasses.replace(dreamer, beside=["one"])
    settings = DreamConfig(samples=2, random_expert=False)
    dreams = rounds.sample(alone, about, config=settings, seed=0)
    assert {dream.expert for dream in dreams} == {""}
    assert views[-1] == (("tonight",), 2 * len(about))


# What is tried, on what


def test_the_largest_gradients_and_some_at_random_are_tried():
    dreams = [dreamt(f"Q{number}?", "A.", importance=float(number)) for number in range(10)]
    chosen, rest = rounds.select(dreams, config=CONFIG, seed=0)
    assert [dream.importance for dream in chosen[:2]] == [9.0, 8.0]
    assert len(chosen) == 3
    everything = sorted(dream.importance for dream in (*chosen, *rest))
    assert everything == [float(number) for number in range(10)]

    by_chance = dataclasses.replace(CONFIG, by_gradient=False)
    drawn, _ = rounds.select(dreams, config=by_chance, seed=0)
    assert len(drawn) == 3
    assert {dream.importance for dream in drawn} != {dream.importance for dream in chosen}


def test_a_trial_is_scored_on_other_questions_about_the_same_and_of_tonight():
    own = dreamt("Who leads Karo?", "Mara.")
    near = dreamt("Whom does Karo follow?", "Mara.")
    far = dreamt("Who sails?", "Jon.", (BOAT,))
    pairs = [
        Pair("Who leads Karo?", "Mara."),
        Pair("Where does Mara live?", "Brenport."),
        Pair("Who owns the red boat?", "Jon."),
    ]
    exam = rounds.exam_of(own, [own, near, far], pairs=pairs, most=3, rng=random.Random(0))
    assert exam[0] == ("Whom does Karo follow?", "Mara.")
    assert set(exam[1:]) == set(pairs[1:])


def test_what_was_dreamt_in_several_wordings_keeps_one_for_the_exam():
    twice = [dreamt("Who leads Karo?", "Mara."), dreamt("Karo has which leader?", "Mara.")]
    once = dreamt("What does Mara lead?", "Karo.")
    held_out, others = rounds.hold_out([*twice, once], random.Random(0))
    assert [dream.fate for dream in held_out] == [Fate.HELD_OUT]
    assert held_out[0].answer == "Mara."
    assert len(others) == 2

    again = [
        dreamt("Where does Mara live?", "Brenport."),
        dreamt("Where is Mara at home?", "Brenport."),
    ]
    held_out, others = rounds.hold_out([*twice, *again], random.Random(0))
    assert (len(held_out), len(others)) == (1, 3)


# All rounds


def lucid(monkeypatch, gains):
    """Dreams that need no model; those of round n are rewarded when gains[n]."""
    gains = iter(gains)

    def sample(dreamer, about, *, config, seed):
        return [Dream(context, "", "") for context in about]

    def guard(local, dreams, *, ground, config):
        asked, sound = len(ground.questions), []
        for number, dream in enumerate(dreams):
            sound.append(dataclasses.replace(dream, question=f"{asked} {number}?"))
        return sound, []

    def importance(dreamer, dreams, *, at_once):
        return dreams

    def trial(dreamer, dreams, *, exams, config):
        fate = Fate.REWARDED if next(gains) else Fate.USELESS
        return [dataclasses.replace(dream, fate=fate) for dream in dreams]

    for double in (sample, guard, importance, trial):
        monkeypatch.setattr(rounds, double.__name__, double)


def dream(config):
    """All dreams, and how many were taught after each round."""
    taught = []
    dreams = rounds.dream(
        Dreamer(None, "tonight"),
        material([LEADS, LIVES]),
        learn=lambda rewarded: taught.append(len(rewarded)),
        config=config,
        seed=0,
    )
    return dreams, taught


def test_dreaming_ends_by_itself_when_nothing_is_gained(monkeypatch):
    lucid(monkeypatch, [True, False])
    dreams, taught = dream(dataclasses.replace(CONFIG, rounds=5))
    assert {one.round for one in dreams} == {1, 2}
    assert len(taught) == 1


def test_the_rewarded_dreams_of_all_rounds_teach(monkeypatch):
    lucid(monkeypatch, [True, True])
    dreams, taught = dream(dataclasses.replace(CONFIG, rounds=2))
    assert taught[1] > taught[0]
    assert taught[1] == sum(one.fate is Fate.REWARDED for one in dreams)
