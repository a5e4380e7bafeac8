"""What a recall and an observe cost beside the least they could: a part of `make bench-recall`.

At each size of an owner's memory, interleaved and in one process:

recall   beside a text query of bare Chroma with the same embeddings: embedding the question, and
         `collection.query` as it comes
observe  beside embedding the sentence and committing one row to SQLite (WAL, synchronous=FULL)
again    saying again what was said at some time before, beside saying a new sentence

The sentences are our own and vary. MiniLM remembers the vectors of 20,000 texts, so that saying
again is cheaper in the process that was told than in a later one. The memory is filled through its
stores in bulk, which leaves the same state as saying each alone.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from langchain_core.embeddings import Embeddings
from rich.progress import track

from sleepmem.evals.recall_embeddings import EMBEDDINGS
from sleepmem.memory import SleepMemory
from sleepmem.records import Episode

SIZES = "100,1000,10000,100000"
_OWNER = ("owner",)
_NEIGHBOURS = 5
_BATCH = 500
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

_PEOPLE = (
    "my sister Ana",
    "our neighbour Mr Novak",
    "my boss Helena",
    "grandfather",
    "the plumber",
    "my friend Tobin",
    "Doctor Reyes",
    "aunt Ilse",
    "the new trainee",
    "my daughter Mira",
    "uncle Piet",
    "our landlord",
)
_PREDICATES = (
    "moved to",
    "works for a bakery in",
    "bought a bicycle in",
    "will marry in",
    "lost the keys in",
    "plays the violin in",
    "found a flat in",
    "is on holiday in",
    "opened a shop in",
    "broke an arm in",
    "met an old teacher in",
    "sold the car in",
    "learned to sail in",
    "was born in",
)
_PLACES = (
    "Bern",
    "Trieste",
    "Lisbon",
    "Gdansk",
    "Oslo",
    "Kyoto",
    "Quito",
    "Izmir",
    "Cork",
    "Tartu",
    "Graz",
    "Leeds",
    "Porto",
    "Ghent",
    "Turku",
)
_TIMES = (
    "in {month} {year}",
    "since {month} {year}",
    "for {number} weeks",
    "with {number} colleagues",
    "on the {number}th of {month}",
    "for {number} francs",
)
_MONTHS = ("January", "March", "April", "June", "August", "September", "October", "December")


def sentences(seed: int) -> Iterator[str]:
    """Varied statements without end, no two alike."""
    rng = random.Random(seed)
    said = set()
    while True:
        when = rng.choice(_TIMES).format(
            month=rng.choice(_MONTHS), year=rng.randint(1960, 2024), number=rng.randint(4, 999)
        )
        words = (rng.choice(_PEOPLE), rng.choice(_PREDICATES), rng.choice(_PLACES), when)
        sentence = " ".join(words)
        sentence = f"{sentence[0].upper()}{sentence[1:]}."
        if sentence not in said:
            said.add(sentence)
            yield sentence


def questions(seed: int) -> Iterator[str]:
    """Questions about such statements, in many wordings."""
    rng = random.Random(seed)
    while True:
        person, place = rng.choice(_PEOPLE), rng.choice(_PLACES)
        year, predicate = rng.randint(1960, 2024), rng.choice(_PREDICATES)
        yield rng.choice(
            (
                f"Who {predicate} {place} in {year}?",
                f"When was it that {person} was in {place}, before or after {year}?",
                f"What do you know about {person} and {place} around {year}?",
                f"What happened to {person} in {year}?",
                f"Which town was it that {person} {predicate} {year}?",
            )
        )


@dataclass
class Talk:
    """What is said and asked next, and what was told in bulk so far."""

    rng: random.Random
    said: Iterator[str]
    asked: Iterator[str]
    told: list[str] = field(default_factory=list)


class Bare:
    """Chroma and SQLite alone: what the same would cost without us."""

    def __init__(self, folder: Path, embeddings: Embeddings) -> None:
        import chromadb
        from chromadb.config import Settings

        self._embeddings = embeddings
        settings = Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(str(folder / "chroma"), settings)
        self._collection = self._client.create_collection(
            "memories", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        self._rows = sqlite3.connect(folder / "rows.db", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=FULL")
        self._rows.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT, at TEXT)")

    def fill(self, texts: Sequence[str], vectors: Any) -> None:
        first = self._collection.count()
        ids = [str(first + index) for index in range(len(texts))]
        self._collection.add(ids, embeddings=vectors, documents=list(texts))
        rows = [(text, "") for text in texts]
        self._rows.execute("BEGIN")
        self._rows.executemany("INSERT INTO rows (text, at) VALUES (?, ?)", rows)
        self._rows.execute("COMMIT")

    def query(self, question: str) -> None:
        vector: Any = [self._embeddings.embed_query(question)]
        self._collection.query(query_embeddings=vector, n_results=_NEIGHBOURS)

    def store(self, sentence: str) -> None:
        """Embed it and commit one row."""
        self._embeddings.embed_documents([sentence])
        row = (sentence, datetime.now(UTC).isoformat())
        self._rows.execute("INSERT INTO rows (text, at) VALUES (?, ?)", row)

    def close(self) -> None:
        self._rows.close()
        close = getattr(self._client, "close", None)
        if close:
            close()


class Given(Embeddings):
    """Vectors that were computed before, for filling; what it was not given it embeds."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self.vectors: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self.vectors and all(text in self.vectors for text in texts):
            return [self.vectors[text] for text in texts]
        return self._embeddings.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._embeddings.embed_query(text)


