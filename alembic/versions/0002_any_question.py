"""Any question: details, models, identities, answers, coarser rollups, own KPIs, site rules.

Revision ID: 0002
Revises: 0001

Columns have constant defaults, so no table is rewritten and the running version is not blocked.
Rollups are filled from what is there, answers from the log, and the runner credits all conversions
and leads again (`credited_days` 0 is no site's lookback). Details, identities and the lines of
orders of what was projected before are not: `kompas rebuild` brings those.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE site
    ADD COLUMN fiscal_month smallint NOT NULL DEFAULT 1,
    ADD COLUMN lookback_days smallint NOT NULL DEFAULT 30,
    ADD COLUMN credited_days smallint NOT NULL DEFAULT 30,
    ADD COLUMN late_hours smallint NOT NULL DEFAULT 24,
    ADD COLUMN rules jsonb NOT NULL DEFAULT '{}';
CREATE TABLE kpi_definition (
    id text NOT NULL,
    version integer NOT NULL,
    data json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CONSTRAINT kpi_definition_pkey PRIMARY KEY (id, version)
);
ALTER TABLE event ADD COLUMN detail_id bigint NOT NULL DEFAULT 0;
ALTER TABLE dimension ADD COLUMN event text NOT NULL DEFAULT '';
CREATE TABLE detail (
    site_id bigint NOT NULL,
    detail_id bigint NOT NULL,
    page text NOT NULL DEFAULT '',
    country text NOT NULL DEFAULT '',
    device text NOT NULL DEFAULT '',
    props jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT detail_pkey PRIMARY KEY (site_id, detail_id)
);
ALTER TABLE visit
    ADD COLUMN detail_id bigint NOT NULL DEFAULT 0,
    ADD COLUMN campaign_key bigint NOT NULL DEFAULT 0,
    ADD COLUMN campaign_previous_at timestamptz;
CREATE TABLE identity (
    site_id bigint NOT NULL,
    person uuid NOT NULL,
    visitor bigint NOT NULL,
    batch_id bigint NOT NULL,
    CONSTRAINT identity_pkey PRIMARY KEY (site_id, person, visitor)
);
CREATE INDEX identity_visitor ON identity (site_id, visitor);
CREATE TABLE answer (
    site_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    seq smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    respondent uuid NOT NULL,
    dim_id bigint NOT NULL,
    detail_id bigint NOT NULL DEFAULT 0,
    CONSTRAINT answer_pkey PRIMARY KEY (site_id, batch_id, seq)
);
CREATE INDEX answer_occurred_at ON answer (site_id, occurred_at) INCLUDE (respondent, dim_id);
ALTER TABLE lead
    ADD COLUMN own_detail bigint NOT NULL DEFAULT 0,
    ADD COLUMN detail_id bigint NOT NULL DEFAULT 0,
    ADD COLUMN touch_dims bigint[],
    ADD COLUMN touch_details bigint[],
    ADD COLUMN touch_weights bigint[];
ALTER TABLE conversion
    ADD COLUMN lead uuid,
    ADD COLUMN order_at timestamptz,
    ADD COLUMN units bigint,
    ADD COLUMN lines jsonb,
    ADD COLUMN own_detail bigint NOT NULL DEFAULT 0,
    ADD COLUMN detail_id bigint NOT NULL DEFAULT 0,
    ADD COLUMN touch_dims bigint[],
    ADD COLUMN touch_details bigint[],
    ADD COLUMN touch_weights bigint[];
CREATE TABLE rollup_month (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    measure smallint NOT NULL,
    currency text NOT NULL DEFAULT ''
);
CREATE INDEX rollup_month_measure ON rollup_month (site_id, measure, bucket);
CREATE TABLE rollup_total (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    measure smallint NOT NULL,
    currency text NOT NULL DEFAULT ''
);
CREATE INDEX rollup_total_measure ON rollup_total (site_id, measure, bucket);
CREATE TABLE rollup_recency (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    previous timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    scope smallint NOT NULL
);
CREATE INDEX rollup_recency_bucket ON rollup_recency (site_id, scope, bucket);
"""

