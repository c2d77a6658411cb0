"""Visits: page views of one visitor with gaps of at most 30 minutes.

New page views are first made into intervals of their own; those, the stored visit at or before
the visitor's first new view, the stored visits in between and the one after are then merged as
intervals. Stored visits are further apart than the gap, so nothing outside can join: the log is
not read again. A merged visit keeps the dimensions and the detail of its earliest page view by
(time, batch, place), and `previous_at` of the visit that follows the neighbourhood is renewed with
it.

Visits of one visitor with the same campaign are a chain of their own: `campaign_previous_at`. Where
it leaves the neighbourhood it is followed, backwards and forwards, to the next visit in it, by the
campaign as a number.
"""

from __future__ import annotations

from service.project.recency import RECENCY, campaign_key
from service.project.rollups import (
    NEW_EVENTS,
    ONE,
    PEOPLES_VIEWS,
    VISIT_GAP,
    booked,
    difference,
    found,
    stored,
)
from service.store.contributions import VISIT

_FIRST = "(PARTITION BY visitor ORDER BY occurred_at, batch_id, seq)"
_ENTRY = "(PARTITION BY visitor ORDER BY started_at, entry_batch, entry_seq)"
_COLUMNS = (
    "visitor, started_at, ended_at, previous_at, dim_id, entry_batch, entry_seq, hits, detail_id,"
    " campaign_key, campaign_previous_at"
)

_INTERVALS = f"""
views AS (
    SELECT e.visitor, e.occurred_at, e.batch_id, e.seq, e.dim_id, e.detail_id FROM {NEW_EVENTS}
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
           count(*)::integer AS hits,
           min(detail_id) FILTER (WHERE opens = 1) AS detail_id
    FROM (SELECT *, sum(opens) OVER {_FIRST} AS place FROM cut_views) AS numbered
    GROUP BY visitor, place
),
campaigns AS MATERIALIZED (
    SELECT t.dim_id, {campaign_key("d.campaign")} AS campaign_key
    FROM (SELECT DISTINCT dim_id FROM intervals) AS t LEFT JOIN LATERAL (
        {found("dimension", "f.campaign", "dim_id", "t.dim_id")}
    ) AS d ON true
),
named AS MATERIALIZED (
    SELECT i.*, c.campaign_key FROM intervals AS i JOIN campaigns AS c ON c.dim_id = i.dim_id
)"""

# Three probes of the primary key for each visitor: the visit at or before the first new view,
# those that start among the new views, and the first one that is too late to be joined.
_NEAR = f"""
spans AS MATERIALIZED (
    SELECT visitor, min(started_at) AS first_at, max(ended_at) AS last_at
    FROM intervals GROUP BY visitor
),
near AS MATERIALIZED (
    SELECT v.*, v.started_at > s.last_at + {VISIT_GAP} AS follows
    FROM spans AS s CROSS JOIN LATERAL (
        (SELECT {_COLUMNS} FROM visit CROSS JOIN {ONE}
         WHERE site_id = :site_id AND visitor >= s.visitor
           AND (visitor, started_at) <= (s.visitor, s.first_at)
         ORDER BY visitor DESC, started_at DESC LIMIT 1)
        UNION ALL
        (SELECT {_COLUMNS} FROM visit CROSS JOIN {ONE}
         WHERE site_id = :site_id AND (visitor, started_at) > (s.visitor, s.first_at)
           AND (visitor, started_at) <= (s.visitor, s.last_at + {VISIT_GAP})
         ORDER BY visitor, started_at)
        UNION ALL
        (SELECT {_COLUMNS} FROM visit CROSS JOIN {ONE}
         WHERE site_id = :site_id AND visitor <= s.visitor
           AND (visitor, started_at) > (s.visitor, s.last_at + {VISIT_GAP})
         ORDER BY visitor, started_at LIMIT 1)
    ) AS v
)"""


