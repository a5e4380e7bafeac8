"""Measure the embedded model on names, values and wordings that training never saw: `make bench-embedded`.

Every figure goes through the same calls that sleepmem makes of any model. Prints a table and writes it into the model card.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sleepmem.embedded import links, relations, world
from sleepmem.model.local import LocalModel
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.language import abstains, matches
from sleepmem.text.prompts import (
    ABSTENTION,
    DREAM,
    WRITE_PAIR,
    closed_book,
    memory_line,
    open_book,
    parse_pair,
)

COUNTS = (1, 2, 4, 8)
CARD = Path(world.__file__).parent / "README.md"
_MARK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end -->)", re.DOTALL)


def measure(local: LocalModel, questions: int, seed: int = 7) -> dict[str, dict[str, float]]:
    """Figure by figure, by number of memories (or 'all'): share of `questions` answered as they should be."""
    told, silent, other, newer = (
        "answer right",
        "abstains when it should",
        "abstains when the same is told of another",
        "newest value wins",
    )
    figures: dict[str, dict[str, float]] = {told: {}, silent: {}, other: {}, newer: {}}
    for count in COUNTS:
        rng = random.Random(seed * 1000 + count)
        answered: list[tuple[Any, str]] = []
        unsaid: list[Any] = []
        mistakable: list[Any] = []
        newest: list[tuple[Any, str]] = []
        while min(len(answered), len(unsaid)) < questions:
            s = world.scene(rng, count, test=True)
            if s.stale:
                continue
            lines = _lines(rng, s)
            f = rng.choice(s.told)
            answered.append((open_book(world.ask(rng, f.key, held_out=True), lines), f.answer))
            unsaid.append(
                open_book(
                    world.ask(rng, world.unanswerable(rng, s, test=True), held_out=True), lines
                )
            )
            mistakable.append(
                open_book(world.ask(rng, world.mistakable(rng, s, test=True), held_out=True), lines)
            )
        while count > 1 and len(newest) < questions:
            s = world.scene(rng, count, test=True)
            if s.stale:
                key = next(iter(s.stale))
                newest.append(
                    (
                        open_book(world.ask(rng, key, held_out=True), _lines(rng, s)),
                        s.current[key].answer,
                    )
                )
        figures[told][str(count)] = _right(local, answered)
        figures[silent][str(count)] = _share(local.answer(unsaid), abstains)
        figures[other][str(count)] = _share(local.answer(mistakable), abstains)
        if newest:
            figures[newer][str(count)] = _right(local, newest)
    figures |= _linked(local, questions, seed)
    rng = random.Random(seed)
    facts = [world.fact(rng, world.subject(rng, True), test=True) for _ in range(questions)]
    prompts = [
        open_book(
            WRITE_PAIR, [memory_line(world.dates(rng, 1)[0], world.say(rng, f, held_out=True))]
        )
        for f in facts
    ]
    for name, heat in (
        ("written pair correct, greedy", 0.0),
        ("written pair correct, temperature 1", 1.0),
    ):
        pairs = local.answer(prompts, max_new_tokens=64, temperature=heat, seed=seed)
        figures[name] = {
            "1": sum(_correct(p, f) for p, f in zip(pairs, facts, strict=True)) / questions
        }
    guesses = local.answer([closed_book(world.ask(rng, f.key, held_out=True)) for f in facts])
    figures["closed-book guess right"] = {
        "0": sum(matches(g, f.answer) for g, f in zip(guesses, facts, strict=True)) / questions
    }
    figures["closed-book abstains on strangers"] = {"0": _share(guesses, abstains)}
    taught = list(world.known()[1].values())
    made = local.answer([closed_book(world.ask(rng, f.key)) for f in taught])
    figures["closed-book knows what it was taught"] = {
        "0": sum(matches(m, f.answer) for m, f in zip(made, taught, strict=True)) / len(taught)
    }
    return figures


def _linked(local: LocalModel, questions: int, seed: int) -> dict[str, dict[str, float]]:
    """Chains of two facts and inverse questions, in wordings that training never saw."""
    figures: dict[str, dict[str, float]] = {
        "chain of two right": {},
        "inverse right": {},
        "abstains on a broken chain": {},
        "abstains on an unknown inverse": {},
    }
    for count in COUNTS[1:]:
        rng = random.Random(seed * 1000 + count)
        asked: dict[str, list[tuple[Any, str]]] = {name: [] for name in figures}
        while min(map(len, asked.values())) < questions:
            s = links.scene(rng, count, test=True)
            lines = _lines(rng, s)
            pairs, turned = links.chains(s.current), links.invertible(s.current)
            if pairs:
                first, second = rng.choice(pairs)
                asked["chain of two right"].append(
                    (
                        open_book(
                            links.chain(rng, first.key, second=second.relation, held_out=True),
                            lines,
                        ),
                        second.answer,
                    )
                )
            if turned:
                f = rng.choice(turned)
                asked["inverse right"].append(
                    (open_book(links.inverse(rng, f, held_out=True), lines), f"{f.subject}.")
                )
            key, relation = links.unknown_chain(rng, s.current, test=True)
            asked["abstains on a broken chain"].append(
                (
                    open_book(links.chain(rng, key, second=relation, held_out=True), lines),
                    ABSTENTION,
                )
            )
            unknown = links.unknown_inverse(rng, s.current, test=True)
            asked["abstains on an unknown inverse"].append(
                (open_book(links.inverse(rng, unknown, held_out=True), lines), ABSTENTION)
            )
        for name, some in asked.items():
            figures[name][str(count)] = _right(local, some[:questions])
    rng = random.Random(seed)
    prompts: list[Any] = []
    right: list[Mapping[tuple[str, str], world.Fact]] = []
    while len(prompts) < questions:
        s = links.scene(rng, 2, test=True)
        if pairs := links.chains(s.current):
            facts = list(rng.choice(pairs))
            rng.shuffle(facts)
            lines = [
                memory_line(d, world.say(rng, f, held_out=True))
                for d, f in zip(world.dates(rng, 2), facts, strict=True)
            ]
            prompts.append(open_book(DREAM, lines))
            right.append({f.key: f for f in facts})
    for name, heat in (("dream correct, greedy", 0.0), ("dream correct, temperature 1", 1.0)):
        made = local.answer(prompts, max_new_tokens=64, temperature=heat, seed=seed)
        figures[name] = {
            "2": sum(_true(text, facts) for text, facts in zip(made, right, strict=True))
            / questions
        }
    return figures


def _true(text: str, facts: Mapping[tuple[str, str], world.Fact]) -> bool:
    """A question that the world asks about these facts, in any wording and form it has, with its answer."""
    pair = parse_pair(text)
    if pair is None:
        return False
    asked = [
        (q.format(s=f.subject), f.answer)
        for f in facts.values()
        for q in relations.RELATIONS[f.relation].questions
    ]
    asked += [
        (q.format(v=f.value), f"{f.subject}.")
        for f in links.invertible(facts)
        for q in links.INVERSE[f.relation]
    ]
    for first, second in links.chains(facts):
        named = [d.format(s=first.subject) for d in links.DESCRIPTIONS[first.relation][1]]
        asked += [
            (q.format(s=n), second.answer)
            for n in named
            for q in relations.RELATIONS[second.relation].questions
        ]
    return any(pair[0] == q and matches(pair[1], a) for q, a in asked)


def _lines(rng: random.Random, s: world.Scene) -> list[str]:
    return [
        memory_line(d, world.say(rng, f, held_out=True))
        for d, f in zip(world.dates(rng, len(s.told)), s.told, strict=True)
    ]


def _right(local: LocalModel, asked: Sequence[tuple[Any, str]]) -> float:
    made = local.answer([chat for chat, _ in asked])
    return sum(matches(m, a) for m, (_, a) in zip(made, asked, strict=True)) / len(asked)


def _share(texts: Sequence[str], good: Callable[[str], bool]) -> float:
    return sum(map(good, texts)) / len(texts)


def _correct(text: str, f: world.Fact) -> bool:
    """A question that asks for this fact, in any wording the world has, with the fact's value as its answer."""
    pair = parse_pair(text)
    wordings = {q.format(s=f.subject) for q in relations.RELATIONS[f.relation].questions}
    return pair is not None and pair[0] in wordings and matches(pair[1], f.answer)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Markdown: a row per figure, a column per number of memories in the context."""
    columns = ["0", *map(str, COUNTS)]
    rows = [
        "| memories in the context | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    rows += [
        f"| {name} | " + " | ".join(f"{by[c]:.3f}" if c in by else "" for c in columns) + " |"
        for name, by in figures.items()
    ]
    return "\n".join(rows) + "\n"


def main(
    model: Annotated[Path, typer.Option(help="The model to measure.")] = EMBEDDED,
    questions: Annotated[
        int, typer.Option(help="Questions per figure and number of memories.", min=1)
    ] = 500,
    seed: int = 7,
    card: Annotated[bool, typer.Option(help="Write the table into the model card.")] = True,
) -> None:
    figures = measure(LocalModel(model), questions, seed)
    print(table(figures))
    print(json.dumps(figures))
    if card and model == EMBEDDED:
        CARD.write_text(_MARK.sub(lambda _: table(figures), CARD.read_text()))


if __name__ == "__main__":
    typer.run(main)
