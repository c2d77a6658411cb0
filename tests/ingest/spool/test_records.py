"""Whatever happens to a segment: what is intact is found, what is missing is counted.

`KOMPAS_EXAMPLES=20000 pytest tests/ingest/spool/test_records.py` searches longer.
"""

from __future__ import annotations

import errno
import io
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest.spool import records
from service.ingest.spool.records import (
    HEADER_BYTES,
    MAGIC,
    MOST_PAYLOAD,
    Damage,
    Record,
    framed,
    scan,
)
from tests.ingest.spool.wounds import CountingFile, File, garbage, payloads, wounded, written

EXAMPLES = int(os.environ.get("KOMPAS_EXAMPLES", "0"))
SEARCH = settings(deadline=None, max_examples=EXAMPLES or 200)
chunks = st.sampled_from([32, 100, 1024 * 1024])
"""Bytes read together: small ones put the seams everywhere."""


def read(
    file: File | bytes, *, first: int = 0, after: int | None = None, chunk: int = 1024 * 1024
) -> list[Record | Damage]:
    data = file.data if isinstance(file, File) else file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", chunk)
        return list(scan(io.BytesIO(data), first, after))


def found(items: list[Record | Damage]) -> list[tuple[int, int, int]]:
    return [(item.index, item.start, item.end) for item in items if isinstance(item, Record)]


def texts(items: list[Record | Damage]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Record)]


