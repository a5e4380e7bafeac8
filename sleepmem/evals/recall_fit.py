"""Fit how much is recalled: `make fit-recall`, with DATA=FOLDER of the public sets.

Prints the numbers of `sleepmem.day.ranking`. It learns from memories that hold nothing but what was
told and from memories where half of the questions were asked before, and the others are asked. The
order is fitted on pairs of evidence and no evidence of one question (RankNet's loss, Burges et al.
2005, with a linear score); whether a turn needs a memory at all on questions against small talk and
general requests.
"""

from __future__ import annotations

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

from sleepmem.config import GateConfig
from sleepmem.day.ranking import Features, Need
from sleepmem.day.search import Found, search
from sleepmem.day.state import DayContext
from sleepmem.evals import recall_sets
from sleepmem.evals.recall_sets import Owner
from sleepmem.records import Episode
from sleepmem.stores.folder import EMBEDDED, Folder
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import needs_no_memory

_TODAY = date(2026, 1, 1)
_FIRST = 5
# Characters of what the agent had said before: as by day.
_SHORT = 300
# Share of general turns that may get a memory.
_NEEDLESS = 0.033
# Log-odds of an unrelated text's cosine: the sets are so large that hardly any question finds few.
_UNRELATED = -4.6


class Case(NamedTuple):
    """One question: of which set, what was found, which of it is evidence."""

    what: str
    question: str
    found: Sequence[Found]
    is_evidence: Sequence[bool]
    evidence: int


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
        before = 0 if what == "general" else int(asked * len(questions))
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

    Every set counts alike, and the general turns as much as all of them.
    """
    matrix = np.array([need_of(case) for case in given])
    labels = np.array([case.what != "general" for case in given])
    sizes = Counter(case.what for case in given)
    each = [
        1 / sizes[case.what] * (len(sizes) - 1 if case.what == "general" else 1) for case in given
    ]
    model = LogisticRegression(max_iter=5000, C=10)
    weights = model.fit(matrix, labels, sample_weight=np.array(each) * len(given)).coef_[0]
    constant = -float(np.quantile(matrix[~labels] @ weights, 1 - _NEEDLESS))
    return weights, constant


def recalls(given: Sequence[Case], order: Any, *, need: Any = None, constant: float = 0.0) -> str:
    """Per set: recall@5, and the share of the turns that get any."""
    by_set: dict[str, list[tuple[float, bool]]] = {}
    for case in given:
        is_needed = need is None or float(np.dot(need_of(case), need)) + constant >= 0
        ranked = sorted(
            zip(case.found, case.is_evidence, strict=True),
            key=lambda pair: -float(np.dot(pair[0].features, order)),
        )
        right = sum(right for _, right in ranked[:_FIRST]) if is_needed else 0
        share = right / min(_FIRST, case.evidence) if case.evidence else 0.0
        by_set.setdefault(case.what, []).append((share, is_needed and bool(ranked)))
    cells = []
    for what, pairs in by_set.items():
        recall, gets = (float(np.mean(column)) for column in zip(*pairs, strict=True))
        cells.append(f"{what} {recall:.3f} ({gets:.1%})")
    return ", ".join(cells)


def collect(data: Path, *, most: int, seed: int, asked: float = 0.5) -> list[Case]:
    """The cases of every set but our own sentences, which only measure."""
    loaders: dict[str, Callable[..., list[Owner]]] = {
        "dialogues": partial(recall_sets.dialogues, data),
        "MemoryBank": partial(recall_sets.memorybank, data),
        "FairytaleQA": partial(recall_sets.fairytales, data),
        "SQuAD": partial(recall_sets.squad, data),
        "languages": recall_sets.languages,
        "general": partial(recall_sets.no_memory_needed, data),
    }
    found: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="sleepmem-fit-") as name:
        folder = Folder(Path(name) / "memory", default_embeddings())
        day = DayContext(folder, default_embeddings(), GateConfig(), str(EMBEDDED))
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
    order = fit_order(given)
    need, constant = fit_need(learned)
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
