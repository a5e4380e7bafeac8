"""Dreams: what may be dreamt about, what the guard refuses, what the gradient and the trials tell, and when dreaming ends."""

import dataclasses
import random

import pytest
import torch
from _weights import shake

from sleepmem.config import DreamConfig
from sleepmem.model.local import LocalModel
from sleepmem.night.dreaming import rounds as dreaming
from sleepmem.night.dreaming.rounds import Dream, Fate
from sleepmem.records import Episode, Kind, Probe, Role
from sleepmem.text.prompts import ABSTENTION, closed_book

ALICE = ("alice",)
LESSONS = [
    ("Where does Mara live?", "Brenport."),
    ("Who owns the red boat?", "Jon Aldous."),
    ("Who leads Karo?", "Mara."),
]
CONFIG = DreamConfig(steps=3, lr=1e-2, copies=4, dreams_tried=2, random=1)


def episode(text, day=1, owner=ALICE):
    return Episode(owner, text, created_at=f"2030-01-{day:02d}T00:00:00+00:00")


LEADS, LIVES, BOAT = (
    episode("The leader of Karo is Mara.", 1),
    episode("Back home Mara lives in Brenport.", 2),
    episode("The boat of Jon is red.", 3),
)


def asks(about, question, answer):
    return Probe(question, about.id, "night-0001", Kind.FACT, Role.TRAIN, question, answer)


def dreamt(question="", answer="", context=(LEADS,), **more):
    return Dream(context, "", f"Question: {question} Answer: {answer}", question, answer, **more)


@pytest.fixture(scope="module")
def local(tiny):
    model = LocalModel(tiny, device="cpu")
    for n, name in enumerate(("evening", "tonight")):
        model.add_expert(name, 4, n)
        shake(model, name, n, std=0.1)
    return model


def expert(local, name="tonight"):
    return {n: p for n, p in local.peft.named_parameters() if f".{name}." in n}


def loss(local, pairs, copies=None):
    prompts, answers = (
        [local.prompt_ids(closed_book(q)) for q, _ in pairs],
        [local.answer_ids(a) for _, a in pairs],
    )
    log = local.logits(prompts, answers, copies).log_softmax(-1)
    return -log.gather(-1, torch.tensor([t for a in answers for t in a])[:, None]).sum()


# Isolated copies


