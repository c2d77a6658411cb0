"""What must agree: the ordered table of checks that hold log, facts and rollups against each other.

Each is one SELECT of what differs, as rows `bucket, number, label, dim_id, expected, stored` (see
`Check`); nothing that a person sent is among them. Quarter hours are held against the facts, and
every coarser tier against the finer one: together they say that all tiers are the facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import TextClause, text

from service.domain.kinds import EMAIL_KINDS, STATEMENT_KINDS, Flag, Kind
from service.project.recount import QUARTER, RECOUNTED, in_month, on_day, rows_of
from service.project.statements import received
from service.store.contributions import EVENT, MESSAGE
from service.store.recency import CAMPAIGN, NEVER, VISITOR

FROM_LOG = EVENT.measures | MESSAGE.measures
"""Measures that are recounted with the help of the log: what counts by itself, and mails."""


class Reach(Enum):
    """What a check looks at: the slice, the site's day in which it begins, or the month."""

    SLICE = "slice"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Check:
    """One SELECT of differences, at most `:most`.

    `number` and `label` are measure and currency, or scope and previous day of recency, or nothing.
    One that `needs_log` says nothing where retention has dropped the log. One of facts is mended
    by a whole rebuild, others by one of the month. One that `counts_visits` reads all visits of
    its reach.
    """

    name: str
    reach: Reach
    query: TextClause
    needs_log: bool = False
    of_facts: bool = False
    counts_visits: bool = False


_KEYS = "bucket, number, label, dim_id"


def _compared(expected: str, stored: str) -> str:
    """Both are SELECTs of the keys and a value; sums that differ."""
    return f"""
    SELECT {_KEYS}, sum(expected) AS expected, sum(stored) AS stored
    FROM (SELECT {_KEYS}, value AS expected, 0 AS stored FROM ({expected}) AS e
          UNION ALL
          SELECT {_KEYS}, 0, value FROM ({stored}) AS s) AS both_sides
    GROUP BY {_KEYS} HAVING sum(expected) <> sum(stored)"""


def _stored(rows: str, bucket: str = "r.bucket", dim: str = "r.dim_id") -> str:
    return (
        f"SELECT {bucket} AS bucket, r.measure AS number, r.currency AS label, {dim} AS dim_id,"
        f" r.value FROM {rows}"
    )


_QUARTERS = rows_of("rollup_quarter", index=":counted")


def _of_day(tier: str) -> str:
    return f"{rows_of(tier, ':day_lo', ':day_hi')} AND {on_day('r.bucket')}"


def _of_month(tier: str) -> str:
    return f"{rows_of(tier, ':month_lo', ':month_hi')} AND {in_month('r.bucket')}"


def _local(unit: str) -> str:
    return f"date_trunc('{unit}', r.bucket, CAST(:zone AS text))"


_FACTS = f"""
    SELECT {QUARTER.format(at="c.at")} AS bucket, c.measure AS number, c.currency AS label,
           c.dim_id, c.value
    FROM ({RECOUNTED}) AS c WHERE c.measure = ANY(CAST(:counted AS smallint[]))"""


def _day_of(at: str) -> str:
    return f"date_trunc('day', {at}, CAST(:zone AS text))"


def _recency(scope: int, columns: str, visits: str, rows: str) -> str:
    """`columns` are bucket, previous day and dimension of a visit."""
    return _compared(
        f"SELECT v.bucket, {scope} AS number, coalesce(v.previous, '{NEVER}')::text AS label,"
        " v.dim_id, 1 AS value FROM ("
        f"SELECT {columns} FROM visit AS r WHERE r.site_id = :site_id AND {visits}"
        ") AS v(bucket, previous, dim_id)",
        f"SELECT r.bucket, r.scope AS number, r.previous::text AS label, r.dim_id, r.value"
        f" FROM {rows} AND r.scope = {scope}",
    )


_OF_VISITORS = _recency(
    VISITOR,
    f"{_day_of('r.started_at')}, {_day_of('r.previous_at')}, 0",
    f"r.started_at >= :day_lo AND r.started_at < :day_hi AND {on_day('r.started_at')}",
    _of_day("rollup_recency"),
)
_MONTH_OF_VISIT = f"date_trunc('month', {_day_of('r.started_at')}, CAST(:zone AS text))"
_OF_CAMPAIGNS = _recency(
    CAMPAIGN,
    f"{_MONTH_OF_VISIT}, {_day_of('r.campaign_previous_at')}, r.dim_id",
    f"r.started_at >= :month_lo AND r.started_at < :month_hi AND {in_month('r.started_at')}",
    _of_month("rollup_recency"),
)

