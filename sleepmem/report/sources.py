"""Where a memory's answers came from, by the gate's log: what `why` names, counted.

Texts of questions and memories stay in the ledger: a report names days, nights and experts.
"""

from __future__ import annotations

from typing import Any

from sleepmem.day.provenance import provenance
from sleepmem.records import Namespace, Recall, View
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.turns import Turn

# Answers of which is told what they named, the newest.
_SAMPLE = 10


def sources(ledger: Ledger, namespace: Namespace) -> dict[str, Any]:
    """How many answers came from what, and what the newest of the weights' named.

    Returns:
        `weights`, `memories` and `neither`: numbers of questions, by the last decision about each;
        `sample`: of the newest ten that the weights answered the time, the expert that holds it
        now, the night that taught it, and the days of what was told. What names no expert any more
        was rolled back or forgotten since.
    """
    counted = {"weights": 0, "memories": 0, "neither": 0}
    answered: list[Turn] = []
    for turn in ledger.turns.all(namespace):
        counted[_source(turn)] += 1
        if _source(turn) == "weights":
            answered.append(turn)
    sample = [_named(ledger, namespace, turn) for turn in reversed(answered[-_SAMPLE:])]
    return {**counted, "sample": sample}


def _source(turn: Turn) -> str:
    if turn.last["view"] is View.WEIGHTS:
        return "weights"
    return "memories" if turn.last["episodes"] else "neither"


def _named(ledger: Ledger, namespace: Namespace, turn: Turn) -> dict[str, Any]:
    last = turn.last
    recalled = Recall(last["view"], last["reason"], look=last["look"], known=last["known"] or "")
    found = provenance(ledger, namespace, recalled=recalled)
    if found is None or not found.expert:
        return {"at": turn.at, "expert": "", "night": "", "told": []}
    told = sorted({citation.day for citation in found.citations})
    return {"at": turn.at, "expert": found.expert, "night": found.night, "told": told}
