"""What is flushed together, decided purely: batches by site, duplicates, receipts, halves.

A `Pending` is a submission that waits for its commit; a `Part` is what of it is in this flush: all
of it, unless the database refused something and the flush is being bisected.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from service.domain.dimensions import Detail, Dimension
from service.domain.events import LogRow, Receipt, Refusal, Submission
from service.domain.kinds import Kind
from service.ingest.refusals import RefusalCode, clip
from service.store.append import Appended, Batch, Rejected

BATCH_ROWS = 10_000
"""A batch gets no further event at this size: `seq` must stay a smallint."""
KNOWN_NAMES = 200_000
ROW_BYTES = 400
"""What a row takes in memory besides its `data`, roughly."""

_KIND_NAMES = {int(kind): kind.name.lower() for kind in Kind}
UNKNOWN_KIND = "unknown"
T = TypeVar("T")
ACCEPTED, DUPLICATE, REJECTED = "accepted", "duplicate", "rejected"


def kind_name(kind: int) -> str:
    """The kind as counters have it; `unknown` for 0."""
    return _KIND_NAMES.get(kind, UNKNOWN_KIND)


class Pending:
    """A submission and the future of its receipt.

    `size` counts log rows and refusals, `unsettled` those of them whose fate is still open.
    """

    __slots__ = ("accepted", "bytes", "done", "duplicates", "refusals", "size", "submission",
                 "unsettled")  # fmt: skip

    def __init__(self, submission: Submission, done: asyncio.Future[Receipt]) -> None:
        self.submission = submission
        self.done = done
        self.size = self.unsettled = len(submission.rows) + len(submission.refusals)
        self.bytes = ROW_BYTES * self.size + sum(
            [len(row.data) for row in submission.rows]
            + [len(refusal.payload) for refusal in submission.refusals]
        )
        self.accepted = 0
        self.duplicates = 0
        self.refusals = list(submission.refusals)

    def settle(self, size: int) -> None:
        """Note that the fate of so many rows and refusals is known; with the last one, answer."""
        self.unsettled -= size
        # Whoever waited may be gone: what they sent is stored all the same.
        if not self.unsettled and not self.done.done():
            refusals = sorted(self.refusals, key=lambda refusal: refusal.position)
            self.done.set_result(Receipt(self.accepted, self.duplicates, refusals))


class Part(NamedTuple):
    """Some events and refusals of one submission; rows of one event are never apart."""

    pending: Pending
    rows: Sequence[LogRow]
    refusals: Sequence[Refusal]

    @property
    def size(self) -> int:
        """Rows and refusals."""
        return len(self.rows) + len(self.refusals)


def whole(pending: Pending) -> Part:
    """Everything of a submission."""
    return Part(pending, pending.submission.rows, pending.submission.refusals)


class _Seen(Generic[T]):
    """Ids of one table that are committed, by site; bounded."""

    def __init__(self) -> None:
        self._sites: dict[int, set[int]] = {}
        self._size = 0

    def new_of(self, site_id: int, named: dict[int, T], used: Iterable[int]) -> dict[int, T]:
        """What of `named` is not known and has its id in `used`."""
        unknown = named.keys() - self._sites.get(site_id, ())
        return {id_: named[id_] for id_ in unknown.intersection(used)} if unknown else {}

    def learn(self, site_id: int, named: dict[int, T]) -> None:
        """Remember that these are committed."""
        if named:
            self._sites.setdefault(site_id, set()).update(named)
            self._size += len(named)
            if self._size > KNOWN_NAMES:
                self.forget()

    def forget(self) -> None:
        """Remember nothing."""
        self._sites.clear()
        self._size = 0


class Known:
    """Dimensions and details that are committed, so that they are not sent with every batch."""

    def __init__(self) -> None:
        self._dimensions: _Seen[Dimension] = _Seen()
        self._details: _Seen[Detail] = _Seen()

    def name(self, part: Part, batch: Batch) -> None:
        """Give the batch what the part's rows refer to and is not known."""
        named = part.pending.submission
        if named.dimensions:
            used = (row.dim_id for row in part.rows)
            batch.dimensions |= self._dimensions.new_of(batch.site_id, named.dimensions, used)
        if named.details:
            used = (row.detail_id for row in part.rows)
            batch.details |= self._details.new_of(batch.site_id, named.details, used)

    def learn(self, batches: Iterable[Batch]) -> None:
        """Remember what these batches have committed."""
        for batch in batches:
            self._dimensions.learn(batch.site_id, batch.dimensions)
            self._details.learn(batch.site_id, batch.details)

    def forget(self) -> None:
        """Trust nothing: the database may be another one now."""
        self._dimensions.forget()
        self._details.forget()


