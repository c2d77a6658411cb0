"""The spool is bounded: the whole of it, each segment, each record."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from service.errors import OverloadedError, RetryableError
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.ingest.spool.segment import SEGMENT_BYTES
from tests.ingest.spool.drained import MIB, drained, metric, opened, segments
from tests.ingest.spool.flushes import NOW, flush


async def test_segments_are_bounded_and_a_long_record_has_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, most_bytes=64 * MIB) as spool:
        given = [flush(1, size=MIB) for _ in range(6)] + [flush(1, size=5 * MIB), flush(1)]
        for each in given:
            await spool.append(each)
        sizes = [path.stat().st_size for path in segments(tmp_path)]
        assert len(sizes) == 4
        assert [size > SEGMENT_BYTES for size in sizes] == [False, False, True, False]
        assert await drained(spool) == given


async def test_it_is_full_at_its_bound_and_has_room_after_a_replay(tmp_path: Path) -> None:
    given = flush(10)
    async with opened(tmp_path, most_bytes=10_000) as spool:
        await spool.append(given)
        for _ in range(10_000 // spool.size - 1):
            await spool.append(given)
        assert spool.has_room()
        with pytest.raises(OverloadedError) as raised:
            await spool.append(given)
        assert raised.value.retry_after >= 1
        assert spool.records > 1
        segment = await spool.next()
        assert segment is not None
        await spool.done(segment)
        await spool.append(given)


async def test_leftovers_count_for_the_bound(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(flush(100))
        size = spool.size
    async with opened(tmp_path, most_bytes=size) as spool:
        assert (spool.size, spool.records, spool.has_room()) == (size, 1, False)
        with pytest.raises(OverloadedError):
            await spool.append(flush())
        await drained(spool)
        await spool.append(flush())


async def test_it_knows_since_when_it_holds_events(tmp_path: Path) -> None:
    later, canary = flush()._replace(received_at=NOW + timedelta(1)), Flush(NOW, [])
    async with opened(tmp_path) as spool:
        await spool.append(canary)
        assert spool.since is None
        await spool.append(later)
        assert spool.since == later.received_at
        await spool.append(flush())
        assert spool.since == NOW
        first = await spool.next()
        assert first is not None
        await spool.append(later)
        await spool.done(first)
        assert spool.since == NOW  # until it is empty: which segment holds what is not remembered
        await drained(spool)
        assert spool.since is None
        await spool.append(later)
        assert spool.since == later.received_at
    async with opened(tmp_path) as spool:
        assert spool.since == later.received_at


async def test_what_is_too_long_for_a_record_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ingest.spool.records.MOST_PAYLOAD", 1000)
    async with opened(tmp_path) as spool:
        with pytest.raises(OverloadedError):
            await spool.append(flush(1, size=2000))
        await spool.append(flush())


async def test_a_closed_spool_takes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB)
    with pytest.raises(RetryableError):
        await spool.append(flush())
    assert not spool.has_room()
    await spool.open()
    await spool.close()
    with pytest.raises(RetryableError):
        await spool.append(flush())
    assert not spool.has_room()


async def test_what_waits_and_what_came_is_exported(tmp_path: Path) -> None:
    before = metric("kompas_spooled_events_total")
    async with opened(tmp_path) as spool:
        await spool.append(flush(3, rows_of_each=2))
        await spool.append(flush(2))
        assert metric("kompas_spooled_events_total") == before + 5
        assert metric("kompas_spool_bytes") == spool.size > 0
        assert metric("kompas_spool_records") == 2
        await drained(spool)
        assert metric("kompas_spool_bytes") == metric("kompas_spool_records") == 0
