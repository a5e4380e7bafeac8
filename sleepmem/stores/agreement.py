"""Keep the index and the folders of the experts what the ledger says. What a crash left between them is mended here."""

from __future__ import annotations

import shutil
from pathlib import Path

from sleepmem.errors import ExpertError
from sleepmem.records import Kind, Namespace
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.expert_folder import check_expert
from sleepmem.stores.ledger import Ledger


def reconcile(folder: Path, ledger: Ledger, buffer: Buffer, check_experts: bool = True) -> None:
    """Take back or finish what a killed process left half done.

    Raises:
        ExpertError: an expert that should be live is missing or damaged.
    """
    finished = {n["id"] for n in ledger.nights()}
    promoted = {e.name for e in ledger.experts(live=False)}
    for kind in ("pending", "experts"):
        for path in sorted((folder / kind).glob("*")):  # hidden ones too
            night_id = path.name.lstrip(".").rsplit("-", 1)[0]
            if path.name.startswith(".") or (path.name not in promoted and night_id in finished):
                shutil.rmtree(path, ignore_errors=True)
                ledger.log_event("reconcile", removed=str(path.name))
    if check_experts:
        for e in ledger.experts():
            try:
                check_expert(folder / "experts" / e.name)
            except ExpertError as error:
                raise ExpertError(f"{error} It is an expert of {'/'.join(e.namespace)}.") from None
    for owner in ledger.namespaces():
        reconcile_index(ledger, buffer, owner)


def verify(folder: Path, ledger: Ledger, buffer: Buffer) -> list[str]:
    """What does not agree, one sentence each."""
    faults = ledger.verify()
    for e in ledger.experts():
        try:
            check_expert(folder / "experts" / e.name)
        except ExpertError as error:
            faults.append(str(error))
    for owner in ledger.namespaces():
        known = {
            p.id
            for p in ledger.learned_probes(owner, passed=True)
            if p.kind in (Kind.FACT, Kind.DREAM)
        }
        if (
            buffer.ids(owner) != {e.id for e in ledger.buffered(owner)}
            or buffer.known_ids(owner) != known
        ):
            faults.append(
                f"the index of {owner} is not what the ledger says; reopening the folder mends it"
            )
    return faults


def reconcile_index(ledger: Ledger, buffer: Buffer, namespace: Namespace) -> None:
    """Make the index what the ledger says: buffered episodes and known questions, no others."""
    have = buffer.ids(
        namespace
    )  # before the ledger is read: what another thread adds in between is not taken for a stranger
    wanted = {e.id: e for e in ledger.buffered(namespace)}
    buffer.remove(namespace, have - set(wanted))
    missing = [wanted[i] for i in sorted(set(wanted) - have)]
    if missing:
        buffer.add(namespace, missing)
    ledger.mark_indexed(e.id for e in missing)
    have = buffer.known_ids(namespace)
    known = {
        p.id: p
        for p in ledger.learned_probes(namespace, passed=True)
        if p.kind in (Kind.FACT, Kind.DREAM)
    }
    buffer.remove_known(namespace, have - set(known))
    if fresh := [known[i] for i in sorted(set(known) - have)]:
        buffer.add_known(namespace, fresh, {e.id: e.text for e in ledger.learned(namespace)})
