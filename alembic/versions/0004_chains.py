"""Chains of orders, as visits have them, and quarter hours of all dimensions together.

Revision ID: 0004
Revises: 0003

Columns have constant defaults, so no table is rewritten and the running version is not blocked.
What is added is filled from what is there.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE conversion
    ADD COLUMN previous_at timestamptz,
    ADD COLUMN repeated_at timestamptz,
    ADD COLUMN follows_new boolean NOT NULL DEFAULT false;
CREATE TABLE rollup_total_quarter (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    measure smallint NOT NULL,
    currency text NOT NULL DEFAULT ''
);
CREATE INDEX rollup_total_quarter_measure ON rollup_total_quarter (site_id, measure, bucket);
"""

FILL = """
SET LOCAL statement_timeout = 0;
WITH before AS (
    SELECT site_id, batch_id, seq, lag(occurred_at) OVER w AS at, lag(previous) OVER w AS at_before,
           lag(quantity) OVER w AS quantity, coalesce(lag(is_new) OVER w, false) AS is_new
    FROM (SELECT *, lag(occurred_at) OVER w AS previous
          FROM conversion WHERE customer IS NOT NULL AND NOT refund
          WINDOW w AS (PARTITION BY site_id, customer ORDER BY occurred_at, batch_id, seq)) AS c
    WINDOW w AS (PARTITION BY site_id, customer ORDER BY occurred_at, batch_id, seq)
)
UPDATE conversion AS c
SET previous_at = b.at,
    repeated_at = CASE WHEN b.quantity >= 2 THEN b.at ELSE b.at_before END,
    follows_new = b.is_new
FROM before AS b
WHERE c.site_id = b.site_id AND c.batch_id = b.batch_id AND c.seq = b.seq AND b.at IS NOT NULL;
INSERT INTO rollup_total_quarter (site_id, bucket, dim_id, value, measure, currency)
SELECT g.site_id, g.bucket, 0, p.value, g.measure, g.currency
FROM (SELECT site_id, bucket, measure, currency, sum(value) AS value, array_agg(value) AS parts
      FROM rollup_quarter GROUP BY 1, 2, 3, 4) AS g
CROSS JOIN LATERAL unnest(CASE WHEN abs(g.value) <= 9000000000000000000
                          THEN ARRAY[g.value::bigint] ELSE g.parts END) AS p (value)
WHERE g.value <> 0
ORDER BY g.measure, g.bucket;
"""


def upgrade() -> None:
    """Add what is new, and fill it from what is there."""
    for statement in (TABLES + FILL).split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop what was added."""
    op.execute("DROP TABLE rollup_total_quarter")
    op.execute(
        "ALTER TABLE conversion DROP COLUMN previous_at, DROP COLUMN repeated_at,"
        " DROP COLUMN follows_new"
    )