def test_copies_learn_side_by_side_what_each_would_learn_alone(local):
    with local.copies("tonight", len(LESSONS), ["evening"]) as copies:
        optimizer = torch.optim.Adam(copies.parameters, lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            loss(local, LESSONS, range(len(LESSONS))).backward()
            optimizer.step()
        stacked = [p.detach().clone() for p in copies.parameters]
        with torch.no_grad():
            together = [
                loss(local, LESSONS, [n] * len(LESSONS)).item() for n in range(len(LESSONS))
            ]
    before = {n: p.detach().clone() for n, p in expert(local).items()}
    for n, pair in enumerate(LESSONS):
        with local.view(("evening", "tonight"), training="tonight"):
            mine = list(expert(local).values())
            optimizer = torch.optim.Adam(mine, lr=1e-2)
            for _ in range(3):
                optimizer.zero_grad()
                loss(local, [pair]).backward()
                optimizer.step()
            with torch.no_grad():
                assert loss(local, LESSONS).item() == pytest.approx(together[n], rel=1e-3)
        ordered = [
            p
            for key in _layers(local)
            for p in (
                expert(local)[f"{key}.lora_A.tonight.weight"],
                expert(local)[f"{key}.lora_B.tonight.weight"],
            )
        ]
        for one, many in zip(ordered, stacked, strict=True):
            assert torch.allclose(one, many[n], atol=1e-4)
        with torch.no_grad():
            for name, p in expert(local).items():
                p.copy_(before[name])


def _layers(local):
    return [n.removesuffix(".lora_A.tonight.weight") for n in expert(local) if "lora_A" in n]


def test_copies_leave_the_expert_and_the_view_as_they_were(local):
    before = {n: p.detach().clone() for n, p in expert(local).items()}
    with local.view(("evening", "tonight")), torch.no_grad():
        said = loss(local, LESSONS).item()
    with local.copies("tonight", 2, ["evening"]) as copies, torch.no_grad():
        assert loss(local, LESSONS, [0, 1, 0]).item() == pytest.approx(
            said, rel=1e-4
        )  # a copy begins as the expert
        for p in copies.parameters:
            p.add_(1.0)
        assert loss(local, LESSONS, [0, 1, 0]).item() != pytest.approx(said, rel=1e-3)
    with local.view(("evening", "tonight")), torch.no_grad():
        assert loss(local, LESSONS).item() == pytest.approx(said, rel=1e-6)
    assert all(torch.equal(p, before[n]) for n, p in expert(local).items())


def test_importance_is_the_norm_of_the_gradient_on_the_expert(local):
    found = dreaming.importance(
        local, "tonight", ["evening"], [dreamt(*pair) for pair in LESSONS], at_once=2
    )
    for d, pair in zip(found, LESSONS, strict=True):
        with local.view(("evening", "tonight"), training="tonight"):
            gradients = torch.autograd.grad(loss(local, [pair]), list(expert(local).values()))
        assert d.importance == pytest.approx(
            sum(g.square().sum() for g in gradients).sqrt().item(), rel=1e-3
        )


# What is dreamt about


def test_contexts_link_what_shares_a_name_and_hold_something_of_tonight():
    earlier = [LIVES, BOAT, episode("In winter Tessa skates.", 4)]
    facts = [
        asks(LEADS, "Who leads Karo?", "Mara."),
        asks(LIVES, "Where does Mara live?", "Brenport."),
    ]
    lead = dreaming.leads(facts)
    assert lead == {frozenset((LEADS.id, LIVES.id))}
    found = dreaming.contexts([LEADS], earlier, lead, 10, seed=0)
    assert (LEADS, LIVES) in found  # both name Mara; told oldest first
    assert (LEADS,) in found
    assert all(LEADS in c and len(c) <= 2 for c in found)
    assert any(len(c) == 2 and LIVES not in c for c in found)  # two unrelated ones
    assert len(dreaming.contexts([LEADS, LIVES, BOAT], [], [], 2, seed=0)) == 2
    first, *others = dreaming.contexts(
        [LEADS, BOAT], earlier, lead, 10, seed=0
    )  # whom the one answers the other is about
    assert first == (LEADS, LIVES)
    assert others


def test_one_random_expert_leaks_into_the_dreams_about_a_context():
    views = []

    class Recorder:
        def answer(self, chats, experts=(), *more, **named):
            views.append((experts, len(chats)))
            return ["Question: Who? Answer: Mara."] * len(chats)

    about = [(LEADS,), (LIVES,), (BOAT,)] * 10
    made = dreaming.sample(
        Recorder(), about, ("tonight",), ["one", "two"], DreamConfig(samples=2), seed=0
    )
    assert {d.expert for d in made} == {"one", "two"}
    assert dict(views).keys() == {("tonight", "one"), ("tonight", "two")}
    assert len(made) == 2 * len(about)
    alone = dreaming.sample(
        Recorder(),
        about,
        ("tonight",),
        ["one"],
        DreamConfig(samples=2, random_expert=False),
        seed=0,
    )
    assert {d.expert for d in alone} == {""}
    assert views[-1] == (("tonight",), 2 * len(about))


# The guard


class Scripted:
    """Answers what the table says, whatever the memories."""

    def __init__(self, **answers):
        self.answers = answers

    def answer(self, chats, *more, **named):
        return [self.answers.get(c[-1]["content"], ABSTENTION) for c in chats]


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("Something else.", Fate.UNREADABLE),
        ("Question: Who leads Karo? Answer: I do not know.", Fate.UNREADABLE),
        ("Question: Who leads Zorin? Answer: Mara.", Fate.FOREIGN),
        ("Question: Who leads Karo? Answer: Pia.", Fate.FOREIGN),
        ("Question: What does Mara lead? Answer: Karo.", Fate.REPEATED),
        ("Question: what does  Mara lead ? Answer: Karo.", Fate.REPEATED),
        ("Question: Who who who leads leads Karo? Answer: Mara.", Fate.UNREADABLE),
        ("Question: Who is led by Karo? Answer: Mara.", Fate.CONTRADICTS),
    ],
)
def test_the_guard_refuses_with_a_reason(text, fate):
    told = Scripted(**{"Who leads Karo?": "Mara."})
    sound, refused = dreaming.guard(
        told, [Dream((LEADS,), "", text)], {"What does Mara lead?"}, lambda q, c: []
    )
    assert (sound, [d.fate for d in refused]) == ([], [fate])


