"""Where an answer came from: what was read for it, or the night and the expert that hold it.

Found without a model: the known question that the gate went by names its night and what taught it.
"""

from __future__ import annotations

from sleepmem.records import Citation, Namespace, Probe, Provenance, Recall, View
from sleepmem.stores.ledger import Ledger


def provenance(ledger: Ledger, namespace: Namespace, *, recalled: Recall) -> Provenance | None:
    """Where what is answered after `recalled` comes from; None when no memory is used.

    Raises:
        LedgerError: what is told of it cannot be read.
    """
    view, reason, look = recalled.view, recalled.reason, recalled.look
    if view is View.RETRIEVAL:
        citations = [Citation(one.id, one.date) for one in recalled.oldest_first]
        return Provenance(view, reason, look, tuple(citations)) if citations else None
    if view is not View.WEIGHTS:
        return None
    known = ledger.nights.probe(namespace, recalled.known)
    if known is None:
        return Provenance(view, reason, look, ())
    expert = ledger.lineage.holding(namespace, known.night_id)
    return Provenance(
        view,
        reason,
        look,
        _taught(ledger, namespace, known),
        expert.name if expert else "",
        ledger.nights.first_asked(namespace, known) if known.taken_over else known.night_id,
        known.id,
    )


def _taught(ledger: Ledger, namespace: Namespace, known: Probe) -> tuple[Citation, ...]:
    """What the question is about; a dream has several."""
    ids = known.sources or (known.episode_id,)
    citations = []
    for episode, _ in ledger.episodes.holding(namespace, ids, repeated=True).values():
        note = known.note_id if episode.id == known.episode_id else ""
        citations.append(Citation(episode.id, episode.date, note))
    return tuple(citations)
