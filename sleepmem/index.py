"""Keep the index what the ledger says. What a crash left between the two is mended here."""

from __future__ import annotations

from sleepmem.buffer import Buffer
from sleepmem.ledger import Ledger
from sleepmem.records import Kind, Namespace


def reconcile_index(ledger: Ledger, buffer: Buffer, namespace: Namespace) -> None:
    """Make the index what the ledger says: buffered episodes and known questions, no others."""
    have = buffer.ids(namespace)  # before the ledger is read: what another thread adds in between is not taken for a stranger
    wanted = {e.id: e for e in ledger.buffered(namespace)}
    buffer.remove(namespace, have - set(wanted))
    missing = [wanted[i] for i in sorted(set(wanted) - have)]
    if missing:
        buffer.add(namespace, missing)
    ledger.mark_indexed(e.id for e in missing)
    have = buffer.known_ids(namespace)
    known = {p.id: p for p in ledger.learned_probes(namespace, passed=True) if p.kind is Kind.FACT}
    buffer.remove_known(namespace, have - set(known))
    if fresh := [known[i] for i in sorted(set(known) - have)]:
        buffer.add_known(namespace, fresh, {e.id: e.text for e in ledger.learned(namespace)})