def test_the_guard_lets_through_what_the_memories_answer_alike_once():
    told = Scripted(**{"Who leads Karo?": "Mara."})
    good = Dream((LEADS,), "", "Question: Who leads Karo? Answer: Mara.")
    sound, refused = dreaming.guard(told, [good, good], (), lambda q, c: [])
    assert [(d.question, d.answer) for d in sound] == [("Who leads Karo?", "Mara.")]
    assert [d.fate for d in refused] == [Fate.REPEATED]


def test_the_guard_refuses_what_the_ledger_contradicts_and_what_mixes_owners():
    class Newer(Scripted):
        def answer(self, chats, *more, **named):
            return ["Pia." if "Pia" in c[0]["content"] else "Mara." for c in chats]

    d = Dream((LEADS,), "", "Question: Who leads Karo? Answer: Mara.")
    _, refused = dreaming.guard(
        Newer(), [d], (), lambda q, c: ["2030-02-01: Karo has a new leader, Pia."]
    )
    assert [x.fate for x in refused] == [Fate.CONTRADICTS]
    mixed = dataclasses.replace(d, context=(LEADS, episode("Karo is led by Mara.", owner=("bob",))))
    _, refused = dreaming.guard(Newer(), [mixed], (), lambda q, c: [])
    assert [x.fate for x in refused] == [Fate.MIXED]


def test_the_guard_refuses_what_is_answered_alike_about_somebody_else():
    good = Dream((LEADS,), "", "Question: Who leads Karo? Answer: Mara.")
    deaf, honest = (
        Scripted(**{"Who leads Karo?": "Mara.", "Who leads Vosk?": "Mara."}),
        Scripted(**{"Who leads Karo?": "Mara."}),
    )
    assert [d.fate for d in dreaming.guard(deaf, [good], (), lambda q, c: [], (), ["Vosk"])[1]] == [
        Fate.LOOSE
    ]
    assert len(dreaming.guard(honest, [good], (), lambda q, c: [], (), ["Vosk"])[0]) == 1


def test_a_question_that_needs_both_memories_is_believed_only_where_one_leads_to_the_other():
    class Reader(Scripted):
        def answer(self, chats, *more, **named):
            return [
                "Brenport."
                if "leader of Karo is" in c[0]["content"] and "Brenport" in c[0]["content"]
                else ABSTENTION
                for c in chats
            ]

    chained = Dream(
        (LEADS, LIVES), "", "Question: Where does the leader of Karo live? Answer: Brenport."
    )
    sound, _ = dreaming.guard(
        Reader(), [chained], (), lambda q, c: [], {frozenset((LEADS.id, LIVES.id))}, ["Vosk"]
    )
    assert len(sound) == 1
    assert [
        d.fate for d in dreaming.guard(Reader(), [chained], (), lambda q, c: [], (), ["Vosk"])[1]
    ] == [Fate.APART]


# Choice and trial


def test_the_largest_gradients_and_some_at_random_are_tried():
    dreams = [dreamt(f"Q{n}?", "A.", importance=float(n)) for n in range(10)]
    chosen, rest = dreaming.select(dreams, CONFIG, seed=0)
    assert [d.importance for d in chosen[:2]] == [9.0, 8.0]
    assert len(chosen) == 3
    assert sorted(d.importance for d in (*chosen, *rest)) == [float(n) for n in range(10)]
    by_chance, _ = dreaming.select(dreams, dataclasses.replace(CONFIG, by_gradient=False), seed=0)
    assert len(by_chance) == 3
    assert {d.importance for d in by_chance} != {d.importance for d in chosen}


