"""Fit what the default embeddings tell of a text: `make fit-heads`.

Logistic models over the 512 numbers of an embedding, written to `sleepmem/text/heads.json`:

asks      the text asks, or requests, and tells nothing (questions and requests of public sets
          against sentences of stories, articles and chats)
general   the text needs nobody's memory: small talk, conversions, what the world knows (against
          what people ask of a memory, and questions about stories, articles, appointments)
time      which days the text asks about, of several: "anoche" is one day ago (our own questions in
          fifteen languages, against questions of public sets that have no word of date)

Every text is learned as it is written, in lower case without its last mark, and without any mark,
so that neither capitals nor question marks decide. Half of the kinds of requests are held out.
"general" sees nothing that the bench of recall or its fit asks, but the wordings of dialogues.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.linear_model import LogisticRegression

from sleepmem.evals import recall_sets
from sleepmem.evals.recall_sets import Owner, read_rows
from sleepmem.text.date_phrases import expressions
from sleepmem.text.embeddings import default_embeddings
from sleepmem.text.heads import FILE
from sleepmem.text.relatedness import PAIRS
from sleepmem.text.terms import normalised

# Our own, in several languages; of their kinds there is no public set. "personal" is what people
# ask of a memory, "wanted" the same with things that are only named, "requests" what they ask for
# without asking, "statements" what they tell in short. What is there "in every language" of the
# embeddings asks alike of a memory and of the world: who mended my telephone, who invented it.
OWN: Mapping[str, list[str]] = json.loads(
    Path(__file__).with_name("heads_texts.json").read_text(encoding="utf-8")
)
# Language -> frames of questions, and what fills them, by the time that it tells.
_TIMES: Mapping[str, Mapping[str, list[str]]] = json.loads(
    Path(__file__).with_name("heads_times.json").read_text(encoding="utf-8")
)
_DOMAINS = ("small_talk", "utility", "meta", "oos")
_ASKING = ("utility", "credit_cards", "auto_and_commute")
# Requests of these domains that do need a memory.
_PERSONAL_INTENTS = ("user_name", "change_user_name")
# How often the few texts of several languages are learned, for each head.
_REPEATED, _REPEATED_GENERAL = 12, 3
# The bench samples with the first seed, `make fit-recall` with the others; of the dialogues, whose
# few wordings are the same for every owner, another seed's are learned.
_OTHERS_SEEDS, _DIALOGUES_SEED = (0, 1, 2, 3), 4
_MOST = 400
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def sentences(text: str) -> list[str]:
    """Sentences of a story or an article, neither very short nor very long."""
    return [part for part in _SENTENCE.split(text) if 4 < len(part.split()) < 20]


def asks_sets(data: Path, rng: random.Random) -> tuple[list[str], list[str]]:
    """What asks, what tells."""
    passages, stories = _rows(data, "squad_v1_dev"), _rows(data, "fairytaleqa")
    chats, tasks = _rows(data, "memorybank_en"), _rows(data, "sgd_dialogues")
    asking = [one["question"] for passage in passages for one in passage["questions"]][:1500]
    asking += [one["question"] for story in stories[:60] for one in story["qa"]][:800]
    telling = [part for passage in passages for part in sentences(passage["context"])][:1500]
    told = [section for story in stories[:60] for section in story["sections"]]
    plain = [part for text in told for part in sentences(text) if not set(part) & set('"?')]
    telling += plain[:1500]
    said = [turn["query"] for user in chats for day in user["history"] for turn in day["turns"]]
    asking += [part for text in said for part in _SENTENCE.split(text) if part.endswith("?")][:400]
    telling += [part for text in said for part in sentences(text) if not part.endswith("?")][:1500]
    turns = [text for task in tasks[:400] for speaker, text in task["turns"] if speaker == "U"]
    asking += [part for text in turns for part in _SENTENCE.split(text) if part.endswith("?")][:600]
    requests = [one["text"] for one in _rows(data, "clinc150") if one["domain"] in _ASKING]
    asking += rng.sample(requests, 900)
    pairs = list(PAIRS) * _REPEATED
    own = [*OWN["personal"], *OWN["general"], *OWN["requests"]]
    asking += [*(asked for _, asked in pairs), *own * _REPEATED]
    telling += [*(told for told, _ in pairs), *OWN["statements"] * _REPEATED]
    return asking, telling


def general_sets(data: Path, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """What needs no memory, what does, and kinds of the first that are held out."""
    apart = _asked_elsewhere(data)
    by_intent: dict[str, list[str]] = {}
    for row in _rows(data, "clinc150"):
        is_personal = row["intent"] in _PERSONAL_INTENTS
        if row["domain"] in _DOMAINS and not is_personal and row["text"] not in apart:
            by_intent.setdefault(row["intent"], []).append(row["text"])
    intents = sorted(by_intent, key=lambda intent: (intent != "oos", rng.random()))
    general = [text for intent in intents[::2] for text in by_intent[intent][:100]]
    held_out = [text for intent in intents[1::2] for text in by_intent[intent][:100]]
    passages, stories = _rows(data, "squad_v1_dev"), _rows(data, "fairytaleqa")
    of_passages = [one["question"] for passage in passages for one in passage["questions"]]
    of_stories = [one["question"] for story in stories for one in story["qa"]]
    about = rng.sample([text for text in of_passages if text not in apart], 300)
    about += rng.sample([text for text in of_stories if text not in apart], 300)
    about += rng.sample(_asked(recall_sets.dialogues(data, most=_MOST, seed=_DIALOGUES_SEED)), 200)
    personal = [*OWN["personal"], *OWN["wanted"], *OWN["requests"]]
    personal += [*OWN["personal, in every language"], *(asked for _, asked in PAIRS)]
    about += personal * _REPEATED_GENERAL
    return general + OWN["general"] + OWN["general, in every language"], about, held_out


def times_of(languages: Iterable[str]) -> list[tuple[str, str]]:
    """Our own questions in these languages, each with the time that it asks about."""
    asked = []
    for language in languages:
        fillings = {**_TIMES[language]}
        for frame in fillings.pop("frames"):
            for name, texts in fillings.items():
                asked += [(frame.format(text), name) for text in texts]
    return asked


def timeless(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Texts of other sets without any word of date or number."""
    texts = [row["text"] for row in rng.sample(_rows(data, "clinc150"), 1500)]
    texts += [one["question"] for story in _rows(data, "fairytaleqa")[:80] for one in story["qa"]]
    texts += [passage["questions"][0]["question"] for passage in _rows(data, "squad_v1_dev")[:400]]
    texts += [text for own in OWN.values() for text in own] * 2
    plain = [text for text in texts if not re.search(r"\d", text) and not expressions(text)]
    return [(text, "none") for text in plain]


