"""The dreaming of a night: dreams about what was learned tonight, with a copy of its expert, kept only when the exam says that it answers more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sleepmem.night import exam as night_exam
from sleepmem.night import lessons, promotion, seeding
from sleepmem.night.dreaming import rounds as dreaming
from sleepmem.night.state import Night, State, expert_name
from sleepmem.records import Episode, Kind, Namespace, Probe, Role, Verdict
from sleepmem.text.language import names, subject, words
from sleepmem.text.prompts import memory_line


def dream(night: Night, state: State) -> State:
    """Dream about what was learned tonight, with a copy of its expert. The copy takes its place only when the exam says that it answers more."""
    config, namespace, salt = (
        night.config.dream,
        tuple(state["namespace"]),
        night.config.seeding.seed,
    )
    budget = round(config.share * night.steps(state))  # steps
    rounds = min(config.rounds, budget)
    if not rounds or state["level"] != night.config.levels[0].name:
        return {}
    view, dreamer = night.load(state, tonight=True), expert_name(state)
    night.local.load_expert(dreamer, night.pending(state["expert"]))
    probes = [
        p
        for p in night.ledger.probes(state["night_id"])
        if not p.id.startswith(_dreamt_id(state["night_id"]))
    ]
    night.ledger.add_probes(namespace, probes)  # without what a killed run of this step has left
    proven = set(night_exam.proven_episodes(probes, set(state["passed"])))
    learned = night.ledger.learned_probes(namespace)
    related, waking = lessons.related(night.ledger, namespace), night.rows(state)
    strangers = _strangers(night, namespace, probes)
    tokens = 0

    def fits(e: Episode) -> bool:  # two of them leave room for what else is told
        return night.local.count_tokens(e.text) <= night.local.context_length // 8

    def told(question: str, context: dreaming.Context) -> list[str]:
        named = names(question)
        found, room = {e.id: e for e in context}, night.local.context_length // 4
        for e in related(question):
            room -= night.local.count_tokens(e.text)
            if room > 0 and (not named or named & set(words(e.text))):
                found[e.id] = e
        return [
            memory_line(e.date, e.text)
            for e in sorted(found.values(), key=lambda e: (e.created_at, e.id))
        ]

    def learn(rewarded: list[dreaming.Dream]) -> None:
        nonlocal tokens
        tokens += seeding.seed(
            night.local,
            dreamer,
            tuple(state["before"]),
            lessons.of_dreams(night.local, rewarded, waking, strangers, salt),
            replace(
                night.config.seeding,
                steps=budget // rounds,
                lr=config.lesson_lr,
                never_said=config.others,
                rehearsal=config.others,
                reading=config.others,
            ),
            night.semantic,
            lambda step, of, loss: night.tell(step="dream", done=step, of=of, loss=round(loss, 4)),
            absorbed=state["absorbed"],
        ).tokens_trained

    dreams = dreaming.dream(
        night.local,
        dreamer,
        view[:-1],
        [e for e in night.episodes(state) if e.id in proven and fits(e)],
        [e for e in night.ledger.learned(namespace) if e.id not in state["superseded"] and fits(e)],
        [p for p in (*probes, *learned) if p.kind is Kind.FACT and p.role is Role.TRAIN],
        {p.question for p in (*probes, *learned)},
        told,
        strangers,
        learn,
        replace(config, rounds=rounds),
        salt,
    )
    night.ledger.add_dreams(namespace, state["night_id"], [_dream_row(d) for d in dreams])
    kept = _keep_dreams(
        night, state, view, dreamer, _dream_probes(state["night_id"], dreams, proven)
    )
    fates = [
        Counter(d.fate.name.lower() for d in dreams if d.round == n + 1)
        for n in range(dreams[-1].round if dreams else 0)
    ]
    return {
        **kept,
        "dreams": {"rounds": [dict(f) for f in fates], **kept["dreams"]},
        "tokens_trained": state["tokens_trained"] + tokens,
    }


def _keep_dreams(
    night: Night, state: State, view: tuple[str, ...], dreamer: str, dreamt: Sequence[Probe]
) -> State:
    """The dreamer takes the expert's place when it answers more of the held-out dreams, and no bound of the exam is broken by it."""
    before = night_exam.examine(night, state, view, dreamt)[0]
    after, passed, by_night = night_exam.examine(night, state, (*view[:-1], dreamer), dreamt)
    night.ledger.write_exam(
        state["night_id"], "dreamt", {m: (s.right, s.total) for m, s in after.items()}
    )
    least = max(night.config.exam.recall, before["recall"].rate - night.config.exam.old_nights)
    verdict, reason = promotion.decide(
        night_exam.bounds(state), after, replace(night.config.exam, recall=least)
    )
    told = {"before": before["dreams"].as_dict(), "after": after["dreams"].as_dict(), "kept": True}
    if after["dreams"].right <= before["dreams"].right or verdict is not Verdict.PROMOTED:
        night.local.drop_expert(dreamer)
        if verdict is Verdict.PROMOTED:
            reason = (
                "it does not answer more of the held-out dreams"
                if before["dreams"].total
                else "nothing was dreamt in two wordings, so no dream could examine it"
            )
        return {"dreams": {**told, "kept": False, "reason": reason}}
    night.ledger.add_probes(
        tuple(state["namespace"]), [*night.ledger.probes(state["night_id"]), *dreamt]
    )
    night.local.save_expert(dreamer, night.pending(dreamer))
    return {
        "dreams": told,
        "expert": dreamer,
        "exam_after": night_exam.as_lists(after),
        "passed": sorted(passed),
        "by_night": by_night,
    }


def _strangers(night: Night, namespace: Namespace, probes: Sequence[Probe]) -> list[str]:
    """Whom tonight's readings made up: nothing in the ledger names them."""
    named = {w for e in night.ledger.episodes(namespace) for w in words(e.text)}
    subjects = {subject(p.question) for p in probes if p.kind is Kind.READING}
    return sorted(s for s in subjects if s and not set(words(s)) & named)


def _dream_row(d: dreaming.Dream) -> dict[str, Any]:
    """As the ledger keeps it."""
    kept = ("round", "expert", "text", "question", "answer", "importance", "gain")
    return {
        **{k: getattr(d, k) for k in kept},
        "fate": d.fate.value,
        "episodes": json.dumps([e.id for e in d.context]),
    }


def _dreamt_id(night_id: str) -> str:
    """How the ids of a night's own dreams begin."""
    return f"{night_id}-dream-"


def _dream_probes(
    night_id: str, dreams: Sequence[dreaming.Dream], tonight: set[str]
) -> list[Probe]:
    """Rewarded dreams are rehearsed by later nights; held-out ones examine."""
    roles = {dreaming.Fate.REWARDED: Role.TRAIN, dreaming.Fate.HELD_OUT: Role.EXAM}
    return [
        Probe(
            f"{_dreamt_id(night_id)}{n:05d}",
            next(e.id for e in reversed(d.context) if e.id in tonight),
            night_id,
            Kind.DREAM,
            roles[d.fate],
            d.question,
            d.answer,
            context=tuple(d.lines),
            sources=tuple(e.id for e in d.context),
        )
        for n, d in enumerate(dreams)
        if d.fate in roles
    ]
