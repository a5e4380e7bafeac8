"""Fit how much is recalled: `make fit-recall`, with DATA=FOLDER of the public sets.

Prints the numbers of `sleepmem.day.ranking`. It learns from memories that hold nothing but what was
told and from memories where half of the questions were asked before, and the others are asked. The
order is fitted on pairs of evidence and no evidence of one question (RankNet's loss, Burges et al.
2005, with a linear score); whether a turn needs a memory at all on questions against small talk and
general requests, of these sets and of our own in fifteen languages (`recall_fit_languages.json`),
which the bench does not ask.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from sleepmem.config import MemoryConfig
from sleepmem.day.ranking import Features, Need
from sleepmem.day.search import Found, search
from sleepmem.day.state import DayContext
from sleepmem.evals import recall_sets
from sleepmem.evals.recall_sets import Memory, Owner, Question
from sleepmem.records import Episode
from sleepmem.stores.folder import EMBEDDED, Folder
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import needs_no_memory

_TODAY = date(2026, 1, 1)
_FIRST = 5
# Characters of what the agent had said before: as by day.
_SHORT = 300
# Share of general turns that may get a memory.
_NEEDLESS = 0.04
# How much our own turns count, of all public ones: those that need a memory, and the others. Those
# that need one are the only ones in other languages.
_OWN_NEEDS, _OWN_GENERAL = 3.0, 0.5
# Our own are asked in the language in which they were told, and in as many others.
_OTHER_LANGUAGES = 3
# Log-odds of an unrelated text's cosine: the sets are so large that hardly any question finds few.
_UNRELATED = -4.6


class Case(NamedTuple):
    """One question: of which set, what was found, which of it is evidence, and of how many."""

    what: str
    question: str
    found: Sequence[Found]
    is_evidence: Sequence[bool]
    evidence: int

    @property
    def group(self) -> tuple[str, bool]:
        """Its set, and whether it needs a memory."""
        return self.what, bool(self.evidence)


def cases(
    day: DayContext, what: str, *, owners: Sequence[Owner], seed: int, asked: float
) -> list[Case]:
    """Every owner tells, asks a share of the questions, and is listened to with the others."""
    rng, found = random.Random(seed), []
    episodes, embeddings = day.folder.ledger.episodes, day.embeddings
    for number, owner in enumerate(track(owners, what, transient=True)):
        namespace, places = (what, str(number)), {}
        for place, memory in enumerate(owner.memories):
            episode = Episode(
                namespace,
                memory.text,
                created_at=memory.told_at,
                message_id=str(place),
                thread=memory.thread,
                answers=memory.answers[-_SHORT:] or None,
            )
            episodes.add(episode)
            places[episode.id] = place
        questions = rng.sample(owner.questions, len(owner.questions))
        before = int(asked * len(questions)) if all(one.evidence for one in questions) else 0
        for place, question in enumerate(questions[:before]):
            episodes.add(Episode(namespace, question.text, message_id=f"asked-{place}"))
        day.folder.catch_up(namespace)
        for question in questions[before:]:
            vector = embeddings.embed_query(question.text)
            near = search(day, namespace, question=question.text, vector=vector, today=_TODAY)
            right = [places.get(one.episode.id, -1) in question.evidence for one in near]
            found.append(Case(what, question.text, near, right, len(question.evidence)))
    return found


def fit_order(given: Sequence[Case]) -> Any:
    """Weights of `Features`: what tells evidence from what else was found for a question."""
    rows, weights = [], []
    sizes: dict[str, int] = {}
    for case in given:
        sizes[case.what] = sizes.get(case.what, 0) + 1
    for case in given:
        pairs = list(zip(case.found, case.is_evidence, strict=True))
        yes = [np.array(found.features) for found, right in pairs if right]
        no = [np.array(found.features) for found, right in pairs if not right]
        for one in yes:
            rows += [one - other for other in no]
            weights += [1 / (sizes[case.what] * len(yes) * len(no))] * len(no)
    matrix, each = np.array(rows), np.array(weights) / np.mean(weights)
    model = LogisticRegression(max_iter=5000, fit_intercept=False)
    labels = np.repeat([1, 0], len(matrix))
    model.fit(np.vstack([matrix, -matrix]), labels, sample_weight=np.tile(each, 2))
    return model.coef_[0]


def need_of(case: Case) -> Need:
    """What tells whether the question needs any memory."""
    return Need.of(
        [found.features for found in case.found],
        general=needs_no_memory(case.question),
        unrelated=_UNRELATED,
    )


def fit_need(given: Sequence[Case]) -> tuple[Any, float]:
    """Weights of `Need` and the constant with which few general turns get any memory.

    Every public set counts alike; what needs none as much as what needs one.
    """
    matrix = np.array([need_of(case) for case in given])
    labels = np.array([bool(case.evidence) for case in given])
    sizes = Counter(case.group for case in given)
    public = Counter(is_needed for what, is_needed in sizes if what != "own")
    shares = []
    for case in given:
        is_needed = bool(case.evidence)
        share = 1.0 / (public[is_needed] or 1)
        if case.what == "own":
            share = _OWN_NEEDS if is_needed else _OWN_GENERAL
        shares.append(share / sizes[case.group])
    each = np.array(shares)
    for side in (labels, ~labels):
        each[side] /= each[side].sum()
    model = LogisticRegression(max_iter=5000, C=10)
    weights = model.fit(matrix, labels, sample_weight=each * len(given)).coef_[0]
    is_general = np.array([case.what == "general" for case in given])
    constant = -float(np.quantile(matrix[is_general] @ weights, 1 - _NEEDLESS))
    return weights, constant


def recalls(given: Sequence[Case], order: Any, *, need: Any = None, constant: float = 0.0) -> str:
    """Per set: recall@5, and the share of the turns that get any."""
    by_set: dict[tuple[str, bool], list[tuple[float, bool]]] = {}
    for case in given:
        is_needed = need is None or float(np.dot(need_of(case), need)) + constant >= 0
        ranked = sorted(
            zip(case.found, case.is_evidence, strict=True),
            key=lambda pair: -float(np.dot(pair[0].features, order)),
        )
        right = sum(right for _, right in ranked[:_FIRST]) if is_needed else 0
        share = right / min(_FIRST, case.evidence) if case.evidence else 0.0
        by_set.setdefault(case.group, []).append((share, is_needed and bool(ranked)))
    cells = []
    for (what, _), pairs in by_set.items():
        recall, gets = (float(np.mean(column)) for column in zip(*pairs, strict=True))
        cells.append(f"{what} {recall:.3f} ({gets:.1%})")
    return ", ".join(cells)


def own(*, most: int, seed: int) -> list[Owner]:
    """One owner per language: asked for facts and for what needs none, in it and in others."""
    del most, seed  # they are few, and none is of the bench
    file = Path(__file__).with_name("recall_fit_languages.json")
    told = json.loads(file.read_text(encoding="utf-8"))
    owners = []
    for number, (language, texts) in enumerate(told.items()):
        facts = [fact for fact, _ in texts["facts"]]
        memories = [
            Memory(text, "", recall_sets.minute(place))
            for place, text in enumerate([*facts, *texts["told"]])
        ]
        questions = []
        asking = [*told.values()] * 2
        for other in asking[number : number + 1 + _OTHER_LANGUAGES]:
            # The first facts are the same ones in every language.
            for place, (_, asked) in enumerate(other["facts"][: len(facts)]):
                questions.append(Question(asked, frozenset([place])))
            questions += [Question(text) for text in other["general"]]
        owners.append(Owner(language, tuple(memories), tuple(questions)))
    return owners


def collect(data: Path, *, most: int, seed: int, asked: float = 0.5) -> list[Case]:
    """The cases of every set; those of "languages" only measure."""
    loaders: dict[str, Callable[..., list[Owner]]] = {
        "dialogues": partial(recall_sets.dialogues, data),
        "MemoryBank": partial(recall_sets.memorybank, data),
        "FairytaleQA": partial(recall_sets.fairytales, data),
        "SQuAD": partial(recall_sets.squad, data),
        "languages": recall_sets.languages,
        "own": own,
        "general": partial(recall_sets.no_memory_needed, data),
    }
    found: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="sleepmem-fit-") as name:
        folder = Folder(Path(name) / "memory", default_embeddings())
        day = DayContext(folder, default_embeddings(), MemoryConfig(), str(EMBEDDED))
        for what, loader in loaders.items():
            owners = loader(most=most, seed=seed)
            found += cases(day, what, owners=owners, seed=seed, asked=asked)
        folder.close()
    return found


def main(
    data: Annotated[Path, typer.Option(help="Folder of the public sets.")],
    *,
    questions: Annotated[int, typer.Option(help="Most questions of a set.", min=2)] = 400,
    seed: int = 1,
) -> None:
    """Fit with two seeds, measure with the next; the bench's own seed is none of them."""
    learned = collect(data, most=questions, seed=seed)
    learned += collect(data, most=questions, seed=seed + 1, asked=0.0)
    given = [case for case in learned if case.what != "languages"]
    order = fit_order([case for case in given if case.what != "own"])
    need, constant = fit_need(given)
    print("WEIGHTS =", Features(*(round(float(weight), 2) for weight in order)))
    print("NEED =", Need(*(round(float(weight), 2) for weight in need)))
    print(f"NEED_CONSTANT = {constant:.2f}")
    print("learned, by order:", recalls(learned, order))
    print(
        "learned, where needed:", recalls(learned, order, need=need, constant=constant), flush=True
    )
    measured = collect(data, most=questions, seed=seed + 2)
    print("by order alone:", recalls(measured, order))
    print("where needed:", recalls(measured, order, need=need, constant=constant))


if __name__ == "__main__":
    typer.run(main)
