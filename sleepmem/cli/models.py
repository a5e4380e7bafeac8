"""The commands about models: fit, school."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sleepmem.cli.app import NIGHT, Config, Json, err, out, print_json, ready, sentences
from sleepmem.config import MemoryConfig, read_config

_UNFIT = 3


def fit(
    model: Annotated[str, typer.Argument(help="Hub id, folder or GGUF file.", show_default=False)],
    *,
    cases: Annotated[int, typer.Option(help="Of each measure.", min=10)] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Can this model be its own teacher? Reads, abstains, writes, learns: measured, with what to do
    where it falls short; exit code 3 then."""
    with sentences():
        ready(NIGHT)
        settings = read_config(config) if config else MemoryConfig()
        from sleepmem.evals.fit import verdict
        from sleepmem.model.local import LocalModel

        path = Path(model).expanduser()
        local = LocalModel(path if path.exists() else model, settings.model)
        found = verdict.fit(
            local,
            count=cases,
            config=settings,
            say=lambda one: None if as_json else err.say(f"{one.name}: {one.score.rate:.2f}"),
        )
    if as_json:
        print_json(found.as_dict())
    else:
        table = Table("it", "share", "90 % interval", "at least", "verdict")
        for one in found.as_dict()["measures"]:
            table.add_row(
                one["measure"],
                f"{one['rate']:.2f}",
                f"{one['low']:.2f} to {one['high']:.2f}",
                f"{one['least']:.2f}" if one["least"] else "",
                one["advice"] or "good",
            )
        out.print(table)
        for turn, score in found.placements.items():
            out.say(f"two memories in the {turn} turn: {score.rate:.2f} read")
        if found.better:
            out.say(f"set ModelConfig.memories to {found.better!r}: it reads more there")
        speeds = found.speeds
        out.say(
            f"tokens a second: {speeds.reading:.0f} read, {speeds.writing:.0f} written, "
            f"{speeds.training:.0f} trained on"
        )
        for notes, seconds in found.nights.items():
            out.say(f"a night of {notes} notes: about {seconds / 60:.0f} minutes")
        out.say(
            "It can be its own teacher."
            if found.is_good
            else "As it is, it cannot be its own teacher in everything: see above."
        )
    raise typer.Exit(0 if found.is_good else _UNFIT)


def school(
    model: Annotated[str, typer.Argument(help="Hub id, folder or GGUF file.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Receives the habits.", show_default=False)],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of public sets that are read, too.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Habits of an earlier school, which are taught on.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of about 2,048 tokens each.", min=2)] = 700,
    config: Config = None,
) -> None:
    """Teach a model the habits of a memory, once: read, abstain, draw notes, write questions.

    Goes on where an earlier run into the same folder stopped. Use them with ModelConfig.habits."""
    with sentences():
        ready(NIGHT)
        settings = read_config(config) if config else MemoryConfig()
        from sleepmem.model.local import LocalModel
        from sleepmem.school.train import Recipe
        from sleepmem.school.train import school as teach

        path = Path(model).expanduser()
        unschooled = replace(settings.model, habits="none", memories="user")
        local = LocalModel(path if path.exists() else model, unschooled)
        teach(local, out, data=data, start=start, recipe=Recipe(steps=steps))
    err.say(f"habits written to {out}")
