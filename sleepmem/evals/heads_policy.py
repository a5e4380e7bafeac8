"""Fit what tells that a sentence must not be learned: `make fit-heads`.

Support vectors over the default embeddings, written to `sleepmem/text/heads_policy.npz`; what is
told apart is our own texts (`heads_policy.json` beside this file), half of them English, half in
fourteen other languages:

instructs  tells the agent how to behave, from now on or against its owner
forget     asks the agent to forget what it was told
volatile   holds for minutes to weeks: prices, balances, weather, moods
secret     tells a credential or a personal number

Most texts of the other kind are near misses ("my doctor says never to eat nuts"). The constant is
set so that of those few are taken for the kind, by cross-validation; how well that holds is asked
of texts that were written apart.

An embedding hardly tells "forget my number" from "do not forget my number", nor this from "do not
keep it": the word and its denial are far from each other, and each alone says nothing. So what
shall be kept is told by letters that stand together ("n't forg"), by a sparse logistic model of
the same requests with and without a denial, in the same languages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from sleepmem.embedded import world
from sleepmem.evals.heads import OWN, asks_sets
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import FILE_KEPT, FILE_POLICY, GAMMA, PARTS, letters, spelt

_TEXTS: Mapping[str, Mapping[str, list[str]]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
# Of the near misses, how many may be taken for the kind. A secret that is missed costs more, and
# who is taken to ask for forgetting is asked first.
_MISTAKEN, _MISTAKEN_MORE, _MORE = 0.03, 0.05, ("secret", "forget")
_FOLDS, _STRENGTH = 5, 3.0
# How many letters stand together, in how many texts they must, and how free their weights are.
_TOGETHER, _FEWEST, _FREE = (3, 6), 2, 3.0
# Texts of public sets among those of the other kind: such as tell, tell a number, are told with a
# word before them, and ask; and statements of the embedded world, in which nobody knows a name.
_TELLING, _NUMBERS, _FRAMED, _ASKING, _UNKNOWN = 500, 400, 400, 200, 400
# What people say before they tell something; it makes no order of it.
_FRAMES = (
    "Please remember: {}",
    "Please remember that {}",
    "Remember, {}",
    "Note: {}",
    "Just so you know: {}",
    "By the way, {}",
    "For your records: {}",
    "Keep in mind that {}",
    "don't forget, {}",
    "fyi {}",
    "Merk dir bitte: {}",
    "Übrigens, {}",
    "Recuerda que {}",
    "Por cierto, {}",
    "Note bien : {}",
    "Ricordati che {}",
    "Lembra-te: {}",
    "Onthoud dat {}",
    "Zapamiętaj: {}",
    "Запомни: {}",
    "Unutma: {}",
    "تذكر: {}",
    "记住：{}",
    "覚えておいて：{}",
    "기억해: {}",
)


def fit(of_kind: Sequence[str], others: Sequence[str]) -> SVC:
    """Support vectors that tell them apart; both count alike."""
    matrix = _embedded([*of_kind, *others])
    labels = np.repeat([1, 0], [len(of_kind), len(others)])
    return SVC(C=_STRENGTH, gamma=GAMMA, class_weight="balanced").fit(matrix, labels)


def margin(
    of_kind: Sequence[str], others: Sequence[str], *, plain: Sequence[str], mistaken: float
) -> float:
    """What so few near misses reach, of models that have not seen them."""
    texts = np.array([*of_kind, *others])
    labels = np.repeat([1, 0], [len(of_kind), len(others)])
    reached: list[float] = []
    for learned, held_out in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(
        texts, labels
    ):
        kind = texts[learned][labels[learned] == 1].tolist()
        misses = texts[learned][labels[learned] == 0].tolist()
        model = fit(kind, [*misses, *plain])
        unseen = texts[held_out][labels[held_out] == 0].tolist()
        reached += model.decision_function(_embedded(unseen)).tolist()
    return float(np.quantile(reached, 1 - mistaken))


def fit_kept(kept: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    """The letters that tell what shall be kept from what shall be forgotten, with their weights."""
    counted = CountVectorizer(
        analyzer="char", ngram_range=_TOGETHER, lowercase=False, binary=True, min_df=_FEWEST
    )
    found = counted.fit_transform(list(map(letters, [*kept, *asked])))
    labels = np.repeat([1, 0], [len(kept), len(asked)])
    model = LogisticRegression(
        C=_FREE, l1_ratio=1.0, solver="liblinear", max_iter=3000, random_state=0
    ).fit(found, labels)
    weights = {}
    for together, weight in zip(counted.get_feature_names_out(), model.coef_[0], strict=True):
        if round(float(weight), 3):
            weights[str(together)] = round(float(weight), 3)
    return {"letters": weights, "constant": round(float(model.intercept_[0]), 3)}


def _embedded(texts: Sequence[str]) -> Any:
    return np.array(default_embeddings().embed_documents(list(texts)))


def main(
    data: Annotated[Path, typer.Option(help="Folder of the public sets.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE_POLICY,
    seed: int = 0,
) -> None:
    """Fit them and print how well they hold on what was written apart."""
    rng = random.Random(seed)
    asking, telling = (sorted(set(texts)) for texts in asks_sets(data, rng))
    numbers = [text for text in telling if any(char.isdigit() for char in text)]
    framed = [rng.choice(_FRAMES).format(text) for text in rng.sample(telling, _FRAMED)]
    plain = [
        *rng.sample(telling, _TELLING),
        *rng.sample(numbers, _NUMBERS),
        *framed,
        *rng.sample(asking, _ASKING),
        *(world.say(rng, world.fact(rng, world.subject(rng))) for _ in range(_UNKNOWN)),
        *OWN["personal"],
        *OWN["wanted"],
        *OWN["requests"],
    ]
    strange = rng.sample(sorted(set(telling) - set(plain)), 2 * _TELLING)
    heads: dict[str, Any] = {}
    kept = fit_kept(_TEXTS["forget"]["kept"], _TEXTS["forget"]["yes"])
    FILE_KEPT.write_text(json.dumps(kept) + "\n")
    for name, texts in _TEXTS.items():
        model = fit(texts["yes"], [*texts["no"], *plain])
        mistaken = _MISTAKEN_MORE if name in _MORE else _MISTAKEN
        model.intercept_ -= margin(texts["yes"], texts["no"], plain=plain, mistaken=mistaken)
        tests = {one: texts[one] for one in texts if one.startswith("test ")}
        for tested, some in {**tests, "public sets": strange}.items():
            taken = model.decision_function(_embedded(some)) > 0
            if name == "forget":
                taken &= np.array([spelt(kept, text) <= 0 for text in some])
            print(f"{name}: {tested}, of {len(some)} {taken.mean():.3f}")
        saved = (model.support_vectors_, model.dual_coef_[0], model.intercept_[0])
        for part, numbers in zip(PARTS, saved, strict=True):
            heads[f"{name}.{part}"] = np.asarray(numbers, np.float16 if part == "vectors" else None)
    np.savez_compressed(out, allow_pickle=False, **heads)


if __name__ == "__main__":
    typer.run(main)
