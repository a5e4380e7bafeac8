"""Retrieval against what people use: `make bench-recall`, with DATA=FOLDER for the public sets.

The same texts and the same vectors for every arm: our memory through `SleepMemory`, Chroma alone,
BM25 over lower-case words, and the reciprocal rank fusion of the last two. Per set and arm the
recall@5 of the evidence and the tokens of memory that a turn gets; of turns that need no memory,
the share that gets any. `evals.recall_sets` says which sets there are and in which form they are
read. Needs `rank-bm25`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from langchain_core.embeddings import Embeddings
from rich.progress import track

from sleepmem.errors import EpisodeError
from sleepmem.evals import recall_sets
from sleepmem.evals.imports import measure
from sleepmem.evals.recall_embeddings import EMBEDDINGS, Remembered
from sleepmem.evals.recall_sets import Memory, Owner
from sleepmem.memory import SleepMemory
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.prompts import memory_line, memory_prompt
from sleepmem.text.tokens import count_tokens

FIRST = 5
# Cormack, Clarke and Büttcher 2009: a document scores 1 / (60 + its rank) in each list.
_FUSED = 60
# How far each of the lists goes that are fused.
_LISTED = 100
_NAMESPACE = ("owner",)
# The memory reads the model's limits only; nothing of it is loaded. One whose tokenizer is not at
# hand has none, so that a document may be of any length.
OTHER_MODEL = "Qwen/Qwen3-0.6B"
OBSERVE = """
from sleepmem import SleepMemory
from sleepmem.evals.recall_embeddings import EMBEDDINGS
with SleepMemory.open({folder!r}, embeddings=EMBEDDINGS[{name}]()) as memory:
    memory.observe(("alice",), "Mara lives in Brenport.")
"""


class Arm(Protocol):
    """One way to retrieve, filled with an owner's memories."""

    def search(self, question: str) -> list[int]:
        """Indices of the memories that go into the prompt, best first."""


class Ours:
    """Our memory, through its front door. Counts what it refused as too long."""

    def __init__(
        self, owner: Owner, embeddings: Embeddings, *, model: str, cleanup: ExitStack
    ) -> None:
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sleepmem-recall-"))
        opened = SleepMemory.open(folder, model, embeddings=embeddings)
        self._memory = cleanup.enter_context(opened)
        self._index_of: dict[str, int] = {}
        self.refused = 0
        for index, memory in enumerate(owner.memories):
            try:
                episode = self._memory.observe(
                    _NAMESPACE,
                    memory.text,
                    created_at=memory.told_at,
                    message_id=f"{memory.thread}-{index}",
                    thread=memory.thread,
                    answers=memory.answers or None,
                )
            except EpisodeError:
                self.refused += 1
                continue
            self._index_of[episode.id] = index

    def search(self, question: str) -> list[int]:
        recalled = self._memory.recall(_NAMESPACE, question, holds_experts=False, log=False)
        return [self._index_of[episode.id] for episode in recalled.episodes]


