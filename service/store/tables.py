"""Every table, as SQLAlchemy Core metadata; `alembic/` makes them and a test compares the two.

Rules for the plain schema (so that it can be distributed by site later): `site_id` is bigint,
NOT NULL and first in every primary key of a site-owned table; constraints are named; there are
no triggers and no serial columns; the log has one level of native partitioning.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from service.domain.dimensions import DIMENSIONS
from service.store.columns import (
    AGAIN,
    CHAIN,
    MAY_BE_STATED,
    Moment,
    chain,
    detail_id,
    site_id,
    small,
    stating,
    text_of,
    touches,
)

metadata = MetaData()

# --- Reference tables: no site, or the sites themselves -------------------------------------

site = Table(
    "site",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    *(Column(name, Text, nullable=False) for name in ("slug", "name", "timezone", "currency")),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    small("fiscal_month", 1),
    small("lookback_days", 30),
    small("credited_days", 30),
    small("late_hours", 24),
    Column("rules", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("id", name="site_pkey"),
    UniqueConstraint("slug", name="site_slug_key"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    site_id(),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("revoked_at", Moment),
    PrimaryKeyConstraint("id", name="api_key_pkey"),
    UniqueConstraint("digest", name="api_key_digest_key"),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("id", SmallInteger, nullable=False, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("id", name="signing_key_pkey"),
)

visitor_salt = Table(
    "visitor_salt",
    metadata,
    Column("day", Date, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    PrimaryKeyConstraint("day", name="visitor_salt_pkey"),
)

fx_rate = Table(
    "fx_rate",
    metadata,
    *(Column(name, Text, nullable=False) for name in ("base", "quote")),
    Column("day", Date, nullable=False),
    Column("rate", Numeric, nullable=False),
    PrimaryKeyConstraint("base", "quote", "day", name="fx_rate_pkey"),
    CheckConstraint("rate > 0", name="fx_rate_rate_check"),
)

kpi_definition = Table(
    "kpi_definition",
    metadata,
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    # Not jsonb: the order of a formula's terms is how people read it.
    Column("data", JSON, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("retired_at", Moment),
    PrimaryKeyConstraint("id", "version", name="kpi_definition_pkey"),
)

canary = Table(
    "canary",
    metadata,
    Column("path", Text, nullable=False),
    Column("seen_at", Moment, nullable=False),
    PrimaryKeyConstraint("path", name="canary_pkey"),
)

# --- The log ---------------------------------------------------------------------------------

batch = Table(
    "batch",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    site_id(),
    Column("token", UUID(as_uuid=True), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("events", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("projected_at", Moment),
    Column("parked_at", Moment),
    PrimaryKeyConstraint("id", name="batch_pkey"),
    UniqueConstraint("token", "site_id", name="batch_token_key"),
    Index("batch_unprojected", "id", postgresql_where=text("projected_at IS NULL")),
)

event = Table(
    "event",
    metadata,
    site_id(),
    Column("batch_id", BigInteger, nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("visitor", BigInteger, nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    Column("seq", SmallInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("data", JSONB, nullable=False),
    detail_id(),
    Index("event_batch_id", "batch_id"),
    Index("event_occurred_at", "occurred_at", postgresql_using="brin"),
    Index("event_visitor", "visitor", postgresql_where=text("visitor <> 0")),
    postgresql_partition_by="RANGE (occurred_at)",
)

event_key = Table(
    "event_key",
    metadata,
    site_id(),
    Column("key", UUID(as_uuid=True), nullable=False),
    Column("seen_on", Date, nullable=False),
    PrimaryKeyConstraint("site_id", "key", name="event_key_pkey"),
    Index("event_key_seen_on", "seen_on", postgresql_using="brin"),
)

dimension = Table(
    "dimension",
    metadata,
    site_id(),
    Column("dim_id", BigInteger, nullable=False),
    *(text_of(name) for name in DIMENSIONS),
    PrimaryKeyConstraint("site_id", "dim_id", name="dimension_pkey"),
)

detail = Table(
    "detail",
    metadata,
    site_id(),
    Column("detail_id", BigInteger, nullable=False),
    *(text_of(name) for name in ("page", "country", "device")),
    Column("props", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("site_id", "detail_id", name="detail_pkey"),
)

rejection = Table(
    "rejection",
    metadata,
    site_id(),
    Column("id", BigInteger, Identity(always=True)),
    Column("received_at", Moment, nullable=False),
    *(Column(n, Text, nullable=False) for n in ("door", "code", "message", "field", "payload")),
    PrimaryKeyConstraint("site_id", "id", name="rejection_pkey"),
)

# --- Facts: what the projections make of the log ---------------------------------------------

visit = Table(
    "visit",
    metadata,
    site_id(),
    Column("visitor", BigInteger, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, nullable=False),
    Column("previous_at", Moment),
    Column("dim_id", BigInteger, nullable=False),
    Column("entry_batch", BigInteger, nullable=False),
    Column("entry_seq", SmallInteger, nullable=False),
    Column("hits", Integer, nullable=False),
    detail_id(),
    Column("campaign_key", BigInteger, nullable=False, server_default=text("0")),
    Column("campaign_previous_at", Moment),
    PrimaryKeyConstraint("site_id", "visitor", "started_at", name="visit_pkey"),
    Index("visit_started_at", "site_id", "started_at", postgresql_include=["previous_at"]),
    Index("visit_again", "site_id", "started_at", "previous_at", postgresql_where=text(AGAIN)),
)

message = Table(
    "message",
    metadata,
    site_id(),
    Column("message", UUID(as_uuid=True), nullable=False),
    Column("sent_at", Moment),
    Column("sent_dim", BigInteger),
    Column("seen_at", Moment, nullable=False),
    Column("seen_dim", BigInteger, nullable=False),
    *(Column(f"{name}_at", Moment) for name in ("delivered", "bounced", "opened", "opened_human")),
    *(Column(f"{name}_at", Moment) for name in ("clicked", "unsubscribed", "complained")),
    PrimaryKeyConstraint("site_id", "message", name="message_pkey"),
    Index("message_sent_at", "site_id", "sent_at"),
)

identity = Table(
    "identity",
    metadata,
    site_id(),
    Column("person", UUID(as_uuid=True), nullable=False),
    Column("visitor", BigInteger, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("site_id", "person", "visitor", name="identity_pkey"),
    Index("identity_visitor", "site_id", "visitor"),
)

lead = Table(
    "lead",
    metadata,
    site_id(),
    Column("lead", UUID(as_uuid=True), nullable=False),
    Column("won_at", Moment),
    Column("won_batch", BigInteger),
    Column("won_seq", SmallInteger),
    Column("visitor", BigInteger, nullable=False),
    Column("visitor_at", Moment),
    Column("visitor_batch", BigInteger),
    Column("visitor_seq", SmallInteger),
    Column("own_dim", BigInteger, nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    Column("converted_at", Moment),
    detail_id("own_detail"),
    detail_id(),
    *touches(),
    PrimaryKeyConstraint("site_id", "lead", name="lead_pkey"),
    Index("lead_won_at", "site_id", "won_at"),
    Index("lead_converted_at", "site_id", "converted_at"),
    Index("lead_visitor", "site_id", "visitor", postgresql_where=text("visitor <> 0")),
)

conversion = Table(
    "conversion",
    metadata,
    site_id(),
    Column("batch_id", BigInteger, nullable=False),
    Column("seq", SmallInteger, nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("refund", Boolean, nullable=False),
    Column("order", UUID(as_uuid=True)),
    Column("customer", UUID(as_uuid=True)),
    Column("visitor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("cost_of_goods", BigInteger),
    Column("quantity", BigInteger, nullable=False),
    Column("said_new", Boolean),
    Column("is_new", Boolean, nullable=False),
    Column("own_dim", BigInteger, nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    Column("lead", UUID(as_uuid=True)),
    Column("order_at", Moment),
    Column("units", BigInteger),
    Column("lines", JSONB),
    detail_id("own_detail"),
    detail_id(),
    *touches(),
    *chain(),
    PrimaryKeyConstraint("site_id", "batch_id", "seq", name="conversion_pkey"),
    Index("conversion_lead", "site_id", "lead", postgresql_where=text("lead IS NOT NULL")),
    Index("conversion_order_at", "site_id", "order_at", postgresql_where=text("refund")),
    Index(
        "conversion_chain",
        "site_id",
        "occurred_at",
        postgresql_include=["customer", "quantity", "is_new", "dim_id", *CHAIN],
        postgresql_where=text("customer IS NOT NULL AND NOT refund"),
    ),
    Index("conversion_retained", "site_id", "previous_at", postgresql_where=text("follows_new")),
    Index("conversion_occurred_at", "site_id", "occurred_at"),
    Index("conversion_visitor", "site_id", "visitor", postgresql_where=text("visitor <> 0")),
    Index("conversion_customer", "site_id", "customer", "occurred_at"),
    Index("conversion_order", "site_id", "order"),
)

statement = Table(
    "statement",
    metadata,
    site_id(),
    Column("kind", SmallInteger, nullable=False),
    Column("key", UUID(as_uuid=True), nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("seq", SmallInteger, nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("dated", Boolean, nullable=False),
    Column("dated_batch", BigInteger, nullable=False),
    Column("dated_seq", SmallInteger, nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    Column("data", JSONB, nullable=False),
    PrimaryKeyConstraint("site_id", "kind", "key", name="statement_pkey"),
    Index("statement_occurred_at", "site_id", "occurred_at"),
    *map(stating, MAY_BE_STATED),
)

answer = Table(
    "answer",
    metadata,
    site_id(),
    Column("batch_id", BigInteger, nullable=False),
    Column("seq", SmallInteger, nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("respondent", UUID(as_uuid=True), nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    detail_id(),
    PrimaryKeyConstraint("site_id", "batch_id", "seq", name="answer_pkey"),
    Index(
        "answer_occurred_at", "site_id", "occurred_at", postgresql_include=["respondent", "dim_id"]
    ),
)

# --- Rollups ---------------------------------------------------------------------------------


def _rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        site_id(),
        Column("bucket", Moment, nullable=False),
        Column("dim_id", BigInteger, nullable=False),
        Column("value", BigInteger, nullable=False),
        Column("measure", SmallInteger, nullable=False),
        text_of("currency"),
        Index(f"{name}_measure", "site_id", "measure", "bucket"),
    )


rollup_quarter = _rollup("rollup_quarter")
rollup_day = _rollup("rollup_day")
rollup_month = _rollup("rollup_month")
rollup_total = _rollup("rollup_total")
rollup_total_quarter = _rollup("rollup_total_quarter")

rollup_recency = Table(
    "rollup_recency",
    metadata,
    site_id(),
    Column("bucket", Moment, nullable=False),
    Column("previous", Moment, nullable=False),
    Column("dim_id", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("scope", SmallInteger, nullable=False),
    Index("rollup_recency_bucket", "site_id", "scope", "bucket"),
)

kpi_snapshot = Table(
    "kpi_snapshot",
    metadata,
    site_id(),
    Column("taken_at", Moment, nullable=False),
    Column("as_of", Moment, nullable=False),
    Column("body", JSONB, nullable=False),
    PrimaryKeyConstraint("site_id", name="kpi_snapshot_pkey"),
)
