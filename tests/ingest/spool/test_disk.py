"""`append` returns when the flush is on the disk, and an error of the disk loses nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import OverloadedError, RetryableError
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from tests.clock import FixedClock
from tests.ingest.spool.drained import damaged, drained, failures, inside, opened, segments
from tests.ingest.spool.flushes import NOW, flush


class Calls:
    """What the system is asked for, with the file it is about; may fail or hold a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, str]] = []
        self.threads: set[int] = set()
        self.failing: list[tuple[str, int]] = []
        self.hold = threading.Event()
        self.hold.set()
        for name in ("write", "fdatasync", "fsync"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(handle: int, *arguments: object) -> object:
            where = Path(f"/proc/self/fd/{handle}").readlink()
            if ".spool" in where.name or where.name.count("-") == 2:
                self.made.append((name, where.suffix and where.name))
                self.threads.add(threading.get_ident())
                assert self.hold.wait(10)
                if self.failing and self.failing[0][0] == name:
                    _, code = self.failing.pop(0)
                    if name == "write":  # as far as it went
                        real(handle, *(bytes(argument)[:7] for argument in arguments))
                    raise OSError(code, os.strerror(code))
            return real(handle, *arguments)

        return call

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.made]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


async def test_append_returns_after_the_data_and_the_name_are_synced(
    tmp_path: Path, calls: Calls
) -> None:
    async with opened(tmp_path) as spool:
        calls.made.clear()
        await spool.append(flush())
        (segment,) = segments(tmp_path)
        # The folder is synced once, when the segment's name is new.
        assert calls.made == [("write", segment.name), ("fdatasync", segment.name), ("fsync", "")]
        calls.made.clear()
        await spool.append(flush())
        assert calls.made == [("write", segment.name), ("fdatasync", segment.name)]
        assert threading.get_ident() not in calls.threads


async def test_the_folder_itself_is_synced_before_anything_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    async with opened(tmp_path / "a" / "spool"):
        assert synced == [str(tmp_path / "a"), str(tmp_path), str(tmp_path / "a" / "spool")]


async def test_one_append_at_a_time_in_order_and_none_before_its_sync(
    tmp_path: Path, calls: Calls
) -> None:
    async with opened(tmp_path) as spool:
        given = [flush(), flush(), flush()]
        calls.made.clear()
        calls.hold.clear()
        waiting = [asyncio.create_task(spool.append(each)) for each in given]
        # The loop goes on meanwhile.
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert calls.names == ["write"]
        assert not any(each.done() for each in waiting)
        calls.hold.set()
        await asyncio.gather(*waiting)
        assert [name for name in calls.names if name != "fsync"] == 3 * ["write", "fdatasync"]
        assert await drained(spool) == given


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
async def test_after_an_error_another_segment_is_tried(
    tmp_path: Path, calls: Calls, call: str, code: int
) -> None:
    before = failures("append")
    async with opened(tmp_path) as spool:
        given = [flush(), flush(), flush()]
        await spool.append(given[0])
        (first,) = segments(tmp_path)
        acknowledged = first.read_bytes()
        calls.failing = [(call, code)]
        calls.made.clear()
        await spool.append(given[1])
        await spool.append(given[2])
        assert failures("append") == before + 1
        # Nothing goes to the file that failed, and what failed is cut off.
        failed = calls.names.index(call)
        assert first.name not in [name for _, name in calls.made[failed + 1 :]]
        assert first.read_bytes() == acknowledged
        assert len(segments(tmp_path)) == 2
        assert spool.has_room()
        assert spool.size == sum(path.stat().st_size for path in segments(tmp_path))
        assert await drained(spool) == given


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync"])
async def test_a_disk_that_fails_is_said_so_and_later_works_again(
    tmp_path: Path, calls: Calls, call: str
) -> None:
    clock = FixedClock(NOW)
    async with opened(tmp_path, clock=clock) as spool:
        calls.failing = 2 * [(call, errno.EIO)]
        with pytest.raises(RetryableError) as raised:
            await spool.append(flush())
        assert not isinstance(raised.value, OverloadedError)
        assert (spool.size, spool.records, segments(tmp_path)) == (0, 0, [])
        clock.advance(3600)
        assert not spool.has_room()  # nobody knows, until something is on the disk again
        given = flush()
        await spool.append(given)
        assert spool.has_room()
        assert await drained(spool) == [given]


async def test_what_could_not_be_cut_off_is_not_replayed(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    async with opened(tmp_path) as spool:
        given = flush()
        await spool.append(given)
        monkeypatch.setattr(os, "truncate", refuse)
        calls.failing = 2 * [("fdatasync", errno.EIO)]
        with pytest.raises(RetryableError):
            await spool.append(flush())
        assert await drained(spool) == [given]


async def test_a_segment_that_was_removed_takes_nothing_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(flush())
        (path,) = segments(tmp_path)
        path.unlink()
        given = flush()
        await spool.append(given)
        assert await drained(spool) == [given]


async def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    before = damaged("damaged")
    async with opened(tmp_path) as spool:
        await spool.append(flush())
        (path,) = segments(tmp_path)
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        given = [flush(), flush()]
        for each in given:
            await spool.append(each)
        assert await drained(spool) == given
    assert damaged("damaged") == before + 1
    assert inside(tmp_path) == []


async def fill(spool: Spool, given: list[Flush], taken: list[Flush]) -> None:
    for each in given:
        await spool.append(each)
        taken.append(each)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_loses_nothing_and_is_waited_for(small_disk: Path) -> None:
    async with opened(small_disk / "spool") as spool:
        given = [flush(20, size=200) for _ in range(200)]
        taken: list[Flush] = []
        with pytest.raises(RetryableError):
            await fill(spool, given, taken)
        assert len(taken) > 20
        await spool.append(tiny := flush(0))
        taken.append(tiny)
        segment = await spool.next()
        assert segment is not None
        assert [each async for each in spool.flushes(segment)] == taken[: segment.records]
        await spool.done(segment)
        rest = taken[segment.records :]
        # Without a restart.
        await spool.append(last := flush(20, size=200))
        assert await drained(spool) == [*rest, last]


def fill_up(disk: Path) -> list[Path]:
    made: list[Path] = []
    while True:
        try:
            (disk / str(len(made))).mkdir()
        except OSError:
            return made
        made.append(disk / str(len(made)))


async def test_a_disk_that_is_full_at_the_start_is_waited_for(small_disk: Path) -> None:
    filled = fill_up(small_disk)
    before = failures("open")
    async with opened(small_disk / "spool") as spool:
        assert failures("open") == before + 1
        assert not spool.has_room()
        with pytest.raises(RetryableError):
            await spool.append(flush())
        for folder in filled:
            folder.rmdir()
        given = flush()
        await spool.append(given)
        assert await drained(spool) == [given]


async def test_a_disk_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ingest.spool.folder.APPEND_SECONDS", 0.05)
    before = failures("hang")
    async with opened(tmp_path) as spool:
        await spool.append(first := flush())
        calls.hold.clear()
        with pytest.raises(RetryableError, match="does not answer"):
            await spool.append(held := flush())
        assert not spool.has_room()
        made = len(calls.made)
        with pytest.raises(RetryableError, match="does not answer"):
            await spool.append(flush())
        calls.hold.set()
        # In the spool's order: after what hung.
        assert await spool.adopt() == 0
        await asyncio.sleep(0.01)
        assert spool.has_room()
        assert len(calls.made) > made
        await spool.append(last := flush())
        assert await drained(spool) == [first, held, last]
    assert failures("hang") - before == 1
