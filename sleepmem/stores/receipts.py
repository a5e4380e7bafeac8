"""The receipts of what was forgotten: a chain, of which no link can be changed unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sleepmem.records import Namespace, Receipt, namespace_key, now
from sleepmem.stores.database import Database
from sleepmem.stores.rows import RESTORE, intact, namespace_of, unreadable, value_of


class Receipts:
    """Kept for ever; none holds a word of what it is about."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        namespace: Namespace,
        *,
        asked: Mapping[str, Any],
        removed: Mapping[str, int],
        experts: tuple[str, ...],
        returned: int,
        proof: Mapping[str, int],
    ) -> Receipt:
        """Write the next one."""
        with self._database.write() as db:
            # What is damaged or missing among the others is told by `faults`, and stops nobody.
            ((last,),) = self._database.rows("SELECT coalesce(max(number), 0) FROM receipts")
            receipt = Receipt(
                number=last + 1,
                namespace=namespace,
                at=now(),
                asked=dict(asked),
                removed=dict(removed),
                experts=experts,
                returned=returned,
                proof=dict(proof),
                previous=self._last,
            )
            row = {
                "number": receipt.number,
                "namespace": namespace_key(namespace),
                "at": receipt.at,
                "asked": json.dumps(receipt.asked),
                "removed": json.dumps(receipt.removed),
                "experts": json.dumps(list(experts)),
                "returned": returned,
                "proof": json.dumps(receipt.proof),
                "previous": receipt.previous,
                "sha256": receipt.sha256,
            }
            db.table("receipts").insert(row)
            db.execute("UPDATE folder SET last_receipt = ?", [receipt.sha256])
            db.execute(
                "INSERT INTO receipt_counts VALUES (?, 1) "
                "ON CONFLICT (namespace) DO UPDATE SET number = number + 1",
                [row["namespace"]],
            )
        return receipt

    def all(self) -> list[Receipt]:
        """In their order.

        Raises:
            LedgerError: one cannot be read.
        """
        rows = self._database.rows("SELECT * FROM receipts ORDER BY number")
        return [_as_receipt(row) for row in rows]

    def faults(self) -> list[str]:
        """Receipts that are not what was written, or are missing from the chain."""
        rows = self._database.rows("SELECT * FROM receipts ORDER BY number")
        faults = unreadable(rows, _as_receipt)
        if faults:
            return faults
        number, previous = 0, ""
        for row in rows:
            receipt = _as_receipt(row)
            is_next = (receipt.number, receipt.previous) == (number + 1, previous)
            if not is_next or receipt.sha256 != row["sha256"]:
                faults.append(
                    f"receipt {receipt.number} is not what was written after receipt {number}; "
                    f"rows were changed or deleted by hand. {RESTORE}"
                )
            number, previous = receipt.number, row["sha256"]
        if self._last != previous:
            faults.append(f"receipts were deleted after receipt {number}. {RESTORE}")
        return faults or self._miscounted()

    def _miscounted(self) -> list[str]:
        """Owners who have not as many as were written."""
        rows = self._database.rows(
            "SELECT namespace, sum(written), sum(there) FROM ("
            "SELECT namespace, number AS written, 0 AS there FROM receipt_counts UNION ALL "
            "SELECT namespace, 0, 1 FROM receipts) GROUP BY namespace ORDER BY namespace"
        )
        return [
            f"of {key} {there} receipts are in the ledger and {written} were written; rows were "
            f"deleted or put there by hand. {RESTORE}"
            for key, written, there in rows
            if written != there
        ]

    @property
    def _last(self) -> str:
        """The hash of the newest that was ever written; empty before the first."""
        ((last,),) = self._database.rows("SELECT coalesce(last_receipt, '') FROM folder")
        return str(last)


def _as_receipt(row: Any) -> Receipt:
    with intact(f"receipt {row['number']}"):
        return Receipt(
            number=row["number"],
            namespace=namespace_of(row["namespace"]),
            at=row["at"],
            asked=value_of(row["asked"], dict),
            removed=value_of(row["removed"], dict),
            experts=tuple(value_of(row["experts"], list)),
            returned=row["returned"],
            proof=value_of(row["proof"], dict),
            previous=row["previous"],
        )
