"""The append: what one flush writes to the log, as one statement a site.

Batch row, idempotency keys, log rows, new dimensions and details, and rejections are one statement,
so that a flush of one site is one round trip and needs no transaction around it. Raw asyncpg,
prepared once for each connection, with a generic plan: this is the hottest statement there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid4

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.dimensions import DIMENSIONS, Detail, Dimension
from service.domain.events import LogRow, Refusal
from service.kit import json
from service.store.engine import connect
from service.store.partitions import Month, Partitions

NOTHING: Mapping[str, str] = MappingProxyType({})


class Rejected(NamedTuple):
    """A refusal and the door (route name) at which it happened."""

    door: str
    refusal: Refusal


@dataclass(slots=True)
class Batch:
    """One site's part of a flush.

    `token` is sent again when the outcome of a commit is unknown. `rows` are in the order of
    receipt, at most 32,767 (a row's index is its `seq`), and hold each key for one event only.
    """

    site_id: int
    token: UUID = field(default_factory=uuid4)
    rows: list[LogRow] = field(default_factory=list)
    dimensions: dict[int, Dimension] = field(default_factory=dict)
    details: dict[int, Detail] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


class Appended(NamedTuple):
    """What became of a batch: `seqs` of its rows in the log, or None when it is all of them."""

    seqs: frozenset[int] | None = None

    def has(self, seq: int) -> bool:
        """Whether the row is in the log because of this batch."""
        return self.seqs is None or seq in self.seqs


_KEYS = """
inserted AS (
    INSERT INTO event_key AS k (site_id, key, seen_on)
    SELECT $1, r.key, ({received_at} AT TIME ZONE 'UTC')::date FROM {source}
    ON CONFLICT (site_id, key) DO UPDATE SET seen_on = excluded.seen_on
    WHERE k.seen_on < excluded.seen_on
    RETURNING key, xmax = 0 AS is_new
)"""
"""`xmax` is 0 only for a row that was not there; one that was is remembered for another while."""

ONLY_NEW = "WHERE r.key IS NULL OR r.key IN (SELECT key FROM inserted WHERE is_new)"
"""Behind OR this stays a hashed sub-plan. As a join it would be planned for the ten rows that
Postgres expects of any array, and be quadratic."""

_ROWS = """
fresh AS MATERIALIZED (
    SELECT (r.seq - 1)::smallint AS seq, r.kind, r.occurred_at, r.visitor, r.dim_id, r.detail_id,
           r.flags, r.data
    FROM {source} {only_new}
),
appended AS (
    INSERT INTO batch (site_id, token, received_at, events, first_at, last_at, projected_at)
    SELECT $1, $2, $3, count(*), coalesce(min(occurred_at), $3), coalesce(max(occurred_at), $3),
           CASE WHEN count(*) = 0 THEN $3 END
    FROM fresh {unless_empty}
    RETURNING id
),
logged AS (
    INSERT INTO event (
        site_id, batch_id, occurred_at, visitor, dim_id, seq, kind, flags, data, detail_id)
    SELECT $1, (SELECT id FROM appended), occurred_at, visitor, dim_id, seq, kind, flags, data,
           detail_id
    FROM fresh
)"""
_NO_NEW_ROWS = """
appended AS (
    INSERT INTO batch (site_id, token, received_at, events, first_at, last_at, projected_at)
    VALUES ($1, $2, $3, 0, $3, $3, $3)
)"""
"""With refusals a batch is there also without events: its token says that they are recorded."""

_DIMENSIONS = """
named AS (
    INSERT INTO dimension (
        site_id, dim_id, channel, source, medium, campaign, content, term, survey, event)
    SELECT $1, r.dim_id, r.channel, r.source, r.medium, r.campaign, r.content, r.term, r.survey,
           r.event
    FROM {source}
    ON CONFLICT (site_id, dim_id) DO NOTHING
)"""
_DETAILS = """
detailed AS (
    INSERT INTO detail (site_id, detail_id, page, country, device, props)
    SELECT $1, r.detail_id, r.page, r.country, r.device, r.props FROM {source}
    ON CONFLICT (site_id, detail_id) DO NOTHING
)"""
_REJECTED = """
rejected AS (
    INSERT INTO rejection (site_id, received_at, door, code, message, field, payload)
    SELECT $1, $3, r.door, r.code, r.message, r.field, r.payload FROM {source}
)"""


@dataclass(frozen=True, slots=True)
class Step:
    """One CTE (or more); `columns` (name, type) travel as one array each."""

    columns: tuple[tuple[str, str], ...]
    sql: str


STEPS = {
    "keys": Step((("key", "uuid"),), _KEYS),
    "rows": Step(
        (
            ("kind", "smallint"),
            ("occurred_at", "timestamptz"),
            ("visitor", "bigint"),
            ("dim_id", "bigint"),
            ("detail_id", "bigint"),
            ("flags", "smallint"),
            ("key", "uuid"),
            ("data", "jsonb"),
        ),
        _ROWS,
    ),
    "dimensions": Step(
        (("dim_id", "bigint"), *((name, "text") for name in DIMENSIONS)), _DIMENSIONS
    ),
    "details": Step(
        (
            ("detail_id", "bigint"),
            *((name, "text") for name in ("page", "country", "device")),
            ("props", "jsonb"),
        ),
        _DETAILS,
    ),
    "rejected": Step(
        tuple((name, "text") for name in ("door", "code", "message", "field", "payload")),
        _REJECTED,
    ),
}
"""What a statement may have to write; it has only the steps that are needed."""

# Every parameter must be mentioned, or Postgres cannot know its type.
_ANSWER = """
SELECT CASE WHEN $2::uuid IS NOT NULL AND (SELECT count(*) FROM fresh) < cardinality({kind})
       THEN ARRAY(SELECT seq FROM fresh) END"""
_NO_ROWS = """
SELECT NULL::smallint[] WHERE $2::uuid IS NOT NULL AND $3::timestamptz IS NOT NULL"""

_BEAT = """
INSERT INTO canary AS c (path, seen_at) VALUES ($1, $2)
ON CONFLICT (path) DO UPDATE SET seen_at = excluded.seen_at WHERE c.seen_at < excluded.seen_at"""

_OUTCOME = """
SELECT ARRAY(SELECT e.seq FROM event AS e
             WHERE e.site_id = b.site_id AND e.batch_id = b.id
               AND e.occurred_at >= b.first_at AND e.occurred_at <= b.last_at)
FROM batch AS b WHERE b.token = $2 AND b.site_id = $1"""


@cache
def statement(steps: tuple[str, ...]) -> str:
    """The SQL of these steps; parameters: site, token, time of receipt, then the arrays."""
    parts = []
    kind = ""
    number = 4
    for name in steps:
        step = STEPS[name]
        arrays = [f"${number + n}::{type_}[]" for n, (_, type_) in enumerate(step.columns)]
        number += len(arrays)
        columns = ", ".join(column for column, _ in step.columns)
        source = f"unnest({', '.join(arrays)}) WITH ORDINALITY AS r({columns}, seq)"
        only_new = ONLY_NEW if "keys" in steps else ""
        unless_empty = "" if "rejected" in steps else "HAVING count(*) > 0"
        parts.append(
            step.sql.format(
                source=source, only_new=only_new, unless_empty=unless_empty, received_at="$3"
            )
        )
        kind = arrays[0] if name == "rows" else kind
    if "rejected" in steps and not kind:
        parts.append(_NO_NEW_ROWS)
    return f"WITH{','.join(parts)}{_ANSWER.format(kind=kind) if kind else _NO_ROWS}"


_KEY = LogRow._fields.index("key") - 1
"""Its place among the columns that are sent: all but the first."""

_BY_NUMBER = attrgetter("int")
"""UUIDs compare this way themselves, but much more slowly."""


def in_order(keys: Iterable[Any]) -> list[UUID]:
    """Each UUID once, sorted, so that two processes never wait for each other in a circle."""
    return sorted(set(keys) - {None}, key=_BY_NUMBER)


def _arrays(batch: Batch) -> dict[str, Sequence[Sequence[Any]]]:
    """The columns to send, by step, in the order of the steps."""
    arrays: dict[str, Sequence[Sequence[Any]]] = {}
    if batch.rows:
        _, *columns = zip(*batch.rows, strict=True)
        keys = in_order(columns[_KEY])
        if keys:
            arrays["keys"] = (keys,)
        arrays["rows"] = columns
    arrays |= named(batch.dimensions, batch.details)
    if batch.rejected:
        doors, refusals = zip(*batch.rejected, strict=True)
        _, *columns, _ = zip(*refusals, strict=True)
        arrays["rejected"] = (doors, *columns)
    return arrays


def named(
    dimensions: Mapping[int, Dimension], details: Mapping[int, Detail]
) -> dict[str, Sequence[Sequence[Any]]]:
    """The columns of what rows refer to, by step; sorted, so that nobody waits in a circle."""
    arrays: dict[str, Sequence[Sequence[Any]]] = {}
    if dimensions:
        ids = sorted(dimensions)
        names = zip(*(dimensions[dim_id] for dim_id in ids), strict=True)
        arrays["dimensions"] = (ids, *names)
    if details:
        ids = sorted(details)
        *places, props = zip(*(details[detail_id] for detail_id in ids), strict=True)
        arrays["details"] = (ids, *places, [json.dumps(dict(pairs)) for pairs in props])
    return arrays


class Log:
    """One connection that appends to the log; its owner uses it for one thing at a time.

    Every method raises what asyncpg raises. After anything but a refusal of the data the
    connection is to be dropped.
    """

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._statements: dict[str, PreparedStatement[Any]] = {}

    @classmethod
    async def open(
        cls, engine: AsyncEngine, statement_seconds: float, more: Mapping[str, str] = NOTHING
    ) -> Self:
        """Connect; the server itself ends a statement that takes longer.

        `more` adds to the server settings.
        """
        session = {
            # Its statements are planned for any arguments alike, and planning takes longer than
            # appending a row.
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": f"{statement_seconds * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{statement_seconds * 1000:.0f}",
            "synchronous_commit": "on",
            **more,
        }
        return cls(await connect(engine, session))

    async def append(
        self, batches: Sequence[Batch], received_at: datetime, *, again: bool
    ) -> list[Appended]:
        """Commit the batches together and answer what became of each.

        `again` says that the same batches were sent before and nobody knows what came of it. Had
        they been committed, either their token is there, or all their events are duplicates now:
        both times the log says which rows it took then.
        """
        try:
            results = await self._write(batches, received_at)
        except asyncpg.UniqueViolationError:
            # Nothing else can collide: keys, dimensions and details have ON CONFLICT.
            if not again:
                raise
            return [await self._outcome(batch) or Appended(frozenset()) for batch in batches]
        if not again:
            return results
        return [
            (None if result.seqs is None or result.seqs else await self._outcome(batch)) or result
            for batch, result in zip(batches, results, strict=True)
        ]

    async def _write(self, batches: Sequence[Batch], received_at: datetime) -> list[Appended]:
        if len(batches) == 1:
            return [await self._append(batches[0], received_at)]
        await self._connection.execute("BEGIN")
        try:
            results = [await self._append(batch, received_at) for batch in batches]
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._connection.execute("ROLLBACK")
            raise
        await self._connection.execute("COMMIT")
        return results

    async def _append(self, batch: Batch, received_at: datetime) -> Appended:
        arrays = _arrays(batch)
        prepared = await self._prepared(statement(tuple(arrays)))
        columns = chain.from_iterable(arrays.values())
        seqs = await prepared.fetchval(batch.site_id, batch.token, received_at, *columns)
        return Appended(None if seqs is None else frozenset(seqs))

    async def _prepared(self, sql: str) -> PreparedStatement[Any]:
        prepared = self._statements.get(sql)
        if prepared is None:
            prepared = self._statements[sql] = await self._connection.prepare(sql)
        return prepared

    async def _outcome(self, batch: Batch) -> Appended | None:
        seqs = await self._connection.fetchval(_OUTCOME, batch.site_id, batch.token)
        return None if seqs is None else Appended(frozenset(seqs))

    async def make_months(self, partitions: Partitions, months: Sequence[Month]) -> None:
        """Make partitions of the log."""
        await partitions.make(self._connection, months)

    async def beat(self, path: str, at: datetime) -> None:
        """Commit that a canary came through by this path."""
        await self._connection.execute(_BEAT, path, at)

    async def probe(self) -> bool:
        """Whether this server can be written to now: a standby cannot, nor one set read-only."""
        refuses = await self._connection.fetchval("SHOW transaction_read_only")
        return bool(refuses == "off")

    async def close(self) -> None:
        """Say good-bye to the server."""
        await self._connection.close()

    def drop(self) -> None:
        """Cut the connection at once; the server rolls back what it has not committed."""
        self._connection.terminate()
