"""Is what was forgotten gone, and the rest still there? `python -m sleepmem.evals.forgetting`.

A memory that has slept forgets a third of what its weights hold. Before and after, every question
that a night asked about it is asked closed-book: by recall, and by how likely the true answer is, a
token, beside a model that never learned it. For that a second memory lives the same days without
it. The rest is asked through the memory: at once, and after the next night; and closed-book, which
says whether it is in the weights again.

By default the memory is made of the embedded model's world; FOLDER is one that has slept, such as
`make bench-lives` leaves: a copy of it forgets, and the base is what never learned.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table

from sleepmem.config import MemoryConfig, read_config
from sleepmem.embedded import world
from sleepmem.evals.perplexity import perplexity
from sleepmem.evals.week import Life, Week, seeded
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.night.measures import recall
from sleepmem.night.promotion import wilson
from sleepmem.records import Kind, Namespace, Probe, Score, Verdict
from sleepmem.text.language import matches
from sleepmem.text.prompts import closed_book

OWNER = ("demo",)
_SHARE, _CONFIDENCE = 3, 0.9
_DAYS = 3


@dataclass(frozen=True)
class Figures:
    """Of some questions: how many are right, and how likely a token of the true answers is."""

    right: Score
    likelihood: float

    def shown(self) -> str:
        if not self.right.total:
            return "nothing to ask"
        low, high = wilson(self.right, _CONFIDENCE)
        right = f"{int(self.right.right)} of {self.right.total} ({low:.2f} to {high:.2f})"
        return f"{right}, a token {self.likelihood:.3f}"


def closed_book_figures(
    local: LocalModel, probes: Sequence[Probe], *, experts: Sequence[str]
) -> Figures:
    """What a model says of these questions, and how likely it finds the answers."""
    if not probes:
        return Figures(Score(0, 0), 1.0)
    score, _ = recall(local, probes, experts=experts)
    prompts = [local.prompt_ids(closed_book(probe.question)) for probe in probes]
    answers = [local.answer_ids(probe.answer) for probe in probes]
    return Figures(score, 1 / perplexity(local, prompts, answers=answers, experts=experts))


def through_the_memory(memory: SleepMemory, owner: Namespace, *, probes: Sequence[Probe]) -> Score:
    """Right answers of the memory, with whatever it needs."""
    right = 0
    for probe in probes:
        right += matches(memory.ask(owner, probe.question, log=False).text, probe.answer)
    return Score(right, len(probes))


def asked_about(memory: SleepMemory, owner: Namespace, *, most: int) -> dict[str, list[Probe]]:
    """Questions that nights asked, each once, by the episode that they are about."""
    found: dict[str, list[Probe]] = {}
    seen = set()
    for probe in memory.ledger.nights.learned_probes(owner):
        if probe.kind is Kind.FACT and probe.question not in seen:
            seen.add(probe.question)
            found.setdefault(probe.episode_id, []).append(probe)
    return {one: probes[:most] for one, probes in found.items()}


class Asked(NamedTuple):
    """Ids of the episodes that go, the questions about them, and those about the rest."""

    gone: list[str]
    forgotten: list[Probe]
    rest: list[Probe]

    @classmethod
    def of(cls, memory: SleepMemory, owner: Namespace) -> Asked:
        by_episode = asked_about(memory, owner, most=8)
        gone = sorted(by_episode)[::_SHARE]
        forgotten = [probe for one in gone for probe in by_episode[one]]
        rest = [probe for one in sorted(set(by_episode) - set(gone)) for probe in by_episode[one]]
        return cls(gone, forgotten, rest)


def measured(
    memory: SleepMemory, owner: Namespace, *, about: Asked, never: LocalModel | None
) -> dict[str, Any]:
    """Forget a third of what is learned; what is left of it, and of the rest, at once.

    Args:
        memory: the open memory, which forgets.
        owner: whose.
        about: what goes, and what is asked.
        never: a model that never learned it, with its experts on; None: the base.
    """
    gone, forgotten, rest = about
    live = memory.live_experts(owner)
    figures: dict[str, Any] = {
        "forgotten, before": closed_book_figures(memory.local, forgotten, experts=live).shown(),
        "rest through the memory, before": _shown(through_the_memory(memory, owner, probes=rest)),
        "rest closed-book, before": closed_book_figures(memory.local, rest, experts=live).shown(),
    }
    receipt = memory.forget(owner, episodes=gone).receipt
    assert receipt is not None
    live = memory.live_experts(owner)
    other, experts = (memory.local, ()) if never is None else (never, never.experts)
    figures |= {
        "episodes forgotten": receipt.removed["episodes"],
        "experts retired": len(receipt.experts),
        "back in the buffer": receipt.returned,
        "forgotten, after": closed_book_figures(memory.local, forgotten, experts=live).shown(),
        "forgotten, never learned": closed_book_figures(other, forgotten, experts=experts).shown(),
        "rest through the memory, at once": _shown(through_the_memory(memory, owner, probes=rest)),
    }
    figures["bytes left"] = _bytes_left(memory, owner, forgotten=forgotten)
    return figures


def learned_again(memory: SleepMemory, owner: Namespace, *, about: Asked) -> dict[str, Any]:
    """What the next night that is promoted makes of the rest."""
    figures: dict[str, Any] = {}
    for _ in range(2):
        report = memory.sleep(owner)
        figures[f"night {report.number}"] = report.verdict.value
        if report.verdict is Verdict.PROMOTED:
            break
    live = memory.live_experts(owner)
    forgotten = closed_book_figures(memory.local, about.forgotten, experts=live)
    rest = closed_book_figures(memory.local, about.rest, experts=live)
    figures["forgotten, after the next night"] = forgotten.shown()
    figures["rest closed-book, after the next night"] = rest.shown()
    figures["rest through the memory, after the next night"] = _shown(
        through_the_memory(memory, owner, probes=about.rest)
    )
    return figures


def _bytes_left(memory: SleepMemory, owner: Namespace, *, forgotten: Sequence[Probe]) -> int:
    """Files of the folder that hold a question about what was forgotten, word for word.

    But for such as somebody asks in what is still told.
    """
    told = "\n".join(one.whole for one in memory.ledger.episodes.all(owner))
    questions = [one.question.encode() for one in forgotten if one.question not in told]
    left = 0
    for file in memory.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            left += any(question in content for question in questions)
    return left


def _shown(score: Score) -> str:
    low, high = wilson(score, _CONFIDENCE)
    return f"{int(score.right)} of {score.total} ({low:.2f} to {high:.2f})"


def _lived(folder: Path, config: MemoryConfig, *, seed: int, without: set[str]) -> SleepMemory:
    """A memory of the embedded world after some days, but for what these texts tell."""
    rng = random.Random(seed)
    life, week = Life(rng), Week(corrections=0)
    memory = SleepMemory.open(folder, config=config)
    for day in range(_DAYS):
        for fact in life.new_day(week):
            text = world.say(rng, fact)
            at = f"2030-01-0{day + 1}T10:00:00+00:00"
            if text not in without:
                memory.observe(OWNER, text, created_at=at)
        memory.sleep(OWNER)
    return memory


def embedded(work: Path, config: MemoryConfig, *, seed: int) -> dict[str, Any]:
    """Of the embedded model, beside a second memory that was never told."""
    with _lived(work / "told", config, seed=seed, without=set()) as memory:
        about = Asked.of(memory, OWNER)
        texts = {one.text for one in memory.ledger.episodes.all(OWNER) if one.id in about.gone}
        with _lived(work / "never", config, seed=seed, without=texts) as other:
            other.live_experts(OWNER)
            figures = measured(memory, OWNER, about=about, never=other.local)
        return {**figures, **learned_again(memory, OWNER, about=about)}


def main(  # noqa: PLR0913 - the options of a command
    folder: Annotated[Path | None, typer.Argument(help="A memory that has slept.")] = None,
    *,
    model: Annotated[str | None, typer.Option(help="Of the folder, if it is not known.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    namespace: Annotated[str, typer.Option(help="Of the folder.")] = "life",
    night: Annotated[bool, typer.Option(help="Sleep once more on a folder.")] = True,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Annotated[int, typer.Option(help="Of torch.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("runs/forgetting"),
) -> None:
    """Print what was measured, and write it as JSON."""
    torch.set_num_threads(threads)
    settings = seeded(read_config(config) if config else MemoryConfig(), seed)
    with tempfile.TemporaryDirectory(prefix="sleepmem-forgetting-") as name:
        work = Path(name)
        if folder is None:
            figures = embedded(work, settings, seed=seed)
        else:
            shutil.copytree(folder, work / "copy")
            with SleepMemory.open(work / "copy", model, config=settings) as memory:
                about = Asked.of(memory, (namespace,))
                if not about.gone:
                    raise typer.BadParameter(
                        f"no night of {namespace!r} in {folder} taught anything, so nothing can be "
                        "forgotten from the weights; pass the folder of a memory that has slept, "
                        "and whose (--namespace)."
                    )
                figures = measured(memory, (namespace,), about=about, never=None)
                if night:
                    figures |= learned_again(memory, (namespace,), about=about)
    out.mkdir(parents=True, exist_ok=True)
    (out / "forgetting.json").write_text(json.dumps(figures, indent=1) + "\n")
    table = Table("what", "measured")
    for what, value in figures.items():
        table.add_row(what, str(value))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
