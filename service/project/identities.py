"""Identities: which visitors a customer or a lead is known to be, and whose credit that changes.

An event with consent that names a visitor and a customer or a lead links the two, for good: in
which order links and visits come in makes no difference. The statement answers whose conversions
and leads to look at again, and where: of people newly linked, those near any visit of theirs; of
people linked before, those near the visits that have just changed.
"""

from __future__ import annotations

from service.domain.kinds import Flag
from service.project.attribution import LOOKBACK, MOST_LINKS, TOUCHED, few
from service.project.rollups import NEW_EVENTS, found

# What is linked already is looked up, not fought over: a conflict would lock its row. The batch is
# the first by number, so that a rebuild comes to the same.
_LINKS = f"""
said AS MATERIALIZED (
    SELECT p.person::uuid AS person, e.visitor, min(e.batch_id) AS batch_id
    FROM (SELECT e.batch_id, e.visitor, e.data FROM {NEW_EVENTS}
          AND e.visitor <> 0 AND (e.flags & {int(Flag.CONSENT)}) <> 0) AS e
    CROSS JOIN LATERAL (VALUES (e.data->>'customer'), (e.data->>'lead')) AS p(person)
    WHERE p.person IS NOT NULL
    GROUP BY 1, 2
),
news AS MATERIALIZED (
    SELECT s.*, k.batch_id IS NULL AS is_new
    FROM said AS s LEFT JOIN LATERAL (
        {found("identity", "f.batch_id", "person, visitor", "s.person, s.visitor")}
    ) AS k ON true
    WHERE k.batch_id IS NULL OR k.batch_id > s.batch_id
),
stored AS (
    INSERT INTO identity (site_id, person, visitor, batch_id)
    SELECT CAST(:site_id AS bigint), person, visitor, batch_id FROM news
    ON CONFLICT (site_id, person, visitor) DO UPDATE SET batch_id = excluded.batch_id
),
added AS MATERIALIZED (
    SELECT person, visitor FROM news WHERE is_new
)"""

# Every link of those who have a new one: the one too many unties the others.
_TIES = f"""
ties AS MATERIALIZED (
    SELECT person, visitor FROM added
    UNION
    SELECT k.person, l.visitor FROM (SELECT DISTINCT person FROM added) AS k
    CROSS JOIN LATERAL ({few("visitor", "person", "k.person")}) AS l
    UNION
    SELECT l.person, k.visitor FROM (SELECT DISTINCT visitor FROM added) AS k
    CROSS JOIN LATERAL ({few("person", "visitor", "k.visitor")}) AS l
),
spans AS (
    SELECT k.person, v.first_at, v.last_at + {LOOKBACK} AS last_at
    FROM ties AS k CROSS JOIN LATERAL (
        SELECT min(f.started_at) AS first_at, max(f.started_at) AS last_at
        FROM ({found("visit", "f.started_at", "visitor", "k.visitor")}) AS f
    ) AS v
    UNION ALL
    SELECT l.person, k.first_at, k.last_at FROM touched AS k
    CROSS JOIN LATERAL ({few("person", "visitor", "k.visitor")}) AS l
),
people AS (
    SELECT person, min(first_at) AS first_at, max(last_at) AS last_at
    FROM spans WHERE first_at IS NOT NULL GROUP BY person
)"""

# Who had too many visitors before has no credit to lose.
IDENTITIES = f"""WITH {TOUCHED},{_LINKS},{_TIES}
SELECT 0::bigint AS rows, NULL::timestamptz AS first, NULL::timestamptz AS last,
       coalesce(array_agg(person), '{{}}') AS people,
       coalesce(array_agg(first_at), '{{}}') AS people_from,
       coalesce(array_agg(last_at), '{{}}') AS people_to
FROM people AS k
WHERE (SELECT count(*) FROM (
           {found("identity", "", "person", "k.person")}
           LIMIT {MOST_LINKS + 1}) AS f) <= {MOST_LINKS}"""
