"""What every projection's statement shares: its new log rows, and how it books differences.

Parameters of every statement: `site_id`, `batches` (ids to project), `first_batch` and `last_batch`
(the least and the greatest of them), `first_at` and `last_at` (the span of their events, so that
only those partitions of the log are read), `zone` (IANA, the site's).
"""

from __future__ import annotations

from service.domain.kinds import Flag, Kind
from service.store.contributions import Fact, contributions

NEW_ROWS = """event AS e
    WHERE e.site_id = :site_id AND e.batch_id = ANY(CAST(:batches AS bigint[]))
      AND e.batch_id >= :first_batch AND e.batch_id <= :last_batch
      AND e.occurred_at >= :first_at AND e.occurred_at <= :last_at"""
"""FROM and WHERE of all log rows to project, bots' included; a projection adds `AND …`.

The list of batches alone is taken for as many rows as batches have on average: after a large
import the planner would read the whole log to find a few events. Their range it knows better.
"""

NEW_EVENTS = f"{NEW_ROWS} AND (e.flags & {int(Flag.BOT)}) = 0"
"""The same without those of bots: what a bot sends makes no fact."""

PEOPLES_VIEWS = f"e.kind = {int(Kind.PAGE_VIEW)} AND e.visitor <> 0"
"""The new events that make visits."""

SOMEBODY = "f.visitor <> 0"
"""Holds for the rows `f` that an index by visitors holds."""


ONE = "generate_series(1, (SELECT 1)) AS one"
"""One row, of which a planner expects a thousand.

What is looked up in the order of an index has to come from it then, because to sort looks dear. A
planner without statistics of a site expects a single row of it, finds every index as good, and
would read the whole site for each lookup. So what is looked up is joined with this row, compared by
bounds (of what is equal no order is asked) and put in order.
"""


def found(
    table: str, columns: str, key: str, first: str, last: str = "", *, where: str = ""
) -> str:
    """A SELECT of a site's rows `f` of a table, by their `key` in order from `first` to `last`.

    Those three are columns with commas between them; an index of the site begins with the key's.
    Without `last` it is the same as `first`.
    """
    mine = ", ".join(f"f.{name}" for name in key.split(", "))
    more = f" AND {where}" if where else ""
    return f"""SELECT {columns} FROM {table} AS f CROSS JOIN {ONE}
        WHERE f.site_id = :site_id AND ({mine}) >= ({first}) AND ({mine}) <= ({last or first}){more}
        ORDER BY {mine}"""


def probed(
    table: str,
    columns: str,
    keys: str,
    key: str,
    *,
    first: str = "",
    last: str = "",
    where: str = "",
) -> str:
    """A SELECT of the rows `p` that are `found` for each row `k` of the CTE `keys`.

    Without `first` it is what the CTE has as the key. The order fences each lookup: nothing is
    known of a CTE's size, and what is joined instead would be read as a whole for each chunk.
    """
    first = first or ", ".join(f"k.{name}" for name in key.split(", "))
    return f"""SELECT p.* FROM {keys} AS k CROSS JOIN LATERAL (
        {found(table, columns, key, first, last, where=where)}
    ) AS p"""


VISIT_GAP = "interval '30 minutes'"
"""Page views further apart than this belong to different visits; exactly this far, to one."""


def stored(fact: Fact, columns: str, key: str, renewed: str = "") -> str:
    """CTEs that write what differs between the CTEs `fresh` and `old` of a neighbourhood of facts.

    `changed` are rows that are new or have new values, `gone` rows that are not there any more or
    had other values. Of a row whose `key` is stored already the columns `renewed` are replaced
    (default: all that are not of the key).
    """
    others = [name for name in columns.split(", ") if name not in key.split(", ")]
    names = renewed.split(", ") if renewed else others
    new_values = ", ".join(f"{name} = excluded.{name}" for name in names)
    return f"""
changed AS MATERIALIZED (
    SELECT {columns} FROM fresh EXCEPT SELECT {columns} FROM old
),
gone AS MATERIALIZED (
    SELECT {columns} FROM old EXCEPT SELECT {columns} FROM fresh
),
stored AS (
    INSERT INTO {fact.name} (site_id, {columns})
    SELECT CAST(:site_id AS bigint), changed.* FROM changed
    ON CONFLICT (site_id, {key}) DO UPDATE SET {new_values}
)"""