# --- The log against the facts: some rows each ------------------------------------------------

_NOT_PROJECTED = "SELECT b.id FROM batch AS b WHERE b.site_id = :site_id AND b.projected_at IS NULL"


def _logged(kinds: Iterable[Kind]) -> str:
    """FROM and WHERE of the projected events `e` of people, of some kinds."""
    return f"""event AS e WHERE e.site_id = :site_id
      AND e.kind IN ({", ".join(str(int(kind)) for kind in kinds)})
      AND (e.flags & {int(Flag.BOT)}) = 0 AND e.batch_id NOT IN ({_NOT_PROJECTED})"""


_IN_SLICE = "{at} >= :lo AND {at} < :hi"
_SOME = "ORDER BY random() LIMIT CAST(:sample AS bigint)"


def _place(at: str) -> str:
    return f"{QUARTER.format(at=at)} AS bucket, 0 AS number, '' AS label, 0 AS dim_id"


def _same(table: str, kinds: Iterable[Kind], where: str = "") -> str:
    """Each event is one row of the fact table, and the other way round."""
    columns = "batch_id, seq, occurred_at"
    events = f"SELECT e.batch_id, e.seq, e.occurred_at FROM {_logged(kinds)} {where}"
    events = f"{events} AND {_IN_SLICE.format(at='e.occurred_at')}"
    rows = f"SELECT {columns} FROM {table} WHERE site_id = :site_id"
    rows = f"{rows} AND {_IN_SLICE.format(at='occurred_at')}"
    return f"""
    SELECT {_place("f.occurred_at")}, f.expected, 1 - f.expected AS stored
    FROM (SELECT *, 1 AS expected FROM ({events} EXCEPT {rows}) AS missing
          UNION ALL
          SELECT *, 0 FROM ({rows} EXCEPT {events}) AS unheard) AS f"""


def _known(table: str, kinds: Iterable[Kind], keys: str, test: str, where: str) -> str:
    """Some events for which `test` holds, without a row `f` in the fact table as `where` wants it.

    `keys` are the columns of `e` that `where` needs beside time and batch.
    """
    return f"""
    SELECT {_place("e.occurred_at")}, 1 AS expected, 0 AS stored
    FROM (SELECT e.occurred_at, e.batch_id, {keys} FROM {_logged(kinds)}
          AND {_IN_SLICE.format(at="e.occurred_at")} AND {test} {_SOME}) AS e
    WHERE NOT EXISTS (SELECT FROM {table} AS f WHERE f.site_id = :site_id AND {where})"""


def _named(table: str, kinds: Iterable[Kind], name: str, since: str) -> str:
    """The same for events that name a `name`, which is known by the time `since`."""
    where = f"f.{name} = e.{name} AND f.{since} <= e.occurred_at"
    return _known(table, kinds, f"{_id(name)} AS {name}", f"{_id(name)} IS NOT NULL", where)


def _id(name: str) -> str:
    return f"(e.data->>'{name}')::uuid"


def _linked(name: str) -> str:
    """Events with consent that name a person and a visitor, without their link."""
    test = f"{_id(name)} IS NOT NULL AND e.visitor <> 0 AND (e.flags & {int(Flag.CONSENT)}) <> 0"
    where = "f.person = e.person AND f.visitor = e.visitor AND f.batch_id <= e.batch_id"
    return _known("identity", Kind, f"e.visitor, {_id(name)} AS person", test, where)


_WITHIN_VISIT = """f.visitor = e.visitor AND f.started_at <= e.occurred_at
    AND f.ended_at >= e.occurred_at"""
_VIEWS_OF_NO_VISIT = _known("visit", [Kind.PAGE_VIEW], "e.visitor", "e.visitor <> 0", _WITHIN_VISIT)
_NEWEST_STATEMENTS = _known(
    "statement",
    STATEMENT_KINDS,
    f"e.kind, {_id('key')} AS key",
    f"{_id('key')} IS NOT NULL",
    f"""f.kind = e.kind AND f.key = e.key
    AND ({received("f.batch_id")}, f.batch_id) >= ({received("e.batch_id")}, e.batch_id)""",
)
_VIEWS_OF_VISITS = f"""
    SELECT {_place("v.started_at")}, e.views AS expected, v.hits AS stored
    FROM (SELECT v.visitor, v.started_at, v.ended_at, v.hits FROM visit AS v
          WHERE v.site_id = :site_id AND {_IN_SLICE.format(at="v.started_at")} {_SOME}) AS v
    CROSS JOIN LATERAL (
        SELECT count(*) AS views FROM {_logged([Kind.PAGE_VIEW])}
        AND e.visitor = v.visitor AND e.visitor <> 0
        AND e.occurred_at >= v.started_at AND e.occurred_at <= v.ended_at
    ) AS e
    WHERE e.views <> v.hits"""


