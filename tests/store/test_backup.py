"""A backup holds everything or does not exist; what is restored is what was there."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.errors import StartupError
from service.store import backup
from service.store.backup import Source, back_up, copy_spool
from service.store.backup_archive import (
    DUMP,
    Archive,
    ArchiveWriter,
    BackupError,
    Contents,
    read_archive,
)
from service.store.backup_file import whole_file
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import head_revision, migrate, script_location
from service.store.partitions import ensure_partitions
from service.store.restore import Target, check_restorable, must_be_free, place, restoring
from tests.conftest import Database
from tests.submissions import AT

MakeSite = Callable[..., Awaitable[Site]]
CONTENTS = Contents("0.1.0", "0001", 18, AT, datetime(2026, 5, 20, 12, 31, tzinfo=UTC))
FOLDER = "20260520T123000-77-0123abcd"
SEGMENT = "00000001-0000000000000000.spool"
STEP = 5  # bytes; odd, so that every bit of a byte has its turn
LOOSE = {"fsync": "off"}  # these databases need not outlive a power cut


def written(path: Path, members: dict[str, bytes], contents: Contents = CONTENTS) -> Archive:
    with path.open("w+b") as file:
        writer = ArchiveWriter(file, contents.started_at)
        for name, body in members.items():
            writer.add(name, io.BytesIO(body))
        writer.close(contents)
    return read_archive(path)


def inside(archive: Archive) -> dict[str, bytes]:
    return {each.member.name: b"".join(archive.pieces(each)) for each in archive.placed}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the server's own account can reach; in memory, where there is room."""
    memory = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a name of its own in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="kp-", dir=memory if roomy else None))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


# --- The archive --------------------------------------------------------------------------------


names = st.from_regex(r"spool/2[0-9T-]{1,12}/0[0-9-]{1,12}\.spool", fullmatch=True)


@given(segments=st.dictionaries(names, st.binary(max_size=3000), max_size=4), dump=st.binary())
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, segments: dict[str, bytes], dump: bytes
) -> None:
    path = tmp_path_factory.mktemp("archive") / "a"
    archive = written(path, {**segments, DUMP: dump})
    assert archive.contents == CONTENTS
    assert inside(archive) == {**segments, DUMP: dump}
    assert [each.member.name for each in archive.segments()] == list(segments)
    assert archive.dump().member.size == len(dump)


def test_ordinary_tools_read_it(tmp_path: Path) -> None:
    written(tmp_path / "a.tar", {f"spool/{FOLDER}/{SEGMENT}": b"one", DUMP: b"two" * 500})
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {each.mode for each in tar} == {0o600}
        tar.extractall(tmp_path, filter="data")
    assert (tmp_path / "spool" / FOLDER / SEGMENT).read_bytes() == b"one"
    checked = subprocess.run(
        ["sha256sum", "--check", "manifest.sha256"], cwd=tmp_path, check=True, capture_output=True
    )
    assert checked.stdout == b"manifest.json: OK\n"


@pytest.fixture
def small(tmp_path: Path) -> Archive:
    members = {f"spool/{FOLDER}/{SEGMENT}": b"segment" * 90, DUMP: b"database" * 70}
    return written(tmp_path / "small", members)


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(small: Archive) -> None:
    whole, before = small.path.read_bytes(), inside(small)
    found = 0
    with small.path.open("r+b", buffering=0) as file:
        for at in range(0, len(whole), STEP):
            byte = whole[at]
            os.pwrite(file.fileno(), bytes([byte ^ 1 << at % 8]), at)
            with suppress(BackupError):
                found += 1
                assert inside(read_archive(small.path)) == before
                found -= 1
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert found > len(whole) / STEP / 2


def test_a_cut_anywhere_is_found(small: Archive) -> None:
    with small.path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BackupError, match="added"):
        read_archive(small.path)
    for length in range(small.path.stat().st_size - 2, 0, -STEP):
        os.truncate(small.path, length)
        with pytest.raises(BackupError):
            read_archive(small.path)


def test_a_member_that_is_changed_after_it_was_checked_is_noticed(small: Archive) -> None:
    whole = small.path.read_bytes()
    small.path.write_bytes(whole.replace(b"database", b"databasf", 1))
    with pytest.raises(BackupError, match="changed"):
        inside(small)
    small.path.write_bytes(whole[: small.dump().start + 3])
    with pytest.raises(BackupError, match="changed"):
        inside(small)


