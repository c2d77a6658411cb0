"""`kompas spool …`: looks without touching, and replays what dead processes left."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from service.cli import commands
from service.domain.access import Site
from service.errors import StartupError
from service.ingest.spool.payload import Flush
from tests.conftest import Database
from tests.ingest.spool.drained import inside, opened, segments
from tests.ingest.spool.flushes import flush

Run = Callable[..., Awaitable[Result]]

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


FAULTY = """
CREATE FUNCTION faulty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.events = 2 THEN
        RAISE EXCEPTION 'nobody knows' USING ERRCODE = 'KO001';
    END IF;
    RETURN NEW;
END $$"""
ON_BATCH = "CREATE TRIGGER faulty BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION faulty()"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `kompas spool …`; in a thread, because commands bring their own loop."""
    monkeypatch.setenv("KOMPAS_SPOOL_DIR", str(root))
    # Only a replay needs a database.
    monkeypatch.setenv("KOMPAS_DATABASE_URL", NOWHERE)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, commands, ["spool", *arguments])

    return invoke


async def leave(root: Path, *flushes: Flush) -> Path:
    async with opened(root) as spool:
        for each in flushes:
            await spool.append(each)
    return segments(root)[-1]


def state(root: Path) -> dict[Path, tuple[int, int]]:
    """Every file with its size and the time it was changed."""
    found = ((path, path.stat()) for path in root.rglob("*"))
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found}


async def test_without_a_spool_there_is_nothing_to_show(run: Run, root: Path) -> None:
    assert (await run("ls")).output == ""
    assert (await run("verify")).output == "0 segments, 0 intact records\n"
    assert not await asyncio.to_thread(root.exists)


async def test_folders_are_shown_with_whether_they_have_an_owner(run: Run, root: Path) -> None:
    dead = await leave(root, flush(), flush())
    async with opened(root) as other, opened(root) as spool:
        # The first has adopted what was left, the second has its own.
        assert other.records == 2
        await spool.append(flush())
        size = spool.size
        (mine,) = (path for path in segments(root) if path != dead)
        before = state(root)
        shown = await run("ls")
        assert state(root) == before
        assert await spool.adopt() == 0
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    pid = dead.parent.name.split("-")[1]
    assert f"{dead.parent.name}\tprocess {pid}\talive" in lines
    assert f"{mine.parent.name}\tprocess {pid}\talive" in lines
    (line,) = (line for line in lines if f"\t1 records\t{size} bytes\t" in line)
    assert re.fullmatch(rf"\t{mine.name}\t1 records\t{size} bytes\t\d+ s old", line)
    lines = (await run("ls")).output.splitlines()
    assert f"{dead.parent.name}\tprocess {pid}\tdead" in lines


async def test_damage_is_shown_and_changes_the_exit_code(run: Run, root: Path) -> None:
    sound = await leave(root, flush(), flush())
    verified = await run("verify")
    assert (verified.exit_code, verified.output) == (0, "1 segments, 2 intact records\n")
    data = sound.read_bytes()
    sound.write_bytes(data[:-3])
    torn = await run("verify")
    assert torn.exit_code == 0
    assert torn.output.startswith(f"{sound.parent.name}/{sound.name}\t0 damaged\t0 unreadable\t1 t")
    sound.write_bytes(data[:50] + b"!" + data[51:])
    before = state(root)
    damaged = await run("verify")
    assert state(root) == before
    assert damaged.exit_code == 1
    assert damaged.output.splitlines() == [
        f"{sound.parent.name}/{sound.name}\t1 damaged\t0 unreadable\t0 torn",
        "1 segments, 1 intact records",
    ]


async def test_a_spool_that_cannot_be_read_is_one_sentence(run: Run, root: Path) -> None:
    await asyncio.to_thread(root.write_text, "a file")
    for command in ("ls", "verify"):
        result = await run(command)
        assert isinstance(result.exception, StartupError)
        assert str(root) in str(result.exception)


async def test_what_was_left_is_replayed_once(
    run: Run,
    root: Path,
    database: Database,
    make_site: Callable[..., Awaitable[Site]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = await make_site(database.engine)
    given = [flush(3, site_id=site.id), flush(2, rows_of_each=2, site_id=site.id)]
    damaged = await leave(root, *given, flush(1, site_id=site.id))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    copy = {damaged: damaged.read_bytes()}
    monkeypatch.setenv("KOMPAS_DATABASE_URL", database.url)
    for _ in range(2):
        result = await run("replay")
        assert (result.exit_code, result.exception) == (0, None)
        async with database.engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM event")) == 7
        # Once more, as after a crash before the deletion.
        assert inside(root) == ["quarantine"]
        for path, data in copy.items():
            path.parent.mkdir()
            path.write_bytes(data)
    assert "quarantine\t1 segments" in (await run("ls")).output


async def test_a_replay_without_a_database_changes_nothing(run: Run, root: Path) -> None:
    await leave(root, flush())
    before = state(root)
    assert (await run("replay")).exit_code == 1
    assert state(root) == before


async def test_what_is_stuck_is_said_and_tried_again_when_asked_for(
    run: Run,
    root: Path,
    database: Database,
    make_site: Callable[..., Awaitable[Site]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = await make_site(database.engine)
    await leave(root, flush(2, site_id=site.id))
    await leave(root, flush(3, site_id=site.id))
    monkeypatch.setenv("KOMPAS_DATABASE_URL", database.url)
    async with database.engine.begin() as connection:
        await connection.execute(text(FAULTY))
        await connection.execute(text(ON_BATCH))
    result = await run("replay")
    assert result.exit_code == 1
    assert "1 records replayed" in result.output
    assert "1 segments cannot be stored" in result.output
    assert inside(root) == ["quarantine"]
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP FUNCTION faulty CASCADE"))
    assert "0 records replayed" in (await run("replay")).output
    result = await run("replay", "--stuck")
    assert (result.exit_code, result.exception) == (0, None)
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM event")) == 5
    assert inside(root / "quarantine") == []


async def test_one_folder_that_cannot_be_looked_into_hides_no_other(run: Run, root: Path) -> None:
    folder = (await leave(root, flush())).parent
    odd = folder.with_name("20260520T123000-1-00000000")
    odd.mkdir()
    (odd / "lock").symlink_to("/nowhere")
    result = await run("ls")
    assert result.exit_code == 0
    assert f"{odd.name}\tprocess 1\tcannot be looked into" in result.output
    assert folder.name in result.output
    result = await run("verify")
    assert result.exit_code == 1
    assert "1 segments, 1 intact records" in result.output
    (odd / "lock").unlink()
    os.mkfifo(odd / "lock")
    assert folder.name in (await run("ls")).output
