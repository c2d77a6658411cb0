"""A log of some size over 400 days, written straight into the tables: what a busy site has.

Four fifths are page views of visits (a third of them by people who never come back, the others by
some who come often), then mails with their outcomes, orders, leads and a few of everything else.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.kit.clock import SystemClock
from service.store.partitions import ensure_partitions

DAYS = 400
CAMPAIGNS = 60
CHANNELS = ["Organic Search", "Direct", "Referral", "Organic Social", "AI Assistant"]

_DIMENSION = text(
    "INSERT INTO dimension (site_id, dim_id, channel, source, medium, campaign, content)"
    " VALUES (:site_id, :dim_id, :channel, :source, :medium, :campaign, :content)"
)

# `u1`, `u2`, … are even between 0 and 1, and independent.
_DRAWN = ", ".join(
    f"(hashint8extended(n, {seed}) & 1048575) / 1048576.0::float AS u{seed}" for seed in range(1, 6)
)
_DIM = """(CAST(:dims AS bigint[]))[CASE WHEN u2 < 0.45 THEN 1 + floor(u1 * :plain)
    ELSE 1 + :plain + floor(power(u1, 2) * :tagged) END::integer]"""
_EVENTS = text(f"""
INSERT INTO event (site_id, batch_id, occurred_at, visitor, dim_id, seq, kind, flags, data)
WITH visits AS (SELECT n, {_DRAWN} FROM generate_series(1, :visits) AS n),
others AS (SELECT n, {_DRAWN} FROM generate_series(1, :others) AS n),
drawn AS (
    SELECT CAST(:now AS timestamptz) - :days * interval '24 hours' * (1 - n::float / :visits)
               + page * interval '90 seconds' AS at,
           CASE WHEN u3 < 0.35 THEN n + 100000000
                ELSE 1 + floor(power(u4, 1.5) * :visits / 3) END::bigint AS visitor,
           {_DIM} AS dim, 1 AS kind, '{{}}'::jsonb AS data
    FROM visits
    CROSS JOIN generate_series(1, (ARRAY[1,1,1,1,2,2,3,3,4,6])[1 + floor(u5 * 10)::integer]) AS page
    UNION ALL
    SELECT CAST(:now AS timestamptz) - :days * interval '24 hours' * (1 - n::float / :others),
           CASE WHEN u3 < 0.7 THEN 1 + floor(power(u4, 1.5) * :visits / 3) ELSE 0 END::bigint,
           {_DIM},
           CASE WHEN u5 < 0.55 THEN (ARRAY[10, 11, 13, 14])[1 + n % 4]
                WHEN u5 < 0.63 THEN 20 WHEN u5 < 0.73 THEN 30 WHEN u5 < 0.75 THEN 31
                WHEN u5 < 0.85 THEN 40 WHEN u5 < 0.90 THEN 50 WHEN u5 < 0.93 THEN 60
                WHEN u5 < 0.96 THEN 70 ELSE 90 END,
           CASE WHEN u5 < 0.55 THEN jsonb_build_object('message', md5((n / 4)::text)::uuid)
                WHEN u5 < 0.63 THEN jsonb_build_object('lead', md5((n / 2)::text)::uuid)
                WHEN u5 < 0.73 THEN jsonb_build_object('order', md5(n::text)::uuid, 'quantity', 1,
                    'value', floor(u3 * 1000) * 1000000, 'currency', 'DKK',
                    'cost', floor(u3 * 500) * 1000000, 'lead', md5((n / 2 - 40)::text)::uuid,
                    'customer', md5(floor(u4 * :others / 20)::text)::uuid)
                WHEN u5 < 0.75 THEN jsonb_build_object('order', md5((n - 25)::text)::uuid,
                    'value', floor(u3 * 500) * 1000000, 'currency', 'DKK')
                WHEN u5 < 0.85 THEN jsonb_build_object('survey', (ARRAY['nps', 'enps', 'csat',
                    'ces', 'awareness_aided', 'awareness_unaided'])[1 + n % 6], 'score', 9,
                    'grade', floor(u4 * 3) - 1)
                WHEN u5 < 0.90 THEN jsonb_build_object('key', md5(n::text)::uuid, 'cost',
                    floor(u3 * 1000) * 1000000, 'currency', 'DKK', 'impressions', floor(u4 * 9000),
                    'clicks', floor(u4 * 90))
                WHEN u5 < 0.93 THEN jsonb_build_object('key', md5(n::text)::uuid, 'likes',
                    floor(u3 * 90), 'comments', 4, 'shares', 2, 'followers', 9000, 'reach', 4000)
                WHEN u5 < 0.96 THEN jsonb_build_object('key', md5(n::text)::uuid, 'group',
                    (ARRAY['brand', 'category'])[1 + n % 2], 'volume', floor(u3 * 900))
                ELSE '{{"name": "download"}}' END
    FROM others
)
SELECT :site_id, 1 + (place / 1000), at, visitor, dim, (place % 1000)::smallint, kind::smallint, 2,
       data
FROM (SELECT *, row_number() OVER (ORDER BY at) - 1 AS place FROM drawn) AS placed
WHERE at < :now
ORDER BY place -- as a log grows: its index on time knows blocks of rows
""")
_BATCHES = text("""
INSERT INTO batch (id, site_id, token, received_at, events, first_at, last_at)
OVERRIDING SYSTEM VALUE
SELECT batch_id, :site_id, gen_random_uuid(), :now, count(*), min(occurred_at), max(occurred_at)
FROM event WHERE site_id = :site_id GROUP BY batch_id
""")


def _dimensions() -> tuple[list[Dimension], list[Dimension]]:
    plain = [Dimension(channel, f"source-{n}", "") for n, channel in enumerate(CHANNELS)]
    tagged = [
        Dimension("Paid Search", f"source-{n % 7}", "cpc", f"campaign-{n}", content=f"ad-{ad}")
        for n in range(CAMPAIGNS)
        for ad in range(2)
    ]
    return plain, tagged


async def vacuum(engine: AsyncEngine) -> None:
    """What autovacuum would do in time."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))


async def fill(engine: AsyncEngine, site: Site, events: int) -> None:
    """About `events` events of a site, the only one of a new database; projected by nobody yet."""
    plain, tagged = _dimensions()
    now = SystemClock().now()
    await ensure_partitions(engine, now, days_back=DAYS + 2)
    async with engine.begin() as connection:
        for name in plain + tagged:
            values = {"site_id": site.id, "dim_id": dimension_id(name), **name._asdict()}
            await connection.execute(_DIMENSION, values)
        drawn = {
            "visits": events // 3,
            "others": events // 5,
            "days": DAYS,
            "dims": [dimension_id(name) for name in plain + tagged],
            "plain": len(plain),
            "tagged": len(tagged),
        }
        await connection.execute(_EVENTS, {**drawn, "site_id": site.id, "now": now})
        await connection.execute(_BATCHES, {"site_id": site.id, "now": now})
    await vacuum(engine)
