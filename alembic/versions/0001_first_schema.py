"""The first schema: reference tables, the log, facts, rollups.

Revision ID: 0001
Revises:

Plain SQL, because what Postgres runs is what is reviewed. The same statements run on Citus with
`site_id` as the distribution column: every primary key of a site-owned table starts with it.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

REFERENCE = """
CREATE TABLE site (
    id bigint GENERATED ALWAYS AS IDENTITY,
    slug text NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL,
    currency text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT site_pkey PRIMARY KEY (id),
    CONSTRAINT site_slug_key UNIQUE (slug)
);
CREATE TABLE api_key (
    id bigint GENERATED ALWAYS AS IDENTITY,
    site_id bigint NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT api_key_digest_key UNIQUE (digest)
);
CREATE TABLE signing_key (
    id smallint NOT NULL,
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT signing_key_pkey PRIMARY KEY (id)
);
CREATE TABLE visitor_salt (
    day date NOT NULL,
    salt bytea NOT NULL,
    CONSTRAINT visitor_salt_pkey PRIMARY KEY (day)
);
CREATE TABLE fx_rate (
    base text NOT NULL,
    quote text NOT NULL,
    day date NOT NULL,
    rate numeric NOT NULL,
    CONSTRAINT fx_rate_pkey PRIMARY KEY (base, quote, day),
    CONSTRAINT fx_rate_rate_check CHECK (rate > 0)
);
"""

# The columns of `event` are ordered by alignment and none is nullable: a page view takes 84
# bytes of heap before its data. Uniqueness by client id cannot live on a partitioned table
# without its partition column, so it has a table of its own, written in the same statement.
LOG = """
CREATE TABLE batch (
    id bigint GENERATED ALWAYS AS IDENTITY,
    site_id bigint NOT NULL,
    token uuid NOT NULL,
    received_at timestamptz NOT NULL,
    events integer NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    projected_at timestamptz,
    parked_at timestamptz,
    CONSTRAINT batch_pkey PRIMARY KEY (id),
    CONSTRAINT batch_token_key UNIQUE (token, site_id)
);
CREATE INDEX batch_unprojected ON batch (id) WHERE projected_at IS NULL;
CREATE TABLE event (
    site_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    visitor bigint NOT NULL,
    dim_id bigint NOT NULL,
    seq smallint NOT NULL,
    kind smallint NOT NULL,
    flags smallint NOT NULL,
    data jsonb NOT NULL
) PARTITION BY RANGE (occurred_at);
CREATE INDEX event_batch_id ON event (batch_id);
CREATE INDEX event_occurred_at ON event USING brin (occurred_at);
CREATE INDEX event_visitor ON event (visitor) WHERE visitor <> 0;
CREATE TABLE event_key (
    site_id bigint NOT NULL,
    key uuid NOT NULL,
    seen_on date NOT NULL,
    CONSTRAINT event_key_pkey PRIMARY KEY (site_id, key)
);
CREATE INDEX event_key_seen_on ON event_key USING brin (seen_on);
CREATE TABLE dimension (
    site_id bigint NOT NULL,
    dim_id bigint NOT NULL,
    channel text NOT NULL DEFAULT '',
    source text NOT NULL DEFAULT '',
    medium text NOT NULL DEFAULT '',
    campaign text NOT NULL DEFAULT '',
    content text NOT NULL DEFAULT '',
    term text NOT NULL DEFAULT '',
    survey text NOT NULL DEFAULT '',
    CONSTRAINT dimension_pkey PRIMARY KEY (site_id, dim_id)
);
CREATE TABLE rejection (
    site_id bigint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL,
    door text NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    field text NOT NULL,
    payload text NOT NULL,
    CONSTRAINT rejection_pkey PRIMARY KEY (site_id, id)
);
"""

FACTS = """
CREATE TABLE visit (
    site_id bigint NOT NULL,
    visitor bigint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    previous_at timestamptz,
    dim_id bigint NOT NULL,
    entry_batch bigint NOT NULL,
    entry_seq smallint NOT NULL,
    hits integer NOT NULL,
    CONSTRAINT visit_pkey PRIMARY KEY (site_id, visitor, started_at)
) WITH (fillfactor = 70);
CREATE INDEX visit_started_at ON visit (site_id, started_at) INCLUDE (previous_at);
CREATE TABLE message (
    site_id bigint NOT NULL,
    message uuid NOT NULL,
    sent_at timestamptz,
    sent_dim bigint,
    seen_at timestamptz NOT NULL,
    seen_dim bigint NOT NULL,
    delivered_at timestamptz,
    bounced_at timestamptz,
    opened_at timestamptz,
    opened_human_at timestamptz,
    clicked_at timestamptz,
    unsubscribed_at timestamptz,
    complained_at timestamptz,
    CONSTRAINT message_pkey PRIMARY KEY (site_id, message)
) WITH (fillfactor = 70);
CREATE TABLE lead (
    site_id bigint NOT NULL,
    lead uuid NOT NULL,
    won_at timestamptz,
    won_batch bigint,
    won_seq smallint,
    visitor bigint NOT NULL,
    visitor_at timestamptz,
    visitor_batch bigint,
    visitor_seq smallint,
    own_dim bigint NOT NULL,
    dim_id bigint NOT NULL,
    converted_at timestamptz,
    CONSTRAINT lead_pkey PRIMARY KEY (site_id, lead)
) WITH (fillfactor = 70);
CREATE INDEX lead_visitor ON lead (site_id, visitor) WHERE visitor <> 0;
CREATE TABLE conversion (
    site_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    seq smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    refund boolean NOT NULL,
    "order" uuid,
    customer uuid,
    visitor bigint NOT NULL,
    currency text NOT NULL,
    value bigint NOT NULL,
    cost_of_goods bigint,
    quantity bigint NOT NULL,
    said_new boolean,
    is_new boolean NOT NULL,
    own_dim bigint NOT NULL,
    dim_id bigint NOT NULL,
    CONSTRAINT conversion_pkey PRIMARY KEY (site_id, batch_id, seq)
) WITH (fillfactor = 70);
CREATE INDEX conversion_occurred_at ON conversion (site_id, occurred_at);
CREATE INDEX conversion_visitor ON conversion (site_id, visitor) WHERE visitor <> 0;
CREATE INDEX conversion_customer ON conversion (site_id, customer, occurred_at);
CREATE INDEX conversion_order ON conversion (site_id, "order");
CREATE TABLE statement (
    site_id bigint NOT NULL,
    kind smallint NOT NULL,
    key uuid NOT NULL,
    batch_id bigint NOT NULL,
    seq smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    dated boolean NOT NULL,
    dated_batch bigint NOT NULL,
    dated_seq smallint NOT NULL,
    dim_id bigint NOT NULL,
    data jsonb NOT NULL,
    CONSTRAINT statement_pkey PRIMARY KEY (site_id, kind, key)
) WITH (fillfactor = 70);
CREATE INDEX statement_occurred_at ON statement (site_id, occurred_at);
"""

# Append-only, so no primary key: a reader sums, and compaction changes no answer.
ROLLUPS = """
CREATE TABLE rollup_quarter (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    measure smallint NOT NULL,
    currency text NOT NULL DEFAULT ''
);
CREATE INDEX rollup_quarter_measure ON rollup_quarter (site_id, measure, bucket);
CREATE TABLE rollup_day (
    site_id bigint NOT NULL,
    bucket timestamptz NOT NULL,
    dim_id bigint NOT NULL,
    value bigint NOT NULL,
    measure smallint NOT NULL,
    currency text NOT NULL DEFAULT ''
);
CREATE INDEX rollup_day_measure ON rollup_day (site_id, measure, bucket);
CREATE TABLE kpi_snapshot (
    site_id bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT kpi_snapshot_pkey PRIMARY KEY (site_id)
);
"""

TABLES = (
    "kpi_snapshot",
    "rollup_day",
    "rollup_quarter",
    "statement",
    "conversion",
    "lead",
    "message",
    "visit",
    "rejection",
    "dimension",
    "event_key",
    "event",
    "batch",
    "fx_rate",
    "visitor_salt",
    "signing_key",
    "api_key",
    "site",
)


def upgrade() -> None:
    """Make every table; nothing is running yet."""
    for block in (REFERENCE, LOG, FACTS, ROLLUPS):
        for statement in block.split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    """Drop everything: all data is lost."""
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