@pytest.mark.parametrize(
    "names",
    [(), (DUMP, DUMP), (DUMP, "other"), (DUMP, f"spool/../{SEGMENT}"), (DUMP, f"/{SEGMENT}")],
)
def test_only_members_of_a_backup_are_taken(tmp_path: Path, names: tuple[str, ...]) -> None:
    with (tmp_path / "a").open("w+b") as file:
        writer = ArchiveWriter(file, AT)
        for name in names:
            writer.add(name, io.BytesIO(b"x"))
        writer.close(CONTENTS)
    with pytest.raises(BackupError, match="members"):
        read_archive(tmp_path / "a")


def test_what_is_no_backup_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"):
        read_archive(tmp_path / "a")
    (tmp_path / "a").write_bytes(os.urandom(5000))
    with pytest.raises(BackupError, match="no backup at all"):
        read_archive(tmp_path / "a")


def test_another_format_is_for_another_kompas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.backup_archive.FORMAT", 2)
    written(tmp_path / "a", {DUMP: b""})
    monkeypatch.undo()
    with pytest.raises(BackupError, match="format 2"):
        read_archive(tmp_path / "a")


class Zeros(io.RawIOBase):
    """So many bytes, like a pipe's: never all at once."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        self._left -= (given := min(size, self._left))
        return bytes(given)


def test_memory_does_not_grow_with_the_database(tmp_path: Path) -> None:
    size = 64 << 20
    tracemalloc.start()
    with (tmp_path / "a").open("w+b") as file:
        writer = ArchiveWriter(file, AT)
        writer.add(DUMP, Zeros(size))
        writer.close(CONTENTS)
    archive = read_archive(tmp_path / "a")
    assert sum(map(len, archive.pieces(archive.dump()))) == size
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 8


# --- The file -----------------------------------------------------------------------------------


def test_the_name_appears_with_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "b"
    (tmp_path / "b.part").write_bytes(b"what a killed process left" * 9)
    with whole_file(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["b"]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def fails(error: BaseException) -> None:
        with whole_file(tmp_path / "b") as file:
            file.write(b"half")
            raise error

    with pytest.raises(KeyboardInterrupt):
        fails(KeyboardInterrupt())
    with pytest.raises(BackupError, match="No space left on device; no backup was made"):
        fails(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert names_in(tmp_path) == []
    with pytest.raises(BackupError, match="No such file"), whole_file(tmp_path / "no" / "b"):
        pass


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    target = tmp_path / "b"
    target.write_bytes(b"old")
    with pytest.raises(BackupError, match="exists"), whole_file(target):
        pass
    target.unlink()

    def is_late() -> None:
        with whole_file(target):
            target.write_bytes(b"somebody else's")

    with pytest.raises(BackupError, match="exists"):
        is_late()
    assert names_in(tmp_path) == ["b"]
    assert target.read_bytes() == b"somebody else's"


def test_two_do_not_write_the_same_file(tmp_path: Path) -> None:
    with whole_file(tmp_path / "b") as file:
        with pytest.raises(BackupError, match="another process"), whole_file(tmp_path / "b"):
            pass
        file.write(b"the first")
    assert (tmp_path / "b").read_bytes() == b"the first"


# --- The spool ----------------------------------------------------------------------------------


def spooled(root: Path, folder: str, segments: dict[str, bytes]) -> Path:
    (root / folder).mkdir(parents=True)
    for name, body in segments.items():
        (root / folder / name).write_bytes(body)
    return root / folder


def copied(spool: Path, tmp_path: Path) -> dict[str, bytes]:
    with (tmp_path / "copied").open("w+b") as file:
        writer = ArchiveWriter(file, AT)
        copy_spool(writer, spool)
        writer.add(DUMP, io.BytesIO())
        writer.close(CONTENTS)
    archive = read_archive(tmp_path / "copied")
    return {name: body for name, body in inside(archive).items() if name != DUMP}


def test_the_segments_of_every_process_are_copied_and_nothing_else(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert copied(spool, tmp_path) == {}
    other = FOLDER.replace("77", "78")
    spooled(spool, FOLDER, {"lock": b"", SEGMENT: b"one"})
    spooled(spool, other, {SEGMENT: b"two"})
    spooled(spool, "quarantine", {f"{FOLDER}-{SEGMENT}": b"damaged"})
    found = {f"spool/{FOLDER}/{SEGMENT}": b"one", f"spool/{other}/{SEGMENT}": b"two"}
    assert copied(spool, tmp_path) == found


def test_what_is_drained_meanwhile_leaves_no_gap(tmp_path: Path) -> None:
    """A segment goes after those before it: when the second is gone, the first is committed."""
    spool = tmp_path / "spool"
    names = [f"{number:08}-{number:016}.spool" for number in range(3)]
    folder = spooled(spool, FOLDER, {names[0]: b"drained", names[2]: b"new"})
    (folder / names[1]).symlink_to(folder / "gone")
    assert copied(spool, tmp_path) == {f"spool/{FOLDER}/{names[2]}": b"new"}


def test_a_spool_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    (spooled(spool, FOLDER, {}) / SEGMENT).mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        copied(spool, tmp_path)


# --- The database -------------------------------------------------------------------------------


@pytest.fixture
async def older(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database of the schema before this one, with a little of everything."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    head, _, query = postgres_url.partition("?")
    engine = make_engine(f"{head.rsplit('/', 1)[0]}/{name}?{query}")
    async with engine.connect() as connection:
        await connection.run_sync(_upgrade_to_the_one_before)
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def _upgrade_to_the_one_before(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(script_location()))
    config.attributes["connection"] = connection
    command.upgrade(config, f"{int(head_revision()) - 1:04}")


ROWS = """
INSERT INTO signing_key (id, secret) VALUES (1, 'a secret');
INSERT INTO visitor_salt (day, salt) VALUES ('2026-05-20', 'a salt');
INSERT INTO batch (site_id, token, received_at, events, first_at, last_at)
SELECT 1, gen_random_uuid(), now(), 1, now(), now() FROM generate_series(1, 41);
INSERT INTO event (site_id, batch_id, occurred_at, visitor, dim_id, seq, kind, flags, data)
SELECT 1, n, timestamptz '2026-05-02' + n * interval '1 day', -n, n, 0, 1, 2,
    jsonb_build_object('title', 'Blåbærgrød ' || n)
