"""The replay: what was kept outside, many batches in one statement a site, each at most once.

Each batch goes in under its own token, whatever it is sent together with, and leaves a row in
`batch` even if nothing in it is new: so whoever comes again finds it done, rejections too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from service.domain.dimensions import Detail, Dimension
from service.domain.events import LogRow
from service.store.append import ONLY_NEW, STEPS, Appended, Batch, Log, Step, in_order, named

SESSION = {
    # Postgres expects ten rows of any array, and would join thousands in nested loops.
    "enable_nestloop": "off",
    # What waits for a lock is told apart from what takes long.
    "lock_timeout": "5s",
}
"""Server settings of a connection that replays."""


class Kept(NamedTuple):
    """A batch that is complete in itself, and when it was received (aware, UTC)."""

    received_at: datetime
    batch: Batch


_ROWS = """
fresh AS MATERIALIZED (
    SELECT r.* FROM {source} {only_new}
)"""
_NO_ROWS = """
fresh AS (
    SELECT NULL::integer AS number, NULL::smallint AS seq, NULL::timestamptz AS occurred_at
    WHERE false
)"""
_BATCHES = """
appended AS (
    INSERT INTO batch (site_id, token, received_at, events, first_at, last_at, projected_at)
    SELECT $1, b.token, b.received_at, coalesce(f.events, 0), coalesce(f.first_at, b.received_at),
           coalesce(f.last_at, b.received_at), CASE WHEN f.events IS NULL THEN b.received_at END
    FROM unnest($2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS b(token, received_at, number)
    LEFT JOIN (SELECT number, count(*) AS events, min(occurred_at) AS first_at,
                      max(occurred_at) AS last_at FROM fresh GROUP BY number) AS f USING (number)
    ORDER BY b.number
    ON CONFLICT (token, site_id) DO NOTHING
    RETURNING id, token
),
new AS (
    SELECT b.number, b.received_at, a.id FROM appended AS a
    JOIN unnest($2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS b(token, received_at, number)
    USING (token)
)"""
"""A batch without new rows is there for its token only: there is nothing to project."""

_LOGGED = """
logged AS (
    INSERT INTO event (
        site_id, batch_id, occurred_at, visitor, dim_id, seq, kind, flags, data, detail_id)
    SELECT $1, n.id, f.occurred_at, f.visitor, f.dim_id, f.seq, f.kind, f.flags, f.data,
           f.detail_id
    FROM fresh AS f JOIN new AS n USING (number)
)"""
_REJECTED = """
rejected AS (
    INSERT INTO rejection (site_id, received_at, door, code, message, field, payload)
    SELECT $1, n.received_at, r.door, r.code, r.message, r.field, r.payload
    FROM {source} JOIN new AS n USING (number)
)"""
_ANSWER = """
SELECT CASE WHEN (SELECT count(*) FROM new) < cardinality($2)
       THEN ARRAY(SELECT number::integer FROM new) END,
       CASE WHEN (SELECT count(*) FROM fresh) < {rows}
       THEN ARRAY(SELECT (number::bigint << 16) | seq::bigint FROM fresh) END"""

_NUMBER = ("number", "integer")
_LATEST = "($3::timestamptz[])[cardinality($3)]"

_STEPS = {
    **STEPS,
    "rows": Step((_NUMBER, ("seq", "smallint"), *STEPS["rows"].columns), _ROWS),
    "rejected": Step((_NUMBER, *STEPS["rejected"].columns), _REJECTED),
}


@cache
def statement(steps: tuple[str, ...]) -> str:
    """The SQL of these steps; parameters: site, tokens, times of receipt, then the arrays.

    Rows and refusals have the `number` of their batch, from 1 on.
    """
    parts: dict[str, str] = {}
    rows = "0"
    parameter = 4
    for name in steps:
        step = _STEPS[name]
        arrays = [f"${parameter + n}::{type_}[]" for n, (_, type_) in enumerate(step.columns)]
        parameter += len(arrays)
        columns = ", ".join(column for column, _ in step.columns)
        source = f"unnest({', '.join(arrays)}) AS r({columns})"
        only_new = ONLY_NEW if "keys" in steps else ""
        parts[name] = step.sql.format(source=source, only_new=only_new, received_at=_LATEST)
        rows = f"cardinality({arrays[0]})" if name == "rows" else rows
    written = [parts.pop("keys", ""), parts.pop("rows", _NO_ROWS), _BATCHES]
    written += [_LOGGED] if "rows" in steps else []
    written += parts.values()
    return f"WITH{','.join(filter(None, written))}{_ANSWER.format(rows=rows)}"


class _Columns(NamedTuple):
    """What one site's batches send, by step, and which rows those are."""

    arrays: dict[str, Sequence[Sequence[Any]]]
    rows: list[tuple[int, int]]


def _columns(batches: Sequence[Batch]) -> _Columns:
    rows: list[tuple[int, int, LogRow]] = []
    rejected: list[tuple[Any, ...]] = []
    dimensions: dict[int, Dimension] = {}
    details: dict[int, Detail] = {}
    first: dict[UUID, int] = {}
    for number, batch in enumerate(batches, start=1):
        for seq, row in enumerate(batch.rows):
            # An id that comes in two batches counts once, the first wins.
            if row.key is None or first.setdefault(row.key, number) == number:
                rows.append((number, seq, row))
        for door, refusal in batch.rejected:
            rejected.append((number, door, *refusal[1:-1]))
        dimensions |= batch.dimensions
        details |= batch.details
    arrays: dict[str, Sequence[Sequence[Any]]] = {}
    if first:
        arrays["keys"] = (in_order(first),)
    if rows:
        numbers, seqs, logged = zip(*rows, strict=True)
        _, *columns = zip(*logged, strict=True)
        arrays["rows"] = (numbers, seqs, *columns)
    arrays |= named(dimensions, details)
    if rejected:
        arrays["rejected"] = tuple(zip(*rejected, strict=True))
    return _Columns(arrays, [(number, seq) for number, seq, _ in rows])


_KNOWN = "SELECT token FROM batch WHERE site_id = $1 AND token = ANY($2::uuid[])"

_DIVIDE = """
WITH taken AS (
    INSERT INTO batch (site_id, token, received_at, events, first_at, last_at, projected_at)
    VALUES ($1, $2, $4, 0, $4, $4, $4)
    ON CONFLICT (token, site_id) DO NOTHING
    RETURNING site_id
)
INSERT INTO batch (site_id, token, received_at, events, first_at, last_at, projected_at)
SELECT site_id, $3, $4, 0, $4, $4, $4 FROM taken
RETURNING token"""


def _mark(token: UUID) -> UUID:
    return uuid5(token, "divided")


def _by_site(batches: Iterable[Batch]) -> dict[int, list[Batch]]:
    """In the order of their ids, so that two processes lock sites in one order."""
    sites: dict[int, list[Batch]] = {}
    for batch in batches:
        sites.setdefault(batch.site_id, []).append(batch)
    return dict(sorted(sites.items()))


class ReplayLog(Log):
    """A connection that replays; raises as a `Log` does."""

    async def known(self, batches: Sequence[Batch]) -> Mapping[UUID, bool]:
        """The tokens that are there already, and whether they were divided."""
        found: dict[UUID, bool] = {}
        prepared = await self._prepared(_KNOWN)
        for site_id, theirs in _by_site(batches).items():
            tokens = [token for batch in theirs for token in (batch.token, _mark(batch.token))]
            there = {row[0] for row in await prepared.fetch(site_id, tokens)}
            found |= {b.token: _mark(b.token) in there for b in theirs if b.token in there}
        return found

    async def replay(self, kept: Sequence[Kept]) -> list[Appended]:
        """Commit batches together that are not `known`, and answer what became of each.

        One that has been committed by somebody else meanwhile is left as it is there.
        """
        sites = _by_site(each.batch for each in kept)
        received = {each.batch.token: each.received_at for each in kept}
        results: dict[UUID, Appended | None] = {}
        async with self._connection.transaction():
            for batches in sites.values():
                times = [received[batch.token] for batch in batches]
                results |= await self._replay(batches, times)
        return [results[batch.token] or await self.outcome(batch) for _, batch in kept]

    async def _replay(
        self, batches: Sequence[Batch], times: Sequence[datetime]
    ) -> dict[UUID, Appended | None]:
        arrays, sent = _columns(batches)
        prepared = await self._prepared(statement(tuple(arrays)))
        tokens = [batch.token for batch in batches]
        columns = chain.from_iterable(arrays.values())
        [(new, fresh)] = await prepared.fetch(batches[0].site_id, tokens, times, *columns)
        positions = sent if fresh is None else [(code >> 16, code & 0x7FFF) for code in fresh]
        seqs: dict[int, set[int]] = {}
        for number, seq in positions:
            seqs.setdefault(number, set()).add(seq)
        there = set(range(1, len(batches) + 1) if new is None else new)
        return {
            batch.token: Appended(frozenset(seqs.get(number, ()))) if number in there else None
            for number, batch in enumerate(batches, start=1)
        }

    async def outcome(self, batch: Batch) -> Appended:
        """What is in the log because of a batch that is `known`."""
        return await self._outcome(batch) or Appended(frozenset())

    async def divide(self, kept: Kept) -> bool:
        """Commit that a batch goes in in pieces from now on; False when it is there already."""
        batch = kept.batch
        mark = _mark(batch.token)
        prepared = await self._prepared(_DIVIDE)
        return bool(await prepared.fetch(batch.site_id, batch.token, mark, kept.received_at))
