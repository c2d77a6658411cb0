"""Whose folder it is: one process's at a time, and a dead one's is found."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError
from service.ingest.spool import claim
from service.ingest.spool.claim import LOCK, has_owner
from service.ingest.spool.folder import Spool
from tests.ingest.spool.drained import MIB, drained, inside, opened, segments
from tests.ingest.spool.flushes import NOW, flush

HOME = Path(__file__).parents[3]
CHILD = """
import asyncio, sys
from pathlib import Path
from service.ingest.spool.folder import Spool
from tests.ingest.spool.flushes import flush

async def main():
    spool = Spool(Path(sys.argv[1]), 2**20)
    await spool.open()
    for _ in range(3):
        await spool.append(flush())
    print(spool.records, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def leave(root: Path, flushes: int = 1) -> Path:
    """A folder whose process is gone."""
    before = {path.parent for path in segments(root)}
    async with opened(root) as spool:
        given = [flush() for _ in range(flushes)]
        for each in given:
            await spool.append(each)
        (path,) = {path.parent for path in segments(root)} - before
    return path


def everything(root: Path) -> set[Path]:
    return set(root.rglob("*"))


async def test_the_folder_of_a_killed_process_is_adopted(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path), stdout=subprocess.PIPE, cwd=HOME
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"3\n"
    async with opened(tmp_path) as spool:
        # It lives: its folder is its own.
        assert (await spool.adopt(), spool.records) == (0, 0)
        child.send_signal(signal.SIGKILL)
        await child.wait()
        assert (await spool.adopt(), spool.records) == (1, 3)
        assert len(await drained(spool)) == 3
    assert inside(tmp_path) == []


async def test_leftovers_are_adopted_at_the_start_in_their_order(tmp_path: Path) -> None:
    given = [flush(), flush(), flush()]
    renamed: set[Path] = set()
    for number, each in enumerate(given):
        async with opened(tmp_path) as spool:
            await spool.append(each)
        (path,) = {path.parent for path in segments(tmp_path)} - renamed
        renamed.add(path.rename(tmp_path / f"2026010{3 - number}T000000-1-0000000{number}"))
    # Named by age: the last is the oldest.
    async with opened(tmp_path) as spool:
        await spool.append(last := flush())
        assert await drained(spool) == [*reversed(given), last]
        assert len(inside(tmp_path)) == 1


async def test_two_never_have_one_folder(tmp_path: Path) -> None:
    for _ in range(5):
        path = await leave(tmp_path, 3)
        several = [Spool(tmp_path, MIB) for _ in range(4)]
        await asyncio.gather(*(spool.open() for spool in several))
        assert sorted(spool.records for spool in several) == [0, 0, 0, 3]
        assert await asyncio.gather(*(spool.adopt() for spool in several)) == [0, 0, 0, 0]
        for spool in several:
            await drained(spool)
        assert not path.exists()
        await asyncio.gather(*(spool.close() for spool in several))
        assert inside(tmp_path) == []


async def test_a_lock_on_a_removed_file_is_none(tmp_path: Path) -> None:
    # The last owner removes the lock's file after another has opened it.
    mine = claim.make(tmp_path, NOW)
    flock = claim.fcntl.flock

    def removed_meanwhile(handle: int, how: int) -> None:
        claim.fcntl.flock = flock
        assert mine.remove()
        flock(handle, how)

    claim.fcntl.flock = removed_meanwhile
    assert claim._take_over(mine.path) is None
    assert claim.fcntl.flock is flock


async def test_a_new_folder_taken_for_a_leftover_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = claim._lock
    taken = []

    def adopted_first(folder: Path) -> int | None:
        if not taken:
            taken.append(folder)
            assert claim._take_over(folder) is None  # empty: it is removed
        return lock(folder)

    monkeypatch.setattr(claim, "_lock", adopted_first)
    made = claim.make(tmp_path, NOW)
    assert made.path != taken[0]
    assert inside(tmp_path) == [made.path.name]
    made.release()


@pytest.mark.parametrize("call", ["open", "fsync"])
async def test_of_a_folder_that_cannot_be_made_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = os.open

    def refuse(*arguments: Any) -> int:
        if call == "open" and not str(arguments[0]).endswith(LOCK):
            return real(*arguments)
        raise OSError(errno.ENOSPC, "no")

    before = len(inside(Path("/proc/self/fd")))
    monkeypatch.setattr(os, call, refuse)
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            claim.make(tmp_path, NOW)
    assert inside(tmp_path) == []
    assert len(inside(Path("/proc/self/fd"))) == before


async def test_what_is_not_ours_is_left_alone_and_stops_nothing(tmp_path: Path) -> None:
    path = await leave(tmp_path)
    (path / "notes.txt").write_text("mine")
    (path / "00000009-0000000000000009.spool").mkdir()
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "README").write_text("mine")
    (tmp_path / "20260101T000000-1-00000000").write_text("a file with the name of a folder")
    (tmp_path / "20260101T000000-1-00000001").symlink_to(tmp_path / "nowhere")
    (tmp_path / "20260101T000000-1-00000002").mkdir()
    before = everything(tmp_path) - set(segments(tmp_path))
    async with opened(tmp_path) as spool:
        assert spool.records == 1
        assert len(await drained(spool)) == 1
        assert await spool.adopt() == 0
    after = everything(tmp_path)
    # An empty folder of ours goes.
    assert {path.name for path in before - after} == {"20260101T000000-1-00000002"}
    assert (path / "notes.txt").read_text() == "mine"


async def test_the_files_are_for_nobody_else(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    old = os.umask(0)
    try:
        async with opened(root) as spool:
            await spool.append(flush())
            modes = {
                stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()
            }
            assert modes == {0o600}
            folders = [root, *(path for path in root.iterdir() if path.is_dir())]
            assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    finally:
        os.umask(old)


async def test_whether_a_folder_has_an_owner_is_seen_without_taking_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(flush())
        (path,) = {path.parent for path in segments(tmp_path)}
        assert has_owner(path)
    assert not has_owner(path)
    async with opened(tmp_path) as spool:
        assert spool.records == 1


async def test_a_root_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    stray = tmp_path / "file"
    stray.write_text("")
    for root in (stray, stray / "below"):
        with pytest.raises(StartupError, match="KOMPAS_SPOOL_DIR") as raised:
            await Spool(root, MIB).open()
        assert str(root) in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_folders_and_roots_of_others_are_named_or_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    path = await leave(root)
    path = path.rename(root / "20200101T000000-1-00000000")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    root.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(StartupError, match="KOMPAS_SPOOL_DIR"):
            await Spool(root, MIB).open()
    finally:
        os.seteuid(0)
    root.chmod(0o777)
    os.seteuid(65534)
    try:
        mine = await leave(root, 2)
        assert path < mine
        async with opened(root) as spool:
            assert spool.records == 2
            assert len(await drained(spool)) == 2
    finally:
        os.seteuid(0)
    assert path.exists()