def with_times(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Questions of other sets with a time at their end: whatever is asked, it tells when."""
    stories = _rows(data, "fairytaleqa")[80:160]
    questions = [one["question"] for story in stories for one in story["qa"]]
    questions += _asked(recall_sets.dialogues(data, most=_MOST, seed=_DIALOGUES_SEED))[:300]
    plain = [text for text in questions if not re.search(r"\d", text) and not expressions(text)]
    times = {name: texts for name, texts in _TIMES["en"].items() if name != "frames"}
    asked = []
    for question in rng.sample(plain, 300):
        for name in rng.sample(sorted(times), 3):
            asked.append((f"{question.rstrip(' ?.')} {rng.choice(times[name])}?", name))
    return asked


def fit_times(asked: Sequence[tuple[str, str]]) -> Any:
    """A multinomial model of the time; all count alike."""
    texts, names = zip(*asked, strict=True)
    model = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
    return model.fit(vectors(texts), np.array(names * 3))


def _rows(data: Path, name: str) -> list[dict[str, Any]]:
    return list(read_rows(data, name))


def _asked_elsewhere(data: Path) -> set[str]:
    """What the bench of recall and its fit ask."""
    loaders = (recall_sets.squad, recall_sets.fairytales, recall_sets.no_memory_needed)
    asked: set[str] = set()
    for seed in _OTHERS_SEEDS:
        for loader in loaders:
            asked.update(_asked(loader(data, most=_MOST, seed=seed)))
    return asked


def _asked(owners: Sequence[Owner]) -> list[str]:
    return [question.text for owner in owners for question in owner.questions]


def vectors(texts: Sequence[str]) -> Any:
    """Embeddings of the texts as written, in lower case without the last mark, without marks."""
    plain = [re.sub(r"[^\w\s]", " ", normalised(text)).strip() or text for text in texts]
    lower = [text.lower().rstrip(" .?!") or text for text in texts]
    return np.array(default_embeddings().embed_documents([*texts, *lower, *plain]))


def fit(of_kind: Sequence[str], others: Sequence[str], *, strength: float) -> Any:
    """A logistic model that tells them apart; both count alike."""
    matrix = np.vstack([vectors(of_kind), vectors(others)])
    labels = np.repeat([1, 0], [3 * len(of_kind), 3 * len(others)])
    model = LogisticRegression(C=strength, max_iter=3000, class_weight="balanced")
    return model.fit(matrix, labels)


def share(model: Any, texts: Sequence[str]) -> float:
    """Share of the texts that are of the kind, as they are written."""
    matrix = np.array(default_embeddings().embed_documents(list(texts)))
    return float((model.decision_function(matrix) > 0).mean())


def times(data: Path, rng: random.Random) -> Mapping[str, Any]:
    """Fit which time is asked about; print how well it holds in languages that it has not seen."""
    others, languages = [*timeless(data, rng), *with_times(data, rng)], list(_TIMES)
    right: dict[str, list[bool]] = {}
    for held_out in (languages[1::2], languages[2::2]):
        model = fit_times([*times_of(set(languages) - set(held_out)), *others])
        for text, name in times_of(held_out):
            guessed = model.predict([default_embeddings().embed_query(text)])[0]
            right.setdefault(name, []).append(guessed == name)
    shares = {name: f"{np.mean(guesses):.2f}" for name, guesses in right.items()}
    print(f"time: right in languages held out {shares}")
    model = fit_times([*times_of(languages), *others])
    weights, constants = np.round(model.coef_, 2).tolist(), np.round(model.intercept_, 2).tolist()
    return {"names": model.classes_.tolist(), "weights": weights, "constant": constants}


def main(
    data: Annotated[Path, typer.Option(help="Folder of the public sets.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
    seed: int = 0,
) -> None:
    """Fit them and print how well they hold on what was held out."""
    heads: dict[str, Mapping[str, Any]] = {}
    rng = random.Random(seed)
    asking, telling = asks_sets(data, rng)
    rng.shuffle(asking)
    rng.shuffle(telling)
    asks = fit(asking[200:], telling[200:], strength=1.0)
    print(f"asks: of {200} held out that ask {share(asks, asking[:200]):.3f}")
    print(f"asks: of {200} held out that tell {share(asks, telling[:200]):.3f}")
    general, about, held_out = general_sets(data, rng)
    rng.shuffle(about)
    needs_none = fit(general, about[100:], strength=0.3)
    print(f"general: of {len(held_out)} of other kinds {share(needs_none, held_out):.3f}")
    print(f"general: of {100} held out that need a memory {share(needs_none, about[:100]):.3f}")
    others = _asked(recall_sets.no_memory_needed_in_languages(most=_MOST, seed=0))
    print(f"general: of {len(others)} in other languages {share(needs_none, others):.3f}")
    # What ships has seen every kind.
    needs_none = fit([*general, *held_out], about, strength=0.3)
    for name, model in (("asks", asks), ("general", needs_none)):
        weights = [round(float(weight), 3) for weight in model.coef_[0]]
        heads[name] = {"weights": weights, "constant": round(float(model.intercept_[0]), 3)}
    heads["time"] = times(data, rng)
    out.write_text(json.dumps(heads) + "\n")


if __name__ == "__main__":
    typer.run(main)
