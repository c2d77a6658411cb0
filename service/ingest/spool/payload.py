"""What a record of the spool holds: one flush as JSON, complete in itself.

It may be replayed by a later version against another server, so nothing is left out that its rows
refer to. A change of what is written gets another `FORMAT`, and the formats before stay readable:
a spool is what is left when something went wrong, an upgrade too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from service.domain.dimensions import Detail, Dimension
from service.domain.events import LogRow, Refusal
from service.kit.json import dumps
from service.store.append import Batch, Rejected

FORMAT = 1


class PayloadError(ValueError):
    """The payload is none that this version can read."""


class Flush(NamedTuple):
    """Batches that were acknowledged together, and when they were received (aware, UTC).

    `LogRow.position` is the running number of the event within its batch: the rows of one event
    share it, so that a batch can be halved between events.
    """

    received_at: datetime
    batches: Sequence[Batch]

    @property
    def events(self) -> int:
        """How many events it has rows of."""
        return sum(len({row.position for row in batch.rows}) for batch in self.batches)


def encode(flush: Flush) -> bytes:
    """The payload of a record."""
    value = {
        "format": FORMAT,
        "received_at": flush.received_at.isoformat(),
        "batches": [_batch(batch) for batch in flush.batches],
    }
    # Lone surrogates are no text that Postgres takes, but that is for it to say.
    return dumps(value).encode("utf-8", "surrogatepass")


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "site_id": batch.site_id,
        "token": batch.token.hex,
        "rows": [
            (position, kind, occurred_at.isoformat(), visitor, dim_id, detail_id, flags,
             key.hex if key else None, data)
            for position, kind, occurred_at, visitor, dim_id, detail_id, flags, key, data
            in batch.rows
        ],
        "dimensions": [(dim_id, *names) for dim_id, names in batch.dimensions.items()],
        "details": [(detail_id, *detail) for detail_id, detail in batch.details.items()],
        "rejected": [(door, *refusal) for door, refusal in batch.rejected],
    }  # fmt: skip


def decode(payload: bytes) -> Flush:
    """The flush again, equal to what was encoded; PayloadError for anything else."""
    try:
        # Not what strangers send: every text comes back as it was, whatever is in it.
        value = json.loads(payload.decode("utf-8", "surrogatepass"))
        if value["format"] != FORMAT:
            raise PayloadError(f"The record has format {value['format']!r}.")
        received_at = datetime.fromisoformat(value["received_at"])
        return Flush(received_at, [_batch_of(batch) for batch in value["batches"]])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"The record cannot be read: {type(error).__name__}.") from error


def _batch_of(value: dict[str, Any]) -> Batch:
    return Batch(
        site_id=value["site_id"],
        token=UUID(value["token"]),
        rows=[_row(*row) for row in value["rows"]],
        dimensions={dim_id: Dimension(*names) for dim_id, *names in value["dimensions"]},
        details={
            detail_id: Detail(page, country, device, tuple((name, text) for name, text in props))
            for detail_id, page, country, device, props in value["details"]
        },
        rejected=[Rejected(door, Refusal(*refusal)) for door, *refusal in value["rejected"]],
    )


def _row(  # noqa: PLR0917 -- a row's columns, in their order
    position: int,
    kind: int,
    occurred_at: str,
    visitor: int,
    dim_id: int,
    detail_id: int,
    flags: int,
    key: str | None,
    data: str,
) -> LogRow:
    return LogRow(
        position, kind, datetime.fromisoformat(occurred_at), visitor, dim_id, detail_id, flags,
        UUID(key) if key else None, data,
    )  # fmt: skip
