"""The commands that leave and move: export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sleepmem.cli.app import (
    SERVE,
    Config,
    Folder,
    Json,
    Model,
    Owner,
    known_namespace,
    opened,
    out,
    print_json,
)
from sleepmem.foreign.values import Form
from sleepmem.records import parse_namespace


def export(  # noqa: PLR0913 - the options of a command
    folder: Folder,
    to: Annotated[Path, typer.Argument(help="The new folder.")],
    *,
    namespace: Owner = "default",
    gguf: Annotated[
        bool,
        typer.Option(
            "--gguf",
            help="Instead, the live experts and the model's habits as one LoRA for llama.cpp, with "
            "a Modelfile for Ollama.",
        ),
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option(help="GGUF file of the model, where that of the folder is none."),
    ] = None,
    quantised: Annotated[
        str | None,
        typer.Option(
            help="With --gguf: a whole model with them merged into it, as F16, Q8_0, Q5_1, Q5_0, "
            "Q4_1 or Q4_0."
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write all of an owner's memory into a new folder: episodes, notes, questions and nights as
    JSON lines, live experts as PEFT adapters, and a manifest with hashes."""
    if not gguf and (base or quantised):
        raise typer.BadParameter("--base and --quantised belong to --gguf; add it.")
    if gguf:
        with opened(folder, SERVE, read_only=True, config=config) as memory:
            owner = known_namespace(memory, namespace)
            files = memory.export_gguf(owner, to, base=base, quantised=quantised)
        if as_json:
            print_json({"files": [str(file) for file in files]})
        else:
            for file in files:
                out.say(f"{file}: {file.stat().st_size:,} bytes")
        return
    with opened(folder, read_only=True, config=config) as memory:
        manifest = memory.export_to(known_namespace(memory, namespace), to)
    if as_json:
        print_json({"counts": dict(manifest.counts), "files": dict(manifest.files)})
    else:
        told = ", ".join(f"{count} {name}" for name, count in manifest.counts.items() if count)
        out.say(f"{to}: {told or 'nothing'}")


def import_(  # noqa: PLR0913 - the options of a command
    folder: Folder,
    path: Annotated[Path, typer.Argument(help="What export wrote; or a file, folder or .zip.")],
    *,
    namespace: Owner = "default",
    form: Annotated[Form | None, typer.Option(help="Recognised by default.")] = None,
    trusted: Annotated[
        bool | None,
        typer.Option(
            "--trusted/--untrusted",
            help="Whether it may teach the weights: by default an export of sleepmem may, with its "
            "experts, and memories that another model wrote may not.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose, of an export that holds several users'.")
    ] = None,
    model: Model = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take in an export of sleepmem, or one of mem0, LangMem, a folder of Markdown, ChatGPT or
    Claude. What is there already is not stored twice."""
    with opened(folder, must_exist=False, model=model, config=config) as memory:
        owner = parse_namespace(namespace)
        imported = memory.import_from(owner, path, form=form, trusted=trusted, user=user)
    if as_json:
        print_json(
            {
                "episodes": imported.episodes,
                "known": imported.known,
                "notes": imported.notes,
                "nights": imported.nights,
                "experts": list(imported.experts),
                "left_out": imported.left_out,
            }
        )
        return
    out.say(
        f"{imported.episodes} new episodes, {imported.known} were known; {imported.nights} nights, "
        f"{len(imported.experts)} experts"
    )
    if imported.left_out:
        out.say(imported.left_out)
