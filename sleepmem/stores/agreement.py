"""Keep the folders of the experts what the ledger says.

What a crash left between them is mended here.
"""

from __future__ import annotations

from sleepmem.errors import ExpertError
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger


def reconcile(ledger: Ledger, *, experts: ExpertFolders, check_experts: bool = True) -> None:
    """Take back or finish what a killed process left half done.

    Raises:
        ExpertError: an expert that should be live is missing or damaged.
    """
    # In this order: a night of another process may end in between.
    finished = {night.id for night in ledger.nights.finished()}
    promoted = {expert.name for expert in ledger.lineage.experts(live=False)}
    for removed in experts.sweep(promoted, finished):
        ledger.turns.log_event("reconcile", removed=removed)
    if not check_experts:
        return
    for expert in ledger.lineage.experts():
        try:
            experts.check(expert.name)
        except ExpertError as error:
            owner = "/".join(expert.namespace)
            raise ExpertError(f"{error} It is an expert of {owner}.") from None


def faults(ledger: Ledger, *, experts: ExpertFolders) -> list[str]:
    """What does not agree, one sentence each."""
    found = ledger.verify()
    for expert in ledger.lineage.experts():
        try:
            experts.check(expert.name)
        except ExpertError as error:
            found.append(str(error))
    return found
