"""Indexes for what 0002 added to tables that may be large: built beside the running version.

Revision ID: 0003
Revises: 0002

Outside a transaction, as Postgres demands. A build that was interrupted leaves an invalid index of
the name behind, which is dropped first.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

INDEXES = {
    "message_sent_at": "message (site_id, sent_at)",
    "lead_won_at": "lead (site_id, won_at)",
    "lead_converted_at": "lead (site_id, converted_at)",
    "conversion_lead": "conversion (site_id, lead) WHERE lead IS NOT NULL",
    "conversion_of_customer": "conversion (site_id, occurred_at)"
    " INCLUDE (customer, quantity, is_new, dim_id) WHERE customer IS NOT NULL AND NOT refund",
    "conversion_order_at": "conversion (site_id, order_at) WHERE refund",
    **{
        f"statement_{member}": f"statement (site_id, kind, key) WHERE data->>'{member}' IS NOT NULL"
        for member in ("impressions", "clicks", "reach", "viewable", "measurable", "invalid_clicks")
    },
}


def upgrade() -> None:
    """Build them, each by itself."""
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}")
        op.execute("SET statement_timeout = '60s'")


def downgrade() -> None:
    """Drop them."""
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
