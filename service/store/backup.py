"""Backup: the spool and one consistent dump of the embedded database, in one file.

The spool is copied before the dump's snapshot is taken. What is drained in between is in both, and
its tokens make the replay harmless; in the other order it could be in neither.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, NamedTuple, cast

from sqlalchemy import text

from service.store.backup_archive import DUMP, ArchiveWriter, BackupError, Contents, said_by
from service.store.backup_file import whole_file
from service.store.embedded_host import Account
from service.store.engine import make_engine, reading

LOCK_SECONDS = 60
COMPRESSION = "gzip:1"  # level 6 takes twice as long for a file that is a fifth smaller

# Of the floor above, `service.ingest.spool`; what is in quarantine there could not be replayed.
FOLDERS = "[0-9]*"
SEGMENTS = "*.spool"

_SNAPSHOT = text("""
    SELECT pg_export_snapshot() AS id, now() AS at,
           current_setting('server_version_num')::integer / 10000 AS postgres,
           (SELECT version_num FROM alembic_version) AS schema""")


class Source(NamedTuple):
    """What is backed up: a running database, the folder of its `pg_dump`, the folder of spools."""

    url: str
    bin_dir: Path
    spool: Path


async def back_up(source: Source, target: Path, started_at: datetime) -> Contents:
    """Write the backup to `target`; everything acknowledged before `started_at`, now, is in it.

    Raises `BackupError`, and then leaves no file behind.
    """
    with whole_file(target) as file:
        archive = ArchiveWriter(file, started_at)
        copy_spool(archive, source.spool)
        contents = await copy_database(archive, source)
        archive.close(contents)
    return contents


# --- The spool ----------------------------------------------------------------------------------


def copy_spool(archive: ArchiveWriter, spool: Path) -> None:
    """Append every segment as it is now, folder by folder; none where there is no spool."""
    for folder in _listed(spool, FOLDERS):
        with ExitStack() as stack:
            for name, file in _opened(folder, stack):
                archive.add(f"spool/{folder.name}/{name}", file)


def _listed(folder: Path, pattern: str) -> list[Path]:
    # Not by glob, which passes over what it may not read.
    try:
        return sorted(path for path in folder.iterdir() if path.match(pattern))
    except FileNotFoundError:
        return []


def _opened(folder: Path, stack: ExitStack) -> list[tuple[str, IO[bytes]]]:
    """The segments of a folder, oldest first; all are open before the first is copied."""
    opened: list[tuple[str, IO[bytes]]] = []
    for path in _listed(folder, SEGMENTS):
        try:
            opened.append((path.name, stack.enter_context(path.open("rb"))))
        except FileNotFoundError:
            # Drained meanwhile, and so are those before it. Without them there is no gap, which
            # would look like damage.
            opened.clear()
    return opened


# --- The database -------------------------------------------------------------------------------


async def copy_database(archive: ArchiveWriter, source: Source) -> Contents:
    """Append the dump of one snapshot; the answer says of which."""
    engine = make_engine(source.url)
    try:
        # The snapshot lives as long as the transaction that exported it.
        async with reading(engine) as connection:
            seen = (await connection.execute(_SNAPSHOT)).one()
            await _dump(archive, source, seen.id)
    finally:
        await engine.dispose()
    return Contents(version("kompas"), seen.schema, seen.postgres, archive.started_at, seen.at)


async def _dump(archive: ArchiveWriter, source: Source, snapshot: str) -> None:
    command = [
        str(source.bin_dir / "pg_dump"), "--format=custom", f"--compress={COMPRESSION}",
        f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_SECONDS}s", "--no-password",
        f"--dbname={source.url}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:  # a pipe that nobody empties would stop it
        process = Account.current().spawn(command, stdout=subprocess.PIPE, stderr=said)
        with process, cast("IO[bytes]", process.stdout) as dumped:
            copying = asyncio.ensure_future(asyncio.to_thread(archive.add, DUMP, dumped))
            try:
                await asyncio.shield(copying)
            except BaseException:
                process.kill()
                await asyncio.wait([copying])
                raise
        if process.returncode:
            raise BackupError(f"The database could not be read: {said_by(said)}.")
