"""What is damaged is counted once, kept in quarantine, and stops nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from pathlib import Path

import pytest

from service.ingest.spool import quarantine
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import encode
from service.ingest.spool.records import framed
from service.ingest.spool.segment import Segment
from tests.ingest.spool.drained import damaged, drained, inside, opened, segments
from tests.ingest.spool.flushes import flush

KINDS = ("damaged", "unreadable", "torn")


def counts() -> list[float]:
    return [damaged(kind) for kind in KINDS]


def since(before: list[float]) -> list[float]:
    return [now - then for now, then in zip(counts(), before, strict=True)]


async def three(root: Path) -> tuple[list[object], Path]:
    given: list[object] = [flush(), flush(), flush()]
    async with opened(root) as spool:
        for each in given:
            await spool.append(each)  # type: ignore[arg-type] # they are flushes
    (path,) = segments(root)
    return given, path


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


async def test_the_records_around_damage_are_replayed(tmp_path: Path) -> None:
    given, path = await three(tmp_path)
    flip(path, path.stat().st_size // 2)
    hurt = path.read_bytes()
    before = counts()
    async with opened(tmp_path) as spool:
        assert spool.records == 3
        assert await drained(spool) == [given[0], given[2]]
    assert since(before) == [1, 0, 0]
    (kept,) = quarantine.quarantined(tmp_path)
    assert kept[0].read_bytes() == hurt
    assert kept[0].parent.stat().st_mode & 0o777 == 0o700


async def test_damage_is_counted_once_however_often_it_is_met(tmp_path: Path) -> None:
    _, path = await three(tmp_path)
    flip(path, 40)
    path.write_bytes(path.read_bytes() + framed(3, b'{"format":99}'))
    before = counts()
    async with opened(tmp_path) as spool:
        segment = await spool.next()
        assert segment is not None
        for _ in range(3):
            # The database went away after the first flush.
            stream = spool.flushes(segment)
            await anext(stream)
            await stream.aclose()
            assert await spool.next() is segment
        assert since(before) == [1, 0, 0]
        assert len(await drained(spool)) == 2
    assert since(before) == [1, 1, 0]
    assert len(quarantine.quarantined(tmp_path)) == 1


async def test_another_format_is_unreadable(tmp_path: Path) -> None:
    given, path = await three(tmp_path)
    other = encode(flush()).replace(b'"format":1', b'"format":2')
    path.write_bytes(path.read_bytes() + framed(3, other) + framed(4, b"null"))
    before = counts()
    async with opened(tmp_path) as spool:
        assert await drained(spool) == given
    assert since(before) == [0, 2, 0]
    assert len(quarantine.quarantined(tmp_path)) == 1


async def test_a_torn_record_is_counted_and_not_kept(tmp_path: Path) -> None:
    given, path = await three(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    before = counts()
    async with opened(tmp_path) as spool:
        assert await drained(spool) == given[:2]
    assert since(before) == [0, 0, 1]
    assert inside(tmp_path) == []


async def test_what_the_next_segment_tells_to_be_missing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ingest.spool.folder.SEGMENT_BYTES", 1000)
    async with opened(tmp_path) as spool:
        for _ in range(12):
            await spool.append(flush())
    first, second, third, *_ = segments(tmp_path)
    first.write_bytes(b"")
    third.unlink()
    before = counts()
    async with opened(tmp_path) as spool:
        assert spool.records == 12
        left = len(await drained(spool))
    assert since(before) == [12 - left, 0, 0]
    assert left < 10
    assert not second.exists()


async def test_a_segment_that_cannot_be_opened_is_passed_over(tmp_path: Path) -> None:
    given, path = await three(tmp_path)
    before = counts()
    async with opened(tmp_path) as spool:
        await spool.append(last := flush())
        path.unlink()
        path.mkdir()
        assert await drained(spool) == [last]
    assert since(before) == [3, 0, 0]
    assert given


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.ESTALE])
async def test_what_cannot_be_opened_now_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    given, _ = await three(tmp_path)
    before = counts()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    async with opened(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            with pytest.raises(OSError, match=re.escape(os.strerror(code))):
                await drained(spool)
        assert await drained(spool) == given
    assert since(before) == [0, 0, 0]
    assert inside(tmp_path) == []


async def first_of(spool: Spool) -> Segment:
    segment = await spool.next()
    assert segment is not None
    return segment


async def test_what_is_postponed_comes_after_all_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(3):
            await spool.append(flush())
            await spool.postpone(await first_of(spool))
        seen = []
        for _ in range(3):
            segment = await first_of(spool)
            seen.append(segment.first)
            await spool.postpone(segment)
        assert seen == [0, 1, 2]
        await spool.append(last := flush())
        segment = await first_of(spool)
        assert [each async for each in spool.flushes(segment)] == [last]
        await spool.done(segment)
        assert len(await drained(spool)) == 3


async def test_a_segment_that_cannot_be_deleted_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, path = await three(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no")

    async with opened(tmp_path) as spool:
        await spool.append(last := flush())
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refuse)
            assert await drained(spool) == [*given, last]
        assert path.exists()
        # It is not handed out again by this process, nor to another one while this lives.
        assert await spool.adopt() == 0
        async with opened(tmp_path) as other:
            assert other.records == 0
    async with opened(tmp_path) as spool:
        assert len(await drained(spool)) == 4


async def test_a_segment_is_set_aside(tmp_path: Path) -> None:
    _, path = await three(tmp_path)
    before = damaged("stuck")
    async with opened(tmp_path) as spool:
        segment = await spool.next()
        assert segment is not None
        await spool.set_aside(segment, 2)
        assert await spool.next() is None
    assert damaged("stuck") == before + 2
    assert not path.exists()
    assert len(quarantine.quarantined(tmp_path)) == 1


async def test_quarantine_is_bounded_and_keeps_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST_BYTES", 2500)
    for number in range(6):
        path = tmp_path / f"{number}.spool"
        path.write_bytes(bytes(1000 if number < 5 else 9000))
        os.utime(path, (number, number))
        quarantine.quarantine(tmp_path, path)
        kept = [file.name[-7:] for file, _ in quarantine.quarantined(tmp_path)]
        expected = [f"{n}.spool" for n in range(max(0, number - 1), number + 1)]
        assert kept == (expected if number < 5 else ["5.spool"])


async def test_what_is_stuck_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST_BYTES", 2500)
    for number in range(6):
        path = tmp_path / f"{number}.spool"
        path.write_bytes(bytes(1000))
        os.utime(path, (number, number))
        quarantine.quarantine(tmp_path, path, stuck=number % 2 == 0)
    kept = [file.name[-7:] for file, _ in quarantine.quarantined(tmp_path)]
    assert kept == ["0.spool", "2.spool", "3.spool", "4.spool", "5.spool"]


async def test_a_cancelled_call_finishes_in_the_spools_thread(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        tasks = [asyncio.create_task(spool.append(flush())) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spool.append(last := flush())
        records = spool.records
        found = await drained(spool)
        assert len(found) == records
        assert found[-1] == last


async def test_the_active_segment_is_handed_out_when_it_is_the_only_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        assert await spool.next() is None
        await spool.append(first := flush())
        segment = await spool.next()
        await spool.append(second := flush())
        assert segment is not None
        assert await spool.next() is segment
        assert [each async for each in spool.flushes(segment)] == [first]
        await spool.done(segment)
        await spool.done(segment)
        assert spool.records == 1
        assert await drained(spool) == [second]
