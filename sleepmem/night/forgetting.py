"""What is to be forgotten, and the proof that it is: asked closed-book before and after.

After is what answers then: the experts that never saw it. Beside them the base, which never did.
"""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.model.local import LocalModel
from sleepmem.night.measures import recall
from sleepmem.records import Expert, Kind, Probe
from sleepmem.stores.erasure import Erasure, staying
from sleepmem.stores.expert_folder import ExpertFolders
from sleepmem.stores.ledger import Ledger

_ASKED = (Kind.FACT, Kind.DREAM)


def proven(
    local: LocalModel, ledger: Ledger, *, experts: ExpertFolders, erasure: Erasure
) -> dict[str, int]:
    """How many questions about it are answered right before, after, and by the base.

    Empty where no night asked any, or no expert goes.

    Raises:
        ExpertError: the files of an expert are missing or damaged.
    """
    ids = set(erasure.ids)
    asked: dict[str, Probe] = {}
    for probe in ledger.nights.of(erasure.namespace):
        if probe.kind in _ASKED and not ids.isdisjoint([probe.episode_id, *probe.sources]):
            asked.setdefault(probe.question, probe)
    if not asked or not erasure.experts:
        return {}
    before = [one.name for one in ledger.lineage.experts(erasure.namespace)]
    after = _live(staying(ledger, erasure))
    experts.load(local, [*before, *after])
    probes = list(asked.values())
    return {
        "asked": len(probes),
        "before": int(recall(local, probes, experts=before)[0].right),
        "after": int(recall(local, probes, experts=after)[0].right),
        "base": int(recall(local, probes, experts=())[0].right),
    }


def _live(experts: Sequence[Expert]) -> list[str]:
    """Those that another of them has not absorbed."""
    absorbed = {name for one in experts for name in one.lineage}
    return [one.name for one in experts if one.name not in absorbed]
