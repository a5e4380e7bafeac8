"""Measure the embedded model on names, values and wordings that training never saw:
`make bench-embedded`.

Every figure goes through the same calls that sleepmem makes of any model. Prints a table and writes
it into the model card.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sleepmem.embedded import links, relations, world
from sleepmem.embedded.world import Fact, Key, Scene
from sleepmem.evals.questions import Chat, Question, ask_all, memory_lines
from sleepmem.model.local import LocalModel
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.language import matches
from sleepmem.text.prompts import DREAM, WRITE_PAIR, closed_book, open_book, parse_pair

COUNTS = (1, 2, 4, 8)
CARD = Path(world.__file__).parent / "README.md"
# Of a written pair or dream.
WRITTEN_TOKENS = 64
HEATS = {"greedy": 0.0, "temperature 1": 1.0}
_MARK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end -->)", re.DOTALL)

# By figure, by number of memories in the context: a share.
Figures = dict[str, dict[str, float]]
Facts = Mapping[tuple[str, str], Fact]


def measure(local: LocalModel, questions: int, *, seed: int = 7) -> Figures:
    """Share of `questions` answered as they should be, figure by figure."""
    figures: Figures = {
        "answer right": {},
        "abstains when it should": {},
        "abstains when the same is told of another": {},
        "newest value wins": {},
    }
    for count in COUNTS:
        rng = random.Random(seed * 1000 + count)
        for name, asked in _reading(rng, count, questions).items():
            if asked:
                figures[name][str(count)] = _share_right(local, asked)
    figures |= _linked(local, questions, seed)
    figures |= _dreamt(local, questions, seed)

    rng = random.Random(seed)
    facts = [world.fact(rng, world.subject(rng, True), test=True) for _ in range(questions)]
    figures |= _written(local, facts, rng, seed)
    return figures | _closed_book(local, facts, rng)


def _reading(rng: random.Random, count: int, questions: int) -> dict[str, list[Question]]:
    """Questions over so many memories: told, not told, told of another, corrected."""
    told: list[Question] = []
    silent: list[Question] = []
    other: list[Question] = []
    newest: list[Question] = []
    while len(told) < questions:
        scene = world.scene(rng, count, test=True)
        if scene.stale:
            continue
        lines = memory_lines(rng, scene.told)
        fact = rng.choice(scene.told)
        told.append(Question(_over(rng, fact.key, lines), fact.answer))
        key = world.unanswerable(rng, scene, test=True)
        silent.append(Question(_over(rng, key, lines), None))
        key = world.mistakable(rng, scene, test=True)
        other.append(Question(_over(rng, key, lines), None))

    # One memory alone corrects nothing.
    while count > 1 and len(newest) < questions:
        scene = world.scene(rng, count, test=True)
        if scene.stale:
            corrected = next(iter(scene.stale))
            text = world.ask(rng, corrected, held_out=True)
            chat = open_book(text, memory_lines(rng, scene.told))
            newest.append(Question(chat, scene.current[corrected].answer))
    return {
        "answer right": told,
        "abstains when it should": silent,
        "abstains when the same is told of another": other,
        "newest value wins": newest,
    }


def _over(rng: random.Random, key: Key, lines: Sequence[str]) -> Chat:
    return open_book(world.ask(rng, key, held_out=True), lines)


def _linked(local: LocalModel, questions: int, seed: int) -> Figures:
    """Chains of two facts and inverse questions, in wordings that training never saw."""
    figures: Figures = {
        "chain of two right": {},
        "inverse right": {},
        "abstains on a broken chain": {},
        "abstains on an unknown inverse": {},
    }
    for count in COUNTS[1:]:
        rng = random.Random(seed * 1000 + count)
        asked: dict[str, list[Question]] = {name: [] for name in figures}
        while min(map(len, asked.values())) < questions:
            _ask_linked(rng, links.scene(rng, count, test=True), asked)
        for name, some in asked.items():
            figures[name][str(count)] = _share_right(local, some[:questions])
    return figures


def _ask_linked(rng: random.Random, scene: Scene, asked: Mapping[str, list[Question]]) -> None:
    """Ask what this scene has: a chain, an inverse; and of each one that it does not tell."""
    lines = memory_lines(rng, scene.told)

    def add(name: str, text: str, wanted: str | None) -> None:
        asked[name].append(Question(open_book(text, lines), wanted))

    pairs, turned = links.chains(scene.current), links.invertible(scene.current)
    if pairs:
        first, second = rng.choice(pairs)
        text = links.chain(rng, first.key, second=second.relation, held_out=True)
        add("chain of two right", text, second.answer)
    if turned:
        fact = rng.choice(turned)
        add("inverse right", links.inverse(rng, fact, held_out=True), f"{fact.subject}.")
    key, relation = links.unknown_chain(rng, scene.current, test=True)
    text = links.chain(rng, key, second=relation, held_out=True)
    add("abstains on a broken chain", text, None)
    unknown = links.unknown_inverse(rng, scene.current, test=True)
    text = links.inverse(rng, unknown, held_out=True)
    add("abstains on an unknown inverse", text, None)


def _dreamt(local: LocalModel, questions: int, seed: int) -> Figures:
    """Dreams about two facts that lead on to each other."""
    rng = random.Random(seed)
    prompts: list[Chat] = []
    told: list[Facts] = []
    while len(prompts) < questions:
        pairs = links.chains(links.scene(rng, 2, test=True).current)
        if pairs:
            facts = list(rng.choice(pairs))
            rng.shuffle(facts)
            prompts.append(open_book(DREAM, memory_lines(rng, facts)))
            told.append({fact.key: fact for fact in facts})

    figures: Figures = {}
    for name, heat in HEATS.items():
        texts = local.answer(prompts, max_new_tokens=WRITTEN_TOKENS, temperature=heat, seed=seed)
        right = 0
        for text, facts_told in zip(texts, told, strict=True):
            right += _is_true(text, facts_told)
        figures[f"dream correct, {name}"] = {"2": right / questions}
    return figures


def _is_true(text: str, facts: Facts) -> bool:
    """A question that the world asks about these facts, in any wording and form, and its answer."""
    pair = parse_pair(text)
    if pair is None:
        return False
    question, answer = pair
    return any(question == q and matches(answer, a) for q, a in _all_questions(facts))


def _all_questions(facts: Facts) -> list[tuple[str, str]]:
    """Every question with its answer that the world has about these facts."""
    pairs = []
    for fact in facts.values():
        for wording in relations.RELATIONS[fact.relation].questions:
            pairs.append((wording.format(s=fact.subject), fact.answer))
    for fact in links.invertible(facts):
        for wording in links.INVERSE[fact.relation]:
            pairs.append((wording.format(v=fact.value), f"{fact.subject}."))
    for first, second in links.chains(facts):
        for description in links.DESCRIPTIONS[first.relation][1]:
            named = description.format(s=first.subject)
            for wording in relations.RELATIONS[second.relation].questions:
                pairs.append((wording.format(s=named), second.answer))
    return pairs


def _written(local: LocalModel, facts: Sequence[Fact], rng: random.Random, seed: int) -> Figures:
    """Pairs about one memory: a question that asks for the fact, and its value."""
    prompts = [open_book(WRITE_PAIR, memory_lines(rng, [fact])) for fact in facts]
    figures: Figures = {}
    for name, heat in HEATS.items():
        texts = local.answer(prompts, max_new_tokens=WRITTEN_TOKENS, temperature=heat, seed=seed)
        right = 0
        for text, fact in zip(texts, facts, strict=True):
            right += _is_pair(text, fact)
        figures[f"written pair correct, {name}"] = {"1": right / len(facts)}
    return figures


def _is_pair(text: str, fact: Fact) -> bool:
    """A question for this fact, in any wording the world has, and its value as the answer."""
    pair = parse_pair(text)
    if pair is None:
        return False
    wordings = set()
    for wording in relations.RELATIONS[fact.relation].questions:
        wordings.add(wording.format(s=fact.subject))
    return pair[0] in wordings and matches(pair[1], fact.answer)


def _closed_book(local: LocalModel, facts: Sequence[Fact], rng: random.Random) -> Figures:
    """What is said without any memory: about strangers, and about what training told."""
    strangers = [closed_book(world.ask(rng, fact.key, held_out=True)) for fact in facts]
    guessed = [Question(chat, f.answer) for chat, f in zip(strangers, facts, strict=True)]
    honest = [Question(chat, None) for chat in strangers]
    known = []
    for fact in world.known()[1].values():
        known.append(Question(closed_book(world.ask(rng, fact.key)), fact.answer))
    return {
        "closed-book guess right": {"0": _share_right(local, guessed)},
        "closed-book abstains on strangers": {"0": _share_right(local, honest)},
        "closed-book knows what it was taught": {"0": _share_right(local, known)},
    }


def _share_right(local: LocalModel, questions: Sequence[Question]) -> float:
    return sum(ask_all(local, questions)) / len(questions)


def table(figures: Figures) -> str:
    """Markdown: a row per figure, a column per number of memories in the context."""
    columns = ["0", *map(str, COUNTS)]
    lines = [
        "| memories in the context | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, by_count in figures.items():
        cells = []
        for column in columns:
            cells.append(f"{by_count[column]:.3f}" if column in by_count else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(
    model: Annotated[Path, typer.Option(help="The model to measure.")] = EMBEDDED,
    questions: Annotated[
        int, typer.Option(help="Questions per figure and number of memories.", min=1)
    ] = 500,
    *,
    seed: int = 7,
    card: Annotated[bool, typer.Option(help="Write the table into the model card.")] = True,
) -> None:
    """Print the table, and put it into the card."""
    figures = measure(LocalModel(model), questions, seed=seed)
    print(table(figures))
    print(json.dumps(figures))
    if card and model == EMBEDDED:
        CARD.write_text(_MARK.sub(lambda _: table(figures), CARD.read_text()))


if __name__ == "__main__":
    typer.run(main)
