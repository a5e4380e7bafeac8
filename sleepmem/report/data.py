"""What a report shows of one namespace, read from the ledger: its nights, the retrieval load between them, what they cost and save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sleepmem.records import Namespace
from sleepmem.stores.ledger import Ledger

Data = Mapping[str, Any]


def from_ledger(ledger: Ledger, namespace: Namespace) -> dict[str, Any]:
    """The data of one namespace: its nights, and the retrieval load between them."""
    nights = ledger.nights(namespace)
    turns = ledger.turns(namespace)
    ends = [n["finished_at"] for n in nights] + ["9999"]
    load, start = [], ""
    for end in ends:
        between = [t for t in turns if start < t["at"] <= end]
        retrieved = sum(t["retrieved"] for t in between)
        load.append(
            {
                "questions": len(between),
                "retrieval_rate": retrieved / len(between) if between else None,
                "memory_tokens_per_turn": sum(t["tokens"] for t in between) / len(between)
                if between
                else None,
            }
        )
        start = end
    first = load[0]["memory_tokens_per_turn"]
    per_turn = [x["memory_tokens_per_turn"] for x in load[1:]]
    saved = [None if first is None or tokens is None else first - tokens for tokens in per_turn]
    reports = [n["report"] for n in nights]
    return {
        "namespace": list(namespace),
        "nights": reports,
        "load": load,
        "cost": cost(reports, saved),
    }


def cost(nights: Sequence[Data], saved: Sequence[float | None]) -> list[dict[str, Any]]:
    """Per night: the tokens it generated and trained, its peak memory in bytes, and whether it pays.

    Args:
        nights: night reports, oldest first.
        saved: memory tokens a turn that the agent puts into its prompt less after each night; None where nobody asked.

    Returns:
        `break_even_turns` is after how many turns the tokens of all nights so far are saved again; None where nothing is saved.
    """
    out, spent = [], 0
    for n, less in zip(nights, saved, strict=True):
        exam = n.get("exam", {})
        made, trained = (
            n.get("tokens_generated", exam.get("tokens_generated", 0)),
            n.get("tokens_trained", 0),
        )
        spent += made + trained
        out.append(
            {
                "tokens_generated": made,
                "tokens_trained": trained,
                "peak_bytes": n.get("peak_bytes", exam.get("peak_bytes", 0)),
                "tokens_saved_per_turn": None if less is None else round(less, 1),
                "break_even_turns": round(spent / less) if less and less > 0 else None,
            }
        )
    return out


def sizes(nights: Sequence[Data]) -> str:
    """What the live experts take on disk, what the text they hold would take, and whether they grow slower than it, in a sentence or two."""
    held = [
        (x["expert_bytes"], x["text_bytes"])
        for n in nights
        if (x := n.get("exam", {})).get("expert_bytes") and x.get("text_bytes")
    ]
    if not held:
        return ""
    (first_experts, first_text), (experts, text) = held[0], held[-1]
    times = f"{experts / text:,.1f} times as much"
    said = f"After the last promoted night the experts take {experts:,} bytes on disk, the episodes they hold {text:,} bytes of text: {times}."
    if len(held) == 1:
        return said
    more_experts, more_text = experts - first_experts, text - first_text
    slower = "slower" if more_experts < more_text else "not slower"
    grew = f"the experts grew by {more_experts:,} bytes, the text by {more_text:,}: {slower} than what they replace"
    return f"{said} Since the first promoted night {grew}; they are {experts / first_experts:.1f} times as large, the text {text / first_text:.1f} times."