FILL = """
SET LOCAL statement_timeout = 0;
UPDATE site SET credited_days = 0;
INSERT INTO identity (site_id, person, visitor, batch_id)
SELECT e.site_id, p.person::uuid, e.visitor, min(e.batch_id)
FROM event AS e JOIN batch AS b ON b.id = e.batch_id AND b.projected_at IS NOT NULL
CROSS JOIN LATERAL (VALUES (e.data->>'customer'), (e.data->>'lead')) AS p(person)
WHERE e.visitor <> 0 AND (e.flags & 3) = 2 AND p.person IS NOT NULL
GROUP BY 1, 2, 3;
UPDATE conversion AS c SET lead = (e.data->>'lead')::uuid
FROM event AS e
WHERE e.site_id = c.site_id AND e.batch_id = c.batch_id AND e.seq = c.seq
  AND e.data->>'lead' IS NOT NULL;
INSERT INTO answer (site_id, batch_id, seq, occurred_at, respondent, dim_id, detail_id)
SELECT e.site_id, e.batch_id, e.seq, e.occurred_at, (e.data->>'respondent')::uuid, e.dim_id,
       e.detail_id
FROM event AS e JOIN batch AS b ON b.id = e.batch_id
WHERE e.kind = 40 AND (e.flags & 1) = 0 AND e.data->>'respondent' IS NOT NULL
  AND b.projected_at IS NOT NULL;
INSERT INTO rollup_month (site_id, bucket, dim_id, value, measure, currency)
SELECT g.site_id, g.bucket, g.dim_id, p.value, g.measure, g.currency
FROM (SELECT r.site_id, date_trunc('month', r.bucket, s.timezone) AS bucket, r.dim_id, r.measure,
             r.currency, sum(r.value) AS value, array_agg(r.value) AS parts
      FROM rollup_day AS r JOIN site AS s ON s.id = r.site_id
      GROUP BY 1, 2, 3, 4, 5) AS g
CROSS JOIN LATERAL unnest(CASE WHEN abs(g.value) <= 9000000000000000000
                          THEN ARRAY[g.value::bigint] ELSE g.parts END) AS p (value)
WHERE g.value <> 0
ORDER BY g.measure, g.bucket;
INSERT INTO rollup_total (site_id, bucket, dim_id, value, measure, currency)
SELECT g.site_id, g.bucket, 0, p.value, g.measure, g.currency
FROM (SELECT site_id, bucket, measure, currency, sum(value) AS value, array_agg(value) AS parts
      FROM rollup_day GROUP BY 1, 2, 3, 4) AS g
CROSS JOIN LATERAL unnest(CASE WHEN abs(g.value) <= 9000000000000000000
                          THEN ARRAY[g.value::bigint] ELSE g.parts END) AS p (value)
WHERE g.value <> 0
ORDER BY g.measure, g.bucket;
WITH named AS (
    SELECT v.site_id, v.visitor, v.started_at,
           CASE WHEN coalesce(d.campaign, '') = '' THEN 0
                ELSE ('x' || left(md5(d.campaign), 16))::bit(64)::bigint END AS key
    FROM visit AS v
    LEFT JOIN dimension AS d ON d.site_id = v.site_id AND d.dim_id = v.dim_id
),
chained AS (
    SELECT site_id, visitor, started_at, key,
           lag(started_at) OVER (PARTITION BY site_id, visitor, key ORDER BY started_at) AS previous
    FROM named
)
UPDATE visit AS v SET campaign_key = c.key, campaign_previous_at = c.previous
FROM chained AS c
WHERE v.site_id = c.site_id AND v.visitor = c.visitor AND v.started_at = c.started_at;
INSERT INTO rollup_recency (site_id, bucket, previous, dim_id, value, scope)
SELECT v.site_id, date_trunc('day', v.started_at, s.timezone),
       coalesce(date_trunc('day', v.previous_at, s.timezone), '-infinity'), 0, count(*), 0
FROM visit AS v JOIN site AS s ON s.id = v.site_id
GROUP BY 1, 2, 3;
INSERT INTO rollup_recency (site_id, bucket, previous, dim_id, value, scope)
SELECT v.site_id,
       date_trunc('month', date_trunc('day', v.started_at, s.timezone), s.timezone),
       coalesce(date_trunc('day', v.campaign_previous_at, s.timezone), '-infinity'), v.dim_id,
       count(*), 1
FROM visit AS v JOIN site AS s ON s.id = v.site_id
GROUP BY 1, 2, 3, 4;
"""

COLUMNS = {
    "conversion": (
        "lead", "order_at", "units", "lines", "own_detail", "detail_id",
        "touch_dims", "touch_details", "touch_weights",
    ),
    "lead": ("own_detail", "detail_id", "touch_dims", "touch_details", "touch_weights"),
    "visit": ("detail_id", "campaign_key", "campaign_previous_at"),
    "dimension": ("event",),
    "event": ("detail_id",),
    "site": ("fiscal_month", "lookback_days", "credited_days", "late_hours", "rules"),
}  # fmt: skip


def upgrade() -> None:
    """Add what is new, and fill it from what is there."""
    for statement in (TABLES + FILL).split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop what was added: details, models, identities and users' own KPIs are lost."""
    for table in (
        "rollup_month",
        "rollup_total",
        "rollup_recency",
        "identity",
        "answer",
        "detail",
        "kpi_definition",
    ):
        op.execute(f"DROP TABLE {table}")
    for table, columns in COLUMNS.items():
        drops = ", ".join(f"DROP COLUMN {column}" for column in columns)
        op.execute(f"ALTER TABLE {table} {drops}")
