"""Runs the migrations on the connection handed over by `service.store.migrate`.

Migrations wait for locks one second at most, so that a running version is never blocked behind
them, and one migrator works at a time (advisory lock).
"""

from __future__ import annotations

import time

from alembic import context
from sqlalchemy import text

MIGRATION_LOCK = 7_265_001

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    # Whoever waits for the lock must not hold a snapshot: building an index concurrently waits for
    # all of them, and the two would wait for each other.
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")):
        connection.rollback()
        time.sleep(0.1)
    connection.execute(text("SET lock_timeout = '1s'"))
    connection.execute(text("SET statement_timeout = '60s'"))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("RESET statement_timeout"))
        connection.commit()
