"""The commands of trust: why, forget, receipts."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from sleepmem.cli.app import (
    SERVE,
    Config,
    Folder,
    Json,
    Model,
    Owner,
    err,
    fail,
    known_namespace,
    opened,
    out,
    print_json,
)
from sleepmem.cli.screen import Screen
from sleepmem.day.why import Why
from sleepmem.records import View, as_path
from sleepmem.stores.erasure import Erasure


def why(
    folder: Folder,
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    *,
    namespace: Owner = "default",
    model: Model = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Answer, tell where the answer came from, and prove it: by asking again with each expert
    switched off, or without the memories. Stores nothing."""
    with opened(folder, SERVE, or_read=True, model=model, config=config) as memory:
        found = memory.why(known_namespace(memory, namespace), question)
    if as_json:
        print_json(found.as_dict())
    else:
        _tell(found)


def forget(  # noqa: PLR0913 - the ways to choose what is forgotten
    folder: Folder,
    namespace: Owner = "default",
    *,
    episode: Annotated[
        list[str] | None, typer.Option(help="Id of an episode; may be repeated.")
    ] = None,
    note: Annotated[
        list[str] | None,
        typer.Option(help="Id of a note: the episode that tells it goes; may be repeated."),
    ] = None,
    about: Annotated[str, typer.Option(help="In words: what is nearest to them.")] = "",
    before: Annotated[str, typer.Option(help="An ISO date: all from before that day.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All of the namespace.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would go, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Forget for good: texts, all that was made of them, and every expert that may have seen them;
    prints the receipt. Asks first. What else the experts held is learned again by the next
    nights."""
    with opened(folder, SERVE, check_experts=False) as memory:
        owner = known_namespace(memory, namespace, emptied=True)
        how = {
            "episodes": episode or [],
            "notes": note or [],
            "about": about,
            "before": before,
            "everything": everything,
        }
        planned = memory.forget(owner, dry_run=True, **how).erasure  # type: ignore[arg-type]
        if dry_run:
            _show(planned, as_json=as_json)
            return
        if not yes:
            # With --json stdout has the receipt alone.
            _show(planned, as_json=False, on=err if as_json else out)
            if not typer.confirm("Forget this for good?", err=True):
                fail("nothing was forgotten.")
        # Those that were shown, whatever was told since.
        receipt = None
        if planned.ids or everything:
            receipt = memory.forget(owner, confirmed=planned.ids, **how).receipt  # type: ignore[arg-type]
    if as_json:
        print_json(receipt and receipt.as_dict())
    elif receipt is None:
        out.say("there is nothing of it")
    else:
        gone = len(receipt.experts)
        out.say(
            f"receipt {receipt.number}: {receipt.removed['episodes']} episodes forgotten, {gone} "
            f"experts taken away, {receipt.returned} episodes back in the buffer; "
            f"sha256 {receipt.sha256}"
        )


def receipts(
    folder: Folder,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Exit code 1 when one was changed or is missing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What was forgotten, without a word of it: each receipt is chained to the one before."""
    with opened(folder, read_only=True) as memory:
        faults = memory.ledger.receipts.faults()
        found = [] if faults else memory.receipts()
    if as_json:
        print_json({"faults": faults, "receipts": [one.as_dict() for one in found]})
    else:
        table = Table("receipt", "at", "namespace", "episodes", "experts", "proof", "sha256")
        for one in found:
            table.add_row(
                str(one.number),
                one.at[:19],
                as_path(one.namespace),
                str(one.removed["episodes"]),
                str(len(one.experts)),
                ", ".join(f"{name} {value}" for name, value in one.proof.items()),
                one.sha256[:16],
            )
        out.print(table)
        for fault in faults:
            out.say(fault)
    if verify and faults:
        raise typer.Exit(1)


def _tell(found: Why) -> None:
    """What was answered, where it came from, and what is answered without that."""
    out.say(found.answer)
    out.say(f"from: {found.recall.view.value}, {found.recall.reason}")
    traced = found.provenance
    if traced is None:
        out.say("no memory was used")
        return
    if traced.view is View.WEIGHTS:
        out.say(f"known question: {found.known or 'not in the ledger'}")
        out.say(f"taught in {traced.night}, held by {traced.expert}")
    notes: dict[str, list[str]] = {}
    for note in found.notes:
        notes.setdefault(note.episode_id, []).append(note.text)
    table = Table("episode", "day", "text", "note")
    for one in found.episodes:
        table.add_row(one.id, one.date, one.text, "\n".join(notes.get(one.id, [])))
    out.print(table)
    table = Table("without", "answer", "")
    table.add_row("nothing", found.answer, "")
    for ablation in found.ablations:
        kept = "stays" if ablation.stays else "goes"
        table.add_row(ablation.without, ablation.answer, kept)
    out.print(table)
    if found.needs:
        out.say(f"it goes without {', '.join(found.needs)}, too")
    out.say("proven" if found.proven else "not proven")


def _show(planned: Erasure, *, as_json: bool, on: Screen = out) -> None:
    """What would go."""
    if as_json:
        print_json(
            {
                "episodes": [_line(one.id, one.date, one.text) for one in planned.episodes],
                "quoting": [_line(one.id, one.date, one.text) for one in planned.quoting],
                "telling": [_line(one.id, one.date, one.text) for one in planned.telling],
                "experts": [one.name for one in planned.experts],
            }
        )
        return
    table = Table("episode", "day", "text")
    for one in (*planned.episodes, *planned.quoting):
        table.add_row(one.id, one.date, one.text)
    on.print(table)
    for one in planned.telling:
        on.say(f"still told in {one.id}: {one.date} {one.text}")
    nights = ", ".join(one.night_id for one in planned.experts)
    on.say(f"experts that may have seen it: {nights or 'none'}")


def _line(episode: str, day: str, text: str) -> dict[str, str]:
    return {"id": episode, "day": day, "text": text}
