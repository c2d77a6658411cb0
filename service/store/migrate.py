"""Bring a database to the schema of this version, or say how the two differ."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import StartupError
from service.store.patience import patiently

_PACKAGED = Path(__file__).parent / "migrations"
_CHECKOUT = Path(__file__).parents[2] / "alembic"


def script_location() -> Path:
    """Where the migrations lie: inside an installed wheel, or `alembic/` of a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The schema that this version of Kompas needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise StartupError("This installation carries no migrations; install Kompas again.")
    return head


def must_be_known(revision: str, where: str) -> None:
    """StartupError unless a migration can bring this schema up to date; `where` it was found."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    if revision not in {script.revision for script in scripts}:
        raise StartupError(
            f"{where} has schema {revision}, newer than this Kompas knows (it needs"
            f" {head_revision()}): install the Kompas version that migrated it, or a later one."
        )


async def current_revision(engine: AsyncEngine) -> str | None:
    """The schema of the database; None for one that was never migrated."""
    async with engine.connect() as connection:
        known = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
        if known is None:
            return None
        revision: str | None = await connection.scalar(
            text("SELECT version_num FROM alembic_version")
        )
        return revision


async def migrate(engine: AsyncEngine) -> str:
    """Apply what is missing and answer the schema's revision; safe to run twice at once.

    Each migration is a transaction, or can be done again from its beginning: one that others are in
    the way of is tried again.
    """
    await check(engine, allow_older=True)

    def upgrade(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async def attempt() -> None:
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)

    await patiently(attempt, "migrate")
    return head_revision()


async def check(engine: AsyncEngine, *, allow_older: bool = False) -> None:
    """StartupError unless the database has the schema this version needs.

    `allow_older` accepts what a migration can still bring up to date.
    """
    current = await current_revision(engine)
    head = head_revision()
    if current == head:
        return
    if current is not None:
        must_be_known(current, "The database")
    if not allow_older:
        raise StartupError(
            f"The database has {f'schema {current}' if current else 'no Kompas schema'},"
            f" this Kompas needs {head}: run `kompas migrate` first."
        )
