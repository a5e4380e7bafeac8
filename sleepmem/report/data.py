"""What a report and `status` show, read from the ledger as plain data. Imports no matplotlib."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sleepmem.records import Namespace
from sleepmem.report.sources import sources
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.turns import FAILED, Turn

Data = Mapping[str, Any]

# Later than every timestamp, which begin with a year.
_FOREVER = "9999"


def from_ledger(ledger: Ledger, namespace: Namespace) -> dict[str, Any]:
    """The data of one namespace.

    Returns:
        `nights`: its reports, oldest first; `load`: how much is retrieved before the first night
        and after each; `cost`: what each night costs and saves, see `cost`; `sources`: what the
        answers came from, see `sources`.
    """
    nights = ledger.nights.finished(namespace)
    turns = ledger.turns.all(namespace)

    # How much is retrieved between one night and the next?
    load, since = [], ""
    for until in [*(night.finished_at for night in nights), _FOREVER]:
        load.append(_load([turn for turn in turns if since < turn.at <= until]))
        since = until

    # A night saves what the prompt carries less than it did before the first one.
    awake, saved = load[0]["memory_tokens_per_turn"], []
    for after in load[1:]:
        tokens = after["memory_tokens_per_turn"]
        saved.append(None if awake is None or tokens is None else awake - tokens)

    reports = [night.report for night in nights]
    return {
        "namespace": list(namespace),
        "nights": reports,
        "load": load,
        "cost": cost(reports, saved),
        "sources": sources(ledger, namespace),
    }


def status(ledger: Ledger) -> list[dict[str, Any]]:
    """Per namespace: episodes, buffered, learned, live experts, nights, share that retrieved.

    The share is None where nobody asked; `failures` counts what turns went on without,
    `unembedded` episodes that wait for the embeddings: until then only their words find them.
    """
    failed = Counter(tuple(event.get("namespace", ())) for event in ledger.turns.events(FAILED))
    rows = []
    owners = ledger.episodes.namespaces()
    # Of whom everything failed nothing is stored.
    owners += sorted(owner for owner in failed if owner and owner not in owners)
    for owner in owners:
        load = _load(ledger.turns.all(owner))
        rate = load["retrieval_rate"]
        row = {
            "namespace": list(owner),
            "episodes": ledger.episodes.count(owner),
            "buffered": len(ledger.episodes.buffered(owner)),
            "learned": len(ledger.episodes.learned(owner)),
            "experts": [expert.name for expert in ledger.lineage.experts(owner)],
            "nights": len(ledger.nights.finished(owner)),
            "questions": load["questions"],
            "retrieval_rate": None if rate is None else round(rate, 3),
            "failures": failed[owner],
            "unembedded": len(ledger.episodes.unembedded(owner)),
        }
        rows.append(row)
    return rows


def cost(nights: Sequence[Data], saved: Sequence[float | None]) -> list[dict[str, Any]]:
    """Per night: the tokens it generated and trained, its peak memory in bytes, whether it pays.

    Args:
        nights: night reports, oldest first.
        saved: memory tokens a turn that the agent puts into its prompt less after each night;
            None where nobody asked.

    Returns:
        `break_even_turns` is after how many turns the tokens of all nights so far are saved again;
        None where nothing is saved.
    """
    costs, spent = [], 0
    for night, less in zip(nights, saved, strict=True):
        generated, trained = night.get("tokens_generated", 0), night.get("tokens_trained", 0)
        spent += generated + trained
        entry = {
            "tokens_generated": generated,
            "tokens_trained": trained,
            "peak_bytes": night.get("peak_bytes", 0),
            "tokens_saved_per_turn": None if less is None else round(less, 1),
            "break_even_turns": round(spent / less) if less and less > 0 else None,
        }
        costs.append(entry)
    return costs


def sizes(nights: Sequence[Data]) -> str:
    """What the live experts take on disk, and what the text they hold would, in a sentence.

    In a second one, whether they grow slower than it; empty when no night was promoted.
    """
    holding = []
    for night in nights:
        if night.get("expert_bytes") and night.get("text_bytes"):
            holding.append((night["expert_bytes"], night["text_bytes"]))
    if not holding:
        return ""
    (first_experts, first_text), (experts, text) = holding[0], holding[-1]

    today = (
        f"After the last promoted night the experts take {experts:,} bytes on disk, "
        f"the episodes they hold {text:,} bytes of text: {experts / text:,.1f} times as much."
    )
    if len(holding) == 1:
        return today

    more_experts, more_text = experts - first_experts, text - first_text
    slower = "slower" if more_experts < more_text else "not slower"
    return (
        f"{today} Since the first promoted night the experts grew by {more_experts:,} bytes, "
        f"the text by {more_text:,}: {slower} than what they replace; "
        f"they are {experts / first_experts:.1f} times as large, "
        f"the text {text / first_text:.1f} times."
    )


def _load(turns: Sequence[Turn]) -> dict[str, Any]:
    """How many questions, what share of them retrieved, memory tokens in the prompt of one."""
    asked = len(turns)
    retrieved = sum(turn.retrieved for turn in turns)
    tokens = sum(turn.tokens for turn in turns)
    return {
        "questions": asked,
        "retrieval_rate": retrieved / asked if asked else None,
        "memory_tokens_per_turn": tokens / asked if asked else None,
    }
