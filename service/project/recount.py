"""Counting again: SQL of what the facts of a span add to the rollups, and of where rows belong.

Parameters: `site_id`, `zone` (IANA, the site's), and the span `lo`, `hi`.
"""

from __future__ import annotations

from service.project.compact import TIERS
from service.store.contributions import FACTS, edge_contributions

QUARTER = "date_bin('15 minutes', {at}, 'epoch')"

RECOUNTED = " UNION ALL ".join(edge_contributions(fact) for fact in FACTS)
"""A SELECT of `at, measure, currency, dim_id, value` of everything in `[:lo, :hi)`."""

LOG_MONTHS = """
    SELECT p.relname::text FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhrelid
    WHERE i.inhparent = 'event'::regclass"""
"""A SELECT of the log's partitions."""


def log_month(at: str) -> str:
    """The partition of the log in which events of the instant `at` are."""
    return f"""to_char({at} AT TIME ZONE 'UTC', '"event_y"YYYY"m"MM')"""


def on_day(at: str) -> str:
    """Whether an instant, or a bucket of any length up to a day, is of the site's date `:day`."""
    return f"CAST({at} AT TIME ZONE CAST(:zone AS text) AS date) = CAST(:day AS date)"


def in_month(at: str) -> str:
    """Whether an instant or a bucket is of the site's month that begins with the date `:month`."""
    local = f"date_trunc('month', {at} AT TIME ZONE CAST(:zone AS text))"
    return f"CAST({local} AS date) = CAST(:month AS date)"


def rows_of(tier: str, lo: str = ":lo", hi: str = ":hi", index: str = ":{tier}") -> str:
    """FROM and WHERE of the rows `r` of a rollup whose buckets lie in `[lo, hi)`.

    The parameter `index` (default: the tier's name) is `TIERS[tier].index`.
    """
    column = TIERS[tier].keys[0]
    return (
        f"{tier} AS r WHERE r.site_id = :site_id"
        f" AND r.{column} = ANY(CAST({index.format(tier=tier)} AS smallint[]))"
        f" AND r.bucket >= {lo} AND r.bucket < {hi}"
    )
