"""Any question: details, attribution models, identities, recency, users' own KPIs, site rules.

Revision ID: 0002
Revises: 0001

Columns have constant defaults, so no table is rewritten and the running version is not blocked.
What was projected before has no touches, details or recency: `kompas rebuild` fills them in.
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
    """Add what is new; nothing that exists is rewritten."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop what was added: details, models, identities and users' own KPIs are lost."""
    for table in ("rollup_recency", "identity", "detail", "kpi_definition"):
        op.execute(f"DROP TABLE {table}")
    for table, columns in COLUMNS.items():
        drops = ", ".join(f"DROP COLUMN {column}" for column in columns)
        op.execute(f"ALTER TABLE {table} {drops}")
