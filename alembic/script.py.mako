"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Say what the running version sees while this happens."""
    op.execute("")


def downgrade() -> None:
    """Put it back."""
    op.execute("")