FROM generate_series(1, 41) AS n;
"""
UNTIL_PG_DUMP_WAITS = """
DO $$BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'site'::regclass) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END$$"""
TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1"""
CATALOGUE = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT relname || pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition
UNION ALL SELECT sequencename || ' ' || coalesce(last_value, 0) FROM pg_sequences
UNION ALL SELECT attrelid::regclass || '.' || attname || ' ' || attidentity::text FROM pg_attribute
WHERE attidentity <> '' ORDER BY 1"""


async def everything(url: str) -> dict[str, list[str]]:
    """Every row of every table, partitions by themselves, and what the catalogue says of them."""
    connection = await asyncpg.connect(url)
    found = {"catalogue": [row[0] for row in await connection.fetch(CATALOGUE)]}
    for (table,) in await connection.fetch(TABLES):
        rows = await connection.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")
        found[table] = [row[0] for row in rows]
    await connection.close()
    return found


async def _migrated(url: str) -> None:
    engine = make_engine(url)
    await migrate(engine)
    await engine.dispose()


def address(engine: AsyncEngine) -> str:
    url = engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


async def test_everything_comes_back_and_an_older_schema_is_migrated(
    older: AsyncEngine, make_site: MakeSite, home: Path
) -> None:
    await make_site(older)
    await ensure_partitions(older, AT)
    async with older.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute(ROWS)
    spooled(home / "from", FOLDER, {SEGMENT: b"records"})
    bin_dir = EmbeddedPostgres(home / "data").bin_dir
    source = Source(address(older), bin_dir, home / "from")
    contents = await back_up(source, home / "b.tar", AT)
    before = await everything(source.url)
    assert len(before["event_y2026m05"]) + len(before["event_y2026m06"]) == 41
    assert "batch_id_seq 41" in before["catalogue"]
    archive = read_archive(home / "b.tar")
    assert archive.contents == contents

    target = Target(home / "data", home / "to", None)

    def put_back() -> dict[str, list[str]]:
        with restoring(archive, target) as url:
            found = asyncio.run(everything(url))
            asyncio.run(_migrated(url))
        return found

    assert await asyncio.to_thread(put_back) == before
    assert names_in(home / "data") == ["kompas.lock", "postgres"]
    (segment,) = (home / "to").rglob("*.spool")
    assert segment.read_bytes() == b"records"
    assert segment.name == SEGMENT
    assert segment.parent.name.startswith(FOLDER[:-8])
    assert segment.parent.name != FOLDER, "that one may be there still"

    server = EmbeddedPostgres(home / "data", LOOSE)
    connection = await asyncpg.connect(await asyncio.to_thread(server.start))
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    assert revision == head_revision() > contents.schema
    assert await connection.fetchval("SHOW wal_level") == "replica"
    await connection.close()
    await asyncio.to_thread(server.stop)


async def test_the_spool_is_copied_before_the_snapshot_is_taken(
    database: Database, tmp_path: Path
) -> None:
    """What is drained after the snapshot is not in the dump: it has to be there already."""
    folder = spooled(tmp_path / "spool", FOLDER, {SEGMENT: b"drained in the middle"})
    source = Source(database.url, EmbeddedPostgres(tmp_path / "data").bin_dir, folder.parent)
    connection = await asyncpg.connect(database.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE site IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(back_up(source, tmp_path / "b.tar", AT))
        await connection.execute(UNTIL_PG_DUMP_WAITS)
        (folder / SEGMENT).unlink()
    await task
    await connection.close()
    (segment,) = read_archive(tmp_path / "b.tar").segments()
    assert segment.member.name == f"spool/{FOLDER}/{SEGMENT}"


async def test_a_dump_that_fails_leaves_no_file(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "LOCK_SECONDS", 0.1)
    source = Source(database.url, EmbeddedPostgres(tmp_path / "data").bin_dir, tmp_path / "spool")
    connection = await asyncpg.connect(database.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE site IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackupError, match=r"could not be read: .*timeout"):
            await back_up(source, tmp_path / "b.tar", AT)
        assert names_in(tmp_path) == []

        monkeypatch.undo()
        task = asyncio.create_task(back_up(source, tmp_path / "b.tar", AT))
        await connection.execute(UNTIL_PG_DUMP_WAITS)
        task.cancel()
        await asyncio.wait([task], timeout=backup.LOCK_SECONDS / 4)
        assert task.cancelled(), "the dump is ended, and not waited for"
        assert names_in(tmp_path) == []
    await connection.close()


def test_what_cannot_be_loaded_leaves_everything_as_it_was(home: Path) -> None:
    archive = written(home / "a", {f"spool/{FOLDER}/{SEGMENT}": b"x", DUMP: b"no dump"})
    old = spooled(home / "data", "postgres", {"PG_VERSION": b"18"})
    target = Target(home / "data", home / "spool", home / "data" / "aside")
    with (
        pytest.raises(BackupError, match=r"could not be loaded: .*magic"),
        restoring(archive, target),
    ):
        pytest.fail("there is nothing to work with")
    assert (old / "PG_VERSION").read_bytes() == b"18"
    assert names_in(home / "data") == ["kompas.lock", "postgres"]
    assert not (home / "spool").exists()


# --- Into place ---------------------------------------------------------------------------------


def test_an_old_database_is_moved_aside_and_its_spool_stays(home: Path) -> None:
    archive = written(home / "a", {f"spool/{FOLDER}/{SEGMENT}": b"restored", DUMP: b""})
    spooled(home / "spool", FOLDER, {SEGMENT: b"never stored"})
    spooled(home / "data", "postgres", {"PG_VERSION": b"old"})
    built = spooled(home / "data", "built", {"PG_VERSION": b"new"})
    target = Target(home / "data", home / "spool", home / "data" / "aside")
    place(archive, built, target)
    assert (target.cluster / "PG_VERSION").read_bytes() == b"new"
    assert (home / "data" / "aside" / "PG_VERSION").read_bytes() == b"old"
    segments = {path.read_bytes() for path in (home / "spool").rglob("*.spool")}
    assert segments == {b"restored", b"never stored"}


def test_what_cannot_be_put_into_place_changes_nothing(home: Path) -> None:
    archive = written(home / "a", {f"spool/{FOLDER}/{SEGMENT}": b"restored", DUMP: b""})
    spooled(home / "spool", FOLDER, {SEGMENT: b"never stored"})
    old = spooled(home / "data", "postgres", {"PG_VERSION": b"old"})
    target = Target(home / "data", home / "spool", home / "data" / "aside")
    with pytest.raises(FileNotFoundError):
        place(archive, home / "data" / "not built", target)
    assert (old / "PG_VERSION").read_bytes() == b"old"
    assert names_in(home / "data") == ["postgres"]
    assert [path.read_bytes() for path in (home / "spool").rglob("*.spool")] == [b"never stored"]


def test_a_database_in_the_way_is_refused(home: Path) -> None:
    target = Target(home / "data", home / "spool", None)
    must_be_free(target)
    target.cluster.mkdir(parents=True)
    must_be_free(target)
    (target.cluster / "PG_VERSION").touch()
    with pytest.raises(BackupError, match="--force"):
        must_be_free(target)
    must_be_free(replace(target, aside=home / "aside"))


def test_what_a_later_kompas_made_is_for_a_later_kompas(tmp_path: Path) -> None:
    archive = written(tmp_path / "a", {DUMP: b""})
    check_restorable(archive)
    newer = replace(archive, contents=replace(CONTENTS, schema="9999"))
    with pytest.raises(StartupError, match=r"The backup has schema 9999, newer"):
        check_restorable(newer)
    newer = replace(archive, contents=replace(CONTENTS, postgres=19, kompas="2.0"))
    with pytest.raises(BackupError, match=r"Postgres 19.*2\.0"):
        check_restorable(newer)
