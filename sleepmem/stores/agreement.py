"""Keep the folders of the experts what the ledger says.

What a crash left between them is mended here.
"""

from __future__ import annotations

from contextlib import suppress

from sleepmem.errors import ExpertError, LedgerError
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger


def reconcile(ledger: Ledger, *, experts: ExpertFolders, check_experts: bool = True) -> None:
    """Take back or finish what a killed process left half done.

    Raises:
        ExpertError: an expert that should be live is missing or damaged, or what taught it is gone.
        LedgerError: its row is, or is said to be another owner's.
    """
    # In this order: a night of another process may end in between.
    finished, promoted = ledger.nights.finished_ids(), ledger.lineage.names()
    for removed in experts.sweep(promoted, finished):
        ledger.turns.log_event("reconcile", removed=removed)
    if not check_experts:
        return
    if orphans := ledger.lineage.orphans():
        raise ExpertError(orphans[0])
    for expert in ledger.lineage.experts():
        try:
            experts.check(expert.name)
        except ExpertError as error:
            owner = "/".join(expert.namespace)
            raise ExpertError(f"{error} It is an expert of {owner}.") from None


def faults(ledger: Ledger, *, experts: ExpertFolders) -> list[str]:
    """What does not agree, one sentence each."""
    found = ledger.verify()
    with suppress(LedgerError):  # a row that cannot be read: the ledger tells of it
        for expert in ledger.lineage.experts():
            try:
                experts.check(expert.name)
            except ExpertError as error:
                found.append(str(error))
    return found
