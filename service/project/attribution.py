"""Attribution: which visits brought a conversion or a lead, and which of them has the credit.

The touches are the visits within the site's lookback before it, of its own visitor and of those
that its customer or lead is known to be; none when it names its source, medium or campaign itself.
Last non-direct credits the latest touch whose channel is not Direct, else the latest touch, else
what it came with. The other models share it among all touches (`store/credits.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from service.project.rollups import NEW_EVENTS, ONE, PEOPLES_VIEWS, VISIT_GAP, found

LOOKBACK = "CAST(:lookback AS integer) * interval '24 hours'"
"""Hours, because a day's length depends on the time zone of the session."""

MOST_LINKS = 20
"""A person seen as more visitors is nobody (a shop that sends "guest" for all its customers), and a
visitor seen as more people is a shared machine: neither is stitched."""

MOST_TOUCHES = 50
"""The latest visits count as touches, up to so many: each of them costs every model a row, and who
looks at a site ten times a day was not brought by the first of them."""

HALF_LIFE_SECONDS = 7 * 24 * 3600

TOUCHED = f"""
touched AS MATERIALIZED (
    SELECT e.visitor, min(e.occurred_at) AS first_at,
           max(e.occurred_at) + {VISIT_GAP} + {LOOKBACK} AS last_at
    FROM {NEW_EVENTS} AND {PEOPLES_VIEWS}
    GROUP BY e.visitor
)"""
"""CTE: visitors whose visits have changed, and when a credit to those visits can lie.

A new page view moves no start of a visit but those after it, by at most the gap.
"""

PEOPLE = """
people AS MATERIALIZED (
    SELECT p.person, p.first_at, p.last_at
    FROM unnest(CAST(:people AS uuid[]), CAST(:people_from AS timestamptz[]),
                CAST(:people_to AS timestamptz[])) AS p(person, first_at, last_at)
)"""
"""CTE: people whose visits have changed, or who are newly known as their visitors (identities)."""


def few(column: str, key: str, value: str) -> str:
    """A SELECT of up to MOST_LINKS values of a `column` of identities, none if there are more."""
    return f"""
        SELECT l.{column} FROM (
            SELECT f.{column}, count(*) OVER () AS links
            FROM ({found("identity", f"f.{column}", key, value)} LIMIT {MOST_LINKS + 1}) AS f
        ) AS l WHERE l.links <= {MOST_LINKS}"""


def _known_as(person: str) -> str:
    """A SELECT of the visitors that the person `person` is stitched with."""
    people = few("person", "visitor", "w.visitor")
    visitors = few("visitor", "person", person)
    return f"SELECT w.visitor FROM ({visitors}) AS w WHERE EXISTS ({people})"


# What is at most MOST_LINKS rows for each row is sorted for each row: no join of CTEs, of whose
# sizes a planner knows nothing, can become quadratic.
def credited(rows: str, at: str, people: Sequence[str]) -> str:
    """A SELECT of `rows` (aliased `r`) with what they are credited to.

    Of the rows are read `visitor`, `own_dim`, `own_detail`, the time `at` and the columns of ids
    `people`. Added are `credit` and `credit_detail`, and the arrays `touch_dims`, `touch_details`
    and `touch_weights` (NULL where all models agree).

    One probe of the visits' primary key for each visitor of a row.
    """
    visitors = " UNION ".join(
        ("SELECT r.visitor WHERE r.visitor <> 0", *(_known_as(f"r.{name}") for name in people))
    )
    return f"""
    SELECT r.*, coalesce(t.dims[t.chosen], r.own_dim) AS credit,
           coalesce(t.details[t.chosen], r.own_detail) AS credit_detail,
           CASE WHEN t.differ THEN t.dims END AS touch_dims,
           CASE WHEN t.differ THEN t.details END AS touch_details,
           CASE WHEN t.differ THEN ({_weights(f"r.{at}")}) END AS touch_weights
    FROM {rows} AS r LEFT JOIN LATERAL (
        SELECT array_agg(v.dim_id ORDER BY v.place) AS dims,
               array_agg(v.detail_id ORDER BY v.place) AS details,
               array_agg(v.started_at ORDER BY v.place) AS starts,
               coalesce(max(v.place) FILTER (WHERE v.known), max(v.place)) AS chosen,
               min(v.dim_id) <> max(v.dim_id) OR min(v.detail_id) <> max(v.detail_id) AS differ
        FROM (
            SELECT v.*, row_number() OVER (ORDER BY v.started_at, v.visitor) AS place,
                   coalesce(d.channel, '') NOT IN ('Direct', '') AS known
            FROM (
                SELECT v.* FROM ({visitors}) AS w CROSS JOIN LATERAL (
                    SELECT v.visitor, v.started_at, v.dim_id, v.detail_id
                    FROM visit AS v CROSS JOIN {ONE}
                    WHERE v.site_id = :site_id
                      AND (v.visitor, v.started_at) <= (w.visitor, r.{at})
                      AND (v.visitor, v.started_at) >= (w.visitor, r.{at} - {LOOKBACK})
                    ORDER BY v.visitor DESC, v.started_at DESC LIMIT {MOST_TOUCHES}
                ) AS v
                ORDER BY v.started_at DESC, v.visitor DESC LIMIT {MOST_TOUCHES}
            ) AS v LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = v.dim_id
        ) AS v
        WHERE NOT EXISTS (
            SELECT FROM dimension AS own
            WHERE own.site_id = :site_id AND own.dim_id = r.own_dim
              AND (own.source <> '' OR own.medium <> '' OR own.campaign <> ''))
    ) AS t ON true"""


def _weights(at: str) -> str:
    """Time decay: what each touch weighs, halved for every week before `at`; never nothing."""
    weeks = f"extract(epoch FROM {at} - s.started_at)::float8 / {HALF_LIFE_SECONDS}"
    return f"""
        SELECT array_agg(greatest(round(power(2::float8, -{weeks}) * 1e12), 1)::bigint
                         ORDER BY s.place)
        FROM unnest(t.starts) WITH ORDINALITY AS s(started_at, place)"""