def _last(where: str) -> str:
    return f"""(SELECT f.started_at FROM visit AS f
                WHERE f.site_id = :site_id AND f.visitor = v.visitor
                  AND (f.visitor, f.started_at) < (v.visitor, v.started_at) {where}
                ORDER BY f.started_at DESC LIMIT 1)"""


_CHAINS = f"""
    SELECT {_place("v.started_at")}, 1 AS expected, 0 AS stored
    FROM (SELECT v.* FROM visit AS v
          WHERE v.site_id = :site_id AND {_IN_SLICE.format(at="v.started_at")} {_SOME}) AS v
    WHERE v.previous_at IS DISTINCT FROM {_last("")}
       OR v.campaign_previous_at IS DISTINCT FROM {_last("AND f.campaign_key = v.campaign_key")}"""

# Who is new was said by the shop, or is the first of its customer's orders.
_FIRST_ORDERS = f"""
    SELECT {_place("c.occurred_at")}, c.expected::integer AS expected, c.is_new::integer AS stored
    FROM (SELECT r.occurred_at, r.is_new, coalesce(r.said_new, true) AND NOT EXISTS (
              SELECT FROM conversion AS f
              WHERE f.site_id = :site_id AND f.customer = r.customer AND NOT f.refund
                AND (f.occurred_at, f.batch_id, f.seq) < (r.occurred_at, r.batch_id, r.seq)
          ) AS expected
          FROM (SELECT * FROM conversion AS f WHERE f.site_id = :site_id AND NOT f.refund
                AND {_IN_SLICE.format(at="f.occurred_at")} {_SOME}) AS r) AS c
    WHERE c.expected <> c.is_new"""


def _limited(sql: str) -> TextClause:
    return text(f"{sql} LIMIT :most")


def _rollup(reach: Reach, name: str, sql: str) -> Check:
    return Check(name, reach, _limited(sql))


def _of_visits(reach: Reach, name: str, sql: str) -> Check:
    return Check(name, reach, _limited(sql), counts_visits=True)


def _fact(name: str, sql: str) -> Check:
    return Check(name, Reach.SLICE, _limited(sql), of_facts=True)


def _log(name: str, sql: str) -> Check:
    return Check(name, Reach.SLICE, _limited(sql), needs_log=True, of_facts=True)


_TOTAL_QUARTERS = _compared(
    _stored(rows_of("rollup_quarter"), dim="0"), _stored(rows_of("rollup_total_quarter"))
)
_DAYS = _compared(_stored(_of_day("rollup_quarter"), _local("day")), _stored(_of_day("rollup_day")))
_TOTALS = _compared(_stored(_of_day("rollup_day"), dim="0"), _stored(_of_day("rollup_total")))
_MONTHS = _compared(
    _stored(_of_month("rollup_day"), _local("month")), _stored(_of_month("rollup_month"))
)

CHECKS = (
    _rollup(Reach.SLICE, "rollup_quarter", _compared(_FACTS, _stored(_QUARTERS))),
    _rollup(Reach.SLICE, "rollup_total_quarter", _TOTAL_QUARTERS),
    _rollup(Reach.DAY, "rollup_day", _DAYS),
    _rollup(Reach.DAY, "rollup_total", _TOTALS),
    _rollup(Reach.MONTH, "rollup_month", _MONTHS),
    _of_visits(Reach.DAY, "rollup_recency of visitors", _OF_VISITORS),
    _of_visits(Reach.MONTH, "rollup_recency of campaigns", _OF_CAMPAIGNS),
    _fact("chains of visits", _CHAINS),
    _fact("first orders", _FIRST_ORDERS),
    _log("hits of visits", _VIEWS_OF_VISITS),
    _log("views of no visit", _VIEWS_OF_NO_VISIT),
    _log("conversions", _same("conversion", (Kind.CONVERSION, Kind.REFUND))),
    _log("answers", _same("answer", [Kind.SURVEY_ANSWER], f"AND {_id('respondent')} IS NOT NULL")),
    _log("messages", _named("message", EMAIL_KINDS, "message", "seen_at")),
    _log("leads", _named("lead", [Kind.LEAD], "lead", "won_at")),
    _log("leads that converted", _named("lead", [Kind.CONVERSION], "lead", "converted_at")),
    _log("statements", _NEWEST_STATEMENTS),
    _log("identities of customers", _linked("customer")),
    _log("identities of leads", _linked("lead")),
)