class _Event(NamedTuple):
    pending: Pending
    kind: int
    seq: int


_KIND_OF = attrgetter("kind")


class _Planned(NamedTuple):
    batch: Batch
    events: list[_Event]


class _Site:
    """Collects one site's batches; an id that comes twice counts once, the first wins."""

    def __init__(self, site_id: int) -> None:
        self._site_id = site_id
        self._first: dict[UUID, tuple[Pending, int]] = {}
        self.planned = [_Planned(Batch(site_id), [])]
        self.repeats: list[_Event] = []

    def add(self, part: Part, known: Known) -> None:
        """Append the part's events, what they refer to, and refusals."""
        pending = part.pending
        batch, events = self.planned[-1]
        known.name(part, batch)
        if part.refusals:
            door = pending.submission.door
            batch.rejected += [Rejected(door, refusal) for refusal in part.refusals]
        position = None
        is_first = True
        for row in part.rows:
            if row.position != position:
                position = row.position
                is_first = row.key is None or self._claims(row.key, pending, position)
                if not is_first:
                    # Where it would have gone says nothing: no result is asked about it.
                    self.repeats.append(_Event(pending, row.kind, len(batch.rows)))
                    continue
                if len(batch.rows) >= BATCH_ROWS:
                    batch, events = self._next()
                events.append(_Event(pending, row.kind, len(batch.rows)))
            if is_first:
                batch.rows.append(row)

    def _claims(self, key: UUID, pending: Pending, position: int) -> bool:
        claim = (pending, position)
        return self._first.setdefault(key, claim) == claim

    def _next(self) -> _Planned:
        self.planned.append(_Planned(Batch(self._site_id), []))
        return self.planned[-1]


