"""Restore: a data directory out of a backup, in its place only when it is complete.

The database is loaded by a server of its own inside the data directory, which is this process's
meanwhile, and then renamed. The spool stays where it is, whatever happens to the database beside
it: what it holds was acknowledged, and its tokens make the replay harmless. The segments of the
backup become a folder more in it, as if another process had left them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from service.kit.sync import sync, sync_tree
from service.store.backup_archive import Archive, BackupError, said_by
from service.store.embedded import EmbeddedPostgres
from service.store.embedded_cluster import SETTINGS, write_settings
from service.store.embedded_host import (
    MAJOR,
    Account,
    choose_account,
    make_data_dir,
    take_lock,
)
from service.store.migrate import must_be_known

# A database that is thrown away if anything fails needs no log to recover from.
LOADING = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "maintenance_work_mem": "256MB",
    # One transaction makes every table, index and partition.
    "max_locks_per_transaction": "1024",
}
_BUILDING = ".restore-"


@dataclass(frozen=True)
class Target:
    """Where the restored data go; `aside` is where a database that is in the way may go."""

    data_dir: Path
    spool: Path
    aside: Path | None

    @property
    def cluster(self) -> Path:
        """The folder of the database."""
        return self.data_dir / "postgres"

    def is_taken(self) -> bool:
        """Whether a database, or anything else, is there already."""
        return self.cluster.exists() and any(self.cluster.iterdir())


def check_restorable(archive: Archive) -> None:
    """`StartupError` for what only a later Kompas can read."""
    contents = archive.contents
    if contents.postgres > MAJOR:
        raise BackupError(
            f"The backup comes from Postgres {contents.postgres}, this Kompas carries Postgres"
            f" {MAJOR}: install the Kompas version that made it ({contents.kompas}), or a later"
            " one."
        )
    must_be_known(contents.schema, "The backup")


def must_be_free(target: Target) -> None:
    """`BackupError` where a database is in the way that may not go."""
    if target.aside is None and target.is_taken():
        raise BackupError(
            f"{target.data_dir} holds a database: set KOMPAS_DATA_DIR to another folder, or let"
            " --force move it aside."
        )


def _must_be_idle(target: Target) -> None:
    # The lock is ours, so there is no Kompas; a server outlives one that was killed.
    if EmbeddedPostgres(target.data_dir).running_url():
        raise BackupError(
            f"A Postgres runs on {target.cluster}, left by a Kompas that was killed: start"
            " `kompas serve` once and stop it with Ctrl-C."
        )


@contextmanager
def restoring(archive: Archive, target: Target) -> Iterator[str]:
    """The URL of the loaded database, to be migrated; in its place when the block ends.

    Raises `StartupError`, and then leaves everything as it was.
    """
    try:
        make_data_dir(target.data_dir)
        lock = take_lock(target.data_dir)
        try:
            _must_be_idle(target)
            must_be_free(target)
            for leftover in target.spool.glob(f"{_BUILDING}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with _building(target.data_dir) as server:
                url = server.start()
                _load(archive, server, url)
                yield url
                _finish(server, url)
                place(archive, server.cluster, target)
        finally:
            os.close(lock)
    except OSError as error:
        where = error.filename or target.data_dir
        raise BackupError(f"{where}: {error.strerror or error}; nothing was restored.") from error


@contextmanager
def _building(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server in a new folder inside the data directory, which is removed at the end."""
    for leftover in data_dir.glob(f"{_BUILDING}*"):  # of a restore that was killed
        _remove(EmbeddedPostgres(leftover, LOADING))
    server = EmbeddedPostgres(data_dir / f"{_BUILDING}{secrets.token_hex(4)}", LOADING)
    try:
        yield server
    finally:
        _remove(server)


def _remove(server: EmbeddedPostgres) -> None:
    _stop(server)
    shutil.rmtree(server.data_dir, ignore_errors=True)


def _stop(server: EmbeddedPostgres) -> None:
    url = server.running_url()
    if url is not None:
        server.start()  # that of a killed restore is taken over, to be stopped
    server.stop()
    if url is not None:
        # Where the path was too long for a socket, its folder is not inside the data directory.
        with suppress(OSError):
            Path(parse_qs(urlsplit(url).query)["host"][0]).rmdir()


# --- The database -------------------------------------------------------------------------------


def _load(archive: Archive, server: EmbeddedPostgres, url: str) -> None:
    reading, feeding = os.pipe()
    command = [
        str(server.bin_dir / "pg_restore"), "--format=custom", "--exit-on-error",
        "--single-transaction", "--no-owner", "--no-privileges", "--no-password",
        f"--dbname={url}", f"/dev/fd/{reading}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        try:
            process = Account.current().spawn(
                command, pass_fds=(reading,), stdout=subprocess.DEVNULL, stderr=said
            )
        except BaseException:
            os.close(feeding)
            raise
        finally:
            os.close(reading)
        try:
            with suppress(BrokenPipeError), os.fdopen(feeding, "wb") as pipe:
                for piece in archive.pieces(archive.dump()):
                    pipe.write(piece)
            process.wait()
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise BackupError(f"The backup could not be loaded: {said_by(said)}.")


def _finish(server: EmbeddedPostgres, url: str) -> None:
    """What autovacuum would do in time, and the way to the disk that loading left out."""
    psql = [str(server.bin_dir / "psql"), "-Xqw", f"--dbname={url}", "--command=VACUUM (ANALYZE)"]
    with tempfile.TemporaryFile() as said:
        if Account.current().spawn(psql, stdout=subprocess.DEVNULL, stderr=said).wait():
            raise BackupError(f"The restored database is not usable: {said_by(said)}.")
    _stop(server)
    # Whoever starts it by hand gets a durable one, too.
    write_settings(server.cluster, choose_account(server.cluster), SETTINGS)
    sync_tree(server.cluster)


# --- Into place ---------------------------------------------------------------------------------


def place(archive: Archive, built: Path, target: Target) -> None:
    """Give a finished database and the segments their names; all of them, or none. OSError."""
    with _segments_placed(archive, target.spool):
        aside = target.aside if target.is_taken() else None
        if aside is not None:
            target.cluster.rename(aside)
        try:
            built.rename(target.cluster)
        except BaseException:
            if aside is not None:
                aside.rename(target.cluster)
            raise
    sync(target.data_dir)


@contextmanager
def _segments_placed(archive: Archive, spool: Path) -> Iterator[None]:
    """The segments as folders of the spool, which are removed again when the block raises."""
    folders: dict[str, Path] = {}
    try:
        for placed in archive.segments():
            _, name, segment = placed.member.name.split("/")
            if name not in folders:
                folders[name] = _make_hidden(spool)
            with (folders[name] / segment).open("xb") as copy:
                copy.writelines(archive.pieces(placed))
        for name, folder in folders.items():
            sync_tree(folder)
            # As its process named it, but for the eight digits drawn by lot at the end.
            folders[name] = folder.rename(spool / f"{name[:-8]}{secrets.token_hex(4)}")
            sync(spool)
        yield
    except BaseException:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_hidden(spool: Path) -> Path:
    """A folder that no spool takes for its own yet."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=_BUILDING, dir=spool))
