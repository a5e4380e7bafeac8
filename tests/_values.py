"""What tests start from: values and experts made by hand, embeddings that need no model.

Imports no torch.
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from sleepmem import SleepMemory
from sleepmem.day.gate import Gate
from sleepmem.records import (
    Episode,
    Expert,
    ExpertName,
    Kind,
    NightReport,
    Probe,
    Role,
    Verdict,
    now,
)
from sleepmem.stores.lineage import Proof
from sleepmem.text.language import words

# Near a known question, nothing fresher in the buffer, and the model certain: then it passes.
GATE = Gate(-27.5, {"near": 10.0, "unchallenged": 10.0, "confident": 10.0}, 0.0)

TOLD = Episode(
    ("alice",),
    "Mara moved to Brenport.",
    created_at="2030-01-02T03:04:05.000000+00:00",
    message_id="m1",
)
LATER = dataclasses.replace(
    TOLD, text="Mara moved to Oslo.", created_at="2030-02-01T00:00:00.000000+00:00", message_id="m2"
)

WIDTH, STEM = 256, 4  # numbers in a vector; letters in which "move" and "moved" are one


class HashedWords(Embeddings):
    """A bag of stems, each at the place its checksum names, length 1.

    Texts with the same words are near, on every machine.
    """

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * WIDTH
        for word in words(text) or ["nothing"]:
            vector[zlib.crc32(word[:STEM].encode()) % WIDTH] += 1.0
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length for x in vector]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(t) for t in texts]


def probe(number: int, episode_id: str, question: str, answer: str, **changed: Any) -> Probe:
    """An exam probe of the first night about a fact, unless `changed` says otherwise."""
    night_id = changed.pop("night_id", "night-0001")
    values = {"kind": Kind.FACT, "role": Role.EXAM, **changed}
    return Probe(
        id=f"{night_id}-{number:05d}",
        episode_id=episode_id,
        night_id=night_id,
        question=question,
        answer=answer,
        **values,
    )


def _write_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")


def put_expert(  # noqa: PLR0913 - nearly all of it are keywords
    memory: SleepMemory,
    namespace: tuple[str, ...],
    proven: Iterable[str],
    *,
    rank: int = 1,
    files: bool = True,
    save: Callable[[Path], None] = _write_files,
    superseded: Iterable[str] = (),
) -> Expert:
    """What a promoted night leaves.

    A sound expert folder (without weights, unless `save` writes some), a passed probe an episode,
    the ledger's transaction, the gate, the eviction.
    """
    proven = tuple(proven)
    ledger = memory.ledger
    night_id = ledger.nights.start(namespace)
    name = str(ExpertName(night_id, "made"))
    expert = Expert(name, namespace, night_id, "fast", rank, now(), proven, live=True)
    if files:
        memory.experts.write(expert.name, save)
        memory.experts.promote(expert.name)
    text = {episode.id: episode.text for episode in ledger.episodes.all(namespace)}
    probes = []
    for number, episode_id in enumerate(proven):
        question = f"Is it so that {text[episode_id]}"
        probes.append(probe(number, episode_id, question, text[episode_id], night_id=night_id))
    ledger.nights.add_probes(namespace, probes)
    passed = [one.id for one in probes]
    ledger.lineage.promote(expert, Proof(proven, tuple(superseded), passed))
    ledger.gates.write(namespace, night_id, gate=GATE.as_json(), examples=[])
    number = ledger.nights.numbers()[night_id]
    ledger.nights.finish(
        NightReport(night_id, namespace, Verdict.PROMOTED, "made by hand", number=number)
    )
    memory.buffer.catch_up(namespace)
    return expert


def python(code: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    start = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        start,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
