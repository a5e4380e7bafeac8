"""Fit what tells that a sentence must not be learned: `make fit-heads`.

Logistic models as in `heads`, written to `sleepmem/text/heads_policy.json`; what is told apart is
our own texts (`heads_policy.json` beside this file), half of them English, half in fourteen other
languages:

instructs  tells the agent how to behave, from now on or against its owner
forget     asks the agent to forget what it was told
volatile   holds for minutes to weeks: prices, balances, weather, moods
secret     tells a credential or a personal number

Most texts of the other kind are near misses ("my doctor says never to eat nuts"). The constant is
set so that of those few are taken for the kind, by cross-validation; how well that holds is asked
of texts that were written apart.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.model_selection import StratifiedKFold

from sleepmem.evals.heads import OWN, asks_sets, fit, share
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import FILE_POLICY

_TEXTS: Mapping[str, Mapping[str, list[str]]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
# Of the near misses, how many may be taken for the kind; a secret that is missed costs more.
_MISTAKEN, _MISTAKEN_SECRETS = 0.03, 0.05
_FOLDS, _STRENGTH = 5, 3.0
# Texts of public sets among those of the other kind: such as tell, tell a number, are told with a
# word before them, and ask.
_TELLING, _NUMBERS, _FRAMED, _ASKING = 500, 400, 400, 200
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


def margin(
    of_kind: Sequence[str], others: Sequence[str], *, plain: Sequence[str], mistaken: float
) -> float:
    """The log-odds that so few near misses reach, of models that have not seen them."""
    texts = np.array([*of_kind, *others])
    labels = np.repeat([1, 0], [len(of_kind), len(others)])
    reached: list[float] = []
    for learned, held_out in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(
        texts, labels
    ):
        kind = texts[learned][labels[learned] == 1].tolist()
        misses = texts[learned][labels[learned] == 0].tolist()
        model = fit(kind, [*misses, *plain], strength=_STRENGTH)
        unseen = texts[held_out][labels[held_out] == 0].tolist()
        reached += model.decision_function(
            np.array(default_embeddings().embed_documents(unseen))
        ).tolist()
    return float(np.quantile(reached, 1 - mistaken))


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
        *OWN["personal"],
        *OWN["wanted"],
        *OWN["requests"],
    ]
    strange = rng.sample(sorted(set(telling) - set(plain)), 2 * _TELLING)
    heads = {}
    for name, texts in _TEXTS.items():
        model = fit(texts["yes"], [*texts["no"], *plain], strength=_STRENGTH)
        mistaken = _MISTAKEN_SECRETS if name == "secret" else _MISTAKEN
        model.intercept_ -= margin(texts["yes"], texts["no"], plain=plain, mistaken=mistaken)
        found, mistaken, public = (
            share(model, some) for some in (texts["test yes"], texts["test no"], strange)
        )
        print(
            f"{name}: of {len(texts['test yes'])} held out {found:.3f}, of "
            f"{len(texts['test no'])} near misses {mistaken:.3f}, of {len(strange)} sentences of "
            f"public sets {public:.3f}"
        )
        weights = [round(float(weight), 3) for weight in model.coef_[0]]
        heads[name] = {"weights": weights, "constant": round(float(model.intercept_[0]), 3)}
    out.write_text(json.dumps(heads) + "\n")


if __name__ == "__main__":
    typer.run(main)