def damages(items: list[Record | Damage]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


def missing(items: list[Record | Damage]) -> int:
    return sum(damage.records for damage in damages(items))


@given(payloads, st.integers(0, 2**40), chunks)
@SEARCH
def test_what_is_written_is_read(payloads: list[bytes], first: int, chunk: int) -> None:
    file = written(payloads, first)
    for after in (None, first + len(payloads)):
        items = read(file, first=first, after=after, chunk=chunk)
        assert texts(items) == payloads
        assert [index for index, _, _ in found(items)] == list(range(first, first + len(payloads)))
        assert damages(items) == []


@given(st.data(), payloads, chunks)
@SEARCH
def test_only_what_was_touched_is_lost_and_all_of_it_is_counted(
    data: st.DataObject, payloads: list[bytes], chunk: int
) -> None:
    file = data.draw(wounded(written(payloads)))
    items = read(file, after=len(payloads), chunk=chunk)
    assert found(items) == file.whole
    assert missing(items) == len(file.lost)
    assert all(not damage.torn or not damage.records for damage in damages(items))


@given(st.data(), payloads, chunks)
@SEARCH
def test_without_knowing_the_end_the_gaps_are_counted(
    data: st.DataObject, payloads: list[bytes], chunk: int
) -> None:
    file = data.draw(wounded(written(payloads)))
    items = read(file, chunk=chunk)
    assert found(items) == file.whole
    last = file.whole[-1] if file.whole else None
    in_gaps = [damage for damage in damages(items) if last and damage.end <= last.start]
    assert missing([*in_gaps]) == sum(1 for index in file.lost if last and index < last.index)


@given(payloads, st.data())
@SEARCH
def test_any_flipped_bit_costs_exactly_its_record(
    payloads: list[bytes], data: st.DataObject
) -> None:
    file = written(payloads)
    hurt = file.flipped(data.draw(st.integers(0, 8 * len(file.data) - 1)))
    for after in (None, len(payloads)):
        items = read(hurt, after=after)
        assert found(items) == hurt.whole
        assert [(damage.records, damage.torn) for damage in damages(items)] == [(1, False)]


@given(payloads, st.data())
@SEARCH
def test_a_cut_is_torn_and_no_damage(payloads: list[bytes], data: st.DataObject) -> None:
    whole = written(payloads)
    ends = [0, *(piece.end for piece in whole.whole)]
    length = data.draw(st.integers(0, len(whole.data)))
    end = min(end for end in ends if end >= length)
    # Or the system had made room for all of it, and had not written it.
    for left in (whole.cut(length), whole.overwritten(length, bytes(end - length)).cut(end)):
        items = read(left)
        assert found(items) == left.whole
        assert missing(items) == 0
        assert [damage.torn for damage in damages(items)] == ([] if length in ends else [True])


def test_where_the_next_segment_tells_a_cut_is_damage() -> None:
    file = written([b'"a"', b'"b"', b'"c"'])
    at_a_record = file.cut(file.whole[1].end)
    assert missing(read(at_a_record, after=3)) == 1
    assert missing(read(at_a_record.cut(10), after=3)) == 3
    assert missing(read(b"", after=2)) == 2


def test_what_was_written_but_not_acknowledged_is_torn() -> None:
    file = written([b'"a"', b'"b"'])
    items = read(file, after=1)
    assert texts(items) == [b'"a"']
    assert damages(items) == [Damage(file.whole[1].start, len(file.data), 0, torn=True)]


def test_records_missing_at_the_beginning_are_counted() -> None:
    (damage, record) = read(written([b'"a"'], first=7), first=4)
    assert damage == Damage(0, 0, 3, torn=False)
    assert isinstance(record, Record)


def test_damage_and_a_torn_tail_are_told_apart() -> None:
    file = written([b'"a"', b'"bbbb"', b'"c"'])
    hurt = file.flipped(8 * (file.whole[1].end - 2)).cut(len(file.data) - 1)
    assert damages(read(hurt)) == [
        Damage(file.whole[1].start, file.whole[2].start, 1, torn=False),
        Damage(file.whole[2].start, len(hurt.data), 0, torn=True),
    ]


def test_a_damaged_last_record_with_something_behind_it_is_damage() -> None:
    file = written([b'"a"', b'"bbbb"'])
    hurt = file.flipped(8 * (len(file.data) - 2))
    without_checksum = file.overwritten(file.whole[1].start + 20, bytes(HEADER_BYTES - 20))
    for data in (hurt.data + b"junk", without_checksum.data):
        (damage,) = damages(read(data))
        assert (damage.records, damage.torn) == (1, False)


def test_what_is_longer_than_any_payload_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    file = written([200 * b"a", b'"b"'])
    monkeypatch.setattr(records, "MOST_PAYLOAD", 100)
    assert texts(read(file)) == [b'"b"']


@given(st.binary(max_size=200) | garbage, st.none() | st.integers(0, 9), chunks)
@SEARCH
def test_any_file_is_read_to_its_end(data: bytes, after: int | None, chunk: int) -> None:
    end = 0
    for item in read(data, after=after, chunk=chunk):
        assert end <= item.start <= item.end <= len(data)
        end = item.end
    assert end == len(data) or after == 0


def test_a_length_allocates_no_more_than_there_is() -> None:
    frame = bytearray(framed(0, b'"a"'))
    for byte in range(256):
        frame[len(MAGIC) + 8] = byte
        file = CountingFile(frame)
        list(scan(file))
        assert file.largest <= len(frame)


@pytest.mark.parametrize(
    "unit",
    [
        MAGIC,
        MAGIC + bytes(20),
        framed(5, b"a" * 100_000)[:HEADER_BYTES],
        framed(5, b"a" * 300)[:150],
        bytes(64),
        random.Random(1).randbytes(4096),
    ],
    ids=["magic", "zero header", "valid header", "half record", "zeros", "random"],
)
def test_hostile_files_are_read_in_linear_time(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checksummed = 0

    def counted(data: bytes) -> int:
        nonlocal checksummed
        checksummed += len(data)
        return crc32c(data)

    crc32c = records.crc32c
    monkeypatch.setattr(records, "crc32c", counted)
    size = 400_000
    file = CountingFile(unit * (size // len(unit)))
    list(scan(file))
    # Once to look for records, once to tell what the tail is; headers are smaller than a unit.
    assert file.read_bytes <= 4 * size
    assert checksummed <= 3 * size


def test_64_mb_of_magic_are_read_four_times_at_most() -> None:
    file = CountingFile(MAGIC * (8 * 1024 * 1024))
    assert missing(list(scan(file))) == 1
    assert file.read_bytes <= 4 * 64 * 1024 * 1024


class _BadSector(io.BytesIO):
    """A file of which the disk does not give 4 KiB back; reads end before them."""

    bad = range(8192, 12288)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() in self.bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if size is None or size < 0:
            size = len(self.getvalue())
        if self.tell() < self.bad.start:
            size = min(size, self.bad.start - self.tell())
        return super().read(size)


def test_an_unreadable_sector_costs_its_records_only() -> None:
    lines = [b'"%04d%s"' % (number, 500 * b"a") for number in range(60)]
    file = written(lines)
    touched = [
        number
        for number, piece in enumerate(file.whole)
        if piece.start < _BadSector.bad.stop and piece.end > _BadSector.bad.start
    ]
    items = list(scan(_BadSector(file.data)))
    assert [index for index, _, _ in found(items)] == [n for n in range(60) if n not in touched]
    assert missing(items) == len(touched)


def test_no_payload_is_framed_that_could_not_be_read() -> None:
    with pytest.raises(ValueError, match="no text"):
        framed(0, b"a" + MAGIC)

    class Huge(bytes):
        def __len__(self) -> int:
            return MOST_PAYLOAD + 1

    with pytest.raises(OverflowError):
        framed(0, Huge())
