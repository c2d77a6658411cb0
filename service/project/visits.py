"""Visits: page views of one visitor with gaps of at most 30 minutes.

New page views are first made into intervals of their own; those, the stored visit at or before
the visitor's first new view, the stored visits in between and the one after are then merged as
intervals. Stored visits are further apart than the gap, so nothing outside can join: the log is
not read again. A merged visit keeps the dimensions of its earliest page view by (time, batch,
place), and `previous_at` of the visit that follows the neighbourhood is renewed with it.
"""

from __future__ import annotations

from service.project.rollups import (
    NEW_EVENTS,
    PEOPLES_VIEWS,
    VISIT_GAP,
    booked,
    difference,
    stored,
)
from service.store.contributions import VISIT

_FIRST = "(PARTITION BY visitor ORDER BY occurred_at, batch_id, seq)"
_ENTRY = "(PARTITION BY visitor ORDER BY started_at, entry_batch, entry_seq)"
_COLUMNS = "visitor, started_at, ended_at, previous_at, dim_id, entry_batch, entry_seq, hits"

_INTERVALS = f"""
views AS (
    SELECT e.visitor, e.occurred_at, e.batch_id, e.seq, e.dim_id FROM {NEW_EVENTS}
    AND {PEOPLES_VIEWS}
),
cut_views AS (
    SELECT *, CASE WHEN occurred_at - lag(occurred_at) OVER w <= {VISIT_GAP} THEN 0 ELSE 1 END
              AS opens
    FROM views WINDOW w AS {_FIRST}
),
intervals AS MATERIALIZED (
    SELECT visitor, min(occurred_at) AS started_at, max(occurred_at) AS ended_at,
           min(dim_id) FILTER (WHERE opens = 1) AS dim_id,
           min(batch_id) FILTER (WHERE opens = 1) AS entry_batch,
           min(seq) FILTER (WHERE opens = 1) AS entry_seq,
           count(*)::integer AS hits
    FROM (SELECT *, sum(opens) OVER {_FIRST} AS place FROM cut_views) AS numbered
    GROUP BY visitor, place
)"""

# Three probes of the primary key for each visitor: the visit at or before the first new view,
# those that start among the new views, and the first one that is too late to be joined. (Row
# comparisons, because no other index can answer them.)
_OLD = f"""
spans AS MATERIALIZED (
    SELECT visitor, min(started_at) AS first_at, max(ended_at) AS last_at
    FROM intervals GROUP BY visitor
),
old AS MATERIALIZED (
    SELECT v.* FROM spans AS s CROSS JOIN LATERAL (
        (SELECT {_COLUMNS} FROM visit
         WHERE site_id = :site_id AND visitor = s.visitor AND started_at <= s.first_at
         ORDER BY started_at DESC LIMIT 1)
        UNION ALL
        (SELECT {_COLUMNS} FROM visit
         WHERE site_id = :site_id AND visitor = s.visitor
           AND (visitor, started_at) > (s.visitor, s.first_at)
           AND (visitor, started_at) <= (s.visitor, s.last_at + {VISIT_GAP}))
        UNION ALL
        (SELECT {_COLUMNS} FROM visit
         WHERE site_id = :site_id AND visitor = s.visitor
           AND started_at > s.last_at + {VISIT_GAP}
         ORDER BY started_at LIMIT 1)
    ) AS v
)"""

# Only the first merged visit of a visitor has nothing before it here. If it begins with a stored
# visit, that one knows what came before: it is the only piece whose previous visit is earlier
# than the merged one.
_MERGED = f"""
pieces AS (
    SELECT {_COLUMNS} FROM old
    UNION ALL
    SELECT visitor, started_at, ended_at, NULL, dim_id, entry_batch, entry_seq, hits FROM intervals
),
cut_pieces AS (
    SELECT *, CASE WHEN started_at - max(ended_at) OVER w <= {VISIT_GAP} THEN 0 ELSE 1 END AS opens
    FROM pieces
    WINDOW w AS (PARTITION BY visitor ORDER BY started_at, entry_batch, entry_seq
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
merged AS (
    SELECT visitor, min(started_at) AS started_at, max(ended_at) AS ended_at,
           min(previous_at) AS carried_at,
           min(dim_id) FILTER (WHERE opens = 1) AS dim_id,
           min(entry_batch) FILTER (WHERE opens = 1) AS entry_batch,
           min(entry_seq) FILTER (WHERE opens = 1) AS entry_seq,
           sum(hits)::integer AS hits
    FROM (SELECT *, sum(opens) OVER {_ENTRY} AS place FROM cut_pieces) AS numbered
    GROUP BY visitor, place
),
fresh AS MATERIALIZED (
    SELECT visitor, started_at, ended_at,
           coalesce(lag(started_at) OVER (PARTITION BY visitor ORDER BY started_at),
                    CASE WHEN carried_at < started_at THEN carried_at END) AS previous_at,
           dim_id, entry_batch, entry_seq, hits
    FROM merged
)"""

# Only a merged visit takes others away: their starts are stored no more.
_STORED = f"""{stored(VISIT, _COLUMNS, "visitor, started_at")},
removed AS (
    DELETE FROM visit AS v USING (
        SELECT visitor, started_at FROM gone EXCEPT SELECT visitor, started_at FROM changed
    ) AS starts
    WHERE v.site_id = :site_id AND v.visitor = starts.visitor AND v.started_at = starts.started_at
)"""

VISITS = booked(f"{_INTERVALS},{_OLD},{_MERGED},{_STORED}", difference(VISIT))