def test_a_dream_is_rewarded_when_unseen_questions_get_likelier_answers(local):
    helpful, harmful = (
        dreamt("Who is it that lives in Brenport?", "Mara."),
        dreamt("Who lives in Brenport now?", "Zorin Blap."),
    )
    exam = [("Who lives in Brenport?", "Mara."), ("Who is at home in Brenport?", "Mara.")]
    before = [p.detach().clone() for p in expert(local).values()]
    good, bad = dreaming.trial(
        local,
        "tonight",
        ["evening"],
        [helpful, harmful],
        [exam] * 2,
        dataclasses.replace(CONFIG, steps=60, lr=3e-2),
    )
    assert good.fate is Fate.REWARDED
    assert good.gain > 1e-5 > bad.gain
    strict = dataclasses.replace(CONFIG, steps=60, lr=3e-2, margin=1e-5)
    assert [
        d.fate
        for d in dreaming.trial(
            local, "tonight", ["evening"], [helpful, harmful], [exam] * 2, strict
        )
    ] == [Fate.REWARDED, Fate.USELESS]
    assert all(torch.equal(a, b) for a, b in zip(before, expert(local).values(), strict=True))
    (blind,) = dreaming.trial(local, "tonight", ["evening"], [helpful], [[]], CONFIG)
    assert (blind.gain, blind.fate) == (0.0, Fate.USELESS)  # nothing says that it helped


def test_a_trial_is_scored_on_other_questions_about_the_same_and_of_tonight():
    own, near, far = (
        dreamt("Who leads Karo?", "Mara."),
        dreamt("Whom does Karo follow?", "Mara."),
        dreamt("Who sails?", "Jon.", (BOAT,)),
    )
    asked = [
        ("Who leads Karo?", "Mara."),
        ("Where does Mara live?", "Brenport."),
        ("Who owns the red boat?", "Jon."),
    ]
    exam = dreaming._exam(own, [own, near, far], asked, 3, random.Random(0))
    assert exam[0] == ("Whom does Karo follow?", "Mara.")
    assert set(exam[1:]) == set(asked[1:])


def test_what_was_dreamt_in_several_wordings_keeps_one_for_the_exam():
    twice = [dreamt("Who leads Karo?", "Mara."), dreamt("Karo has which leader?", "Mara.")]
    held, rest = dreaming.hold_out(
        [*twice, dreamt("What does Mara lead?", "Karo.")], random.Random(0)
    )
    assert [d.fate for d in held] == [Fate.HELD_OUT]
    assert held[0].answer == "Mara."
    assert len(rest) == 2
    again = [
        dreamt("Where does Mara live?", "Brenport."),
        dreamt("Where is Mara at home?", "Brenport."),
    ]
    held, rest = dreaming.hold_out([*twice, *again], random.Random(0))
    assert (len(held), len(rest)) == (1, 3)


# Rounds


def lucid(monkeypatch, gains):
    """Dreams that need no model; round n's are rewarded when gains[n]."""
    rounds = iter(gains)
    monkeypatch.setattr(
        dreaming, "sample", lambda local, about, dreamer, *more: [Dream(c, "", "") for c in about]
    )
    monkeypatch.setattr(
        dreaming,
        "guard",
        lambda local, dreams, known, told, lead, strangers: (
            [dataclasses.replace(d, question=f"{len(known)} {n}?") for n, d in enumerate(dreams)],
            [],
        ),
    )
    monkeypatch.setattr(
        dreaming, "importance", lambda local, expert, beside, dreams, at_once: dreams
    )

    def trial(local, expert, beside, dreams, exams, config):
        fate = Fate.REWARDED if next(rounds) else Fate.USELESS
        return [dataclasses.replace(d, fate=fate) for d in dreams]

    monkeypatch.setattr(dreaming, "trial", trial)


def rounds(config):
    taught = []
    made = dreaming.dream(
        None,
        "tonight",
        (),
        [LEADS, LIVES],
        [],
        [],
        (),
        lambda q, c: [],
        [],
        lambda d: taught.append(len(d)),
        config,
        0,
    )
    return made, taught


def test_dreaming_ends_by_itself_when_nothing_is_gained(monkeypatch):
    lucid(monkeypatch, [True, False])
    made, taught = rounds(dataclasses.replace(CONFIG, rounds=5))
    assert {d.round for d in made} == {1, 2}
    assert len(taught) == 1


def test_the_rewarded_dreams_of_all_rounds_teach(monkeypatch):
    lucid(monkeypatch, [True, True])
    made, taught = rounds(dataclasses.replace(CONFIG, rounds=2))
    assert taught[1] > taught[0]
    assert taught[1] == sum(d.fate is Fate.REWARDED for d in made)
