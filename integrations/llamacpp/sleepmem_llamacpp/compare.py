"""`python -m sleepmem_llamacpp.compare FOLDER`: right answers in transformers, and in few bits.

Asked is what nights proved: every question about a fact that lives in the weights, closed-book with
the live experts, and with the memory that taught it in the context, experts off. In transformers
the base is computed in float32; of a GGUF file these are the same weights that llama.cpp runs in
the file's own bits.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from sleepmem import MemoryConfig, SleepmemError, SleepMemory, View
from sleepmem.config import read_config
from sleepmem.records import Kind, Score
from sleepmem_llamacpp.live import LiveServer
from sleepmem_llamacpp.server import Server

# Deviations of the intervals, of 90 % (Wilson 1927).
_DEVIATIONS = 1.6449
_TOKENS = 24


class Question(NamedTuple):
    """A question, the answer that is wanted, and the system message that tells it."""

    text: str
    answer: str
    told: str


@dataclass(frozen=True)
class Line:
    """One way to run the model.

    closed, reading   questions answered right, from the weights and from the context
    same              of the closed-book answers, those in the same words as in transformers
    megabytes         of the file that runs
    """

    name: str
    closed: Score
    reading: Score
    same: Score
    megabytes: float


def questions(memory: SleepMemory, owner: Sequence[str]) -> list[Question]:
    """All that is proven about facts, each wording once."""
    ledger, found = memory.ledger, {}
    probes = [one for one in ledger.nights.learned_probes(tuple(owner)) if one.kind is Kind.FACT]
    for one in probes:
        if one.question not in found:
            [episode] = ledger.episodes.get(tuple(owner), [one.episode_id])
            recalled = memory.recall(owner, one.question, holds_experts=False, log=False)
            told = memory.context(replace(recalled, episodes=(episode,), excerpts={}))
            found[one.question] = Question(one.question, one.answer, told)
    return list(found.values())


def asked(memory: SleepMemory, owner: Sequence[str], some: Sequence[Question]) -> list[list[str]]:
    """The answers closed-book, and over the memory."""
    model = memory.chat_model(owner, max_tokens=_TOKENS)
    closed, read = [], []
    for question in some:
        user = {"role": "user", "content": question.text}
        closed.append(str(model.invoke([user], view=View.WEIGHTS.value).text))
        system = {"role": "system", "content": question.told}
        read.append(str(model.invoke([system, user], view=View.RETRIEVAL.value).text))
    return [closed, read]


def compare(
    folder: Path,
    owner: Sequence[str],
    *,
    bases: Sequence[Path],
    merged: Sequence[str] = (),
    config: MemoryConfig | None = None,
    options: Sequence[str] = (),
) -> Iterator[Line]:
    """Each way to run it, transformers first.

    Args:
        folder: of the memory.
        owner: whose questions.
        bases: GGUF files of the model, which run with the experts as LoRA; its own by default.
        merged: forms of the first base with the experts in its weights.
        config: the memory's settings.
        options: of llama-server.

    Raises:
        SleepmemError: a model does not run; or nothing is proven, so there is nothing to ask.
    """
    config = config or MemoryConfig()
    exact = replace(config, model=replace(config.model, dtype="float32"))
    with SleepMemory.open(folder, config=exact, read_only=True) as memory:
        some = questions(memory, owner)
        if not some:
            raise SleepmemError(
                f"no question about a fact of {'/'.join(owner)} is proven; there is nothing to "
                "ask. Let it sleep first."
            )
        wanted = [question.answer for question in some]
        first = asked(memory, owner, some)
        yield _line("transformers, float32", first, first=first, wanted=wanted)

        def line(name: str, address: str, file: Path) -> Line:
            with SleepMemory.open(
                folder, config=config, read_only=True, chat_model=address
            ) as served:
                answers = asked(served, owner, some)
            return _line(name, answers, first=first, wanted=wanted, file=file)

        for base in bases or [Path(memory.model)]:
            with LiveServer(memory, base, options=options) as live:
                yield line(f"llama.cpp, LoRA on {base.name}", live.address, base)
        for form in merged:
            with ExitStack() as open_:
                to = Path(open_.enter_context(tempfile.TemporaryDirectory())) / "merged"
                [file] = memory.export_gguf(owner, to, base=next(iter(bases), None), quantised=form)
                server = open_.enter_context(Server(["--model", str(file), *options]))
                yield line(f"llama.cpp, merged as {form}", server.address, file)


def _line(
    name: str,
    answers: Sequence[Sequence[str]],
    *,
    first: Sequence[Sequence[str]],
    wanted: Sequence[str],
    file: Path | None = None,
) -> Line:
    closed, read = answers
    same = sum(one == other for one, other in zip(closed, first[0], strict=True))
    return Line(
        name,
        _right(closed, wanted),
        _right(read, wanted),
        Score(same, len(wanted)),
        round(file.stat().st_size / 1e6, 1) if file else 0.0,
    )


def _right(answers: Sequence[str], wanted: Sequence[str]) -> Score:
    right = 0
    for answer, one in zip(answers, wanted, strict=True):
        right += _words(one) in _words(answer)
    return Score(right, len(wanted))


def _words(text: str) -> str:
    """The words of a text, between spaces."""
    letters = "".join(one if one.isalnum() else " " for one in text.casefold())
    return f" {' '.join(letters.split())} "


def interval(score: Score) -> tuple[float, float]:
    """Where the share lies, by Wilson."""
    share, square = score.rate, _DEVIATIONS**2 / score.total
    middle = share + square / 2
    width = (square * (share * (1 - share) + square / 4)) ** 0.5
    return (middle - width) / (1 + square), (middle + width) / (1 + square)


def main(  # noqa: PLR0913 - the options of a command
    folder: Annotated[Path, typer.Argument(help="The memory folder.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of llama-server, after --.")
    ] = None,
    *,
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    base: Annotated[
        list[Path] | None, typer.Option(help="GGUF file of the model; may be given several times.")
    ] = None,
    merged: Annotated[
        list[str] | None, typer.Option(help="Such as Q8_0; may be given several times.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of the memory's settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare right answers in transformers with those of llama.cpp in few bits."""
    table = Table("", "closed-book", "reading", "same words", "MB")
    lines: list[dict[str, Any]] = []
    try:
        for line in compare(
            folder,
            namespace.split("/"),
            bases=base or (),
            merged=merged or (),
            config=read_config(config) if config else None,
            options=options or (),
        ):
            cells = [_cell(one) for one in (line.closed, line.reading, line.same)]
            # It takes minutes: what is known already is told beside.
            typer.echo(f"{line.name}: {', '.join(cells)}", err=True)
            table.add_row(line.name, *cells, f"{line.megabytes:,.1f}" if line.megabytes else "")
            scores = {"closed": line.closed, "reading": line.reading, "same": line.same}
            shown = {name: score.as_dict() for name, score in scores.items()}
            lines.append({"name": line.name, **shown, "megabytes": line.megabytes})
    except SleepmemError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(lines, indent=1))
    else:
        Console().print(table)


def _cell(score: Score) -> str:
    low, high = interval(score)
    return f"{score.right:g} of {score.total} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    typer.run(main)