@dataclass(frozen=True)
class Cost:
    """Medians, milliseconds, at one size of the memory."""

    episodes: int
    recall: float
    bare_query: float
    observe: float
    bare_store: float
    again: float

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Of recall, observe, and saying again, to what each is beside."""
        return (
            self.recall / self.bare_query,
            self.observe / self.bare_store,
            self.again / self.observe,
        )


def fill(memory: SleepMemory, given: Given, *, bare: Bare, texts: Sequence[str]) -> None:
    """Tell these to both, in bulk: the rows of the ledger in one transaction, then the index."""
    ledger, buffer = memory.ledger, memory.buffer
    stored = len(ledger.episodes.all(_OWNER))
    for start in track(range(0, len(texts), _BATCH), "filling", transient=True):
        batch = list(texts[start : start + _BATCH])
        given.vectors = {}
        vectors = given.embed_documents(batch)
        given.vectors = dict(zip(batch, vectors, strict=True))
        bare.fill(batch, vectors)
        episodes = []
        for index, text in enumerate(batch, stored + start):
            told_at = (_LONG_AGO + timedelta(minutes=index)).isoformat()
            episodes.append(Episode(_OWNER, text, created_at=told_at))
        with ledger.database.write():
            for episode in episodes:
                ledger.episodes.add(episode)
        buffer.catch_up(_OWNER)
    given.vectors = {}


def measure(memory: SleepMemory, bare: Bare, *, talk: Talk, times: int, limit: float) -> Cost:
    """Each in turn, so that what the machine does beside falls on all alike.

    What was said is said again as often, or until `limit` seconds are over, at least once.
    """
    episodes = len(memory.ledger.episodes.all(_OWNER))
    # Once unmeasured: files are opened and pages read.
    memory.recall(_OWNER, next(talk.asked), holds_experts=False)
    bare.query(next(talk.asked))

    seconds: dict[str, list[float]] = {}
    for _ in track(range(times), "measuring", transient=True):
        calls: dict[str, Callable[[], object]] = {
            "recall": partial(memory.recall, _OWNER, next(talk.asked), holds_experts=False),
            "bare_query": partial(bare.query, next(talk.asked)),
            "observe": partial(memory.observe, _OWNER, next(talk.said)),
            "bare_store": partial(bare.store, next(talk.said)),
        }
        if "again" not in seconds or sum(seconds["again"]) < limit:
            earlier = talk.rng.choice(talk.told)
            calls["again"] = partial(memory.observe, _OWNER, earlier)
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds.setdefault(name, []).append(time.perf_counter() - started)
    medians = {name: 1e3 * statistics.median(each) for name, each in seconds.items()}
    return Cost(episodes, **medians)


def table(costs: Sequence[Cost]) -> str:
    """Markdown: a row per size, medians in milliseconds and their ratios."""
    heads = (
        "recall",
        "Chroma alone",
        "ratio",
        "observe",
        "embedding and one commit",
        "ratio",
        "said again",
        "of new",
    )
    lines = [f"| episodes | {' | '.join(heads)} |", "|---:|" + "---:|" * len(heads)]
    for cost in costs:
        recall, observe, again = cost.ratios
        lines.append(
            f"| {cost.episodes:,} | {cost.recall:.1f} | {cost.bare_query:.1f} | {recall:.2f} "
            f"| {cost.observe:.1f} | {cost.bare_store:.1f} | {observe:.2f} "
            f"| {cost.again:.1f} | {again:.2f} |"
        )
    return "\n".join(lines)


def main(
    embeddings: Annotated[str, typer.Option(help=f"One of {', '.join(EMBEDDINGS)}.")] = "use",
    sizes: Annotated[str, typer.Option(help="Episodes, growing.")] = SIZES,
    *,
    times: Annotated[int, typer.Option(help="Of each, at each size.", min=1)] = 30,
    limit: Annotated[float, typer.Option(help="Seconds for saying again, a size.")] = 60,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Folder of cost.json.")] = Path("runs/bench-recall"),
) -> None:
    """Print the medians at each size, and write them."""
    if embeddings not in EMBEDDINGS:
        raise typer.BadParameter(f"no embeddings {embeddings}; there are {', '.join(EMBEDDINGS)}.")
    grown = sorted(int(size) for size in sizes.split(","))
    given = Given(EMBEDDINGS[embeddings]())
    talk = Talk(random.Random(seed), sentences(seed), questions(seed))
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="sleepmem-recall-cost-") as folder:
        bare = Bare(Path(folder), given)
        with SleepMemory.open(Path(folder) / "memory", embeddings=given) as memory:
            for size in grown:
                missing = size - len(memory.ledger.episodes.all(_OWNER))
                texts = list(itertools.islice(talk.said, max(0, missing)))
                fill(memory, given, bare=bare, texts=texts)
                talk.told += texts
                costs.append(measure(memory, bare, talk=talk, times=times, limit=limit))
                print(table(costs[-1:]), flush=True)
        bare.close()
    print(f"\n### {embeddings}: medians, milliseconds\n\n{table(costs)}")
    out.mkdir(parents=True, exist_ok=True)
    report = {"embeddings": embeddings, "times": times, "costs": [asdict(cost) for cost in costs]}
    (out / f"cost-{embeddings}.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    typer.run(main)
