"""What a batch is cut into when Postgres refuses it, decided purely.

The pieces are the same at every attempt, and their tokens come from the whole's: so a crash
between two of them costs nothing, and no piece goes in twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar
from uuid import uuid5

from service.domain.events import LogRow, Refusal
from service.ingest.flush import ACCEPTED, DUPLICATE, kind_name
from service.ingest.refusals import RefusalCode, clip
from service.store.append import Appended, Batch, Rejected

DOOR = "spool"
"""The door at which an event is refused that was acknowledged before."""

T = TypeVar("T")


def pieces(batch: Batch) -> list[Batch]:
    """Two halves, cut between events; of a single event the refusal that stands for it.

    Nothing for a refusal that cannot be stored.
    """
    events = [list(rows) for _, rows in groupby(batch.rows, attrgetter("position"))]
    if len(events) + len(batch.rejected) > 1:
        return _halves(batch, events)
    if events:
        return [Batch(batch.site_id, uuid5(batch.token, "refusal"), rejected=[_refused(events[0])])]
    return []


def _halves(batch: Batch, events: Sequence[list[LogRow]]) -> list[Batch]:
    middle = (len(events) + len(batch.rejected)) // 2
    ahead = max(0, middle - len(events))
    return [
        _piece(batch, "first", events[:middle], batch.rejected[:ahead]),
        _piece(batch, "second", events[middle:], batch.rejected[ahead:]),
    ]


def _piece(
    batch: Batch, name: str, events: Sequence[list[LogRow]], rejected: list[Rejected]
) -> Batch:
    rows = [row for event in events for row in event]
    return Batch(
        batch.site_id,
        uuid5(batch.token, name),
        rows,
        _used(batch.dimensions, (row.dim_id for row in rows)),
        _used(batch.details, (row.detail_id for row in rows)),
        rejected,
    )


def _used(named: dict[int, T], used: Iterable[int]) -> dict[int, T]:
    return {id_: named[id_] for id_ in set(used) & named.keys()}


def _refused(event: Sequence[LogRow]) -> Rejected:
    row = event[0]
    refusal = Refusal(
        row.position,
        RefusalCode.NOT_STORABLE,
        "The database cannot store this event.",
        "",
        clip(str(row.data)),
        row.kind,
    )
    return Rejected(DOOR, refusal)


def outcomes(batch: Batch, result: Appended) -> Counter[tuple[str, str]]:
    """What became of the batch's events, by kind and outcome as counters have them."""
    found: Counter[tuple[str, str]] = Counter()
    position = None
    for seq, row in enumerate(batch.rows):
        if row.position != position:
            position = row.position
            found[kind_name(row.kind), ACCEPTED if result.has(seq) else DUPLICATE] += 1
    return found
