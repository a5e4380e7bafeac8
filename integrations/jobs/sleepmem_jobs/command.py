"""The command: `sleepmem-ray FOLDER...`, with the exit codes of `sleepmem nights`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from sleepmem import SleepmemError, Verdict
from sleepmem.records import as_path
from sleepmem_jobs.ray_nights import nights
from sleepmem_jobs.worker import Done

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_REJECTED, _FAILED = 3, 4


@app.command()
def main(
    folders: Annotated[list[Path], typer.Argument(help="The memory folders.", show_default=False)],
    *,
    workers: Annotated[int, typer.Option(min=1, help="Nights at once.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a worker, such as 0.5.")] = 0.0,
    least: Annotated[int | None, typer.Option(min=1, help="As `sleepmem nights` takes it.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster with this machine; by default one of its own."),
    ] = None,
) -> None:
    """Run the nights that are due in all folders, on Ray; a line of JSON each. Exit code 0: all
    done, or nothing is due; 3: a night was rejected; 4: one failed, or a folder cannot be used."""
    codes = [0]
    try:
        ran = nights(
            folders, workers=workers, gpus=gpus, config=config, least=least, address=address
        )
        for done in _beside(sys.stdout, ran):
            if done.error:
                # A folder that cannot be opened is one of nobody.
                owner = f"{as_path(done.namespace)}: " if done.namespace else ""
                typer.echo(f"error: {owner}{done.error}", err=True)
            codes.append(_code(done))
    except (SleepmemError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(max(codes))


def _beside(lines: TextIO, ran: Iterator[Done]) -> Iterator[Done]:
    """Print each as a line; what Ray says meanwhile, of workers that died, is no such line."""
    with contextlib.redirect_stdout(sys.stderr):
        for done in ran:
            print(json.dumps(done.as_dict()), file=lines, flush=True)
            yield done


def _code(done: Done) -> int:
    codes = {Verdict.REJECTED: _REJECTED, Verdict.FAILED: _FAILED}
    return codes.get(done.verdict, 0)


if __name__ == "__main__":
    app()
