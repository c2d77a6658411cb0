"""The canary: when an event was last seen to come through each way into the database.

Revision ID: 0006
Revises: 0005

A row a path, nothing that a KPI reads.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.execute("""
        CREATE TABLE canary (
            path text NOT NULL,
            seen_at timestamptz NOT NULL,
            CONSTRAINT canary_pkey PRIMARY KEY (path)
        )""")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE canary")