@dataclass(slots=True)
class Tally:
    """What a committed flush counts: events by (kind, outcome), refusals by code."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> int:
        """Events that are new in the log."""
        return sum(n for (_, outcome), n in self.events.items() if outcome == ACCEPTED)

    def accept(self, events: Sequence[_Event]) -> None:
        """Events that are new."""
        self._count(events, ACCEPTED)
        for event in events:
            event.pending.accepted += 1

    def repeat(self, events: Sequence[_Event]) -> None:
        """Events whose id was known, or came earlier."""
        self._count(events, DUPLICATE)
        for event in events:
            event.pending.duplicates += 1

    def _count(self, events: Sequence[_Event], outcome: str) -> None:
        for kind, number in Counter(map(_KIND_OF, events)).items():
            self.events[kind_name(kind), outcome] += number

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """More refusals; those of a whole request (position -1) are no events."""
        for refusal in refusals:
            self.codes[refusal.code] += 1
            if refusal.position >= 0:
                self.events[kind_name(refusal.kind), REJECTED] += 1


class _Names:
    """All dimensions and details of some submissions, by site: an id is a hash of what it names,
    and so the same in each of them."""

    def __init__(self, submissions: Iterable[Submission]) -> None:
        self._dimensions: dict[int, dict[int, Dimension]] = {}
        self._details: dict[int, dict[int, Detail]] = {}
        for each in submissions:
            self._dimensions.setdefault(each.site_id, {}).update(each.dimensions)
            self._details.setdefault(each.site_id, {}).update(each.details)

    def completed(self, planned: _Planned) -> Batch:
        """The planned batch, complete."""
        batch, events = planned
        spans = pairwise([*(event.seq for event in events), len(batch.rows)])
        return replace(
            batch,
            rows=[
                row._replace(position=number)
                for number, (start, end) in enumerate(spans)
                for row in batch.rows[start:end]
            ],
            dimensions=_used(self._dimensions[batch.site_id], {row.dim_id for row in batch.rows}),
            details=_used(self._details[batch.site_id], {row.detail_id for row in batch.rows}),
        )


def _used(named: dict[int, T], used: Iterable[int]) -> dict[int, T]:
    return {id_: named[id_] for id_ in used if id_ in named}


class Plan:
    """The batches of one flush, and whose events are where in them."""

    def __init__(self, parts: Sequence[Part], known: Known) -> None:
        self._parts = parts
        sites: dict[int, _Site] = {}
        for part in parts:
            site_id = part.pending.submission.site_id
            site = sites.get(site_id) or sites.setdefault(site_id, _Site(site_id))
            site.add(part, known)
        # In the order of their ids, so that two processes lock sites in one order.
        self._sites = [sites[site_id] for site_id in sorted(sites)]

    @property
    def batches(self) -> list[Batch]:
        """What is to be committed together."""
        return [planned.batch for site in self._sites for planned in site.planned]

    def complete(self) -> list[Batch]:
        """The batches as they can be understood by themselves, under the same tokens.

        They have everything that their rows refer to, whatever is known to be committed; and a
        row's `position` is the number of its event within the batch.
        """
        names = _Names(part.pending.submission for part in self._parts)
        return [names.completed(planned) for site in self._sites for planned in site.planned]

    def settle(self, results: Sequence[Appended]) -> Tally:
        """Write the receipts, now that the batches are committed; answers what to count."""
        tally = Tally()
        planned = [planned for site in self._sites for planned in site.planned]
        for (_, events), result in zip(planned, results, strict=True):
            new = events if result.seqs is None else [e for e in events if e.seq in result.seqs]
            old = () if len(new) == len(events) else [e for e in events if not result.has(e.seq)]
            tally.accept(new)
            tally.repeat(old)
        for site in self._sites:
            tally.repeat(site.repeats)
        for part in self._parts:
            tally.refuse(part.refusals)
            part.pending.settle(part.size)
        return tally


def halves(parts: Sequence[Part]) -> tuple[Sequence[Part], Sequence[Part]] | None:
    """Two smaller flushes that together are this one; None for one event or one refusal."""
    if len(parts) > 1:
        middle = len(parts) // 2
        return parts[:middle], parts[middle:]
    pending, rows, refusals = parts[0]
    if rows and refusals:
        return [Part(pending, rows, ())], [Part(pending, (), refusals)]
    if len(refusals) > 1:
        middle = len(refusals) // 2
        return [Part(pending, (), refusals[:middle])], [Part(pending, (), refusals[middle:])]
    starts = [n for n in range(1, len(rows)) if rows[n].position != rows[n - 1].position]
    if not starts:
        return None
    middle = starts[len(starts) // 2]
    return [Part(pending, rows[:middle], ())], [Part(pending, rows[middle:], ())]


def refused(part: Part) -> Part:
    """The refusal of a single event that the database does not take."""
    row = part.rows[0]
    refusal = Refusal(
        row.position,
        RefusalCode.NOT_STORABLE,
        "The database cannot store this event.",
        "",
        clip(str(row.data)),
        row.kind,
    )
    part.pending.refusals.append(refusal)
    # The event's rows are settled by the refusal that stands for them.
    part.pending.unsettled -= len(part.rows) - 1
    return Part(part.pending, (), [refusal])
