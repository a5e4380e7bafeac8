"""Keep the index and the folders of the experts what the ledger says.

What a crash left between them is mended here.
"""

from __future__ import annotations

from collections.abc import Iterable

from sleepmem.errors import ExpertError
from sleepmem.records import Kind, Namespace, Probe
from sleepmem.stores.buffer import Buffer
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger
from sleepmem.text.heads import SURELY_ASKS


def reconcile(
    ledger: Ledger, buffer: Buffer, *, experts: ExpertFolders, check_experts: bool = True
) -> None:
    """Take back or finish what a killed process left half done.

    Raises:
        ExpertError: an expert that should be live is missing or damaged.
    """
    promoted = {expert.name for expert in ledger.lineage.experts(live=False)}
    finished = {night.id for night in ledger.nights.finished()}
    for removed in experts.sweep(promoted, finished):
        ledger.turns.log_event("reconcile", removed=removed)
    if check_experts:
        for expert in ledger.lineage.experts():
            try:
                experts.check(expert.name)
            except ExpertError as error:
                owner = "/".join(expert.namespace)
                raise ExpertError(f"{error} It is an expert of {owner}.") from None
    for namespace in ledger.episodes.namespaces():
        reconcile_index(ledger, buffer, namespace=namespace)


def verify(ledger: Ledger, buffer: Buffer, *, experts: ExpertFolders) -> list[str]:
    """What does not agree, one sentence each."""
    faults = ledger.verify()
    for expert in ledger.lineage.experts():
        try:
            experts.check(expert.name)
        except ExpertError as error:
            faults.append(str(error))
    for namespace in ledger.episodes.namespaces():
        buffered = {episode.id for episode in ledger.episodes.buffered(namespace)}
        learned = {episode.id for episode in ledger.episodes.learned(namespace)}
        known = set(_known_questions(ledger, namespace))
        indexed = buffer.ids(namespace), buffer.archived_ids(namespace), buffer.known_ids(namespace)
        if indexed != (buffered, learned, known):
            faults.append(
                f"the index of {namespace} is not what the ledger says; "
                "reopening the folder mends it"
            )
    return faults


def reconcile_index(ledger: Ledger, buffer: Buffer, *, namespace: Namespace) -> None:
    """Make the index what the ledger says.

    Buffered episodes, learned ones that still hold, and known questions; no others.
    """
    # 1. The buffer. Read before the ledger is: what another thread adds in between is no stranger.
    indexed = buffer.ids(namespace)
    buffered = {episode.id: episode for episode in ledger.episodes.buffered(namespace)}
    buffer.remove(namespace, indexed - set(buffered))
    missing = [buffered[episode_id] for episode_id in sorted(set(buffered) - indexed)]
    if missing:
        buffer.add(namespace, missing, asking=_asking(ledger, [one.id for one in missing]))
    buffer.flush(namespace)
    ledger.episodes.mark_indexed(sorted(set(buffered)))

    # 2. What the weights hold.
    archived = buffer.archived_ids(namespace)
    learned = {episode.id: episode for episode in ledger.episodes.learned(namespace)}
    buffer.remove_archived(namespace, archived - set(learned))
    absent = [learned[episode_id] for episode_id in sorted(set(learned) - archived)]
    if absent:
        buffer.archive(namespace, absent)

    # 3. What they answer.
    indexed = buffer.known_ids(namespace)
    known = _known_questions(ledger, namespace)
    buffer.remove_known(namespace, indexed - set(known))
    fresh = [known[probe_id] for probe_id in sorted(set(known) - indexed)]
    if fresh:
        texts = {episode_id: episode.text for episode_id, episode in learned.items()}
        buffer.add_known(namespace, fresh, taught_by=texts)


def catch_up(ledger: Ledger, buffer: Buffer) -> None:
    """Index what was stored since, by this process or others, or before a crash."""
    for namespace, gone in ledger.episodes.take_replaced().items():
        buffer.leave_out(namespace, gone)
    unindexed: dict[Namespace, set[str]] = {}
    for episode_id, namespace in ledger.episodes.unindexed().items():
        unindexed.setdefault(namespace, set()).add(episode_id)
    for namespace, ids in unindexed.items():
        new = ids - buffer.waiting(namespace)
        if new:
            episodes = ledger.episodes.get(new)
            indexed = buffer.add(namespace, episodes, asking=_asking(ledger, new))
            ledger.episodes.mark_indexed(indexed)


def _asking(ledger: Ledger, episode_ids: Iterable[str]) -> set[str]:
    """Those of these episodes that surely ask, and tell nothing."""
    asking = ledger.episodes.asking(episode_ids)
    return {one for one, log_odds in asking.items() if log_odds >= SURELY_ASKS}


def _known_questions(ledger: Ledger, namespace: Namespace) -> dict[str, Probe]:
    """What was answered right closed-book about facts and dreams, by id."""
    known = {}
    for probe in ledger.nights.learned_probes(namespace, passed=True):
        if probe.kind in (Kind.FACT, Kind.DREAM):
            known[probe.id] = probe
    return known
