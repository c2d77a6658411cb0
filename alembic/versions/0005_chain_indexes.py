"""Indexes along the chains of 0004: built beside the running version.

Revision ID: 0005
Revises: 0004

Outside a transaction, as Postgres demands. A build that was interrupted leaves an invalid index of
the name behind, which is dropped first.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

INDEXES = {
    "conversion_chain": "conversion (site_id, occurred_at) INCLUDE"
    " (customer, quantity, is_new, dim_id, previous_at, repeated_at, follows_new)"
    " WHERE customer IS NOT NULL AND NOT refund",
    "conversion_retained": "conversion (site_id, previous_at) WHERE follows_new",
    "visit_again": "visit (site_id, started_at, previous_at)"
    " WHERE (started_at - previous_at) <= '25:00:00'::interval",
}
REPLACED = {
    "conversion_of_customer": "conversion (site_id, occurred_at)"
    " INCLUDE (customer, quantity, is_new, dim_id) WHERE customer IS NOT NULL AND NOT refund",
}


def upgrade() -> None:
    """Build them, each by itself, and drop what they replace."""
    _build(INDEXES, instead_of=REPLACED)


def downgrade() -> None:
    """Drop them, and build what they replaced."""
    _build(REPLACED, instead_of=INDEXES)


def _build(indexes: dict[str, str], instead_of: dict[str, str]) -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for name, columns in indexes.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}")
        for name in instead_of:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute("SET statement_timeout = '60s'")