class Chroma:
    """A collection of Chroma, and nothing else."""

    def __init__(self, owner: Owner, embeddings: Embeddings, *, cleanup: ExitStack) -> None:
        import chromadb
        from chromadb.config import Settings

        self._embeddings = embeddings
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sleepmem-chroma-"))
        client: Any = chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
        cleanup.callback(client.close)
        self._collection = client.create_collection(
            "memories", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        texts = [memory.rendered for memory in owner.memories]
        ids = [str(index) for index in range(len(texts))]
        vectors: Any = embeddings.embed_documents(texts)
        self._collection.add(ids, embeddings=vectors, documents=texts)

    def ranked(self, question: str, most: int) -> list[int]:
        vector: Any = [self._embeddings.embed_query(question)]
        most = min(most, self._collection.count())
        answer = self._collection.query(query_embeddings=vector, n_results=most)
        return [int(row) for row in answer["ids"][0]]

    def search(self, question: str) -> list[int]:
        return self.ranked(question, FIRST)


class Words:
    """BM25 over words in lower case, as `rank-bm25` comes."""

    def __init__(self, owner: Owner) -> None:
        try:
            from rank_bm25 import BM25Okapi
        except ImportError:
            raise typer.BadParameter(
                "the arm BM25 needs rank-bm25: pip install rank-bm25"
            ) from None
        self._index = BM25Okapi([_words(memory.rendered) for memory in owner.memories])

    def ranked(self, question: str, most: int) -> list[int]:
        # Without a word of the question a text scores 0: what came first would be found by chance.
        scores = self._index.get_scores(_words(question)).tolist()
        indices = [index for index, each in enumerate(scores) if each > 0]
        return sorted(indices, key=lambda index: -scores[index])[:most]

    def search(self, question: str) -> list[int]:
        return self.ranked(question, FIRST)


def has_bm25() -> bool:
    """Whether `rank-bm25` is installed."""
    return importlib.util.find_spec("rank_bm25") is not None


class Fused:
    """Plain reciprocal rank fusion of the two."""

    def __init__(self, chroma: Chroma, words: Words) -> None:
        self._arms = (chroma, words)

    def search(self, question: str) -> list[int]:
        scores: dict[int, float] = {}
        for arm in self._arms:
            for rank, index in enumerate(arm.ranked(question, _LISTED), 1):
                scores[index] = scores.get(index, 0.0) + 1 / (_FUSED + rank)
        return sorted(scores, key=lambda index: -scores[index])[:FIRST]


OURS, CHROMA, BM25, FUSION = "sleepmem", "Chroma", "BM25", "Chroma + BM25"
ARMS = (OURS, CHROMA, BM25, FUSION)


@dataclass(frozen=True)
class Result:
    """What one arm did with one question: rows of memories, and the tokens they take."""

    owner: str
    question: int
    evidence: tuple[int, ...]
    retrieved: tuple[int, ...]
    tokens: int

    @property
    def recall(self) -> float:
        """Share of the evidence among the first five; of more than five, five count."""
        first = set(self.retrieved[:FIRST])
        return len(first & set(self.evidence)) / min(FIRST, len(self.evidence))


@dataclass(frozen=True)
class Score:
    """Means over the questions of a set: recall@5 (none without evidence), tokens of memory that a
    turn gets, and share of the turns that get any."""

    questions: int
    recall: float | None
    tokens: float
    remembering: float
    refused: int = 0


def run_set(
    owners: Sequence[Owner], embeddings: Remembered, *, model: str, what: str
) -> tuple[dict[str, list[Result]], int]:
    """Results of every arm, and how many memories ours refused as too long."""
    texts = []
    for owner in owners:
        texts += [memory.rendered for memory in owner.memories]
    embeddings.learn(texts, f"{what}: embedding")

    results: dict[str, list[Result]] = {name: [] for name in ARMS}
    refused = 0
    for owner in track(owners, what, transient=True):
        with ExitStack() as cleanup:
            ours = Ours(owner, embeddings, model=model, cleanup=cleanup)
            refused += ours.refused
            chroma, words = Chroma(owner, embeddings, cleanup=cleanup), Words(owner)
            arms: Mapping[str, Arm] = {
                OURS: ours,
                CHROMA: chroma,
                BM25: words,
                FUSION: Fused(chroma, words),
            }
            for name, arm in arms.items():
                results[name] += _asked(owner, arm)
    return results, refused


def score(results: Sequence[Result], refused: int = 0) -> Score:
    """The means of one arm on one set."""
    recalls = [result.recall for result in results if result.evidence]
    return Score(
        len(results),
        statistics.fmean(recalls) if recalls else None,
        statistics.fmean(result.tokens for result in results),
        statistics.fmean(bool(result.retrieved) for result in results),
        refused,
    )


def table(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Markdown: a row per set, recall@5 and tokens of each arm."""
    heads = " | ".join(f"{name} | tokens" for name in ARMS)
    lines = [f"| set | turns | {heads} |", "|---|---:|" + "---:|" * (2 * len(ARMS))]
    for what, by_arm in scores.items():
        cells = []
        for name in ARMS:
            of_arm = by_arm[name]
            # Where nothing is evidence, it counts how often memories come unasked.
            figure = f"any: {of_arm.remembering:.1%}"
            if of_arm.recall is not None:
                figure = f"{of_arm.recall:.3f}"
            cells.append(f"{figure} | {of_arm.tokens:.0f}")
        lines.append(f"| {what} | {by_arm[OURS].questions} | {' | '.join(cells)} |")
    return "\n".join(lines)


def first_observe(name: str, times: int = 3) -> dict[str, float]:
    """Median seconds and peak MB of a process that opens a memory and observes once."""
    runs = [measure(OBSERVE.replace("{name}", repr(name))) for _ in range(times)]
    return {
        "seconds": statistics.median(run.seconds for run in runs),
        "MB": statistics.median(run.peak / 1e6 for run in runs),
    }


def main(  # noqa: PLR0913 - the options of a command
    data: Annotated[Path | None, typer.Option(help="Folder of the public sets.")] = None,
    embeddings: Annotated[str, typer.Option(help=f"Of {', '.join(EMBEDDINGS)}.")] = "use",
    *,
    locomo: Annotated[Path | None, typer.Option(help="LoCoMo's file.")] = None,
    longmemeval: Annotated[Path | None, typer.Option(help="One of LongMemEval's files.")] = None,
    only: Annotated[str, typer.Option(help="Only these sets, by name.")] = "",
    questions: Annotated[int, typer.Option(help="Most questions of a set.", min=1)] = 400,
    seed: Annotated[int, typer.Option(help="Of what is sampled.")] = 0,
    model: Annotated[str, typer.Option(help="Whose limits our memory keeps.")] = OTHER_MODEL,
    out: Annotated[Path, typer.Option(help="Folder of results.json.")] = Path("runs/bench-recall"),
) -> None:
    """Print a table per embeddings, and write all results."""
    names = _chosen(embeddings, EMBEDDINGS, "embeddings")
    loaders = _loaders(data, locomo=locomo, longmemeval=longmemeval)
    wanted = _chosen(only, loaders, "set") if only else list(loaders)
    sets = {what: loaders[what](most=questions, seed=seed) for what in wanted}

    report: dict[str, Any] = {"seed": seed, "questions": questions, "model": model, "runs": {}}
    for name in names:
        vectors = Remembered(EMBEDDINGS[name]())
        scores, rows = {}, {}
        for what, owners in sets.items():
            results, refused = run_set(owners, vectors, model=model, what=f"{name}, {what}")
            of_set = {}
            for arm, of_arm in results.items():
                of_set[arm] = score(of_arm, refused if arm == OURS else 0)
            scores[what] = of_set
            rows[what] = {arm: [asdict(each) for each in results[arm]] for arm in ARMS}
        cost = first_observe(name)
        report["runs"][name] = {
            "scores": {what: _as_dicts(of_set) for what, of_set in scores.items()},
            "results": rows,
            "first observe": cost,
        }
        _print(name, scores, cost=cost)
        _print_languages(rows)
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(report))


def _print(
    name: str, scores: Mapping[str, Mapping[str, Score]], *, cost: Mapping[str, float]
) -> None:
    print(f"\n### {name}: first observe {cost['seconds']:.2f} s, {cost['MB']:.0f} MB\n")
    print("recall@5 of the evidence, and tokens of memory a turn\n")
    print(table(scores))
    for what, of_set in scores.items():
        if of_set[OURS].refused:
            print(f"\n{what}: sleepmem refused {of_set[OURS].refused} memories as too long")


def _print_languages(rows: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Markdown: recall@5 by language."""
    by_arm = rows.get("languages")
    if not by_arm:
        return
    spoken = list(dict.fromkeys(row["owner"] for row in by_arm[OURS]))
    print(f"\n| recall@5 | {' | '.join(spoken)} |\n|---|" + "---:|" * len(spoken))
    for arm in ARMS:
        cells = []
        for language in spoken:
            results = [Result(**row) for row in by_arm[arm] if row["owner"] == language]
            cells.append(f"{statistics.fmean(result.recall for result in results):.2f}")
        print(f"| {arm} | {' | '.join(cells)} |")


def _as_dicts(of_set: Mapping[str, Score]) -> dict[str, Any]:
    return {arm: asdict(of_arm) for arm, of_arm in of_set.items()}


def _asked(owner: Owner, arm: Arm) -> list[Result]:
    """Every question of an owner put to an arm."""
    results = []
    for number, question in enumerate(owner.questions):
        retrieved = arm.search(question.text)
        memories = [owner.memories[index] for index in retrieved]
        evidence = tuple(sorted(question.evidence))
        tokens = prompt_tokens(memories)
        results.append(Result(owner.name, number, evidence, tuple(retrieved), tokens))
    return results


def prompt_tokens(memories: Sequence[Memory]) -> int:
    """Tokens of the message that carries these memories, for every arm the same; 0 for none."""
    if not memories:
        return 0
    oldest_first = sorted(memories, key=lambda memory: memory.told_at)
    lines = [memory_line(memory.told_at[:10], memory.rendered) for memory in oldest_first]
    return count_tokens(str(EMBEDDED), memory_prompt(lines))


def _loaders(
    data: Path | None, *, locomo: Path | None, longmemeval: Path | None
) -> dict[str, Callable[..., list[Owner]]]:
    """Those of the sets that are at hand, by name."""
    loaders: dict[str, Callable[..., list[Owner]]] = {}
    if data:
        loaders["dialogues"] = partial(recall_sets.dialogues, data)
        loaders["MemoryBank"] = partial(recall_sets.memorybank, data)
        loaders["FairytaleQA"] = partial(recall_sets.fairytales, data)
        loaders["SQuAD"] = partial(recall_sets.squad, data)
    if locomo:
        loaders["LoCoMo"] = partial(recall_sets.locomo, locomo)
    if longmemeval:
        loaders["LongMemEval"] = partial(recall_sets.longmemeval, longmemeval)
    loaders["languages"] = recall_sets.languages
    if data:
        loaders["no memory needed"] = partial(recall_sets.no_memory_needed, data)
    loaders["none needed in languages"] = recall_sets.no_memory_needed_in_languages
    return loaders


def _chosen(text: str, known: Mapping[str, Any], what: str) -> list[str]:
    """Names between commas, all of which are known."""
    names = [name.strip() for name in text.split(",")]
    strange = [name for name in names if name not in known]
    if strange:
        raise typer.BadParameter(f"no {what} {', '.join(strange)}; there are {', '.join(known)}.")
    return names


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


if __name__ == "__main__":
    typer.run(main)