# Of each campaign that a visitor has in the neighbourhood, the first visit after it: its chain may
# have changed. Mostly nothing follows at all.
_OLD = f"""
later AS MATERIALIZED (
    SELECT v.*
    FROM (SELECT DISTINCT used.visitor, used.campaign_key, n.started_at
          FROM (SELECT visitor, started_at, campaign_key FROM near WHERE follows) AS n
          JOIN (SELECT visitor, campaign_key FROM named
                UNION ALL SELECT visitor, campaign_key FROM near) AS used
            ON used.visitor = n.visitor AND used.campaign_key <> n.campaign_key) AS k
    CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM visit AS f CROSS JOIN {ONE}
        WHERE f.site_id = :site_id AND f.visitor <= k.visitor
          AND (f.visitor, f.started_at) > (k.visitor, k.started_at)
          AND f.campaign_key = k.campaign_key
        ORDER BY f.visitor, f.started_at LIMIT 1
    ) AS v
),
old AS MATERIALIZED (
    SELECT {_COLUMNS} FROM near UNION ALL SELECT {_COLUMNS} FROM later
)"""

# A merged visit is `kept` when it begins as a stored one does: it then has that one's chain.
_MERGED = f"""
pieces AS (
    SELECT {_COLUMNS}, true AS kept, false AS far FROM near
    UNION ALL
    SELECT {_COLUMNS}, true, true FROM later
    UNION ALL
    SELECT visitor, started_at, ended_at, NULL, dim_id, entry_batch, entry_seq, hits, detail_id,
           campaign_key, NULL, false, false FROM named
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
           sum(hits)::integer AS hits,
           min(detail_id) FILTER (WHERE opens = 1) AS detail_id,
           min(campaign_key) FILTER (WHERE opens = 1) AS campaign_key,
           bool_or(kept) FILTER (WHERE opens = 1) AS kept,
           min(campaign_previous_at) FILTER (WHERE opens = 1) AS chained_at,
           bool_or(far) AS far
    FROM (SELECT *, sum(opens) OVER {_ENTRY} AS place FROM cut_pieces) AS numbered
    GROUP BY visitor, place
)"""

# Only the first merged visit of a visitor has nothing before it here. If it begins with a stored
# visit, that one knows what came before: it is the only piece whose previous visit is earlier
# than the merged one. What is far away follows a visit that is not here.
_FRESH = f"""
linked AS (
    SELECT m.*,
           CASE WHEN m.carried_at < m.started_at THEN m.carried_at END AS before_at,
           lag(m.started_at) OVER of_visitor AS here_at,
           lag(m.started_at) OVER of_chain AS same_at,
           first_value(m.started_at) OVER of_visitor AS begins_at,
           first_value(m.carried_at) OVER of_visitor AS known_at
    FROM merged AS m
    WINDOW of_visitor AS (PARTITION BY m.visitor ORDER BY m.started_at),
           of_chain AS (PARTITION BY m.visitor, m.campaign_key ORDER BY m.started_at)
),
fresh AS MATERIALIZED (
    SELECT l.visitor, l.started_at, l.ended_at,
           CASE WHEN l.far THEN l.before_at ELSE coalesce(l.here_at, l.before_at) END
               AS previous_at,
           l.dim_id, l.entry_batch, l.entry_seq, l.hits, l.detail_id,
           l.campaign_key,
           CASE WHEN l.same_at IS NOT NULL THEN l.same_at
                WHEN l.known_at IS NULL OR l.known_at >= l.begins_at THEN NULL
                WHEN l.kept AND (l.chained_at IS NULL OR l.chained_at < l.begins_at)
                THEN l.chained_at
                ELSE (SELECT v.started_at FROM visit AS v CROSS JOIN {ONE}
                      WHERE v.site_id = :site_id AND v.visitor >= l.visitor
                        AND (v.visitor, v.started_at) < (l.visitor, l.begins_at)
                        AND v.campaign_key = l.campaign_key
                      ORDER BY v.visitor DESC, v.started_at DESC LIMIT 1)
                END AS campaign_previous_at
    FROM linked AS l
)"""

# Only a merged visit takes others away: their starts are stored no more.
_STORED = f"""{stored(VISIT, _COLUMNS, "visitor, started_at")},
removed AS (
    DELETE FROM visit AS v USING (
        SELECT visitor, started_at FROM gone EXCEPT SELECT visitor, started_at FROM changed
    ) AS starts
    WHERE v.site_id = :site_id AND v.visitor = starts.visitor AND v.started_at = starts.started_at
)"""

VISITS = booked(
    ",".join((_INTERVALS, _NEAR, _OLD, _MERGED, _FRESH, _STORED, RECENCY)), difference(VISIT)
)