def difference(fact: Fact) -> str:
    """What the CTEs of `stored` add to the rollups, and take away."""
    rows = "(SELECT 1 AS sign, * FROM changed UNION ALL SELECT -1, * FROM gone)"
    return contributions(fact, rows, "r.sign * c.value")


LARGEST = "9000000000000000000"
"""A sum beyond this, which a bigint cannot hold, is appended in pieces: a reader sums anyway."""

_PIECES = f"""(
    SELECT value WHERE abs(value) <= {LARGEST}
    UNION ALL
    SELECT sign(value) * least(abs(value) - whole * {LARGEST}, {LARGEST})
    FROM generate_series(0, ceil(abs(value) / {LARGEST}) - 1) AS whole
    WHERE abs(value) > {LARGEST}
) AS p(piece)"""


def _append(tier: str, sums: str) -> str:
    # In the order in which they are read, so that a span of buckets lies on few pages.
    return f"""
    INSERT INTO {tier} (site_id, bucket, dim_id, value, measure, currency)
    SELECT CAST(:site_id AS bigint), bucket, dim_id, p.piece::bigint, measure, currency
    FROM {sums} CROSS JOIN LATERAL {_PIECES}
    ORDER BY measure, bucket"""


def _summed(name: str, source: str, bucket: str, dim_id: str = "dim_id") -> str:
    """A CTE: coarser sums of another one. What cancels out is left out."""
    return f"""
{name} AS (
    SELECT {bucket} AS bucket, measure, currency, {dim_id} AS dim_id, sum(value) AS value
    FROM {source}
    GROUP BY 1, 2, 3, 4
    HAVING sum(value) <> 0
)"""


def _local(unit: str) -> str:
    return f"date_trunc('{unit}', bucket, CAST(:zone AS text))"


_COARSER = ",".join((
    _summed("delta_of_days", "delta", _local("day")),
    _summed("delta_of_months", "delta_of_days", _local("month")),
    _summed("delta_of_all", "delta", "bucket", "0"),
    _summed("delta_of_all_days", "delta_of_all", _local("day")),
))  # fmt: skip
_APPENDED = ",".join((
    f"\nquarter AS ({_append('rollup_quarter', 'delta')}\n)",
    f"\nday AS ({_append('rollup_day', 'delta_of_days')}\n)",
    f"\nmonth AS ({_append('rollup_month', 'delta_of_months')}\n)",
    f"\ntotal_quarter AS ({_append('rollup_total_quarter', 'delta_of_all')}\n)",
    f"\ntotal AS ({_append('rollup_total', 'delta_of_all_days')}\n)",
))  # fmt: skip


def booked(steps: str, delta: str) -> str:
    """One statement: the CTEs `steps`, and `delta` (contributions) appended to the rollups.

    All CTEs see the facts as they were before the statement. What cancels out is not written. The
    statement answers one row: `rows` appended to the quarter tier, the `first` and the `last`
    bucket. A day starts at a quarter hour in every time zone (since 1990 at least), so days are
    summed from quarter hours, months from days, and totals (all dimensions together) alike.
    """
    return f"""WITH {steps},
delta AS MATERIALIZED (
    SELECT date_bin('15 minutes', c.at, 'epoch') AS bucket, c.measure, c.currency, c.dim_id,
           sum(c.value) AS value
    FROM ({delta}) AS c
    GROUP BY 1, 2, 3, 4
    HAVING sum(c.value) <> 0
),{_COARSER},{_APPENDED}
SELECT count(*) AS rows, min(bucket) AS first, max(bucket) AS last FROM delta"""
